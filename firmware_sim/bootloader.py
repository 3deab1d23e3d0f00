"""The part of an SDP/1 device that takes a new firmware: one slot in flash, a signature check, then a restart."""

import hashlib
import struct
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firmware_sim import sdp

IMAGE_MAX_BYTES: Final = 512 * 1024  # flash of a small MCU's second slot
_MAGIC: Final = b"FWIM"  # our bootloader's mark: SDP/1 leaves the image's content to the maker


def firmware_image(version: tuple[int, int, int], code: bytes = b"") -> bytes:
    """An image that the bootloader starts: magic, version, one reserved byte, code."""
    return _MAGIC + bytes((*version, 0)) + code


class Bootloader:
    """Collects one image and says whether it may start. ``maker_key`` is 32 raw bytes; without it nothing may."""

    def __init__(self, maker_key: bytes | None) -> None:
        self._key = None if maker_key is None else Ed25519PublicKey.from_public_bytes(maker_key)
        self._image = bytearray()
        self._size = 0  # 0: no update runs
        self._sha256 = self._signature = b""

    def begin(self, body: bytes) -> int:
        """FIRMWARE_BEGIN; an interrupted update starts over. The ACK's result, as in all methods here."""
        size, sha256, signature = sdp.begin_fields(body)
        if not 8 <= size <= IMAGE_MAX_BYTES:
            return sdp.BAD_ARGUMENT
        self._size, self._sha256, self._signature = size, sha256, signature
        self._image.clear()
        return sdp.DONE

    def block(self, body: bytes) -> int:
        """FIRMWARE_BLOCK: flash is written in order, so the offset must be where the last block ended."""
        (offset,) = struct.unpack_from("<I", body)
        if offset != len(self._image) or offset + len(body) - 4 > self._size:
            return sdp.BAD_ARGUMENT
        self._image += body[4:]
        return sdp.DONE

    def end(self) -> int:
        """FIRMWARE_END: bad argument while bytes are missing, bad signature when the maker did not sign this image."""
        if not self._size or len(self._image) < self._size:
            return sdp.BAD_ARGUMENT
        result = self._verdict()
        if result != sdp.DONE:
            self.forget()
        return result

    def version(self) -> tuple[int, int, int]:
        """The version in the image that `end` accepted."""
        return self._image[4], self._image[5], self._image[6]

    def forget(self) -> None:
        """Give up the update, as any restart does."""
        self._size = 0
        self._image.clear()

    def _verdict(self) -> int:
        if self._key is None or hashlib.sha256(self._image).digest() != self._sha256:
            return sdp.BAD_SIGNATURE
        try:
            self._key.verify(self._signature, self._sha256)
        except InvalidSignature:
            return sdp.BAD_SIGNATURE
        return sdp.DONE if self._image[:4] == _MAGIC else sdp.BAD_ARGUMENT  # signed, but nothing that would start
