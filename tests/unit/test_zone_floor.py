"""Zones as a filter over places of the floor: better than the loudest scanner, learns its ears, needs no positions."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.proximity.floor import CELLS_MAX, MODES, Columns, Floor, make_floor
from edge.core.proximity.zones import Track, ZoneModel
from edge.core.site import load_site
from tests.accuracy.zone import judge
from tests.unit.test_settings import site

ZONES = [{"id": "front"}, *({"id": f"z-{i}"} for i in range(3))]
EARS = [{"device": f"e-{i}", "zone": f"z-{i}", "x_m": 10.0 * i, "y_m": 0.0} for i in range(3)]


def floor(ears: list[dict[str, object]] = EARS) -> Floor:
    return make_floor(load_site(site(zones=ZONES, scanners=ears)))


def walked(plan: Floor, belief: Columns, steps: int) -> Columns:
    """Beside a beacon that does not walk."""
    there, unmoved = plan.walk(np.array([belief, belief]), np.array([steps, 0]))
    assert np.array_equal(unmoved, belief)
    return there


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
    after = plan.chances(walked(plan, belief, 12))
    assert plan.zones[int(before.argmax())] == "z-0"
    assert after[plan.zones.index("z-1")] > 0.3  # 6 s at 1.2 m/s: 7 of 10 m
    assert 0.5 < after.sum() <= 1.0 + 1e-5
    resting = np.zeros_like(belief)
    resting[0, start] = 1.0
    assert plan.chances(walked(plan, resting, 4))[plan.zones.index("z-0")] > 0.9


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
                    (found,) = model.update([track], now_us)
                    said += [zone for zone, _ in found]
        return said

    tracks = [Track() for _ in range(3)]
    for minute in range(6):
        for index, track in enumerate(tracks):
            heard_at(10.0 * index + rng.uniform(-2, 2), 60, track, 60 * minute)
    said = heard_at(6.6, 60, Track(), 400)
    assert said.count("z-1") > 0.9 * len(said)


def test_beacons_weighed_together_are_believed_where_each_would_be_alone() -> None:
    """Three beacons of different pace, two of them taught from; together, one by one, and a packet told late."""
    plan = load_site(site(zones=ZONES, scanners=EARS))

    def play(together_us: int) -> list[list[tuple[str, float]]]:
        model, rng = ZoneModel(plan), np.random.default_rng(6)
        tracks = [Track(is_mounted=True, home="z-0"), Track(), Track()]
        said: list[list[tuple[str, float]]] = [[], [], []]
        weighed_us = 0
        for now_us in range(0, 20_000_000, 50_000):
            for beacon, every_us in enumerate((200_000, 150_000, 1_000_000)):
                if now_us % every_us == 0:
                    for ear in range(3):
                        dbm = round(-60 - 8 * abs(ear - beacon) + float(rng.normal(0, 3)))
                        model.hear(tracks[beacon], f"e-{ear}", dbm, now_us)
            if now_us - weighed_us >= together_us:
                weighed_us = now_us
                for chosen in [tracks] if together_us else [[track] for track in tracks]:
                    for track, found in zip(chosen, model.update(chosen, now_us), strict=True):
                        said[tracks.index(track)] += found
        return said

    at_once, later = play(0), play(2_000_000)
    for once, late in zip(at_once, later, strict=True):
        assert len(late) >= 8
        assert [zone for zone, _ in late] == [zone for zone, _ in once[: len(late)]]
        assert [p for _, p in late] == pytest.approx([p for _, p in once[: len(late)]], abs=0.02)
