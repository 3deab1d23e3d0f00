"""BTHome version 2: objects of sensors in service data, plain or sealed with AES-CCM. Source: bthome.io/format and
bthome.io/encryption.

An object is an id and a value of a length that only the id tells, so that every id must be known to read on; at the
first unknown one the rest of the advertisement is left, as the format asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from devices.beacon_ble.heard import Heard

UUID16: Final = 0xFCD2
BindKeys = Mapping[str, bytes]
"""Address as displayed → 16-byte bind key."""
_ENCRYPTED: Final = 0x01
_VERSION_2: Final = 0x40
_VERSION_MASK: Final = 0xE0
_TAG_LENGTH: Final = 4
_TEXT, _RAW = 0x53, 0x54  # a length byte follows

_QUANTITIES: Final[dict[int, tuple[int, bool, float, str]]] = {
    # id: (bytes, signed, factor, quantity)
    0x01: (1, False, 1.0, "battery_percent"),
    0x02: (2, True, 0.01, "temperature_c"),
    0x03: (2, False, 0.01, "humidity_percent"),
    0x04: (3, False, 0.01, "pressure_hpa"),
    0x05: (3, False, 0.01, "illuminance_lx"),
    0x08: (2, True, 0.01, "dew_point_c"),
    0x0C: (2, False, 0.001, "voltage_v"),
    0x11: (1, False, 1.0, "door_open"),
    0x12: (2, False, 1.0, "co2_ppm"),
    0x15: (1, False, 1.0, "battery_low"),
    0x1A: (1, False, 1.0, "door_open"),
    0x21: (1, False, 1.0, "motion"),
    0x22: (1, False, 1.0, "moving"),
    0x2B: (1, False, 1.0, "tamper"),
    0x2D: (1, False, 1.0, "window_open"),
    0x2E: (1, False, 1.0, "humidity_percent"),
    0x45: (2, True, 0.1, "temperature_c"),
    0x57: (1, True, 1.0, "temperature_c"),
    0x58: (1, True, 0.35, "temperature_c"),
}
_TWO_MORE: Final = (0x51, 0x52, 0x56, 0x5A, 0x5D, 0x5E, 0x5F, 0x61, 0xF0)
_LENGTHS: Final = {
    1: (0x00, 0x09, *range(0x0F, 0x11), *range(0x16, 0x2E), 0x2F, 0x3A, 0x46, 0x59, 0x60, 0x64, 0x65),
    2: (
        *(0x06, 0x07, 0x0D, 0x0E, 0x13, 0x14, 0x3C, 0x3D, 0x43, 0x44),
        *range(0x3F, 0x42),
        *range(0x47, 0x4B),
        *_TWO_MORE,
    ),
    3: (0x0A, 0x0B, 0x42, 0x4B, 0xF2),
    4: (0x3E, *range(0x4C, 0x51), 0x55, 0x5B, 0x5C, 0x62, 0x63, 0xF1),
}
LENGTH_OF: Final = {i: size for size, ids in _LENGTHS.items() for i in ids} | {i: q[0] for i, q in _QUANTITIES.items()}


def parse(data: bytes, address: str, keys: BindKeys | None = None) -> Heard | None:
    """Service data behind the UUID. None for another version and for what does not open with the sensor's key.

    A sealed advertisement without a key still names its beacon: it is heard, and says nothing.
    """
    if len(data) < 1 or data[0] & _VERSION_MASK != _VERSION_2:
        return None
    beacon = f"bthome:{address}"
    if not data[0] & _ENCRYPTED:
        return Heard(beacon, None, _objects(data[1:]))
    key = (keys or {}).get(address)
    if key is None:
        return Heard(beacon)
    return _open(data, address, key)


def _open(data: bytes, address: str, key: bytes) -> Heard | None:
    if len(data) < 1 + 4 + _TAG_LENGTH:
        return None
    sealed, counter, tag = data[1 : -4 - _TAG_LENGTH], data[-4 - _TAG_LENGTH : -_TAG_LENGTH], data[-_TAG_LENGTH:]
    nonce = bytes.fromhex(address.replace(":", "")) + UUID16.to_bytes(2, "little") + data[:1] + counter
    try:
        plain = AESCCM(key, tag_length=_TAG_LENGTH).decrypt(nonce, sealed + tag, None)
    except InvalidTag:
        return None
    return Heard(f"bthome:{address}", None, _objects(plain), int.from_bytes(counter, "little"))


def _objects(body: bytes) -> tuple[tuple[str, float], ...]:
    """(quantity, value) of each known object; the last of a quantity counts."""
    found: dict[str, float] = {}
    at, end = 0, len(body)
    while at < end:
        kind = body[at]
        if kind in (_TEXT, _RAW):
            at += 2 + (body[at + 1] if at + 1 < end else 0)
            continue
        size = LENGTH_OF.get(kind)
        if size is None or at + 1 + size > end:
            break
        quantity = _QUANTITIES.get(kind)
        if quantity is not None:
            raw = int.from_bytes(body[at + 1 : at + 1 + size], "little", signed=quantity[1])
            found[quantity[3]] = round(raw * quantity[2], 4)
        at += 1 + size
    return tuple(found.items())
