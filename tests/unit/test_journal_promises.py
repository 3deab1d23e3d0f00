"""Promises of the journal that mutation testing found nobody looking at (`python -m tests.fault mutants`)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from edge.core.errors import JournalCorrupt, JournalError, JournalFull
from edge.core.facts import Gap
from edge.core.instant import Instant, TimeQuality
from edge.core.ports import Commit
from edge.journal import InlineWriter, Journal, JournalSettings, Store, schema
from edge.journal.log import FULL_RETRY_S, open_store
from edge.journal.store import BALLAST_BYTES, Batch, damage_mark
from tests.unit.test_journal import Opened, commit, now, telemetry_fact, urgent_fact
from tests.virtual_time import run_virtual


class Full(Store):
    """A disk that refuses the next `refusals` transactions."""

    refusals = 0
    tried = 0

    def write(self, batch: Batch) -> None:
        self.tried += 1
        if self.refusals > 0:
            self.refusals -= 1
            raise JournalFull("journal: database or disk is full")
        super().write(batch)


def opened(store: Store, **settings: object) -> tuple[Journal, list[JournalError]]:
    fatal: list[JournalError] = []
    return Journal(store, InlineWriter(), JournalSettings(path="x", **settings), 7, fatal.append), fatal  # type: ignore[arg-type]


def test_the_lanes_are_those_of_the_specification() -> None:
    """20 ms and 5 s or 500 rows; everything else of the defaults is a choice and stands in docs/settings.md."""
    settings = JournalSettings()
    assert settings.urgent_delay_s <= 0.020
    assert (settings.telemetry_delay_s, settings.telemetry_rows) == (5.0, 500)
    assert settings.synchronous == "FULL"
    assert settings.quota_mib == 2048
    assert settings.keep_acked_rows == 10_000
    assert settings.pending_limit == 200_000
    with pytest.raises(AttributeError):
        settings.quota_mib = 1  # type: ignore[misc]


def test_what_waited_behind_a_refused_batch_joins_it_whole_and_in_order() -> None:
    async def scenario() -> None:
        store = Full(None)
        store.refusals = 3
        journal, fatal = opened(store)
        first = journal.append(commit(urgent_fact(), said={"a": 1, "b": 1}), now(1))
        second = journal.put("k", "v")
        await asyncio.sleep(0.02)
        assert journal.full
        third = journal.append(commit(urgent_fact(), said={"b": 2}), now(2))
        assert await first == await second == await third == 2
        assert not journal.full
        assert not fatal
        assert [row.seq for row in journal.read(1, 10)] == [1, 2]
        assert {row.boot for row in journal.read(1, 10)} == {7}
        assert store.mapping("said") == {"a": 1, "b": 2}
        assert store.mapping("keyed") == {"k": "v"}
        assert store.mapping("meta")["instant"] == [now(2).mono_us, now(2).wall_us, "synced"]
        assert journal.pending == 0

    run_virtual(scenario())


def test_a_full_disk_is_tried_again_four_times_a_second_and_not_more() -> None:
    async def scenario() -> None:
        store = Full(None)
        store.refusals = 1_000_000
        journal, _ = opened(store)
        for _ in range(100):  # each of them would be a reason to try at once
            journal.append(commit(urgent_fact()), now())
            await asyncio.sleep(0.1)
        assert 0.7 * 10 / FULL_RETRY_S <= store.tried <= 10 / FULL_RETRY_S + 3
        store.refusals = 0
        await journal.flush()
        assert journal.last_seq == 100

    run_virtual(scenario())


def test_telemetry_that_waits_for_a_full_disk_is_dropped_and_covered_once() -> None:
    async def scenario() -> None:
        store = Full(None)
        store.refusals = 1
        journal, _ = opened(store)
        journal.append(commit(telemetry_fact(), telemetry_fact(), urgent_fact()), now(1))
        await journal.flush()
        rows = journal.read(1, 10)
        (gap,) = [row for row in rows if row.type is Gap]
        assert [row.seq for row in rows] == [3, 4]
        assert gap.fields == {"dropped_class": "proximity", "missing": [[1, 2]], "count": 2, "reason": "disk"}
        assert gap.event_us == now(1).wall_us

    run_virtual(scenario())


def test_more_than_may_wait_is_refused_by_name_and_nothing_is_numbered() -> None:
    async def scenario() -> None:
        journal, _ = opened(Store(None), pending_limit=3)
        journal.append(commit(telemetry_fact(), telemetry_fact(), telemetry_fact()), now())
        assert journal.pending == 3
        with pytest.raises(JournalFull, match="3 facts wait for the disk, expected at most 3"):
            journal.append(commit(urgent_fact()), now())
        await journal.flush()
        assert journal.pending == 0
        assert await journal.append(commit(urgent_fact()), now()) == 4

    run_virtual(scenario())


def test_everybody_who_waits_learns_of_a_dead_disk() -> None:
    async def scenario() -> None:
        found = Opened()
        found.store._db.execute("DROP TABLE fact")
        waiters = [found.journal.append(commit(urgent_fact()), now()) for _ in range(3)]
        said = await asyncio.gather(*waiters, return_exceptions=True)
        assert [type(error) for error in said] == [JournalError] * 3
        assert len(found.fatal) == 1
        assert found.journal.last_seq == 0

    run_virtual(scenario())


def test_listeners_hear_of_each_commit_and_the_cursor_never_falls() -> None:
    async def scenario() -> None:
        journal, _ = opened(Store(None))
        heard: list[int] = []
        journal.subscribe(heard.append)
        await journal.append(commit(urgent_fact(), urgent_fact()), now())
        await journal.append(commit(urgent_fact()), now())
        assert heard == [2, 3]
        journal.ack(2)
        journal.ack(1)
        assert journal.acked_seq == 2
        with pytest.raises(JournalError, match="seq 99: expected at most 3, the last committed"):
            journal.ack(99)
        assert journal.acked_seq == 2

    run_virtual(scenario())


# --- starts -----------------------------------------------------------------------------------------------------------


def start(settings: JournalSettings, machine: str = "", *, clean: bool = True) -> tuple[str, object]:
    """(epoch, what was kept) of one start that ends cleanly or not."""

    async def life() -> tuple[str, object]:
        store, kept = open_store(settings, machine)
        journal = Journal(store, InlineWriter(), settings, kept.boot, lambda error: None)
        await journal.append(Commit([(urgent_fact(), now(5))], {}), now(5))
        if clean:
            await journal.close()
        else:
            store.close()
        return store.epoch, kept

    return asyncio.run(life())


def test_a_start_knows_its_number_whether_the_last_one_ended_well_and_when(tmp_path: Path) -> None:
    settings = JournalSettings(path=str(tmp_path / "deep" / "er" / "j.db"))
    kept = [start(settings, clean=clean)[1] for clean in (True, False, False, True, True)]
    assert [one.boot for one in kept] == [1, 2, 3, 4, 5]  # type: ignore[attr-defined]
    assert [one.clean for one in kept] == [True, True, False, False, True]  # type: ignore[attr-defined]
    assert kept[0].instant is None  # type: ignore[attr-defined]
    assert kept[1].instant == Instant(now(5).mono_us, now(5).wall_us, TimeQuality.SYNCED)  # type: ignore[attr-defined]
    assert (kept[1].new_epoch_cause, kept[1].quarantined) == ("", "")  # type: ignore[attr-defined]


def test_only_another_machine_begins_a_new_epoch(tmp_path: Path) -> None:
    settings = JournalSettings(path=str(tmp_path / "j.db"))
    first = start(settings)[0]
    assert start(settings, "pi-1")[0] == first  # the first one that has a name
    assert start(settings, "pi-1")[0] == first
    assert start(settings, "")[0] == first
    epoch, kept = start(settings, "pi-2")
    assert epoch != first
    assert kept.new_epoch_cause == "cloned"  # type: ignore[attr-defined]
    assert start(settings, "pi-2")[0] == epoch


def test_each_damaged_file_is_kept_under_a_number_of_its_own(tmp_path: Path) -> None:
    settings = JournalSettings(path=str(tmp_path / "j.db"))
    for number in (1, 2, 3):
        start(settings)
        damage_mark(tmp_path / "j.db").touch()
        kept = start(settings)[1]
        assert kept.quarantined == str(tmp_path / f"j.db.corrupt-{number}")  # type: ignore[attr-defined]
        assert not damage_mark(tmp_path / "j.db").exists()
    assert len(list(tmp_path.glob("j.db.corrupt-?"))) == 3


def test_a_broken_instant_is_damage(tmp_path: Path) -> None:
    settings = JournalSettings(path=str(tmp_path / "j.db"))
    for value in (["x"], [1, 2, "no quality"], []):
        epoch, _ = start(settings)
        store = Store(tmp_path / "j.db")
        store.write(Batch(meta={"instant": value}))  # type: ignore[dict-item]
        store.close()
        assert start(settings)[0] != epoch


def flipped(raw: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[at] ^= 1 << bit
    return bytes(changed)


def test_no_single_bit_of_the_first_page_keeps_a_gateway_from_starting(tmp_path: Path) -> None:
    """SQLite keeps no checksums: a renamed column, another count of migrations, a header that forbids writing.

    The format version (18), schema format (47), encoding (59), migrations counted (60 to 63), and every name and type.
    """
    path = tmp_path / "sound" / "j.db"
    epoch = start(JournalSettings(path=str(path)))[0]
    raw = path.read_bytes()
    assert raw[:16] == b"SQLite format 3\0"
    names = [
        (raw.index(b"CREATE TABLE " + table) + raw[raw.index(b"CREATE TABLE " + table) :].index(name), bit)
        for table, name in ((b"fact", b"seq"), (b"fact", b"body"), (b"said", b"key"), (b"keyed", b"value"))
        for bit in (0, 7)
    ]
    header = [(at, bit) for at in (18, 19, 47, 59, 60, 63) for bit in (0, 2, 7)]
    fresh = 0
    for number, (at, bit) in enumerate(header + names):
        settings = JournalSettings(path=str(tmp_path / str(number) / "j.db"))
        Path(settings.path).parent.mkdir()
        Path(settings.path).write_bytes(flipped(raw, at, bit))
        found, kept = start(settings)
        assert found == epoch or kept.new_epoch_cause == "corrupt", (at, bit)  # type: ignore[attr-defined]
        assert start(settings)[0] == found, "the second start goes on with what the first one began"
        fresh += found != epoch
    assert fresh > len(names), "hardly a flipped bit did harm: the test shows nothing"


def test_a_disk_that_cannot_be_written_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only file says so and keeps its facts: nothing is put aside."""
    settings = JournalSettings(path=str(tmp_path / "j.db"))
    epoch = start(settings)[0]
    path = Path(settings.path)
    sound = path.read_bytes()
    path.write_bytes(flipped(sound, 18, 2))  # as SQLite sees it: may not be written
    monkeypatch.setattr("edge.journal.store.os.access", lambda *_: False)  # as the file system says: neither
    with pytest.raises(JournalError, match="readonly") as caught:
        open_store(settings)
    assert not isinstance(caught.value, JournalCorrupt)
    path.write_bytes(sound)
    assert start(settings)[0] == epoch


def test_a_migration_that_fails_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad release must not put a sound journal aside: it is taken back, and the one before goes on."""
    settings = JournalSettings(path=str(tmp_path / "j.db"))
    epoch = start(settings)[0]
    with monkeypatch.context() as patched:
        wrong = [*schema.MIGRATIONS, lambda db: db.execute("ALTER TABLE nowhere ADD COLUMN x")]
        patched.setattr(schema, "MIGRATIONS", wrong)
        with pytest.raises(JournalError, match="nowhere") as caught:
            open_store(settings)
        assert not isinstance(caught.value, JournalCorrupt)
    assert start(settings)[0] == epoch


def test_the_ballast_is_laid_down_and_the_quota_is_a_share_of_the_disk(tmp_path: Path) -> None:
    settings = JournalSettings(path=str(tmp_path / "j.db"), quota_mib=3)
    store, _ = open_store(settings)
    assert (tmp_path / "j.ballast").stat().st_size == BALLAST_BYTES
    assert store.quota_bytes == 3 << 20
    assert store._db.execute("PRAGMA max_page_count").fetchone() == ((3 << 20) // 4096,)
    store.drop_ballast()
    assert not (tmp_path / "j.ballast").exists()
    (tmp_path / "j.ballast").write_bytes(b"short")
    assert store.keep_ballast()
    assert (tmp_path / "j.ballast").stat().st_size == BALLAST_BYTES
    store.close()
    disk = os.statvfs(tmp_path)
    huge = Store(tmp_path / "other.db", quota_bytes=1 << 60)
    assert huge.quota_bytes == disk.f_blocks * disk.f_frsize // 4
    assert huge.used_bytes() > 0
    huge.close()


def test_used_bytes_do_not_count_what_was_freed() -> None:
    store = Store(None)
    row = (1, 0, 0, 0, 0, 0, 101, b"x" * 500_000)
    store.write(Batch(facts=[row]))
    full = store.used_bytes()
    store.write(Batch(drop_seqs=[1]))
    assert full - store.used_bytes() >= 490_000
    assert store.bounds() == (0, 0)


def test_a_batch_is_all_or_nothing_and_none_forgets() -> None:
    store = Store(None)
    row = (1, 0, 0, 0, 0, 0, 101, b"[]")
    store.write(Batch(facts=[row], said={"a": 1, "b": 2}, internals={"i": [1]}))
    with pytest.raises(JournalCorrupt):
        store.write(Batch(facts=[(2, *row[1:]), row], said={"a": 9}))
    assert store.bounds() == (1, 1)
    assert store.mapping("said") == {"a": 1, "b": 2}
    store.write(Batch(said={"a": None}))
    assert store.mapping("said") == {"b": 2}
    assert store.mapping("internals") == {"i": [1]}
    assert not Batch()
    for batch in (Batch(facts=[row]), Batch(said={"a": 1}), Batch(keyed={"a": 1}), Batch(drop_seqs=[1])):
        assert batch
    with pytest.raises(ValueError, match="expected one of said"):
        store.mapping("fact")


def test_rows_leave_only_when_acknowledged_and_enough_stay() -> None:
    async def scenario() -> None:
        store = Store(None)
        journal, _ = opened(store, keep_acked_rows=3)
        for _ in range(10):
            await journal.append(commit(urgent_fact()), now())
        assert store.bounds() == (1, 10)
        journal.ack(5)
        await journal.append(commit(urgent_fact()), now())
        assert store.bounds()[0] == journal.first_seq == 6  # no more than the platform has
        journal.ack(11)
        await journal.append(commit(urgent_fact()), now())
        assert store.bounds()[0] == journal.first_seq == 9  # no fewer than three of the newest that were there

    run_virtual(scenario())
