"""Engine time never falls, wall time has a floor, and the kernel's word on the clock is carried."""

from __future__ import annotations

from dataclasses import dataclass

from edge.clock import BUILD_TIME_US, Sources, SystemClock
from edge.core.instant import US_PER_DAY, US_PER_HOUR, US_PER_S, Instant, TimeQuality

TRUE_US = BUILD_TIME_US + 300 * US_PER_DAY


@dataclass
class Machine:
    """A machine whose clocks a test turns."""

    boot_us: int = 0
    wall_us: int = TRUE_US
    synced: bool = False

    def sources(self) -> Sources:
        return Sources(lambda: self.boot_us * 1000, lambda: self.wall_us * 1000, lambda: self.synced)

    def pass_time(self, us: int) -> None:
        self.boot_us += us
        self.wall_us += us


def test_engine_time_goes_on_from_the_saved_instant() -> None:
    machine = Machine(boot_us=5 * US_PER_S)
    saved = Instant(1_000 * US_PER_S, TRUE_US - US_PER_HOUR, TimeQuality.RESTORED)
    clock = SystemClock(3, saved, machine.sources())
    assert clock.now().mono_us == 1_000 * US_PER_S + 1
    machine.pass_time(US_PER_S)
    assert clock.now().mono_us == 1_001 * US_PER_S + 1
    assert clock.now_us() == clock.now().mono_us


def test_a_known_downtime_counts() -> None:
    machine = Machine(synced=True)
    saved = Instant(1_000 * US_PER_S, TRUE_US - US_PER_HOUR, TimeQuality.SYNCED)
    assert SystemClock(2, saved, machine.sources()).now().mono_us == 1_000 * US_PER_S + 1 + US_PER_HOUR


def test_a_clock_turned_by_ten_years_moves_neither_engine_time_nor_the_floor() -> None:
    machine = Machine(synced=True)
    clock = SystemClock(1, Instant(0, TRUE_US, TimeQuality.SYNCED), machine.sources())
    before = clock.now()
    for years in (10, -20):
        machine.wall_us += years * 365 * US_PER_DAY
        machine.boot_us += 2 * US_PER_S
        now = clock.now()
        assert now.mono_us > before.mono_us
        assert now.wall_us >= TRUE_US
        before = now


def test_quality_is_synced_then_holdover() -> None:
    machine = Machine(wall_us=BUILD_TIME_US - US_PER_DAY)
    clock = SystemClock(1, None, machine.sources())
    assert clock.now().quality is TimeQuality.UNSET
    assert clock.now().wall_us == BUILD_TIME_US
    machine.wall_us = TRUE_US
    assert clock.now().quality is TimeQuality.RESTORED
    machine.synced = True
    machine.pass_time(2 * US_PER_S)
    assert clock.now().quality is TimeQuality.SYNCED
    machine.synced = False
    machine.pass_time(2 * US_PER_S)
    assert clock.now().quality is TimeQuality.HOLDOVER


def test_the_machine_itself_can_be_read() -> None:
    clock = SystemClock(1, None)
    first = clock.now()
    assert clock.now().mono_us >= first.mono_us
    assert first.wall_us >= BUILD_TIME_US
