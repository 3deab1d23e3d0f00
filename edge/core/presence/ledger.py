"""The ledger: what has been said of each tag, and the facts that a change of its place makes.

States: present, exiting (at an exit antenna), departed, sold, returned (sold and back on a shelf). "Unknown because its
reader is down" is no state of its own: it is derived from the place, so that a restart or a repair cannot leave it
behind. Entries are kept for departed and sold tags too, for a while: that is how a return is recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from edge.core.fact import JsonValue
from edge.core.facts import (
    FittingRoomDwell,
    ItemExitedUnpaid,
    ItemMisplaced,
    TagArrived,
    TagDeparted,
    TagMoved,
)
from edge.core.instant import US_PER_DAY, US_PER_MIN, US_PER_S
from edge.core.part import Said, Signal, TagBelief
from edge.core.presence.places import NOWHERE, Places
from edge.core.retention import Retention
from edge.core.site import AntennaRole, Site

RETURN_MIN_US = 10 * US_PER_MIN  # a sold item stays near the till and the exit for a while; later it is a return
CREDIT_US = 60 * US_PER_MIN  # how long a sale known by GTIN only excuses an item of it at the exit
MISPLACED_DWELL_US = 8 * US_PER_S
MISPLACED_SURE = 0.95


class TagState(StrEnum):
    """What has been said of a tag."""

    NEW = "new"  # nothing yet
    PRESENT = "present"
    EXITING = "exiting"
    DEPARTED = "departed"
    SOLD = "sold"
    RETURNED = "returned"


HERE = frozenset({TagState.PRESENT, TagState.EXITING, TagState.RETURNED})


@dataclass(slots=True)
class Entry:
    """One tag: its name in facts, and what they have said."""

    epc: str
    gtin: str
    place: int = NOWHERE
    state: TagState = TagState.NEW
    since_us: int = 0
    sold_us: int = 0
    misplaced: str = ""  # home shelf while an ItemMisplaced is open
    probability: float = 0.0  # last told as evidence


class Ledger:
    """Entries by row of the tag table."""

    def __init__(self, site: Site, places: Places, epc_of: Callable[[int], bytes]) -> None:
        """epc_of: the EPC of a row; its hex digits are the key of the said state."""
        self.entries: dict[int, Entry] = {}
        self.changed: set[int] = set()
        self.forgotten: set[str] = set()
        self.credits: dict[str, list[int]] = {}  # GTIN → times of sales whose items have not been seen leaving
        self._watch: dict[int, int] = {}  # row → when to look whether it is misplaced
        self._site, self._places = site, places
        self._epc_of = epc_of

    def replan(self, site: Site, places: Places, renumbered: NDArray[np.int32], at_us: int) -> None:
        """Use another planogram: `renumbered` (old places + 1,) gives the new index of an old place or NOWHERE."""
        self._site, self._places = site, places
        self._watch.clear()
        for row, entry in self.entries.items():
            entry.place = int(renumbered[entry.place])
            if entry.state in HERE and entry.place != NOWHERE and not entry.misplaced:
                self._watch_misplaced(row, entry, at_us)

    def lose(self, row: int, at_us: int) -> Iterator[Signal]:
        """The place of a tag is no more in the planogram."""
        entry = self.entries[row]
        yield from self._leave(entry, at_us)
        yield from self._to(row, entry, NOWHERE, 1.0, at_us, reason="replanned")
        yield self.belief(entry, 1.0, at_us)

    def place_id(self, place: int) -> str:
        """The id of a place, "" for nowhere."""
        return self._places.all[place].id if place != NOWHERE else ""

    def role(self, place: int) -> AntennaRole:
        """The role of a place."""
        return self._places.all[place].role

    def in_front(self, role: AntennaRole, zone: str) -> list[Entry]:
        """What is believed to be before the antennas of this role in a zone, first come first."""
        found = [
            entry
            for entry in self.entries.values()
            if entry.state in HERE
            and entry.place != NOWHERE
            and self.role(entry.place) is role
            and self.place_id(entry.place) == zone
        ]
        return sorted(found, key=lambda entry: entry.since_us)

    def belief(self, entry: Entry, probability: float, at_us: int, *, known: bool = True) -> TagBelief:
        """Evidence for the parts that follow; known=False: the reader of its place is down."""
        entry.probability = probability
        shelf = self.place_id(entry.place) if entry.state in HERE else ""
        role = self.role(entry.place).value if entry.place != NOWHERE else AntennaRole.SHELF.value
        return TagBelief(at_us, entry.epc, entry.gtin, shelf if known else None, round(probability, 4), role)

    def settle(self, row: int, place: int, probability: float, at_us: int) -> Iterator[Signal]:
        """The filter believes that a tag is at a place (or NOWHERE) now."""
        entry = self.entries[row]
        if entry.state is TagState.SOLD:
            yield from self._settle_sold(row, entry, place, probability, at_us)
            return
        if place == entry.place and entry.state in HERE:
            return
        old, was_here = entry.place, entry.state in HERE
        yield from self._leave(entry, at_us)
        if was_here and place != NOWHERE:
            yield TagMoved(
                at_us=at_us,
                epc=entry.epc,
                gtin=entry.gtin,
                from_shelf=self.place_id(old),
                shelf=self.place_id(place),
                confidence=round(probability, 4),
            )
        yield from self._to(row, entry, place, probability, at_us)
        yield self.belief(entry, probability, at_us)

    def _leave(self, entry: Entry, at_us: int) -> Iterator[Signal]:
        if entry.misplaced:
            yield self._misplaced(entry, entry.probability, at_us, resolved=True)
            entry.misplaced = ""
        if entry.place != NOWHERE and entry.state in HERE and self.role(entry.place) is AntennaRole.FITTING:
            yield FittingRoomDwell(
                at_us=at_us,
                epc=entry.epc,
                gtin=entry.gtin,
                zone=self.place_id(entry.place),
                dwell_s=round((at_us - entry.since_us) / US_PER_S, 1),
            )

    def _to(
        self, row: int, entry: Entry, place: int, probability: float, at_us: int, reason: str = "left"
    ) -> Iterator[Signal]:
        old, state = entry.place, entry.state
        entry.place, entry.since_us = place, at_us
        self.changed.add(row)
        self._watch.pop(row, None)
        confidence = round(probability, 4)
        if place == NOWHERE:
            entry.state = TagState.DEPARTED
            yield TagDeparted(
                at_us=at_us,
                epc=entry.epc,
                gtin=entry.gtin,
                shelf=self.place_id(old),
                confidence=confidence,
                reason="exit" if state is TagState.EXITING else reason,
            )
            return
        entry.state = TagState.RETURNED if state is TagState.RETURNED else TagState.PRESENT
        if state not in HERE:
            yield TagArrived(
                at_us=at_us, epc=entry.epc, gtin=entry.gtin, shelf=self.place_id(place), confidence=confidence
            )
        if self.role(place) is AntennaRole.EXIT:
            yield from self._exit(entry, confidence, at_us)
        else:
            self._watch_misplaced(row, entry, at_us)

    def _exit(self, entry: Entry, confidence: float, at_us: int) -> Iterator[Signal]:
        if self._use_credit(entry.gtin, at_us):
            yield from self._sell(entry, at_us)
            return
        entry.state = TagState.EXITING
        yield ItemExitedUnpaid(
            at_us=at_us, epc=entry.epc, gtin=entry.gtin, exit=self.place_id(entry.place), confidence=confidence
        )

    # --- sales ---------------------------------------------------------------------------------------------------

    def sell(self, row: int, at_us: int) -> Iterator[Signal]:
        """The till sold this very tag."""
        entry = self.entries[row]
        if entry.state is not TagState.SOLD:
            yield from self._leave(entry, at_us)
            yield from self._sell(entry, at_us)
            yield self.belief(entry, 1.0, at_us)
        self.changed.add(row)
        self._watch.pop(row, None)

    def credit(self, gtin: str, quantity: int, at_us: int) -> None:
        """The till sold items of a product without saying which: they may leave."""
        self.credits.setdefault(gtin, []).extend([at_us] * quantity)

    def at_till(self, gtin: str) -> list[int]:
        """Rows of a product that stand at a till now, longest first."""
        rows = [
            row
            for row, entry in self.entries.items()
            if entry.gtin == gtin
            and entry.state in HERE
            and entry.place != NOWHERE
            and self.role(entry.place) is AntennaRole.POS
        ]
        return sorted(rows, key=lambda row: self.entries[row].since_us)

    def _use_credit(self, gtin: str, at_us: int) -> bool:
        valid = [sold_us for sold_us in self.credits.get(gtin, ()) if at_us - sold_us < CREDIT_US]
        used = valid.pop(0) if valid else None
        if valid:
            self.credits[gtin] = valid
        else:
            self.credits.pop(gtin, None)
        return used is not None

    def _sell(self, entry: Entry, at_us: int) -> Iterator[Signal]:
        if entry.state in HERE:
            yield TagDeparted(
                at_us=at_us,
                epc=entry.epc,
                gtin=entry.gtin,
                shelf=self.place_id(entry.place),
                confidence=1.0,
                reason="sold",
            )
        entry.state, entry.place = TagState.SOLD, NOWHERE
        entry.since_us = entry.sold_us = at_us

    def _settle_sold(self, row: int, entry: Entry, place: int, probability: float, at_us: int) -> Iterator[Signal]:
        """A sold tag is still read near the till and on its way out; later, on a shelf, it is a return."""
        if place == NOWHERE or at_us - entry.sold_us < RETURN_MIN_US or self.role(place) is not AntennaRole.SHELF:
            return
        yield from self._to(row, entry, place, probability, at_us)
        entry.state = TagState.RETURNED
        yield self.belief(entry, probability, at_us)

    # --- misplaced items -------------------------------------------------------------------------------------------

    def _watch_misplaced(self, row: int, entry: Entry, at_us: int) -> None:
        homes = self._site.homes_by_gtin.get(entry.gtin, ())
        if homes and self.role(entry.place) is AntennaRole.SHELF and self.place_id(entry.place) not in homes:
            self._watch[row] = at_us + MISPLACED_DWELL_US

    def watched(self, at_us: int) -> list[int]:
        """Rows whose misplacement is to be looked at now."""
        return [row for row, due_us in self._watch.items() if due_us <= at_us]

    def look(self, row: int, probability: float, at_us: int) -> Iterator[Signal]:
        """Say that a watched tag is misplaced, once its place is sure."""
        if probability < MISPLACED_SURE:
            self._watch[row] = at_us + US_PER_S
            return
        del self._watch[row]
        entry = self.entries[row]
        entry.misplaced = self._site.homes_by_gtin[entry.gtin][0]
        self.changed.add(row)
        yield self._misplaced(entry, probability, at_us, resolved=False)

    def _misplaced(self, entry: Entry, probability: float, at_us: int, *, resolved: bool) -> ItemMisplaced:
        return ItemMisplaced(
            at_us=at_us,
            epc=entry.epc,
            gtin=entry.gtin,
            shelf=self.place_id(entry.place),
            home_shelf=entry.misplaced,
            confidence=round(probability, 4),
            resolved=resolved,
        )

    # --- the said state --------------------------------------------------------------------------------------------

    def drain(self) -> Said:
        """Changed entries as JSON, forgotten ones as None."""
        said: Said = dict.fromkeys(self.forgotten)
        for row in sorted(self.changed):
            entry = self.entries[row]
            role = self.role(entry.place).value if entry.place != NOWHERE else ""
            where: list[JsonValue] = [self.place_id(entry.place), role]
            said[self._key(row)] = [*where, entry.state.value, entry.since_us, entry.sold_us, entry.misplaced]
        self.changed.clear()
        self.forgotten.clear()
        return said

    def _key(self, row: int) -> str:
        return self._epc_of(row).hex()

    def take_back(self, row: int, entry: Entry, said: Sequence[JsonValue]) -> None:
        """Enter what was said before a restart. Raises ValueError or TypeError for content that is not ours."""
        place_id, role, state, since_us, sold_us, misplaced = said
        entry.place = self._places.find(str(place_id), str(role))
        entry.state = TagState(str(state))
        entry.since_us, entry.sold_us = int(str(since_us)), int(str(sold_us))
        entry.misplaced = str(misplaced)
        self.entries[row] = entry
        if entry.state in HERE and entry.place != NOWHERE and not entry.misplaced:
            self._watch_misplaced(row, entry, entry.since_us)

    def forgettable(self, at_us: int, retention: Retention) -> list[int]:
        """Rows of tags that left so long ago that they need no longer be known."""
        sold_us, departed_us = (
            round(days * US_PER_DAY) for days in (retention.sold_tag_days, retention.departed_tag_days)
        )
        old = []
        for row, entry in self.entries.items():
            keep_us = sold_us if entry.state is TagState.SOLD else departed_us
            if entry.state not in HERE and at_us - entry.since_us > keep_us:
                old.append(row)
        return old

    def forget(self, row: int) -> None:
        """Drop an entry."""
        entry = self.entries.pop(row)
        self._watch.pop(row, None)
        self.changed.discard(row)
        if entry.state is not TagState.NEW:
            self.forgotten.add(self._key(row))
