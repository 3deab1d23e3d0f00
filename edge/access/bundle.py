"""An enrolment bundle: what the platform says of itself and of this store, as a file's text or a QR code's line."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from edge.core.fact import JsonValue
from edge.core.instant import US_PER_S
from edge.core.plain import PlainError, build

KIND, VERSION = "smartstore-enrolment", 1
COMPACT = "smartstore-enrol:"
MAX_BYTES = 32 * 1024
KEY_BYTES = 32  # Ed25519, RFC 8032
_ID = re.compile(r"[a-z0-9-]{1,64}\Z")
_HOST = ("mqtt", "mqtts", "ws", "wss")


@dataclass(frozen=True, slots=True)
class Bundle:
    """The fields of a bundle, checked for form; `key` names the one of `keys` that signed it."""

    kind: str
    version: int
    tenant: str
    store: str
    hosts: tuple[str, ...]
    enrol_url: str
    ca: str
    keys: dict[str, str]
    token: str
    expires: str
    key: str
    signature: str

    @property
    def expires_us(self) -> int:
        """Wall time after which its token is worth nothing (µs)."""
        return round(datetime.fromisoformat(self.expires).timestamp() * US_PER_S)

    @property
    def fingerprint(self) -> str:
        """Of the signing key, for people to compare."""
        return fingerprint(self.keys[self.key])


def fingerprint(public_key: str) -> str:
    """SHA-256 of a public key (base64), the first 16 bytes in groups of four digits."""
    digest = hashlib.sha256(base64.b64decode(public_key)).hexdigest()[:32].upper()
    return " ".join(digest[at : at + 4] for at in range(0, 32, 4))


def read_document(text: str) -> dict[str, JsonValue]:
    """The JSON object of a bundle in either form. Raises PlainError."""
    text = text.strip()
    if len(text) > MAX_BYTES:
        raise PlainError("bundle", f"{len(text)} characters", f"at most {MAX_BYTES}")
    try:
        if text.startswith(COMPACT):
            packed = text.removeprefix(COMPACT)
            raw = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
            text = zlib.decompressobj().decompress(raw, MAX_BYTES).decode()
        document = json.loads(text)
    except (ValueError, binascii.Error, zlib.error, RecursionError):
        raise PlainError("bundle", text[:40], f"a JSON object, or a line that begins with {COMPACT}") from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise PlainError("bundle.kind", _shown(document), KIND)
    if document.get("version") != VERSION:
        raise PlainError("bundle.version", document.get("version"), str(VERSION))
    return document


def _shown(document: Any) -> object:
    return document.get("kind") if isinstance(document, dict) else type(document).__name__


def read_bundle(document: Mapping[str, JsonValue]) -> Bundle:
    """The fields. Raises PlainError naming the one that cannot be used."""
    bundle = build(Bundle, document, "bundle")
    for name in ("tenant", "store"):
        if not _ID.match(getattr(bundle, name)):
            raise PlainError(f"bundle.{name}", getattr(bundle, name), "letters a-z, digits and '-'")
    for index, host in enumerate(bundle.hosts):
        _check_address(f"bundle.hosts[{index}]", host, _HOST)
    if not bundle.hosts:
        raise PlainError("bundle.hosts", [], "at least one broker")
    _check_address("bundle.enrol_url", bundle.enrol_url, ("https",))
    for name, text in bundle.keys.items():
        if not _is_key(text):
            raise PlainError(f"bundle.keys.{name}", text[:60], f"base64 of {KEY_BYTES} bytes")
    if bundle.key not in bundle.keys:
        raise PlainError("bundle.key", bundle.key, f"one of its keys, {', '.join(bundle.keys)}")
    if "BEGIN CERTIFICATE" not in bundle.ca:
        raise PlainError("bundle.ca", bundle.ca[:40], "a certificate in PEM")
    try:
        _ = bundle.expires_us
    except ValueError:
        raise PlainError("bundle.expires", bundle.expires, "a time such as 2026-11-22T06:00:00Z") from None
    return bundle


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _check_address(key: str, address: str, schemes: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(address)
        found = parts.scheme in schemes and bool(parts.hostname) and parts.port is not False
    except ValueError:
        found = False
    if not found:
        raise PlainError(key, address, f"an address that begins with {' or '.join(f'{s}://' for s in schemes)}")
