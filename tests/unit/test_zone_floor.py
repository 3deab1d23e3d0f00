"""Zones as a filter over places of the floor: better than the loudest scanner, learns its ears, needs no positions."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.proximity.floor import CELLS_MAX, MODES, Floor, make_floor
from edge.core.proximity.zones import Track, ZoneModel
from edge.core.site import load_site
from tests.accuracy.zone import judge
from tests.unit.test_settings import site

ZONES = [{"id": "front"}, *({"id": f"z-{i}"} for i in range(3))]
EARS = [{"device": f"e-{i}", "zone": f"z-{i}", "x_m": 10.0 * i, "y_m": 0.0} for i in range(3)]


def floor(ears: list[dict[str, object]] = EARS) -> Floor:
    return make_floor(load_site(site(zones=ZONES, scanners=ears)))


@pytest.mark.parametrize("seed", [11, 12])
def test_it_is_much_better_than_the_loudest_scanner(seed: int) -> None:
    figures = judge(seed, 150.0, "field")
    right, baseline = figures["right"] / figures["steps"], figures["baseline"] / figures["steps"]
    assert right > 0.85
    assert right > baseline + 0.1
    assert figures["suspicions"] == 0


def test_who_walks_goes_on_for_a_while_and_stays_on_the_floor() -> None:
    plan = floor()
    belief = np.zeros_like(plan.anywhere())
    start = int(np.abs(plan.log10_m[0] - plan.log10_m[0].min()).argmin())  # below the first scanner
    belief[1, start] = 1.0  # walks in the direction of the second
    before = plan.chances(belief)
    after = plan.chances(plan.walk(belief, 12))
    assert plan.zones[int(before.argmax())] == "z-0"
    assert after[plan.zones.index("z-1")] > 0.3  # 6 s at 1.2 m/s: 7 of 10 m
    assert 0.5 < after.sum() <= 1.0 + 1e-5
    resting = np.zeros_like(belief)
    resting[0, start] = 1.0
    assert plan.chances(plan.walk(resting, 4))[plan.zones.index("z-0")] > 0.9


def test_large_floors_have_larger_cells_and_floors_without_positions_have_zones() -> None:
    wide = [{"device": f"e-{i}", "zone": "z-0", "x_m": 4.0 * (i % 30), "y_m": 4.0 * (i // 30)} for i in range(600)]
    assert floor(wide).log10_m.shape[1] <= 1.2 * CELLS_MAX
    placeless = floor([{"device": f"e-{i}", "zone": f"z-{i}"} for i in range(3)])
    assert (placeless.is_placed, placeless.anywhere().shape) == (False, (MODES, 3))
    one = make_floor(load_site(site(zones=ZONES, scanners=EARS[:1])))
    assert one.chances(one.anywhere()).sum() == pytest.approx(1.0, abs=1e-5)


def test_a_deaf_ear_is_learned() -> None:
    """The second scanner hears 12 dB less than the others: what rests near it is found there all the same."""
    model = ZoneModel(load_site(site(zones=ZONES, scanners=EARS)))
    rng = np.random.default_rng(5)
    ears = np.array([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]])
    deaf_db = np.array([0.0, 12.0, 0.0])

    def heard_at(x_m: float, seconds: int, track: Track, start_s: int) -> list[str]:
        said = []
        for step in range(8 * seconds):
            now_us = (start_s * 8 + step) * 125_000
            metres = np.sqrt((ears[:, 0] - x_m) ** 2 + 1.8**2)
            levels = -59 - 26 * np.log10(metres) - deaf_db + rng.normal(0, 4, 3)
            for index, level in enumerate(levels):
                if level > -95 and model.hear(track, f"e-{index}", round(level), now_us):
                    found = model.update(track, now_us)
                    said += [found[0]] if found else []
        return said

    tracks = [Track() for _ in range(3)]
    for minute in range(6):
        for index, track in enumerate(tracks):
            heard_at(10.0 * index + rng.uniform(-2, 2), 60, track, 60 * minute)
    said = heard_at(6.6, 60, Track(), 400)
    assert said.count("z-1") > 0.9 * len(said)
