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
    now_x: float | None = None


def bars(quarters: list[dict[str, Any]], now: int | None = None, width: float = 960.0) -> Plot:
    """Came in above the line, went out below it; `now`: the quarter that runs."""
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
    now_x = None if now is None or not first <= now < last else (now - first + 1) * step
    return Plot(made, top, width, round(step * 0.7, 2), hours, now_x)


@dataclass(frozen=True, slots=True)
class Curve:
    """People inside over the day: an SVG path from the first quarter to now, its area, the top of the scale."""

    line: str
    area: str
    top: int
    width: float
    hours: tuple[tuple[float, str], ...]
    peak: int
    peak_label: str


def inside(document: dict[str, Any], width: float = 960.0) -> Curve | None:
    """Who came in minus who went out, quarter by quarter, never below nobody; None before anybody came."""
    plot = bars(document["quarters"], document["quarter"], width)
    people, counts = 0, []
    for bar in plot.bars:
        if bar.quarter > document["quarter"]:
            break
        people = max(0, people + bar.entered - bar.left)
        counts.append((bar, people))
    peak = max((count for _, count in counts), default=0)
    if not peak:
        return None
    top = _round_up(peak)
    step = width / len(plot.bars)
    points = [(round(bar.x + step, 1), round(HALF - HALF * count / top, 1)) for bar, count in counts]
    line = f"M0 {HALF:g}" + "".join(f"L{x:g} {y:g}" for x, y in points)
    label = next(bar.label for bar, count in counts if count == peak)
    return Curve(line, f"{line}V{HALF:g}Z", top, width, plot.hours, peak, label)


def _round_up(value: int) -> int:
    """The next even step of 4, 6, 10, 20, 30, 40, 60, 80, 100 … so that half of it is a whole number."""
    for small in (4, 6):
        if value <= small:
            return small
    scale = 10
    while True:
        for factor in (1, 2, 3, 4, 6, 8):
            if value <= scale * factor:
                return scale * factor
        scale *= 10
