"""LLRP messages on a byte stream: bytes in, messages out (LLRP 1.1, 17.1: message encoding)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from devices.rejected import Rejected
from devices.rfid_llrp.tables import MESSAGES

HEADER_BYTES = 10
MAX_MESSAGE_BYTES = 1 << 20  # ours: the largest real answer (a full capabilities table) is below 64 KiB
VERSIONS = (1, 2)  # 1.0.1 and 1.1
_HEADER = struct.Struct(">HII")


class Message(NamedTuple):
    """One message: type number, id, body without the header. A tuple, because there may be 300,000 a second."""

    type: int
    id: int
    body: bytes
    version: int = 1

    @property
    def name(self) -> str:
        """Name of the type, or its number in words."""
        row = MESSAGES.get(self.type)
        return row.name if row else f"message type {self.type}"


class Framer:
    """Splits the stream. LLRP has no sync mark, so a header that cannot be right ends the stream: `broken` says why.

    Accounting: bytes fed = accepted + rejected + skipped + buffered; skipped is what came after the break.
    """

    __slots__ = ("_chunks", "_needed", "accepted_bytes", "broken", "buffered_bytes", "rejected_bytes", "skipped_bytes")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._needed = HEADER_BYTES
        self.buffered_bytes = 0  # of a message that is not complete yet; at most MAX_MESSAGE_BYTES
        self.accepted_bytes = 0
        self.rejected_bytes = 0
        self.skipped_bytes = 0
        self.broken = ""

    def feed(self, data: bytes) -> list[Message | Rejected]:
        """All messages that are complete now; a Rejected is the last thing this stream gives."""
        if self.broken:
            self.skipped_bytes += len(data)
            return []
        self._chunks.append(data)
        self.buffered_bytes += len(data)
        if self.buffered_bytes < self._needed:  # joined once it is complete: a dribbling reader costs no more
            return []
        buffer = b"".join(self._chunks) if len(self._chunks) > 1 else data
        self._needed = HEADER_BYTES
        out: list[Message | Rejected] = []
        at, end, unpack, add = 0, len(buffer), _HEADER.unpack_from, out.append
        while end - at >= HEADER_BYTES:
            word, length, message_id = unpack(buffer, at)
            version = word >> 10 & 7
            if version not in VERSIONS or not HEADER_BYTES <= length <= MAX_MESSAGE_BYTES:
                self.accepted_bytes += at
                add(self._break(version, length, end - at))
                self._chunks, self.buffered_bytes = [], 0
                return out
            if end - at < length:
                self._needed = length
                break
            add(Message(word & 0x3FF, message_id, buffer[at + HEADER_BYTES : at + length], version))
            at += length
        self.accepted_bytes += at
        self.buffered_bytes = end - at
        self._chunks = [buffer[at:]] if end > at else []
        return out

    def _break(self, version: int, length: int, n_bytes: int) -> Rejected:
        if version not in VERSIONS:
            self.broken = f"LLRP version {version}; expected 1 (1.0.1) or 2 (1.1)"
        else:
            self.broken = f"message length {length}; expected {HEADER_BYTES} to {MAX_MESSAGE_BYTES}"
        self.rejected_bytes += n_bytes
        return Rejected(self.broken, n_bytes)


def frame(message: Message) -> bytes:
    """The bytes of a message."""
    header = _HEADER.pack(message.version << 10 | message.type, HEADER_BYTES + len(message.body), message.id)
    return header + message.body
