"""The door counter: streaming equals batch, the symmetries of a door, and every bad input by its name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models import scenes_bodies
from models.errors import FrameRateError, FrameSizeError, FrameUnitError, InwardError
from models.intake import DEAD
from models.runner import LEAST_CONFIDENCE, Crossing, DoorCounter, FootfallRunner
from models.scenes import Scene


@pytest.fixture(scope="module")
def runner() -> FootfallRunner:
    return FootfallRunner()


@pytest.fixture(scope="module")
def scene() -> Scene:
    for seed in range(100, 200):
        made = scenes_bodies.make_scene(np.random.default_rng(seed), 40.0)
        if made.unit == "centi_celsius" and 5 <= len(made.truths) <= 12:
            return made
    raise AssertionError("no thermal scene with 5 to 12 crossings in 100 seeds")


def whole(counter: DoorCounter, frames: np.ndarray, t_us: np.ndarray) -> list[Crossing]:
    return counter.push(frames, t_us) + counter.flush()


def ways(crossings: list[Crossing]) -> list[tuple[int, str]]:
    return [(crossing.t_us, crossing.direction) for crossing in crossings]


def test_frame_by_frame_counts_what_one_block_counts(runner: FootfallRunner, scene: Scene) -> None:
    block = whole(runner.door((8, 8)), scene.frames, scene.t_us)
    single = runner.door((8, 8))
    one_by_one: list[Crossing] = []
    for i in range(len(scene.frames)):
        one_by_one += single.push(scene.frames[i : i + 1], scene.t_us[i : i + 1])
    one_by_one += single.flush()
    assert len(block) >= 4
    assert ways(block) == ways(one_by_one)
    assert [c.confidence for c in block] == pytest.approx([c.confidence for c in one_by_one], abs=1e-3)


@pytest.mark.parametrize("inward", ["+x", "-x", "+y", "-y"])
def test_a_turned_sensor_counts_the_same(runner: FootfallRunner, scene: Scene, inward: str) -> None:
    frames = scene.frames if inward[0] == "+" else scene.frames[:, :, ::-1]
    frames = frames if inward[1] == "x" else frames.transpose(0, 2, 1)
    turned = whole(runner.door((8, 8), inward=inward), np.ascontiguousarray(frames), scene.t_us)
    assert ways(turned) == ways(whole(runner.door((8, 8)), scene.frames, scene.t_us))


def test_the_wrong_inward_side_swaps_in_and_out(runner: FootfallRunner, scene: Scene) -> None:
    right = whole(runner.door((8, 8)), scene.frames, scene.t_us)
    wrong = whole(runner.door((8, 8), inward="-x"), scene.frames, scene.t_us)
    share_in = [sum(c.direction == "in" for c in found) for found in (right, wrong)]
    share_out = [sum(c.direction == "out" for c in found) for found in (right, wrong)]
    assert abs(share_in[0] - share_out[1]) <= 1
    assert abs(share_out[0] - share_in[1]) <= 1


def test_a_24x32_sensor_is_counted_like_its_pooled_field(runner: FootfallRunner, scene: Scene) -> None:
    wide = np.repeat(np.repeat(scene.frames, 3, axis=1), 4, axis=2)
    assert ways(whole(runner.door((24, 32)), wide, scene.t_us)) == ways(
        whole(runner.door((8, 8)), scene.frames, scene.t_us)
    )


def test_dead_and_saturated_pixels_do_not_change_the_count(runner: FootfallRunner, scene: Scene) -> None:
    spoiled = scene.frames.copy()
    spoiled[:, 2, 5] = DEAD
    spoiled[::7, 6, 1] = 32767
    counted = whole(runner.door((8, 8)), spoiled, scene.t_us)
    assert abs(len(counted) - len(scene.truths)) <= 2


def test_frames_mostly_dead_are_dropped_and_counted(runner: FootfallRunner, scene: Scene) -> None:
    counter = runner.door((8, 8))
    spoiled = scene.frames[:60].copy()
    spoiled[10:13] = DEAD
    counter.push(spoiled, scene.t_us[:60])
    assert counter.frontend.intake.dropped == 3


def test_an_empty_doorway_has_no_crossing(runner: FootfallRunner) -> None:
    rng = np.random.default_rng(5)
    frames = np.round(2200 + rng.normal(0, 25, (3000, 8, 8)) + 60 * np.sin(np.arange(3000) / 300)[:, None, None])
    assert whole(runner.door((8, 8)), frames.astype(np.int16), np.arange(3000, dtype=np.int64) * 100_000) == []


@pytest.mark.parametrize("shape", [(5, 8, 9), (5, 24, 24), (5, 64)])
def test_a_wrong_frame_size_is_named(runner: FootfallRunner, shape: tuple[int, ...]) -> None:
    counter = runner.door((8, 8))
    with pytest.raises(FrameSizeError, match=r"expected \(n, 8, 8\)"):
        counter.push(np.zeros(shape, np.int16), np.arange(5, dtype=np.int64) * 100_000)


@pytest.mark.parametrize("fps", [2.0, 4.0, 40.0, 100.0])
def test_a_frame_rate_outside_5_to_30_is_named(runner: FootfallRunner, fps: float) -> None:
    counter = runner.door((8, 8))
    t_us = (np.arange(40) * 1e6 / fps).astype(np.int64)
    with pytest.raises(FrameRateError, match="expected 5 to 30"):
        counter.push(np.full((40, 8, 8), 2200, np.int16), t_us)


@pytest.mark.parametrize("fps", [5.0, 7.5, 10.0, 16.0, 30.0])
def test_frame_rates_within_5_to_30_are_read(runner: FootfallRunner, fps: float) -> None:
    t_us = (np.arange(100) * 1e6 / fps).astype(np.int64)
    assert whole(runner.door((8, 8)), np.full((100, 8, 8), 2200, np.int16), t_us) == []


def test_settings_that_no_door_has_are_named(runner: FootfallRunner) -> None:
    with pytest.raises(FrameSizeError, match="16x16"):
        runner.door((16, 16))
    with pytest.raises(InwardError, match="north"):
        runner.door((8, 8), inward="north")
    with pytest.raises(FrameUnitError, match="fahrenheit"):
        runner.door((8, 8), unit="fahrenheit")


def test_what_is_more_likely_wrong_than_right_is_not_counted(scene: Scene) -> None:
    doubting = FootfallRunner()
    sure = whole(doubting.door((8, 8)), scene.frames, scene.t_us)
    assert min(crossing.confidence for crossing in sure) >= LEAST_CONFIDENCE
    manifest = doubting.network.manifest
    doubting.network.manifest = replace(manifest, curve=replace(manifest.curve, offset=manifest.curve.offset - 5))
    fewer = whole(doubting.door((8, 8)), scene.frames, scene.t_us)
    assert len(fewer) < len(sure)
    assert all(crossing.confidence >= LEAST_CONFIDENCE for crossing in fewer)
