"""Fakes for the bridge's tests: an in-memory broker with faults, a clock that the loop turns, a view, small helpers."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cloud_bridge.announcements import Announcements
from cloud_bridge.contract.envelope import EnvelopeRenderer
from cloud_bridge.contract.epcis import Places
from cloud_bridge.contract.topics import Topics
from cloud_bridge.ingest.consumer import Consumer
from cloud_bridge.ingest.store import SqliteStore
from cloud_bridge.keys import Ed25519Signer
from cloud_bridge.settings import Endpoint, UplinkSettings
from cloud_bridge.uplink import Uplink, UplinkPorts
from edge.core import facts
from edge.core.errors import UplinkError
from edge.core.fact import Fact, JsonValue
from edge.core.instant import Instant, TimeQuality
from edge.core.ports import Commit, LinkListener, Message
from edge.journal import InlineWriter, Journal, JournalSettings, Store
from edge.journal.log import begin_boot

PLATFORM = Ed25519Signer(bytes(range(32)))
PLATFORM_KEYS = {"p1": "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="}
STARTED_US = 1_790_000_000_000_000


class LoopClock:
    """`Clock` by the running loop's time."""

    def __init__(self, boot: int = 1) -> None:
        self.boot = boot
        self.quality = TimeQuality.SYNCED

    def now(self) -> Instant:
        mono_us = round(asyncio.get_running_loop().time() * 1e6)
        return Instant(mono_us, STARTED_US + mono_us, self.quality)


class FakeView:
    """`StateView` over a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, JsonValue]] = {}
        self._listeners: list[Callable[[str], None]] = []

    def documents(self) -> Mapping[str, tuple[int, JsonValue]]:
        return self.rows

    def subscribe(self, on_change: Callable[[str], None]) -> Callable[[], None]:
        self._listeners.append(on_change)
        return lambda: self._listeners.remove(on_change)

    def set(self, suffix: str, seq: int, document: JsonValue) -> None:
        if document is None:
            del self.rows[suffix]
        else:
            self.rows[suffix] = (seq, document)
        for listener in self._listeners:
            listener(suffix)


def matches(pattern: str, topic: str) -> bool:
    wanted, levels = pattern.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted, levels = wanted[:-1], levels[: len(wanted) - 1]
    return len(wanted) == len(levels) and all(w in ("+", t) for w, t in zip(wanted, levels, strict=True))


@dataclass
class MemoryBroker:
    """Delivers after a delay by the loop's clock. Faults: refuse, silent, stall, kill with loss of acked messages."""

    delay_s: float = 0.002
    retained: dict[str, Message] = field(default_factory=dict)
    links: list[MemoryLink] = field(default_factory=list)
    log: list[Message] = field(default_factory=list)
    refusing: bool = False
    silent: bool = False
    stalled: bool = False
    lose_next: int = 0
    drop: Callable[[Message], bool] | None = None

    def link(self, _: Endpoint | None = None) -> MemoryLink:
        return MemoryLink(self)

    def take(self, message: Message) -> None:
        self.log.append(message)
        if message.retain:
            self.retained[message.topic] = message
            if not message.payload:
                del self.retained[message.topic]
        if self.drop is not None and self.drop(message):
            return
        if self.lose_next and "/events/" in message.topic:
            self.lose_next -= 1
            return
        for link in self.links:
            link.offer(message)

    def kill(self) -> None:
        """All connections end; wills are published; what the broker had acknowledged and not delivered is gone."""
        for link in tuple(self.links):
            link.cut("broker killed")


class MemoryLink:
    """`MqttLink` to a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.listener: LinkListener | None = None
        self.will: Message | None = None
        self.subscriptions: Sequence[str] = ()
        self.tokens = 0
        self.unacked = 0
        self.most_unacked = 0
        self.up: deque[tuple[int, Message]] = deque()
        self.down: deque[Message] = deque()
        self.acks: deque[int] = deque()

    async def connect(self, listener: LinkListener, will: Message, subscriptions: Sequence[str]) -> None:
        await asyncio.sleep(self.broker.delay_s)
        if self.broker.refusing:
            raise UplinkError("refused")
        if self.broker.silent:
            await asyncio.sleep(3600)
        self.listener, self.will, self.subscriptions = listener, will, subscriptions
        self.broker.links.append(self)
        listener.connected()
        for message in tuple(self.broker.retained.values()):
            self.offer(message)

    def publish(self, message: Message) -> int:
        if self not in self.broker.links:
            raise UplinkError("not connected")
        self.tokens += 1
        self.unacked += 1
        self.most_unacked = max(self.most_unacked, self.unacked)
        self.up.append((self.tokens, message))
        asyncio.get_running_loop().call_later(self.broker.delay_s, self._arrive)
        return self.tokens

    def _arrive(self) -> None:
        """One message reaches the broker; timers of the same moment have no order, the queue has."""
        if self not in self.broker.links:
            return
        if self.broker.stalled:
            asyncio.get_running_loop().call_later(0.1, self._arrive)
            return
        token, message = self.up.popleft()
        self.broker.take(message)
        self.acks.append(token)
        asyncio.get_running_loop().call_later(self.broker.delay_s, self._acked)

    def _acked(self) -> None:
        if self in self.broker.links and self.listener is not None:
            self.unacked -= 1
            self.listener.acknowledged([self.acks.popleft()])

    def offer(self, message: Message) -> None:
        if any(matches(pattern, message.topic) for pattern in self.subscriptions):
            self.down.append(message)
            asyncio.get_running_loop().call_later(self.broker.delay_s, self._deliver)

    def _deliver(self) -> None:
        if self in self.broker.links and self.listener is not None and self.down:
            self.listener.received(self.down.popleft())

    def cut(self, reason: str) -> None:
        if self not in self.broker.links:
            return
        self.broker.links.remove(self)
        self.up.clear()
        self.acks.clear()
        self.down.clear()
        if self.will is not None:
            self.broker.take(self.will)
        if self.listener is not None:
            self.listener.disconnected(reason)

    async def disconnect(self) -> None:
        """Clean: what was published before arrives, no acknowledgement comes back, no will is published."""
        if self not in self.broker.links:
            return
        self.broker.links.remove(self)
        while self.up and not self.broker.stalled:
            self.broker.take(self.up.popleft()[1])


class PlatformEnd:
    """The reference consumer on a memory broker; also its `LinkListener`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.store = SqliteStore(None)
        self.link = broker.link()
        self.consumer = Consumer(self.store, PLATFORM, "p1", self.say)
        self.muted = False

    async def open(self) -> None:
        await self.consumer.open()
        suffixes = ("events/+", "state/#", "birth", "connection", "command-result", "twin/reported")
        will = Message("platform", b"")
        await self.link.connect(self, will, [f"smartstore/v1/+/+/{suffix}" for suffix in suffixes])

    def say(self, message: Message) -> None:
        if not self.muted:
            if self.link not in self.broker.links:
                self.broker.links.append(self.link)
            self.link.publish(message)

    def connected(self) -> None: ...

    def disconnected(self, reason: str) -> None:
        asyncio.get_running_loop().call_soon(self.broker.links.append, self.link)

    def acknowledged(self, tokens: Sequence[int]) -> None: ...

    def received(self, message: Message) -> None:
        self.consumer.received(message)

    async def seqs(self) -> list[int]:
        await self.consumer.flush()
        return [row[0] for row in self.store._open.execute("SELECT seq FROM event ORDER BY seq")]


@dataclass
class StoreEnd:
    """A store's journal and uplink on a memory broker."""

    broker: MemoryBroker
    journal: Journal
    clock: LoopClock
    view: FakeView
    uplink: Uplink
    links: list[MemoryLink]
    recorded: list[Fact]
    heard: list[tuple[str, bytes]]
    settings: UplinkSettings

    def add(self, count: int = 1, *, urgent: bool = True) -> None:
        """Commit some facts: counts of stock, and now and then something else."""
        now = self.clock.now()
        rows: list[tuple[Fact, Instant]] = []
        for number in range(count):
            row = facts.OnHandChanged(
                at_us=now.mono_us, gtin="04012345000016", shelf=f"shelf-{number % 7}", on_hand=number, low=0,
                high=number, confidence=0.9, sources=["weight"], reason="picked",
            )  # fmt: skip
            rows.append((facts.Online(at_us=now.mono_us, device="d1") if number % 50 == 49 else row, now))
        self.journal.append(Commit(rows), now, urgent=urgent)


def make_store(
    broker: MemoryBroker, seed: int = 1, store: Store | None = None, boot: int | None = None, **changes: object
) -> StoreEnd:
    kept_store = store or Store(None)
    kept = begin_boot(kept_store)
    journal_settings = JournalSettings(keep_acked_rows=0, pending_limit=10**7)
    journal = Journal(kept_store, InlineWriter(), journal_settings, kept.boot, _fatal)
    clock, view, rng = LoopClock(boot or kept.boot), FakeView(), random.Random(seed)
    links: list[MemoryLink] = []
    recorded: list[Fact] = []
    heard: list[tuple[str, bytes]] = []

    def factory(endpoint: Endpoint) -> MemoryLink:
        links.append(broker.link(endpoint))
        return links[-1]

    def record(fact: Fact) -> None:
        recorded.append(fact)
        journal.append(Commit([(fact, clock.now())]), clock.now())

    fields = {"hosts": ("mqtt://a:1883",), "platform_keys": PLATFORM_KEYS, **changes}
    settings = UplinkSettings(**fields)
    renderer = EnvelopeRenderer(Places("urn:epc:id:sgln:4012345.00001.0", {}), "Asia/Tokyo", journal.epoch)
    ports = UplinkPorts(journal, view, clock, renderer, factory, record, lambda s, p: heard.append((s, p)), rng)
    says = Announcements(clock, "0.1.0", lambda: ["d1"], f"{rng.getrandbits(64):016x}")
    uplink = Uplink(Topics("t1", "s1"), settings, ports, says)
    return StoreEnd(broker, journal, clock, view, uplink, links, recorded, heard, settings)


def _fatal(error: Exception) -> None:
    raise AssertionError(error)


async def until(condition: Callable[[], bool], limit_s: float = 60.0) -> float:
    """Wait until the condition holds; how long that took by the loop's clock. AssertionError after `limit_s`."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while not condition():
        assert loop.time() - began_s < limit_s, "the condition never came true"
        await asyncio.sleep(0.01)
    return loop.time() - began_s
