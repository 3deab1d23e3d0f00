"""An ear's ways: readings once, telemetry with its beacon, ephemeral identifiers resolved, addresses forgotten."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from devices.beacon_ble import ephemeral
from devices.beacon_ble.hearing import MEMORY, BindKey, Hearing, bind_keys_of, resolver_of
from devices.driver import BeaconKey
from edge.core.errors import SettingsError
from edge.core.instant import US_PER_MIN, US_PER_S
from edge.core.observation import Advert, SensorReading
from firmware_sim import adverts

ADDRESS, OTHER = "A4:C1:38:00:00:01", "A4:C1:38:00:00:02"
KEY = bytes(range(16))
UUID_1 = UUID("f7826da6-4fa2-4e98-8024-bc5b71e0893e")


class Ear:
    def __init__(self, eid: tuple[BeaconKey, ...] = (), bind: tuple[BindKey, ...] = ()) -> None:
        self.seen: list[Any] = []
        self.counts: dict[str, int] = {}

        def count(name: str) -> None:
            self.counts[name] = self.counts.get(name, 0) + 1

        self.hearing = Hearing("ear", self.seen.append, count, resolver_of(eid), bind_keys_of(bind))

    def hear(self, ad: bytes, address: str = ADDRESS, seconds: float = 0.0, rssi: int = -60) -> list[Any]:
        self.seen.clear()
        self.hearing.advert(ad, address, rssi, int(seconds * US_PER_S))
        return list(self.seen)


def beacons(seen: list[Any]) -> list[str]:
    return [o.beacon for o in seen if isinstance(o, Advert)]


def readings(seen: list[Any]) -> dict[str, float]:
    return {f"{o.subject} {o.quantity}": o.value for o in seen if isinstance(o, SensorReading)}


def test_telemetry_belongs_to_the_beacon_of_its_address() -> None:
    ear = Ear()
    telemetry = adverts.eddystone_tlm(2900, 21.5, 7, 100)
    assert ear.hear(telemetry) == []
    assert ear.counts == {"telemetry_of_no_beacon": 1}
    name = f"eddystone-uid:{bytes(10).hex()}:{bytes(6).hex()}"
    assert beacons(ear.hear(adverts.eddystone_uid(bytes(10), bytes(6)))) == [name]
    said = readings(ear.hear(telemetry))
    assert said[f"{name} battery_mv"] == 2900
    assert said[f"{name} temperature_c"] == 21.5
    assert ear.hear(telemetry, OTHER) == []
    assert readings(ear.hear(telemetry)) == {}  # the same payload again is no news
    assert beacons(ear.hear(telemetry)) == [name]  # but the beacon lives


def test_addresses_are_forgotten_after_minutes() -> None:
    ear = Ear()
    ear.hear(adverts.eddystone_uid(bytes(10), bytes(6)))
    ear.hear(adverts.eddystone_uid(bytes(10), b"\1" * 6), OTHER, 5 * 60 + 61)
    assert ear.hear(adverts.eddystone_tlm(2900, 21.5, 7, 100), ADDRESS, 5 * 60 + 62) == []
    assert ADDRESS not in repr(vars(ear.hearing))


def test_a_flood_of_addresses_does_not_fill_the_memory() -> None:
    ear = Ear()
    ad = adverts.eddystone_uid(bytes(10), bytes(6))
    for n in range(MEMORY * 2):
        ear.hear(ad, f"00:00:00:00:{n >> 8:02X}:{n & 255:02X}", n / 1000)
        ear.hearing.parts({0x004C: n.to_bytes(4)}, {}, ADDRESS, (-60, 0))
    assert len(ear.hearing._senders) <= MEMORY
    assert len(ear.hearing._known) <= MEMORY


def test_sealed_readings_open_once() -> None:
    ear = Ear(bind=(BindKey(ADDRESS, KEY.hex()),))
    address = bytes.fromhex(ADDRESS.replace(":", ""))
    first = adverts.bthome(temperature_c=4.0, key=(KEY, address, 10))
    later = adverts.bthome(temperature_c=5.0, key=(KEY, address, 11))
    assert readings(ear.hear(first)) == {f"bthome:{ADDRESS} temperature_c": 4.0}
    assert readings(ear.hear(later)) == {f"bthome:{ADDRESS} temperature_c": 5.0}
    assert readings(ear.hear(first)) == {}
    assert ear.counts == {"replayed_readings": 1}
    assert ear.hear(adverts.bthome(temperature_c=5.0, key=(bytes(16), address, 12))) == []


def test_the_simulator_and_the_resolver_agree_on_identifiers() -> None:
    for time_s in (0, 1023, 1024, 70_000, 5_000_000):
        assert ephemeral.identifier(KEY, 10, time_s) == adverts.ephemeral_id(KEY, 10, time_s)


def test_a_rotating_beacon_is_found_and_followed() -> None:
    ear = Ear(eid=(BeaconKey("cart-7", KEY.hex(), 4, 1_000),))
    begun_s = 3_000  # 125 windows after its provisioning
    heard = [
        beacons(ear.hear(adverts.eddystone_eid(adverts.ephemeral_id(KEY, 4, begun_s + second)), seconds=second))[0]
        for second in range(0, 6_000, 5)
    ]
    known = heard.index("cart-7")
    assert known <= 4
    assert set(heard[known:]) == {"cart-7"}
    stranger = beacons(ear.hear(adverts.eddystone_eid(b"\x01" * 8), seconds=6_000))
    assert stranger == ["eddystone-eid:" + "01" * 8]
    hours_later = begun_s + 6_000 + 7_200  # nobody heard it for two hours, and its crystal lags 2 s
    ad = adverts.eddystone_eid(adverts.ephemeral_id(KEY, 4, hours_later - 2))
    assert beacons(ear.hear(ad, seconds=6_000 + 7_200)) == ["cart-7"]


def test_a_replayed_identifier_is_a_strangers_after_a_while() -> None:
    ear = Ear(eid=(BeaconKey("cart-7", KEY.hex(), 4, 0),))
    old = adverts.eddystone_eid(adverts.ephemeral_id(KEY, 4, 0))
    assert beacons(ear.hear(old)) == ["cart-7"]
    assert beacons(ear.hear(old, seconds=US_PER_MIN // US_PER_S * 2)) != ["cart-7"]


def test_the_search_is_bounded() -> None:
    resolver = ephemeral.Resolver()
    resolver.add("a", KEY, 10)
    for n in range(ephemeral.HORIZON // ephemeral.SEARCH_STEP // 20):
        assert resolver.resolve(f"{n:016x}", 0) is None
    assert len(resolver._own[0].table) <= ephemeral.HORIZON


def test_bleaks_parts_say_the_same() -> None:
    ear = Ear()
    ear.hearing.parts({0x004C: adverts.ibeacon(UUID_1, 1, 2)[7:]}, {}, ADDRESS, (-50, 5))
    services = {"0000feaa-0000-1000-8000-00805f9b34fb": adverts.eddystone_uid(bytes(10), bytes(6))[11:]}
    ear.hearing.parts({0x0059: b"\1\2"}, services, ADDRESS, (-51, 6))
    ear.hearing.parts({}, {"12345678-0000-1000-8000-00805f9b34fb": b"\1"}, ADDRESS, (-52, 7))
    ear.hearing.parts({0x004C: adverts.ibeacon(UUID_1, 1, 2)[7:]}, {}, ADDRESS, (127, 8))
    assert beacons(ear.seen) == [f"ibeacon:{UUID_1}:1:2", f"eddystone-uid:{bytes(10).hex()}:{bytes(6).hex()}"]
    assert ear.counts == {"adverts_of_no_beacon": 1, "adverts_without_rssi": 1}


def test_wrong_keys_are_named() -> None:
    with pytest.raises(SettingsError, match="eid_keys of cart"):
        resolver_of((BeaconKey("cart", "00"),))
    with pytest.raises(SettingsError, match="bind_keys of A"):
        bind_keys_of((BindKey("A", "xy"),))
