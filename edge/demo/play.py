"""``smartstore demo``: a virtual store, the gateway, a real broker and the platform, as processes of their own.

Nothing is wired inside this process: it starts the others, watches them through what they publish (the gateway's API,
the platform's database, the simulator's truth) and compares at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import typer

from edge.core.errors import GatewayError, SettingsError
from edge.demo.access import claim_own
from edge.demo.config import gateway_toml
from edge.demo.offers import cheats_that_worked, open_offers, phones_said

READY_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
MAIN = "import sys; from edge.cli import main; sys.argv[0] = 'smartstore'; main()"


class DemoError(GatewayError):
    """A process of the demo that did not do its part; its log is named."""

    hint = "Read the named log; run `smartstore doctor` for what this machine lacks."


@dataclass
class Cast:
    """The processes of the demo, started in order and stopped in reverse."""

    directory: Path
    started: list[tuple[str, subprocess.Popen[str]]] = field(default_factory=list)

    def start(self, name: str, arguments: list[str], environment: dict[str, str] | None = None) -> dict[str, Any]:
        """Start a process and wait for the JSON line that says it is ready. Raises DemoError naming its log."""
        log = self.directory / f"{name}.log"
        with log.open("w", encoding="utf-8") as errors:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                text=True,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # Ctrl-C is for the demo, which then stops the others in order
            )
        self.started.append((name, process))
        return self._ready(name, process, log)

    def smartstore(self, name: str, *arguments: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
        """Start a `smartstore` command, by this interpreter."""
        return self.start(name, ["-c", MAIN, *arguments], environment)

    def _ready(self, name: str, process: subprocess.Popen[str], log: Path) -> dict[str, Any]:
        assert process.stdout is not None
        line = read_line(process.stdout, READY_TIMEOUT_S)
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            if isinstance(told, dict) and told.get("ready"):
                return told
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        said = " / ".join(tail) or line.strip() or "nothing"
        raise DemoError(f"{name} did not get ready (exit code {process.poll()}); it said: {said} (log: {log})")

    def stop(self, name: str) -> None:
        """Stop one process, kindly first."""
        for index, (started, process) in enumerate(self.started):
            if started == name:
                del self.started[index]
                end(process)
                return

    def stop_all(self) -> None:
        """Stop everything that still runs, last started first."""
        while self.started:
            end(self.started.pop()[1])

    def dead(self) -> str:
        """Name of a process that ended by itself, "" while all live."""
        return next((name for name, process in self.started if process.poll() is not None), "")


def read_line(stream: IO[str], timeout_s: float) -> str:
    """The first line of a pipe, "" when it does not come in time."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return stream.readline() if selector.select(timeout_s) else ""


def end(process: subprocess.Popen[str]) -> None:
    """SIGTERM, and SIGKILL for who does not listen."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A database of another process, read-only."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
        yield database


@dataclass(slots=True)
class Stage:
    """The running demo and the ways to look at it."""

    directory: Path
    api: str = ""
    token: str = ""  # of a script that may look

    @property
    def truth(self) -> dict[str, Any]:
        """The simulator's own export."""
        return json.loads((self.directory / "truth.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    def product_names(self) -> dict[str, str]:
        """GTIN → name, by the store's planogram."""
        site = json.loads((self.directory / "site.json").read_text(encoding="utf-8"))
        return {product["gtin"]: product["name"] for product in site["products"]}

    def platform_rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the platform's database; none while it is being made."""
        try:
            with reading(self.directory / "platform.db") as database:
                return database.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []

    def platform_stock(self) -> dict[tuple[str, str], int]:
        """(shelf, GTIN) → the count that the platform knows."""
        return {(s, g): n for s, g, n in self.platform_rows("SELECT shelf, gtin, on_hand FROM stock")}

    def true_stock(self) -> dict[tuple[str, str], int]:
        """(shelf, GTIN) → the count that is so."""
        return {(row["shelf"], row["gtin"]): row["count"] for row in self.truth["on_hand"]}

    def mismatches(self) -> list[tuple[str, str, int, int | None]]:
        """(shelf, GTIN, true, known) wherever the platform is wrong; an item that is nowhere must be known as 0."""
        known, truth = self.platform_stock(), self.true_stock()
        pairs = sorted(known.keys() | truth.keys())
        return [(*pair, truth.get(pair, 0), known.get(pair)) for pair in pairs if truth.get(pair, 0) != known.get(pair)]

    def committed(self) -> tuple[str, set[int]]:
        """Epoch and every seq that the gateway's journal ever committed."""
        with reading(self.directory / "var" / "journal.db") as journal:
            meta = dict(journal.execute("SELECT key, value FROM meta").fetchall())
            stored = {seq for (seq,) in journal.execute("SELECT seq FROM fact")}
        last = max(stored, default=0)
        return json.loads(meta["epoch"]), set(range(1, last + 1))

    def summary(self, seconds: float) -> dict[str, Any]:
        """The demo in figures."""
        epoch, committed = self.committed()
        received = self.platform_rows(
            f"SELECT event.seq, event.fact FROM event JOIN stream ON stream.id = stream WHERE epoch = '{epoch}'"
        )
        have = {seq for seq, _ in received}
        top = max(have, default=0)
        truth = self.truth
        facts = Counter(fact for _, fact in received)
        devices = json.loads((self.directory / "devices.json").read_text(encoding="utf-8"))
        return {
            "seconds": seconds,
            "facts": dict(sorted(facts.items())),
            "devices": dict(sorted(Counter(device["kind"] for device in devices).items())),
            "facts_committed": len(committed),
            "platform_received": len(have),
            "platform_gaps": len(set(range(1, top + 1)) - have),
            "facts_lost": len(committed - have),
            "stock_compared": len(self.true_stock()),
            "stock_mismatches": len(self.mismatches()),
            "mismatches": [list(row) for row in self.mismatches()],
            "crossings_true": sum(door["in"] + door["out"] for door in truth["crossings"].values()),
            "crossings_counted": facts["footfall.Occupancy"],  # one for each crossing
            "phones": phones_said(self.directory),
        }


def run_demo(seconds: float | None, seed: int, summary: Path | None, directory: Path | None, as_json: bool) -> int:
    """Run it; exit code 0 when the platform's view equals the truth and nothing was lost, else 1."""
    if summary is not None and not os.access(summary.parent, os.W_OK):
        raise SettingsError("command line", "--summary", str(summary), "a file in a folder that can be written to")
    keep = directory is not None
    place = Path(tempfile.mkdtemp(prefix="smartstore-demo-")) if directory is None else directory
    place.mkdir(parents=True, exist_ok=True)
    cast = Cast(place.resolve())
    for number in (signal.SIGTERM, signal.SIGHUP):  # whoever ends the demo, its processes end with it
        signal.signal(number, signal.default_int_handler)
    try:
        return _play(cast, seconds, seed, summary, as_json)
    except DemoError:
        keep = True  # the log that the error names
        raise
    finally:
        cast.stop_all()
        if not keep:
            shutil.rmtree(place, ignore_errors=True)


def _play(cast: Cast, seconds: float | None, seed: int, summary: Path | None, as_json: bool) -> int:
    from edge.demo.view import View  # noqa: PLC0415 (rich is for people who watch)

    view = View(quiet=as_json or not sys.stdout.isatty())
    with view:
        stage = _set_up(cast, view, seconds, seed)
        started_s = time.monotonic()
        interrupted = _watch(cast, stage, view, seconds)
        figures_seconds = seconds if seconds is not None else time.monotonic() - started_s
        view.say("shoppers are done; waiting until the platform knows what the store knows")
        cast.stop("phones")
        cast.stop("gateway")  # it leaves when the platform has everything, or after a few seconds
        cast.stop("platform")
        figures = stage.summary(round(figures_seconds, 1))
    if summary is not None:
        summary.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(figures, ensure_ascii=False))
    else:
        view.result(figures, settled=not interrupted)
    good = figures["facts_lost"] == 0 and figures["platform_gaps"] == 0 and not cheats_that_worked(figures["phones"])
    return 0 if good and (interrupted or figures["stock_mismatches"] == 0) else 1


def _set_up(cast: Cast, view: Any, seconds: float | None, seed: int) -> Stage:
    view.say("starting the virtual store")
    store = ["-m", "firmware_sim", "store", "--scenario", "demo", "--seed", str(seed), "--dir", str(cast.directory)]
    cast.start("store", [*store, "--seconds", str(seconds if seconds is not None else 86_400)])
    view.say("starting the broker and the reference platform")
    platform = cast.smartstore("platform", "platform", "--dir", str(cast.directory), "--json")
    view.say("starting the gateway")
    config, environment = gateway_toml(cast.directory, platform, open_api=False)
    gateway = cast.smartstore("gateway", "run", "--config", str(config), "--json", environment=environment)
    stage = Stage(cast.directory, str(gateway["api"]))
    sign_in = claim_own(stage.api, str(gateway.get("claim_code", "")), cast.directory)
    stage.token = sign_in.token
    if sign_in.till:
        open_offers(cast, stage.api, sign_in.till, seed)
    view.stage = stage
    view.say(f"live; the gateway's page is {stage.api}/ (name {sign_in.name}, PIN {sign_in.pin})")
    return stage


def _watch(cast: Cast, stage: Stage, view: Any, seconds: float | None) -> bool:
    """Until the shoppers are done and everything agrees (or the time to settle is over); True after Ctrl-C."""
    settled_s: float | None = None
    try:
        while True:
            if dead := cast.dead():
                raise DemoError(f"{dead} ended by itself (log: {cast.directory / (dead + '.log')})")
            view.refresh()
            now_s = time.monotonic()
            if seconds is not None and stage.truth["settled"]:
                settled_s = settled_s if settled_s is not None else now_s
                if now_s - settled_s >= SETTLE_TIMEOUT_S or (now_s - settled_s >= 5 and not stage.mismatches()):
                    return False
            time.sleep(0.5)
    except KeyboardInterrupt:
        return True
