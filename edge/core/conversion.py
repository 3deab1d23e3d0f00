"""What happened at each shelf in each quarter of an hour: taken, put back, sold.

A till's line names no shelf: a sale counts at the product's first home. Dwell is told of zones (`ZoneHeat`), where five
visitors hide each other; nothing here senses who stands before one shelf, so `dwell_s` stays None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.core.fact import Fact, JsonValue
from edge.core.facts import ItemPicked, ItemPutBack, ItemSold, ShelfConversion
from edge.core.instant import Instant
from edge.core.localtime import QUARTER_US, quarter_end_us
from edge.core.part import Said, Signal
from edge.core.site import Site

PICKS, PUT_BACKS, SALES = range(3)


class Conversions:
    """Part of the engine: one fact for each shelf at which something happened; a quiet shelf says nothing."""

    def __init__(self, site: Site) -> None:
        self._homes = site.homes_by_gtin
        self._counts: dict[str, list[int]] = {}
        self._end_wall_us = 0
        self._deadline_us: int | None = None
        self._dirty = False

    def follow(self, fact: Fact, now: Instant) -> None:
        """Count what happened at a shelf."""
        match fact:
            case ItemPicked(shelf=shelf, quantity=quantity):
                column = PICKS
            case ItemPutBack(shelf=shelf, quantity=quantity):
                column = PUT_BACKS
            case ItemSold(gtin=gtin, quantity=quantity):
                shelf, column = next(iter(self._homes.get(gtin, ())), ""), SALES
            case _:
                return
        if not shelf:
            return
        if self._deadline_us is None:
            self._end_wall_us = quarter_end_us(now.wall_us)
            self._deadline_us = now.mono_us + self._end_wall_us - now.wall_us
        self._counts.setdefault(shelf, [0, 0, 0])[column] += quantity
        self._dirty = True

    def replan(self, site: Site, now: Instant) -> list[Signal]:
        """Homes may have changed; what was counted stays."""
        del now
        self._homes = site.homes_by_gtin
        return []

    # --- Part -------------------------------------------------------------------------------------------------------

    def tick(self, now: Instant) -> list[Signal]:
        if self._deadline_us is None or now.mono_us < self._deadline_us:
            return []
        start_us, end_us = self._end_wall_us - QUARTER_US, self._end_wall_us
        told: list[Signal] = [
            ShelfConversion(
                at_us=now.mono_us,
                shelf=shelf,
                start_us=start_us,
                end_us=end_us,
                dwell_s=None,
                picks=counts[PICKS],
                put_backs=counts[PUT_BACKS],
                sales=counts[SALES],
            )
            for shelf, counts in sorted(self._counts.items())
        ]
        self._counts, self._deadline_us, self._dirty = {}, None, True
        return told

    def next_deadline_us(self) -> int | None:
        return self._deadline_us

    def drain_said(self) -> Said:
        if not self._dirty:
            return {}
        self._dirty = False
        counts: dict[str, JsonValue] = {shelf: list(row) for shelf, row in self._counts.items()}
        return {"now": [counts, self._end_wall_us, self._deadline_us] if counts else None}

    def restore(self, said: Mapping[str, JsonValue], now: Instant) -> None:
        del now
        value: Any = said.get("now")
        if value is not None:
            counts, self._end_wall_us, self._deadline_us = value
            self._counts = {shelf: list(row) for shelf, row in counts.items()}

    def internals(self) -> JsonValue:
        return None

    def restore_internals(self, internals: JsonValue) -> None:
        del internals
