"""Advertisements into what beacons say of themselves. Bytes in, values out; garbage is None, never an exception.

AD structures: Bluetooth Core Specification Supplement, part A. iBeacon: Apple's "Proximity Beacon Specification",
release R1: company 0x004C, type 0x02, length 0x15, UUID, major and minor (big-endian), measured power at 1 m.
AltBeacon: "AltBeacon Protocol Specification v1.0": any company, code BE AC, 20 bytes of id, reference RSSI, reserved.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from devices.beacon_ble import bthome, eddystone
from devices.beacon_ble.heard import Heard

__all__ = ["Heard", "ad_structures", "parse_advert", "parse_manufacturer", "parse_service"]

MANUFACTURER_DATA: Final = 0xFF
SERVICE_DATA_16: Final = 0x16
APPLE: Final = 0x004C
_IBEACON: Final = struct.Struct(">HHb")  # behind type, length and UUID
_IBEACON_LENGTH: Final = 23
_ALTBEACON_LENGTH: Final = 24


def ad_structures(ad: bytes) -> list[tuple[int, bytes]]:
    """(AD type, data) of each structure up to the first that is cut short; a zero length ends the list."""
    found: list[tuple[int, bytes]] = []
    at, end_of_all = 0, len(ad)
    while at + 1 < end_of_all:
        end = at + 1 + ad[at]
        if end == at + 1 or end > end_of_all:
            break
        found.append((ad[at + 1], ad[at + 2 : end]))
        at = end
    return found


def parse_manufacturer(company: int, data: bytes) -> Heard | None:
    """The beacon in manufacturer data (without the company): iBeacon or AltBeacon, else None."""
    if company == APPLE and len(data) == _IBEACON_LENGTH and data[:2] == b"\x02\x15":
        uuid = data[2:18].hex()
        major, minor, power_dbm = _IBEACON.unpack_from(data, 18)
        return Heard(
            f"ibeacon:{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}:{major}:{minor}", power_dbm
        )
    if len(data) == _ALTBEACON_LENGTH and data[:2] == b"\xbe\xac":
        power_dbm = data[22] - 256 if data[22] > 127 else data[22]
        return Heard(f"altbeacon:{data[2:22].hex()}", power_dbm)
    return None


def parse_service(uuid16: int, data: bytes, address: str, keys: bthome.BindKeys | None = None) -> Heard | None:
    """The beacon in 16-bit service data (without the UUID): Eddystone or BTHome, else None."""
    if uuid16 == eddystone.UUID16:
        return eddystone.parse(data)
    if uuid16 == bthome.UUID16:
        return bthome.parse(data, address, keys)
    return None


def parse_advert(ad: bytes, address: str, keys: bthome.BindKeys | None = None) -> Heard | None:
    """The first beacon among an advertisement's AD structures, or None when it is none that we know.

    address: as displayed, "AA:BB:CC:DD:EE:FF"; formats that know no identity of their own are told apart by it.
    """
    for kind, data in ad_structures(ad):
        heard = None
        if kind == MANUFACTURER_DATA and len(data) > 2:
            heard = parse_manufacturer(data[0] | data[1] << 8, data[2:])
        elif kind == SERVICE_DATA_16 and len(data) > 2:
            heard = parse_service(data[0] | data[1] << 8, data[2:], address, keys)
        if heard is not None:
            return heard
    return None


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a passive scan lets through: data that begins with `prefix` at `offset` in structures of `ad_type`."""

    offset: int
    ad_type: int
    prefix: bytes


PATTERNS: Final = (
    Pattern(0, MANUFACTURER_DATA, b"\x4c\x00\x02\x15"),
    Pattern(2, MANUFACTURER_DATA, b"\xbe\xac"),
    Pattern(0, SERVICE_DATA_16, b"\xaa\xfe"),
    Pattern(0, SERVICE_DATA_16, b"\xd2\xfc"),
)
"""iBeacon, AltBeacon, Eddystone, BTHome: what SDP/1's scanners let through as well."""
