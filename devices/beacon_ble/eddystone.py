"""Eddystone frames: UID, URL, TLM (plain), EID. Source: github.com/google/eddystone, protocol-specification.md.

The transmitted power is that at 0 m; at 1 m it is 41 dB less ("Tx Power" of the UID page).
"""

from __future__ import annotations

import struct
from typing import Final

from devices.beacon_ble.heard import Heard

UUID16: Final = 0xFEAA
PATH_LOSS_1M_DB: Final = 41
EID_PREFIX: Final = "eddystone-eid:"
_SCHEMES: Final = ("http://www.", "https://www.", "http://", "https://")
_ENDINGS: Final = (".com", ".org", ".edu", ".net", ".info", ".biz", ".gov")
_EXPANSIONS: Final = {code: f"{end}/" for code, end in enumerate(_ENDINGS)} | dict(enumerate(_ENDINGS, 7))
_URL_MAX: Final = 17
_TLM: Final = struct.Struct(">HhII")
_NO_TEMPERATURE: Final = -0x8000


def parse(frame: bytes) -> Heard | None:
    """One frame (service data behind the UUID); None for garbage and for frames that need a key (eTLM)."""
    size = len(frame)
    if size < 2:
        return None
    kind, power = frame[0], frame[1]
    at_1m_dbm = (power - 256 if power > 127 else power) - PATH_LOSS_1M_DB
    if kind == 0x00 and size in (18, 20):  # two bytes reserved for future use, which early beacons leave out
        return Heard(f"eddystone-uid:{frame[2:12].hex()}:{frame[12:18].hex()}", at_1m_dbm)
    if kind == 0x30 and size == 10:
        return Heard(EID_PREFIX + frame[2:10].hex(), at_1m_dbm)
    if kind == 0x10:
        return _url(frame, at_1m_dbm)
    if kind == 0x20 and power == 0 and size == 14:
        return _telemetry(frame)
    return None


def _url(frame: bytes, at_1m_dbm: int) -> Heard | None:
    if not 3 <= len(frame) <= 3 + _URL_MAX or frame[2] >= len(_SCHEMES):
        return None
    text = [_SCHEMES[frame[2]]]
    for byte in frame[3:]:
        if 0x20 < byte < 0x7F:
            text.append(chr(byte))
        elif byte in _EXPANSIONS:
            text.append(_EXPANSIONS[byte])
        else:
            return None  # reserved
    return Heard("eddystone-url:" + "".join(text), at_1m_dbm)


def url_frame(url: str, tx_at_0m_dbm: int) -> bytes:
    """Service data (behind the UUID) of an Eddystone-URL frame. Raises ValueError saying what was expected."""
    code = next((code for code, scheme in enumerate(_SCHEMES) if url.startswith(scheme)), None)
    if code is None:
        raise ValueError("an address that begins with http:// or https://")
    rest = url[len(_SCHEMES[code]) :]
    for byte, text in _EXPANSIONS.items():  # those with a slash come first
        rest = rest.replace(text, chr(byte))
    if not all("\x20" < one < "\x7f" or ord(one) in _EXPANSIONS for one in rest):
        raise ValueError("printable ASCII characters")
    if len(rest) > _URL_MAX:
        raise ValueError(f"at most {_URL_MAX} bytes behind the scheme, where .com/ and the like count as one")
    return bytes((0x10, tx_at_0m_dbm & 0xFF, code)) + rest.encode()


def _telemetry(frame: bytes) -> Heard:
    """Battery (0: not supported) and temperature (8.8 fixed point, 0x8000: not supported)."""
    battery_mv, temperature, adverts, uptime_ds = _TLM.unpack_from(frame, 2)
    readings = [("adverts_sent", float(adverts)), ("uptime_s", uptime_ds / 10)]
    if temperature != _NO_TEMPERATURE:
        readings.insert(0, ("temperature_c", temperature / 256))
    if battery_mv:
        readings.insert(0, ("battery_mv", float(battery_mv)))
    return Heard("", None, tuple(readings))
