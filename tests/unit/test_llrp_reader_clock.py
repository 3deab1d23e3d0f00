"""A reader's clock on the engine's: delays, drift, steps."""

from __future__ import annotations

import random

import numpy as np
import pytest

from devices.rfid_llrp.reader_clock import ReaderClock

S = 1_000_000


def mapped(clock: ReaderClock, reader_us: int, arrived_us: int) -> int:
    return int(clock.map(np.array([reader_us - 1000, reader_us]), arrived_us)[1])


@pytest.mark.parametrize("drift_ppm", [-100, 0, 100])
def test_delay_is_filtered_and_drift_followed(drift_ppm):
    """Batches come 5 to 150 ms late for 6 hours: the time of a read stays within 60 ms of the truth."""
    rng = random.Random(3)
    clock = ReaderClock()
    errors_us = []
    for true_us in range(0, 6 * 3600 * S, S // 2):
        reader_us = 1_600_000_000 * S + true_us + true_us * drift_ppm // 1_000_000
        errors_us.append(mapped(clock, reader_us, true_us + rng.randrange(5_000, 150_000)) - true_us)
    settled = np.array(errors_us[100:])
    assert np.abs(settled).max() < 60_000
    assert clock.steps == 0


def test_never_in_the_future():
    clock = ReaderClock()
    rng = np.random.default_rng(1)
    for at_us in range(0, 100 * S, S // 10):
        stamps_us = 5 * S + at_us + rng.integers(-50_000, 50_000, 20)
        assert clock.map(stamps_us, at_us).max() <= at_us


@pytest.mark.parametrize("step_s", [-3600, -30, 3600])
def test_a_step_is_followed_at_once(step_s):
    clock = ReaderClock()
    for at_us in range(0, 60 * S, S):
        reader_us = 1000 * S + at_us + (step_s * S if at_us >= 30 * S else 0)
        assert abs(mapped(clock, reader_us, at_us + 10_000) - at_us) <= 20_000
    assert clock.steps == 1


def test_a_stall_of_the_network_is_no_step_but_a_small_step_back_is_believed_in_the_end():
    clock = ReaderClock()
    for at_us in range(0, 10 * S, S):
        mapped(clock, 1000 * S + at_us, at_us)
    assert abs(mapped(clock, 1000 * S + 10 * S, 15 * S) - 10 * S) <= 2_000, "5 s late, and dated back to the read"
    for at_us in range(16 * S, 30 * S, S):
        found_us = mapped(clock, 995 * S + at_us, at_us)
    assert found_us == at_us
    assert clock.steps == 1
