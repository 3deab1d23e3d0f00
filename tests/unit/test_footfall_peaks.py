"""Peaks: each hill of evidence once, whatever the size of the blocks."""

from __future__ import annotations

import numpy as np
import pytest

from models.peaks import Peak, PeakPicker, PeakRule

RULE = PeakRule(threshold=0.5, reach_steps=4, reach_rows=2, valley=0.7)


def hills(n: int, *tops: tuple[int, int, float, float]) -> np.ndarray:
    """Evidence (n, 2, 8) with Gaussian hills at (step, direction, row, height)."""
    out = np.zeros((n, 2, 8), np.float32)
    for step, direction, row, height in tops:
        in_time = np.exp(-0.5 * ((np.arange(n) - step) / 1.2) ** 2)
        in_row = np.exp(-0.5 * ((np.arange(8) - row) / 0.75) ** 2)
        out[:, direction] = np.maximum(out[:, direction], height * in_time[:, None] * in_row)
    return out


def picked(evidence: np.ndarray, sizes: list[int] | None = None) -> list[Peak]:
    picker = PeakPicker(RULE)
    found: list[Peak] = []
    at = 0
    for size in sizes or [len(evidence)]:
        found += picker.push(evidence[at : at + size])
        at += size
    return found + picker.push(np.zeros((8, 2, 8), np.float32))


def places(peaks: list[Peak]) -> list[tuple[int, int, int]]:
    return sorted((peak.step, peak.direction, round(peak.row)) for peak in peaks)


def test_a_hill_is_one_crossing_at_its_top() -> None:
    (peak,) = picked(hills(40, (20, 1, 3.0, 0.9)))
    assert (peak.step, peak.direction) == (20, 1)
    assert peak.row == pytest.approx(3.0, abs=0.05)
    assert peak.signs.height == pytest.approx(np.log(9), abs=1e-3)
    assert peak.signs.rival == pytest.approx(0.9 * np.exp(-0.5 * (2 / 1.2) ** 2), abs=0.01)
    assert peak.signs.against == 0


def test_signs_tell_a_sharp_hill_alone_from_a_ridge_in_company() -> None:
    (alone,) = picked(hills(40, (20, 0, 3.0, 0.9)))
    (ridge,) = picked(hills(40, (20, 0, 3.0, 0.9), (20, 0, 4.0, 0.85)))
    assert ridge.signs.spread > 1.2 * alone.signs.spread
    first, second = picked(hills(40, (20, 0, 2.0, 0.9), (21, 1, 5.0, 0.8)))
    assert (round(first.signs.against, 2), round(second.signs.against, 2)) == (0.8, 0.9)
    assert first.signs.spread == pytest.approx(alone.signs.spread, abs=0.01)


def test_what_stays_below_the_threshold_is_nothing() -> None:
    assert picked(hills(40, (20, 0, 3.0, 0.49))) == []


def test_side_by_side_and_followers_are_two_where_a_valley_lies_between() -> None:
    assert places(picked(hills(40, (20, 0, 2.0, 0.9), (20, 0, 5.0, 0.8)))) == [(20, 0, 2), (20, 0, 5)]
    assert places(picked(hills(40, (18, 0, 3.0, 0.9), (22, 0, 3.0, 0.8)))) == [(18, 0, 3), (22, 0, 3)]


def test_a_ridge_is_one_crossing() -> None:
    ridge = hills(40, (20, 0, 3.0, 0.9), (20, 0, 4.0, 0.85), (21, 0, 5.0, 0.8))
    assert len(picked(ridge)) == 1


def test_a_plateau_is_one_crossing() -> None:
    flat = np.zeros((40, 2, 8), np.float32)
    flat[18:22, 0, 3:5] = 0.75
    assert len(picked(flat)) == 1


def test_opposite_directions_do_not_hide_each_other() -> None:
    assert places(picked(hills(40, (20, 0, 3.0, 0.9), (20, 1, 3.0, 0.8)))) == [(20, 0, 3), (20, 1, 3)]


@pytest.mark.parametrize("sizes", [[1] * 60, [7, 1, 0, 52], [59, 1], [3] * 20])
def test_blocks_of_any_size_give_the_same_peaks(sizes: list[int]) -> None:
    rng = np.random.default_rng(1)
    tops = [(int(rng.integers(2, 58)), int(rng.integers(2)), rng.uniform(0, 7), rng.uniform(0.4, 1)) for _ in range(12)]
    evidence = hills(60, *tops)
    assert picked(evidence, sizes) == picked(evidence)
    assert len(picked(evidence)) >= 4


def test_the_first_and_the_last_step_can_be_crossings() -> None:
    assert [peak.step for peak in picked(hills(30, (0, 0, 3.0, 0.9), (29, 0, 3.0, 0.9)))] == [0, 29]
