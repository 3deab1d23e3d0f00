"""Replay: recorded reads through two settings at once, to see what a profile or another set of antennas would change.

A recording is a tap of an LLRP reader's link (`devices.transport.Tap`). Engine time is the recording's own, so a night
replays in seconds. Nothing here touches the journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from devices.driver import DriverContext
from devices.rejected import Rejected
from devices.rfid_llrp.batch import ReportBatch
from devices.rfid_llrp.framing import Framer
from devices.rfid_llrp.link import REPORT
from devices.transport.recording import FROM_DEVICE, read_recording
from devices.transport.stream import ByteStream
from edge.core.fact import kind_of
from edge.core.facts import TagArrived, TagDeparted, TagMoved
from edge.core.instant import US_PER_MS, US_PER_S, Instant
from edge.core.observation import TagReads
from edge.core.part import Signal, facts_of
from edge.core.presence import Presence, Profile
from edge.core.presence.part import Identity
from edge.core.site import Site

BATCH_US = 250 * US_PER_MS


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
    """The tag reads of a recorded LLRP link. Raises PlainError where the file is no recording."""
    framer, now_us = Framer(), 0
    context = DriverContext(device_id, lambda: now_us, _no_stream)
    batch, since_us = ReportBatch(context), 0
    for record in read_recording(path):
        if record.direction != FROM_DEVICE:
            continue
        if batch and record.at_us - since_us >= BATCH_US:
            yield from batch.take()
        now_us = record.at_us
        messages = [message for message in framer.feed(record.data) if not isinstance(message, Rejected)]
        bodies = [message.body for message in messages if message.type == REPORT]
        if bodies:
            since_us = since_us if batch else now_us
            batch.add(bodies, now_us)
    if batch:
        yield from batch.take()


async def _no_stream(moniker: str) -> ByteStream:
    raise NotImplementedError(f"a recording opens nothing: {moniker}")
