"""Clocks that lie: turned by years at random moments, NTP that comes 48 h late. Run through the real runtime."""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import dataclass

from edge.clock import BUILD_TIME_US, Sources, SystemClock
from edge.core.facts import ClockFixed, ZoneHeat
from edge.core.instant import US_PER_DAY, US_PER_HOUR, US_PER_S
from edge.health import Health
from edge.journal import InlineWriter, Journal, JournalSettings, Store
from edge.journal.log import begin_boot
from edge.runtime import Runtime
from edge.store_engine import make_engine
from firmware_sim.scenario import SCENARIOS
from tests.fault._campaign import Outcome, Promise, Trial
from tests.virtual_time import run_virtual

TRUE_US = BUILD_TIME_US + 300 * US_PER_DAY


@dataclass
class Machine:
    """The loop's time is the truth; the wall clock is off by `error_us`."""

    error_us: int = 0
    synced: bool = False

    def true_us(self) -> int:
        return TRUE_US + round(asyncio.get_running_loop().time() * 1e6)

    def sources(self) -> Sources:
        def boottime_ns() -> int:
            return round(asyncio.get_running_loop().time() * 1e9)

        return Sources(boottime_ns, lambda: (self.true_us() + self.error_us) * 1000, lambda: self.synced)


class House:
    """Runtime, journal and health over a machine's clock, without devices."""

    def __init__(self, machine: Machine) -> None:
        from edge.core.site import load_site

        store = Store(None)
        kept = begin_boot(store)
        self.clock = SystemClock(kept.boot, None, machine.sources())
        self.health = Health(self.clock.now_us)
        self.journal = Journal(store, InlineWriter(), JournalSettings(), kept.boot, self._fatal)
        engine = make_engine(load_site(SCENARIOS["demo"](1, 1.0, 400, False).site), {})
        self.runtime = Runtime(engine, self.journal, self.clock, self.health)
        self.health.expect_beat("loop", 10)

    @staticmethod
    def _fatal(error: Exception) -> None:
        raise AssertionError(error)

    def tell(self) -> None:
        now = self.clock.now()
        self.runtime.tell(ZoneHeat(at_us=now.mono_us, zone="z", start_us=0, end_us=1, visits=7, dwell_s=1.5))


def turned(trial: Trial) -> Outcome:
    """The wall clock jumps up to ±10 years every few minutes for an hour: no timer, no watchdog, no order suffers."""
    alarms = falls = jumps = 0

    async def live(seed: int) -> None:
        nonlocal alarms, falls, jumps
        rng, machine = random.Random(seed), Machine(synced=True)
        house = House(machine)
        task = asyncio.create_task(house.runtime.run())
        for _ in range(3600):
            await asyncio.sleep(1)
            if rng.random() < 0.01:
                machine.error_us = rng.randrange(-10 * 365 * US_PER_DAY, 10 * 365 * US_PER_DAY)
                jumps += 1
            house.tell()
            alarms += bool(house.health.stale())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await house.journal.flush()
        rows = house.journal.read(1, 100_000)
        falls += sum(b.mono_us < a.mono_us or b.seq != a.seq + 1 for a, b in itertools.pairwise(rows))
        falls += len(rows) < 3600

    for number in range(trial.count):
        run_virtual(live(trial.seed + number))
    return Outcome(
        jumps, alarms + falls, f"{jumps} jumps of up to ±10 years; false watchdogs {alarms}, order broken {falls}"
    )


def late_ntp(trial: Trial) -> Outcome:
    """A boot without knowing the time; NTP comes 48 h later: earlier facts are then right within 1 s."""
    worst_s = 0.0
    failed = 0

    async def live(seed: int) -> tuple[int, float]:
        rng = random.Random(seed)
        machine = Machine(error_us=-rng.randrange(1, 40 * 365) * US_PER_DAY)
        house = House(machine)
        task = asyncio.create_task(house.runtime.run())
        truth: dict[int, int] = {}
        for _ in range(200):
            await asyncio.sleep(rng.uniform(0, 2 * 48 * 3600 / 200))
            house.tell()
            truth[house.journal._next_seq] = machine.true_us()
        machine.error_us, machine.synced = 0, True
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await house.journal.flush()
        rows = house.journal.read(1, 100_000)
        fixes = [row.fields for row in rows if row.type is ClockFixed]
        offs = (
            [abs(row.mono_us + fixes[0]["offset_us"] - truth[row.seq]) for row in rows if row.seq in truth]
            if fixes
            else []
        )
        unmarked = sum(row.quality.value == "synced" for row in rows if row.seq in truth)
        return int(len(fixes) != 1 or unmarked > 0), max(offs, default=US_PER_HOUR) / US_PER_S

    for number in range(trial.count):
        wrong, off_s = run_virtual(live(trial.seed + number))
        worst_s = max(worst_s, off_s)
        failed += wrong or off_s > 1
    return Outcome(trial.count, failed, f"worst error after ClockFixed {worst_s * 1000:.3f} ms")


PROMISES = (
    Promise("turned", "clock turned ±10 years: no false watchdog, seq and engine time rising", (1, 10, 100), turned),
    Promise("late_ntp", "NTP 48 h late: earlier facts within 1 s of truth after ClockFixed", (0, 4, 40), late_ntp),
)
