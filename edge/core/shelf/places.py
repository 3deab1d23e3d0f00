"""Which shelves the scales can speak for: a shelf counts as healthy while all its lanes do."""

from __future__ import annotations

from collections.abc import Iterable

from edge.core.part import PlaceHealth, Signal
from edge.core.site import Lane

SOURCE = "weight"
UNWEIGHED = "not weighed yet"


class Places:
    """Causes by lane and kind; `tell` says what changed for shelves."""

    def __init__(self) -> None:
        self.dirty = False
        self._shelf_of: dict[str, str] = {}
        self._causes: dict[str, dict[str, str]] = {}
        self._told: dict[str, tuple[bool, str]] = {}

    def plan(self, lanes: Iterable[Lane]) -> None:
        """Follow these lanes; what is known of those that stay is kept."""
        self._shelf_of = {lane.id: lane.shelf for lane in lanes}
        old = self._causes
        self._causes = {lane: old.get(lane, {"start": UNWEIGHED}) for lane in self._shelf_of}

    def mark(self, lane: str, kind: str, cause: str) -> None:
        """A cause ("" lifts it) why the lane cannot be believed."""
        causes = self._causes[lane]
        if causes.get(kind, "") != cause:
            self.dirty = True
            if cause:
                causes[kind] = cause
            else:
                del causes[kind]

    def rested(self, lane: str) -> None:
        """The lane was weighed."""
        if self._causes[lane].pop("start", None) is not None:
            self.dirty = True

    def unrest(self, lane: str) -> None:
        """The lane has to be weighed anew."""
        self._causes[lane]["start"] = UNWEIGHED
        self.dirty = True

    def tell(self, at_us: int) -> list[Signal]:
        """Health of the shelves where it changed. A shelf not weighed yet is not told until it is, or is faulty."""
        self.dirty = False
        worst: dict[str, str] = {}
        for lane, causes in self._causes.items():
            shelf = self._shelf_of[lane]
            cause = next((text for kind, text in causes.items() if kind != "start"), next(iter(causes.values()), ""))
            if cause and worst.get(shelf, UNWEIGHED) == UNWEIGHED:
                worst[shelf] = cause
        told: list[Signal] = []
        for shelf in dict.fromkeys(self._shelf_of.values()):
            cause = worst.get(shelf, "")
            state = (not cause, cause)
            if state == self._told.get(shelf) or (cause == UNWEIGHED and shelf not in self._told):
                continue
            self._told[shelf] = state
            told.append(PlaceHealth(at_us, shelf, SOURCE, not cause, cause))
        return told
