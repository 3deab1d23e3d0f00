"""How busy zones are: visits and dwell of assets (trolleys, baskets, consented ids) per quarter of an hour and zone.

A cell with fewer than k = 5 different beacons is told as unknown: nobody can be found out by counting.
"""

from __future__ import annotations

from typing import Final

from edge.core.facts import ZoneHeat
from edge.core.instant import US_PER_S, Instant
from edge.core.localtime import quarter_end_us
from edge.core.part import Signal
from edge.core.site import Site

K_ANONYMITY: Final = 5


class Heat:
    """Counts of the running quarter; only the pseudonymous ids of own beacons, and only until the quarter ends."""

    def __init__(self) -> None:
        self._zones: list[str] = []
        self._inside: dict[str, tuple[str, int]] = {}
        self._visitors: dict[str, set[str]] = {}
        self._dwell_us: dict[str, int] = {}
        self._begun_us = 0
        self.deadline_us: int | None = None

    def plan(self, site: Site, zones: list[str]) -> None:
        """The zones that can be told of."""
        del site
        self._zones = zones

    def entered(self, beacon: str, zone: str, now: Instant) -> None:
        """A beacon came into a zone."""
        if zone:
            self._inside[beacon] = (zone, now.mono_us)
            self._visitors.setdefault(zone, set()).add(beacon)
            if self.deadline_us is None:
                self._begin(now)

    def left(self, beacon: str, zone: str, now_us: int) -> None:
        """It left."""
        before = self._inside.pop(beacon, None)
        if before is not None and zone:
            self._dwell_us[zone] = self._dwell_us.get(zone, 0) + max(0, now_us - before[1])

    def forget(self, beacon: str) -> None:
        """A consent was withdrawn: it counts as no visitor of this quarter any more."""
        self._inside.pop(beacon, None)
        for visitors in self._visitors.values():
            visitors.discard(beacon)

    def tick(self, now: Instant) -> list[Signal]:
        """At a quarter's end: one fact a zone."""
        if self.deadline_us is None or now.mono_us < self.deadline_us:
            return []
        for beacon, (zone, since_us) in list(self._inside.items()):
            self._dwell_us[zone] = self._dwell_us.get(zone, 0) + max(0, now.mono_us - since_us)
            self._inside[beacon] = (zone, now.mono_us)
        told: list[Signal] = [self._cell(zone, now) for zone in self._zones]
        self._visitors = {}
        self._dwell_us = {}
        for beacon, (zone, _) in self._inside.items():
            self._visitors.setdefault(zone, set()).add(beacon)
        self._begin(now)
        return told

    def _begin(self, now: Instant) -> None:
        self._begun_us = now.wall_us
        self.deadline_us = now.mono_us + quarter_end_us(now.wall_us) - now.wall_us

    def _cell(self, zone: str, now: Instant) -> ZoneHeat:
        visits = len(self._visitors.get(zone, ()))
        known = visits >= K_ANONYMITY
        dwell_s = round(self._dwell_us.get(zone, 0) / US_PER_S, 1)
        return ZoneHeat(
            at_us=now.mono_us,
            zone=zone,
            start_us=self._begun_us,
            end_us=now.wall_us,
            visits=visits if known else None,
            dwell_s=dwell_s if known else None,
        )
