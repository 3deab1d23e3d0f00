"""Customers who agreed to be followed: their rotating identifiers become enter and leave facts of a pseudonym, no more.

What phones send is made by the simulator's and the JavaScript client's own hands, not by the code that resolves it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import pytest

from devices.beacon_ble.hearing import Hearing, resolver_of
from edge.api.desk import Desk
from edge.core.facts import CheckIn, ConsentWithdrawn, ZoneEntered, ZoneLeft
from edge.core.localtime import local_day
from edge.core.ports import Command
from edge.offers import rotating
from firmware_sim import adverts
from tests.unit.api_support import SITE, Bench, run

UUID_CHAIN = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
SCANNERS = [{"device": f"e-{n}", "zone": f"z-{n}", "x_m": 12.0 * n, "y_m": 1.0} for n in (1, 2)]
STORE = SITE | {
    "beacons": [{"id": "b-1", "kind": "zone", "uuid": UUID_CHAIN, "major": 1, "minor": 1, "zone": "z-1"}],
    "scanners": SCANNERS,
}
CLIENT = Path(__file__).parents[2] / "edge" / "api" / "shopper" / "client.js"


async def check_in(phone: httpx.AsyncClient, *purposes: str) -> dict[str, Any]:
    answer = await phone.post("/v1/shopper/consent", json={"purposes": purposes, "notice_version": "1"})
    phone.headers["X-Consent"] = answer.json()["receipt"]
    return await again(phone)


async def again(phone: httpx.AsyncClient) -> dict[str, Any]:
    answer = await phone.post("/v1/shopper/check-in", json={"method": "app", "zone": "z-1"})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def unix_s(bench: Bench) -> int:
    return bench.clock.now().wall_us // 1_000_000


def on_air(advertise: dict[str, Any], time_s: int) -> bytes:
    return adverts.eddystone_eid(
        adverts.ephemeral_id(bytes.fromhex(advertise["key"]), advertise["exponent"], time_s), -18
    )


def walk(bench: Bench, advertise: dict[str, Any], levels: dict[int, int], seconds: float = 8.0, off_s: int = 0) -> None:
    """Five packets a second, heard by scanner n at levels[n] dBm; what they carry, a remote scanner would carry."""
    runtime = bench.services.runtime
    ears = {n: Hearing(f"e-{n}", runtime.emit, lambda _: None, resolver_of(()), {}) for n in levels}
    for _ in range(int(seconds * 5)):
        bench.clock.advance(0.2)
        ad = on_air(advertise, unix_s(bench) + off_s)
        for n, dbm in levels.items():
            ears[n].advert(ad, "5A:11:22:33:44:55", dbm, bench.clock.now_us)
        runtime.step()


async def told(bench: Bench, kind: type) -> list[dict[str, Any]]:
    await bench.services.runtime.journal.flush()
    return [row.fields for row in bench.services.runtime.journal.read(1, 1000) if row.type is kind]


def test_who_agreed_is_followed_by_the_pseudonym_of_the_day() -> None:
    async def main(bench: Bench) -> None:
        async with bench.client(None) as phone:
            answer = await check_in(phone, "offers", "zones")
            subject, advertise = answer["subject_id"], answer["advertise"]
            assert (advertise["format"], advertise["exponent"]) == ("eddystone-eid", 9)
            walk(bench, advertise, {1: -60, 2: -88})
            walk(bench, advertise, {1: -90, 2: -58}, 15)
            entered = await told(bench, ZoneEntered)
            assert [(one["zone"], one["from_zone"]) for one in entered] == [("z-1", ""), ("z-2", "z-1")]
            assert {(one["beacon"], one["subject_id"]) for one in entered} == {(subject, subject)}
            bench.clock.advance(30)
            bench.services.runtime.step()
            (left,) = await told(bench, ZoneLeft)
            assert (left["subject_id"], left["zone"]) == (subject, "z-2")
            assert 5 < left["dwell_s"] < 16
        assert not bench.services.runtime.engine.drain_said()

    run(main, site=STORE)


def test_nobody_else_is_followed() -> None:
    async def main(bench: Bench) -> None:
        async with bench.client(None) as shy, bench.client(None) as phone:
            assert "advertise" not in await check_in(shy, "offers", "measurement")
            advertise = (await check_in(phone, "zones"))["advertise"]
            walk(bench, advertise | {"key": "00" * 16}, {1: -60})
            walk(bench, advertise, {1: -60}, off_s=3 * 512)  # heard and replayed later
        assert await told(bench, ZoneEntered) == []

    run(main, site=STORE)


def test_identifiers_rotate_and_a_clock_may_be_off_by_some_minutes() -> None:
    async def main(bench: Bench) -> None:
        async with bench.client(None) as phone:
            advertise = (await check_in(phone, "zones"))["advertise"]
            seen = set()
            for off_s in (0, 400, -400):
                bench.clock.advance(500)  # it is 23:13 in Tokyo: midnight would end it
                bench.services.runtime.step()
                await bench.app.state.desk.offers.keep_promises(bench.clock.now())
                seen.add(on_air(advertise, unix_s(bench) + off_s))
                walk(bench, advertise, {1: -60}, 4, off_s)
            assert len(seen) >= 2  # 500 s apart, one phone's clock ahead, one behind
        assert len(await told(bench, ZoneEntered)) == 3  # silent for 500 s: each time anew
        assert len({one["beacon"] for one in await told(bench, ZoneEntered)}) == 1

    run(main, site=STORE)


@pytest.mark.parametrize("how", ["phone", "platform"])
def test_a_withdrawal_ends_it_at_once(how: str) -> None:
    async def main(bench: Bench) -> None:
        runtime = bench.services.runtime
        async with bench.client(None) as phone:
            answer = await check_in(phone, "zones")
            subject, advertise = answer["subject_id"], answer["advertise"]
            walk(bench, advertise, {1: -60, 2: -88})
            assert len(await told(bench, ZoneEntered)) == 1
            if how == "phone":
                assert (await phone.delete("/v1/shopper/consent")).status_code == 204
                assert runtime.journal.keys(rotating.PREFIX) == []
            else:
                await runtime.execute(Command("c-1", "erase_subject", {"subject_id": subject}))
            walk(bench, advertise, {1: -90, 2: -58}, 20)
            bench.clock.advance(60)
            runtime.step()
            assert len(await told(bench, ZoneEntered)) == 1
            assert await told(bench, ZoneLeft) == []
            if how == "platform":
                await bench.app.state.desk.offers.keep_promises(bench.clock.now())
            assert (await told(bench, ConsentWithdrawn))[-1]["subject_id"] == subject
            assert runtime.journal.keys(rotating.PREFIX) == []
            assert not [key for key in runtime.journal.keys("") if subject in key]
            assert (await phone.post("/v1/shopper/check-in", json={"method": "app"})).status_code == 404

    run(main, site=STORE)


def test_a_restart_follows_whom_it_followed_and_midnight_ends_it() -> None:
    async def main(bench: Bench) -> None:
        runtime = bench.services.runtime
        async with bench.client(None) as phone:
            first = await check_in(phone, "zones")
            runtime.engine.parts.proximity.follow({})  # as after a start
            bench.app.state.desk = Desk(bench.services)
            await bench.app.state.desk.offers.keep_promises(bench.clock.now())
            walk(bench, first["advertise"], {1: -60})
            assert len(await told(bench, ZoneEntered)) == 1
            bench.clock.now_us += first["advertise"]["until_us"] - bench.clock.now().wall_us + 1_000_000
            await bench.app.state.desk.offers.keep_promises(bench.clock.now())
            assert runtime.journal.keys(rotating.PREFIX) == []
            walk(bench, first["advertise"], {1: -60})
            assert len(await told(bench, ZoneEntered)) == 1
            second = await again(phone)
            assert second["subject_id"] != first["subject_id"]
            assert second["advertise"]["key"] != first["advertise"]["key"]
            walk(bench, second["advertise"], {1: -60})
            assert [one["beacon"] for one in await told(bench, ZoneEntered)] == [
                first["subject_id"],
                second["subject_id"],
            ]

    run(main, site=STORE)


def test_no_key_and_no_identifier_is_ever_written() -> None:
    async def main(bench: Bench) -> None:
        async with bench.client(None) as phone:
            advertise = (await check_in(phone, "zones"))["advertise"]
            walk(bench, advertise, {1: -60})
            key = bytes.fromhex(advertise["key"])
            sent = [adverts.ephemeral_id(key, 9, unix_s(bench) + shift).hex() for shift in (-512, 0, 512)]
        await bench.services.runtime.journal.flush()
        rows = [json.dumps(row.fields) for row in bench.services.runtime.journal.read(1, 1000)]
        kept = [
            json.dumps(bench.services.runtime.journal.get(name)) for name in bench.services.runtime.journal.keys("")
        ]
        assert any("ZoneEntered" in str(row.type) for row in bench.services.runtime.journal.read(1, 1000))
        for secret in (advertise["key"], *sent, "5A:11:22:33:44:55"):
            assert not [text for text in rows + kept if secret in text]
        assert len(await told(bench, CheckIn)) == 1

    run(main, site=STORE)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_javascript_client_makes_the_same_identifiers_and_ios_sends_them_as_an_ibeacon(tmp_path: Path) -> None:
    (tmp_path / "client.mjs").write_text(CLIENT.read_text(encoding="utf-8"), encoding="utf-8")

    async def main(bench: Bench) -> None:
        async with bench.client(None) as phone:
            answer = await check_in(phone, "zones")
            advertise, now_s = answer["advertise"], unix_s(bench)
            script = f"""
import {{ rotatingId }} from "{tmp_path}/client.mjs";
const advertise = {json.dumps(advertise)};
const late = await rotatingId(advertise, advertise.until_us / 1e6 + 1);
console.log(JSON.stringify([await rotatingId(advertise, {now_s}), late]));
"""
            ran = await asyncio.to_thread(
                subprocess.run,
                ["node", "--input-type=module", "-e", script],
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, ran.stderr
            made, late = json.loads(ran.stdout)
            assert late is None
            assert made["eid"] == adverts.ephemeral_id(bytes.fromhex(advertise["key"]), 9, now_s).hex()
            assert 0 < made["untilS"] - now_s <= 512
            runtime = bench.services.runtime
            ear = Hearing("e-1", runtime.emit, lambda _: None, resolver_of(()), {})
            for _ in range(30):
                bench.clock.advance(0.2)
                ear.advert(adverts.ibeacon(UUID(made["uuid"]), 0, 0), "5A:11:22:33:44:55", -60, bench.clock.now_us)
                runtime.step()
            assert [one["beacon"] for one in await told(bench, ZoneEntered)] == [answer["subject_id"]]

    run(main, site=STORE)


def test_so_many_customers_cost_little() -> None:
    """2,000 present: the whole table anew within a second of CPU; one more is not followed."""

    async def main(bench: Bench) -> None:
        async with bench.client(None) as phone:
            await check_in(phone, "zones")
        ids, proximity = bench.app.state.desk.offers, bench.services.runtime.engine.parts.proximity
        now = bench.clock.now()
        day = local_day(now.wall_us, ZoneInfo("Asia/Tokyo"))
        for _ in range(rotating.MAX_PRESENT - 1):
            _, one = ids.consents.give(["zones"], "1", [], now.wall_us)
            assert ids._rotating.grant(one, day, now)
        assert ids._rotating.grant(ids.consents.give(["zones"], "1", [], 0)[1], day, now) is None
        began_s = time.process_time()
        ids._rotating.refresh(day, now)
        assert time.process_time() - began_s < 1.0
        assert len(set(proximity._visitors.values())) == rotating.MAX_PRESENT
        assert len(proximity._visitors) == rotating.MAX_PRESENT * 6

    run(main, site=STORE)
