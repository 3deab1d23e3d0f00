"""The journal: two lanes in one stream, facts and state in one transaction, cursor, retention, quota, damage."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.errors import JournalCorrupt, JournalError, JournalFull
from edge.core.fact import Fact, FactClass
from edge.core.facts import Gap, OnHandChanged, Restarted, ZoneHeat
from edge.core.instant import US_PER_S, Instant
from edge.core.ports import Commit
from edge.journal import InlineWriter, Journal, JournalSettings, Store, ThreadWriter
from edge.journal.log import begin_boot, covers, open_store, ranges
from tests.virtual_time import run_virtual


def urgent_fact(at_us: int = 1) -> Fact:
    return OnHandChanged(
        at_us=at_us, gtin="04012345000016", shelf="a", on_hand=3, low=2, high=4, confidence=0.9, sources=["rfid"],
        reason="read",
    )  # fmt: skip


def telemetry_fact(at_us: int = 1) -> Fact:
    return ZoneHeat(at_us=at_us, zone="z", start_us=0, end_us=1, visits=7, dwell_s=1.5)


def now(seconds: float = 0) -> Instant:
    return Instant(int(seconds * US_PER_S), 1_700_000_000 * US_PER_S + int(seconds * US_PER_S))


def commit(*facts: Fact, said: dict[str, object] | None = None) -> Commit:
    return Commit([(fact, now()) for fact in facts], said or {})  # type: ignore[arg-type]


class Opened:
    """A journal with what the tests ask of it."""

    def __init__(self, path: Path | None = None, **settings: object) -> None:
        self.settings = JournalSettings(path=str(path), **settings)  # type: ignore[arg-type]
        self.fatal: list[JournalError] = []
        self.store = Store(path, quota_bytes=self.settings.quota_mib << 20)
        self.kept = begin_boot(self.store)
        self.journal = Journal(self.store, InlineWriter(), self.settings, self.kept.boot, self.fatal.append)


def test_an_urgent_fact_takes_the_waiting_telemetry_along() -> None:
    async def scenario() -> None:
        opened = Opened()
        loop = asyncio.get_running_loop()
        telemetry = opened.journal.append(commit(telemetry_fact()), now())
        await asyncio.sleep(1)
        assert not telemetry.done()
        assert await opened.journal.append(commit(urgent_fact()), now()) == 2
        assert telemetry.done()
        assert loop.time() == pytest.approx(1.01, abs=0.001)
        assert [stored.seq for stored in opened.journal.read(1, 10)] == [1, 2]

    run_virtual(scenario())


def test_telemetry_waits_five_seconds_or_five_hundred_rows() -> None:
    async def scenario() -> None:
        opened = Opened()
        loop = asyncio.get_running_loop()
        await opened.journal.append(commit(telemetry_fact()), now())
        assert loop.time() == pytest.approx(5.0)
        full = [opened.journal.append(commit(telemetry_fact()), now()) for _ in range(500)]
        await full[-1]
        assert loop.time() == pytest.approx(5.0)

    run_virtual(scenario())


def test_said_state_and_facts_survive_together(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "journal.db"
        first = Opened(path)
        await first.journal.append(commit(urgent_fact(), said={"inventory/a": 3, "inventory/b": [1, "x"]}), now(7))
        await first.journal.append(commit(urgent_fact(), said={"inventory/a": None}), now(8))
        await first.journal.close()
        second = Opened(path)
        assert second.kept.boot == 2
        assert second.kept.clean
        assert second.kept.instant == now(8)
        assert second.kept.said == {"inventory/b": [1, "x"]}
        assert second.journal.epoch == first.journal.epoch
        assert second.journal.last_seq == 2
        assert await second.journal.append(commit(urgent_fact()), now()) == 3
        assert [stored.boot for stored in second.journal.read(1, 9)] == [1, 1, 2]
        await second.journal.close()

    run_virtual(scenario())


def test_keyed_values_share_the_stream(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = Opened(tmp_path / "j.db")
        await first.journal.put("command/1", ["done", ""])
        await first.journal.put("command/2", "x")
        await first.journal.put("command/2", None)
        await first.journal.close()
        second = Opened(tmp_path / "j.db")
        assert second.journal.keys("command/") == ["command/1"]
        assert second.journal.get("command/1") == ["done", ""]
        await second.journal.close()

    run_virtual(scenario())


def test_the_cursor_survives_and_acked_rows_leave(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = Opened(tmp_path / "j.db", keep_acked_rows=10)
        for _ in range(50):
            await first.journal.append(commit(urgent_fact()), now())
        first.journal.ack(45)
        first.journal.ack(20)
        assert first.journal.acked_seq == 45
        with pytest.raises(JournalError, match="at most 50"):
            first.journal.ack(51)
        await first.journal.append(commit(urgent_fact()), now())
        assert first.journal.first_seq == 41
        assert first.journal.read(1, 1)[0].seq == 41
        await first.journal.close()
        second = Opened(tmp_path / "j.db")
        assert (second.journal.acked_seq, second.journal.first_seq, second.journal.last_seq) == (45, 42, 51)
        await second.journal.close()

    run_virtual(scenario())


def test_seq_goes_on_after_every_row_has_left(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = Opened(tmp_path / "j.db", keep_acked_rows=0)
        await first.journal.append(commit(urgent_fact(), urgent_fact()), now())
        first.journal.ack(2)
        await first.journal.flush()
        await first.journal.close()
        second = Opened(tmp_path / "j.db")
        assert second.journal.last_seq == 2
        assert second.journal.first_seq == 3
        assert await second.journal.append(commit(urgent_fact()), now()) == 3
        await second.journal.close()

    run_virtual(scenario())


def test_read_selects_classes_and_bounds() -> None:
    async def scenario() -> None:
        opened = Opened()
        await opened.journal.append(commit(urgent_fact(), telemetry_fact(), urgent_fact()), now())
        heat = opened.journal.read(1, 10, classes=frozenset({FactClass.PROXIMITY}))
        assert [stored.seq for stored in heat] == [2]
        assert [stored.seq for stored in opened.journal.read(2, 10, to_seq=2)] == [2]
        assert heat[0].fields == {"zone": "z", "start_us": 0, "end_us": 1, "visits": 7, "dwell_s": 1.5}

    run_virtual(scenario())


def test_under_quota_telemetry_goes_first_and_one_gap_covers_each_row() -> None:
    async def scenario() -> None:
        opened = Opened(quota_mib=1)
        written = 0
        for _ in range(700):
            facts = [telemetry_fact() for _ in range(60)] + [urgent_fact() for _ in range(6)]
            await opened.journal.append(commit(*facts), now(), urgent=True)
            written += len(facts)
        await opened.journal.flush()
        rows = opened.journal.read(1, 100_000)
        present = {stored.seq for stored in rows}
        gaps = [stored.fields for stored in rows if stored.type is Gap]
        missing = set(range(1, opened.journal.last_seq + 1)) - present
        assert missing, "the quota was never reached: the test shows nothing"
        assert [sum(covers(gap["missing"], seq) for gap in gaps) for seq in sorted(missing)] == [1] * len(missing)
        assert sum(gap["count"] for gap in gaps) == len(missing)
        assert sum(stored.type is OnHandChanged for stored in rows) == 700 * 6
        assert not opened.fatal

    run_virtual(scenario())


def test_a_full_disk_keeps_stock_facts_until_there_is_room() -> None:
    async def scenario() -> None:
        opened = Opened(quota_mib=1)
        opened.store._db.execute("PRAGMA max_page_count = 60")  # the disk is smaller than the quota
        waiting = [opened.journal.append(commit(urgent_fact()), now(), urgent=True) for _ in range(4_000)]
        await asyncio.sleep(3)
        assert opened.journal.full
        assert not waiting[-1].done()
        opened.store._db.execute("PRAGMA max_page_count = 100000")
        assert await waiting[-1] == 4_000
        assert not opened.journal.full
        assert len(opened.journal.read(1, 10_000)) == 4_000
        assert not opened.fatal

    run_virtual(scenario())


def test_a_failing_disk_is_fatal_and_never_retried() -> None:
    async def scenario() -> None:
        opened = Opened()
        opened.store._db.execute("DROP TABLE fact")
        waiter = opened.journal.append(commit(urgent_fact()), now())
        with pytest.raises(JournalError, match="no such table"):
            await waiter
        assert len(opened.fatal) == 1

    run_virtual(scenario())


def test_a_damaged_file_goes_to_quarantine_and_a_new_epoch_begins(tmp_path: Path) -> None:
    settings = JournalSettings(path=str(tmp_path / "j.db"))
    store, kept = open_store(settings)
    epoch = store.epoch
    assert kept.new_epoch_cause == ""
    store.close()
    (tmp_path / "j.db").write_bytes(b"not a database, long enough to be looked at" * 100)
    store, kept = open_store(settings)
    assert store.epoch != epoch
    assert kept.new_epoch_cause == "corrupt"
    assert Path(kept.quarantined).exists()
    store.close()


@pytest.mark.parametrize("how", ["bounds", "said", "json", "column", "table"])
def test_damage_that_only_a_start_finds_is_put_aside_too(tmp_path: Path, how: str) -> None:
    """The file opens; what is broken lies in a page, or a value, that a start reads later."""
    path = tmp_path / "j.db"
    opened = Opened(path)

    async def scenario() -> None:
        await opened.journal.append(commit(urgent_fact(), said={"k": "v" * 9_000}), now())

    asyncio.run(scenario())
    epoch = opened.store.epoch
    opened.store.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if how in ("column", "table"):
            old, new = {"column": ("value", "valte"), "table": ("TABLE internals", "TABLE intesnals")}[how]
            db.execute("PRAGMA writable_schema = 1")
            db.execute("UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = 'internals'", (old, new))
        if how == "json":
            db.execute("UPDATE said SET value = X'7B'")
        name = "fact" if how == "bounds" else "said"
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    if how in ("bounds", "said"):
        with path.open("r+b") as file:
            file.seek((root - 1) * 4096)
            file.write(b"\xa5" * 4096)
    store, kept = open_store(opened.settings)
    assert kept.new_epoch_cause == "corrupt"
    assert store.epoch != epoch
    held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert [name for name in held if name.startswith(f"{path}.corrupt-")] == [], "what was put aside is closed"
    store.close()
    store, kept = open_store(opened.settings)
    assert kept.new_epoch_cause == ""
    store.close()


def test_damage_found_while_it_runs_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    """Without waiting for the background check, which an early end of the process would cut short for ever."""
    path = tmp_path / "j.db"
    opened = Opened(path)
    with pytest.raises(JournalCorrupt), opened.store._translated():
        raise sqlite3.DatabaseError("database disk image is malformed")
    opened.store.close()
    store, kept = open_store(opened.settings)
    assert kept.new_epoch_cause == "corrupt"
    assert Path(kept.quarantined).exists()
    store.close()


def test_a_failed_background_check_takes_effect_at_the_next_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        opened = Opened(tmp_path / "j.db")
        await opened.journal.mark_damaged()
        await opened.journal.close()

    run_virtual(scenario())
    store, kept = open_store(JournalSettings(path=str(tmp_path / "j.db")))
    assert kept.new_epoch_cause == "corrupt"
    store.close()


def test_a_cloned_card_begins_a_new_epoch_and_keeps_what_was_said(tmp_path: Path) -> None:
    async def first_machine() -> str:
        settings = JournalSettings(path=str(tmp_path / "j.db"))
        store, kept = open_store(settings, machine="pi-1")
        journal = Journal(store, InlineWriter(), settings, kept.boot, lambda _: None)
        await journal.append(commit(urgent_fact(), said={"x": 1}), now())
        await journal.close()
        return journal.epoch

    epoch = run_virtual(first_machine())
    store, kept = open_store(JournalSettings(path=str(tmp_path / "j.db")), machine="pi-2")
    assert (kept.new_epoch_cause, kept.said) == ("cloned", {"x": 1})
    assert store.epoch != epoch
    assert store.bounds() == (0, 0)
    store.close()


def test_full_sync_is_what_the_file_uses(tmp_path: Path) -> None:
    store = Store(tmp_path / "j.db")
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_the_writer_thread_commits_what_another_process_can_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "j.db"
        store = Store(path)
        journal = Journal(store, ThreadWriter(), JournalSettings(path=str(path)), 1, lambda _: None)
        seen: list[int] = []
        journal.subscribe(seen.append)
        assert await journal.append(commit(Restarted(at_us=1, boot=1, version="1", cause="start")), now()) == 1
        with sqlite3.connect(path) as other:
            assert other.execute("SELECT COUNT(*) FROM fact").fetchone() == (1,)
        other.close()
        assert seen == [1]
        await journal.close()

    asyncio.run(scenario())


@given(st.sets(st.integers(1, 300), min_size=1))
def test_ranges_are_the_set_and_nothing_else(seqs: set[int]) -> None:
    pairs = ranges(seqs)
    assert {seq for low, high in pairs for seq in range(low, high + 1)} == seqs
    assert all(later[0] > earlier[1] + 1 for earlier, later in itertools.pairwise(pairs))
    assert [covers(pairs, seq) for seq in range(302)] == [seq in seqs for seq in range(302)]


def test_a_disk_that_is_full_for_long_is_tried_again_until_it_works() -> None:
    """A commit that becomes due while the disk refuses another must not be the last one."""

    async def scenario() -> None:
        opened = Opened()
        refusing = [True]

        class Slow:
            def submit(self, job, done) -> None:  # type: ignore[no-untyped-def]
                def finish() -> None:
                    if refusing[0]:
                        done(JournalFull("journal: database or disk is full"))
                    else:
                        job()
                        done(None)

                asyncio.get_running_loop().call_later(0.05, finish)

            def close(self) -> None:
                return None

        opened.journal._writer = Slow()
        first = opened.journal.append(commit(urgent_fact()), now())
        await asyncio.sleep(0.02)  # the write is under way
        second = opened.journal.append(commit(urgent_fact()), now())
        await asyncio.sleep(5)
        assert opened.journal.full
        assert not first.done()
        refusing[0] = False
        await asyncio.sleep(3)
        assert first.done()
        assert second.done()
        assert not opened.journal.full

    run_virtual(scenario())
