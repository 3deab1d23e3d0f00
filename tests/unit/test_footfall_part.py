"""Footfall as facts: what is not known is never told as 0, and what drifts is told and taken off at closing."""

from __future__ import annotations

import asyncio
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

import edge.runtime
from edge.api.tally import Tally
from edge.core.fact import StoredFact, kind_of, pack
from edge.core.facts import Conversion, Crossings, Occupancy
from edge.core.footfall import MOST_MISSED, Footfall
from edge.core.instant import US_PER_S, Instant
from edge.core.localtime import QUARTER_US
from edge.core.observation import DeviceState, DeviceStatus, DoorCrossing, Frames
from edge.core.site import load_site
from edge.health import Health
from models.errors import BadPixelsError
from models.inference import DoorInference
from models.intake import DEAD
from tests.unit.api_support import SITE, gateway
from tests.unit.test_settings import site

NOON_US = 1_780_315_200 * US_PER_S  # 2026-06-01 12:00 UTC, a Monday
DOOR = "door-1"


def at(seconds: float) -> Instant:
    return Instant(int(seconds * US_PER_S), NOON_US + int(seconds * US_PER_S))


def store(**hours: Any) -> dict[str, Any]:
    plan = site()
    plan["store"] = plan["store"] | {"timezone": "UTC", **hours}
    return plan


def state(part: Footfall, state: DeviceState, seconds: float, cause: str = "") -> None:
    part.status(DeviceStatus(DOOR, 0, state, cause), at(seconds))


def walk(part: Footfall, direction: str, seconds: float) -> Occupancy:
    told = part.crossed(DoorCrossing(DOOR, 0, direction, 0.9, int(seconds * US_PER_S)), at(seconds))[-1]
    assert isinstance(told, Occupancy)
    return told


def of(kind: type, signals: list[Any]) -> list[Any]:
    return [signal for signal in signals if isinstance(signal, kind)]


def whole(**hours: Any) -> Footfall:
    """A part whose door is counted from the beginning of a quarter on."""
    part = Footfall(load_site(store(**hours)))
    state(part, DeviceState.ONLINE, 0)
    return part


def test_a_quarter_that_the_gateway_saw_only_in_part_is_not_known() -> None:
    part = Footfall(load_site(store()))
    state(part, DeviceState.ONLINE, 300)
    walk(part, "in", 400)
    first = of(Crossings, part.tick(at(900)))[0]
    assert (first.entered, first.known, first.coverage) == (1, False, 0.6667)
    second = of(Crossings, part.tick(at(1800.5)))[0]
    assert (second.entered, second.known, second.coverage) == (0, True, 1.0)


def test_a_late_tick_is_no_gap() -> None:
    part = whole()
    part.tick(at(905))
    assert of(Crossings, part.tick(at(1800)))[0].coverage == 1.0


@pytest.mark.parametrize("cause", ["inference", "inference_late"])
def test_frames_that_cannot_be_counted_make_the_count_unknown(cause: str) -> None:
    part = whole()
    walk(part, "in", 10)
    part.picked(3)
    state(part, DeviceState.DEGRADED, 90, cause)
    assert part.people is None
    lost = walk(part, "in", 100)  # of another door; here the same one, a moment late
    assert (lost.known, lost.people) == (False, 2)
    told = part.tick(at(900))
    assert (of(Crossings, told)[0].known, of(Crossings, told)[0].coverage) == (False, 0.1)
    conversion = of(Conversion, told)[0]
    assert (conversion.known, conversion.ratio, conversion.picks, conversion.entered) == (False, None, 3, 2)
    state(part, DeviceState.ONLINE, 1000)
    assert part.people == 2


def test_an_earlier_model_counts_as_well() -> None:
    part = whole()
    state(part, DeviceState.DEGRADED, 90, "model_fallback")
    assert of(Crossings, part.tick(at(900)))[0].known


def test_what_is_left_at_closing_is_drift() -> None:
    part = whole(hours=[["08:00", "12:30"]] * 7)
    for second in range(5):
        walk(part, "in", second)
    walk(part, "out", 6)
    assert of(Occupancy, part.tick(at(900))) == []
    closing = of(Occupancy, part.tick(at(1800)))[0]
    assert (closing.people, closing.drift, closing.low, closing.high, closing.known) == (0, 4, 0, 0, True)
    assert walk(part, "out", 1900).people == 0  # who cleaned goes home
    assert walk(part, "in", 2000).drift is None
    assert of(Occupancy, part.tick(at(2700))) == []


def test_a_store_that_never_closes_is_corrected_at_midnight() -> None:
    part = whole(hours=[["00:00", "24:00"]] * 7)
    walk(part, "in", 1)
    told: list[Any] = []
    for quarter in range(1, 49):
        told += of(Occupancy, part.tick(at(quarter * 900)))
    assert [(row.at_us, row.drift) for row in told] == [(12 * 3600 * US_PER_S, 1)]


def test_after_a_restart_nothing_is_known_of_the_time_between() -> None:
    first = whole()
    walk(first, "in", 10)
    second = Footfall(load_site(store()))
    second.restore(first.drain_said(), at(400))
    assert second.people is None
    state(second, DeviceState.ONLINE, 460)
    assert second.people == 1
    told = of(Crossings, second.tick(at(900)))[0]
    assert (told.entered, told.known, told.coverage) == (1, False, 0.5)  # 10 s to 460 s


def test_a_sensor_that_was_missing_before_the_restart_is_missing_since_then() -> None:
    first = whole()
    state(first, DeviceState.OFFLINE, 90, "LinkLost")
    walk(first, "in", 200)
    second = Footfall(load_site(store()))
    second.restore(first.drain_said(), at(400))
    assert of(Crossings, second.tick(at(900)))[0].coverage == 0.1


def test_quarters_that_passed_while_the_gateway_was_off_are_told_as_unknown() -> None:
    first = whole()
    walk(first, "in", 800)
    second = Footfall(load_site(store()))
    second.restore(first.drain_said(), at(4000))
    told = of(Crossings, second.tick(at(4000)))
    assert [(row.start_us - NOON_US) // QUARTER_US for row in told] == [0, 1, 2, 3]
    assert [row.known for row in told] == [False] * 4
    assert told[0].entered == 1
    assert len(of(Crossings, whole().tick(at(30 * 86_400)))) == 1 + MOST_MISSED  # a month tells its last day


def test_what_an_earlier_version_kept_is_read() -> None:
    part = Footfall(load_site(store()))
    deadline_us = 900 * US_PER_S
    part.restore({"now": [{DOOR: [3, 1, 0]}, NOON_US + deadline_us, deadline_us, 2, 4, 0, "2026-06-01"]}, at(450))
    state(part, DeviceState.ONLINE, 450)
    told = of(Crossings, part.tick(at(900)))[0]
    assert (told.entered, told.left, part.people) == (3, 1, 2)


def frames(spoiled: bool, second: int) -> Frames:
    pixels = np.full((10, 8, 8), 2200, np.int16)
    if spoiled:
        pixels[:, :3] = DEAD
    t_us = (np.arange(10, dtype=np.int64) + 10 * second) * 100_000
    return Frames(DOOR, int(t_us[-1]), t_us, pixels)


def test_a_sensor_most_of_whose_pixels_are_dead_is_named() -> None:
    doors = DoorInference(lambda _: "+x")
    assert doors.count(frames(True, 0)) == []
    with pytest.raises(BadPixelsError, match=r"20 of the last 20 frames .* expected fewer than 12"):
        doors.count(frames(True, 1))
    for second in (2, 3):
        with pytest.raises(BadPixelsError):
            doors.count(frames(True, second))
    with pytest.raises(BadPixelsError):
        doors.count(frames(False, 4))
    assert doors.count(frames(False, 5)) == []


class Slow:
    """An inference that waits to be let go."""

    degraded = ""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def submit(self, frames: Frames) -> list[DoorCrossing]:
        del frames
        await self.go.wait()
        return []


def test_frames_that_come_too_fast_for_the_inference_degrade_their_door() -> None:
    async def main() -> None:
        plan = SITE | {"doors": [{"device": DOOR, "inward": "+x"}]}
        async with gateway(site=plan) as bench:
            runtime, health = bench.services.runtime, bench.services.health
            runtime.emit(DeviceStatus(DOOR, runtime.clock_us(), DeviceState.ONLINE))
            runtime.step()
            slow = Slow()
            counting = asyncio.create_task(runtime.infer(slow))
            for second in range(edge.runtime.FRAMES_LIMIT + 2):
                runtime.emit(frames(False, second))
                await asyncio.sleep(0)
            assert shown(health) == ("degraded", "inference_late")
            runtime.step()
            assert runtime.engine.parts.footfall.people is None
            slow.go.set()
            await shows(health, ("online", ""))
            runtime.step()
            assert runtime.engine.parts.footfall.people == 0
            counting.cancel()

    asyncio.run(main())


def test_frames_of_a_wrong_size_stop_the_count_with_a_degraded_fact() -> None:
    async def main() -> None:
        plan = SITE | {"doors": [{"device": DOOR, "inward": "+x"}]}
        async with gateway(site=plan) as bench:
            runtime, health = bench.services.runtime, bench.services.health
            runtime.emit(DeviceStatus(DOOR, runtime.clock_us(), DeviceState.ONLINE))
            runtime.step()
            counting = asyncio.create_task(runtime.infer(DoorInference(lambda _: "+x")))
            t_us = np.arange(5, dtype=np.int64) * 100_000
            runtime.emit(Frames(DOOR, 0, t_us, np.full((5, 16, 16), 2200, np.int16)))
            await shows(health, ("degraded", "inference"))
            assert "16x16" in health.devices[DOOR].detail
            runtime.step()
            assert runtime.engine.parts.footfall.people is None
            await runtime.journal.flush()
            told = [row for row in runtime.journal.read(1, 10_000) if kind_of(row.type) == "device.Degraded"]
            assert (told[0].fields["device"], told[0].fields["cause"]) == (DOOR, "inference")
            runtime.emit(frames(False, 1))
            await shows(health, ("online", ""))
            counting.cancel()

    asyncio.run(main())


async def shows(health: Health, wanted: tuple[str, str]) -> None:
    async with asyncio.timeout(30):
        while shown(health) != wanted:
            await asyncio.sleep(0.001)


def shown(health: Health) -> tuple[str, str]:
    device = health.devices[DOOR]
    return device.state.value, device.cause


class Told:
    """A journal with these quarters of a door, all told at one moment."""

    def __init__(self, now: Instant, starts_us: list[int]) -> None:
        self._now = now
        rows = [
            Crossings(
                at_us=0, door=DOOR, start_us=start_us, end_us=start_us + QUARTER_US, entered=2, left=1, known=False
            )
            for start_us in starts_us
        ]
        times = (1, now.mono_us, now.wall_us, now.wall_us, now.quality)
        self._rows = [StoredFact(seq, *times, Crossings.CODE, pack(row)) for seq, row in enumerate(rows, 1)]
        self.last_seq = len(self._rows)

    def now(self) -> Instant:
        return self._now

    def get(self, key: str) -> None:
        return None

    def read(self, first: int, limit: int) -> list[StoredFact]:
        return self._rows[first - 1 :][:limit]


def test_the_console_puts_a_quarter_where_it_began_not_when_it_was_told() -> None:
    midnight_us = NOON_US + 12 * 3600 * US_PER_S
    now = Instant(0, midnight_us + 20 * 60 * US_PER_S)
    told: Any = Told(now, [midnight_us - 2 * QUARTER_US, midnight_us - QUARTER_US, midnight_us])
    day = Tally(told, told, told).read(ZoneInfo("UTC"))
    assert (dict(day.entered), day.unknown) == ({0: 2}, {0})
