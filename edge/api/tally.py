"""The day so far, counted from committed facts: read on demand from where the last reading ended."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from edge.core.fact import StoredFact, kind_of
from edge.core.instant import US_PER_S
from edge.core.ports import Clock, FactLog

FIRST_LOOK = 20_000  # facts read at most when the first page asks
PAGE = 1_000


@dataclass(slots=True)
class Day:
    """Counts of one local day. Quarters are numbered from local midnight."""

    number: int = 0
    entered: Counter[int] = field(default_factory=Counter)
    left: Counter[int] = field(default_factory=Counter)
    unknown: set[int] = field(default_factory=set)
    people: int | None = None
    picks: int = 0
    layout: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    dwell_s: dict[str, float] = field(default_factory=dict)
    """Shelf or zone → seconds that people stayed there, where enough of them did to be told (k-anonymity)."""


class Tally:
    """Counts of today, and the newest facts of each product and device."""

    def __init__(self, log: FactLog, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._after = -1
        self.day = Day()
        self.by_product: dict[str, deque[StoredFact]] = {}
        self.by_device: dict[str, deque[StoredFact]] = {}

    def read(self, zone: ZoneInfo) -> Day:
        """Today's counts as of the last commit."""
        today = self.day_of(self._clock.now().wall_us, zone)[0]
        if self._after < 0:
            self._after = max(0, self._log.last_seq - FIRST_LOOK)
        if self.day.number != today:
            self.day = Day(today)
        while rows := self._log.read(self._after + 1, PAGE):
            self._after = rows[-1].seq
            for stored in rows:
                self._take(stored, zone, today)
        return self.day

    @staticmethod
    def day_of(wall_us: int, zone: ZoneInfo) -> tuple[int, int]:
        """(day number, quarter of an hour from 0 to 95) of a wall time, in the store's time zone."""
        local = datetime.fromtimestamp(wall_us // US_PER_S, UTC).astimezone(zone)
        return local.toordinal(), (local.hour * 60 + local.minute) // 15

    def _take(self, stored: StoredFact, zone: ZoneInfo, today: int) -> None:
        kind, fields = kind_of(stored.type), stored.fields
        self._keep(stored, fields)
        # A quarter of an hour is told when it is over, or hours later if the gateway was off: it counts where it began.
        when_us = fields["start_us"] if kind == "footfall.Crossings" else stored.event_us
        number, quarter = self.day_of(when_us, zone)
        if number != today:
            return
        day = self.day
        if kind == "footfall.Crossings":
            day.entered[quarter] += fields["entered"]
            day.left[quarter] += fields["left"]
            if not fields.get("known", True):
                day.unknown.add(quarter)
        elif kind == "footfall.Occupancy":
            day.people = fields["people"] if fields.get("known", True) else None
        elif kind in ("inventory.ItemPicked", "inventory.ItemPutBack"):
            picked = kind == "inventory.ItemPicked"
            day.picks += fields["quantity"] if picked else 0
            self._row(fields["shelf"], fields["gtin"])["picks" if picked else "put_backs"] += fields["quantity"]
        elif kind == "inventory.ItemMisplaced" and not fields.get("resolved"):
            self._row(fields["shelf"], fields["gtin"])["misplaced"] += 1
        elif kind in ("proximity.ShelfConversion", "proximity.ZoneHeat") and fields.get("dwell_s") is not None:
            place = fields.get("shelf") or fields["zone"]
            day.dwell_s[place] = day.dwell_s.get(place, 0.0) + fields["dwell_s"]
        elif kind == "inventory.ItemSold":
            self._row("", fields["gtin"])["sales"] += fields["quantity"]

    def _row(self, shelf: str, gtin: str) -> Counter[str]:
        return self.day.layout.setdefault((shelf, gtin), Counter())

    def _keep(self, stored: StoredFact, fields: dict[str, Any]) -> None:
        if gtin := fields.get("gtin"):
            self.by_product.setdefault(gtin, deque(maxlen=20)).append(stored)
        if device := fields.get("device"):
            self.by_device.setdefault(device, deque(maxlen=20)).append(stored)
