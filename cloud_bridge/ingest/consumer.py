"""The reference consumer: takes messages in, writes them in batches, acknowledges what is durable, asks for gaps.

It knows no MQTT client: whoever brings messages calls `received`, and gets signed words to publish through `say`.
Acknowledged is only what a committed transaction holds.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cloud_bridge.contract.signed import parse_object, sign
from cloud_bridge.contract.topics import Topics, split
from cloud_bridge.ingest.reading import EventRow, gap_ranges, read_events
from cloud_bridge.ingest.sequencing import Stream, StreamKey
from cloud_bridge.ingest.store import Arrivals, PlatformStore
from edge.core.ports import Message, Signer

FLUSH_S = 0.05
FLUSH_EVENTS = 2_000
LOOK_FOR_GAPS_S = 0.5
WAITING_LIMIT = 50_000
"""Events that wait for the database; more are left to the store's own replay, so that memory stays bounded."""

PLATFORM_EPOCH = "platform"
"""Of the journal in which the platform keeps what it has to say of a store itself; no store's epoch has this name."""

Say = Callable[[Message], None]


@dataclass(slots=True)
class Counters:
    """What health and metrics show of the consumer."""

    messages: int = 0
    events: int = 0
    duplicates: int = 0
    rejected: int = 0
    overload: int = 0
    covered_by_gap: int = 0
    replays_asked: int = 0
    acks: int = 0
    transactions: int = 0
    refused_streams: int = 0
    results: int = 0
    faults: dict[str, int] = field(default_factory=dict)

    def totals(self) -> dict[str, int]:
        """Every number by its name."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "faults"}


class Consumer:
    """Consumes the messages of many stores into one store of events."""

    def __init__(self, store: PlatformStore, signer: Signer, key: str, say: Say) -> None:
        """`say` publishes towards the stores; it may raise nothing (an unsent word is said again)."""
        self.counters = Counters()
        self.streams: dict[StreamKey, Stream] = {}
        self._store, self._signer, self._key, self._say = store, signer, key, say
        self._pending = Arrivals()
        self._due = asyncio.Event()
        self._acks: dict[StreamKey, None] = {}
        self._current: dict[tuple[str, str], StreamKey] = {}
        self._failed = False

    @property
    def failed(self) -> bool:
        """Whether the store failed: nothing is written or acknowledged any more."""
        return self._failed

    async def open(self) -> None:
        """Load the progress of all streams; needed before `received`."""
        for stream in await self._store.open():
            self.streams[stream.key] = stream
            if stream.key.epoch != PLATFORM_EPOCH:  # the newest epoch of a store is the last
                self._current[(stream.key.tenant, stream.key.store)] = stream.key

    def missing(self) -> int:
        """How many events are known to exist and have not arrived."""
        return sum(high - low + 1 for stream in self.streams.values() for low, high in stream.holes())

    # --- in -------------------------------------------------------------------------------------------------------

    def received(self, message: Message) -> None:
        """Take one message; never raises."""
        place = split(message.topic)
        if place is None:
            return self._fault("topic")
        self.counters.messages += 1
        tenant, store, suffix = place
        if suffix.startswith("events/"):
            return self._events(tenant, store, message.payload)
        if suffix.startswith("state/"):
            self._state(tenant, store, suffix.removeprefix("state/"), message.payload)
        elif suffix == "birth":
            self._birth(tenant, store, message.payload)
        elif suffix == "connection":
            self._connection(tenant, store, message.payload)
        elif suffix in ("command-result", "twin/reported"):
            self.counters.results += 1
        return None

    def _events(self, tenant: str, store: str, payload: bytes) -> None:
        rows, faults = read_events(payload)
        for fault in faults:
            self.counters.rejected += 1
            self._fault(fault)
        if self._pending.n_events + len(rows) > WAITING_LIMIT:
            self.counters.overload += len(rows)
            return
        now_s, key = self._now_s(), StreamKey(tenant, store, "")
        for row in rows:
            if row.epoch != key.epoch:
                key = StreamKey(tenant, store, row.epoch)
            self._event(key, row, now_s)
        if self._pending.n_events >= FLUSH_EVENTS:
            self._due.set()

    def _event(self, key: StreamKey, row: EventRow, now_s: float) -> None:
        stream = self._stream(key)
        refused_before = stream.refused
        if not stream.accept(row.seq, row.boot, now_s):
            self.counters.duplicates += 1
            if stream.refused and not refused_before:
                self._refuse(stream, row.time)
            elif not stream.refused:
                self._learn(stream)
                self._acks[key] = None  # it is sent twice because the store does not know: tell it again
            return
        self._current.setdefault((key.tenant, key.store), key)
        self.counters.events += 1
        self.counters.covered_by_gap += stream.cover(gap_ranges(row))
        self._pending.events.setdefault(key, []).append(row)
        self._pending.streams[key] = stream

    def _learn(self, stream: Stream) -> None:
        """Where others write the same journal, see with the next transaction what they have."""
        if self._store.shared:
            self._pending.streams[stream.key] = stream

    def _stream(self, key: StreamKey) -> Stream:
        stream = self.streams.get(key)
        if stream is None:
            stream = self.streams[key] = Stream(key)
        return stream

    def _refuse(self, stream: Stream, time: str) -> None:
        """Record it, and tell it as the fact security.SplitBrain, in a journal that is the platform's own."""
        self.counters.refused_streams += 1
        self._pending.streams[stream.key] = stream
        self._pending.refusals.append((stream.key, stream.refused))
        self._acks.pop(stream.key, None)
        own = self._stream(StreamKey(stream.key.tenant, stream.key.store, PLATFORM_EPOCH))
        fields = {"boot_ids": ", ".join(map(str, sorted(stream.boots))), "detail": stream.refused}
        row = EventRow(
            seq=own.contiguous + 1,
            boot=1,
            epoch=PLATFORM_EPOCH,
            fact="security.SplitBrain",
            subject=stream.key.epoch,
            time=time,
            quality="",
            mono_us=0,
            fields=fields,
        )
        own.accept(row.seq, row.boot, self._now_s())
        self._pending.events.setdefault(own.key, []).append(row)
        self._pending.streams[own.key] = own

    def _state(self, tenant: str, store: str, name: str, payload: bytes) -> None:
        body = parse_object(payload)
        if body is None and payload:
            return self._fault("state is no JSON object")
        if name == "gateway" and body is not None:
            self._gateway(tenant, store, body)
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":")) if body is not None else None
        self._pending.states[(tenant, store, name)] = text
        return None

    def _gateway(self, tenant: str, store: str, body: Mapping[str, object]) -> None:
        key = self._current.get((tenant, store))
        promised = body.get("last_seq", 0)
        if key is None or not isinstance(promised, int):
            return
        span = body.get("backlog")
        backlog = None
        if isinstance(span, dict) and isinstance(span.get("from_seq"), int) and isinstance(span.get("to_seq"), int):
            backlog = (span["from_seq"], span["to_seq"])
        self.streams[key].announced(backlog, promised, self._now_s())

    def _birth(self, tenant: str, store: str, payload: bytes) -> None:
        body = parse_object(payload) or {}
        epoch, boot, last = body.get("epoch"), body.get("boot"), body.get("last_seq")
        if not isinstance(epoch, str) or not isinstance(boot, int) or not isinstance(last, int):
            return self._fault("birth without epoch, boot or last_seq")
        key = StreamKey(tenant, store, epoch)
        stream = self._stream(key)
        refused_before = stream.refused
        time = str(body.get("time", ""))
        if stream.born(boot, str(body.get("instance", "")), last, self._now_s(), time):
            self._current[(tenant, store)] = key
        self._pending.streams[key] = stream
        if stream.refused and not refused_before:
            self._refuse(stream, time)
        elif not stream.refused:
            self._acks[key] = None
        return None

    def _connection(self, tenant: str, store: str, payload: bytes) -> None:
        key = self._current.get((tenant, store))
        body = parse_object(payload) or {}
        boot = body.get("boot")
        if key is not None and isinstance(boot, int):
            self.streams[key].connected(boot, body.get("online") is True)
            self._pending.streams[key] = self.streams[key]

    # --- out ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write, acknowledge and look for gaps until cancelled; then write what is left."""
        look_at_s = self._now_s()
        try:
            while True:
                timer = asyncio.get_running_loop().call_later(FLUSH_S, self._due.set)
                await self._due.wait()
                timer.cancel()
                self._due.clear()
                await self.flush()
                if self._now_s() >= look_at_s:
                    look_at_s = self._now_s() + LOOK_FOR_GAPS_S
                    self.ask_for_gaps()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Make durable what has arrived, then acknowledge it.

        After a failure of the store this consumer is done for: it believes to have what was not written. Its owner
        makes a new one, which starts from what the store holds.
        """
        if self._failed:
            return
        arrivals, self._pending = self._pending, Arrivals()
        arrivals.freeze()
        acks, self._acks = self._acks, {}
        contiguous = {key: self.streams[key].contiguous for key in (*acks, *arrivals.events)}
        if arrivals:
            self._failed = True
            joined = await self._store.write(arrivals)
            self._failed = False
            self.counters.transactions += 1
            for stream in joined:
                if stream.key in contiguous or stream.contiguous > arrivals.progress[stream.key].contiguous:
                    contiguous[stream.key] = stream.contiguous
                self._absorb(stream)
        for key, seq in contiguous.items():
            if not self.streams[key].refused and key.epoch != PLATFORM_EPOCH:
                self.counters.acks += 1
                self._say(self._word(key, "ack", acked_seq=seq))

    def _absorb(self, joined: Stream) -> None:
        """Learn what the other workers of this journal have."""
        stream = self.streams[joined.key]
        refused_before = stream.refused
        stream.absorb(joined)
        if stream.refused and not refused_before:
            self._refuse(stream, "")

    def ask_for_gaps(self) -> None:
        """Ask each store for what is missing, when it is time to; what other workers have is looked up meanwhile."""
        now_s = self._now_s()
        for key, stream in self.streams.items():
            asked = stream.to_ask(now_s)
            if stream.hole is not None:
                self._learn(stream)
            if asked is not None:
                self.counters.replays_asked += 1
                self._say(self._word(key, "replay", from_seq=asked[0], to_seq=asked[1]))

    def _word(self, key: StreamKey, suffix: str, **numbers: int) -> Message:
        topic = Topics(key.tenant, key.store).of(suffix)
        return Message(topic, sign(topic, {"epoch": key.epoch, **numbers}, self._signer, self._key))

    def _fault(self, name: str) -> None:
        """Count a fault by name; the names are few, but their number is bounded all the same."""
        if name in self.counters.faults or len(self.counters.faults) < 100:
            self.counters.faults[name] = self.counters.faults.get(name, 0) + 1

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()
