"""SDP/1 frames as a device firmware builds and reads them, from the protocol's specification alone.

Wire: ``COBS(payload ‖ crc32(payload)) ‖ 00``; payload = version u8, type u8, seq u16, uptime_ms u32, body; all
integers little-endian; 8 to 1600 bytes. This module shares nothing with the gateway's codec: the referee between both
is ``tests/vectors/sdp/vectors.json``.
"""

import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Final

VERSION: Final = 1
PAYLOAD_MIN: Final = 8
PAYLOAD_MAX: Final = 1600
_WIRE_MAX: Final = PAYLOAD_MAX + 4 + (PAYLOAD_MAX + 4) // 254 + 1  # COBS adds one byte a started block of 254

NO_READING: Final = -(2**31)  # DATA: "no reading"
SATURATED_HIGH: Final = 2**23 - 1  # DATA: rail of a 24-bit converter
SATURATED_LOW: Final = -(2**23)
DEAD_PIXEL: Final = -32768  # FRAME
NO_CELL: Final = 255  # ERROR: about no cell

HELLO, DATA, ACK, ERROR, BOOT, FRAME, ADVERT = range(0x01, 0x08)
GET_HELLO, SET_RATE, IDENTIFY, FIRMWARE_BEGIN, FIRMWARE_BLOCK, FIRMWARE_END, REBOOT = range(0x41, 0x48)

DONE, UNKNOWN_TYPE, BAD_ARGUMENT, BUSY, BAD_SIGNATURE, NOT_SUPPORTED = range(6)  # ACK results
CELL_OPEN, CELL_SATURATED, ADC_TIMEOUT, LOW_VOLTAGE, SENSOR_BUS, FLASH = range(1, 7)  # ERROR codes
BY_POWER, BY_WATCHDOG, BY_BROWN_OUT, BY_COMMAND, BY_FIRMWARE = range(5)  # BOOT reasons
UNIT_COUNTS, UNIT_CENTI_C, UNIT_MM = range(3)
FEATURE_IDENTIFY, FEATURE_FIRMWARE, FEATURE_TEMPERATURE = 1, 2, 4

_HEADER = struct.Struct("<BBHI")
_IDENTITY = struct.Struct("<16s16sBBBBBBBHI")
_BEGIN = struct.Struct("<I32s64s")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a device says it is in HELLO and BOOT; ``rate_tenths_hz`` is its sample rate, ``features`` a bit set."""

    serial: str
    model: str
    firmware: tuple[int, int, int] = (1, 0, 0)
    cells: int = 0
    rows: int = 0
    cols: int = 0
    unit: int = UNIT_COUNTS
    rate_tenths_hz: int = 100
    features: int = FEATURE_IDENTIFY | FEATURE_FIRMWARE

    def packed(self) -> bytes:
        """The 45 bytes of the wire; a serial or model beyond 16 ASCII bytes raises ValueError."""
        names = []
        for name in (self.serial, self.model):
            raw = name.encode("ascii")
            if len(raw) > 16:
                raise ValueError(f"{name!r} has {len(raw)} bytes; SDP/1 names have at most 16")
            names.append(raw)
        shape = (self.cells, self.rows, self.cols, self.unit)
        return _IDENTITY.pack(*names, *self.firmware, *shape, self.rate_tenths_hz, self.features)


@dataclass(frozen=True, slots=True)
class Payload:
    """One frame that passed CRC, version and length: ``body`` starts after ``uptime_ms``."""

    kind: int
    seq: int
    uptime_ms: int
    body: bytes


def cobs(raw: bytes) -> bytes:
    """Consistent Overhead Byte Stuffing (Cheshire and Baker 1999), without the closing zero."""
    out = bytearray()
    for piece in raw.split(b"\0"):
        start = 0
        while len(piece) - start >= 254:
            out.append(255)
            out += piece[start : start + 254]
            start += 254
        out.append(len(piece) - start + 1)
        out += piece[start:]
    # A piece of exactly n·254 bytes needs no closing code when it is the last one: the block 255 implies no zero.
    last = raw.rsplit(b"\0", 1)[-1]
    if last and len(last) % 254 == 0:
        out.pop()
        return bytes(out)
    return bytes(out)


def uncobs(coded: bytes) -> bytes | None:
    """The bytes behind a COBS block without its closing zero, or None when the codes do not fit its length."""
    out = bytearray()
    at = 0
    while at < len(coded):
        code = coded[at]
        if code == 0 or at + code > len(coded):
            return None
        out += coded[at + 1 : at + code]
        at += code
        if code < 255 and at < len(coded):
            out.append(0)
    return bytes(out)


def encode(kind: int, seq: int, uptime_ms: int, body: bytes = b"") -> bytes:
    """One frame with its closing zero; ``seq`` and ``uptime_ms`` wrap as the specification says."""
    payload = _HEADER.pack(VERSION, kind, seq & 0xFFFF, uptime_ms & 0xFFFFFFFF) + body
    return cobs(payload + zlib.crc32(payload).to_bytes(4, "little")) + b"\0"


def data_body(counts: list[int], temperature_centi_c: int | None = None) -> bytes:
    """DATA: 1 to 16 raw counts, with the temperature when there is one."""
    body = struct.pack(f"<BB{len(counts)}i", temperature_centi_c is not None, len(counts), *counts)
    return body if temperature_centi_c is None else body + struct.pack("<h", temperature_centi_c)


def ack_body(kind: int, seq: int, result: int) -> bytes:
    """ACK of the frame ``kind``, ``seq``."""
    return struct.pack("<BHB", kind, seq, result)


def error_body(code: int, cell: int, text: str) -> bytes:
    """ERROR; the text is cut to 60 bytes at a character's border."""
    return bytes((code, cell)) + text.encode()[:60].decode(errors="ignore").encode()


def frame_body(rows: int, cols: int, unit: int, pixels: bytes) -> bytes:
    """FRAME; ``pixels`` are rows × cols little-endian i16, row by row."""
    return bytes((0, rows, cols, unit)) + pixels


def advert_body(rssi_dbm: int, address_type: int, address: bytes, ad: bytes) -> bytes:
    """ADVERT: ``address`` has 6 bytes, most significant first; ``ad`` at most 255 bytes of AD structures."""
    return struct.pack("<bB6sB", rssi_dbm, address_type, address, len(ad)) + ad


def begin_body(size: int, sha256: bytes, signature: bytes) -> bytes:
    """FIRMWARE_BEGIN, as a programming adapter on the bench sends it."""
    return _BEGIN.pack(size, sha256, signature)


def begin_fields(body: bytes) -> tuple[int, bytes, bytes]:
    """Size, SHA-256 and signature of FIRMWARE_BEGIN."""
    size, sha256, signature = _BEGIN.unpack(body)
    return size, sha256, signature


_FIXED_BODY: Final = {
    HELLO: 45, ACK: 4, BOOT: 46, GET_HELLO: 0, SET_RATE: 2, IDENTIFY: 1, FIRMWARE_BEGIN: 100, FIRMWARE_END: 0, REBOOT: 0
}  # fmt: skip


def _fits(kind: int, body: bytes) -> bool:
    """Whether the body's length is one that the specification allows for its type; unknown types always fit."""
    n = len(body)
    if kind == DATA:
        return n >= 2 and 1 <= body[1] <= 16 and n == 2 + 4 * body[1] + 2 * (body[0] & 1)
    if kind == ERROR:
        return 2 <= n <= 62
    if kind == FRAME:
        return n >= 4 and n == 4 + 2 * body[1] * body[2]
    if kind == ADVERT:
        return n >= 9 and n == 9 + body[8]
    if kind == FIRMWARE_BLOCK:
        return 5 <= n <= 132
    return n == _FIXED_BODY.get(kind, n)


class Receiver:
    """Cuts a byte stream into frames. ``dropped`` counts by reason: cobs, crc, version, length, noise (too long)."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self._partial = bytearray()
        self._overrun = False

    def feed(self, raw: bytes) -> list[Payload]:
        """The frames that ``raw`` completes, in order. The buffer never exceeds one frame of maximum length."""
        got = []
        head, *rest = raw.split(b"\0")
        self._collect(head)
        for piece in rest:
            frame = self._close()
            if frame is not None:
                got.append(frame)
            self._collect(piece)
        return got

    def _collect(self, piece: bytes) -> None:
        if len(self._partial) + len(piece) > _WIRE_MAX:
            self._overrun = True
            self._partial.clear()
        elif not self._overrun:
            self._partial += piece

    def _close(self) -> Payload | None:
        coded, overrun = bytes(self._partial), self._overrun
        self._partial.clear()
        self._overrun = False
        if overrun:
            self.dropped["noise"] += 1
            return None
        if not coded:
            return None  # empty frames mean nothing
        result = _decode(coded)
        if isinstance(result, str):
            self.dropped[result] += 1
            return None
        return result


def _decode(coded: bytes) -> Payload | str:
    raw = uncobs(coded)
    if raw is None:
        return "cobs"
    if not PAYLOAD_MIN + 4 <= len(raw) <= PAYLOAD_MAX + 4:
        return "length"
    payload, crc = raw[:-4], int.from_bytes(raw[-4:], "little")
    if zlib.crc32(payload) != crc:
        return "crc"
    version, kind, seq, uptime_ms = _HEADER.unpack_from(payload)
    if version != VERSION:
        return "version"
    body = payload[8:]
    return Payload(kind, seq, uptime_ms, body) if _fits(kind, body) else "length"
