"""A technician at a door: heat view, ten walks, walk test, recording; the model that counts, and its update."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.api.door_routes import heat_events
from edge.core.fact import kind_of
from edge.core.instant import US_PER_S
from edge.core.observation import DeviceState, DeviceStatus, Frames
from edge.doors import MODELS, Doors
from models.manifest import MANIFEST
from models.probe import known_scene
from models.update import install
from tests.unit.api_support import SITE, Bench, gateway
from tests.worlds.door import Sensor, make_walk

DOOR = "door-1"
GRIDEYE = Sensor("grideye", 8, 8, 30, 30, 20, 25, "centi_celsius", 0.5)
PATIENCE_S = 60.0


class AtTheDoor:
    """A gateway with one door sensor, whose frames the test makes; the gateway's clock goes with them."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.here, self.t_us = bench, bench.services, bench.clock.now_us
        self.runtime = bench.services.runtime

    @property
    def state(self) -> tuple[str, str]:
        device = self.here.health.devices[DOOR]
        return device.state.value, device.cause

    def come_online(self) -> None:
        """As a driver says it, whatever was said before."""
        self.runtime.emit(DeviceStatus(DOOR, self.runtime.clock_us(), DeviceState.ONLINE))
        self.runtime.step()

    async def show(self, frames: NDArray[np.int16], steps_us: NDArray[np.int64]) -> None:
        """Count these frames, ten at a time."""
        begun_us = self.t_us
        for at in range(0, len(frames), 10):
            t_us = begun_us + steps_us[at : at + 10]
            self.bench.clock.now_us = int(t_us[-1])
            some = Frames(DOOR, int(t_us[-1]), t_us, frames[at : at + 10])
            for crossing in await self.here.doors.submit(some):
                self.runtime.emit(crossing)
            self.runtime.step()
            await asyncio.sleep(0)  # who watches takes its turn
        self.t_us = begun_us + int(steps_us[-1]) + 100_000
        await self.runtime.journal.flush()

    async def watched(self) -> None:
        """Until somebody's work at the door looks at the frames."""
        await until(lambda: bool(self.here.doors._watchers.get(DOOR)))

    async def ended(self, client: Any, job: dict[str, Any]) -> dict[str, Any]:
        await until(lambda: self.here.jobs.get(job["id"]).state != "running")
        return (await client.get(f"/v1/jobs/{job['id']}")).json()

    def people(self) -> list[int]:
        rows = self.runtime.journal.read(1, 10_000)
        return [row.fields["people"] for row in rows if kind_of(row.type) == "footfall.Occupancy"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.002)


def at_the_door(test: Callable[[AtTheDoor, Any], Awaitable[None]], inward: str = "-x") -> None:
    """Run a test with a technician's client at the door of a fresh gateway."""

    async def main() -> None:
        site = SITE | {"doors": [{"device": DOOR, "inward": inward}]}
        async with gateway(site=site) as bench, bench.client("technician") as client:
            body = {"kind": "door_array", "settings": {"link": "tcp:127.0.0.1:9"}}
            assert (await client.put(f"/v1/devices/{DOOR}", json=body)).status_code == 200
            await bench.services.installation._supervisor.stop(DOOR)  # the test is the driver
            door = AtTheDoor(bench)
            door.come_online()
            await test(door, client)

    asyncio.run(main())


def test_ten_walks_tell_the_way_in_and_counting_goes_on_with_it() -> None:
    async def test(door: AtTheDoor, client: Any) -> None:
        few = await client.get(f"/v1/doors/{DOOR}/mount")
        assert few.status_code == 409
        assert "0 walks" in few.json()["detail"]
        for seed in range(10):
            job = (await client.post(f"/v1/doors/{DOOR}/walks", json={"seconds": 13})).json()
            await door.watched()
            busy = (await client.post(f"/v1/doors/{DOOR}/walks", json={})).json()
            await door.show(*make_walk(300 + seed, GRIDEYE, True))
            done = await door.ended(client, job)
            assert done["result"] == {"walks": seed + 1}, done
            assert (await door.ended(client, busy))["error"]["cause"] == "WalkError"
        assert (await client.get("/v1/doors")).json()[0]["walks"] == 10
        report = (await client.get(f"/v1/doors/{DOOR}/mount", params={"half_field_deg": 30})).json()
        assert (report["inward"], report["current"], report["causes"]) == ("+x", "-x", [])
        assert 2.2 < report["height_m"] < 4.5
        assert door.people()[-1] == 0  # as the sensor hung, who came in was counted as going out
        turned = await client.put(f"/v1/doors/{DOOR}/inward", json={"inward": "+x"})
        assert turned.json() == {"device": DOOR, "inward": "+x"}
        assert door.here.site.doors[0].inward == "+x"
        assert (await client.get("/v1/doors")).json()[0]["walks"] == 0
        before = len(door.people())
        await door.show(*make_walk(77, GRIDEYE, True))
        await door.show(*make_walk(78, GRIDEYE, True))
        assert len(door.people()) - before >= 1
        assert door.people()[-1] >= 1

    at_the_door(test)


def test_a_walk_test_is_scored_and_audited() -> None:
    async def test(door: AtTheDoor, client: Any) -> None:
        pressed = f"/v1/doors/{DOOR}/walk-test/walked"
        assert (await client.post(pressed, json={"direction": "in"})).status_code == 409
        job = (await client.post(f"/v1/doors/{DOOR}/walk-test", json={"seconds": 27})).json()
        await door.watched()
        for way in ("in", "out"):
            frames, steps_us = make_walk(5, GRIDEYE, way == "in")
            await door.show(frames[:81], steps_us[:81])
            assert (await client.post(pressed, json={"direction": way})).json()["walked"] >= 1
            await door.show(frames[81:], steps_us[81:] - steps_us[81])
        empty, steps_us = make_walk(5, GRIDEYE, True)
        await door.show(empty[:40], steps_us[:40])
        done = await door.ended(client, job)
        assert done["result"] == {"right": 2, "missed": 0, "false": 0, "score": 1.0, "passed": True}, done
        rows = door.here.access.audit.rows()
        assert ("walk_test", "2 right, 0 missed, 0 false") in [(row["action"], row["detail"]) for row in rows]

    at_the_door(test, inward="+x")


def test_a_recording_needs_a_notice_ends_by_itself_and_is_given_out_once() -> None:
    async def test(door: AtTheDoor, client: Any) -> None:
        place = f"/v1/doors/{DOOR}/recording"
        refused = await client.post(place, json={"seconds": 5})
        assert (refused.status_code, refused.json()["cause"]) == (422, "no_notice")
        assert (await client.post(place, json={"seconds": 601, "notice_shown": True})).status_code == 422
        assert (await client.get(place)).status_code == 409
        job = (await client.post(place, json={"seconds": 5, "notice_shown": True})).json()
        await door.watched()
        frames, steps_us = make_walk(9, GRIDEYE, True)
        await door.show(frames, steps_us)
        assert (await door.ended(client, job))["result"] == {"frames": 50}
        assert (await client.get("/v1/doors")).json()[0]["recorded_frames"] == 50
        answer = await client.get(place)
        kept = np.load(io.BytesIO(answer.content))
        assert np.array_equal(kept["centi_celsius"], frames[:50])
        assert (await client.get(place)).status_code == 409
        actions = [row["action"] for row in door.here.access.audit.rows()]
        assert actions[:2] == ["take_recording", "record_door"]

    at_the_door(test)


def test_the_heat_view_shows_the_newest_frame_and_keeps_none() -> None:
    async def test(door: AtTheDoor, client: Any) -> None:
        assert (await client.get("/v1/doors/mcu-9/heat/live")).status_code == 404
        events = heat_events(door.here, DOOR, "")
        first = asyncio.ensure_future(anext(events))
        await door.watched()
        frames, steps_us = make_walk(9, GRIDEYE, True)
        await door.show(frames[:20], steps_us[:20])
        head, _, data = (await first).partition("\ndata: ")
        view = json.loads(data)
        assert head == "event: heat"
        assert (view["rows"], view["cols"], view["unit"]) == (8, 8, "centi_celsius")
        assert view["pixels"] in (frames[9].ravel().tolist(), frames[19].ravel().tolist())
        await events.aclose()
        assert door.here.doors._watchers == {DOOR: []}
        assert door.here.doors.aid(DOOR) == {"walks": 0, "busy": "", "recorded_frames": 0}

    at_the_door(test)


def test_a_silent_sensor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.doors.SILENT_S", 0.01)

    async def test(door: AtTheDoor, client: Any) -> None:
        for what, body in (("walks", {}), ("walk-test", {}), ("recording", {"notice_shown": True})):
            job = (await client.post(f"/v1/doors/{DOOR}/{what}", json=body)).json()
            done = await door.ended(client, job)
            assert (done["state"], done["error"]["cause"]) == ("failed", "LinkLost"), what
        assert (await anext(heat_events(door.here, DOOR, ""))).startswith("event: fault")

    at_the_door(test)


def test_other_devices_have_no_door() -> None:
    async def test(door: AtTheDoor, client: Any) -> None:
        body = {"kind": "shelf_mcu", "settings": {"link": "tcp:127.0.0.1:9"}}
        await client.put("/v1/devices/mcu-1", json=body)
        assert (await client.post("/v1/doors/mcu-1/walks", json={})).json()["cause"] == "no_door_sensor"
        assert (await client.put(f"/v1/doors/{DOOR}/inward", json={"inward": "+z"})).status_code == 422

    at_the_door(test)


# --- the model that counts --------------------------------------------------------------------------------------------


def candidate(folder: Path, version: str) -> Path:
    """A copy of the built-in model under another version."""
    folder.mkdir()
    text = MANIFEST.read_text(encoding="utf-8")
    line = next(row for row in text.splitlines() if row.startswith("version"))
    (folder / "manifest.toml").write_text(text.replace(line, f'version = "{version}"'), encoding="utf-8")
    shutil.copy(MANIFEST.with_name("footfall.onnx"), folder)
    return folder / "manifest.toml"


def test_the_gateway_counts_with_the_installed_model_and_falls_back_to_the_last_good_one(tmp_path: Path) -> None:
    store = tmp_path / MODELS
    frames, steps_us = known_scene()

    async def test(door: AtTheDoor, client: Any) -> None:
        doors = door.here.doors = Doors(door.runtime, tmp_path)
        counting = asyncio.create_task(door.runtime.infer(doors))

        async def see() -> None:
            """The known scene, through the runtime's own way; until all of it is counted."""
            done = asyncio.Event()
            with doors._watching(DOOR, lambda seen, _: done.set() if seen.t_us[-1] == last_us else None):
                for at in range(0, len(frames), 10):
                    t_us = door.t_us + steps_us[at : at + 10]
                    door.bench.clock.now_us = last_us = int(t_us[-1])
                    door.runtime.emit(Frames(DOOR, last_us, t_us, frames[at : at + 10]))
                await asyncio.wait_for(done.wait(), PATIENCE_S)
            door.t_us += 20 * US_PER_S
            await until(lambda: not door.runtime.frames_waiting)
            door.runtime.step()
            await door.runtime.journal.flush()

        async def version() -> str:
            return (await client.get("/v1/footfall/model")).json()["version"]

        try:
            await see()
            assert (await version(), door.state) == ("2.0.0", ("online", ""))
            newest = install(candidate(tmp_path / "b", "3.0.0"), store)
            await see()
            assert (await version(), door.state) == ("3.0.0", ("online", ""))
            # A card that loses bits: the third model is damaged after it was installed.
            broken = install(candidate(tmp_path / "c", "4.0.0"), store)
            (broken.parent / "footfall.onnx").write_bytes(b"lost")
            before = len(door.people())
            await see()
            await until(lambda: door.state == ("degraded", "model_fallback"))
            assert await version() == "3.0.0"
            assert len(door.people()) == before + 1
            door.come_online()  # the driver connects anew: the trouble is said again
            await see()
            await until(lambda: door.state == ("degraded", "model_fallback"))
            shutil.copy(newest.with_name("footfall.onnx"), broken.parent)
            install(candidate(tmp_path / "d", "5.0.0"), store)
            await see()
            await until(lambda: door.state == ("online", ""))
            assert await version() == "5.0.0"
            kinds = [kind_of(row.type) for row in door.runtime.journal.read(1, 10_000)]
            assert "device.Degraded" in kinds
        finally:
            counting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await counting
            doors.close()

    install(candidate(tmp_path / "a", "2.0.0"), store)
    at_the_door(test, inward="+x")
