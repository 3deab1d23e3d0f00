"""Set-up step by step: what is done is judged from what is so; joining has a window of time; what is measured is shown."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from edge.api import setting_up
from edge.api.joining import join
from edge.api.reading_routes import readings_of
from edge.core.observation import DeviceState, DeviceStatus
from edge.core.plain import PlainError
from edge.core.shelf import Calibration
from tests.unit.api_support import Bench, run
from tests.unit.test_console_pages import WITH_DOOR, furnish


def steps(bench: Bench, device: str) -> dict[str, bool]:
    return dict(setting_up.standing(bench.services, device)["steps"])


def now_step(bench: Bench, device: str) -> str:
    """The step that comes next, of a device that is there (nobody plays it here: its driver keeps trying)."""
    bench.services.runtime.emit(DeviceStatus(device, bench.clock.now_us, DeviceState.ONLINE))
    bench.services.runtime.step()
    return str(setting_up.standing(bench.services, device)["now"])


def calibrate(bench: Bench, **cells: Any) -> None:
    bench.services.runtime.engine.parts.shelves._calibrations.update({("mcu-1", 0): Calibration(**cells)})


def test_steps_follow_what_is_so_and_go_on_where_another_phone_stopped() -> None:
    async def test(bench: Bench) -> None:
        await furnish(bench)
        assert steps(bench, "mcu-1") == {
            "connected": False, "identified": False, "placed_step": True, "tared": False, "spanned": False, "tested": False,
        }  # fmt: skip
        async with bench.client("technician") as client:
            page = (await client.get("/set-up/mcu-1", headers={"Accept-Language": "ja"})).text
            assert "機器の接続を待っています" in page
            assert now_step(bench, "mcu-1") == "identified"
            await bench.services.access.audit.add("mia", "identify_device", "mcu-1")
            assert now_step(bench, "mcu-1") == "tared"
            page = (await client.get("/set-up/mcu-1", headers={"Accept-Language": "ja"})).text
            assert "ゼロ点を設定" in page
            assert 'data-api="POST /v1/lanes/lane-1/tare"' in page
            calibrate(bench, zero_counts=1.0, counts_per_g=0.0)
            assert now_step(bench, "mcu-1") == "spanned"
            assert 'name="units"' in (await client.get("/set-up/mcu-1")).text  # one product: by units as well
            calibrate(bench, zero_counts=1.0, counts_per_g=4.0)
            assert now_step(bench, "mcu-1") == "tested"
            assert setting_up.standing(bench.services, "mcu-1")["ready"]
            await bench.services.access.audit.add("mia", "test_device", "mcu-1", "3 events")
            assert now_step(bench, "mcu-1") == ""
            done = (await client.get("/set-up/mcu-1")).text
            assert "mcu-1 is set up." in done
            assert 'href="/set-up/door-1"' in done or 'href="/set-up/ear-1"' in done  # the next one that waits
            record = (await client.get("/record")).text
            assert "3 events" in record
            # New hardware is told apart and tested anew; place and calibration belong to the position.
            await bench.services.access.audit.add("mia", "replace_device", "mcu-1")
            assert steps(bench, "mcu-1") | {"connected": True} == {
                "connected": True, "identified": False, "placed_step": True, "tared": True, "spanned": True, "tested": False,
            }  # fmt: skip

    run(test, site=WITH_DOOR)


def test_each_kind_has_its_own_steps_and_the_next_free_name() -> None:
    async def test(bench: Bench) -> None:
        await furnish(bench)
        assert list(steps(bench, "reader-1")) == ["connected", "placed_step", "tested"]  # readers have no light of ours
        assert list(steps(bench, "door-1")) == ["connected", "identified", "placed_step", "walked", "tested"]
        free = setting_up.free_names(bench.services)
        assert (free["rfid_llrp"], free["door_array"], free["shelf_mcu"]) == ("reader-2", "door-2", "shelf-mcu-1")
        async with bench.client("technician") as client:
            assert (await client.get("/set-up/none-9")).status_code == 404
        async with bench.client("staff") as client:
            assert (await client.get("/set-up/mcu-1")).status_code == 403

    run(test, site=WITH_DOOR)


def test_the_window_for_joining_counts_down_and_shows_what_comes() -> None:
    found: list[list[dict[str, Any]]] = [[], [{"moniker": "serial:a"}], [{"moniker": "serial:b"}]]
    told: list[tuple[int | None, int]] = []

    async def look() -> list[dict[str, Any]]:
        return found.pop(0) if found else []

    def tell(share: float, step: str, so_far: Any = None, left_s: int | None = None) -> None:
        told.append((left_s, len(so_far)))

    async def main(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        monkeypatch.setattr("edge.api.joining.AGAIN_S", 0.4)
        return await join(look, 3, tell, lambda rows: [row | {"position": ""} for row in rows])

    with pytest.MonkeyPatch.context() as monkeypatch:
        rows = asyncio.run(main(monkeypatch))
    assert [row["moniker"] for row in rows] == ["serial:a", "serial:b"]  # what was seen once stays
    assert [left for left, _ in told] == [3, 2, 1]
    assert told[0][1] == 0
    assert told[-1][1] == 2


def test_joining_is_a_job_that_is_found_again_stopped_and_refuses_what_is_no_network() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("technician") as client:
            job = (await client.post("/v1/discovery", json={"seconds": 60})).json()
            await asyncio.sleep(0.1)
            now = (await client.get(f"/v1/jobs/{job['id']}")).json()
            assert (now["state"], now["left_s"]) == ("running", 60)
            page = (await client.get("/set-up")).text  # from any phone
            assert f'data-job="{job["id"]}"' in page
            assert (await client.delete(f"/v1/jobs/{job['id']}")).status_code == 200
            await asyncio.sleep(0.05)
            assert (await client.get(f"/v1/jobs/{job['id']}")).json()["state"] == "cancelled"
            assert 'data-job=""' in (await client.get("/set-up")).text
            assert (await client.post("/v1/discovery", json={"seconds": 601})).status_code == 422

    run(test)


def test_a_look_that_fails_ends_the_window() -> None:
    async def look() -> list[dict[str, Any]]:
        raise PlainError("networks[0]", "x", "a network")

    async def main() -> None:
        with pytest.raises(PlainError):
            await join(look, 30, lambda *_: None, lambda rows: rows)

    asyncio.run(asyncio.wait_for(main(), 5))


def test_what_a_device_measures_is_shown_while_somebody_looks() -> None:
    async def test(bench: Bench) -> None:
        await furnish(bench)
        async with bench.client("technician") as client:
            row = (await client.get("/v1/devices/mcu-1/readings")).json()
            assert row == {
                "state": "offline", "lanes": [{"lane": "lane-1", "level_g": None, "units": None}], "cells": [],
                "counted": "", "total": 0,
            }  # fmt: skip
            assert (await client.get("/v1/devices/none-9/readings")).status_code == 404
        async with bench.client("staff") as client:
            assert (await client.get("/v1/devices/mcu-1/readings")).status_code == 403
        bench.services.health.devices["reader-1"].counters["tags_in"] = 12
        assert readings_of(bench.services, "reader-1")["total"] == 12
        assert json.dumps(readings_of(bench.services, "reader-1"))

    run(test, site=WITH_DOOR)
