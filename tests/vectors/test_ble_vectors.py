"""Advertisements against vectors made by hand from the formats' specifications, and against foreign decoders."""

import json
import random
import timeit
from pathlib import Path
from uuid import UUID

import pytest
from beacontools import parse_packet
from bthome_ble import BTHomeBluetoothDeviceData
from bthome_ble.const import MEAS_TYPES
from habluetooth import BluetoothServiceInfoBleak
from hypothesis import example, given
from hypothesis import strategies as st

from devices.beacon_ble import bthome
from devices.beacon_ble.adverts import ad_structures, parse_advert
from firmware_sim import adverts

VECTORS = json.loads((Path(__file__).parent / "ble/vectors.json").read_text())
ADDRESS = "A4:C1:38:00:00:01"
BIND_KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")
BY_NAME = {vector["name"]: bytes.fromhex(vector["ad"]) for vector in VECTORS}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vectors(vector: dict) -> None:
    heard = parse_advert(bytes.fromhex(vector["ad"]), ADDRESS)
    if vector["beacon"] is None:
        assert heard is None
        return
    assert heard is not None
    assert (heard.beacon, heard.tx_power_dbm) == (vector["beacon"], vector["tx_power_dbm"])
    assert dict(heard.readings) == vector["readings"]


def test_beacontools_reads_the_same() -> None:
    rng = random.Random(5)
    for _ in range(300):
        uuid, major, minor, dbm = (
            UUID(int=rng.getrandbits(128)),
            rng.getrandbits(16),
            rng.getrandbits(16),
            rng.randint(-100, 20),
        )
        ad = adverts.ibeacon(uuid, major, minor, dbm)
        theirs, ours = parse_packet(ad), parse_advert(ad, ADDRESS)
        assert ours is not None
        assert ours[:2] == (f"ibeacon:{theirs.uuid}:{theirs.major}:{theirs.minor}", theirs.tx_power)
        ad = adverts.eddystone_uid(rng.randbytes(10), rng.randbytes(6), dbm)
        theirs, ours = parse_packet(ad), parse_advert(ad, ADDRESS)
        assert ours is not None
        assert ours[:2] == (f"eddystone-uid:{theirs.namespace}:{theirs.instance}", theirs.tx_power - 41)
        ad = adverts.eddystone_eid(rng.randbytes(8), dbm)
        theirs, ours = parse_packet(ad), parse_advert(ad, ADDRESS)
        assert ours is not None
        assert ours[:2] == (f"eddystone-eid:{theirs.eid.hex()}", theirs.tx_power - 41)
        url = rng.choice(("https://", "http://www.")) + rng.choice(("shop.example", "a.com/x", "b.org", "c.net/?q=1"))
        ad = adverts.eddystone_url(url, dbm)
        theirs, ours = parse_packet(ad), parse_advert(ad, ADDRESS)
        assert ours is not None
        assert ours.beacon == f"eddystone-url:{theirs.url}" == f"eddystone-url:{url}"
        ad = adverts.eddystone_tlm(rng.randint(1, 4000), rng.uniform(-40, 85), rng.getrandbits(32), rng.getrandbits(32))
        theirs, ours = parse_packet(ad), parse_advert(ad, ADDRESS)
        assert ours is not None
        said = dict(ours.readings)
        assert said["battery_mv"] == theirs.voltage
        assert said["temperature_c"] % 256 == theirs.temperature  # beacontools takes the signed field for unsigned
        assert said["adverts_sent"] == theirs.advertising_count


def foreign(ad: bytes, key: bytes | None = None) -> dict[str, float]:
    """What bthome-ble finds, in our words."""
    service = {"0000fcd2-0000-1000-8000-00805f9b34fb": next(d for k, d in ad_structures(ad) if k == 0x16)[2:]}
    heard = {"service_data": service, "service_uuids": [], "source": "here", "device": None, "advertisement": None}
    info = BluetoothServiceInfoBleak("BTHome", ADDRESS, -60, {}, **heard, connectable=False, time=1.0, tx_power=None)
    update = BTHomeBluetoothDeviceData(bindkey=key).update(info)
    names = {"battery": "battery_percent", "temperature": "temperature_c", "humidity": "humidity_percent"}
    names |= {"voltage": "voltage_v", "door": "door_open"}
    values = {**update.entity_values, **update.binary_entity_values}
    return {names[k.key]: float(v.native_value) for k, v in values.items() if k.key in names}


def test_bthome_ble_reads_the_same() -> None:
    rng = random.Random(6)
    for counter in range(100):
        said = {
            "battery_percent": rng.randint(0, 100),
            "temperature_c": rng.uniform(-30, 60),
            "humidity_percent": rng.uniform(0, 100),
            "voltage_v": rng.uniform(1, 4),
            "door_open": rng.random() < 0.5,
        }
        plain = adverts.bthome(packet_id=1, **said)
        ours = parse_advert(plain, ADDRESS)
        assert ours is not None
        assert dict(ours.readings) == pytest.approx(foreign(plain))
        sealed = adverts.bthome(**said, key=(BIND_KEY, bytes.fromhex(ADDRESS.replace(":", "")), counter + 1))
        ours = parse_advert(sealed, ADDRESS, {ADDRESS: BIND_KEY})
        assert ours is not None
        assert dict(ours.readings) == pytest.approx(foreign(sealed, BIND_KEY))
        assert ours.counter == counter + 1
        assert parse_advert(sealed, ADDRESS, {ADDRESS: bytes(16)}) is None
        assert parse_advert(sealed, ADDRESS) == (f"bthome:{ADDRESS}", None, (), None)


def test_object_lengths_are_those_of_bthome_ble() -> None:
    plain = {i: m.data_length for i, m in MEAS_TYPES.items() if i not in (0x53, 0x54) and m.data_format != "command"}
    assert plain == bthome.LENGTH_OF


@given(st.binary(max_size=64))
@example(BY_NAME["eddystone-url"][:-1])
def test_garbage_is_never_an_exception(ad: bytes) -> None:
    heard = parse_advert(ad, ADDRESS, {ADDRESS: BIND_KEY})
    assert heard is None or heard.beacon or heard.readings


@given(st.sampled_from(sorted(BY_NAME)), st.integers(0, 40), st.binary(min_size=1, max_size=4))
def test_damaged_beacons_are_never_an_exception(name: str, at: int, damage: bytes) -> None:
    ad = BY_NAME[name][:at] + damage + BY_NAME[name][at + len(damage) :]
    sealed = b"\x00\xd2\xfc\x41" + ad
    for piece in (ad, bytes((len(sealed), 0x16)) + sealed[1:]):
        heard = parse_advert(piece, ADDRESS, {ADDRESS: BIND_KEY})
        assert heard is None or len(heard.beacon) < 300


def test_a_known_beacon_costs_microseconds() -> None:
    ad = BY_NAME["ibeacon"]
    assert min(timeit.repeat(lambda: parse_advert(ad, ADDRESS), number=2000, repeat=3)) / 2000 < 30e-6
