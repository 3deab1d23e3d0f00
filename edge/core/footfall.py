"""Footfall: crossings a door and quarter of an hour, people in the store, entrances against picks.

A sensor that is missing, or whose frames cannot be counted, makes counts unknown, never 0; so do the gateway's own
restart and the part of a quarter before it began. Occupancy drifts with every missed crossing, so what is left when the
store closes is told as `drift` and taken off (at midnight too, for a store that never closes); its bounds grow with the
crossings counted since.
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
from edge.core.localtime import QUARTER_US, is_open, local_day, quarter_end_us
from edge.core.observation import DeviceState, DeviceStatus, DoorCrossing
from edge.core.part import Said, Signal
from edge.core.site import Site

MISS_RATE = 0.03  # share of crossings that a good counter misses or invents: widens the bounds of occupancy
MIN_COVERAGE = 0.999  # of a quarter; below, its count is not known
UNCOUNTED = frozenset({"inference", "inference_late"})  # causes of a degraded sensor whose frames are not counted
MOST_MISSED = 96  # quarters that a gateway which was off tells as unknown: a day of them


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
        self._hours = site.store.hours
        self._doors = {door.device: _Door() for door in site.doors}
        self._quarter_end_wall_us: int | None = None
        self._deadline_us: int | None = None
        self._people = 0
        self._counted = 0
        self._picks = 0
        self._day = ""
        self._at_us = 0  # of the last change that is kept: after a restart, nothing is known of the time since
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
        """A door sensor came or went, or its frames cannot be counted (too many bad pixels, no model, too late)."""
        door = self._doors.get(status.device_id)
        uncounted = status.state is DeviceState.DEGRADED and status.cause in UNCOUNTED
        up = status.state is not DeviceState.OFFLINE and not uncounted
        if door is None or door.up == up:
            return []
        signals = self._begin(now)
        if up:
            door.down_us += now.mono_us - door.down_since_us
        else:
            door.down_since_us = now.mono_us
        door.up = up
        self._dirty = True
        return signals

    def _begin(self, now: Instant) -> list[Signal]:
        """Start the first quarter, or end the one that is over."""
        self._at_us = now.mono_us
        if self._quarter_end_wall_us is None:
            self._start_quarter(now, joined=False)
            return []
        return self.tick(now)

    def _start_quarter(self, now: Instant, joined: bool) -> None:
        """Begin the quarter of `now`. joined: it follows the last one, else nothing is known of what is over of it."""
        self._quarter_end_wall_us = quarter_end_us(now.wall_us)
        self._deadline_us = now.mono_us + self._quarter_end_wall_us - now.wall_us
        over_us = now.wall_us - (self._quarter_end_wall_us - QUARTER_US)
        for door in self._doors.values():
            door.down_us = 0 if joined else over_us
            door.down_since_us = now.mono_us - (over_us if joined else 0)
        self._dirty = True

    def _occupancy(self, at_us: int, drift: int | None = None) -> Occupancy:
        slack = math.ceil(MISS_RATE * self._counted)
        return Occupancy(
            at_us=at_us,
            people=self._people,
            known=self.people is not None,
            low=max(0, self._people - slack),
            high=self._people + slack,
            drift=drift,
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
        closed = [self._close(name, door, start_us, now) for name, door in self._doors.items()]
        signals: list[Signal] = [*closed, self._conversion(closed, end_us, now)]
        missed = self._missed(end_us, now)
        signals += missed
        day = local_day(now.wall_us, self._zone)
        closing = is_open(start_us, self._zone, self._hours) and not is_open(now.wall_us, self._zone, self._hours)
        if closing or (self._day and day != self._day):
            drift, self._people, self._counted = self._people, 0, 0  # nobody stays: what is left was counted wrong
            signals.append(self._occupancy(now.mono_us, drift))
        self._day = day
        self._at_us = now.mono_us
        self._start_quarter(now, joined=not missed)
        return signals

    def _conversion(self, closed: list[Crossings], end_us: int, now: Instant) -> Conversion:
        entered, known = sum(row.entered for row in closed), all(row.known for row in closed)
        picks, self._picks = self._picks, 0
        return Conversion(
            at_us=now.mono_us,
            start_us=end_us - QUARTER_US,
            end_us=end_us,
            entered=entered,
            picks=picks,
            ratio=round(picks / entered, 4) if entered and known else None,
            known=known,
        )

    def _missed(self, end_us: int, now: Instant) -> list[Signal]:
        """Whole quarters that passed while the gateway was off: nothing is known of them."""
        first = max(end_us, quarter_end_us(now.wall_us) - QUARTER_US * (MOST_MISSED + 1))
        return [
            Crossings(
                at_us=now.mono_us,
                door=name,
                start_us=start_us,
                end_us=start_us + QUARTER_US,
                entered=0,
                left=0,
                known=False,
                coverage=0.0,
            )
            for start_us in range(first, quarter_end_us(now.wall_us) - QUARTER_US, QUARTER_US)
            for name in self._doors
        ]

    def _close(self, name: str, door: _Door, start_us: int, now: Instant) -> Crossings:
        until_us = now.mono_us if self._deadline_us is None else min(now.mono_us, self._deadline_us)
        down_us = door.down_us + (0 if door.up else max(0, until_us - door.down_since_us))
        coverage = min(1.0, max(0.0, 1 - down_us / QUARTER_US))
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
        door.entered = door.left = 0
        return closed

    def next_deadline_us(self) -> int | None:
        return self._deadline_us

    def drain_said(self) -> Said:
        if not self._dirty:
            return {}
        self._dirty = False
        doors: JsonValue = {
            name: [door.entered, door.left, door.down_us, None if door.up else door.down_since_us]
            for name, door in self._doors.items()
        }
        end_us, deadline_us = self._quarter_end_wall_us, self._deadline_us
        rest: list[JsonValue] = [self._people, self._counted, self._picks, self._day, self._at_us]
        return {"now": [doors, end_us, deadline_us, *rest]}

    def restore(self, said: Mapping[str, JsonValue], now: Instant) -> None:
        value: Any = said.get("now")
        if value is None:
            return
        doors, self._quarter_end_wall_us, self._deadline_us, self._people, self._counted, self._picks = value[:6]
        self._day = value[6]
        self._at_us = int(value[7]) if len(value) > 7 else now.mono_us
        for name, (entered, left, down_us, *missing_since) in doors.items():
            if name in self._doors:
                since_us = int(missing_since[0]) if missing_since and missing_since[0] is not None else self._at_us
                self._doors[name] = _Door(entered, left, False, since_us, down_us)

    def internals(self) -> JsonValue:
        return None

    def restore_internals(self, internals: JsonValue) -> None:
        del internals
