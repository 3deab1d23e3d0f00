"""Advertisements against two foreign parsers, and against published examples."""

from uuid import UUID

import beacontools
import pytest
from bthome_ble import BTHomeBluetoothDeviceData
from habluetooth import BluetoothServiceInfoBleak

from firmware_sim import adverts

STORE = UUID("f7826da6-4fa2-4e98-8024-bc5b71e0893e")
MAC = bytes.fromhex("5448e68f80a5")


def test_ibeacon_as_beacontools_reads_it() -> None:
    ad = adverts.ibeacon(STORE, 101, 7, -59)
    got = beacontools.parse_packet(ad)
    assert (UUID(got.uuid), got.major, got.minor, got.tx_power) == (STORE, 101, 7, -59)
    assert len(ad) == 30
    # The iBeacon in the SDP/1 vector "ADVERT: an iBeacon heard"
    assert ad.hex() == "0201061aff4c000215f7826da64fa24e988024bc5b71e0893e00650007c5"


def test_eddystone_as_beacontools_reads_it() -> None:
    uid = beacontools.parse_packet(adverts.eddystone_uid(bytes(range(10)), b"\1\2\3\4\5\6", -20))
    assert (uid.namespace, uid.instance, uid.tx_power) == ("00010203040506070809", "010203040506", -20)
    tlm = beacontools.parse_packet(adverts.eddystone_tlm(2987, 22.5, 70_000, 864_000))
    assert (tlm.voltage, tlm.temperature) == (2987, 22.5)
    assert (tlm.advertising_count, tlm.seconds_since_boot) == (70_000, 864_000)
    eid = beacontools.parse_packet(adverts.eddystone_eid(b"ABCDEFGH", -18))
    assert eid.eid == b"ABCDEFGH"


@pytest.mark.parametrize(
    "url", ["https://example.com/s/1", "http://www.shop.info", "https://a.org/x.net", "http://b.biz/"]
)
def test_eddystone_url_as_beacontools_reads_it(url: str) -> None:
    got = beacontools.parse_packet(adverts.eddystone_url(url, -21))
    assert (got.url, got.tx_power) == (url, -21)


def test_urls_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="begins with none"):
        adverts.eddystone_url("ftp://example.com")
    with pytest.raises(ValueError, match="takes 33 bytes"):
        adverts.eddystone_url("https://" + "x" * 33)


def test_altbeacon_by_its_specification() -> None:
    ad = adverts.altbeacon(bytes(range(20)), -59)
    # AltBeacon v1.0: length 1B, type FF, company id, BE AC, 20-byte id, reference RSSI, one reserved byte
    assert ad.hex() == "020106" + "1bff1801beac" + bytes(range(20)).hex() + "c500"


def test_ephemeral_ids_rotate_with_their_exponent() -> None:
    key = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
    ids = [adverts.ephemeral_id(key, 4, t) for t in range(100_000, 100_064)]
    assert len(set(ids)) == 4
    assert all(len(i) == 8 for i in ids)
    assert adverts.ephemeral_id(key, 4, 100_000) == adverts.ephemeral_id(key, 4, 100_015)
    assert adverts.ephemeral_id(bytes(16), 4, 100_000) != ids[0]


def _bthome(ad: bytes, key: bytes | None = None) -> dict[str, object]:
    service = dict(adverts.structures(ad))[0x16]
    info = BluetoothServiceInfoBleak(
        name="T",
        address=":".join(f"{b:02X}" for b in MAC),
        rssi=-60,
        manufacturer_data={},
        service_data={"0000fcd2-0000-1000-8000-00805f9b34fb": service[2:]},
        service_uuids=["0000fcd2-0000-1000-8000-00805f9b34fb"],
        source="",
        device=None,
        advertisement=None,
        connectable=False,
        time=1.0,
        tx_power=None,
    )
    parser = BTHomeBluetoothDeviceData(bindkey=key)
    assert parser.supported(info)
    update = parser.update(info)
    values = {k.key: v.native_value for k, v in update.entity_values.items()}
    return values | {k.key: v.native_value for k, v in update.binary_entity_values.items()}


def test_bthome_as_bthome_ble_reads_it() -> None:
    ad = adverts.bthome(packet_id=9, battery_percent=61, temperature_c=-18.25, humidity_percent=45.5, door_open=True)
    got = _bthome(ad)
    assert (got["battery"], got["temperature"], got["humidity"], got["door"]) == (61, -18.25, 45.5, True)
    assert got["packet_id"] == 9
    assert _bthome(adverts.bthome(voltage_v=3.074, triggered=True))["voltage"] == 3.074


def test_encrypted_bthome_opens_with_its_key_only() -> None:
    key = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")
    ad = adverts.bthome(temperature_c=25.06, humidity_percent=50.55, key=(key, MAC, 0x33221100))
    # The worked example of bthome.io/encryption: temperature 25.06 °C, humidity 50.55 %, same key, address and counter
    assert ad.endswith(bytes.fromhex("d2fc41a47266c95f730011223378237214"))
    assert _bthome(ad, key)["temperature"] == 25.06
    assert "temperature" not in _bthome(ad, bytes(16))


def test_structures_stop_where_a_length_lies() -> None:
    assert adverts.structures(b"\x02\x01\x06\x09\x16\xaa") == [(1, b"\x06")]
    assert adverts.structures(b"\x00\x02\x01\x06") == []
    assert not adverts.passes_scanner(b"\x1e\xff\x4c\x00\x02\x15")
    assert not adverts.passes_scanner(adverts.FLAGS + adverts.structure(0xFF, b"\x4c\x00\x10\x05\x01"))  # a phone
    assert adverts.passes_scanner(adverts.bthome(battery_percent=1))
    assert adverts.passes_scanner(adverts.altbeacon(bytes(20)))


def test_wrong_lengths_are_named() -> None:
    with pytest.raises(ValueError, match="expected 20"):
        adverts.altbeacon(b"short")
