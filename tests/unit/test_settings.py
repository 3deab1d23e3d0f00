"""Whatever a person writes wrong is answered with file, key, value and what is expected."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from cloud_bridge.settings import UplinkSettings
from devices.beacon_ble.advertising import GatewayBeaconSettings
from devices.beacon_ble.driver import BeaconBleSettings
from devices.rfid_llrp.settings import Settings as ReaderSettings
from devices.rfid_r200.driver import Settings as R200Settings
from devices.shelf_mcu.driver import ShelfMcuSettings
from edge.core.errors import SettingsError, SiteError
from edge.core.plain import PlainError, build, describe
from edge.core.site import load_site
from edge.journal import JournalSettings
from edge.settings import ApiSettings, GatewaySettings, SettingsFile
from edge.updates.settings import UpdateSettings

LANE = {"id": "l", "shelf": "shelf-1", "cells": [{"device": "m", "cell": 0}]}
STORE = {
    "id": "shop-1", "tenant": "acme", "name": "Shop", "sgln": "urn:epc:id:sgln:4012345.00001.0",
    "timezone": "Asia/Tokyo", "hours": [["09:00", "21:00"]] * 7,
}  # fmt: skip
GTIN = "04012345000016"


def site(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "store": STORE,
        "zones": [{"id": "front"}],
        "products": [{"gtin": GTIN, "unit_mass_g": 250}],
        "shelves": [{"id": "shelf-1", "zone": "front", "products": [GTIN]}],
        "lanes": [{"id": "lane-1", "shelf": "shelf-1", "cells": [{"device": "mcu-1", "cell": 0}], "gtins": [GTIN]}],
        "readers": [{"device": "reader-1", "antennas": [{"port": 1, "shelf": "shelf-1"}]}],
        "scanners": [{"device": "ear-1", "zone": "front"}],
        "beacons": [{"id": "b-1", "kind": "asset", "uuid": "A" * 8, "major": 1, "minor": 2}],
        "doors": [{"device": "door-1"}],
    }
    return document | changes


def test_a_good_planogram_gives_its_look_ups() -> None:
    loaded = load_site(site())
    assert loaded.homes_by_gtin[GTIN] == ("shelf-1",)
    assert loaded.product_by_gtin[GTIN].unit_mass_g == 250.0
    assert loaded.beacons[0].key == "ibeacon:aaaaaaaa:1:2"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shelves": [{"id": "a", "zone": "front"}] * 2}, "shelves.id = 'a': expected each value only once"),
        ({"products": [{"gtin": "04012345000017"}]}, "products.gtin = '04012345000017': expected check digit 6"),
        ({"products": [{"gtin": "4012345000016"}]}, "the 14-digit form"),
        ({"products": [{"gtin": GTIN, "unit_mass_g": -1}]}, "a mass of 0 g or more"),
        ({"lanes": [], "readers": [], "shelves": [{"id": "a", "zone": "nowhere"}]}, "shelf a.zone = 'nowhere': expected the id of a zone"),
        ({"zones": [{"id": "Front Zone"}]}, "zones.id = 'Front Zone': expected an id of the letters a-z"),
        ({"zones": 7}, "zones = 7: expected a list"),
        ({"aisles": []}, "aisles = []: expected one of the keys"),
        ({"store": STORE | {"timezone": "Mars/Base"}}, "store.timezone = 'Mars/Base': expected an IANA time zone"),
        ({"store": STORE | {"sgln": "123"}}, "store.sgln = '123': expected an SGLN URN"),
        ({"store": STORE | {"hours": [["9", "21:00"]] * 7}}, "seven pairs"),
        ({"store": STORE | {"hours": [["09:00", "24:30"]] * 7}}, "seven pairs"),
        ({"store": {"id": "x"}}, "expected also 'tenant'"),
        ({"doors": [{"device": "d", "inward": "north"}]}, "one of +x, -x, +y, -y"),
        ({"lanes": [{"id": "l", "shelf": "shelf-1", "cells": []}]}, "at least one cell"),
        ({"lanes": [{"id": "l", "shelf": "shelf-1", "cells": [{"device": "m", "cell": 16}]}]}, "a channel from 0 to 15"),
        ({"lanes": [LANE | {"containers_g": [-180.0]}]}, "lane l.containers_g = -180.0: expected grams above 0"),
        ({"lanes": [LANE | {"containers_g": [180.0, 6e4]}]}, "lane l.containers_g = 60000.0: expected grams above 0"),
        ({"readers": [{"device": "r", "antennas": [{"port": 1, "role": "roof"}]}]}, "one of shelf, fitting, exit"),
        ({"beacons": [{"id": "b", "kind": "toy"}]}, "zone, asset or badge"),
    ],
)  # fmt: skip
def test_a_planogram_that_contradicts_itself_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SiteError) as caught:
        load_site(site(**changes))
    assert words in str(caught.value)


def write(tmp_path: Path, text: str) -> SettingsFile:
    path = tmp_path / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return SettingsFile(path)


def test_sections_become_dataclasses(tmp_path: Path) -> None:
    file = write(tmp_path, '[gateway]\nplanogram = "site.json"\n[[device]]\nid = "r-1"\nkind = "rfid_llrp"\n')
    assert file.section("gateway", GatewaySettings) == GatewaySettings("site.json")
    assert file.section("api", ApiSettings) == ApiSettings()
    assert [entry.id for entry in file.devices()] == ["r-1"]
    file.check_sections()
    assert file.resolve("site.json") == tmp_path / "site.json"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[gateway\n", "expected valid TOML"),
        ('[gateway]\nplanogram = 3\n', "gateway.planogram = 3: expected a text"),
        ("[gateway]\n", "gateway = {}: expected also 'planogram'"),
        ('[gateway]\nplanogram = "x"\n[api]\nport = "high"\n', "api.port = 'high': expected a whole number"),
        ('[gateway]\nplanogram = "x"\n[api]\nport = 99999\n', "api.port = 99999: expected a port from 0 to 65535"),
        ('[gateway]\nplanogram = "x"\n[[device]]\nid = "My Shelf"\nkind = "k"\n', "device[0].id = 'My Shelf': expected an id"),
        ('[gateway]\nplanogram = "x"\n[apis]\n', "apis = '…': expected one of the sections"),
        ('[gateway]\nplanogram = "x"\n[[device]]\nid = "a"\nkind = "k"\n[[device]]\nid = "a"\nkind = "k"\n', "only once"),
        ('device = 3\n[gateway]\nplanogram = "x"\n', "expected entries written as [[device]]"),
    ],
)  # fmt: skip
def test_a_wrong_settings_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        file = write(tmp_path, text)
        file.section("gateway", GatewaySettings)
        file.section("api", ApiSettings)
        file.devices()
        file.check_sections()
    assert words in str(caught.value)
    assert "gateway.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml: file = 'missing'"):
        SettingsFile(tmp_path / "nowhere.toml")


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    sizes: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outer:
    inner: Inner
    colour: Colour = Colour.RED
    pair: tuple[int, str] = (0, "")
    table: dict[str, int] | None = None
    anything: Any = None


def test_plain_data_becomes_nested_dataclasses() -> None:
    value = {"inner": {"sizes": [1, 2.5]}, "colour": "red", "pair": [3, "x"], "table": {"a": 1}, "anything": [None]}
    assert build(Outer, value) == Outer(Inner((1.0, 2.5)), Colour.RED, (3, "x"), {"a": 1}, [None])


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({"inner": {"sizes": ["x"]}}, "inner.sizes[0]"),
        ({"inner": {}, "colour": "blue"}, "colour"),
        ({"inner": {}, "pair": [1]}, "pair"),
        ({"inner": {}, "pair": [True, "x"]}, "pair[0]"),
        ({"inner": {}, "table": {"a": "b"}}, "table.a"),
        ({"inner": []}, "inner"),
    ],
)
def test_plain_errors_name_the_place(value: dict[str, Any], key: str) -> None:
    with pytest.raises(PlainError) as caught:
        build(Outer, value)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("row_type", "value", "words"),
    [
        (JournalSettings, {"quota_mib": -5}, "journal.quota_mib = -5: expected MiB from 1 to 1048576"),
        (JournalSettings, {"telemetry_delay_s": float("nan")}, "journal.telemetry_delay_s = nan: expected seconds from 0"),
        (JournalSettings, {"synchronous": "NORMAL"}, "journal.synchronous = 'NORMAL': expected one of FULL, EXTRA"),
        (UplinkSettings, {"hosts": ["broker:1883"]}, "uplink.hosts[0] = 'broker:1883': expected an address such as mqtts"),
        (UplinkSettings, {"keepalive_s": 0}, "uplink.keepalive_s = 0: expected seconds from 1 to 3600"),
        (UplinkSettings, {"platform_keys": {"p": "abc"}}, "uplink.platform_keys.p = 'abc': expected base64 of 32 bytes"),
        (UpdateSettings, {"gate_s": 1}, "updates.gate_s = 1.0: expected seconds from 10 to 86400"),
        (BeaconBleSettings, {"silence_s": 0}, "ble.silence_s = 0.0: expected seconds from 1"),
        (GatewayBeaconSettings, {"uuid": "x", "major": 1, "minor": 1}, "beacon.uuid = 'x': expected a UUID"),
        (ShelfMcuSettings, {"link": "usb:7"}, "shelf.link = 'usb:7': expected one of the schemes serial, tcp, tls"),
        (ShelfMcuSettings, {"link": "serial:/dev/x?bauds=9"}, "expected one of the options baud, dtr, wait, tap"),
        (R200Settings, {"moniker": "serial:/dev/x", "region": "jp"}, "expected one of (empty), cn900, us, eu, cn800, kr"),
    ],
)  # fmt: skip
def test_a_number_or_word_out_of_range_is_named_with_its_path(row_type: type[Any], value: Any, words: str) -> None:
    place = words.partition(".")[0] if words.partition(" ")[0].count(".") else "device"
    with pytest.raises(PlainError) as caught:
        build(row_type, value, place)
    assert words in str(caught.value)


def test_a_form_is_told_type_and_rule_of_each_field() -> None:
    rows = {row.name: row for row in describe(JournalSettings)}
    assert (rows["quota_mib"].type, rows["quota_mib"].rule) == ("int", "MiB from 1 to 1048576")
    assert (rows["path"].type, rows["path"].rule, rows["path"].default) == ("str", "", "var/journal.db")
    power = {row.name: row for row in describe(ReaderSettings)}["tx_power_dbm"]
    assert (power.type, power.rule, power.required, power.default) == (
        "float | None",
        "dBm from -20 to 40",
        False,
        None,
    )
