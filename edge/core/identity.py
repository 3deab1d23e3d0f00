"""What a tag says it is: EPC bytes → identity (GS1 EPC Tag Data Standard, TDS 1.13 and 2.3).

An EPC that is no GS1 key, or contradicts its scheme, is kept as it is: scheme "unknown" with the raw URI of TDS 12.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from edge.core.epc_bits import BitReader, Malformed
from edge.core.gtin import check_digit, normalize_gtin

CACHED_EPCS = 2_048  # tags in motion come again and again; those at rest are known by their row, not from here
UNKNOWN = "unknown"
DIGITAL_LINK = "https://id.gs1.org"  # GS1 Digital Link: URI Syntax, 5.2: the canonical host
SGTIN_96_SERIAL_BITS = 38

# TDS 14.2, table 14-1: schemes that are named here but not taken apart
_NAMED = {
    0x2C: "gdti-96",
    0x2D: "gsrn-96",
    0x2E: "gsrnp-96",
    0x2F: "usdod-96",
    0x34: "giai-96",
    0x35: "gid-96",
    0x38: "giai-202",
    0x3A: "gdti-113",
    0x3B: "adi-var",
    0x3C: "cpi-96",
    0x3D: "cpi-var",
    0x3E: "gdti-174",
    0x3F: "sgcn-96",
    0x40: "itip-110",
    0x41: "itip-212",
    0xE6: "cpi++",
    0xE7: "gsrn++",
    0xE8: "gsrnp++",
    0xEA: "gdti++",
    0xEC: "sgcn++",
    0xED: "itip++",
    0xEE: "giai++",
    0xF0: "cpi+",
    0xF3: "itip+",
    0xF4: "gsrn+",
    0xF5: "gsrnp+",
    0xF6: "gdti+",
    0xF8: "sgcn+",
    0xFA: "giai+",
}
_URN_ESCAPES = {ord(char): f"%{ord(char):02X}" for char in '"%&/<>?'}  # TDS, annex A
# Bits of the GS1 company prefix by partition value; its digits are 12 - partition (TDS 14.2, tables 14-2 …)
_PREFIX_BITS = (40, 37, 34, 30, 27, 24, 20)
# Application identifiers of a DSGTIN's date by its type (TDS 2.3, 14.5.18)
_DATE_AIS = ("11", "13", "15", "16", "17", "7006", "7007")


@dataclass(frozen=True, slots=True)
class EpcIdentity:
    """One tag's identity. Empty texts mean that the scheme has no such thing.

    scheme is that of TDS table 14-1 in lower case ("sgtin-96", "sgtin+", …) or "unknown"; uri the pure identity URN
    (TDS 6), the GS1 Digital Link where the tag does not tell the company prefix, or the raw URN; key the GS1 key
    without its serial (GTIN-14, GRAI-14, GLN-13, SSCC-18); date is "AI:YYMMDD"; fault says why an EPC is unknown.
    """

    scheme: str
    uri: str
    gtin: str = ""
    serial: str = ""
    filter_value: int = 0
    company_prefix: str = ""
    key: str = ""
    digital_link: str = ""
    date: str = ""
    hostname: str = ""
    fault: str = ""


def raw_uri(raw: bytes) -> str:
    """``urn:epc:raw:96.x30…`` (TDS 12.2)."""
    return f"urn:epc:raw:{len(raw) * 8}.x{raw.hex().upper()}"


@lru_cache(maxsize=CACHED_EPCS)
def decode_epc(raw: bytes) -> EpcIdentity:
    """The identity of an EPC as on air; never raises. Cached by its bytes."""
    header = raw[0] if raw else 0
    decoder = _DECODERS.get(header)
    if decoder is None:
        name = _NAMED.get(header, UNKNOWN)
        fault = "" if header in _NAMED else f"header {header:02X} is no EPC scheme"
        return EpcIdentity(name, raw_uri(raw), fault=fault)
    bits = BitReader(raw)
    bits.number(8)
    try:
        return decoder(bits)
    except Malformed as error:
        return EpcIdentity(UNKNOWN, raw_uri(raw), fault=f"header {header:02X}: {error}")


def encode_sgtin96(gtin: str, serial: int, filter_value: int, company_prefix_digits: int) -> bytes:
    """The 12 bytes of an SGTIN-96 (TDS 14.6.1). Raises ValueError naming the value that cannot be encoded."""
    key = normalize_gtin(gtin)
    if not 6 <= company_prefix_digits <= 12:
        raise ValueError(f"company prefix of {company_prefix_digits} digits: expected 6 to 12")
    if not 0 <= serial < 1 << SGTIN_96_SERIAL_BITS:
        raise ValueError(f"serial {serial}: expected 0 to {(1 << SGTIN_96_SERIAL_BITS) - 1}")
    if not 0 <= filter_value <= 7:
        raise ValueError(f"filter value {filter_value}: expected 0 to 7")
    partition = 12 - company_prefix_digits
    prefix_bits = _PREFIX_BITS[partition]
    prefix, item = key[1 : 1 + company_prefix_digits], key[0] + key[1 + company_prefix_digits : 13]
    bits = (0x30 << 3 | filter_value) << 3 | partition
    bits = (bits << prefix_bits | int(prefix)) << (44 - prefix_bits) | int(item)
    return (bits << SGTIN_96_SERIAL_BITS | serial).to_bytes(12, "big")


@dataclass(frozen=True, slots=True)
class _Prefixed:
    """Filter value, company prefix and reference, as the partitioned schemes begin (TDS 14.3.3)."""

    filter_value: int
    prefix: str
    reference: str


def _partitioned(bits: BitReader, total_bits: int, reference_digits: int) -> _Prefixed:
    """`total_bits` of prefix + reference; the reference has `reference_digits` + partition digits."""
    filter_value, partition = bits.number(3), bits.number(3)
    if partition == 7:
        raise Malformed("partition value 7 is reserved")
    prefix_bits = _PREFIX_BITS[partition]
    prefix = bits.decimal(prefix_bits, 12 - partition, "company prefix")
    digits = reference_digits + partition
    if digits == 0:  # SGLN and GRAI with a 12-digit prefix: the field is there but means nothing
        bits.number(total_bits - prefix_bits)
        return _Prefixed(filter_value, prefix, "")
    return _Prefixed(filter_value, prefix, bits.decimal(total_bits - prefix_bits, digits, "reference"))


def _end(bits: BitReader) -> None:
    if not bits.rest_is_zero():
        raise Malformed("data after the end")


def _sgtin(scheme: str, serial_of: Callable[[BitReader], str]) -> Callable[[BitReader], EpcIdentity]:
    def decode(bits: BitReader) -> EpcIdentity:
        part = _partitioned(bits, 44, 1)
        serial = serial_of(bits)
        _end(bits)
        body = part.reference[0] + part.prefix + part.reference[1:]
        gtin = f"{body}{check_digit(body)}"
        urn = f"urn:epc:id:sgtin:{part.prefix}.{part.reference}.{serial.translate(_URN_ESCAPES)}"
        link = f"{DIGITAL_LINK}/01/{gtin}/21/{quote(serial, safe='')}"
        return EpcIdentity(scheme, urn, gtin, serial, part.filter_value, part.prefix, gtin, link)

    return decode


def _grai(scheme: str, serial_of: Callable[[BitReader], str]) -> Callable[[BitReader], EpcIdentity]:
    def decode(bits: BitReader) -> EpcIdentity:
        part = _partitioned(bits, 44, 0)
        serial = serial_of(bits)
        _end(bits)
        body = part.prefix + part.reference
        key = f"0{body}{check_digit(body)}"
        urn = f"urn:epc:id:grai:{part.prefix}.{part.reference}.{serial.translate(_URN_ESCAPES)}"
        link = f"{DIGITAL_LINK}/8003/{key}{quote(serial, safe='')}"
        return EpcIdentity(scheme, urn, "", serial, part.filter_value, part.prefix, key, link)

    return decode


def _sgln(scheme: str, serial_of: Callable[[BitReader], str]) -> Callable[[BitReader], EpcIdentity]:
    def decode(bits: BitReader) -> EpcIdentity:
        part = _partitioned(bits, 41, 0)
        serial = serial_of(bits)
        _end(bits)
        body = part.prefix + part.reference
        key = f"{body}{check_digit(body)}"
        urn = f"urn:epc:id:sgln:{part.prefix}.{part.reference}.{serial.translate(_URN_ESCAPES)}"
        return EpcIdentity(scheme, urn, "", serial, part.filter_value, part.prefix, key, _location_link(key, serial))

    return decode


def _location_link(gln: str, extension: str) -> str:
    """Extension "0" stands for none (TDS 6.3.3)."""
    tail = "" if extension == "0" else f"/254/{quote(extension, safe='')}"
    return f"{DIGITAL_LINK}/414/{gln}{tail}"


def _sscc_96(bits: BitReader) -> EpcIdentity:
    part = _partitioned(bits, 58, 5)
    _end(bits)  # 24 bits that TDS 14.6.2 reserves
    body = part.reference[0] + part.prefix + part.reference[1:]
    key = f"{body}{check_digit(body)}"
    urn = f"urn:epc:id:sscc:{part.prefix}.{part.reference}"
    link = f"{DIGITAL_LINK}/00/{key}"
    return EpcIdentity("sscc-96", urn, "", "", part.filter_value, part.prefix, key, link)


def _plus(scheme: str, ai: str) -> Callable[[BitReader], EpcIdentity]:
    """A TDS 2.x scheme without partition: toggle, filter, [date], key as digits, [serial], [host name]; then AIDC data.

    AIDC data after the EPC (announced by the toggle bit) belongs to other readers and is left alone.
    """
    digits, serial_digits_bits = {"01": (14, 5), "8003": (14, 5), "414": (13, 5), "00": (18, 0)}[ai]
    dated, hosted = scheme.startswith("d"), scheme.endswith("++")

    def decode(bits: BitReader) -> EpcIdentity:
        has_aidc, filter_value = bits.number(1), bits.number(3)
        date = _date(bits) if dated else ""
        key = bits.bcd(digits)
        if int(key[-1]) != check_digit(key[:-1]):
            raise Malformed(f"expected check digit {check_digit(key[:-1])}, found {key[-1]}")
        serial = bits.alphanumeric(serial_digits_bits) if serial_digits_bits else ""
        hostname = bits.hostname() if hosted else ""
        if not has_aidc:
            _end(bits)
        link = _plus_link(ai, key, serial) + (f"?{date.replace(':', '=')}" if date else "")
        gtin = key if ai == "01" else ""
        return EpcIdentity(scheme, link, gtin, serial, filter_value, "", key, link, date, hostname)

    return decode


def _plus_link(ai: str, key: str, serial: str) -> str:
    if ai == "414":
        return _location_link(key, serial)
    if ai == "8003":
        return f"{DIGITAL_LINK}/8003/{key}{quote(serial, safe='')}"
    return f"{DIGITAL_LINK}/{ai}/{key}" + (f"/21/{quote(serial, safe='')}" if serial else "")


def _date(bits: BitReader) -> str:
    """Type (4 bits), then year, month, day (7, 4, 5 bits; TDS 2.3, 14.5.8)."""
    kind, year, month, day = bits.number(4), bits.number(7), bits.number(4), bits.number(5)
    if kind >= len(_DATE_AIS) or year > 99 or not 1 <= month <= 12 or day > 31:
        raise Malformed("date is not a date")
    return f"{_DATE_AIS[kind]}:{year:02d}{month:02d}{day:02d}"


def _integer(n_bits: int) -> Callable[[BitReader], str]:
    return lambda bits: str(bits.number(n_bits))


def _text(n_bits: int) -> Callable[[BitReader], str]:
    return lambda bits: bits.ascii7(n_bits)


_DECODERS: dict[int, Callable[[BitReader], EpcIdentity]] = {
    0x30: _sgtin("sgtin-96", _integer(SGTIN_96_SERIAL_BITS)),
    0x36: _sgtin("sgtin-198", _text(140)),
    0x31: _sscc_96,
    0x32: _sgln("sgln-96", _integer(41)),
    0x39: _sgln("sgln-195", _text(140)),
    0x33: _grai("grai-96", _integer(38)),
    0x37: _grai("grai-170", _text(112)),
    0xF7: _plus("sgtin+", "01"),
    0xFB: _plus("dsgtin+", "01"),
    0xF1: _plus("grai+", "8003"),
    0xF2: _plus("sgln+", "414"),
    0xF9: _plus("sscc+", "00"),
    0xFD: _plus("sgtin++", "01"),
    0xFC: _plus("dsgtin++", "01"),
    0xEB: _plus("grai++", "8003"),
    0xE9: _plus("sgln++", "414"),
    0xEF: _plus("sscc++", "00"),
}
