"""The layout report as a picture: how much goes on at each shelf, on the floor as the live map draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge.api.floor import Box, Floor

STEPS = 5  # shades; people tell no more apart, and the number stands beside each


@dataclass(frozen=True, slots=True)
class Warmth:
    """One shelf: its place, its counts, and how warm it is from 0 (nothing) to `STEPS`."""

    box: Box
    picks: int
    put_backs: int
    sales: int
    dwell_s: float | None
    shade: int


@dataclass(frozen=True, slots=True)
class Heat:
    """All shelves on their floor."""

    floor: Floor
    shelves: tuple[Warmth, ...]


def heat_of(floor: Floor, rows: list[dict[str, Any]]) -> Heat:
    """Sum the report's rows by shelf; the busiest shelf by picks and put-backs has the darkest shade."""
    sums: dict[str, dict[str, Any]] = {box.id: {"picks": 0, "put_backs": 0, "sales": 0} for box in floor.shelves}
    dwell = {row["shelf"]: row["dwell_s"] for row in rows}
    for row in rows:
        if row["shelf"] in sums:
            for name in sums[row["shelf"]]:
                sums[row["shelf"]][name] += row[name]
    most = max((row["picks"] + row["put_backs"] for row in sums.values()), default=0)
    shelves = []
    for box in floor.shelves:
        row = sums[box.id]
        touched = row["picks"] + row["put_backs"]
        shade = -(-STEPS * touched // most) if most else 0
        shelves.append(Warmth(box, row["picks"], row["put_backs"], row["sales"], dwell.get(box.id), shade))
    return Heat(floor, tuple(shelves))
