"""The day so far, counted from committed facts.

Facts leave the journal soon after the platform has them (`JournalSettings.keep_acked_rows`: a quarter of an hour of a
busy store), so the day cannot be counted in the evening: `count` reads along, and keeps the counts for a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

from edge.core.errors import JournalFull
from edge.core.fact import JsonValue, StoredFact, kind_of
from edge.core.instant import US_PER_S
from edge.core.ports import Clock, FactLog, KeyValue

FIRST_LOOK = 20_000  # facts read at most at the first look, for the newest facts of products and devices
PAGE = 1_000
LOOK_S = 5.0
KEEP_LOOKS = 60  # five minutes: what is younger is still in the journal
KEEP_FACTS = 2_000
KEY = "console/day"


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

    def as_json(self) -> dict[str, JsonValue]:
        """As it is kept over a restart."""
        return {
            "number": self.number,
            "entered": [[quarter, n] for quarter, n in self.entered.items()],
            "left": [[quarter, n] for quarter, n in self.left.items()],
            "unknown": [*self.unknown],
            "people": self.people,
            "picks": self.picks,
            "layout": [[shelf, gtin, dict(row)] for (shelf, gtin), row in self.layout.items()],
            "dwell_s": dict(self.dwell_s),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Day:
        """What `as_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            number=int(kept["number"]),
            entered=Counter(dict(kept["entered"])),
            left=Counter(dict(kept["left"])),
            unknown=set(kept["unknown"]),
            people=kept["people"],
            picks=int(kept["picks"]),
            layout={(shelf, gtin): Counter(row) for shelf, gtin, row in kept["layout"]},
            dwell_s=dict(kept["dwell_s"]),
        )


class Tally:
    """Counts of today, and the newest facts of each product and device."""

    def __init__(self, log: FactLog, clock: Clock, keyed: KeyValue) -> None:
        self._log, self._clock, self._keyed = log, clock, keyed
        self._after = -1
        self._counted = 0
        """The facts up to here are in the counts that were kept."""
        self._kept = 0
        self.day = Day()
        self.by_product: dict[str, deque[StoredFact]] = {}
        self.by_device: dict[str, deque[StoredFact]] = {}

    def read(self, zone: ZoneInfo) -> Day:
        """Today's counts as of the last commit."""
        today = self.day_of(self._clock.now().wall_us, zone)[0]
        if self._after < 0:
            self._begin()
        if self.day.number != today:
            self.day = Day(today)
        while rows := self._log.read(self._after + 1, PAGE):
            self._after = rows[-1].seq
            for stored in rows:
                self._take(stored, zone, today)
        return self.day

    async def count(self, zone: Callable[[], ZoneInfo]) -> None:
        """Read along for ever, and keep the counts now and then."""
        looks = 0
        while True:
            await asyncio.sleep(LOOK_S)
            self.read(zone())
            looks += 1
            if self._after > self._kept and (looks >= KEEP_LOOKS or self._after - self._kept >= KEEP_FACTS):
                looks, self._kept = 0, self._after
                with contextlib.suppress(JournalFull):  # it is told by an alarm of its own; the next time, then
                    await self._keyed.put(KEY, self.document())

    def document(self) -> dict[str, JsonValue]:
        """As it is kept: the counts, and up to which fact of which journal they go."""
        return {"epoch": self._log.epoch, "after": self._after, "day": self.day.as_json()}

    def _begin(self) -> None:
        """Take up what was kept before a restart; counts of another journal, or broken ones, count as none."""
        self._after = max(0, self._log.last_seq - FIRST_LOOK)
        kept = cast("Any", self._keyed.get(KEY))
        with contextlib.suppress(KeyError, TypeError, ValueError):
            if kept["epoch"] == self._log.epoch:
                self.day = Day.from_json(kept["day"])
                self._counted = self._kept = int(kept["after"])
                self._after = min(self._after, self._counted)

    @staticmethod
    def day_of(wall_us: int, zone: ZoneInfo) -> tuple[int, int]:
        """(day number, quarter of an hour from 0 to 95) of a wall time, in the store's time zone."""
        local = datetime.fromtimestamp(wall_us // US_PER_S, UTC).astimezone(zone)
        return local.toordinal(), (local.hour * 60 + local.minute) // 15

    def _take(self, stored: StoredFact, zone: ZoneInfo, today: int) -> None:
        kind, fields = kind_of(stored.type), stored.fields
        self._keep(stored, fields)
        if stored.seq <= self._counted:
            return
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
