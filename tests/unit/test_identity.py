"""EPC identities against the standard's own examples and an independent implementation."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from epcpy import hex_to_tag_encodable
from epcpy.epc_schemes import GRAI, SGLN, SGTIN, SSCC
from epcpy.epc_schemes.sgtin import SGTINFilterValue
from hypothesis import given
from hypothesis import strategies as st

from edge.core.epc_bits import AI_82
from edge.core.identity import CACHED_EPCS, DIGITAL_LINK, decode_epc, encode_sgtin96

TDS = json.loads((Path(__file__).parents[1] / "vectors/epc/tds.json").read_text())


@pytest.mark.parametrize("vector", TDS["vectors"], ids=lambda vector: vector["scheme"])
def test_examples_of_the_standard(vector):
    identity = decode_epc(bytes.fromhex(vector["hex"]))
    assert identity.scheme == vector["scheme"]
    assert identity.digital_link == DIGITAL_LINK + vector["link"]
    assert identity.uri == vector.get("uri", DIGITAL_LINK + vector["link"])
    assert identity.gtin == vector.get("gtin", "")
    assert identity.serial == vector.get("serial", "")
    assert identity.filter_value == vector["filter"]
    assert identity.date == vector.get("date", "")
    assert identity.hostname == vector.get("hostname", "")
    assert identity.fault == ""


@pytest.mark.parametrize(("raw", "scheme"), TDS["named"].items())
def test_other_schemes_are_named(raw, scheme):
    identity = decode_epc(bytes.fromhex(raw))
    assert (identity.scheme, identity.uri) == (scheme, f"urn:epc:raw:{len(raw) * 4}.x{raw}")


# epcpy cannot parse escapes with a hex letter (%2F, %3C, %3E, %3F); annex E.3 covers "/" above
EPCPY_SERIAL = sorted(AI_82 - set("/<>?"))
ESCAPES = {ord(char): f"%{ord(char):02X}" for char in '%"&'}


def random_tag(rng: random.Random) -> tuple[str, str]:
    """(hex on air, pure identity URI) of a random tag, encoded by epcpy."""
    prefix = "".join(rng.choices("0123456789", k=rng.randint(6, 12)))
    kind = rng.choice((SGTIN, GRAI, SGLN, SSCC))
    digits = {SGTIN: 13, GRAI: 12, SGLN: 12, SSCC: 17}[kind] - len(prefix)
    reference = "".join(rng.choices("0123456789", k=digits))
    filter_value = rng.randrange(8)
    if kind is SSCC:
        epc = SSCC(f"urn:epc:id:sscc:{prefix}.{reference}")
        binary = epc.binary(list(type_of_filter(kind))[filter_value])
        return on_air(binary), epc.epc_uri
    name, small, large, bits = {
        SGTIN: ("sgtin", "SGTIN_96", "SGTIN_198", 38),
        GRAI: ("grai", "GRAI_96", "GRAI_170", 38),
        SGLN: ("sgln", "SGLN_96", "SGLN_195", 41),
    }[kind]
    if rng.random() < 0.5:
        scheme, serial = small, str(rng.getrandbits(rng.randint(1, bits)))
    else:
        scheme = large
        serial = "".join(rng.choices(EPCPY_SERIAL, k=rng.randint(1, 16))).translate(ESCAPES)
        if kind is GRAI and len(serial) > 16:  # epcpy counts the escapes of a GRAI as characters
            serial = serial[:16].partition("%")[0] or "A"
    epc = kind(f"urn:epc:id:{name}:{prefix}.{reference}.{serial}")
    binary = epc.binary(kind.BinaryCodingScheme[scheme], list(type_of_filter(kind))[filter_value])
    return on_air(binary), epc.epc_uri


def type_of_filter(kind):
    import sys

    return getattr(sys.modules[kind.__module__], f"{kind.__name__}FilterValue")


def on_air(binary: str) -> str:
    padded = binary + "0" * (-len(binary) % 16)
    return f"{int(padded, 2):0{len(padded) // 4}X}"


def test_equal_to_epcpy_on_100_000_random_tags():
    rng = random.Random(20)
    seen = set()
    for _ in range(100_000):
        raw, uri = random_tag(rng)
        identity = decode_epc(bytes.fromhex(raw))
        assert identity.uri == uri, raw
        seen.add(identity.scheme)
    assert seen == {"sgtin-96", "sgtin-198", "grai-96", "grai-170", "sgln-96", "sgln-195", "sscc-96"}


@given(st.sampled_from(list(SGTINFilterValue)), st.integers(6, 12), st.data())
def test_keys_and_filters_equal_epcpy(filter_value, prefix_digits, data):
    digits = data.draw(st.text("0123456789", min_size=13, max_size=13))
    serial = data.draw(st.integers(0, 2**38 - 1))
    epc = SGTIN(f"urn:epc:id:sgtin:{digits[:prefix_digits]}.{digits[prefix_digits:]}.{serial}")
    raw = bytes.fromhex(on_air(epc.binary(SGTIN.BinaryCodingScheme.SGTIN_96, filter_value)))
    identity = decode_epc(raw)
    assert identity.gtin == epc.gtin()
    assert identity.company_prefix == digits[:prefix_digits]
    assert identity.filter_value == int(filter_value.value)
    assert encode_sgtin96(epc.gtin(), serial, identity.filter_value, prefix_digits) == raw


@given(st.binary(max_size=40))
def test_any_bytes_have_an_identity(raw):
    identity = decode_epc(raw)
    assert identity.uri
    if identity.scheme == "unknown":
        assert identity.uri == f"urn:epc:raw:{len(raw) * 8}.x{raw.hex().upper()}"
        assert identity.fault


@given(st.binary(min_size=11, max_size=11), st.sampled_from((0x30, 0x31, 0x32, 0x33)))
def test_random_bits_under_a_known_header_agree_with_epcpy(tail, header):
    raw = bytes((header,)) + tail
    identity = decode_epc(raw)
    try:
        expected = hex_to_tag_encodable(raw.hex().upper()).epc_uri
    except Exception:
        assert identity.scheme == "unknown"
        return
    if header == 0x31 and raw[9:] != b"\0\0\0":  # 24 reserved bits that epcpy does not look at
        assert identity.fault.endswith("data after the end")
    else:
        assert identity.uri == expected


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ("", "no EPC scheme"),
        ("E2801160600002", "header E2"),
        ("301CC4409047E140075BCD15", "partition value 7"),
        ("3066C440", "cut short"),
        ("3066C4409047E140075BCD150001", "data after the end"),
        ("307FFFFFFFFFFFC0075BCD15", "reserved"),
        ("3063FFFFFFFFFFC0075BCD15", "more than 12 digits"),
        ("F73795211411234528566CB0AFC4", "expected check digit 3, found 2"),
        ("F737952114112345ABC566CB0AFC", "not decimal"),
        ("F737952114112345 3C566CB0AFC4", "reserved"),
        ("3666C4409047E140000000000000000000000000000000000000", "empty"),
    ],
)
def test_contradictions_are_unknown_with_the_reason(raw, fault):
    identity = decode_epc(bytes.fromhex(raw))
    assert identity.scheme == "unknown"
    assert fault in identity.fault


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("09506000134353", 1, 1, 7), "check digit 2"),
        (("09506000134352", 1 << 38, 1, 7), "serial 274877906944"),
        (("09506000134352", 1, 9, 7), "filter value 9"),
        (("09506000134352", 1, 1, 5), "5 digits"),
    ],
)
def test_encoding_names_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        encode_sgtin96(*arguments)


def test_cache_is_bounded():
    for serial in range(CACHED_EPCS + 100):
        decode_epc(encode_sgtin96("09506000134352", serial, 1, 7))
    info = decode_epc.cache_info()
    assert info.currsize == info.maxsize == CACHED_EPCS
    decode_epc.cache_clear()
