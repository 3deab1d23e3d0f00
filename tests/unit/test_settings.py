"""Whatever a person writes wrong is answered with file, key, value and what is expected."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from edge.core.errors import SettingsError, SiteError
from edge.core.plain import PlainError, build
from edge.core.site import load_site
from edge.settings import ApiSettings, GatewaySettings, SettingsFile

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
