"""Ed25519 keys (RFC 8032) of the bridge: signing with one's own, verifying with the other side's."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY_BYTES = 32


class Ed25519Signer:
    """Signs with a private key given as its 32 bytes."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    def sign(self, message: bytes) -> bytes:
        """64 bytes of signature."""
        return self._key.sign(message)

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


class KeyRing:
    """The public keys of the other side by name; several during a rotation. Raises ValueError for a malformed one."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys: dict[str, Ed25519PublicKey] = {}
        for name, raw in keys.items():
            self.add(name, raw)

    def add(self, name: str, raw: bytes) -> None:
        """Trust one more key."""
        if len(raw) != KEY_BYTES:
            raise ValueError(f"key {name!r} has {len(raw)} bytes: expected {KEY_BYTES} of an Ed25519 public key")
        self._keys[name] = Ed25519PublicKey.from_public_bytes(raw)

    def remove(self, name: str) -> None:
        """Trust a key no longer."""
        self._keys.pop(name, None)

    def verify(self, key: str, signature: bytes, message: bytes) -> bool:
        """Whether the named key made this signature; an unknown key never did."""
        public = self._keys.get(key)
        if public is None:
            return False
        try:
            public.verify(signature, message)
        except InvalidSignature:
            return False
        return True
