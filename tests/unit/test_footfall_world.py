"""The judge's doorway and the training scenes: seeded, truthful, and hard enough that a two-zone counter fails."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from models.intake import SIZES
from tests.accuracy.crossings import by_baseline, judge, share
from tests.worlds import door, door_baselines
from tests.worlds.door import KINDS, make_world


def test_a_seed_makes_one_world() -> None:
    one, again, other = make_world(3, KINDS, 40.0), make_world(3, KINDS, 40.0), make_world(4, KINDS, 40.0)
    assert np.array_equal(one.frames, again.frames)
    assert one.crossings == again.crossings
    assert one.frames.shape != other.frames.shape or not np.array_equal(one.frames, other.frames)


def test_the_world_imports_nothing_of_ours() -> None:
    for module in (door, door_baselines):
        tree = ast.parse(Path(module.__file__ or "").read_text("utf-8"))
        names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        assert {name.split(".")[0] for name in names} <= {"__future__", "dataclasses", "numpy"}


@pytest.mark.parametrize("seed", range(4))
def test_the_frames_are_what_a_sensor_sends(seed: int) -> None:
    world = make_world(seed, KINDS, 40.0)
    assert world.frames.dtype == np.int16
    assert world.frames.shape[1:] in SIZES
    assert len(world.crossings) >= 1
    live = world.frames[world.frames > -32768]
    low, high = (1000, 4500) if world.sensor.unit == "centi_celsius" else (50, 5000)
    assert low < live.min()
    assert live.max() < high


def test_a_body_is_over_the_line_when_the_truth_says_so() -> None:
    """The warm middle of the field is on one side before a single crossing, and on the other after it."""
    world = make_world(21, ("single",), 60.0)
    right = 0
    for crossing in world.crossings:
        at = int(np.searchsorted(world.t_us, crossing.t_us))
        contrast = door_baselines.contrast_of(world.frames, world.sensor.unit)
        columns = np.clip(contrast[[at - 4, at + 4]], 0.5, None).sum(axis=1) @ np.arange(8)
        total = np.clip(contrast[[at - 4, at + 4]], 0.5, None).sum(axis=(1, 2))
        before, after = columns / total
        right += (after > before) == crossing.inward
    assert right >= len(world.crossings) - 1


def test_a_two_zone_counter_fails_where_it_fails_in_the_field() -> None:
    tally: Counter[tuple[str, str]] = Counter()
    for seed in range(24):
        world = make_world(700 + seed, ("tailgating", "opposite"), 60.0)
        tally += judge(world, by_baseline(world, door_baselines.two_zone))[0]
    assert share(tally, ("tailgating",)) <= 0.60
    assert share(tally, ("opposite",)) <= 0.10


def test_the_tracker_counts_single_persons() -> None:
    tally: Counter[tuple[str, str]] = Counter()
    for seed in range(8):
        world = make_world(740 + seed, ("single",), 60.0)
        tally += judge(world, by_baseline(world, door_baselines.tracker))[0]
    assert share(tally, ("single",)) >= 0.6
