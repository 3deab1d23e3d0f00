"""Replay: recorded reads through two settings at once, to see what a profile or another set of antennas would change.

A recording is a tap of a reader's link (`devices.transport.Tap`), LLRP or a serial module. Engine time is the
recording's own, so a night replays in seconds. Nothing here touches the journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from devices.rfid_llrp import playback as llrp
from devices.rfid_r200 import playback as r200
from devices.rfid_r200.codec import HEAD
from devices.transport.recording import FROM_DEVICE, read_recording
from edge.core.fact import kind_of
from edge.core.facts import TagArrived, TagDeparted, TagMoved
from edge.core.instant import US_PER_S, Instant
from edge.core.observation import TagReads
from edge.core.part import Signal, facts_of
from edge.core.presence import Presence, Profile
from edge.core.presence.part import Identity
from edge.core.site import Site


@dataclass(frozen=True, slots=True)
class Setting:
    """A site and a profile: one side of a comparison."""

    site: Site
    profile: Profile


@dataclass(frozen=True, slots=True)
class Difference:
    """A tag that the two sides place differently at the end, or did for a while."""

    epc: str
    gtin: str
    before: str
    after: str
    disagreed_s: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What would have changed. facts: kind → (number before, number after)."""

    seconds: float
    reads: int
    tags: int
    facts: dict[str, tuple[int, int]]
    differences: list[Difference]


@dataclass(slots=True)
class _Side:
    part: Presence
    kinds: Counter[str] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)
    gtins: dict[str, str] = field(default_factory=dict)

    def follow(self, signals: list[Signal]) -> None:
        for fact in facts_of(signals):
            self.kinds[kind_of(type(fact))] += 1
            if isinstance(fact, TagArrived | TagMoved):
                self.places[fact.epc], self.gtins[fact.epc] = fact.shelf, fact.gtin
            elif isinstance(fact, TagDeparted):
                self.places[fact.epc], self.gtins[fact.epc] = "", fact.gtin


def compare(batches: Iterable[TagReads], identity_of: Identity, before: Setting, after: Setting) -> Comparison:
    """Run the same reads (by `mono_us`, ascending) through both settings, second by second."""
    sides = [_Side(Presence(setting.site, identity_of, setting.profile)) for setting in (before, after)]
    disagreed_s: Counter[str] = Counter()
    first_us = now_us = -1
    reads = 0
    for batch in batches:
        if first_us < 0:
            first_us = now_us = batch.mono_us
        while now_us + US_PER_S <= batch.mono_us:
            now_us += US_PER_S
            _second(sides, now_us, disagreed_s)
        reads += len(batch)
        for side in sides:
            side.part.observe(batch, Instant(batch.mono_us, batch.mono_us))
    _second(sides, now_us + US_PER_S, disagreed_s)
    kinds = sorted(sides[0].kinds | sides[1].kinds)
    old, new = sides
    return Comparison(
        seconds=(now_us - first_us) / US_PER_S,
        reads=reads,
        tags=len(old.places.keys() | new.places.keys()),
        facts={kind: (old.kinds[kind], new.kinds[kind]) for kind in kinds},
        differences=[
            Difference(
                epc,
                old.gtins.get(epc) or new.gtins[epc],
                old.places.get(epc, ""),
                new.places.get(epc, ""),
                float(seconds),
            )
            for epc, seconds in disagreed_s.most_common()
        ],
    )


def _second(sides: list[_Side], now_us: int, disagreed_s: Counter[str]) -> None:
    for side in sides:
        side.follow(side.part.tick(Instant(now_us, now_us)))
    old, new = sides[0].places, sides[1].places
    disagreed_s.update(epc for epc in old.keys() | new.keys() if old.get(epc, "") != new.get(epc, ""))


def reads_of_tap(path: Path, device_id: str) -> Iterator[TagReads]:
    """The tag reads of a recorded link, whichever reader's it is. Raises PlainError where the file is no recording."""
    first = next((record.data for record in read_recording(path) if record.direction == FROM_DEVICE), b"")
    if first[:1] == bytes((HEAD,)):  # an LLRP message begins with its version: 04 to 0B
        return r200.recorded_reads(path, device_id)
    return llrp.recorded_reads(path, device_id)
