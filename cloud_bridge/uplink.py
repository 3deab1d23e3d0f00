"""The uplink: reads committed facts from the log and keeps sending until the platform itself says that it has them.

Everything happens on the event loop, by the loop's clock, over any `MqttLink`; so the same code runs under virtual
time. Order of importance on the wire: the store's own announcements, live facts, retained state, backlog.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cloud_bridge.announcements import Announcements
from cloud_bridge.contract.envelope import Renderer, batches
from cloud_bridge.contract.topics import STORE_READS, Topics, split
from cloud_bridge.intervals import IntervalSet
from cloud_bridge.outbox import Outbox
from cloud_bridge.pacing import Backoff, TokenBucket
from cloud_bridge.platform_word import Acked, RateSet, Refused, ReplayAsked, read_word
from cloud_bridge.settings import Endpoint, UplinkSettings
from edge.core.errors import UplinkError
from edge.core.fact import Fact, StoredFact
from edge.core.facts import CommandRefused, Gap
from edge.core.ports import Clock, FactLog, Message, MqttLink, StateView

LinkFactory = Callable[[Endpoint], MqttLink]
READ_ROWS = 1_000
LIVE_ROWS = 200
MESSAGES_PER_READ = 40  # upper bound of what one read becomes: classes, plus 64 kB pieces
POSTED_LIMIT = 1_000
STALL_S = 30.0  # the platform speaks and yet does not get further: send again what it lacks
REFUSAL_QUIET_S = 60.0  # the same refusal is audited once in so long
REPLAY_QUIET_S = 5.0
STABLE_S = 5.0  # a connection that lasted so long was a good one


@dataclass(slots=True)
class UplinkStatus:
    """What health shows of the uplink."""

    connected: bool = False
    host: str = ""
    cause: str = ""
    connects: int = 0
    facts_sent: int = 0
    messages_sent: int = 0
    acked_seq: int = 0
    left_at_s: float = -1.0
    refused: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UplinkPorts:
    """What the composition root wires in. `record` commits a fact; `received` is told of commands and the twin."""

    log: FactLog
    view: StateView
    clock: Clock
    renderer: Renderer
    link_factory: LinkFactory
    record: Callable[[Fact], None]
    received: Callable[[str, bytes], None]
    rng: random.Random


class Uplink:
    """One store's way to its platform. Also the `LinkListener` of its links."""

    def __init__(self, topics: Topics, settings: UplinkSettings, ports: UplinkPorts, says: Announcements) -> None:
        self.status = UplinkStatus(acked_seq=ports.log.acked_seq)
        self.keys = settings.keyring()
        self._topics, self._settings, self._ports, self._says = topics, settings, ports, says
        self._box = Outbox(ports.log.acked_seq)
        self._link: MqttLink | None = None
        self._wake = asyncio.Event()
        self._posted: deque[Message] = deque()
        self._posted_by_token: dict[int, Message] = {}
        self._dirty: dict[str, None] = {}
        self._dirty_since_s: float | None = None
        self._bucket = TokenBucket(settings.rate_per_s, 0.0)
        self._backoff = Backoff(settings.backoff_least_s, settings.backoff_most_s, ports.rng)
        self._heard_at_s = 0.0
        self._progress_at_s = 0.0
        self._replayed: deque[tuple[float, int, int]] = deque(maxlen=64)
        self._told_gone = IntervalSet()
        self._audited: dict[tuple[str, str], float] = {}
        self._announced: tuple[int, int] | None = None
        self._moved = False

    # --- for the gateway ------------------------------------------------------------------------------------------

    def post(self, suffix: str, payload: bytes, *, retain: bool = False) -> None:
        """Send a message of the store (a command's result, the twin) as soon as there is a connection.

        Kept over a lost connection until the broker has it; beyond 1,000 the oldest goes (its command is repeated).
        """
        if len(self._posted) >= POSTED_LIMIT:
            self._posted.popleft()
        self._posted.append(Message(self._topics.of(suffix), payload, retain=retain))
        self._wake.set()

    @property
    def settings(self) -> UplinkSettings:
        """Those in use."""
        return self._settings

    def use(self, settings: UplinkSettings) -> None:
        """Other hosts, rates or schedule from now on; with other hosts the connection is made anew at once."""
        moved = settings.hosts != self._settings.hosts
        if settings.rate_per_s != self._settings.rate_per_s:
            self._bucket.set_rate(settings.rate_per_s, self._now_s())
        self._settings = settings
        if moved and self._link is not None:
            self._moved, self.status.connected = True, False
        self._wake.set()

    async def run(self) -> None:
        """Connect, send, reconnect; for ever, until cancelled."""
        self._progress_at_s = self._now_s()
        self._dirty = dict.fromkeys(self._ports.view.documents())
        stop_log = self._ports.log.subscribe(lambda _: self._wake.set())
        stop_view = self._ports.view.subscribe(self._changed)
        try:
            while True:
                await self._round()
        finally:
            stop_log()
            stop_view()
            await self._leave()

    async def _round(self) -> None:
        """Each host once; then a pause, short after a connection that was good."""
        done, causes = False, list[str]()
        for host in self._settings.endpoints():
            try:
                await self._connect(host)
            except UplinkError as error:
                causes.append(str(error))
                continue
            began_s = self._now_s()
            done = await self._converse()
            if self._now_s() - began_s >= STABLE_S:
                self._backoff.succeeded()
            break
        else:
            self.status.cause = "; ".join(causes)
        await asyncio.sleep(self._settings.connect_every_s if done else self._backoff.next_s())

    async def _connect(self, host: Endpoint) -> None:
        name = f"{host.host}:{host.port}"
        link = self._ports.link_factory(host)
        will = Message(self._topics.of("connection"), self._says.connection(online=False), retain=True)
        subscriptions = [self._topics.of(suffix) for suffix in STORE_READS]
        limit_s = self._settings.connect_timeout_s + self._settings.connack_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await link.connect(self, will, subscriptions)
        except TimeoutError:
            await link.disconnect()
            raise UplinkError(f"{name}: silent for {limit_s} s, expected CONNACK and SUBACK") from None
        self._link = link
        self.status.connected, self.status.host, self.status.cause = True, name, ""
        self.status.connects += 1
        self._heard_at_s = self._now_s()
        self._box.resume(self._ports.log.last_seq)
        self._greet()

    def _greet(self) -> None:
        """Announce the store, and the backlog before any live fact leaves."""
        log, says = self._ports.log, self._says
        birth = says.birth(log.epoch, log.first_seq, log.last_seq, log.acked_seq)
        said = {"connection": says.connection(online=True), "birth": birth, "state/gateway": self._gateway()}
        greeting = {self._topics.of(suffix): payload for suffix, payload in said.items()}
        # An earlier greeting that nobody acknowledged would follow this one as if it were newer.
        kept = [m for m in (*self._posted_by_token.values(), *self._posted) if m.topic not in greeting]
        self._posted_by_token.clear()
        self._posted = deque([*(Message(topic, payload, retain=True) for topic, payload in greeting.items()), *kept])
        self._dirty = dict.fromkeys((*self._dirty, *self._ports.view.documents()))
        self._dirty_since_s = self._now_s() - self._settings.state_delay_s
        self._wake.set()

    async def _leave(self) -> None:
        link, self._link = self._link, None
        self.status.connected = self._moved = False
        if link is not None:
            await link.disconnect()

    # --- sending --------------------------------------------------------------------------------------------------

    async def _converse(self) -> bool:
        """Send while the connection lasts. True when a metered link was left, done for now."""
        began_s = self._now_s()
        while self._link is not None:
            self._wake.clear()
            if self._moved:
                await self._leave()
                return False
            if self._send_some():
                await asyncio.sleep(0)
                continue
            if self._is_stuck():
                self.status.cause = f"{self.status.host}: no PUBACK for {self._settings.puback_timeout_s} s"
                await self._leave()
                return False
            stayed_s = self._now_s() - began_s
            if self._settings.connect_every_s and (self._is_drained() or stayed_s > self._settings.stay_s):
                await self._say_goodbye()
                return True
            await self._rest()
        return False

    async def _say_goodbye(self) -> None:
        """Leave by our own will. Not kept like a posted message: sent again, it would follow the next greeting."""
        goodbye = Message(self._topics.of("connection"), self._says.connection(online=False), retain=True)
        with contextlib.suppress(UplinkError):  # the will says the same
            self._publish(goodbye)
        await self._leave()
        self.status.left_at_s = self._now_s()

    async def _rest(self) -> None:
        """Until something changes, or something becomes due by the clock."""
        delays_s = [1.0]
        if self._box.backlog:
            delays_s.append(self._bucket.wait_s(min(LIVE_ROWS, self._box.backlog.count)))
        if self._dirty_since_s is not None:
            delays_s.append(self._dirty_since_s + self._settings.state_delay_s - self._now_s())
        # What is due already waits for room in the window, and the acknowledgement that makes room wakes us.
        delay_s = max(0.001, min(delay for delay in delays_s if delay > 0))
        timer = asyncio.get_running_loop().call_later(delay_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _send_some(self) -> bool:
        """One step of the most important lane that has something to say and room to say it; False when none has."""
        room = self._settings.window - self._box.in_flight - len(self._posted_by_token)
        try:
            if self._posted and room > 0:
                self._send_posted()
                return True
            if self._box.live_from <= self._ports.log.last_seq and room > MESSAGES_PER_READ // 2:
                self._send_live()
                return True
            if room > MESSAGES_PER_READ and self._send_state():
                return True
            return room > MESSAGES_PER_READ and self._send_backlog()
        except UplinkError as error:
            self.disconnected(str(error))
            return False

    def _send_posted(self) -> None:
        message = self._posted.popleft()
        try:
            token = self._publish(message)
        except UplinkError:
            self._posted.appendleft(message)
            raise
        self._posted_by_token[token] = message

    def _send_live(self) -> None:
        first = self._box.live_from
        last = self._ports.log.last_seq
        rows = self._ports.log.read(first, LIVE_ROWS, to_seq=last)
        to_seq = rows[-1].seq if len(rows) == LIVE_ROWS else last
        self._box.live_from = to_seq + 1
        self._send_rows(first, to_seq, rows)

    def _send_backlog(self) -> bool:
        bucket = self._bucket
        if not self._box.backlog:
            self._announce(None)
            return False
        self._announce((self._box.backlog.first, self._box.backlog.last))
        low, high = next(iter(self._box.backlog))
        allowed = min(READ_ROWS, bucket.available(self._now_s()))
        if allowed < min(LIVE_ROWS, self._box.backlog.count):
            return False
        rows = self._ports.log.read(low, int(allowed), to_seq=high)
        to_seq = rows[-1].seq if len(rows) == int(allowed) else high
        self._box.backlog.remove(low, to_seq)
        bucket.take(len(rows))
        self._send_rows(low, to_seq, rows)
        return True

    def _send_rows(self, from_seq: int, to_seq: int, rows: Sequence[StoredFact]) -> None:
        made = batches(rows, self._ports.renderer.event)
        # What fails here ends the connection; the next one begins with everything that is not safely away.
        tokens = [self._publish(Message(self._topics.events(batch.fact_class), batch.payload)) for batch in made]
        self._box.sent(from_seq, to_seq, tokens)
        self.status.facts_sent += len(rows)
        if not tokens:
            self._trust()

    def _send_state(self) -> bool:
        """One retained document, when it has waited long enough for later changes to ride along."""
        if not self._dirty or self._dirty_since_s is None:
            return False
        if self._now_s() < self._dirty_since_s + self._settings.state_delay_s:
            return False
        suffix = next(iter(self._dirty))
        document = self._ports.view.documents().get(suffix)
        payload = self._gateway() if suffix == "gateway" else self._says.state(document)
        message = Message(self._topics.of(f"state/{suffix}"), payload, retain=True)
        self._posted_by_token[self._publish(message)] = message
        del self._dirty[suffix]
        if not self._dirty:
            self._dirty_since_s = None
        return True

    def _publish(self, message: Message) -> int:
        if self._link is None:
            raise UplinkError("not connected")
        self.status.messages_sent += 1
        return self._link.publish(message)

    def _gateway(self) -> bytes:
        backlog = self._box.backlog
        span = (backlog.first, backlog.last) if backlog.count > READ_ROWS else None
        self._announced = span
        return self._says.gateway(self._ports.view.documents().get("gateway"), self._ports.log.last_seq, span)

    def _announce(self, span: tuple[int, int] | None) -> None:
        """Tell when a backlog begins and when it is done; its slow shrinking in between is nobody's concern."""
        if (span is None) != (self._announced is None) and (span is None or self._box.backlog.count > READ_ROWS):
            self.post("state/gateway", self._gateway(), retain=True)

    # --- LinkListener ---------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """The link is up: `_connect` goes on by itself."""

    def disconnected(self, reason: str) -> None:
        """The connection is gone; everything not yet acknowledged will be sent again."""
        self._link = None
        self.status.connected, self.status.cause = False, reason
        self._wake.set()

    def acknowledged(self, tokens: Sequence[int]) -> None:
        """PUBACK for these publishes."""
        self._heard_at_s = self._now_s()
        for token in tokens:
            self._posted_by_token.pop(token, None)
        self._box.acknowledged(tokens)
        self._trust()
        self._wake.set()

    def received(self, message: Message) -> None:
        """A message of a subscription."""
        self._heard_at_s = self._now_s()
        place = split(message.topic)
        if place is None or place[:2] != (self._topics.tenant, self._topics.store):
            return self._refuse("message", "topic", message.topic[:120])
        suffix = place[2]
        if suffix not in ("ack", "replay", "rate"):
            return self._ports.received(suffix, message.payload)
        log = self._ports.log
        word = read_word(message.topic, suffix, message.payload, epoch=log.epoch, last_seq=log.last_seq, keys=self.keys)
        if isinstance(word, Refused):
            return self._refuse(suffix, word.reason, word.detail)
        if isinstance(word, Acked):
            return self._platform_has(word.seq)
        if isinstance(word, RateSet):
            self._bucket.set_rate(word.events_per_s, self._now_s())
            return self._wake.set()
        return self._replay(word)

    # --- what the platform said -----------------------------------------------------------------------------------

    def _platform_has(self, seq: int) -> None:
        now_s = self._now_s()
        if seq > self._box.acked_seq:
            self._ports.log.ack(seq)
            self._box.platform_has(seq)
            self.status.acked_seq = seq
            self._progress_at_s = now_s
        elif self._box.delivered_seq <= self._box.acked_seq:
            self._progress_at_s = now_s
        elif now_s - self._progress_at_s > STALL_S:
            self._progress_at_s = now_s
            self._box.send_again(self._box.acked_seq + 1, self._box.delivered_seq)
        self._wake.set()

    def _trust(self) -> None:
        """With a platform that never acknowledges, the broker's word stands in (setting `trust_puback`)."""
        if self._settings.trust_puback and self._box.delivered_seq > self._box.acked_seq:
            seq = self._box.delivered_seq
            self._ports.log.ack(seq)
            self._box.platform_has(seq)
            self.status.acked_seq = seq

    def _replay(self, asked: ReplayAsked) -> None:
        now_s = self._now_s()
        while self._replayed and now_s - self._replayed[0][0] > REPLAY_QUIET_S:
            self._replayed.popleft()
        wanted = IntervalSet([(asked.from_seq, asked.to_seq)])
        for _, low, high in self._replayed:
            wanted.remove(low, high)
        first = self._ports.log.first_seq
        for low, high in tuple(wanted):
            self._tell_gone(low, min(high, first - 1))
            self._box.send_again(max(low, first), high)
            self._replayed.append((now_s, low, high))
        self._wake.set()

    def _tell_gone(self, low: int, high: int) -> None:
        """Rows that left the journal because the platform had them: one Gap fact says that they cannot come again."""
        for from_seq, to_seq in self._told_gone.gaps(low, high):
            missing = [[from_seq, to_seq]]
            count = to_seq - from_seq + 1
            at_us = self._ports.clock.now().mono_us
            self._ports.record(Gap(at_us=at_us, dropped_class="", missing=missing, count=count, reason="acknowledged"))
        self._told_gone.add(low, high)

    def _refuse(self, name: str, reason: str, detail: str) -> None:
        """Count it, and audit it as a security fact unless the same one was audited a moment ago."""
        label = f"{name}:{reason}"
        self.status.refused[label] = self.status.refused.get(label, 0) + 1
        now_s = self._now_s()
        if now_s - self._audited.get((name, reason), -REFUSAL_QUIET_S) < REFUSAL_QUIET_S:
            return
        self._audited[(name, reason)] = now_s
        at_us = self._ports.clock.now().mono_us
        self._ports.record(CommandRefused(at_us=at_us, command=name, name=name, reason=reason, detail=detail))

    # --- small questions ------------------------------------------------------------------------------------------

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()

    def _changed(self, suffix: str) -> None:
        self._dirty[suffix] = None
        if self._dirty_since_s is None:
            self._dirty_since_s = self._now_s()
            self._wake.set()

    def _is_stuck(self) -> bool:
        waiting = self._box.in_flight or self._posted_by_token
        return bool(waiting) and self._now_s() - self._heard_at_s > self._settings.puback_timeout_s

    def _is_drained(self) -> bool:
        if self._box.in_flight or self._posted_by_token or self._posted or self._dirty:
            return False
        return self._box.acked_seq >= self._ports.log.last_seq
