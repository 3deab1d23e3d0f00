"""Identity keys of own beacons that hide behind rotating identifiers (Eddystone-EID), as secrets of this gateway.

A key comes by key exchange, so that nobody ever sees it, or is given where the beacon cannot do that ("shared identity
key"). It is kept in the journal and goes to the drivers that listen, and nowhere else: no export, bundle, log or answer
has it. Source: github.com/google/eddystone, eddystone-eid/eid-computation.md, "EID configuration".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from devices.beacon_ble.eddystone import EID_PREFIX
from devices.beacon_ble.ephemeral import Resolver, identifier
from devices.driver import BeaconKey
from edge.core.errors import GatewayError
from edge.core.fact import JsonValue
from edge.core.instant import US_PER_DAY, US_PER_MIN, US_PER_S
from edge.core.ports import KeyValue

PREFIX: Final = "beacons/key/"
EXPONENTS: Final = (0, 15)
EXCHANGE_US: Final = 15 * US_PER_MIN
CLOCK_MAX: Final = 2**32
KEYS_LIMIT: Final = 500
SEARCH_EVERY_US: Final = US_PER_S // 5
"""Phones may ask for what no beacon sends: beacons that were not found yet are looked for so often at most."""
BEHIND_S: Final = 7 * US_PER_DAY // US_PER_S
"""A beacon that was without power goes on where it was: it is looked for from so far behind its expected clock on."""


class BeaconKeyRefused(GatewayError):
    """A key cannot be taken: detail says which value, and what is expected."""

    hint = "Read the beacon's values again, or begin a new key exchange."


@dataclass(frozen=True, slots=True)
class _Exchange:
    private: Any  # an X25519PrivateKey; in memory only
    begun_us: int


def identity_of(beacon: str) -> str:
    """What the planogram and `Advert.beacon` call a beacon of this id whose identifiers are resolved."""
    return f"eid:{beacon}"


class BeaconKeys:
    """The keys of one store. `changed` makes the listening drivers begin anew with the present ones."""

    def __init__(
        self,
        kept: Mapping[str, JsonValue],
        keyed: KeyValue,
        now_us: Callable[[], int],
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._keyed, self._now_us, self._changed = keyed, now_us, changed
        self._keys: dict[str, tuple[BeaconKey, int]] = {}
        self._exchanges: dict[str, _Exchange] = {}
        self._resolver: Resolver | None = None
        self._searched_us = -SEARCH_EVERY_US
        for name, row in kept.items():
            if isinstance(row, list):
                beacon = name.removeprefix(PREFIX)
                key, exponent, time_s, since_us = row
                found = BeaconKey(identity_of(beacon), str(key), int(str(exponent)), int(str(time_s)))
                self._keys[beacon] = (found, int(str(since_us)))

    def keys(self) -> tuple[BeaconKey, ...]:
        """For the drivers that listen: with clocks that the beacons should have passed by now."""
        now_us = self._now_us()
        return tuple(_advanced(key, (now_us - since_us) // US_PER_S) for key, since_us in self._keys.values())

    def resolve(self, heard: str) -> str:
        """The identity of the beacon that a phone heard (`Advert.beacon`); of no own rotating one: as it is."""
        if not heard.startswith(EID_PREFIX) or not self._keys:
            return heard
        if self._resolver is None:
            self._resolver = Resolver()
            for key in self.keys():
                self._resolver.add(key.identity, bytes.fromhex(key.key), key.exponent, key.time_s)
        now_us = self._now_us()
        search = now_us - self._searched_us >= SEARCH_EVERY_US
        self._searched_us = now_us if search else self._searched_us
        return self._resolver.resolve(heard[len(EID_PREFIX) :].lower(), now_us, search=search) or heard

    def rows(self) -> list[dict[str, Any]]:
        """Which beacons have a key, how often their identifiers change, and since when (engine µs); never the key."""
        return [
            {"beacon": beacon, "identity": key.identity, "exponent": key.exponent, "since_us": since_us}
            for beacon, (key, since_us) in sorted(self._keys.items())
        ]

    def begin(self, beacon: str) -> bytes:
        """Begin a key exchange: our public key (32 bytes), which the beacon is given. The private half is forgotten
        after 15 minutes, with a restart, and with the next beginning."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415 (rarely needed)

        private = X25519PrivateKey.generate()
        self._exchanges[beacon] = _Exchange(private, self._now_us())
        return private.public_key().public_bytes_raw()

    async def finish(self, beacon: str, public: bytes, exponent: int, time_s: int, eid: bytes) -> None:
        """End it with what the beacon tells: its public key, clock and the identifier that it sends.

        Raises BeaconKeyRefused, also where the identifier does not come from the key that both should have now.
        """
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

        exchange = self._exchanges.get(beacon)
        if exchange is None or self._now_us() - exchange.begun_us > EXCHANGE_US:
            raise BeaconKeyRefused(f"beacon {beacon}: no key exchange is open: expected one of the last 15 minutes")
        if len(public) != 32:
            raise BeaconKeyRefused(f"beacon_public_key has {len(public)} bytes: expected 32")
        _check_clock(exponent, time_s)
        own = exchange.private.public_key().public_bytes_raw()
        key = HKDF(SHA256(), 16, own + public, b"").derive(_shared(exchange.private, public))
        window = 1 << exponent
        told = (identifier(key, exponent, time_s), identifier(key, exponent, max(0, time_s - window)))
        if eid not in told:  # the beacon may change its identifier some time into the window
            raise BeaconKeyRefused(f"eid = {eid.hex()!r}: expected {exponent=} at {time_s} s to make it of the key")
        await self.put(beacon, key, exponent, time_s)
        del self._exchanges[beacon]

    async def put(self, beacon: str, key: bytes, exponent: int, time_s: int) -> None:
        """Take a key, in place of the one before: rotation. Raises BeaconKeyRefused."""
        if len(key) != 16 or not any(key):
            raise BeaconKeyRefused(f"key has {len(key)} bytes: expected 16, not all of them 0")
        _check_clock(exponent, time_s)
        if beacon not in self._keys and len(self._keys) >= KEYS_LIMIT:
            raise BeaconKeyRefused(f"{len(self._keys)} beacons have a key: expected fewer than {KEYS_LIMIT}")
        since_us = self._now_us()
        await self._keyed.put(PREFIX + beacon, [key.hex(), exponent, time_s, since_us])
        self._keys[beacon] = (BeaconKey(identity_of(beacon), key.hex(), exponent, time_s), since_us)
        self._resolver = None
        await self._changed()

    async def forget(self, beacon: str) -> bool:
        """Delete a beacon's key; whether there was one."""
        known = self._keys.pop(beacon, None) is not None
        self._exchanges.pop(beacon, None)
        if known:
            self._resolver = None
            await self._keyed.put(PREFIX + beacon, None)
            await self._changed()
        return known


def _advanced(key: BeaconKey, passed_s: int) -> BeaconKey:
    return replace(key, time_s=max(key.time_s, key.time_s + passed_s - BEHIND_S))


def _check_clock(exponent: int, time_s: int) -> None:
    low, high = EXPONENTS
    if not low <= exponent <= high:
        raise BeaconKeyRefused(f"exponent = {exponent}: expected {low} to {high}")
    if not 0 <= time_s < CLOCK_MAX:
        raise BeaconKeyRefused(f"time_s = {time_s}: expected seconds from 0 to {CLOCK_MAX - 1}")


def _shared(private: Any, public: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey  # noqa: PLC0415

    try:
        shared: bytes = private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise BeaconKeyRefused("beacon_public_key: expected one that makes a secret, not of low order") from None
    return shared
