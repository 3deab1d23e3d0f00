"""The provisioning plan: what is written into each beacon, what is wrong with those that are set, and who speaks."""

from __future__ import annotations

from typing import Any

import pytest

from devices.beacon_ble.adverts import parse_manufacturer
from edge.core.beacon_plan import plan_of
from edge.core.observation import SensorReading
from edge.core.proximity.owner import SILENT_US, Owners
from edge.core.site import load_site
from tests.unit.api_support import SITE, Bench, run
from tests.unit.test_proximity import at, part, play

CHAIN = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
STORE = SITE | {"zones": [{"id": "z-1"}, {"id": "z-2"}, {"id": "z-3"}]}


def planned(*beacons: dict[str, Any]) -> list[Any]:
    return plan_of(load_site(STORE | {"beacons": list(beacons)}), CHAIN, 7)


def test_zones_without_a_beacon_get_the_next_free_minor() -> None:
    set_already = {"id": "b", "kind": "zone", "zone": "z-2", "uuid": CHAIN.upper(), "major": 7, "minor": 2}
    trolley = {"id": "t", "kind": "asset", "uuid": CHAIN, "major": 7, "minor": 1}
    rows = planned(set_already, trolley)
    assert [(row.zone, row.minor, row.is_new, row.faults) for row in rows] == [
        ("z-2", 2, False, ()),
        ("z-1", 3, True, ()),
        ("z-3", 4, True, ()),
    ]
    heard = parse_manufacturer(0x004C, bytes.fromhex(rows[1].ibeacon) + b"\xc5")
    assert heard is not None
    assert heard.beacon == f"ibeacon:{CHAIN}:7:3"
    assert rows[1].eddystone_uid == ("f7826da6bc5b71e0893e", "000000070003")


def test_what_is_set_wrongly_is_named() -> None:
    other = "00000000-0000-4000-8000-000000000001"
    rows = planned(
        {"id": "a", "kind": "zone", "zone": "z-1", "uuid": other, "major": 7, "minor": 1},
        {"id": "b", "kind": "zone", "zone": "z-2", "uuid": CHAIN, "major": 8, "minor": 1},
        {"id": "c", "kind": "zone", "zone": "z-3", "uuid": "u", "major": 7, "minor": 1},
    )
    assert [row.faults[0].partition(":")[0] for row in rows] == ["uuid", "major", "uuid"]
    with pytest.raises(ValueError, match="major = 70000: expected 0 to 65535"):
        plan_of(load_site(STORE), CHAIN, 70_000)


def test_a_technician_takes_the_plan_into_the_planogram() -> None:
    async def main(bench: Bench) -> None:
        question = {"uuid": CHAIN, "major": "7"}
        async with bench.client("technician") as client:
            rows = (await client.get("/v1/beacons/plan", params=question)).json()
            assert [(row["zone"], row["minor"], row["is_new"]) for row in rows] == [("z-1", 1, True), ("z-2", 2, True)]
            assert rows[0]["url"] == "http://127.0.0.1/s/z-1"
            assert (await client.post("/v1/beacons/plan", params=question)).json() == {
                "added": ["zone-z-1", "zone-z-2"]
            }
            assert (await client.post("/v1/beacons/plan", params=question)).json() == {"added": []}
            found = await client.get("/v1/offers", params={"beacon": f"ibeacon:{CHAIN}:7:2"})
            assert found.json()["zone"] == "z-2"
            assert {row["kind"] for row in (await client.get("/v1/labels")).json()} >= {"beacon", "zone"}
            wrong = await client.get("/v1/beacons/plan", params={"uuid": "chain", "major": "7"})
            assert (wrong.status_code, wrong.json()["cause"]) == (422, "invalid_plan")
        async with bench.client("staff") as client:
            assert (await client.post("/v1/beacons/plan", params=question)).status_code == 403

    run(main)


def test_the_best_ear_speaks_and_another_takes_over_when_it_is_louder_or_alone() -> None:
    owners = Owners()
    owners.hear("b", "ear-1", -60, 0)
    for n in range(20):
        owners.hear("b", "ear-2", -56 if n % 5 else -45, n)  # a little louder, once in a while much
        owners.hear("b", "ear-1", -60, n)
    assert owners.may_speak("b", "ear-1", 20)
    assert not owners.may_speak("b", "ear-2", 20)
    for n in range(20, 60):
        owners.hear("b", "ear-2", -48, n)
        owners.hear("b", "ear-1", -60, n)
    assert owners.may_speak("b", "ear-2", 60)
    assert not owners.may_speak("b", "ear-1", 60)
    assert owners.may_speak("b", "ear-1", 60 + SILENT_US)
    owners.hear("b", "ear-1", -90, 60 + SILENT_US)
    assert not owners.may_speak("b", "ear-2", 60 + SILENT_US)
    owners.keep(set())
    assert owners.may_speak("b", "ear-2", 61)


def test_a_late_ears_reading_is_not_told() -> None:
    proximity = part({"id": "b", "kind": "zone", "zone": "z-0"})
    play(proximity, {0: -60, 1: -85}, range(10))

    def told(ear: str) -> bool:
        return bool(proximity.reading(SensorReading(ear, at(10).mono_us, "ibeacon:u:1:0", "temperature_c", 21.0)))

    assert (told("e-0"), told("e-1")) == (True, False)
