"""The day of the console: counted along, since the journal does not keep a day of facts; kept over a restart."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from zoneinfo import ZoneInfo

from edge.api.tally import KEEP_LOOKS, KEY, LOOK_S, Day, Tally
from edge.core.facts import ItemPicked
from edge.core.instant import US_PER_S, Instant
from edge.core.ports import Commit
from tests.unit.test_journal import Opened
from tests.virtual_time import run_virtual

UTC = ZoneInfo("UTC")
NOON_US = 1_700_049_600 * US_PER_S


class LoopClock:
    """The wall time follows the loop's."""

    def __init__(self, days: int = 0) -> None:
        self.days = days

    def now(self) -> Instant:
        mono_us = int(asyncio.get_running_loop().time() * US_PER_S)
        return Instant(mono_us, NOON_US + self.days * 86_400 * US_PER_S + mono_us)


async def pick(opened: Opened, clock: LoopClock, count: int) -> None:
    fact = ItemPicked(at_us=0, gtin="04012345000016", shelf="a", quantity=1, confidence=0.9)
    await opened.journal.append(Commit([(fact, clock.now())] * count, {}), clock.now())
    opened.journal.ack(opened.journal.last_seq)
    await asyncio.sleep(1)


@contextlib.asynccontextmanager
async def reading_along(tally: Tally) -> AsyncIterator[None]:
    task = asyncio.create_task(tally.count(lambda: UTC))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_the_day_holds_what_has_left_the_journal_and_outlives_a_restart(tmp_path: Path) -> None:
    async def morning() -> None:
        clock, opened = LoopClock(), Opened(tmp_path / "j.db", keep_acked_rows=50)
        async with reading_along(Tally(opened.journal, clock, opened.journal)):
            for _ in range(40):
                await pick(opened, clock, 20)
                await asyncio.sleep(LOOK_S)
            await asyncio.sleep(KEEP_LOOKS * LOOK_S)
        await pick(opened, clock, 7)  # the power goes before anybody looks
        assert opened.journal.first_seq > 700
        opened.store.close()

    async def evening() -> None:
        clock, opened = LoopClock(), Opened(tmp_path / "j.db", keep_acked_rows=50)
        tally = Tally(opened.journal, clock, opened.journal)
        assert tally.read(UTC).picks == 807
        assert tally.day.layout[("a", "04012345000016")]["picks"] == 807
        assert len(tally.by_product["04012345000016"]) == 20
        assert Tally(opened.journal, LoopClock(days=1), opened.journal).read(UTC).picks == 0
        opened.store.close()

    run_virtual(morning())
    run_virtual(evening())


def test_counts_of_another_journal_or_broken_ones_are_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock, opened = LoopClock(), Opened(tmp_path / "j.db")
        await pick(opened, clock, 3)
        day = Day(number=1, picks=99).as_json()
        for kept in (
            {"epoch": "x", "after": 2, "day": day},
            {"epoch": opened.journal.epoch, "day": 5},
            "nonsense",
            None,
        ):
            await opened.journal.put(KEY, kept)  # type: ignore[arg-type]
            assert Tally(opened.journal, clock, opened.journal).read(UTC).picks == 3
        opened.store.close()

    run_virtual(scenario())


def test_a_day_comes_back_as_it_was_kept() -> None:
    day = Day(number=5, people=None, picks=3)
    day.entered[40] += 2
    day.unknown.add(41)
    day.layout[("a", "1")] = Counter(picks=3)
    day.dwell_s["z"] = 1.5
    assert Day.from_json(day.as_json()) == day
