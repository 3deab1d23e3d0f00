"""From advertisements to observations, for both kinds of ears: local adapters and remote scanners.

An address is looked at here and goes no further: in memory it is a number under a key that is made at each start, for
at most 5 minutes. What is no beacon is counted and forgotten.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from devices.beacon_ble.adverts import parse_advert, parse_manufacturer, parse_service
from devices.beacon_ble.eddystone import EID_PREFIX
from devices.beacon_ble.ephemeral import Resolver
from devices.beacon_ble.heard import Heard
from devices.driver import BeaconKey, Emit
from edge.core.errors import SettingsError
from edge.core.instant import US_PER_MIN
from edge.core.observation import Advert, SensorReading

FORGET_US: Final = 5 * US_PER_MIN
MEMORY: Final = 4096
"""Payloads and addresses remembered at once; more is a flood, and the memory begins anew."""
RSSI_UNKNOWN: Final = 127  # Core 5.3, Vol 4 Part E, 7.7.65.2
_BASE_UUID_TAIL: Final = "-0000-1000-8000-00805f9b34fb"  # Bluetooth Base UUID: 16-bit services
_NOTHING: Final = Heard("")


@dataclass(frozen=True, slots=True)
class BindKey:
    """A BTHome sensor that seals: its `address` as displayed, `key` 32 hex digits."""

    address: str
    key: str = field(repr=False)


def resolver_of(keys: tuple[BeaconKey, ...]) -> Resolver:
    """A resolver that knows these beacons. Raises SettingsError."""
    resolver = Resolver()
    for row in keys:
        try:
            resolver.add(row.identity, bytes.fromhex(row.key), row.exponent, row.time_s)
        except ValueError:
            expected = "32 hexadecimal digits, exponent 0 to 15, time_s 0 or more"
            raise SettingsError("settings", f"eid_keys of {row.identity}", "…", expected) from None
    return resolver


def bind_keys_of(keys: tuple[BindKey, ...]) -> dict[str, bytes]:
    """Address → key. Raises SettingsError."""
    found = {}
    for row in keys:
        try:
            found[row.address.upper()] = bytes.fromhex(row.key)
        except ValueError:
            raise SettingsError("settings", f"bind_keys of {row.address}", "…", "32 hexadecimal digits") from None
    return found


@dataclass(slots=True)
class _Sender:
    """What an address said last, for a few minutes."""

    beacon: str = ""
    heard_us: int = 0
    said: Heard = _NOTHING
    counter: int = -1


class Hearing:
    """One ear's ways: dedupes readings, joins telemetry with its beacon, resolves ephemeral identifiers."""

    def __init__(
        self, device_id: str, emit: Emit, count: Callable[[str], None], eid: Resolver, bind: Mapping[str, bytes]
    ) -> None:
        self._device_id, self._emit, self._count = device_id, emit, count
        self._eid, self._bind = eid, bind
        self._secret = int.from_bytes(os.urandom(8))  # in memory only, gone at each start
        self._senders: dict[int, _Sender] = {}
        self._known: dict[tuple[int, bytes], Heard | None] = {}
        self._swept_us = 0

    def advert(self, ad: bytes, address: str, rssi_dbm: int, now_us: int) -> None:
        """AD structures as on air (a remote scanner's)."""
        heard = parse_advert(ad, address, self._bind)
        if heard is None:
            self._count("adverts_of_no_beacon")
        else:
            self._take(heard, address, rssi_dbm, now_us)

    def parts(
        self, manufacturer: Mapping[int, bytes], services: Mapping[str, bytes], address: str, signal: tuple[int, int]
    ) -> None:
        """An advertisement that bleak has taken apart; ``signal`` is (RSSI in dBm, engine µs).

        Manufacturer data are the same for each packet of a beacon: parsed once, then looked up.
        """
        heard: Heard | None = None
        for item in manufacturer.items():
            try:
                heard = self._known[item]
            except KeyError:
                if len(self._known) >= MEMORY:
                    self._known.clear()
                heard = self._known[item] = parse_manufacturer(*item)
            if heard is not None:
                break
        else:
            for uuid, data in services.items():
                if uuid.startswith("0000") and uuid.endswith(_BASE_UUID_TAIL):
                    heard = parse_service(int(uuid[4:8], 16), data, address, self._bind) or heard
        if heard is None:
            self._count("adverts_of_no_beacon")
        else:
            self._take(heard, address, *signal)

    def _take(self, heard: Heard, address: str, rssi_dbm: int, now_us: int) -> None:
        beacon = heard.beacon
        if heard.readings or not beacon or beacon.startswith("eddystone"):
            sender = self._sender(address, now_us)
            if beacon.startswith(EID_PREFIX):
                beacon = self._eid.resolve(beacon[len(EID_PREFIX) :], now_us) or beacon
            sender.beacon = beacon = beacon or sender.beacon
            if not beacon:
                self._count("telemetry_of_no_beacon")
                return
            self._tell(sender, heard, now_us)
        if rssi_dbm == RSSI_UNKNOWN:
            self._count("adverts_without_rssi")
            return
        self._emit(Advert(self._device_id, now_us, beacon, rssi_dbm, heard.tx_power_dbm))

    def _tell(self, sender: _Sender, heard: Heard, now_us: int) -> None:
        """Readings, once per payload (bleak repeats cached data on changes of RSSI); replays are counted and left."""
        if not heard.readings or sender.said == heard:
            return
        if heard.counter is not None:
            if heard.counter <= sender.counter:
                self._count("replayed_readings")
                return
            sender.counter = heard.counter
        sender.said = heard
        for quantity, value in heard.readings:
            self._emit(SensorReading(self._device_id, now_us, sender.beacon, quantity, value))

    def _sender(self, address: str, now_us: int) -> _Sender:
        if now_us - self._swept_us > FORGET_US // 5 or len(self._senders) >= MEMORY:
            self._swept_us = now_us
            edge_us = now_us - FORGET_US * 4 // 5  # swept every minute: nothing is older than 5
            kept = {k: s for k, s in self._senders.items() if s.heard_us > edge_us}
            self._senders = kept if len(kept) < MEMORY else {}
        key = hash((self._secret, address))
        sender = self._senders.get(key)
        if sender is None:
            sender = self._senders[key] = _Sender()
        sender.heard_us = now_us
        return sender
