"""``smartstore demo``: a virtual store, the gateway, a real broker and the platform, as processes of their own.

Nothing is wired inside this process: it starts the others, watches them through what they publish (the gateway's API,
the platform's database, the simulator's truth) and compares at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import typer

from edge.core.plain import PlainError
from edge.demo.access import claim_own
from edge.demo.cast import Cast, DemoError
from edge.demo.config import gateway_toml
from edge.demo.offers import cheats_that_worked, open_offers
from edge.demo.stage import Stage

SETTLE_TIMEOUT_S = 60.0


def run_demo(seconds: float | None, seed: int, summary: Path | None, directory: Path | None, as_json: bool) -> int:
    """Run it; exit code 0 when the platform's view equals the truth and nothing was lost, else 1."""
    if summary is not None and not os.access(summary.parent, os.W_OK):
        raise PlainError("--summary", str(summary), "a file in a folder that can be written to")
    keep = directory is not None
    place = Path(tempfile.mkdtemp(prefix="smartstore-demo-")) if directory is None else directory
    place.mkdir(parents=True, exist_ok=True)
    cast = Cast(place.resolve())
    # Whoever ends the demo, its processes end with it; SIGINT too: a shell that started us in the background muted it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
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
