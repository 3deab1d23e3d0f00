"""Footfall: crossings a door and quarter of an hour, people in the store, entrances against picks.

A missing sensor makes counts unknown, never 0. Occupancy drifts with every missed crossing, so it is set to 0 at the
end of each local day, when the store is empty, and its bounds grow with the crossings counted since.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from edge.core.fact import JsonValue
from edge.core.facts import Conversion, Crossings, Occupancy
from edge.core.instant import Instant
from edge.core.localtime import QUARTER_US, local_day, quarter_end_us
from edge.core.observation import DeviceState, DeviceStatus, DoorCrossing
from edge.core.part import Said, Signal
from edge.core.site import Site

MISS_RATE = 0.03  # share of crossings that a good counter misses or invents: widens the bounds of occupancy
MIN_COVERAGE = 0.999  # of a quarter; below, its count is not known


@dataclass(slots=True)
class _Door:
    entered: int = 0
    left: int = 0
    up: bool = False
    down_since_us: int = 0
    down_us: int = 0


class Footfall:
    """Part of the engine: counts per door; `picked` tells it of picks for the conversion."""

    def __init__(self, site: Site) -> None:
        self._zone = ZoneInfo(site.store.timezone)
        self._doors = {door.device: _Door() for door in site.doors}
        self._quarter_end_wall_us: int | None = None
        self._deadline_us: int | None = None
        self._people = 0
        self._counted = 0
        self._picks = 0
        self._day = ""
        self._dirty = False

    @property
    def people(self) -> int | None:
        """People in the store, None while a door sensor is missing."""
        return max(0, self._people) if all(door.up for door in self._doors.values()) else None

    def quarter(self) -> dict[str, tuple[int, int]]:
        """By door, who came in and who went out in the quarter of an hour that runs."""
        return {name: (door.entered, door.left) for name, door in self._doors.items()}

    def crossed(self, crossing: DoorCrossing, now: Instant) -> list[Signal]:
        """Count one crossing of a known door."""
        door = self._doors.get(crossing.device_id)
        if door is None:
            return []
        signals = self._begin(now)
        inwards = crossing.direction == "in"
        door.entered += inwards
        door.left += not inwards
        self._people = max(0, self._people + (1 if inwards else -1))
        self._counted += 1
        self._dirty = True
        return [*signals, self._occupancy(crossing.crossed_us)]

    def picked(self, quantity: int) -> None:
        """Items were picked from shelves."""
        self._picks += quantity
        self._dirty = True

    def status(self, status: DeviceStatus, now: Instant) -> list[Signal]:
        """A door sensor came or went."""
        door = self._doors.get(status.device_id)
        up = status.state is not DeviceState.OFFLINE
        if door is None or door.up == up:
            return []
        signals = self._begin(now)
        if up:
            door.down_us += now.mono_us - door.down_since_us
        else:
            door.down_since_us = now.mono_us
        door.up = up
        return signals

    def _begin(self, now: Instant) -> list[Signal]:
        """Start the first quarter, or end the one that is over."""
        if self._quarter_end_wall_us is None:
            self._start_quarter(now)
            for door in self._doors.values():
                door.down_since_us = now.mono_us
            return []
        return self.tick(now)

    def _start_quarter(self, now: Instant) -> None:
        self._quarter_end_wall_us = quarter_end_us(now.wall_us)
        self._deadline_us = now.mono_us + self._quarter_end_wall_us - now.wall_us
        self._dirty = True

    def _occupancy(self, at_us: int) -> Occupancy:
        people = self.people
        slack = math.ceil(MISS_RATE * self._counted)
        return Occupancy(
            at_us=at_us,
            people=people or 0,
            known=people is not None,
            low=max(0, self._people - slack),
            high=self._people + slack,
        )

    def replan(self, site: Site, now: Instant) -> list[Signal]:
        """Follow doors that came or went; what was counted at the others stays."""
        fresh = [door.device for door in site.doors if door.device not in self._doors]
        self._doors = {door.device: self._doors.get(door.device) or _Door() for door in site.doors}
        for name in fresh:
            self._doors[name].down_since_us = now.mono_us
        self._dirty = self._dirty or bool(fresh)
        return []

    # --- Part -------------------------------------------------------------------------------------------------------

    def tick(self, now: Instant) -> list[Signal]:
        if self._deadline_us is None or now.mono_us < self._deadline_us or self._quarter_end_wall_us is None:
            return []
        end_us, start_us = self._quarter_end_wall_us, self._quarter_end_wall_us - QUARTER_US
        signals: list[Signal] = [self._close(name, door, start_us, now) for name, door in self._doors.items()]
        entered = sum(fact.entered for fact in signals if isinstance(fact, Crossings))
        ratio = round(self._picks / entered, 4) if entered else None
        signals.append(
            Conversion(
                at_us=now.mono_us, start_us=start_us, end_us=end_us, entered=entered, picks=self._picks, ratio=ratio
            )
        )
        self._picks = 0
        day = local_day(now.wall_us, self._zone)
        if self._day and day != self._day:
            self._people = self._counted = 0  # nobody stays overnight: what is left is drift
            signals.append(self._occupancy(now.mono_us))
        self._day = day
        self._start_quarter(now)
        return signals

    def _close(self, name: str, door: _Door, start_us: int, now: Instant) -> Crossings:
        down_us = door.down_us + (0 if door.up else now.mono_us - door.down_since_us)
        coverage = max(0.0, 1 - down_us / QUARTER_US)
        closed = Crossings(
            at_us=now.mono_us,
            door=name,
            start_us=start_us,
            end_us=start_us + QUARTER_US,
            entered=door.entered,
            left=door.left,
            known=coverage >= MIN_COVERAGE,
            coverage=round(coverage, 4),
        )
        door.entered = door.left = door.down_us = 0
        door.down_since_us = now.mono_us
        return closed

    def next_deadline_us(self) -> int | None:
        return self._deadline_us

    def drain_said(self) -> Said:
        if not self._dirty:
            return {}
        self._dirty = False
        doors: JsonValue = {name: [door.entered, door.left, door.down_us] for name, door in self._doors.items()}
        end_us, deadline_us = self._quarter_end_wall_us, self._deadline_us
        return {"now": [doors, end_us, deadline_us, self._people, self._counted, self._picks, self._day]}

    def restore(self, said: Mapping[str, JsonValue], now: Instant) -> None:
        value: Any = said.get("now")
        if value is None:
            return
        doors, self._quarter_end_wall_us, self._deadline_us, self._people, self._counted, self._picks, self._day = value
        for name, (entered, left, down_us) in doors.items():
            if name in self._doors:
                self._doors[name] = _Door(entered, left, False, now.mono_us, down_us)

    def internals(self) -> JsonValue:
        return None

    def restore_internals(self, internals: JsonValue) -> None:
        del internals
