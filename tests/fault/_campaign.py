"""The frame of the fault campaign: scales, rows, seeds, a state file to go on from, the report.

A part is a module of this package with ``PROMISES: tuple[Promise, ...]``. A promise's check gets a `Trial` (how many
times, which seed, where it may write) and gives an `Outcome`; whatever it raises counts as one failure, with its words.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

SCALES = ("quick", "default", "full")
VAR = Path(__file__).parents[2] / "var" / "campaign"
REPORT = Path(__file__).parents[2] / "docs" / "reliability.md"
BUSY = 1.5
BEGIN, END = "<!-- campaign:begin -->", "<!-- campaign:end -->"


class NotHere(Exception):
    """This machine lacks what the check needs (root, loop devices, a compiler): said in the table, never hidden."""


@dataclass(frozen=True)
class Outcome:
    """tried: how often, failed: how often the promise was broken, figure: what was measured, for people."""

    tried: int
    failed: int
    figure: str


@dataclass
class Trial:
    """What a check may use. `count` is already that of the scale."""

    scale: str
    seed: int
    count: int
    folder: Path
    saved: dict[str, int] = field(default_factory=dict)
    save: Callable[[dict[str, int]], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Promise:
    """One row: counts = times at (quick, default, full); 0 at quick: only on demand."""

    name: str
    text: str
    counts: tuple[int, int, int]
    check: Callable[[Trial], Outcome]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    promise: str
    tried: int
    failed: int
    figure: str
    part: str
    name: str
    seed: int
    seconds: float
    skipped: str = ""


class Campaign:
    """Runs promises one by one; what is done is in the state file, so that an interrupted run goes on there."""

    def __init__(self, scale: str, seed: int, say: Callable[[str], None], resume: bool, state: Path | None = None):
        self.scale, self.seed, self._say = scale, seed, say
        self._path = state or VAR / f"{scale}-{seed}.json"
        self._state: dict[str, dict] = {}
        if resume and self._path.exists():
            self._state = json.loads(self._path.read_text(encoding="utf-8"))

    def _keep(self, key: str, value: dict) -> None:
        self._state[key] = value
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(self._state), encoding="utf-8")
        fresh.replace(self._path)

    def run(self, part: str, promise: Promise) -> Row | None:
        """The row, or None where this scale does not include it."""
        count = promise.counts[SCALES.index(self.scale)]
        if count == 0:
            return None
        key = f"{part}.{promise.name}"
        before = self._state.get(key, {})
        if "promise" in before:
            return Row(**before)
        self._say(f"{key}: {count} × (seed {self.seed}) …")
        began_s, skipped = time.monotonic(), ""
        with tempfile.TemporaryDirectory(prefix="campaign-") as name:
            saved = dict(before.get("saved", {}))
            trial = Trial(
                self.scale, self.seed, count, Path(name), saved, lambda s: self._keep(key, {"saved": s}), self._say
            )
            try:
                outcome = promise.check(trial)
            except NotHere as error:
                skipped, outcome = str(error), Outcome(0, 0, f"not tried: {error}")
            except Exception as error:
                self._say(traceback.format_exc())
                outcome = Outcome(count, 1, f"{type(error).__name__}: {error}"[:300])
        took_s = round(time.monotonic() - began_s, 1)
        row = Row(
            promise.text, outcome.tried, outcome.failed, outcome.figure, part, promise.name, self.seed, took_s, skipped
        )
        self._keep(key, asdict(row))
        verdict = "skipped" if skipped else ("FAILED" if row.failed else "ok")
        self._say(f"{key}: {verdict} · {row.figure} · {took_s:.0f} s")
        return row


def table(rows: list[Row]) -> str:
    """promise | tried | failed | figure."""
    width = max((len(row.promise) for row in rows), default=10)
    lines = [f"{'promise':{width}}  {'tried':>9} {'failed':>7}  figure"]
    lines += [f"{row.promise:{width}}  {row.tried:>9} {row.failed:>7}  {row.figure}" for row in rows]
    return "\n".join(lines)


def write_report(scale: str, seed: int, rows: list[Row], path: Path = REPORT) -> None:
    """Replace the page's part between the marks, and write the same as JSON beside the state."""
    busy = os.getloadavg()[2] / (os.cpu_count() or 1)
    taken_min = sum(row.seconds for row in rows) / 60
    lines = [f"Scale `{scale}`, seed {seed}, {taken_min:.0f} minutes; the counts are those really run."]
    if busy > BUSY:
        lines.append(
            f"The machine did other work meanwhile ({busy:.1f} processes a core): times are no measure of speed."
        )
    lines.append("")
    lines += ["| promise | tried | failed | figure | again by |", "|---|---|---|---|---|"]
    for row in rows:
        again = f"`python -m tests.fault {row.part} --only {row.name} --{scale} --seed {row.seed}`"
        figure = row.figure.replace("|", "/").replace("\n", " ")
        lines.append(f"| {row.promise} | {row.tried} | {row.failed} | {figure} | {again} |")
    text = path.read_text(encoding="utf-8") if path.exists() else f"# Reliability\n\n{BEGIN}\n{END}\n"
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    path.write_text(head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + tail, encoding="utf-8")
    VAR.mkdir(parents=True, exist_ok=True)
    told = {"scale": scale, "seed": seed, "rows": [asdict(row) for row in rows]}
    (VAR / "report.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
