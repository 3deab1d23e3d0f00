"""Keys of own rotating beacons: by exchange or given, resolved at once, rotated, forgotten, and never told again."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from devices.beacon_ble.ephemeral import Resolver
from devices.beacon_ble.hearing import Hearing, resolver_of
from edge.api.hiding import HIDDEN, with_secrets, without_hidden, without_keys
from edge.cli.beacons import read_key
from edge.cli.client import ApiFault
from edge.core.facts import ZoneEntered
from firmware_sim.adverts import EidBeacon, eddystone_eid
from tests.unit.api_support import SITE, Bench, run

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
STORE = SITE | {
    "beacons": [
        {"id": "b-1", "kind": "zone", "uuid": UUID, "major": 1, "minor": 1, "zone": "z-1"},
        {"id": "cart-7", "kind": "asset", "uuid": UUID, "major": 1, "minor": 9},
    ],
    "scanners": [{"device": f"e-{n}", "zone": f"z-{n}", "x_m": 12.0 * n, "y_m": 1.0} for n in (1, 2)],
}


async def registered(bench: Bench, name: str = "cart-7", exponent: int = 4) -> EidBeacon:
    beacon = EidBeacon()
    async with bench.client("technician") as client:
        begun = (await client.post(f"/v1/beacons/{name}/key-exchange")).json()
        told = beacon.register(bytes.fromhex(begun["public_key"]), exponent)
        answer = await client.put(f"/v1/beacons/{name}/key", json=told)
        assert answer.status_code == 200, answer.text
        assert answer.json() | {"since_us": 0} == {
            "beacon": name, "identity": f"eid:{name}", "exponent": exponent, "since_us": 0
        }  # fmt: skip
    return beacon


def heard(bench: Bench, beacon: EidBeacon, seconds: int) -> None:
    """The beacon, in front of scanner e-1, with what a driver that starts now would know."""
    runtime = bench.services.runtime
    keys = bench.services.installation.beacon_keys.keys()
    ear = Hearing("e-1", runtime.emit, lambda _: None, resolver_of(keys), {})
    for half in range(2 * seconds):
        bench.clock.advance(0.5)
        beacon.time_s += half % 2
        for _ in range(2):
            ear.advert(eddystone_eid(beacon.eid()), "5A:11:22:33:44:55", -60, bench.clock.now_us)
        runtime.step()


async def entered(bench: Bench) -> list[str]:
    await bench.services.runtime.journal.flush()
    rows = bench.services.runtime.journal.read(1, 1000)
    return [row.fields["beacon"] for row in rows if row.type is ZoneEntered]


def test_an_exchanged_key_resolves_the_beacon_and_is_rotated_and_forgotten() -> None:
    async def main(bench: Bench) -> None:
        first = await registered(bench)
        heard(bench, first, 60)
        assert await entered(bench) == ["cart-7"]
        second = await registered(bench)
        assert second.identity_key != first.identity_key
        bench.clock.advance(60)
        bench.services.runtime.step()
        heard(bench, first, 20)  # the old key is a stranger's
        assert await entered(bench) == ["cart-7"]
        heard(bench, second, 20)
        assert await entered(bench) == ["cart-7", "cart-7"]
        async with bench.client("technician") as client:
            assert (await client.delete("/v1/beacons/cart-7/key")).status_code == 204
            assert (await client.delete("/v1/beacons/cart-7/key")).status_code == 404
            assert (await client.get("/v1/beacons/keys")).json() == []
            actions = [row["action"] for row in bench.services.access.audit.rows(limit=9)]
        assert {"add_beacon_key", "rotate_beacon_key", "forget_beacon_key"} <= set(actions)
        assert bench.services.installation.beacon_keys.keys() == ()

    run(main, site=STORE)


def test_a_phone_may_tell_the_identifier_of_a_rotating_zone_beacon() -> None:
    async def main(bench: Bench) -> None:
        beacon = await registered(bench, "b-1")
        async with bench.client(None) as phone:

            async def ask() -> int:
                place = {"beacon": f"eddystone-eid:{beacon.eid().hex()}"}
                return (await phone.get("/v1/offers", params=place)).status_code

            assert await ask() == 200
            old = beacon.eid().hex()
            bench.clock.advance(3600)
            beacon.time_s += 3600
            assert await ask() == 200
            replayed = await phone.get("/v1/offers", params={"beacon": f"eddystone-eid:{old}"})
            assert replayed.status_code == 404

            class Counted(Resolver):
                def resolve(self, eid_hex: str, now_us: int, *, search: bool = True) -> str | None:
                    searches.append(search)
                    return super().resolve(eid_hex, now_us, search=search)

            searches: list[bool] = []
            vault = bench.services.installation.beacon_keys
            vault._resolver = Counted()
            bench.clock.advance(10)
            for number in range(
                30
            ):  # whoever invents identifiers makes us look for beacons five times a second at most
                vault.resolve(f"eddystone-eid:{number:016x}")
            assert searches == [True] + 29 * [False]

    run(main, site=STORE)


def test_a_key_is_told_to_nobody() -> None:
    async def main(bench: Bench) -> None:
        secret = (await registered(bench)).identity_key.hex()
        async with bench.client("admin") as client:
            given = {"key": "0123456789abcdef0123456789abcdef", "exponent": 10, "time_s": 5}
            answers = [await client.put("/v1/beacons/b-1/key", json=given)]
            paths = ("/v1/beacons/keys", "/v1/configuration", "/v1/planogram", "/v1/audit", "/v1/labels")
            answers += [await client.get(path) for path in paths]
            answers.append(await client.get("/v1/beacons/plan", params={"uuid": UUID, "major": 1}))
            bundle = zipfile.ZipFile(io.BytesIO((await client.get("/v1/support-bundle")).content))
        texts = [answer.text for answer in answers] + [bundle.read(name).decode() for name in bundle.namelist()]
        assert [answer.status_code for answer in answers] == [200] * len(answers)
        assert not [text for text in texts if secret in text or str(given["key"]) in text]
        assert secret not in repr(bench.services.installation.beacon_keys.keys())
        kept = [bench.services.runtime.journal.get(key) for key in bench.services.runtime.journal.keys("beacons/key/")]
        assert secret in json.dumps(kept)  # the search would find something
        async with bench.client("staff") as client:
            assert (await client.get("/v1/beacons/keys")).status_code == 403
            assert (await client.post("/v1/beacons/b-1/key-exchange")).status_code == 403

    run(main, site=STORE)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"eid": "00" * 8}, "eid = '0000000000000000'"),
        ({"beacon_public_key": "00" * 32}, "low order"),
        ({"key": "11" * 16}, "or key alone"),
        ({"eid": None}, "expected beacon_public_key and eid"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_changes_nothing(change: dict[str, Any], why: str) -> None:
    async def main(bench: Bench) -> None:
        async with bench.client("technician") as client:
            public = (await client.post("/v1/beacons/cart-7/key-exchange")).json()["public_key"]
            told = EidBeacon().register(bytes.fromhex(public), 4) | change
            answer = await client.put("/v1/beacons/cart-7/key", json=told)
            assert (answer.status_code, answer.json()["cause"]) == (422, "beacon_key")
            assert why in answer.json()["detail"]
            assert (await client.get("/v1/beacons/keys")).json() == []
            assert (await client.post("/v1/beacons/nobody/key-exchange")).status_code == 404
            again = {"key": "00" * 16}
            assert (await client.put("/v1/beacons/cart-7/key", json=again)).status_code == 422

    run(main, site=STORE)


def test_an_exchange_ends_after_a_quarter_of_an_hour_and_after_its_use() -> None:
    async def main(bench: Bench) -> None:
        async with bench.client("technician") as client:
            public = (await client.post("/v1/beacons/cart-7/key-exchange")).json()["public_key"]
            told = EidBeacon().register(bytes.fromhex(public), 4)
            bench.clock.advance(16 * 60)
            late = await client.put("/v1/beacons/cart-7/key", json=told)
            assert "no key exchange is open" in late.json()["detail"]
            public = (await client.post("/v1/beacons/cart-7/key-exchange")).json()["public_key"]
            told = EidBeacon().register(bytes.fromhex(public), 4)
            assert (await client.put("/v1/beacons/cart-7/key", json=told)).status_code == 200
            assert (await client.put("/v1/beacons/cart-7/key", json=told)).status_code == 422

    run(main, site=STORE)


def test_keys_in_the_settings_of_a_scanner_are_hidden_and_stay_when_they_come_back_hidden() -> None:
    secret = "0123456789abcdef0123456789abcdef"
    settings = {"link": "tcp:127.0.0.1:9", "eid_keys": [{"identity": "eid:b-1", "key": secret, "exponent": 10}]}

    async def main(bench: Bench) -> None:
        async with bench.client("technician") as client, bench.client("viewer") as viewer:
            made = await client.put("/v1/devices/ear-9", json={"kind": "ble_scanner", "settings": settings})
            assert made.status_code == 200, made.text
            answers = [made, await viewer.get("/v1/devices/ear-9"), await client.get("/v1/configuration")]
            assert not [answer.text for answer in answers if secret in answer.text]
            shown = answers[1].json()["settings"]
            assert shown["eid_keys"] == [{"identity": "eid:b-1", "key": HIDDEN, "exponent": 10}]
            moved = shown | {"link": "tcp:127.0.0.1:10"}
            assert (
                await client.put("/v1/devices/ear-9", json={"kind": "ble_scanner", "settings": moved})
            ).status_code == 200
            kept = bench.services.installation.entries()["ear-9"].settings
            assert (kept["link"], kept["eid_keys"][0]["key"]) == ("tcp:127.0.0.1:10", secret)
            loaded = await client.put("/v1/configuration", json=answers[2].json())
            assert (loaded.status_code, loaded.json()["secrets_missing"]) == (200, 0)
            assert bench.services.installation.entries()["ear-9"].settings["eid_keys"][0]["key"] == secret
            other = await client.put("/v1/devices/ear-8", json={"kind": "ble_scanner", "settings": shown})
            assert (other.status_code, other.json()["cause"]) == (422, "secret_missing")
            await client.delete("/v1/devices/ear-9")
            swapped = await client.put("/v1/configuration", json=answers[2].json())
            assert (swapped.status_code, swapped.json()["secrets_missing"]) == (200, 1)
            assert bench.services.installation.entries()["ear-9"].settings["eid_keys"] == []

    run(main, site=STORE)


def test_hiding_and_putting_back() -> None:
    before = {"a": 1, "pin": "1234", "rows": [{"id": 1, "key": "x"}, {"id": 2, "key": "y"}]}
    shown = without_keys(before)
    assert shown == {"a": 1, "pin": HIDDEN, "rows": [{"id": 1, "key": HIDDEN}, {"id": 2, "key": HIDDEN}]}
    assert with_secrets(shown, before) == before
    shuffled = shown | {"rows": [shown["rows"][1]]}
    assert with_secrets(shuffled, before)["rows"] == [{"id": 2, "key": "y"}]
    assert without_hidden(with_secrets(shown, {})) == ({"a": 1, "rows": []}, 3)


def test_a_file_that_is_no_key_is_named_and_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text('["0123456789abcdef"')
    with pytest.raises(ApiFault, match="expected a JSON object") as fault:
        read_key(file)
    assert "0123456789abcdef" not in str(fault.value)
    file.write_text('{"key": "00", "exponent": 1}')
    assert read_key(file) == {"key": "00", "exponent": 1}
