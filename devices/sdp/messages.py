"""The bodies of SDP/1: what a device says, and what the host asks."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

ALL_CELLS: Final = 255  # ERROR: about no cell in particular
FIRMWARE_BLOCK_MAX: Final = 128
UNIT_NAMES: Final = {1: "centi_celsius", 2: "mm"}  # FRAME

_IDENTITY = struct.Struct("<16s16s7BHI")
_ACK = struct.Struct("<BHB")
_ADVERT = struct.Struct("<bB6sB")
_COUNTS = tuple(struct.Struct(f"<{n}i") for n in range(17))
_CENTI_C = struct.Struct("<h")


class Kind(IntEnum):
    """Type byte of a frame."""

    HELLO = 0x01
    DATA = 0x02
    ACK = 0x03
    ERROR = 0x04
    BOOT = 0x05
    FRAME = 0x06
    ADVERT = 0x07
    GET_HELLO = 0x41
    SET_RATE = 0x42
    IDENTIFY = 0x43
    FIRMWARE_BEGIN = 0x44
    FIRMWARE_BLOCK = 0x45
    FIRMWARE_END = 0x46
    REBOOT = 0x47


class Result(IntEnum):
    """Result byte of an ACK."""

    DONE = 0
    UNKNOWN_TYPE = 1
    BAD_ARGUMENT = 2
    BUSY = 3
    BAD_SIGNATURE = 4
    NOT_SUPPORTED = 5


class BootReason(IntEnum):
    """Why a device started."""

    POWER = 0
    WATCHDOG = 1
    BROWN_OUT = 2
    COMMAND = 3
    FIRMWARE = 4


class Feature(IntEnum):
    """Bits of `Identity.features`."""

    IDENTIFY = 1
    FIRMWARE_UPDATE = 2
    TEMPERATURE = 4


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a device is. unit: 0 counts, 1 centi-°C, 2 mm; rate in tenths of Hz; features: bits of `Feature`."""

    serial: str
    model: str
    firmware: str
    cells: int
    rows: int
    cols: int
    unit: int
    rate_tenths_hz: int
    features: int


@dataclass(frozen=True, slots=True)
class Hello:
    """Answer to GET_HELLO."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class Boot:
    """The device has just started; reason as in `BootReason` (newer firmware may know more)."""

    identity: Identity
    reason: int


@dataclass(frozen=True, slots=True)
class Data:
    """One sample of all cells: raw counts, sign-extended, and the board's temperature (°C) where it has a sensor."""

    counts: tuple[int, ...]
    temperature_c: float | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """Answer to the request `acked_type`, `acked_seq`."""

    acked_type: int
    acked_seq: int
    result: int


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """The device complains. code: 1 cell open, 2 cell saturated, 3 ADC time-out, 4 low voltage, 5 bus, 6 flash."""

    code: int
    cell: int
    text: str


@dataclass(frozen=True, slots=True)
class PixelFrame:
    """One frame of a door array: rows × cols little-endian int16, row by row, as on the wire."""

    rows: int
    cols: int
    unit: int
    pixels: bytes


@dataclass(frozen=True, slots=True)
class AdvertHeard:
    """One BLE advertisement: RSSI (dBm), the address as displayed (6 bytes), the AD structures as received."""

    rssi_dbm: int
    address_random: bool
    address: bytes
    ad: bytes


@dataclass(frozen=True, slots=True)
class Unknown:
    """A good frame of a type that this release does not know: counted, so that its seq is not taken for a loss."""

    kind: int


Message = Hello | Boot | Data | Ack | ErrorReport | PixelFrame | AdvertHeard | Unknown


def read_body(kind: int, body: bytes) -> Message | None:
    """What a device's frame says, or None when the body's length is not one that its type can have."""
    reader = _READERS.get(kind)
    return Unknown(kind) if reader is None else reader(body)


def _read_data(body: bytes) -> Data | None:
    if len(body) < 2:
        return None
    flags, n = body[0], body[1]
    end = 2 + 4 * n
    if not 1 <= n <= 16 or len(body) != end + 2 * (flags & 1):
        return None
    counts = _COUNTS[n].unpack_from(body, 2)
    return Data(counts, _CENTI_C.unpack_from(body, end)[0] / 100) if flags & 1 else Data(counts)


def _identity(body: bytes) -> Identity:
    serial, model, major, minor, patch, cells, rows, cols, unit, rate, features = _IDENTITY.unpack_from(body)
    firmware = f"{major}.{minor}.{patch}"
    return Identity(_name(serial), _name(model), firmware, cells, rows, cols, unit, rate, features)


def _name(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("ascii", errors="replace")


def _read_hello(body: bytes) -> Hello | None:
    return Hello(_identity(body)) if len(body) == _IDENTITY.size else None


def _read_boot(body: bytes) -> Boot | None:
    return Boot(_identity(body), body[-1]) if len(body) == _IDENTITY.size + 1 else None


def _read_ack(body: bytes) -> Ack | None:
    return Ack(*_ACK.unpack(body)) if len(body) == _ACK.size else None


def _read_error(body: bytes) -> ErrorReport | None:
    if not 2 <= len(body) <= 62:
        return None
    return ErrorReport(body[0], body[1], body[2:].decode(errors="replace"))


def _read_frame(body: bytes) -> PixelFrame | None:
    if len(body) < 4 or len(body) != 4 + 2 * body[1] * body[2]:
        return None
    return PixelFrame(body[1], body[2], body[3], body[4:])


def _read_advert(body: bytes) -> AdvertHeard | None:
    if len(body) < _ADVERT.size:
        return None
    rssi_dbm, address_type, address, n = _ADVERT.unpack_from(body)
    ad = body[_ADVERT.size :]
    return AdvertHeard(rssi_dbm, address_type == 1, address, ad) if len(ad) == n else None


_READERS: Final[dict[int, Callable[[bytes], Message | None]]] = {
    Kind.HELLO: _read_hello,
    Kind.DATA: _read_data,
    Kind.ACK: _read_ack,
    Kind.ERROR: _read_error,
    Kind.BOOT: _read_boot,
    Kind.FRAME: _read_frame,
    Kind.ADVERT: _read_advert,
}


@dataclass(frozen=True, slots=True)
class Request:
    """A frame of the host: type and body."""

    kind: Kind
    body: bytes = b""


GET_HELLO: Final = Request(Kind.GET_HELLO)
FIRMWARE_END: Final = Request(Kind.FIRMWARE_END)
REBOOT: Final = Request(Kind.REBOOT)


def set_rate(rate_tenths_hz: int) -> Request:
    """SET_RATE; tenths of Hz, 0–65535."""
    return Request(Kind.SET_RATE, struct.pack("<H", rate_tenths_hz))


def identify(duration_s: int) -> Request:
    """IDENTIFY; 0–255 s, 0 stops."""
    return Request(Kind.IDENTIFY, bytes((duration_s,)))


def firmware_begin(size: int, sha256: bytes, signature: bytes) -> Request:
    """FIRMWARE_BEGIN; sha256 has 32 bytes, its Ed25519 signature 64."""
    return Request(Kind.FIRMWARE_BEGIN, struct.pack("<I32s64s", size, sha256, signature))


def firmware_block(offset: int, block: bytes) -> Request:
    """FIRMWARE_BLOCK; 1–128 bytes."""
    return Request(Kind.FIRMWARE_BLOCK, struct.pack("<I", offset) + block)
