"""Parts of the engine and what passes between them.

A part is a pure state machine. It answers with signals: facts (for the journal) and evidence (for the parts that
follow). What its facts have said must survive a restart exactly, so each part hands out the changed entries of that
state with `drain_said`; the journal writes them in the same transaction. Filter internals are saved rarely.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from edge.core.fact import Fact, JsonValue
from edge.core.instant import Instant
from edge.core.ports import Command
from edge.core.site import Site

Said = dict[str, JsonValue]  # key → value as JSON; None deletes the key


@dataclass(frozen=True, slots=True)
class LaneLevel:
    """An absolute weight of a lane that carries one product: count is about mean ± sd (items)."""

    at_us: int
    shelf: str
    lane: str
    gtin: str
    mean: float
    sd: float


@dataclass(frozen=True, slots=True)
class LaneStep:
    """A settled change of a lane's weight, decoded: candidates are (gtin, ±quantity, probability), best first.

    The rest of the probability mass (1 - sum) is abstention: none of the candidates.
    """

    at_us: int
    shelf: str
    lane: str
    delta_g: float
    sd_g: float
    candidates: tuple[tuple[str, int, float], ...]


@dataclass(frozen=True, slots=True)
class TagBelief:
    """Where a tag is believed to be: shelf "" means nowhere in the store, None that its reader is down.

    probability is of this belief; role is that of the antenna that saw it (shelf, exit, pos, fitting, back, receiving).
    """

    at_us: int
    epc: str
    gtin: str
    shelf: str | None
    probability: float
    role: str = "shelf"


@dataclass(frozen=True, slots=True)
class PlaceHealth:
    """A source (rfid, weight) of one shelf can or cannot be believed now."""

    at_us: int
    shelf: str
    source: str
    healthy: bool
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ZoneVisit:
    """A beacon's zone changed: zone None means none."""

    at_us: int
    beacon: str
    zone: str | None


Evidence = LaneLevel | LaneStep | TagBelief | PlaceHealth | ZoneVisit
Signal = Fact | Evidence


class Part(Protocol):
    """One room of the engine: presence, shelf, inventory, reorder, proximity, promotion, footfall."""

    def tick(self, now: Instant) -> list[Signal]:
        """Do what has become due."""
        ...

    def next_deadline_us(self) -> int | None:
        """Engine time at which `tick` has something to do, None for never."""
        ...

    def drain_said(self) -> Said:
        """Entries of the said state that changed since the last call (None: deleted). Keys are the part's own."""
        ...

    def restore(self, said: Mapping[str, JsonValue], now: Instant) -> None:
        """Take back what facts have said (the whole mapping of this part), before any observation."""
        ...

    def internals(self) -> JsonValue:
        """Filter internals, for a clean stop and every 10 minutes; losing them may never cause a false fact."""
        ...

    def restore_internals(self, internals: JsonValue) -> None:
        """Take back what `internals` gave; unknown or foreign content is ignored."""
        ...


class Replanned(Protocol):
    """A part that follows a change of the planogram while goods stand on the shelves."""

    def replan(self, site: Site, now: Instant) -> list[Signal]:
        """Use the new site from now on; stock that loses its place becomes a named exception, never a silent change."""
        ...


class Commanded(Protocol):
    """A part that carries out commands."""

    COMMANDS: ClassVar[frozenset[str]]

    def execute(self, command: Command, now: Instant) -> list[Signal]:
        """Carry out one of its COMMANDS. Raises CommandRejected(reason, detail) and then has changed nothing."""
        ...


def earliest(*deadlines_us: int | None) -> int | None:
    """The first of some deadlines; None means never."""
    due = [deadline_us for deadline_us in deadlines_us if deadline_us is not None]
    return min(due) if due else None


def facts_of(signals: list[Signal]) -> Iterator[Fact]:
    """The facts among signals, in their order."""
    return (signal for signal in signals if isinstance(signal, Fact))
