"""``python -m tests.figures_page BENCH ACCURACY [-o docs/figures.md]``: the page of figures from what was measured.

BENCH and ACCURACY are what ``python -m tests.bench all`` and ``python -m tests.accuracy all`` printed; only their last
lines are read. A figure that was not measured stands there as such, one that missed its goal too.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.goals import ACCURACY, SPEED, Goal, found

HEAD = """# Figures

What was reached, beside what was asked. `make figures` measures all of it again, on any machine, and rewrites this page
({minutes} minutes here); the last column runs one line's command alone. A peer or a baseline was measured in the same
run, on the same data. Missed goals are marked and explained under "Known limits" in [CHANGELOG.md](../CHANGELOG.md).

Measured on {date}, {machine}, Python {python}; `cpu_score` {score} (SHA-256 rounds a microsecond: divide by yours to
compare machines). None of this is a Raspberry Pi figure. Speed is CPU time on one core where a core is named; accuracy
is of the worlds of seed {seed} in `tests/worlds`, which neither the product nor its training knows, and of recordings
of real doors. What happens when things break is in [reliability.md](reliability.md).
"""


def row(goal: Goal, figures: dict[str, Any]) -> str:
    """One line of the table."""
    group, command, *_ = goal.path.split(".")
    value = found(goal.path, figures)
    reached = "not measured" if value is None else goal.show(value)
    if value is not None and not goal.met_by(value):
        reached = f"**{reached}** (missed)"
    beside = [f"{name} {goal.show(other)}" for name, path in goal.beside if (other := found(path, figures)) is not None]
    return (
        f"| {goal.what} | {goal.sense} {goal.show(goal.goal)} | {reached} | {', '.join(beside)} | `{group} {command}` |"
    )


def section(title: str, goals: Iterable[Goal], figures: dict[str, Any]) -> str:
    """A heading and its table."""
    head = f"## {title}\n\n| what | goal | reached | beside it | `python -m tests.…` |\n|---|---|---|---|---|\n"
    return head + "\n".join(row(goal, figures) for goal in goals) + "\n"


def machine() -> str:
    """What the measuring machine is, in a few words."""
    names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
             if line.startswith("model name")]  # fmt: skip
    return f"{len(names)} × {names[0]}" if names else platform.machine()


def page(figures: dict[str, Any], seed: int, minutes: int) -> str:
    """The whole page. figures: {"bench": {command: {…}}, "accuracy": {…}}."""
    scores = [told["cpu_score"] for told in figures["bench"].values() if "cpu_score" in told]
    head = HEAD.format(
        minutes=minutes,
        date=datetime.now(UTC).date().isoformat(),
        machine=machine(),
        python=platform.python_version(),
        score=sorted(scores)[len(scores) // 2] if scores else "unknown",
        seed=seed,
    )
    return "\n".join((head, section("Speed and size", SPEED, figures), section("Accuracy", ACCURACY, figures)))


def _last_object(path: Path) -> dict[str, Any]:
    lines = path.read_text("utf-8").splitlines()
    try:
        told = json.loads(lines[-1])
    except (IndexError, ValueError):
        sys.exit(f"{path}: expected the output of `python -m tests.bench all`, whose last line is one JSON object")
    if not isinstance(told, dict):
        sys.exit(f"{path}: its last line is no JSON object but {type(told).__name__}")
    return told


def main(argv: list[str]) -> int:
    """Write the page; 1 when a goal was missed or not measured, so that a script can tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures_page")
    parser.add_argument("bench", type=Path)
    parser.add_argument("accuracy", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=int, default=0, help="how long the measuring took")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/figures.md"))
    options = parser.parse_args(argv)
    figures = {"bench": _last_object(options.bench), "accuracy": _last_object(options.accuracy)}
    options.output.write_text(page(figures, options.seed, options.minutes), "utf-8")
    missed = [
        goal.path
        for goal in (*SPEED, *ACCURACY)
        if (value := found(goal.path, figures)) is None or not goal.met_by(value)
    ]
    print(
        f"{options.output}: {len(SPEED) + len(ACCURACY)} figures, missed or not measured: {', '.join(missed) or 'none'}"
    )
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
