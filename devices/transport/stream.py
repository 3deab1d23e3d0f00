"""The byte stream that every transport offers and every driver uses."""

from __future__ import annotations

from typing import Protocol


class ByteStream(Protocol):
    """A duplex byte link. All methods raise LinkLost (with the cause) once the link is gone."""

    async def read(self, max_bytes: int = 65536) -> bytes:
        """At least one byte, at most `max_bytes`; raises LinkLost at the end of the stream."""
        ...

    async def write(self, data: bytes) -> None:
        """Hand over all bytes; waits while the peer does not take them."""
        ...

    async def close(self) -> None:
        """Let go of the link; never raises, may be called twice."""
        ...
