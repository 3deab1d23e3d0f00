"""Signed messages: Ed25519 (RFC 8032) over the topic and the canonical JSON (RFC 8785) of the payload.

``key`` names the signing key, ``signature`` is base64 of 64 bytes over::

    UTF-8 topic, one newline, canonical JSON of the payload without ``signature``

so a message signed for one store and one purpose is worth nothing on another topic. Integers beyond 2^53 are not
interoperable JSON (RFC 8785, 3.2.2.3) and are refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol

from edge.core.fact import JsonValue
from edge.core.ports import Signer

MAX_SAFE_INTEGER = 2**53 - 1
SIGNATURE_BYTES = 64


class Verifier(Protocol):
    """Knows the public keys of the other side."""

    def verify(self, key: str, signature: bytes, message: bytes) -> bool:
        """Whether the named key made this signature; an unknown key never did."""
        ...


def canonical_json(value: JsonValue) -> bytes:
    """RFC 8785 form. Raises ValueError for numbers that JSON cannot carry between implementations."""
    return _text(value).encode()


def _text(value: JsonValue) -> str:
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
        return "{" + ",".join(f"{_text(name)}:{_text(item)}" for name, item in members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return _number(value)
    if abs(value) > MAX_SAFE_INTEGER:
        raise ValueError(f"{value} is beyond the integers that JSON carries safely")
    return str(value)


def _number(value: float) -> str:
    """As ECMAScript writes it (ECMA-262, Number::toString): shortest digits, exponent outside 1e-7 … 1e21."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number")
    if value == 0:
        return "0"
    parts = Decimal(repr(abs(value))).normalize().as_tuple()
    digits, exponent = "".join(map(str, parts.digits)), int(parts.exponent)
    point = len(digits) + exponent  # where the decimal point stands, counted from the first digit
    if 0 < point <= 21:
        text = digits.ljust(point, "0")
        text = f"{text[:point]}.{text[point:]}".rstrip(".")
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        text = f"{digits[0]}.{digits[1:]}".rstrip(".") + f"e{point - 1:+d}"
    return "-" + text if value < 0 else text


def _message(topic: str, payload: Mapping[str, JsonValue]) -> bytes:
    unsigned = {name: value for name, value in payload.items() if name != "signature"}
    return topic.encode() + b"\n" + canonical_json(unsigned)


def sign(topic: str, payload: Mapping[str, JsonValue], signer: Signer, key: str) -> bytes:
    """The payload as it goes on the wire, with ``key`` and ``signature`` added."""
    whole = {**payload, "key": key}
    signature = base64.b64encode(signer.sign(_message(topic, whole))).decode()
    return json.dumps({**whole, "signature": signature}, ensure_ascii=False, separators=(",", ":")).encode()


def is_genuine(topic: str, payload: Mapping[str, JsonValue], verifier: Verifier) -> bool:
    """Whether a received payload was signed for this topic by a key that the verifier knows."""
    key, signature = payload.get("key"), payload.get("signature")
    if not isinstance(key, str) or not isinstance(signature, str):
        return False
    try:
        raw = base64.b64decode(signature, validate=True)
        message = _message(topic, payload)
    except (binascii.Error, ValueError):
        return False
    return len(raw) == SIGNATURE_BYTES and verifier.verify(key, raw, message)


def parse_object(payload: bytes) -> dict[str, JsonValue] | None:
    """The JSON object in a payload, None for anything else (not UTF-8, not JSON, another type, nested too deep)."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
