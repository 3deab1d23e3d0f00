"""Consents: receipts, withdrawal, erasure. Who a person is, nobody here knows.

The phone keeps a receipt (a random secret). The gateway keeps a random key under the receipt's hash; the person's
pseudonym of a day is an HMAC of the day under that key. Deleting the key is the erasure: nothing that was written
before can then be linked to the receipt, nor one day to another.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge.core.fact import JsonValue

PREFIX: Final = "offers/consent/"
PURPOSES: Final = frozenset({"offers", "zones", "measurement"})
MAX_CONSENTS: Final = 100_000

Put = Callable[[str, JsonValue], object]


@dataclass(frozen=True, slots=True)
class Consent:
    """One living consent."""

    handle: str
    key: bytes
    purposes: tuple[str, ...]
    notice_version: str
    given_us: int
    segments: frozenset[str]

    def pseudonym(self, day: str) -> str:
        """Of a local day ("2026-11-22"); 16 hexadecimal digits."""
        return hmac.new(self.key, day.encode(), hashlib.sha256).hexdigest()[:16]


def handle_of(receipt: str) -> str:
    """Under what a receipt is kept: a hash, since the receipt itself is the phone's alone."""
    return hashlib.sha256(receipt.encode()).hexdigest()[:32]


class Consents:
    """All living consents, kept in the journal."""

    def __init__(self, rows: dict[str, JsonValue], put: Put) -> None:
        self._put = put
        self._by_handle: dict[str, Consent] = {}
        for key, value in rows.items():
            if isinstance(value, list):
                self._keep(key.removeprefix(PREFIX), value)

    def _keep(self, handle: str, value: list[JsonValue]) -> Consent:
        secret, purposes, notice, given_us, segments = value
        assert isinstance(purposes, list)
        assert isinstance(segments, list)
        assert isinstance(given_us, int)
        names, kept = tuple(map(str, purposes)), frozenset(map(str, segments))
        consent = Consent(handle, bytes.fromhex(str(secret)), names, str(notice), given_us, kept)
        self._by_handle[handle] = consent
        return consent

    def __len__(self) -> int:
        return len(self._by_handle)

    def give(self, purposes: list[str], notice: str, segments: list[str], wall_us: int) -> tuple[str, Consent]:
        """(receipt for the phone, consent). The caller commits."""
        receipt = secrets.token_urlsafe(24)
        handle = handle_of(receipt)
        value: list[JsonValue] = [secrets.token_hex(32), list(purposes), notice, wall_us, list(segments)]
        self._put(PREFIX + handle, value)
        return receipt, self._keep(handle, value)

    def of(self, receipt: str) -> Consent | None:
        """The consent of a receipt."""
        return self._by_handle.get(handle_of(receipt)) if receipt else None

    def by_handle(self, handle: str) -> Consent | None:
        """The consent that is kept under this handle."""
        return self._by_handle.get(handle)

    def erase(self, handle: str) -> None:
        """Delete the key. The caller commits."""
        if self._by_handle.pop(handle, None) is not None:
            self._put(PREFIX + handle, None)

    def find(self, pseudonym: str, days: list[str]) -> Consent | None:
        """Whose pseudonym of one of these days this is."""
        return next((c for c in self._by_handle.values() if any(c.pseudonym(d) == pseudonym for d in days)), None)

    def older_than(self, edge_us: int) -> list[Consent]:
        """Consents given before a wall time: retention ends them."""
        return [c for c in self._by_handle.values() if c.given_us < edge_us]
