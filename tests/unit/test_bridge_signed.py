"""Canonical JSON (RFC 8785) and signatures over it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.contract.signed import canonical_json, is_genuine, parse_object, sign
from cloud_bridge.contract.topics import Topics, split
from cloud_bridge.keys import Ed25519Signer, KeyRing

SIGNER = Ed25519Signer(bytes(range(32)))
RING = KeyRing({"p1": SIGNER.public_key})
TOPIC = "smartstore/v1/t1/s1/ack"


@pytest.mark.parametrize(
    ("value", "text"),
    [  # RFC 8785, appendix B, and section 3.2.3
        (333333333.33333329, "333333333.3333333"),
        (1e30, "1e+30"),
        (4.50, "4.5"),
        (2e-3, "0.002"),
        (0.000000000000000000000000001, "1e-27"),
        (1e21, "1e+21"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (-0.0, "0"),
        (1e-6, "0.000001"),
        (1.5e-6, "0.0000015"),
        (1e-7, "1e-7"),
        (295147905179352830000.0, "295147905179352830000"),
        ({"\u20ac": "Euro", "\r": "CR", "1": "One", "\U0001f600": "Smiley", "\u0080": "C", "\u00f6": "o"}, None),
        ([True, False, None, "a\u000f\n\"\\", 56], '[true,false,null,"a\\u000f\\n\\"\\\\",56]'),
    ],
)  # fmt: skip
def test_canonical_form(value, text) -> None:
    made = canonical_json(value).decode()
    if text is None:
        assert list(json.loads(made)) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600"]
    else:
        assert made == text


@pytest.mark.parametrize("value", [2**53, float("nan"), float("inf"), [-(2**60)]])
def test_numbers_that_json_cannot_carry_are_refused(value) -> None:
    with pytest.raises(ValueError):
        canonical_json(value)


def test_a_signed_message_is_genuine_on_its_topic_only() -> None:
    payload = parse_object(sign(TOPIC, {"epoch": "e", "acked_seq": 7}, SIGNER, "p1"))
    assert payload is not None
    assert is_genuine(TOPIC, payload, RING)
    assert is_genuine(TOPIC, dict(reversed(payload.items())), RING)
    assert not is_genuine(TOPIC.replace("s1", "s2"), payload, RING)
    assert not is_genuine(TOPIC, {**payload, "acked_seq": 8}, RING)
    assert not is_genuine(TOPIC, {**payload, "more": 1}, RING)
    assert not is_genuine(TOPIC, {**payload, "key": "p2"}, RING)
    assert not is_genuine(TOPIC, payload, KeyRing({"p1": Ed25519Signer(bytes(32)).public_key}))


@pytest.mark.parametrize("signature", [None, 5, "", "!!!", "AAAA", "A" * 88])
def test_malformed_signatures_are_never_genuine(signature) -> None:
    assert not is_genuine(TOPIC, {"acked_seq": 1, "key": "p1", "signature": signature}, RING)


def test_a_removed_key_signs_nothing_any_more() -> None:
    ring = KeyRing({"p1": SIGNER.public_key})
    payload = parse_object(sign(TOPIC, {"acked_seq": 1}, SIGNER, "p1"))
    ring.remove("p1")
    assert payload is not None
    assert not is_genuine(TOPIC, payload, ring)
    with pytest.raises(ValueError, match="p3"):
        ring.add("p3", b"short")


@given(st.binary(max_size=200))
def test_any_bytes_parse_to_an_object_or_nothing(payload: bytes) -> None:
    assert parse_object(payload) is None or isinstance(parse_object(payload), dict)


def test_depth_does_not_crash() -> None:
    assert parse_object(b"[" * 100_000) is None


def test_topics() -> None:
    topics = Topics("t1", "s1")
    assert split(topics.of("state/gateway")) == ("t1", "s1", "state/gateway")
    assert split("smartstore/v2/t1/s1/ack") is None
    with pytest.raises(ValueError, match="store = 'S 1'"):
        Topics("t1", "S 1")
