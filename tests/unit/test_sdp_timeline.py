"""Lost frames, reboots and sample times from seq and uptime."""

import random

from devices.sdp.timeline import Timeline

WRAP_MS = 2**32


def test_lost_frames_are_counted_across_the_wrap_of_seq() -> None:
    line = Timeline()
    for i, seq in enumerate((65533, 65534, 65535, 0, 3, 4)):
        line.take(seq, 1000 + 100 * i, 5_000_000 + 100_000 * i)
    assert (line.lost_frames, line.reboots) == (2, 0)


def test_uptime_that_falls_is_a_reboot_and_no_loss() -> None:
    line = Timeline()
    line.take(500, 60_000, 100_000_000)
    assert line.take(1, 120, 100_900_000) == 100_900_000
    assert (line.lost_frames, line.reboots) == (0, 1)


def test_uptime_that_wraps_is_no_reboot() -> None:
    line = Timeline()
    line.take(8, WRAP_MS - 50, 7_000_000)
    assert line.take(9, 50, 7_100_000) == 7_100_000
    assert (line.lost_frames, line.reboots) == (0, 0)


def test_a_delayed_frame_keeps_the_time_it_was_made() -> None:
    line = Timeline()
    made = [line.take(i, 100 * i, 1_000_000 + 100_000 * i + (900_000 if i == 5 else 0)) for i in range(8)]
    for i, made_us in enumerate(made):
        assert 0 <= made_us - (1_000_000 + 100_000 * i) <= 200  # the crystal may have been slow meanwhile


def test_a_frame_that_comes_twice_is_no_loss() -> None:
    line = Timeline()
    line.take(7, 700, 1_000_000)
    assert line.repeats(7, 700)
    line.take(7, 700, 1_000_100)
    assert not line.repeats(8, 800)
    line.take(8, 800, 1_100_000)
    assert line.lost_frames == 0


def test_a_slow_or_fast_crystal_is_followed_and_no_frame_comes_from_the_future() -> None:
    for ppm in (-150, 150):
        rng, line = random.Random(4), Timeline()
        worst_us = 0
        for i in range(20_000):  # half an hour at 10 Hz
            true_us = 100_000 * i
            arrived_us = true_us + rng.randrange(2_000, 12_000)
            made_us = line.take(i & 0xFFFF, int(true_us * (1 + ppm * 1e-6)) // 1000, arrived_us)
            assert made_us <= arrived_us
            worst_us = max(worst_us, abs(made_us - true_us))
        assert worst_us < 20_000


def test_an_advert_stamped_before_the_last_frame_is_no_reboot() -> None:
    line = Timeline()
    line.take(4, 10_000, 20_000_000)
    assert line.take(5, 9_960, 20_001_000) == 19_960_000
    line.take(6, 10_050, 20_050_000)
    assert (line.lost_frames, line.reboots) == (0, 0)
