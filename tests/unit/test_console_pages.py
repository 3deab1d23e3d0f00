"""The console's pages: every one in both languages, every word known; counting a shelf; placing a device."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge.api import console
from edge.api.words import LANGUAGES, keys
from tests.unit.api_support import RICE, SITE, TEA, Bench, run

PAGES = (
    "/",
    "/store",
    "/stock",
    f"/stock/{TEA}",
    "/recount",
    "/recount/shelf-1",
    "/exceptions",
    "/footfall",
    "/layout",
)
PAGES += (
    "/promotions",
    "/devices",
    "/devices/mcu-1",
    "/devices/door-1",
    "/devices/door-1/door",
    "/set-up",
    "/set-up/mcu-1",
    "/set-up/door-1",
    "/labels",
)
PAGES += (
    "/devices/door-1/notice",
    "/record",
    "/health-page",
    "/audit",
    "/people",
    "/more",
    "/network",
    "/stock?show=out",
)
WITH_DOOR = SITE | {"doors": [{"device": "door-1", "inward": "+y"}], "scanners": [{"device": "ear-1", "zone": "z-1"}]}
LINK = {"link": "tcp:127.0.0.1:9"}


async def furnish(bench: Bench) -> None:
    async with bench.client() as client:
        for name, kind in (("mcu-1", "shelf_mcu"), ("door-1", "door_array"), ("ear-1", "ble_scanner")):
            assert (await client.put(f"/v1/devices/{name}", json={"kind": kind, "settings": LINK})).status_code == 200
        reader = {"kind": "rfid_llrp", "settings": {"moniker": "tcp:127.0.0.1:9"}}
        assert (await client.put("/v1/devices/reader-1", json=reader)).status_code == 200


def test_every_page_is_there_in_both_languages_and_has_no_inline_code() -> None:
    async def test(bench: Bench) -> None:
        await furnish(bench)
        async with bench.client() as client:
            for path in PAGES:
                texts = {}
                for language in LANGUAGES:
                    answer = await client.get(path, headers={"Accept-Language": language})
                    assert answer.status_code == 200, (path, answer.text[:300])
                    assert f'<html lang="{language}">' in answer.text
                    assert "<script>" not in answer.text
                    assert not re.search(r" (style|on\w+)=", answer.text), path
                    texts[language] = answer.text
                assert texts["ja"] != texts["en"], path

    run(test, site=WITH_DOOR)


def test_every_word_that_a_page_or_script_says_has_both_languages() -> None:
    folder = Path(console.__file__).parent / "templates"
    said = {
        key for page in folder.glob("*.html") for key in re.findall(r'say\("([\w-]+)"[,)]', page.read_text("utf-8"))
    }
    assert len(said) > 150
    assert said - set(keys()) == set()


def test_a_shelf_is_counted_blind_compared_and_confirmed() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("staff") as client:
            blind = (await client.get("/recount/shelf-1")).text
            assert f'name="{TEA}"' in blind
            first = {"counts": {TEA: 5}}
            assert (await client.post("/v1/recounts/shelf-1", json=first)).json()["changes"] == {TEA: 5}
            compared = (await client.get("/recount/shelf-1", params={TEA: "3"})).text
            assert "-2</b>" in compared
            assert f'name="seen.{TEA}" value="5"' in compared
            body = {"counts": {TEA: 3}, "seen": {TEA: 5}}
            done = await client.post("/v1/recounts/shelf-1", json=body)
            assert (done.status_code, done.json()) == (201, {"shelf": "shelf-1", "counted": 1, "changes": {TEA: -2}})
            late = await client.post("/v1/recounts/shelf-1", json=body)
            assert (late.status_code, late.json()["cause"]) == (409, "stock_moved")
            assert (late.json()["current"], late.json()["seen"]) == ({TEA: 3}, {TEA: 5})
            assert "Green tea" in late.json()["detail"]
            for path, wrong, status in (
                ("shelf-9", {TEA: 1}, 404),
                ("shelf-1", {"04569951999999": 1}, 404),
                ("shelf-1", {}, 422),
                ("shelf-1", {TEA: -1}, 422),
            ):
                assert (await client.post(f"/v1/recounts/{path}", json={"counts": wrong})).status_code == status
            assert (await client.get("/recount/shelf-9")).status_code == 404
            assert (await client.get("/recount/shelf-1", params={TEA: "9" * 40, "x": "1"})).status_code == 200
        async with bench.client("viewer") as client:
            assert (await client.post("/v1/recounts/shelf-1", json=body)).status_code == 403

    run(test)


@pytest.mark.parametrize(
    ("device", "place", "places"),
    [
        ("reader-1", {"antennas": {"1": {"role": "shelf", "place": "shelf-2"}, "2": {"role": "exit", "place": "z-2"}}},
         ["shelf-2", "z-2"]),
        ("reader-1", {"antennas": {"1": {"place": ""}}}, []),
        ("mcu-1", {"cells": {"0": {"lane": "lane-1"}, "1": {"shelf": "shelf-2", "gtin": RICE}}}, ["shelf-1", "shelf-2"]),
        ("mcu-1", {"cells": {"0": {}}}, []),
        ("ear-1", {"zone": "z-2"}, ["z-2"]),
        ("ear-1", {"zone": ""}, []),
        ("door-1", {"inward": "-x"}, ["door"]),
    ],
)  # fmt: skip
def test_a_device_is_placed(device: str, place: dict, places: list[str]) -> None:
    async def test(bench: Bench) -> None:
        await furnish(bench)
        async with bench.client("technician") as client:
            answer = await client.put(f"/v1/devices/{device}/place", json=place)
            assert answer.status_code == 200, answer.text
            assert answer.json()["places"] == places
            assert (await client.get(f"/v1/devices/{device}")).json()["places"] == places
            assert bench.services.access.audit.rows()[0]["action"] == "place_device"
            other = {"mcu-1": ["shelf-1"], "reader-1": ["shelf-1"], "ear-1": ["z-1"], "door-1": ["door"]}
            for name, kept in other.items():
                if name != device:
                    assert (await client.get(f"/v1/devices/{name}")).json()["places"] == kept, name

    run(test, site=WITH_DOOR)


@pytest.mark.parametrize(
    ("device", "place", "words"),
    [
        ("reader-1", {"antennas": {"1": {"role": "shelf", "place": "shelf-9"}}}, "shelf-9"),
        ("reader-1", {"antennas": {"1": {"role": "cellar", "place": "z-1"}}}, "cellar"),
        ("reader-1", {"zone": "z-1"}, "a rfid_llrp is placed by antennas"),
        ("mcu-1", {"cells": {"0": {"lane": "lane-9"}}}, "lane-9"),
        ("ear-1", {"zone": "z-9"}, "z-9"),
        ("door-1", {"inward": "up"}, "inward"),
    ],
)
def test_a_wrong_place_is_named_and_changes_nothing(device: str, place: dict, words: str) -> None:
    async def test(bench: Bench) -> None:
        await furnish(bench)
        async with bench.client("technician") as client:
            before = (await client.get("/v1/planogram")).json()
            answer = await client.put(f"/v1/devices/{device}/place", json=place)
            assert answer.status_code == 422
            assert words in answer.json()["detail"]
            assert (await client.get("/v1/planogram")).json() == before

    run(test, site=WITH_DOOR)
