"""Plots as numbers for SVG: the templates only draw what is placed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FIRST, LAST = 28, 88  # quarters shown when nobody came earlier or later: 07:00 to 22:00
HALF = 100.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One quarter of an hour: heights in user units above (came in) and below (went out) the line."""

    quarter: int
    x: float
    entered: int
    left: int
    up: float
    down: float
    known: bool

    @property
    def label(self) -> str:
        """09:15"""
        return f"{self.quarter // 4:02d}:{self.quarter % 4 * 15:02d}"


@dataclass(frozen=True, slots=True)
class Plot:
    """Bars, the top of the scale, and where the full hours stand."""

    bars: tuple[Bar, ...]
    top: int
    width: float
    bar_width: float
    hours: tuple[tuple[float, str], ...]


def bars(quarters: list[dict[str, Any]], width: float = 960.0) -> Plot:
    """Came in above the line, went out below it."""
    busy = [row["quarter"] for row in quarters if row["entered"] or row["left"]]
    first = min([FIRST, *busy]) // 4 * 4
    last = -(-max([LAST, *(quarter + 1 for quarter in busy)]) // 4) * 4
    top = _round_up(max((max(row["entered"], row["left"]) for row in quarters), default=0))
    step = width / (last - first)
    made = tuple(
        Bar(
            row["quarter"],
            (row["quarter"] - first) * step,
            row["entered"],
            row["left"],
            round(HALF * row["entered"] / top, 1),
            round(HALF * row["left"] / top, 1),
            row["known"],
        )
        for row in quarters[first:last]
    )
    every = 2 if last - first > 40 else 1
    hours = tuple(((quarter - first) * step, f"{quarter // 4:02d}") for quarter in range(first, last, 4 * every))
    return Plot(made, top, width, round(step * 0.7, 2), hours)


def _round_up(value: int) -> int:
    """The next of 5, 10, 20, 50, 100 …"""
    scale = 5
    while True:
        for factor in (1, 2, 4):
            if value <= scale * factor:
                return scale * factor
        scale *= 10
