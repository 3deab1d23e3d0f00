"""Editing together, swapping a gateway, recordings, pages, and people who go away in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from devices.transport.recording import FROM_DEVICE, read_recording
from edge.api.job_routes import _progress
from edge.core.observation import CellSamples, DeviceState, DeviceStatus
from edge.core.ports import Command
from edge.core.shelf import Calibration
from edge.recordings import RecordingRefused, Recordings
from tests.unit.api_support import RICE, SITE, TEA, Bench, run

FIRST_SITE = json.loads((Path(__file__).parents[2] / "deploy" / "first-site.json").read_text(encoding="utf-8"))
MCU = {"kind": "shelf_mcu", "settings": {"link": "tcp:127.0.0.1:9"}}


async def finished(client: httpx.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    async with asyncio.timeout(90):
        while job["state"] == "running":
            await asyncio.sleep(0.02)
            job = (await client.get(f"/v1/jobs/{job['id']}")).json()
    return job


# --- two at once ------------------------------------------------------------------------------------------------------


def test_of_two_who_edit_the_same_version_one_wins_and_the_other_sees_both_versions() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("technician") as one, bench.client("admin") as two:
            await one.put("/v1/devices/mcu-1", json=MCU)
            etag = (await two.get("/v1/devices/mcu-1")).headers["etag"]
            bodies = [{"kind": "shelf_mcu", "settings": {"link": f"tcp:127.0.0.1:{port}"}} for port in (10, 11)]
            both = (
                client.put("/v1/devices/mcu-1", json=body, headers={"If-Match": etag})
                for client, body in zip((one, two), bodies, strict=True)
            )
            answers = sorted(await asyncio.gather(*both), key=lambda answer: answer.status_code)
            assert [answer.status_code for answer in answers] == [200, 409]
            won, lost = answers[0].json(), answers[1].json()
            assert lost["cause"] == "edit_conflict"
            assert lost["current"]["settings"] == won["settings"]
            assert lost["yours"]["settings"] != won["settings"]
            again = await two.put("/v1/devices/mcu-1", json=bodies[1], headers={"If-Match": lost["etag"]})
            assert again.status_code == 200

            planogram = await one.get("/v1/planogram")
            documents = [planogram.json() | {"zones": [*SITE["zones"], {"id": f"z-{name}"}]} for name in ("a", "b")]
            match = {"If-Match": planogram.headers["etag"]}
            both = (c.put("/v1/planogram", json=d, headers=match) for c, d in zip((one, two), documents, strict=True))
            answers = sorted(await asyncio.gather(*both), key=lambda answer: answer.status_code)
            assert [answer.status_code for answer in answers] == [200, 409]
            lost = answers[1].json()
            assert [len(lost[side]["zones"]) for side in ("current", "yours")] == [3, 3]
            assert lost["current"]["zones"] != lost["yours"]["zones"]

            place = await one.get("/v1/devices/mcu-1/place")
            cells = {"cells": {"0": {"lane": "lane-1"}, "1": {"shelf": "shelf-2"}}}
            match = {"If-Match": place.headers["etag"]}
            assert (await one.put("/v1/devices/mcu-1/place", json=cells, headers=match)).status_code == 200
            stale = await two.put("/v1/devices/mcu-1/place", json=cells, headers=match)
            assert (stale.status_code, stale.json()["cause"]) == (409, "edit_conflict")

    run(test)


def test_a_repeated_key_is_the_same_job_and_the_same_hold() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("technician") as client, bench.client("admin") as other:
            key = {"Idempotency-Key": "press-1"}
            first = (await client.post("/v1/discovery", json={}, headers=key)).json()
            assert (await client.post("/v1/discovery", json={}, headers=key)).json()["id"] == first["id"]
            assert (await client.post("/v1/discovery", json={})).json()["id"] != first["id"]
            assert (await other.post("/v1/discovery", json={}, headers=key)).json()["id"] != first["id"]
            await client.post("/v1/recounts", json={"shelf": "shelf-1", "gtin": TEA, "quantity": 5})
            hold = {"hold": "h-1", "gtin": TEA, "quantity": 2}
            answers = [await client.post("/v1/holds", json=hold, headers=key) for _ in range(3)]
            assert {answer.status_code for answer in answers} == {201}
            assert len((await client.get("/v1/holds")).json()) == 1
            without = await client.post("/v1/holds", json=hold)
            assert (without.status_code, without.json()["cause"]) == (409, "known_hold")

    run(test)


# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/catalogue", "/v1/stock", "/v1/holds", "/v1/promotions", "/v1/lanes"])
def test_a_list_comes_in_pages_that_miss_nothing_and_304_while_nothing_changed(path: str) -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("technician") as client:
            await _fill(bench, client)
            whole = await client.get(path)
            assert len(whole.json()) == 7, whole.text
            rows, place = [], f"{path}?limit=3"
            while place:
                answer = await client.get(place)
                rows += answer.json()
                place = answer.links.get("next", {}).get("url", "")
            assert rows == whole.json()
            assert (await client.get(path, headers={"If-None-Match": whole.headers["etag"]})).status_code == 304
            assert (await client.get(f"{path}?limit=0")).status_code == 422
            assert (await client.get(f"{path}?after=~~~")).json() == []

    run(test)


async def _fill(bench: Bench, client: httpx.AsyncClient) -> None:
    """Seven of everything that is listed."""
    gtins = [TEA, RICE, *("04569951000027", "04569951000034", "04569951000041", "04569951000058", "04569951000065")]
    products = [*SITE["products"], *({"gtin": gtin, "name": gtin} for gtin in gtins[2:])]
    lanes = [SITE["lanes"][0] | {"id": f"lane-{n}", "cells": [{"device": "mcu-1", "cell": n}]} for n in range(7)]
    answer = await client.put("/v1/planogram", json=SITE | {"products": products, "lanes": lanes})
    assert answer.status_code == 200, answer.text
    await client.post("/v1/recounts", json={"shelf": "shelf-1", "gtin": TEA, "quantity": 50})
    for number in range(7):
        hold = await client.post("/v1/holds", json={"hold": f"h-{number}", "gtin": TEA})
        assert hold.status_code == 201, hold.text
    rows = [{"id": f"p-{n}", "zone": "z-1", "gtins": [TEA], "title": "Tea"} for n in range(7)]
    assert (await client.put("/v1/promotions", json=rows)).status_code == 200


def test_labels_say_what_their_codes_lead_to() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("technician") as client:
            await client.put("/v1/devices/mcu-1", json=MCU)
            rows = (await client.get("/v1/labels")).json()
            assert [(row["kind"], row["id"]) for row in rows] == [
                ("gateway", "s-1"),
                ("device", "mcu-1"),
                ("shelf", "shelf-1"),
                ("shelf", "shelf-2"),
                ("zone", "z-1"),
                ("zone", "z-2"),
            ]
            assert rows[1]["where"] == "shelf-1"
            for row in rows:
                assert (await client.get(row["code"], follow_redirects=True)).status_code == 200, row

    run(test)


# --- a swapped gateway ------------------------------------------------------------------------------------------------


def test_a_configuration_makes_a_fresh_gateway_the_one_that_broke() -> None:
    exported: dict[str, Any] = {}

    async def broken(bench: Bench) -> None:
        async with bench.client("technician") as client:
            await client.put("/v1/devices/mcu-1", json=MCU)
            cells = [{"device": "mcu-1", "cell": 0, "zero_counts": 812.5, "counts_per_g": 41.25, "temperature_c": 21.5}]
            await bench.services.runtime.execute(Command("c", "set_calibrations", {"cells": cells}))
            policy = {"policy": "min_max", "minimum": 2, "maximum": 9}
            assert (await client.put(f"/v1/reorder/{TEA}", json=policy)).status_code == 200
            await client.put("/v1/promotions", json=[{"id": "p-1", "zone": "z-1", "gtins": [TEA], "title": "Tea"}])
            exported.update((await client.get("/v1/configuration")).json())
            assert exported["calibrations"] == cells
            assert len(exported["reorder"]) == len(exported["promotions"]) == 1

    async def fresh(bench: Bench) -> None:
        assert bench.services.site.store.id == "new-store"
        async with bench.client("technician") as client:
            dry = (await client.put("/v1/configuration?dry_run=true", json=exported)).json()
            assert (dry["applied"], dry["restarting"], bench.restarts) == (False, False, [])
            assert {row["section"] for row in dry["changes"]} >= {
                *("devices", "calibrations", "reorder", "promotions", "planogram.store", "planogram.products")
            }
            assert (await client.get("/v1/configuration")).json()["devices"] == []
            answer = (await client.put("/v1/configuration", json=exported)).json()
            assert (answer["devices"], answer["applied"], answer["restarting"]) == (1, True, True)
            assert len(bench.restarts) == 1
            assert (await client.get("/v1/configuration")).json() == exported
            assert bench.services.runtime.engine.parts.shelves.calibrations() == {
                ("mcu-1", 0): Calibration(812.5, 41.25, 21.5)
            }
            again = (await client.put("/v1/configuration", json=exported)).json()
            assert (again["changes"], again["restarting"]) == ([], False)
            actions = [row["action"] for row in (await client.get("/v1/audit")).json()]
            assert "load_configuration" in actions

    run(broken)
    run(fresh, site=FIRST_SITE)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": 2}, "version"),
        ({"devices": [{"id": "x", "kind": "toaster", "settings": {}}]}, "toaster"),
        ({"devices": [{"id": "x", "kind": "shelf_mcu", "settings": {"lnk": "y"}}]}, "lnk"),
        ({"devices": [{"kind": "shelf_mcu"}]}, "devices[0]"),
        ({"planogram": {"store": {}}}, "store"),
        ({"planogram": {}}, "store"),
        ({"planogram": SITE | {"store": SITE["store"] | {"id": "s-2"}}}, "s-2"),
        ({"nonsense": 1}, ""),
    ],
)
def test_a_wrong_configuration_changes_nothing_and_is_named(change: dict[str, Any], named: str) -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("technician") as client:
            before = (await client.get("/v1/configuration")).json()
            wrong = before | {"devices": [{"id": "mcu-1", **MCU}]} | change
            answer = await client.put("/v1/configuration", json=wrong)
            if named:
                assert answer.status_code == 422, answer.text
                assert named in answer.json()["detail"]
                assert (await client.get("/v1/configuration")).json() == before
            assert bench.restarts == []

    run(test)


@pytest.mark.parametrize(
    "cells",
    [
        None,
        [{"device": "mcu-1", "cell": 0}],
        [{"device": "mcu-1", "cell": 0, "zero_counts": "x", "counts_per_g": 1.0}],
        [{"device": "mcu-1", "cell": 0, "zero_counts": float("inf"), "counts_per_g": 1.0}],
    ],
)
def test_calibrations_that_cannot_be_are_refused(cells: Any) -> None:
    async def test(bench: Bench) -> None:
        result = await bench.services.runtime.execute(Command("c", "set_calibrations", {"cells": cells}))
        assert (result.status, result.reason) == ("rejected", "arguments")
        assert bench.services.runtime.engine.parts.shelves.calibrations() == {}

    run(test)


# --- unplugged, gone, too large ---------------------------------------------------------------------------------------


def test_a_device_that_is_unplugged_while_taring_is_named_and_its_last_counts_are_not_used() -> None:
    async def test(bench: Bench) -> None:
        runtime = bench.services.runtime

        def sampled(seconds: float) -> None:
            for _ in range(round(seconds * 10)):
                bench.clock.advance(0.1)
                counts = np.full((1, 1), 8_000, dtype=np.int32)
                now_us = bench.clock.now_us
                runtime.emit(CellSamples("mcu-1", now_us, np.array([now_us], dtype=np.int64), counts))
                runtime.step()

        async with bench.client("technician") as client:
            runtime.emit(DeviceStatus("mcu-1", bench.clock.now_us, DeviceState.ONLINE))
            sampled(10)
            tared = await client.post("/v1/lanes/lane-1/tare")
            assert tared.status_code == 200, tared.text
            sampled(10)
            runtime.emit(DeviceStatus("mcu-1", bench.clock.now_us, DeviceState.OFFLINE, "LinkLost", "cable pulled"))
            for answer in (
                await client.post("/v1/lanes/lane-1/tare"),
                await client.post("/v1/lanes/lane-1/span", json={"mass_g": 500}),
            ):
                assert (answer.status_code, answer.json()["cause"]) == (503, "link_lost")
                assert "mcu-1" in answer.json()["detail"]
                assert "cable pulled" in answer.json()["detail"]
                assert answer.json()["hint"]
            sampled(10)
            runtime.emit(DeviceStatus("mcu-1", bench.clock.now_us, DeviceState.ONLINE))
            assert (await client.post("/v1/lanes/lane-1/tare")).status_code == 200

    run(test)


def test_a_browser_that_goes_away_leaves_its_job_running_and_finds_it_again() -> None:
    async def test(bench: Bench) -> None:
        go_on = asyncio.Event()

        async def work(tell: Any) -> str:
            tell(0.5, "half")
            await go_on.wait()
            return "whole"

        async with bench.client("technician") as client:
            job = bench.services.jobs.start("test", "x", "me", work)
            stream = _progress(job, "en")
            assert "running" in await anext(stream)
            await stream.aclose()  # what the server does when the connection breaks
            go_on.set()
            done = await finished(client, job.as_json())
            assert (done["state"], done["result"]) == ("done", "whole")
            again = await client.get(f"/v1/jobs/{job.id}/live", headers={"Last-Event-ID": "1"})
            assert json.loads(again.text.split("data: ")[-1])["result"] == "whole"

    run(test)


def test_whole_documents_of_technicians_may_be_larger_than_what_anybody_else_sends() -> None:
    async def test(bench: Bench) -> None:
        padding = {"padding": "x" * (2 << 20)}
        async with bench.client("technician") as technician, bench.client("staff") as staff:
            assert (await technician.put("/v1/planogram", json=SITE | padding)).status_code == 422
            assert (await staff.put("/v1/planogram", json=SITE | padding)).status_code == 413
            assert (await technician.put("/v1/promotions", json=[padding])).status_code == 413
            huge = {"padding": "x" * (9 << 20)}
            assert (await technician.put("/v1/planogram", json=huge)).status_code == 413

            async def chunks() -> Any:
                for _ in range(3):
                    yield b" " * (1 << 19)

            assert (await staff.put("/v1/promotions", content=chunks())).status_code == 413

    run(test)


# --- recordings -------------------------------------------------------------------------------------------------------


def test_a_link_is_recorded_as_a_job_and_plays_again() -> None:
    async def test(bench: Bench) -> None:
        talks: list[asyncio.Task[None] | None] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            talks.append(asyncio.current_task())
            with contextlib.suppress(ConnectionError):
                writer.write(b"not a reader's answer")
                while await reader.read(1_000):
                    pass
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        link = f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with bench.client("technician") as client, bench.client("viewer") as viewer:
            await client.put("/v1/devices/mcu-1", json={"kind": "shelf_mcu", "settings": {"link": link}})
            job = (await client.post("/v1/devices/mcu-1/record", json={"seconds": 600})).json()
            async with asyncio.timeout(90):
                while int(job["step"].partition(" bytes")[0] or 0) < 20 if "bytes" in job["step"] else True:
                    await asyncio.sleep(0.05)
                    job = (await client.get(f"/v1/jobs/{job['id']}")).json()
            twice = await client.post("/v1/devices/mcu-1/record", json={})
            assert (twice.status_code, "being recorded" in twice.text) == (409, True)
            await client.delete(f"/v1/jobs/{job['id']}")  # stopped early: what was recorded is kept
            assert (await finished(client, job))["state"] == "cancelled"
            (row,) = (await viewer.get("/v1/recordings")).json()
            assert (row["name"], row["device"]) == ("mcu-1.1.tap", "mcu-1")
            assert row["bytes"] > 20
            path = bench.services.recordings.path(row["name"])
            assert path is not None
            assert b"reader's answer" in b"".join(r.data for r in read_recording(path) if r.direction == FROM_DEVICE)
            assert (await viewer.get(f"/v1/recordings/{row['name']}")).status_code == 403
            assert (await client.get(f"/v1/recordings/{row['name']}")).content == path.read_bytes()
            other = await client.post(f"/v1/recordings/{row['name']}/replay", json={})
            assert (other.status_code, other.json()["cause"]) == (422, "not_replayed")
            for name in ("..%2fjournal.db", "mcu-1.2.tap", "x.1.tap"):
                assert (await client.get(f"/v1/recordings/{name}")).status_code in (404, 422)
            cancelled = (await client.post("/v1/devices/mcu-1/record", json={"seconds": 600})).json()
            await client.delete(f"/v1/jobs/{cancelled['id']}")
            assert (await finished(client, cancelled))["state"] == "cancelled"
            closed = {"kind": "shelf_mcu", "settings": {"link": "tcp:127.0.0.1:9"}}
            await client.put("/v1/devices/mcu-2", json=closed)
            silent = await finished(
                client, (await client.post("/v1/devices/mcu-2/record", json={"seconds": 0.1})).json()
            )
            assert "did not open" in silent["error"]["detail"]
            assert len((await viewer.get("/v1/recordings")).json()) == 1
            assert (await client.delete(f"/v1/recordings/{row['name']}")).status_code == 200
            assert (await viewer.get("/v1/recordings")).json() == []
            await client.put("/v1/devices/ear", json={"kind": "beacon_ble", "settings": {"adapter": "hci9"}})
            phones = await client.post("/v1/devices/ear/record", json={})
            assert (phones.status_code, phones.json()["cause"]) == (409, "recording_refused")
            assert "name nobody" in phones.json()["detail"]
            await client.delete("/v1/devices/mcu-1")
        server.close()
        await asyncio.gather(*(task for task in talks if task is not None))

    run(test)


def test_a_recording_ends_by_itself_and_ten_are_kept(tmp_path: Path) -> None:
    taps: list[Path | None] = []

    class Tapping:
        async def tap(self, device_id: str, path: Path | None, max_bytes: int = 0) -> None:
            taps.append(path)
            if path is not None:
                path.write_bytes(b"x" * 30)

    async def main() -> None:
        recordings = Recordings(tmp_path, Tapping())
        for number in range(1, 11):
            made = await recordings.record("r-1", "rfid_llrp", 0.001, lambda share, step: None)
            assert made == {"name": f"r-1.{number}.tap", "device": "r-1", "bytes": 30}
        assert taps[-1] is None
        with pytest.raises(RecordingRefused, match="10 are kept"):
            recordings.new("r-1", "rfid_llrp")

    asyncio.run(main())


def test_a_readers_recording_is_replayed_through_another_planogram_and_profile() -> None:
    async def test(bench: Bench) -> None:
        recordings = bench.services.recordings
        recordings.folder.mkdir(exist_ok=True)
        (recordings.folder / "reader-1.7.tap").write_bytes(b"SSTAP\x01\x00\x00")  # a link that was silent
        async with bench.client("technician") as client:
            wrong = await client.post("/v1/recordings/reader-1.7.tap/replay", json={"planogram": {"store": {}}})
            assert wrong.status_code == 422
            for body, state in (({"profile": "window", "planogram": SITE}, "done"), ({"profile": "moon"}, "failed")):
                job = await client.post("/v1/recordings/reader-1.7.tap/replay", json=body)
                assert job.status_code == 202, job.text
                done = await finished(client, job.json())
                assert done["state"] == state, done
            assert "moon" in done["error"]["detail"]
            assert "learned, window" in done["error"]["detail"]
        assert recordings.new("reader-1", "rfid_llrp").name == "reader-1.8.tap"

    run(test)
