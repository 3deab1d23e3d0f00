"""More promises of the journal that mutation testing found nobody looking at: what rides along, when, and how much."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge.core.errors import JournalError, JournalFull
from edge.core.fact import StoredFact
from edge.core.facts import Gap
from edge.core.ports import Commit
from edge.journal import InlineWriter, Journal, JournalSettings, Store, ThreadWriter
from edge.journal.log import begin_boot
from edge.journal.store import BALLAST_BYTES, Batch
from tests.unit.test_journal import Opened, commit, now, telemetry_fact, urgent_fact
from tests.virtual_time import run_virtual


class SlowWriter:
    """A disk that needs 50 ms for each transaction, and refuses while `refusing`."""

    def __init__(self) -> None:
        self.refusing = False

    def submit(self, job: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
        asyncio.get_running_loop().call_later(0.05, self._finish, job, done)

    def _finish(self, job: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
        if self.refusing:
            done(JournalFull("journal: database or disk is full"))
            return
        job()
        done(None)

    def close(self) -> None:
        return None


class Counting(Store):
    """How many transactions there were, and when (the loop's clock)."""

    def __init__(self, path: Path | None = None, **settings: int) -> None:
        self.at_s: list[float] = []
        super().__init__(path, **settings)

    def write(self, batch: Batch) -> None:
        try:
            self.at_s.append(asyncio.get_running_loop().time())
        except RuntimeError:
            self.at_s.append(0.0)
        super().write(batch)


def journal_over(store: Store, writer: object | None = None, **settings: object) -> Journal:
    def never(error: JournalError) -> None:
        raise AssertionError(error)

    return Journal(store, writer or InlineWriter(), JournalSettings(path="x", **settings), 1, never)  # type: ignore[arg-type]


def test_everything_that_waits_during_a_refused_write_joins_it() -> None:
    """Facts, what was said, internals, keyed values, the cursor, and rows dropped for a Gap: one transaction."""

    async def scenario() -> None:
        store, writer = Counting(), SlowWriter()
        journal = journal_over(store, writer)
        await journal.append(commit(telemetry_fact(), telemetry_fact()), now(), urgent=True)
        writer.refusing = True
        first = journal.append(Commit([(urgent_fact(), now(1))], {"a": 1}, {"filter": [1]}), now(1))
        await asyncio.sleep(0.03)  # the write is under way
        second = journal.append(Commit([(urgent_fact(), now(2))], {"a": 2, "b": 2}, {"other": 2}), now(2))
        journal.put("k", "v")
        journal.ack(1)
        await asyncio.sleep(0.2)
        assert journal.full
        assert (first.done(), second.done()) == (False, False)
        before = len(store.at_s)
        writer.refusing = False
        assert await first == await second
        assert len(store.at_s) == before + 1, "one transaction"
        assert store.mapping("said") == {"a": 2, "b": 2}
        assert store.mapping("internals") == {"filter": [1], "other": 2}
        assert store.mapping("keyed") == {"k": "v"}
        assert store.mapping("meta")["acked"] == 1
        rows = journal.read(1, 10)
        (gap,) = [row.fields for row in rows if row.type is Gap]
        assert gap["missing"] == [[2, 2]], "telemetry that the platform does not have goes first; 1 it has"
        assert [row.seq for row in rows] == [1, 3, 4, 5]

    run_virtual(scenario())


def test_telemetry_on_the_disk_is_dropped_from_the_first_row_on() -> None:
    async def scenario() -> None:
        store, writer = Store(None), SlowWriter()
        journal = journal_over(store, writer)
        await journal.append(commit(telemetry_fact(), telemetry_fact(), telemetry_fact()), now(), urgent=True)
        writer.refusing = True
        journal.append(commit(urgent_fact()), now())
        await asyncio.sleep(0.1)
        writer.refusing = False
        await journal.flush()
        (gap,) = [row.fields for row in journal.read(1, 10) if row.type is Gap]
        assert (gap["missing"], gap["count"]) == ([[1, 3]], 3)

    run_virtual(scenario())


def test_telemetry_that_came_during_a_write_still_waits_its_five_seconds() -> None:
    """Flash wear: each commit costs 14 KB, so the lane must not be emptied behind every urgent fact."""

    async def scenario() -> None:
        store = Counting()
        journal = journal_over(store, SlowWriter())
        journal.append(commit(urgent_fact()), now())
        await asyncio.sleep(0.03)
        journal.append(commit(telemetry_fact()), now())
        await asyncio.sleep(4.9)
        assert len(store.at_s) == 1
        await asyncio.sleep(0.3)
        assert len(store.at_s) == 2

    run_virtual(scenario())


def test_a_full_disk_is_tried_again_after_a_quarter_of_a_second() -> None:
    async def scenario() -> None:
        store, writer = Counting(), SlowWriter()
        journal = journal_over(store, writer)
        writer.refusing = True
        journal.append(commit(urgent_fact()), now())
        await asyncio.sleep(0.1)  # refused at 0.06
        writer.refusing = False
        await asyncio.sleep(0.4)
        assert store.at_s == [pytest.approx(0.06 + 0.25 + 0.05)]
        assert not journal.full

    run_virtual(scenario())


def test_the_ballast_is_given_back_on_a_full_disk_and_laid_down_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        store, writer = Store(tmp_path / "j.db"), SlowWriter()
        assert store.keep_ballast()
        journal = journal_over(store, writer)
        writer.refusing = True
        journal.append(commit(urgent_fact()), now())
        await asyncio.sleep(0.1)
        assert not (tmp_path / "j.ballast").exists()
        writer.refusing = False
        await asyncio.sleep(0.5)
        assert (tmp_path / "j.ballast").stat().st_size == BALLAST_BYTES
        await journal.close()

    run_virtual(scenario())


@pytest.mark.parametrize(("free", "room"), [(4 * BALLAST_BYTES, True), (4 * BALLAST_BYTES - 4096, False)])
def test_the_ballast_takes_no_more_than_a_quarter_of_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, room: bool
) -> None:
    store = Store(tmp_path / "j.db")
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free // 4096, f_frsize=4096))
    assert store.has_room() is room
    store.close()
    in_memory = Store(None)
    assert in_memory.has_room()
    assert in_memory.keep_ballast()
    in_memory.drop_ballast()


def test_a_ballast_that_does_not_fit_is_taken_away_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    store = Store(tmp_path / "j.db")
    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        assert store.keep_ballast() is False
    assert not (tmp_path / "j.ballast").exists()
    assert store.keep_ballast() is True
    assert store.keep_ballast() is True
    store.close()


def test_nothing_is_dropped_far_below_the_quota_and_the_quota_is_looked_at_now_and_then_only() -> None:
    async def scenario() -> None:
        store = Store(None, quota_bytes=64 << 20)
        looks = 0
        used_bytes = store.used_bytes

        def counted() -> int:
            nonlocal looks
            looks += 1
            return used_bytes()

        store.used_bytes = counted  # type: ignore[method-assign]
        journal = journal_over(store)
        for _ in range(100):
            await journal.append(commit(telemetry_fact()), now(), urgent=True)
        assert [row.seq for row in journal.read(1, 200)] == list(range(1, 101))
        assert looks == 100 // 16

    run_virtual(scenario())


def test_the_oldest_telemetry_goes_when_nine_tenths_of_the_quota_are_used() -> None:
    async def scenario() -> None:
        store = Store(None, quota_bytes=1 << 20)
        journal = journal_over(store)
        shares, gaps = [0.0], list[StoredFact]()
        while not gaps:
            shares.append(store.used_bytes() / store.quota_bytes)
            await journal.append(commit(*[telemetry_fact()] * 40), now(), urgent=True)
            gaps = [row for row in journal.read(max(1, journal.last_seq - 50), 100) if row.type is Gap]
        assert 0.9 <= max(shares) < 1.0
        (gap,) = gaps
        assert gap.fields["reason"] == "quota"
        assert gap.fields["missing"] == [[1, 2_000]], "the oldest first"
        assert gap.fields["count"] == 2_000

    run_virtual(scenario())


# --- cursor, retention, keys, listeners -------------------------------------------------------------------------------


def test_the_cursor_is_written_within_five_seconds_and_only_when_it_moved() -> None:
    async def scenario() -> None:
        store = Counting()
        journal = journal_over(store)
        await journal.append(commit(urgent_fact(), urgent_fact()), now())
        journal.ack(2)
        await asyncio.sleep(5.1)
        assert store.mapping("meta")["acked"] == 2
        before = len(store.at_s)
        journal.ack(2)
        journal.ack(1)
        await asyncio.sleep(6)
        assert len(store.at_s) == before, "a platform that repeats itself costs no write"

    run_virtual(scenario())


def test_retention_takes_ten_thousand_rows_a_commit_so_that_no_commit_lasts_long() -> None:
    async def scenario() -> None:
        journal = journal_over(Store(None), keep_acked_rows=0)
        for _ in range(4):
            await journal.append(commit(*[urgent_fact()] * 6_000), now())
        journal.ack(24_000)
        firsts = []
        for _ in range(4):
            await journal.append(commit(urgent_fact()), now())
            firsts.append(journal.first_seq)
        assert firsts[:2] == [10_002, 20_003]
        assert firsts[2] == 24_001, "no further than the platform has it"

    run_virtual(scenario())


def test_keyed_values_are_there_at_once_and_none_forgets() -> None:
    async def scenario() -> None:
        journal = journal_over(Store(None))
        journal.put("a/2", 1)
        journal.put("a/1", [2])
        journal.put("b", 3)
        assert (journal.get("a/2"), journal.get("a/1"), journal.get("never")) == (1, [2], None)
        assert journal.keys("a/") == ["a/1", "a/2"]
        forgotten = journal.put("a/2", None)
        assert journal.get("a/2") is None
        assert journal.keys("a/") == ["a/1"]
        journal.put("never", None)
        await forgotten
        assert asyncio.get_running_loop().time() == pytest.approx(0.01), "a key is urgent"

    run_virtual(scenario())


def test_who_has_gone_hears_nothing_more() -> None:
    async def scenario() -> None:
        journal = journal_over(Store(None))
        heard: list[int] = []
        leave = journal.subscribe(heard.append)
        await journal.append(commit(urgent_fact()), now())
        leave()
        leave()  # twice is no harm
        await journal.append(commit(urgent_fact()), now())
        assert heard == [1]

    run_virtual(scenario())


def test_internals_and_urgency_are_what_the_caller_says(tmp_path: Path) -> None:
    async def scenario() -> None:
        opened = Opened(tmp_path / "j.db")
        loop = asyncio.get_running_loop()
        await opened.journal.append(Commit([(telemetry_fact(), now())], {}, {"filter": [1, 2]}), now(), urgent=True)
        assert loop.time() == pytest.approx(0.01)
        await opened.journal.append(Commit([(urgent_fact(), now())], {}), now(), urgent=False)
        assert loop.time() == pytest.approx(5.01)
        began_s = loop.time()
        await opened.journal.flush()
        assert loop.time() == began_s, "a flush waits for nothing but the disk"
        await opened.journal.close()
        kept = begin_boot(Store(tmp_path / "j.db"))
        assert kept.internals == {"filter": [1, 2]}

    run_virtual(scenario())


# --- file and thread --------------------------------------------------------------------------------------------------


def test_a_background_check_tells_sound_from_damaged(tmp_path: Path) -> None:
    store = Store(tmp_path / "j.db")
    store.write(Batch(facts=[(seq, 1, 0, 0, 0, 0, 101, b"x" * 1_000) for seq in range(1, 200)]))
    assert store.quick_check() is True
    store.close()
    size = (tmp_path / "j.db").stat().st_size
    with (tmp_path / "j.db").open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xa5" * 4096)
    damaged = Store(tmp_path / "j.db")
    assert damaged.quick_check() is False
    damaged.close()
    assert Store(None).quick_check() is True


def test_the_file_is_set_up_for_a_small_machine_and_a_card(tmp_path: Path) -> None:
    store = Store(tmp_path / "j.db")
    said = {
        name: store._db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_size", "wal_autocheckpoint", "cache_size", "temp_store", "synchronous")
    }
    assert said == {
        "page_size": 4096, "wal_autocheckpoint": 500, "cache_size": -1024, "temp_store": 2, "synchronous": 2,
    }  # fmt: skip
    assert store._reader.execute("PRAGMA cache_size").fetchone() == (-1024,)
    with pytest.raises(Exception, match="readonly"):
        store._reader.execute("DELETE FROM fact")
    store.close()
    for connection in (store._db, store._reader):
        with pytest.raises(Exception, match="closed"):
            connection.execute("SELECT 1")


def test_a_closed_writer_has_finished_and_its_thread_has_ended() -> None:
    finished: list[str] = []

    def slowly() -> None:
        time.sleep(0.1)
        finished.append(threading.current_thread().name)

    async def scenario() -> tuple[ThreadWriter, list[BaseException | None]]:
        writer, heard = ThreadWriter(), list[BaseException | None]()
        assert writer._thread.daemon, "a write that hangs must not keep a process alive that is to end"
        writer.submit(slowly, heard.append)
        writer.submit(lambda: (_ for _ in ()).throw(OSError("dead disk")), heard.append)
        began_s = time.monotonic()
        writer.close()
        assert time.monotonic() - began_s < 5
        assert finished == ["journal"]
        await asyncio.sleep(0.01)
        return writer, heard

    writer, heard = asyncio.run(scenario())
    assert not writer._thread.is_alive()
    assert heard[0] is None
    assert isinstance(heard[1], OSError)
