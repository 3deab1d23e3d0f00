"""Installation aid: ten walks tell the inward direction, a walk test tells the score, the heat view hides dead pixels."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import WalkError
from models.mounting import Walk, heat_view, mount_check, walk_test
from models.runner import Crossing, FootfallRunner
from tests.worlds.door import Sensor, make_walk


def walks(sensor: Sensor, turn: str, n: int = 10, inward: bool = True) -> list[Walk]:
    """Walks of one person through the judge's doorway, seen by a sensor that hangs turned."""
    made = []
    for seed in range(n):
        frames, t_us = make_walk(300 + seed, sensor, inward)
        frames = frames[:, :, ::-1] if turn[0] == "-" else frames
        frames = frames.transpose(0, 2, 1) if turn[1] == "y" else frames
        made.append(Walk(np.ascontiguousarray(frames), t_us))
    return made


GRIDEYE = Sensor("grideye", 8, 8, 30, 30, 20, 25, "centi_celsius", 0.5)
TOF = Sensor("tof", 8, 8, 22.5, 22.5, 15, 1, "mm", 0.3)


@pytest.mark.parametrize("turn", ["+x", "-x", "+y", "-y"])
def test_ten_walks_tell_the_inward_direction(turn: str) -> None:
    report = mount_check(walks(GRIDEYE, turn), FootfallRunner())
    assert report.inward == turn
    assert report.votes[turn] >= 8
    assert report.skew_deg < 25
    assert 0.8 < report.field_m < 3.5
    assert 2.2 < report.height_m < 4.5
    assert report.problems == ()


def test_a_depth_sensor_measures_its_height() -> None:
    report = mount_check(walks(TOF, "+x"), FootfallRunner(), unit="mm", half_field_deg=22.5)
    assert report.inward == "+x"
    assert report.height_m == pytest.approx(3.0, abs=0.1)


def test_walks_to_and_fro_do_not_tell_a_direction() -> None:
    mixed = walks(GRIDEYE, "+x", 5) + walks(GRIDEYE, "+x", 5, inward=False)
    report = mount_check(mixed, FootfallRunner())
    assert report.inward == ""
    assert any("agree" in problem for problem in report.problems)


def test_nine_walks_are_too_few() -> None:
    with pytest.raises(WalkError, match="9 walks"):
        mount_check(walks(GRIDEYE, "+x", 9), FootfallRunner())


def test_the_walk_test_scores_missed_and_false_alike() -> None:
    counted = [
        Crossing(t_us, way, 0.9, 3.0) for t_us, way in ((1_000_000, "in"), (9_000_000, "out"), (20_000_000, "in"))
    ]
    result = walk_test(counted, [(1_400_000, "in"), (8_000_000, "out"), (30_000_000, "in")])
    assert (result.right, result.missed, result.false) == (2, 1, 1)
    assert result.score == pytest.approx(0.5)
    assert not result.passed
    assert walk_test(counted, [(1_000_000, "in"), (9_000_000, "out"), (20_000_000, "in")]).passed
    with pytest.raises(WalkError, match="0 walks"):
        walk_test(counted, [])


def test_the_heat_view_shows_dead_pixels_as_nothing() -> None:
    frame = np.full((8, 8), 2200, np.int16)
    frame[2, 3] = -32768
    frame[4, 4] = 2900
    view = heat_view(frame)
    assert (view["rows"], view["cols"]) == (8, 8)
    assert view["pixels"][2 * 8 + 3] is None
    assert view["pixels"][4 * 8 + 4] == 2900
    assert view["low"] == 2200
    assert heat_view(np.full((8, 8), -32768, np.int16))["low"] is None
