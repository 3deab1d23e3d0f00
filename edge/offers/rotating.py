"""Rotating identifiers of consenting customers: what their phones advertise, and whose pseudonym of the day that is.

A customer who agreed to "zones" and checks in gets a key for the rest of the day. The app advertises what an
Eddystone-EID beacon with this key would (eid-computation.md of github.com/google/eddystone), its clock being Unix time:
another identifier every 2^9 s, which nobody without the key can link to the one before. Where a phone cannot send
service data (iOS), it sends the same block as the UUID of an iBeacon.

The key is an HMAC of the day under the consent's own key and is stored nowhere: deleting the consent deletes it, and
another day has another one. What is kept is that a consent has one today, so that a restart follows whom it followed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from devices.beacon_ble.eddystone import EID_PREFIX
from devices.beacon_ble.ephemeral import block_at
from edge.core.fact import JsonValue
from edge.core.instant import US_PER_S, Instant, TimeQuality
from edge.offers.consent import Consent, Consents, Put

PREFIX: Final = "offers/rotating/"
PURPOSE: Final = "zones"
EXPONENT: Final = 9
"""An identifier lives 2^9 s = 8.5 min, at most two thirds of the 15 min of a phone's private address (Core 5.3, Vol 3
Part C, appendix A)."""
MAX_PRESENT: Final = 2_000
"""Customers followed at once: each costs 10 µs every 8.5 min."""


def key_of(consent: Consent, day: str) -> bytes:
    """16 bytes: what the customer's phone makes its identifiers of on this local day."""
    return hmac.new(consent.key, b"rotating identifier of " + day.encode(), hashlib.sha256).digest()[:16]


def identities(key: bytes, window: int) -> tuple[str, str]:
    """What is heard of this key in a window of 2^9 s, as in `Advert.beacon`: as Eddystone-EID, as iBeacon."""
    block = block_at(key, EXPONENT, window << EXPONENT)
    return EID_PREFIX + block[:8].hex(), f"ibeacon:{UUID(bytes=block)}:0:0"


@dataclass(slots=True)
class _Present:
    """A customer who checked in today; known: identities by window."""

    subject: str
    key: bytes
    known: dict[int, tuple[str, str]] = field(default_factory=dict)

    def around(self, window: int) -> dict[str, str]:
        """Identities of this window and its neighbours (a phone's clock may be off) → pseudonym."""
        windows = range(window - 1, window + 2)
        self.known = {w: self.known.get(w) or identities(self.key, w) for w in windows}
        return {identity: self.subject for pair in self.known.values() for identity in pair}


class RotatingIds:
    """Whose identifiers are followed now. ``follow`` gets all of them whenever they change (`Proximity.follow`)."""

    def __init__(
        self, rows: Mapping[str, JsonValue], put: Put, consents: Consents, follow: Callable[[Mapping[str, str]], None]
    ) -> None:
        self._put, self._consents, self._follow = put, consents, follow
        self._day_of = {key.removeprefix(PREFIX): str(day) for key, day in rows.items()}
        self._present: dict[str, _Present] = {}
        self._shown: tuple[str, int] | None = None

    def __len__(self) -> int:
        return len(self._day_of)

    def grant(self, consent: Consent, day: str, now: Instant) -> bytes | None:
        """The key for the rest of the day; None where the consent does not say so, or too many are here, or no clock.

        The caller commits before telling.
        """
        if PURPOSE not in consent.purposes or now.quality is TimeQuality.UNSET:
            return None
        if self._day_of.get(consent.handle) != day:
            if len(self._day_of) >= MAX_PRESENT:
                return None
            self._day_of[consent.handle] = day
            self._put(PREFIX + consent.handle, day)
            self._shown = None
        return key_of(consent, day)

    def end(self, handle: str) -> None:
        """A consent ends: its identifiers mean nothing from now on. The caller commits."""
        if self._day_of.pop(handle, None) is not None:
            self._put(PREFIX + handle, None)
            self._present.pop(handle, None)
            self._shown = None

    def refresh(self, day: str, now: Instant) -> None:
        """Follow what is advertised now; to be called after each change and at least once in 2^9 s."""
        for handle in [handle for handle, granted in self._day_of.items() if granted != day]:
            self.end(handle)
        window = now.wall_us // US_PER_S >> EXPONENT
        if self._shown == (day, window):
            return
        self._shown = (day, window)
        if now.quality is TimeQuality.UNSET:
            self._shown = None
            return
        found: dict[str, str] = {}
        for handle in self._day_of:
            consent = self._consents.by_handle(handle)
            if consent is not None:
                present = self._present.get(handle)
                if present is None:
                    present = self._present[handle] = _Present(consent.pseudonym(day), key_of(consent, day))
                found |= present.around(window)
        self._follow(found)
