"""The campaign can fail: named sabotages are applied to a copy of the tree, and the row that guards must turn red."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.fault._campaign import NotHere, Outcome, Promise, Trial

ROOT = Path(__file__).parents[2]
PACKAGES = ("edge", "devices", "firmware_sim", "cloud_bridge", "models", "tests")


@dataclass(frozen=True)
class Sabotage:
    """Replace `old` (found exactly once) by `new` in `file`; then `guard` must fail."""

    name: str
    file: str
    old: str
    new: str
    guard: tuple[str, ...]
    also: tuple[str, str, str] | None = None


SABOTAGES = (
    Sabotage(
        "ack before commit",
        "edge/journal/log.py",
        "self._writer.submit(lambda: self._store.write(pending.batch), lambda error: self._done(pending, error))",
        "asyncio.get_running_loop().call_soon(self._done, pending, None)\n"
        "        self._writer.submit(lambda: self._store.write(pending.batch), lambda error: None)",
        ("journal", "--only", "fsync_errors", "--count", "2"),
    ),
    Sabotage(
        "synchronous = NORMAL",
        "edge/journal/log.py",
        'OneOf(("FULL", "EXTRA"))] = "FULL"',
        'OneOf(("FULL", "EXTRA"))] = "NORMAL"',
        ("journal", "--only", "power_cuts", "--count", "3"),
    ),
    Sabotage(
        "wall-clock timer",
        "edge/clock.py",
        "mono_us = self._base_us + boottime_ns // 1000 - self._start_us",
        "mono_us = self._base_us + self._sources.realtime_ns() // 1000 - self._start_us",
        ("clock", "--only", "turned", "--count", "1"),
    ),
    Sabotage(
        "100 bytes of each fact",
        "edge/journal/log.py",
        "            batch.facts.append(self._row(fact, instant, now))\n",
        "            batch.facts.append(self._row(fact, instant, now))\n"
        "            self.__dict__.setdefault('_hoard', []).append(bytes(67))\n",
        ("soak", "--only", "memory", "--count", "30"),
    ),
    Sabotage(
        "no dedupe",
        "cloud_bridge/ingest/sequencing.py",
        "        if seq <= self.contiguous or seq in self.above:\n            return False\n",
        "",
        ("simulated", "--only", "gateways", "--count", "1", "--quick"),
        # the key of the table is a second line of defence: it has to go as well
        (
            "cloud_bridge/ingest/store.py",
            "data TEXT NOT NULL,\n  PRIMARY KEY (stream, seq)) WITHOUT ROWID;",
            "data TEXT NOT NULL);",
        ),
    ),
)


def apply(sabotage: Sabotage, tree: Path) -> None:
    """Copy the packages and change the one place. Raises AssertionError when the place is not there any more."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    edits = [(sabotage.file, sabotage.old, sabotage.new), *([sabotage.also] if sabotage.also else [])]
    for file, old, new in edits:
        path = tree / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{file}: expected {old!r} exactly once"
        path.write_text(text.replace(old, new), encoding="utf-8")


def guard(arguments: tuple[str, ...], tree: Path) -> list[dict]:
    """The rows of a campaign over another tree."""
    command = [sys.executable, "-m", "tests.fault", *arguments, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.stdout, done.stderr[-500:]
    return json.loads(done.stdout.splitlines()[-1])["rows"]


def caught(trial: Trial) -> Outcome:
    """Each sabotage turns its guard red; `count` limits how many are tried."""
    missed, tried, not_tried = [], 0, []
    for sabotage in SABOTAGES[: trial.count]:
        tree = trial.folder / sabotage.name.replace(" ", "-")
        apply(sabotage, tree)
        rows = guard(sabotage.guard, tree)
        shutil.rmtree(tree)
        if any(row["skipped"] for row in rows):
            not_tried.append(sabotage.name)
            continue
        tried += 1
        if not any(row["failed"] for row in rows):
            missed.append(sabotage.name)
        trial.say(f"  {sabotage.name}: {'MISSED' if sabotage.name in missed else 'caught'}")
    if not tried:
        raise NotHere(f"not possible here: {', '.join(not_tried)}")
    rest = f"; not possible here: {', '.join(not_tried)}" if not_tried else ""
    return Outcome(tried, len(missed), (f"missed: {', '.join(missed)}" if missed else "all caught") + rest)


PROMISES = (Promise("caught", "named sabotages turn the campaign red", (0, len(SABOTAGES), len(SABOTAGES)), caught),)
