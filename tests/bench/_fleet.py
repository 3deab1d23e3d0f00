"""Thousands of stores in one process: real MQTT 3.1.1 connections (OASIS mqtt-v3.1.1-os), none of the bridge's code.

Each store keeps its facts until the platform acknowledged them, moves to the next host when its connection ends, and
sends again what was not acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench._packets import take_packet

CONNACK_S = 1.5
WINDOW = 4
STALL_S = 30.0  # as the uplink: cloud_bridge.uplink.STALL_S


def _length(size: int) -> bytes:
    made = bytearray()
    while True:
        size, low = divmod(size, 128)
        made.append(low | (0x80 if size else 0))
        if not size:
            return bytes(made)


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("!H", len(raw)) + raw


@dataclass(slots=True)
class FleetStore:
    """One store: facts from 1 to `made`; `acked` as the platform said; `sent` where it goes on."""

    tenant: str
    name: str
    epoch: str
    made: int = 0
    acked: int = 0
    sent: int = 0
    per_message: int = 100
    waiting: dict[int, tuple[int, int]] = field(default_factory=dict)
    probe_at_s: float = 0.0
    probe_seq: int = 0
    pauses_s: list[float] = field(default_factory=list)
    progress_at_s: float = 0.0
    doubled_words: int = 0
    connects: int = 0

    def event(self, seq: int) -> str:
        gtin, shelf = f"0401234500{seq % 400:04d}", f"shelf-{seq % 40}"
        return (
            f'{{"specversion":"1.0","id":"{self.epoch}-{seq}","source":"urn:epc:id:sgln:4012345.00001.0",'
            f'"type":"io.smartstore.inventory.OnHandChanged.v1","subject":"{gtin}",'
            f'"time":"2026-09-21T14:13:20.000000Z","seq":"{seq}","epoch":"{self.epoch}","boot":"1",'
            f'"timequality":"synced","monous":"{seq}","data":{{"gtin":"{gtin}","shelf":"{shelf}",'
            f'"on_hand":{seq % 30},"low":0,"high":30,"confidence":0.93,"sources":["rfid"],"reason":"picked"}}}}'
        )

    def payload(self, low: int, high: int) -> bytes:
        events = [self.event(seq) for seq in range(low, high + 1)]
        return (events[0] if len(events) == 1 else f"[{','.join(events)}]").encode()

    def birth(self) -> bytes:
        body = {"boot": 1, "instance": self.epoch, "epoch": self.epoch, "first_seq": 1, "last_seq": self.made}
        return json.dumps({**body, "software": "fleet", "contract": "1.0", "devices": []}).encode()


class Connection(asyncio.Protocol):
    """One MQTT connection of one store."""

    def __init__(self, fleet: Fleet, store: FleetStore) -> None:
        self.fleet, self.store = fleet, store
        self.buffer = bytearray()
        self.transport: asyncio.Transport | None = None
        self.open = False
        self.mid = 0
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        variable = b"\x00\x04MQTT\x04\x02" + struct.pack("!H", 30) + _text(f"{self.store.tenant}-{self.store.name}")
        self.write(b"\x10", variable)

    def write(self, first: bytes, rest: bytes) -> None:
        if self.transport is not None:
            self.transport.write(first + _length(len(rest)) + rest)

    def publish(self, suffix: str, payload: bytes, retain: bool = False) -> int:
        self.mid = self.mid % 65_535 + 1
        topic = f"smartstore/v1/{self.store.tenant}/{self.store.name}/{suffix}"
        self.write(bytes([0x32 | retain]), _text(topic) + struct.pack("!H", self.mid) + payload)
        return self.mid

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (packet := take_packet(self.buffer)) is not None:
            self._handle(*packet)

    def _handle(self, first: int, rest: bytes) -> None:
        kind, store = first & 0xF0, self.store
        if kind == 0x20:
            if rest[1] != 0:
                self.close()
                return
            topics = b"".join(
                _text(f"smartstore/v1/{store.tenant}/{store.name}/{s}") + b"\x00" for s in ("ack", "replay")
            )
            self.write(b"\x82", b"\x00\x01" + topics)
            self.open = True
            store.connects += 1
            store.sent = store.acked
            store.waiting.clear()
            self.publish("birth", store.birth(), retain=True)
            self.pump()
        elif kind == 0x40:
            (mid,) = struct.unpack("!H", rest[:2])
            span = store.waiting.pop(mid, None)
            if span is not None and store.probe_at_s and span[1] >= store.probe_seq:
                store.pauses_s.append(asyncio.get_running_loop().time() - store.probe_at_s)
                store.probe_at_s = 0.0
            self.pump()
        elif kind == 0x30:
            (n_topic,) = struct.unpack("!H", rest[:2])
            suffix = rest[2 : 2 + n_topic].rpartition(b"/")[2]
            body = json.loads(rest[2 + n_topic + (2 if first & 0x06 else 0) :])
            if suffix == b"ack" and body["epoch"] == store.epoch:
                if body["acked_seq"] > store.acked:
                    store.acked = body["acked_seq"]
                    store.progress_at_s = asyncio.get_running_loop().time()
            elif suffix == b"replay":
                self.send(body["from_seq"], min(body["to_seq"], body["from_seq"] + store.per_message - 1))

    def send(self, low: int, high: int) -> None:
        self.store.waiting[self.publish("events/inventory", self.store.payload(low, high))] = (low, high)

    def pump(self) -> None:
        store = self.store
        while self.open and store.sent < store.made and len(store.waiting) < WINDOW:
            low = store.sent + 1
            store.sent = min(store.made, store.sent + store.per_message)
            self.send(low, store.sent)

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if not self.lost.done():
            self.lost.set_result(None)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Fleet:
    """All stores of one process."""

    def __init__(
        self, ports: Sequence[int], stores: Sequence[FleetStore], seed: int = 1, stall_s: float = STALL_S
    ) -> None:
        self.stall_s = stall_s
        self.ports, self.stores = list(ports), list(stores)
        self.rng = random.Random(seed)
        self.connections: dict[int, Connection] = {}
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, per_s: float) -> None:
        """Connect all, so many a second."""
        for number, store in enumerate(self.stores):
            self.tasks.append(asyncio.create_task(self._keep(number, store)))
            if number % 20 == 19:
                await asyncio.sleep(20 / per_s)
        while self.n_open < len(self.stores):
            await asyncio.sleep(0.05)

    @property
    def n_open(self) -> int:
        return sum(connection.open for connection in self.connections.values())

    async def _keep(self, number: int, store: FleetStore) -> None:
        loop = asyncio.get_running_loop()
        turn = number
        while True:
            turn += 1
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(self, store), "127.0.0.1", self.ports[turn % len(self.ports)]
                )
            except OSError:
                await asyncio.sleep(self.rng.uniform(0.05, 0.3))
                continue
            self.connections[number] = connection
            await self._live(connection, store)
            await asyncio.sleep(self.rng.uniform(0.0, 0.2))

    async def _live(self, connection: Connection, store: FleetStore) -> None:
        """Until the connection ends; a silent CONNACK ends it after 1.5 s (later under a storm), a stall sends again."""
        loop = asyncio.get_running_loop()
        patience_s = CONNACK_S * self.rng.uniform(1.0, 2.0) + 0.002 * len(self.stores)
        try:
            async with asyncio.timeout(patience_s):
                while not connection.open and not connection.lost.done():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            connection.close()
        store.progress_at_s = loop.time()
        while not connection.lost.done():
            await asyncio.wait([connection.lost], timeout=1.0)
            if store.acked < store.sent and not store.waiting and loop.time() - store.progress_at_s > self.stall_s:
                store.progress_at_s, store.sent = loop.time(), store.acked
                connection.pump()

    def add(self, count: int) -> None:
        """Each store makes so many more facts and sends them."""
        for number, store in enumerate(self.stores):
            store.made += count
            if number in self.connections:
                self.connections[number].pump()

    def probe(self) -> None:
        """Each store makes one fact now; its pause lasts until the broker has acknowledged it."""
        now_s = asyncio.get_running_loop().time()
        for store in self.stores:
            store.probe_at_s, store.probe_seq = now_s, store.made + 1
        self.add(1)

    @property
    def probing(self) -> int:
        return sum(bool(store.probe_at_s) for store in self.stores)

    @property
    def unacked(self) -> int:
        return sum(store.made - store.acked for store in self.stores)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for connection in self.connections.values():
            connection.close()
        await asyncio.sleep(0.1)
