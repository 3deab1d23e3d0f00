"""The loop's side of the journal: gives out seq, groups commits in two lanes, tells readers what is on the disk.

Urgent facts (stock, reorder, alarms, API writes, audit) are committed within 20 ms together with everything pending;
telemetry waits for 5 s or 500 rows. There is one stream of transactions, so order of append is order of seq is order
on the disk. "Sent" is a cursor: `acked_seq`, moved by the platform's own acknowledgement only.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from edge.core.errors import JournalCorrupt, JournalError, JournalFull
from edge.core.fact import Fact, FactClass, JsonValue, StoredFact, fact_types, pack
from edge.core.facts import Gap
from edge.core.instant import Instant, TimeQuality
from edge.core.plain import OneOf, Within
from edge.core.ports import Commit
from edge.journal.schema import QUALITIES
from edge.journal.store import Batch, FactRow, Store, damage_mark, quarantine
from edge.journal.writer import Writer

FULL_RETRY_S = 0.25
QUOTA_CHECK_COMMITS = 16
DROP_ROWS = 2_000  # one Gap fact's share: its ranges stay below the 64 kB of a batch
GAP_RESERVE = 0.9  # dropping starts when this share of the quota is used


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """Lanes, retention and quota of the journal."""

    path: str = "var/journal.db"
    """The file's name; it lies in ``gateway.state_dir``, whatever folder stands before it."""
    quota_mib: Annotated[int, Within(1, 1_048_576, "MiB")] = 2048
    """So large the file may grow before telemetry makes room (told in a Gap fact); at most a quarter of the disk."""
    urgent_delay_s: Annotated[float, Within(0, 1, "seconds")] = 0.01
    """So long an urgent fact (stock, reorder, alarm, audit) waits for others to be committed with."""
    telemetry_delay_s: Annotated[float, Within(0, 3600, "seconds")] = 5.0
    """So long telemetry waits; a power cut loses at most this much of it, and never an acknowledged fact."""
    telemetry_rows: Annotated[int, Within(1, 100_000, "rows")] = 500
    """So many waiting rows are committed at once, whatever their age."""
    keep_acked_rows: Annotated[int, Within(0, 10_000_000, "rows")] = 10_000
    """So many facts that the platform has stay here, for the console and for replay."""
    pending_limit: Annotated[int, Within(1000, 10_000_000, "rows")] = 200_000
    """So many rows may wait for a disk that refuses them; what would be more is refused, and said so."""
    synchronous: Annotated[str, OneOf(("FULL", "EXTRA"))] = "FULL"
    """SQLite's PRAGMA; less than FULL loses acknowledged facts in a power cut and is not offered."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the last boot left behind."""

    boot: int
    clean: bool
    instant: Instant | None
    said: dict[str, JsonValue]
    internals: dict[str, JsonValue]
    new_epoch_cause: str = ""
    quarantined: str = ""


@dataclass(slots=True)
class _Pending:
    batch: Batch = field(default_factory=Batch)
    waiters: list[asyncio.Future[int]] = field(default_factory=list)
    last_seq: int = 0

    def follow(self, later: _Pending) -> _Pending:
        """This one and, behind it, the later one, as one transaction."""
        mine, other = self.batch, later.batch
        mine.facts += other.facts
        mine.drop_seqs += other.drop_seqs
        for name in ("said", "internals", "keyed", "meta"):
            getattr(mine, name).update(getattr(other, name))
        return _Pending(mine, self.waiters + later.waiters, max(self.last_seq, later.last_seq))


def open_store(settings: JournalSettings, machine: str = "") -> tuple[Store, Kept]:
    """Open the journal file, put a damaged one aside, begin a new epoch on a foreign machine; count the boot.

    `machine` identifies the hardware ("" in tests): a cloned or restored card must not go on with the same epoch.
    """
    path = Path(settings.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if damage_mark(path).exists():
            raise JournalCorrupt("journal: found damaged before")
        return _open(path, settings, machine)
    except JournalCorrupt:
        taken = sum(1 for _ in path.parent.glob(f"{path.name}.corrupt-*"))
        quarantined = str(quarantine(path, str(taken + 1)))
        return _open(path, settings, machine, new_epoch_cause="corrupt", quarantined=quarantined)


def _open(
    path: Path, settings: JournalSettings, machine: str, *, new_epoch_cause: str = "", quarantined: str = ""
) -> tuple[Store, Kept]:
    """The file as it is, with everything that a start needs read once. Raises JournalCorrupt; then it is closed."""
    store = Store(path, quota_bytes=settings.quota_mib << 20, synchronous=settings.synchronous)
    try:
        meta = store.mapping("meta")
        if meta.get("damaged"):
            raise JournalCorrupt("journal: the integrity check of the last boot failed")
        if store.has_room():
            store.keep_ballast()
        if machine and meta.get("machine") not in (None, machine):
            store.begin_epoch()
            new_epoch_cause = "cloned"
        kept = begin_boot(store, machine, new_epoch_cause=new_epoch_cause, quarantined=quarantined)
        store.bounds()
        store.mapping("keyed")
    except JournalCorrupt:
        store.close()
        raise
    return store, kept


def begin_boot(store: Store, machine: str = "", *, new_epoch_cause: str = "", quarantined: str = "") -> Kept:
    """Count this boot in the journal and read what the last one left."""
    meta = store.mapping("meta")
    boot = _int(meta.get("boot")) + 1
    saved = meta.get("instant")
    try:
        instant = Instant(saved[0], saved[1], TimeQuality(saved[2])) if isinstance(saved, list) else None  # type: ignore[arg-type]
    except (ValueError, IndexError) as error:
        raise JournalCorrupt(f"journal: instant = {saved!r}") from error
    kept = Kept(
        boot,
        bool(meta.get("clean", True)),
        instant,
        store.mapping("said"),
        store.mapping("internals"),
        new_epoch_cause,
        quarantined,
    )
    store.write(Batch(meta={"boot": boot, "clean": False, **({"machine": machine} if machine else {})}))
    return kept


def _int(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0


class Journal:
    """`FactLog` over one store. Lives on the event loop; the writer executes its transactions."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        settings: JournalSettings,
        boot: int,
        on_fatal: Callable[[JournalError], None],
    ) -> None:
        """`on_fatal` is called for anything but a full disk: the process must end and start anew, never retry."""
        self._store, self._writer, self._settings, self._boot = store, writer, settings, boot
        self._on_fatal = on_fatal
        meta = store.mapping("meta")
        first, last = store.bounds()
        self._last_seq = self._next_seq = max(last, _int(meta.get("last_seq")))
        self._first_seq = first or self._last_seq + 1
        self._acked_seq = min(_int(meta.get("acked")), self._last_seq)
        self._keyed = store.mapping("keyed")
        self._pending = _Pending()
        self._writing: _Pending | None = None
        self._due_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._listeners: list[Callable[[int], None]] = []
        self._commits = 0
        self._full_since: float | None = None
        self._retry_at = 0.0
        self._instant: Instant | None = None
        self._dropped_through = 0

    # --- FactLog ----------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        return self._store.epoch

    @property
    def first_seq(self) -> int:
        return self._first_seq

    @property
    def last_seq(self) -> int:
        return self._last_seq

    @property
    def acked_seq(self) -> int:
        return self._acked_seq

    @property
    def pending(self) -> int:
        """Facts that are not on the disk yet."""
        return self._next_seq - self._last_seq

    @property
    def full(self) -> bool:
        """True while the disk or the quota refuses a commit."""
        return self._full_since is not None

    def read(
        self, from_seq: int, limit: int, *, to_seq: int | None = None, classes: frozenset[FactClass] | None = None
    ) -> list[StoredFact]:
        codes = None if classes is None else [c for c, kind in fact_types().items() if kind.CLASS in classes]
        high = self._last_seq if to_seq is None else min(to_seq, self._last_seq)
        return self._store.read(from_seq, high, limit, codes)

    def ack(self, seq: int) -> None:
        """Move the cursor; written with the next commit (losing it only sends again what is already there)."""
        if seq > self._last_seq:
            raise JournalError(f"ack of seq {seq}: expected at most {self._last_seq}, the last committed")
        if seq > self._acked_seq:
            self._acked_seq = seq
            self._pending.batch.meta["acked"] = seq
            self._flush_within(self._settings.telemetry_delay_s)

    def subscribe(self, on_commit: Callable[[int], None]) -> Callable[[], None]:
        self._listeners.append(on_commit)
        return lambda: self._listeners.remove(on_commit) if on_commit in self._listeners else None

    # --- keyed values (command ids, ledgers): same stream of transactions -------------------------------------------

    def get(self, key: str) -> JsonValue:
        """A small value kept under a key, None where there is none."""
        return self._keyed.get(key)

    def keys(self, prefix: str) -> list[str]:
        """Keys with this prefix, in order."""
        return sorted(key for key in self._keyed if key.startswith(prefix))

    def put(self, key: str, value: JsonValue) -> asyncio.Future[int]:
        """Keep a value (None forgets it); the future is done once it is on the disk."""
        if value is None:
            self._keyed.pop(key, None)
        else:
            self._keyed[key] = value
        self._pending.batch.keyed[key] = value
        return self._wait(urgent=True)

    # --- appending --------------------------------------------------------------------------------------------------

    def append(self, commit: Commit, now: Instant, *, urgent: bool | None = None) -> asyncio.Future[int]:
        """Give seqs to the facts and have them written; the future gives the last seq once all is on the disk.

        urgent None: as the facts say. Raises JournalFull when more waits for a full disk than may.
        """
        self.check_room(len(commit.facts))
        batch = self._pending.batch
        hurry = False
        for fact, instant in commit.facts:
            self._next_seq += 1
            batch.facts.append(self._row(fact, instant, now))
            hurry = hurry or fact.URGENT
        batch.said.update(commit.said)
        if commit.internals is not None:
            batch.internals.update(commit.internals)
        self._instant = now
        self._pending.last_seq = self._next_seq
        return self._wait(urgent=hurry if urgent is None else urgent)

    def check_room(self, n_facts: int) -> None:
        """Raises JournalFull where so many more may not wait for a disk that refuses them."""
        limit = self._settings.pending_limit
        if self.pending + n_facts > limit:
            raise JournalFull(f"journal: {self.pending} facts wait for the disk, expected at most {limit}")

    def _row(self, fact: Fact, instant: Instant, now: Instant) -> FactRow:
        return (
            self._next_seq,
            self._boot,
            fact.at_us,
            instant.wall_at(fact.at_us),
            now.wall_us,
            QUALITIES.index(instant.quality),
            fact.CODE,
            pack(fact),
        )

    def _wait(self, *, urgent: bool) -> asyncio.Future[int]:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._pending.waiters.append(future)
        rows = len(self._pending.batch.facts)
        if rows >= self._settings.telemetry_rows:
            self._flush_within(0)
        else:
            self._flush_within(self._settings.urgent_delay_s if urgent else self._settings.telemetry_delay_s)
        return future

    def _flush_within(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        if self._due_at is not None and self._due_at <= due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due_at = due
        self._timer = loop.call_at(due, self._flush)

    def _flush(self) -> None:
        if self._writing is not None:
            return  # `_done` looks again
        self._due_at = self._timer = None
        if asyncio.get_running_loop().time() < self._retry_at:
            self._flush_within(FULL_RETRY_S)
            return
        if not self._pending.batch and not self._pending.waiters:
            return
        pending, self._pending = self._pending, _Pending(last_seq=self._next_seq)
        self._prepare(pending.batch)
        self._writing = pending
        self._writer.submit(lambda: self._store.write(pending.batch), lambda error: self._done(pending, error))

    def _prepare(self, batch: Batch) -> None:
        """Ride along with every commit: the cursor, the time, retention of what the platform has."""
        if self._instant is not None:
            batch.meta["instant"] = [self._instant.mono_us, self._instant.wall_us, self._instant.quality.value]
        leave_to = min(self._acked_seq, self._last_seq - self._settings.keep_acked_rows)
        if leave_to >= self._first_seq:
            batch.delete_to = min(leave_to, self._first_seq + 5 * DROP_ROWS)
            batch.meta["last_seq"] = self._next_seq

    def _done(self, pending: _Pending, error: BaseException | None) -> None:
        self._writing = None
        if isinstance(error, JournalFull):
            self._refused(pending)
            return
        if error is not None:
            self._fail(pending, error)
            return
        if self._full_since is not None:
            self._full_since = None
            if self._store.has_room():
                self._store.keep_ballast()
        self._last_seq = max(self._last_seq, pending.last_seq)
        if pending.batch.delete_to:
            self._first_seq = pending.batch.delete_to + 1
        for waiter in pending.waiters:
            if not waiter.done():
                waiter.set_result(self._last_seq)
        for listener in tuple(self._listeners):
            listener(self._last_seq)
        self._keep_quota()
        if self._due_at is not None and self._due_at <= asyncio.get_running_loop().time():
            self._flush()

    def _fail(self, pending: _Pending, error: BaseException) -> None:
        failure = error if isinstance(error, JournalError) else JournalError(f"journal: {error}")
        for waiter in pending.waiters:
            if not waiter.done():
                waiter.set_exception(failure)
                waiter.exception()  # seen: `on_fatal` ends the process whoever waits
        self._on_fatal(failure)

    # --- full disk and quota ------------------------------------------------------------------------------------------

    def _refused(self, pending: _Pending) -> None:
        """The disk is full: give the ballast back, drop what may be dropped, try again until it works.

        What waits joins the refused batch, so that a Gap fact and the rows it covers share one transaction.
        """
        now_s = asyncio.get_running_loop().time()
        if self._full_since is None:
            self._full_since = now_s
            self._store.drop_ballast()
        self._pending = pending.follow(self._pending)
        self._drop_some()
        self._retry_at = now_s + FULL_RETRY_S
        # A timer that fired during the refused write left its due time behind: forget it, or nobody tries again.
        self._due_at = None
        self._flush_within(FULL_RETRY_S)

    def _drop_some(self) -> None:
        """Drop what may be dropped: stored telemetry, oldest first, else rows that wait in memory."""
        fact_class, seqs = self._store.droppable(max(self._dropped_through, self._acked_seq), DROP_ROWS)
        batch = self._pending.batch
        if seqs:
            batch.drop_seqs.extend(seqs)
        else:
            waiting = [row for row in batch.facts if fact_types()[row[6]].DROPPABLE]
            if not waiting:
                return
            fact_class = fact_types()[waiting[0][6]].CLASS.value
            seqs = [row[0] for row in waiting if fact_class == fact_types()[row[6]].CLASS][:DROP_ROWS]
            gone = set(seqs)
            batch.facts = [row for row in batch.facts if row[0] not in gone]
        self._cover(fact_class, seqs, "disk")

    def _keep_quota(self) -> None:
        self._commits += 1
        if self._commits % QUOTA_CHECK_COMMITS:
            return
        if self._store.used_bytes() < GAP_RESERVE * self._store.quota_bytes:
            return
        fact_class, seqs = self._store.droppable(max(self._dropped_through, self._acked_seq), DROP_ROWS)
        if seqs:
            self._pending.batch.drop_seqs.extend(seqs)
            self._cover(fact_class, seqs, "quota")

    def _cover(self, fact_class: str, seqs: list[int], reason: str) -> None:
        """Exactly one Gap fact covers each dropped row."""
        if self._instant is None:
            return
        self._dropped_through = max(self._dropped_through, seqs[-1])
        gap = Gap(
            at_us=self._instant.mono_us,
            dropped_class=fact_class,
            missing=ranges(seqs),
            count=len(seqs),
            reason=reason,
        )
        self.append(Commit([(gap, self._instant)]), self._instant)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Wait until everything appended so far is on the disk."""
        waiter = self._wait(urgent=True)
        self._flush_within(0)
        await waiter

    def mark_damaged(self) -> asyncio.Future[int]:
        """The background check failed: the next start puts this file in quarantine."""
        self._pending.batch.meta["damaged"] = True
        return self._wait(urgent=True)

    async def close(self) -> None:
        """Commit everything and mark the stop as clean."""
        self._pending.batch.meta["clean"] = True
        self._pending.batch.meta["last_seq"] = self._next_seq
        await self.flush()
        if self._timer is not None:
            self._timer.cancel()
        self._writer.close()
        self._store.close()


def ranges(seqs: Iterable[int]) -> list[list[int]]:
    """Ascending seqs as inclusive [from, to] pairs."""
    numbered = enumerate(sorted(seqs))
    groups = (list(map(operator.itemgetter(1), run)) for _, run in itertools.groupby(numbered, lambda p: p[1] - p[0]))
    return [[run[0], run[-1]] for run in groups]


def covers(missing: list[list[int]], seq: int) -> bool:
    """Whether inclusive [from, to] pairs, ascending, contain seq."""
    place = bisect.bisect_right(missing, seq, key=lambda pair: pair[0]) - 1
    return place >= 0 and missing[place][0] <= seq <= missing[place][1]
