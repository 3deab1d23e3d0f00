"""SDP/1 frames: ``COBS(payload ‖ crc32(payload)) ‖ 00``. Bytes in, values out: no I/O, no clock, no exception.

Written from the SDP/1 page of the design. COBS after Cheshire and Baker, "Consistent Overhead Byte Stuffing" (1999);
the CRC-32 is that of zlib (IEEE 802.3). All integers are little-endian.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

from devices.sdp.messages import Message, read_body

VERSION: Final = 1
HEADER: Final = struct.Struct("<BBHI")  # version, type, seq, uptime_ms
PAYLOAD_MIN: Final = 8  # the header alone
PAYLOAD_MAX: Final = 1600
CRC_BYTES: Final = 4
CODED_MAX: Final = PAYLOAD_MAX + CRC_BYTES + (PAYLOAD_MAX + CRC_BYTES) // 254 + 1  # COBS: a byte a started block of 254


@dataclass(frozen=True, slots=True)
class Rejected:
    """Bytes of the wire that are no frame, with the reason: cobs, crc, version, length or noise (never ends)."""

    reason: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Received:
    """One good frame: the sender's seq (u16) and uptime (ms, u32), both as on the wire, and what it says."""

    seq: int
    uptime_ms: int
    message: Message


@dataclass(slots=True)
class Ledger:
    """Where the bytes went; fed = accepted + rejected + skipped + buffered, always."""

    fed: int = 0
    accepted: int = 0
    rejected: int = 0
    skipped: int = 0  # empty frames (00 00) and the rest of a frame that was rejected as too long
    buffered: int = 0
    frames: int = 0
    by_reason: dict[str, int] = field(default_factory=dict)


def cobs_encode(raw: bytes) -> bytes:
    """COBS without the closing zero; at most one byte longer per started 254."""
    coded = bytearray(b"\0")
    code_at, code = 0, 1
    for byte in raw:
        if code == 255:  # a full block implies no zero: open the next
            coded[code_at] = code
            code_at, code = len(coded), 1
            coded.append(0)
        if byte == 0:
            coded[code_at] = code
            code_at, code = len(coded), 1
            coded.append(0)
        else:
            coded.append(byte)
            code += 1
    coded[code_at] = code
    return bytes(coded)


def cobs_decode(coded: bytes) -> bytes | None:
    """The bytes of a COBS block (no closing zero, no zero inside), or None where a code points beyond its end."""
    parts: list[bytes] = []
    at, end = 0, len(coded)
    while at < end:
        code = coded[at]
        stop = at + code
        if stop > end or code == 0:
            return None
        parts.append(coded[at + 1 : stop])
        at = stop
        if code != 255 and at < end:
            parts.append(b"\0")
    return b"".join(parts)


def encode(kind: int, seq: int, body: bytes = b"", uptime_ms: int = 0) -> bytes:
    """One frame with its closing zero. The host's uptime is 0 by the specification."""
    payload = HEADER.pack(VERSION, kind, seq & 0xFFFF, uptime_ms & 0xFFFFFFFF) + body
    return cobs_encode(payload + zlib.crc32(payload).to_bytes(CRC_BYTES, "little")) + b"\0"


class Decoder:
    """Cuts a stream into frames and accounts for each byte in `ledger`. Never holds more than one longest frame."""

    __slots__ = ("_overlong", "_partial", "ledger")

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._partial = b""
        self._overlong = False

    def feed(self, data: bytes) -> list[Received | Rejected]:
        """The frames and rejections that `data` completes, in the order of the wire."""
        out: list[Received | Rejected] = []
        self.ledger.fed += len(data)
        *closed, rest = data.split(b"\0")
        for piece in closed:
            coded = self._partial + piece if self._partial else piece
            self._partial = b""
            item = self._close(coded)
            if item is not None:
                out.append(item)
        self._keep(rest, out)
        self.ledger.buffered = len(self._partial)
        return out

    def _close(self, coded: bytes) -> Received | Rejected | None:
        ledger, n_bytes = self.ledger, len(coded) + 1
        if self._overlong or not coded:
            self._overlong = False
            ledger.skipped += n_bytes
            return None
        item = decode(coded) if len(coded) <= CODED_MAX else Rejected("noise", n_bytes)
        if isinstance(item, Rejected):
            self._reject(item)
        else:
            ledger.accepted += n_bytes
            ledger.frames += 1
        return item

    def _keep(self, rest: bytes, out: list[Received | Rejected]) -> None:
        if self._overlong:
            self.ledger.skipped += len(rest)
            return
        self._partial += rest
        if len(self._partial) > CODED_MAX:
            noise = Rejected("noise", len(self._partial))
            self._partial, self._overlong = b"", True
            self._reject(noise)
            out.append(noise)

    def _reject(self, item: Rejected) -> None:
        self.ledger.rejected += item.n_bytes
        self.ledger.by_reason[item.reason] = self.ledger.by_reason.get(item.reason, 0) + 1


def decode(coded: bytes) -> Received | Rejected:
    """The frame in one COBS block without its closing zero (which counts in ``n_bytes``)."""
    n_bytes = len(coded) + 1
    raw = cobs_decode(coded)
    if raw is None:
        return Rejected("cobs", n_bytes)
    payload = raw[:-CRC_BYTES]
    if not PAYLOAD_MIN <= len(payload) <= PAYLOAD_MAX:
        return Rejected("length", n_bytes)
    if zlib.crc32(payload) != int.from_bytes(raw[-CRC_BYTES:], "little"):
        return Rejected("crc", n_bytes)
    version, kind, seq, uptime_ms = HEADER.unpack_from(payload)
    if version != VERSION:
        return Rejected("version", n_bytes)
    message = read_body(kind, payload[PAYLOAD_MIN:])
    return Rejected("length", n_bytes) if message is None else Received(seq, uptime_ms, message)
