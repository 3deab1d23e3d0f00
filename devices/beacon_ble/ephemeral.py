"""Eddystone-EID: whose is this ephemeral identifier? Source: github.com/google/eddystone, eddystone-eid/
eid-computation.md (16-byte identity key, rotation exponent K: a new identifier every 2^K seconds of the beacon's time).

A driver knows no wall clock, and a beacon's clock drifts: so a beacon is found by search from the window in which it
was provisioned, and then followed by elapsed time. Identifiers come from a table, so that a stranger's costs a look-up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from edge.core.instant import US_PER_S

SLACK: Final = 2
"""Windows on both sides of the expected one: a cheap crystal (100 ppm) drifts 3 s in 8 h, a missed day far less."""
SEARCH_STEP: Final = 32
"""Windows that an unknown identifier may cost: about 0.3 ms."""
HORIZON: Final = 40_000
"""Windows after which the search begins again: 474 days at K = 10, and at most 6 MB a beacon that is not found yet."""


def identifier(key: bytes, exponent: int, time_s: int) -> bytes:
    """The 8 bytes of the beacon with this key at its own `time_s`."""
    return block_at(key, exponent, time_s)[:8]


def block_at(key: bytes, exponent: int, time_s: int) -> bytes:
    """All 16 bytes of the block whose first half is the identifier."""
    temporary = _aes(key, bytes(11) + b"\xff\0\0" + (time_s >> 16 & 0xFFFF).to_bytes(2, "big"))
    cleared = time_s >> exponent << exponent & 0xFFFFFFFF
    return _aes(temporary, bytes(11) + bytes((exponent,)) + cleared.to_bytes(4, "big"))


def _aes(key: bytes, block: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()  # one block, as the specification says
    return encryptor.update(block) + encryptor.finalize()


@dataclass(slots=True)
class _Own:
    name: str
    key: bytes
    exponent: int
    start: int
    cursor: int = 0
    found: tuple[int, int] | None = None
    """(window, engine µs) when it was last heard."""
    table: dict[str, int] = field(default_factory=dict)
    """Identifier (hex) → window, around `centre`."""
    centre: int | None = None


class Resolver:
    """Own beacons' rotating identifiers into their lasting names."""

    def __init__(self) -> None:
        self._own: list[_Own] = []

    def add(self, name: str, key: bytes, exponent: int = 10, time_s: int = 0) -> None:
        """An own beacon: `time_s` is its clock at provisioning or later. Raises ValueError for what cannot be."""
        if len(key) != 16 or not 0 <= exponent <= 15 or time_s < 0:
            raise ValueError(f"{name}: expected a key of 16 bytes, an exponent of 0 to 15, a time of 0 s or more")
        self._own.append(_Own(name, key, exponent, time_s >> exponent))

    def resolve(self, eid_hex: str, now_us: int, *, search: bool = True) -> str | None:
        """The name of the own beacon that sends this identifier now; None for a stranger's (or not found yet).

        Without ``search`` it costs a look-up alone, and beacons that were not found yet are not looked for.
        """
        for own in self._own:
            window = self._expected(own, now_us).get(eid_hex)
            if window is None and own.found is None and search:
                window = self._search(own, eid_hex)
            if window is not None:
                own.found = (window, now_us)
                return own.name
        return None

    def _expected(self, own: _Own, now_us: int) -> dict[str, int]:
        if own.found is None:
            return own.table
        window, heard_us = own.found
        centre = window + ((now_us - heard_us) // US_PER_S >> own.exponent)
        if centre != own.centre:
            own.centre = centre
            windows = range(max(0, centre - SLACK), centre + SLACK + 1)
            own.table = {identifier(own.key, own.exponent, w << own.exponent).hex(): w for w in windows}
        return own.table

    @staticmethod
    def _search(own: _Own, eid_hex: str) -> int | None:
        """A few windows further than at the last unknown identifier; the searched ones stay in a bounded table."""
        for w in range(own.start + own.cursor, own.start + own.cursor + SEARCH_STEP):
            own.table[identifier(own.key, own.exponent, w << own.exponent).hex()] = w
        own.cursor += SEARCH_STEP
        window = own.table.get(eid_hex)
        if own.cursor >= HORIZON:
            own.cursor, own.table = 0, {}
        return window
