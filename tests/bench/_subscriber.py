"""An independent MQTT 3.1.1 subscriber over a plain socket (OASIS mqtt-v3.1.1-os): counts and checks every seq itself.

It shares nothing with the bridge, neither client library nor parser: seqs are found in the payload's bytes.
"""

from __future__ import annotations

import re
import socket
import struct
import time

from tests.bench._packets import take_packet

_SEQ = re.compile(rb'"seq":"(\d+)"')
_MONO = re.compile(rb'"seq":"(\d+)".*?"monous":"(\d+)"')


class Subscriber:
    """Connects, subscribes at QoS 1, acknowledges, remembers which seqs came how often and when."""

    def __init__(self, port: int, pattern: str, client_id: str = "independent") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.seen = bytearray(1)
        self.doubled = 0
        self.received = 0
        self.messages = 0
        self.late_us: list[tuple[int, int]] = []
        self.late_from = 1 << 62
        name = client_id.encode()
        variable = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack("!H", len(name)) + name
        self.socket.sendall(b"\x10" + _length(len(variable)) + variable)
        self._expect(0x20)
        topic = pattern.encode()
        body = b"\x00\x01" + struct.pack("!H", len(topic)) + topic + b"\x01"
        self.socket.sendall(b"\x82" + _length(len(body)) + body)
        self._expect(0x90)

    def _expect(self, kind: int) -> None:
        while True:
            packet = take_packet(self._buffer)
            if packet is not None:
                assert packet[0] & 0xF0 == kind, packet[:8]
                return
            self._buffer += self.socket.recv(1 << 16)

    def read_until(self, last_seq: int, limit_s: float) -> None:
        """Read until every seq from 1 to last_seq was seen, or time is up."""
        missing = last_seq - self._distinct(last_seq)
        give_up_s = time.monotonic() + limit_s
        self.socket.settimeout(1.0)
        while missing > 0 and time.monotonic() < give_up_s:
            try:
                chunk = self.socket.recv(1 << 20)
            except TimeoutError:
                continue
            if not chunk:
                break
            self._buffer += chunk
            before = self.received - self.doubled
            self._take_all()
            missing -= self.received - self.doubled - before

    def _take_all(self) -> None:
        acks = bytearray()
        while (packet := take_packet(self._buffer)) is not None:
            first, rest = packet
            if first & 0xF0 != 0x30:
                continue
            (n_topic,) = struct.unpack_from("!H", rest)
            acks += b"\x40\x02" + rest[2 + n_topic : 4 + n_topic]
            if self.wants(rest[2 : 2 + n_topic]):
                self._take(rest[4 + n_topic :])
        if acks:
            self.socket.sendall(acks)

    def wants(self, topic: bytes) -> bool:
        """Whether messages of this topic are counted."""
        return topic.split(b"/")[4] == b"events"

    def _take(self, payload: bytes) -> None:
        self.messages += 1
        now_us = time.monotonic_ns() // 1000
        seqs = [int(seq) for seq in _SEQ.findall(payload)]
        top = max(seqs)
        if top >= len(self.seen):
            self.seen.extend(bytes(top + 1 - len(self.seen)))
        for seq in seqs:
            self.doubled += self.seen[seq]
            self.seen[seq] = 1
        self.received += len(seqs)
        if top >= self.late_from:
            self.late_us += [
                (int(seq), now_us - int(at_us)) for seq, at_us in _MONO.findall(payload) if int(seq) >= self.late_from
            ]

    def _distinct(self, last_seq: int) -> int:
        return sum(self.seen[1 : last_seq + 1])

    def missing(self, last_seq: int) -> int:
        """How many of 1 … last_seq never came."""
        return last_seq - self._distinct(last_seq)


def _length(size: int) -> bytes:
    made = bytearray()
    while True:
        size, low = divmod(size, 128)
        made.append(low | (0x80 if size else 0))
        if not size:
            return bytes(made)


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
