"""The front end: sound frames, the network's time step, background and drift off; streaming equals batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import FrameRateError
from models.frontend import STEP_US, Background, Frontend, Stretch
from models.intake import DEAD, Intake, fill_bad, orient, pool


def doorway(n: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    frames = 2200 + rng.normal(0, 20, (n, 8, 8))
    frames[:, 3, 3] += 300 * (np.arange(n) % 40 < 10)
    return np.round(frames).astype(np.int16)


def times(n: int, fps: float = 10.0) -> np.ndarray:
    return np.round(np.arange(n) * 1e6 / fps).astype(np.int64)


def joined(stretches: list[Stretch]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([s.signal for s in stretches]), np.concatenate([s.grid_us for s in stretches])


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([5.0, 8.0, 10.0, 16.0, 23.0, 30.0]), st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_blocks_of_any_size_give_the_same_signal(fps: float, sizes: list[int]) -> None:
    n = sum(sizes)
    frames, t_us = doorway(n), times(n, fps)
    whole, parts = Frontend((8, 8)), Frontend((8, 8))
    one = joined(whole.push(frames, t_us) + whole.flush())
    pieces: list[Stretch] = []
    at = 0
    for size in sizes:
        pieces += parts.push(frames[at : at + size], t_us[at : at + size])
        at += size
    other = joined(pieces + parts.flush())
    assert np.array_equal(one[1], other[1])
    assert np.allclose(one[0], other[0], atol=1e-6)
    assert sum(piece.fresh for piece in pieces) <= 1


def test_the_grid_has_the_network_step_at_every_rate() -> None:
    for fps in (5.0, 7.0, 10.0, 16.0, 30.0):
        front = Frontend((8, 8))
        _, grid_us = joined(front.push(doorway(90), times(90, fps)) + front.flush())
        assert np.all(np.diff(grid_us) == STEP_US)
        assert abs(len(grid_us) - (89 / fps * 10 + 1)) <= 1


def test_drift_of_the_whole_field_is_taken_off() -> None:
    drift = np.round(200 * np.sin(np.arange(400) / 15)).astype(np.int16)
    flat = np.full((400, 8, 8), 2200, np.int16) + drift[:, None, None]
    signal, _ = joined(Frontend((8, 8)).push(flat, times(400)))
    assert np.abs(signal).max() < 0.05


def test_a_body_stands_out_with_its_height_in_signal_units() -> None:
    frames = np.full((200, 8, 8), 2200, np.int16)
    frames[150:160, 2:5, 4] += 450
    signal, _ = joined(Frontend((8, 8)).push(frames, times(200)))
    assert signal[155, 3, 4] == pytest.approx(1.5, abs=0.05)
    assert abs(signal[155, 6, 1]) < 0.05


def test_a_nearer_body_stands_out_of_depth_frames() -> None:
    frames = np.full((200, 8, 8), 2700, np.int16)
    frames[150:160, 2:5, 4] -= 900
    signal, _ = joined(Frontend((8, 8), "mm").push(frames, times(200)))
    assert signal[155, 3, 4] == pytest.approx(1.0, abs=0.05)


def test_one_garbled_frame_is_dropped() -> None:
    frames = doorway(100)
    frames[50] = np.random.default_rng(3).integers(1500, 4000, (8, 8)).astype(np.int16)
    front = Frontend((8, 8))
    signal, _ = joined(front.push(frames, times(100)) + front.flush())
    assert front.intake.dropped == 1
    assert np.abs(signal[48:53]).max() < 1.3


def test_frames_that_come_twice_or_late_are_dropped() -> None:
    frames, t_us = doorway(30), times(30)
    intake = Intake((8, 8), "centi_celsius", "+x")
    t_us[10] = t_us[9]
    t_us[20] = t_us[18]
    kept = sum(len(piece.t_us) for piece in intake.push(frames, t_us) + intake.flush())
    assert (kept, intake.dropped) == (28, 2)


def test_missing_frames_begin_afresh() -> None:
    frames, t_us = doorway(60), times(60)
    t_us[30:] += 2_000_000
    front = Frontend((8, 8))
    stretches = front.push(frames, t_us) + front.flush()
    assert [stretch.fresh for stretch in stretches].count(True) == 2
    assert front.intake.gaps == 1
    assert np.all(np.diff(np.concatenate([s.grid_us for s in stretches])) >= STEP_US)


def test_a_clock_set_back_begins_afresh_instead_of_dropping_for_ever() -> None:
    front = Frontend((8, 8))
    front.push(doorway(30), times(30) + 50_000_000)
    after = front.push(doorway(30), times(30))
    assert sum(len(stretch.signal) for stretch in after) >= 28


def test_a_single_lost_frame_is_bridged() -> None:
    front = Frontend((8, 8))
    keep = np.arange(40) != 20
    stretches = front.push(doorway(40)[keep], times(40)[keep]) + front.flush()
    assert sum(len(stretch.signal) for stretch in stretches) == 40
    assert front.intake.gaps == 0


def test_the_rate_is_told_by_the_median_so_that_losses_do_not_count() -> None:
    keep = np.arange(400) % 7 != 0
    Frontend((8, 8)).push(doorway(400)[keep], times(400, 6.0)[keep])
    with pytest.raises(FrameRateError, match=r"3\.00/s"):
        Frontend((8, 8)).push(doorway(40), times(40, 3.0))


def test_counting_goes_on_when_the_rate_is_right_again() -> None:
    front = Frontend((8, 8))
    t_us = np.cumsum(np.repeat([100_000, 333_000, 100_000], [40, 40, 60]))
    refused, signals = [], 0
    for i, frame in enumerate(doorway(len(t_us))):
        try:
            signals += sum(len(s.signal) for s in front.push(frame[None], t_us[i : i + 1]))
        except FrameRateError:
            refused.append(i)
    assert 50 <= refused[0] <= 60
    assert refused[-1] <= 95
    assert signals >= 90


def test_bad_pixels_take_the_mean_of_their_good_neighbours() -> None:
    values = np.arange(64, dtype=np.float32).reshape(1, 8, 8)
    bad = np.zeros((1, 8, 8), bool)
    bad[0, 4, 4] = True
    spoiled = values.copy()
    spoiled[0, 4, 4] = DEAD
    assert fill_bad(spoiled, bad)[0, 4, 4] == pytest.approx(values[0, 4, 4])
    assert np.all(np.isfinite(fill_bad(spoiled, np.ones((1, 8, 8), bool))))


def test_pooling_takes_the_mean_of_equal_blocks() -> None:
    values = np.random.default_rng(2).normal(size=(3, 24, 32)).astype(np.float32)
    expected = values.reshape(3, 8, 3, 8, 4).mean(axis=(2, 4))
    assert np.allclose(pool(values), expected, atol=1e-6)


def test_every_inward_direction_becomes_rising_columns() -> None:
    rising = np.tile(np.arange(8, dtype=np.float32), (1, 8, 1))
    turned = {"+x": rising, "-x": rising[:, :, ::-1], "+y": rising.transpose(0, 2, 1)}
    turned["-y"] = turned["+y"][:, ::-1]
    for inward, frame in turned.items():
        assert np.array_equal(orient(frame, inward), rising), inward


def test_the_background_survives_a_busy_doorway() -> None:
    background = Background()
    rng = np.random.default_rng(4)
    for i in range(900):
        if background.steps_until_sample() == 0:
            level = 3.0 if i % 20 < 9 else 0.0  # somebody there 45 % of the time
            background.sample(np.full((8, 8), level, np.float32) + rng.normal(0, 0.1, (8, 8)).astype(np.float32))
        else:
            background.advance(1)
    assert np.abs(background.level).max() < 0.5
