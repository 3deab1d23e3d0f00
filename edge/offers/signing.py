"""Offers as tokens that app and till can check without asking: payload and Ed25519 signature (RFC 8032), base64url.

    base64url(JSON payload) "." base64url(signature over "smartstore-offer-v1\\n" + payload)

The single-use nonce is the offer's id. A till that is cut off checks signature, store, expiry and its own nonces; the
promotion's offline limit (in the token) bounds what it may give away before it must ask again.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

DOMAIN: Final = b"smartstore-offer-v1\n"
MAX_TOKEN: Final = 2_000


@dataclass(frozen=True, slots=True)
class Token:
    """What an offer says: nonce (its id), store, promotion, product, zone, expiry (s since 1970), offline limit."""

    nonce: str
    store: str
    promotion: str
    gtin: str
    zone: str
    expires_s: int
    offline_limit: int


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


class OfferSigner:
    """The gateway's key for offers (`edge.core.ports.Signer`)."""

    def __init__(self, seed: bytes) -> None:
        """seed: 32 bytes, the private key."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(message)

    def token(self, offer: Token) -> str:
        """The offer as a text of about 300 characters, which fits a QR code."""
        fields = [1, offer.nonce, offer.store, offer.promotion, offer.gtin, offer.zone]
        payload = json.dumps([*fields, offer.expires_s, offer.offline_limit], separators=(",", ":")).encode()
        return f"{_encode(payload)}.{_encode(self.sign(DOMAIN + payload))}"


def read_token(text: str, public_key: bytes) -> Token | None:
    """The offer of a token that this key has signed; None for every other text."""
    if len(text) > MAX_TOKEN or text.count(".") != 1:
        return None
    body, _, signature = text.partition(".")
    try:
        payload = _decode(body)
        Ed25519PublicKey.from_public_bytes(public_key).verify(_decode(signature), DOMAIN + payload)
        version, *fields = json.loads(payload)
        return Token(*fields) if version == 1 else None
    except (InvalidSignature, binascii.Error, ValueError, TypeError):
        return None
