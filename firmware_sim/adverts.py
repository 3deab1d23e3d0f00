"""Advertisements as beacons send them: AD structures of iBeacon, Eddystone, AltBeacon and BTHome v2.

Sources: Bluetooth Core Specification Supplement part A (AD structures); Apple "Proximity Beacon Specification" R1;
github.com/google/eddystone (protocol-specification.md and the frame pages); AltBeacon Protocol Specification v1.0;
bthome.io/format and bthome.io/encryption (version 2).
"""

import hmac
import struct
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

FLAGS: Final = b"\x02\x01\x06"  # LE general discoverable, no BR/EDR
_EDDYSTONE: Final = 0xFEAA
_BTHOME: Final = 0xFCD2
_SCHEMES: Final = ("http://www.", "https://www.", "http://", "https://")
_ENDINGS: Final = (".com", ".org", ".edu", ".net", ".info", ".biz", ".gov")


def structure(kind: int, data: bytes) -> bytes:
    """One AD structure: length, type, data."""
    return bytes((len(data) + 1, kind)) + data


def structures(ad: bytes) -> list[tuple[int, bytes]]:
    """The (type, data) of each AD structure; stops at the first that does not fit, as a scanner's firmware does."""
    out = []
    at = 0
    while at < len(ad) and ad[at] and at + 1 + ad[at] <= len(ad):
        out.append((ad[at + 1], ad[at + 2 : at + 1 + ad[at]]))
        at += 1 + ad[at]
    return out


def ibeacon(uuid: UUID, major: int, minor: int, measured_power_dbm: int = -59) -> bytes:
    """iBeacon; ``measured_power_dbm`` is the RSSI at 1 m. 30 bytes."""
    body = b"\x4c\x00\x02\x15" + uuid.bytes + struct.pack(">HHb", major, minor, measured_power_dbm)
    return FLAGS + structure(0xFF, body)


def altbeacon(beacon_id: bytes, reference_rssi_dbm: int = -59, company: int = 0x0118, reserved: int = 0) -> bytes:
    """AltBeacon with its 20-byte id; ``reference_rssi_dbm`` is the RSSI at 1 m."""
    head = struct.pack("<H", company) + b"\xbe\xac"
    return FLAGS + structure(0xFF, head + _exactly(20, beacon_id) + struct.pack(">bB", reference_rssi_dbm, reserved))


def _service(uuid16: int, data: bytes) -> bytes:
    return structure(0x16, struct.pack("<H", uuid16) + data)


def _eddystone(frame: bytes) -> bytes:
    return FLAGS + structure(0x03, struct.pack("<H", _EDDYSTONE)) + _service(_EDDYSTONE, frame)


def eddystone_uid(namespace: bytes, instance: bytes, tx_at_0m_dbm: int = -18) -> bytes:
    """Eddystone-UID: namespace of 10 bytes, instance of 6; ``tx_at_0m_dbm`` is 41 dB above the RSSI at 1 m."""
    frame = b"\x00" + struct.pack("b", tx_at_0m_dbm) + _exactly(10, namespace) + _exactly(6, instance)
    return _eddystone(frame + b"\x00\x00")


def eddystone_url(url: str, tx_at_0m_dbm: int = -18) -> bytes:
    """Eddystone-URL; ValueError when the scheme is none of four or the compressed URL exceeds 17 bytes."""
    for code in (0, 1, 2, 3):
        if url.startswith(_SCHEMES[code]):
            rest = url[len(_SCHEMES[code]) :]
            break
    else:
        raise ValueError(f"{url!r} begins with none of {', '.join(_SCHEMES)}")
    for i, ending in enumerate(_ENDINGS):
        rest = rest.replace(ending + "/", chr(i)).replace(ending, chr(i + 7))
    packed = rest.encode("ascii")
    if len(packed) > 17:
        raise ValueError(f"{url!r} takes {len(packed)} bytes; an Eddystone-URL frame has 17")
    return _eddystone(b"\x10" + struct.pack("bB", tx_at_0m_dbm, code) + packed)


def eddystone_tlm(battery_mv: int, temperature_c: float, adv_count: int, uptime_ds: int) -> bytes:
    """Eddystone-TLM, plain: battery in mV, temperature as 8.8 fixed point, adverts and tenths of s since boot."""
    body = struct.pack(">HhII", battery_mv, round(temperature_c * 256), adv_count, uptime_ds)
    return _eddystone(b"\x20\x00" + body)


def eddystone_eid(eid: bytes, tx_at_0m_dbm: int = -18) -> bytes:
    """Eddystone-EID with an ephemeral identifier of 8 bytes (see `ephemeral_id`)."""
    return _eddystone(b"\x30" + struct.pack("b", tx_at_0m_dbm) + _exactly(8, eid))


def ephemeral_id(identity_key: bytes, exponent: int, beacon_time_s: int) -> bytes:
    """The 8 bytes that a beacon with this 16-byte key sends at its own ``beacon_time_s``; changes every 2^exponent s.

    Source: github.com/google/eddystone/blob/master/eddystone-eid/eid-computation.md.
    """
    temporary = _aes(identity_key, bytes(11) + b"\xff\x00\x00" + struct.pack(">H", beacon_time_s >> 16 & 0xFFFF))
    cleared = beacon_time_s >> exponent << exponent & 0xFFFFFFFF
    return _aes(temporary, bytes(11) + bytes((exponent,)) + struct.pack(">I", cleared))[:8]


class EidBeacon:
    """The beacon's side of an Eddystone-EID registration: its own X25519 key pair, then an identity key and a clock.

    Source: eid-computation.md, "Computing the identity key" (HKDF-SHA256, RFC 5869, written out here: one block).
    """

    def __init__(self, time_s: int = 65_280) -> None:
        self._private = X25519PrivateKey.generate()
        self.public_key = self._private.public_key().public_bytes_raw()
        self.time_s = time_s
        self._key = b""
        self._exponent = 0

    def register(self, resolver_public_key: bytes, exponent: int) -> dict[str, object]:
        """The client writes the resolver's public key and an exponent; what it reads back afterwards."""
        secret = self._private.exchange(X25519PublicKey.from_public_bytes(resolver_public_key))
        extracted = hmac.digest(resolver_public_key + self.public_key, secret, "sha256")
        self._key, self._exponent = hmac.digest(extracted, b"\x01", "sha256")[:16], exponent
        told = {"beacon_public_key": self.public_key.hex(), "exponent": exponent, "time_s": self.time_s}
        return told | {"eid": self.eid().hex()}

    def eid(self) -> bytes:
        """What it sends now."""
        return ephemeral_id(self._key, self._exponent, self.time_s)

    @property
    def identity_key(self) -> bytes:
        """For a test that looks where it must not be."""
        return self._key


def _aes(key: bytes, block: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()  # one block, as the specification says
    return encryptor.update(block) + encryptor.finalize()


def bthome(
    *,
    packet_id: int | None = None,
    battery_percent: int | None = None,
    temperature_c: float | None = None,
    humidity_percent: float | None = None,
    voltage_v: float | None = None,
    door_open: bool | None = None,
    triggered: bool = False,
    key: tuple[bytes, bytes, int] | None = None,
) -> bytes:
    """BTHome v2. ``key`` = (16-byte bind key, 6-byte address as displayed, counter) encrypts with AES-CCM."""
    objects = b""
    if packet_id is not None:
        objects += struct.pack("<BB", 0x00, packet_id)
    if battery_percent is not None:
        objects += struct.pack("<BB", 0x01, battery_percent)
    if temperature_c is not None:
        objects += struct.pack("<Bh", 0x02, round(temperature_c * 100))
    if humidity_percent is not None:
        objects += struct.pack("<BH", 0x03, round(humidity_percent * 100))
    if voltage_v is not None:
        objects += struct.pack("<BH", 0x0C, round(voltage_v * 1000))
    if door_open is not None:
        objects += struct.pack("<BB", 0x1A, door_open)
    info = bytes((0x40 | (0x04 if triggered else 0) | (key is not None),))
    if key is None:
        return FLAGS + _service(_BTHOME, info + objects)
    bind_key, address, counter = key
    count = struct.pack("<I", counter)
    nonce = address + b"\xd2\xfc" + info + count
    sealed = AESCCM(bind_key, tag_length=4).encrypt(nonce, objects, None)
    return FLAGS + _service(_BTHOME, info + sealed[:-4] + count + sealed[-4:])


def passes_scanner(ad: bytes) -> bool:
    """SDP/1's filter: only iBeacon, Eddystone, AltBeacon and BTHome leave a remote scanner."""
    for kind, data in structures(ad):
        if kind == 0xFF and (data[:4] == b"\x4c\x00\x02\x15" or data[2:4] == b"\xbe\xac"):
            return True
        if kind == 0x16 and data[:2] in (b"\xaa\xfe", b"\xd2\xfc"):
            return True
    return False


def _exactly(n: int, raw: bytes) -> bytes:
    if len(raw) != n:
        raise ValueError(f"{raw.hex()} has {len(raw)} bytes, expected {n}")
    return raw
