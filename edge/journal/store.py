"""The journal's file: SQLite in WAL mode with synchronous=FULL, and the transactions that touch it.

Synchronous and single-threaded: the one writer (`edge.journal.writer`) calls `write` and `maintain`, readers have a
read-only connection of their own. FULL, because NORMAL lost acknowledged rows in power cuts (docs/reliability.md).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge.core.errors import JournalCorrupt, JournalError, JournalFull
from edge.core.fact import FactClass, JsonValue, StoredFact, fact_types
from edge.core.instant import TimeQuality
from edge.journal.schema import QUALITIES, damage, migrate

PAGE_BYTES = 4096
WAL_AUTOCHECKPOINT_PAGES = 500
DISK_SHARE = 4  # a journal larger than its share of the disk would leave the WAL no room to drop anything
BALLAST_BYTES = 2 * 1024 * 1024
"""A file that can be unlinked on a full disk: in WAL mode even DELETE and checkpoint need free space."""

TABLES = ("said", "internals", "keyed", "meta")
_INSERT = "INSERT INTO fact (seq, boot, mono_us, event_us, record_us, quality, code, body) VALUES (?,?,?,?,?,?,?,?)"
_COLUMNS = "seq, boot, mono_us, event_us, record_us, quality, code, body"

_QUALITIES = tuple(map(TimeQuality, QUALITIES))

FactRow = tuple[int, int, int, int, int, int, int, bytes]


@dataclass(slots=True)
class Batch:
    """What one transaction writes."""

    facts: list[FactRow] = field(default_factory=list)
    said: dict[str, JsonValue] = field(default_factory=dict)
    internals: dict[str, JsonValue] = field(default_factory=dict)
    keyed: dict[str, JsonValue] = field(default_factory=dict)
    meta: dict[str, JsonValue] = field(default_factory=dict)
    drop_seqs: list[int] = field(default_factory=list)
    delete_to: int = 0  # retention: rows up to this seq leave, the platform has them

    def __bool__(self) -> bool:
        return bool(self.facts or self.said or self.internals or self.keyed or self.meta or self.drop_seqs)


def encode(value: JsonValue) -> bytes:
    """JSON as stored: compact, UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Store:
    """One journal file. All methods raise JournalCorrupt, JournalFull or JournalError instead of sqlite3 errors."""

    def __init__(self, path: Path | None, *, quota_bytes: int = 1 << 30, synchronous: str = "FULL") -> None:
        """Open or create; path None keeps it in memory (simulation). Quarantine is the caller's decision."""
        self.path = path
        self.quota_bytes = quota_bytes if path is None else min(quota_bytes, _disk_bytes(path) // DISK_SHARE)
        with self._translated(opening=True):
            self._db = self._reader = sqlite3.connect(
                str(path) if path else ":memory:", isolation_level=None, check_same_thread=False, timeout=5
            )
        with contextlib.ExitStack() as unless_opened:
            unless_opened.callback(self.close)  # who puts a damaged file aside holds it open no longer
            with self._translated(opening=True):
                self._configure(synchronous)
                if wrong := damage(self._db):
                    raise sqlite3.DatabaseError(wrong)
            with self._translated():
                migrate(self._db)
                self.epoch = ""
                self.epoch = self._load_epoch()
            self._reader = self._open_reader()
            unless_opened.pop_all()

    def _configure(self, synchronous: str) -> None:
        self._db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {synchronous}")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {WAL_AUTOCHECKPOINT_PAGES}")
        self._db.execute("PRAGMA cache_size = -1024")
        self._db.execute("PRAGMA temp_store = MEMORY")
        self._db.execute(f"PRAGMA max_page_count = {max(256, self.quota_bytes // PAGE_BYTES)}")

    def _open_reader(self) -> sqlite3.Connection:
        if self.path is None:
            return self._db
        reader = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, check_same_thread=False, timeout=5)
        reader.execute("PRAGMA cache_size = -1024")
        return reader

    def _load_epoch(self) -> str:
        row = self._db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
        if row:
            return str(json.loads(row[0]))
        self.begin_epoch()
        return self.epoch

    def begin_epoch(self) -> None:
        """Start a new epoch at seq 1: facts and cursor go, what they have said stays.

        For a journal that another machine may carry on with as well: a cloned card, a restored backup.
        """
        self.epoch = secrets.token_hex(8)
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM fact")
            self._upsert("meta", {"epoch": self.epoch, "acked": 0, "last_seq": 0})
            self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _translated(self, *, opening: bool = False) -> Iterator[None]:
        """opening: a statement that never changes fails only where the file is not what it was."""
        try:
            yield
        except sqlite3.OperationalError as error:
            # Python's own "could not decode" has no code: a text that is none any more.
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise JournalFull(f"journal: {error}") from error
            if self._is_damage(code, opening):
                raise self._corrupt(error) from error
            raise JournalError(f"journal: {error}") from error
        except (sqlite3.DatabaseError, ValueError) as error:  # ValueError: what was JSON once is none any more
            raise self._corrupt(error) from error

    def _is_damage(self, code: int, opening: bool) -> bool:
        if code == sqlite3.SQLITE_READONLY:  # the header forbids writing a file that may be written
            return self.path is not None and os.access(self.path, os.W_OK)
        return code == sqlite3.SQLITE_CORRUPT or (opening and code == sqlite3.SQLITE_ERROR)

    def _corrupt(self, error: Exception) -> JournalCorrupt:
        """Leave a mark beside the file, so that the next start puts it aside: the file itself may take none."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                damage_mark(self.path).touch()
        return JournalCorrupt(f"journal: {error}")

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, batch: Batch) -> None:
        """One transaction: all of the batch or nothing of it, on the disk when this returns."""
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._write(batch)
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def _write(self, batch: Batch) -> None:
        self._db.executemany(_INSERT, batch.facts)
        for table in TABLES:
            self._upsert(table, getattr(batch, table))
        self._db.executemany("DELETE FROM fact WHERE seq = ?", ((seq,) for seq in batch.drop_seqs))
        if batch.delete_to:
            self._db.execute("DELETE FROM fact WHERE seq <= ?", (batch.delete_to,))

    def _upsert(self, table: str, values: Mapping[str, JsonValue]) -> None:
        self._db.executemany(
            f"INSERT INTO {table} (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            ((key, encode(value)) for key, value in values.items() if value is not None),
        )
        self._db.executemany(
            f"DELETE FROM {table} WHERE key = ?",
            ((key,) for key, value in values.items() if value is None),
        )

    def droppable(self, after_seq: int, limit: int) -> tuple[str, list[int]]:
        """The oldest unsent rows of the class that may be dropped first: (class, seqs); empty when nothing may go."""
        by_class: dict[FactClass, list[int]] = {}
        for code, fact_type in fact_types().items():
            if fact_type.DROPPABLE:
                by_class.setdefault(fact_type.CLASS, []).append(code)
        with self._translated():
            for fact_class, codes in by_class.items():
                marks = ",".join("?" * len(codes))
                rows = self._db.execute(
                    f"SELECT seq FROM fact WHERE seq > ? AND code IN ({marks}) ORDER BY seq LIMIT ?",
                    (after_seq, *codes, limit),
                ).fetchall()
                if rows:
                    return fact_class.value, [seq for (seq,) in rows]
        return "", []

    def used_bytes(self) -> int:
        """Pages in use (not the freelist), in bytes."""
        with self._translated():
            pages = self._db.execute("PRAGMA page_count").fetchone()[0]
            free = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        return int(pages - free) * PAGE_BYTES

    def quick_check(self) -> bool:
        """SQLite's quick_check on a connection of its own; False when the file is damaged."""
        if self.path is None:
            return True
        try:
            connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=5)
            with contextlib.closing(connection):
                return bool(connection.execute("PRAGMA quick_check").fetchone()[0] == "ok")
        except sqlite3.DatabaseError:
            return False

    # --- reading ----------------------------------------------------------------------------------------------------

    def bounds(self) -> tuple[int, int]:
        """(first seq, last seq) of the stored rows; (0, 0) when there are none."""
        with self._translated():
            low, high = self._reader.execute("SELECT MIN(seq), MAX(seq) FROM fact").fetchone()
        return (low or 0), (high or 0)

    def read(self, from_seq: int, to_seq: int, limit: int, codes: Sequence[int] | None) -> list[StoredFact]:
        """Rows from `from_seq` to `to_seq` (inclusive), ascending, at most `limit`, of these codes (None: all)."""
        where = f" AND code IN ({','.join(map(str, codes))})" if codes is not None else ""
        with self._translated():
            rows = self._reader.execute(
                f"SELECT {_COLUMNS} FROM fact WHERE seq >= ? AND seq <= ?{where} ORDER BY seq LIMIT ?",
                (from_seq, to_seq, limit),
            ).fetchall()
        return [
            StoredFact(seq, boot, mono_us, event_us, record_us, _QUALITIES[quality], code, body)
            for seq, boot, mono_us, event_us, record_us, quality, code, body in rows
        ]

    def mapping(self, table: str) -> dict[str, JsonValue]:
        """All of `said`, `internals`, `keyed` or `meta`."""
        if table not in TABLES:
            raise ValueError(f"table = {table!r}: expected one of {', '.join(TABLES)}")
        with self._translated():
            rows = self._reader.execute(f"SELECT key, value FROM {table}").fetchall()
            return {key: json.loads(value) for key, value in rows}

    # --- ballast and closing ----------------------------------------------------------------------------------------

    @property
    def _ballast(self) -> Path | None:
        return self.path.with_suffix(".ballast") if self.path else None

    def has_room(self) -> bool:
        """Whether the disk can spare the ballast several times over; taken from the last room it would do harm."""
        if self.path is None:
            return True
        disk = os.statvfs(self.path.parent)
        return disk.f_bavail * disk.f_frsize >= 4 * BALLAST_BYTES

    def keep_ballast(self) -> bool:
        """Make sure that the ballast file exists in full; False when the disk has no room for it."""
        if self._ballast is None:
            return True
        try:
            if self._ballast.exists() and self._ballast.stat().st_size == BALLAST_BYTES:
                return True
            with self._ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
        except OSError:
            self.drop_ballast()
            return False
        return True

    def drop_ballast(self) -> None:
        """Give the ballast back to a full disk."""
        if self._ballast is not None:
            with contextlib.suppress(OSError):
                self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Close both connections; the writer's last, because only that one can checkpoint."""
        for connection in (self._reader, self._db):
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _disk_bytes(path: Path) -> int:
    disk = os.statvfs(path.parent)
    return disk.f_blocks * disk.f_frsize


def damage_mark(path: Path) -> Path:
    """The file whose presence says that the journal beside it was found damaged."""
    return path.with_name(f"{path.name}.damaged")


def quarantine(path: Path, suffix: str) -> Path:
    """Put a damaged journal aside (file, WAL and shared memory), so that a fresh one can begin."""
    target = path.with_name(f"{path.name}.corrupt-{suffix}")
    for ending in ("", "-wal", "-shm"):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(target.with_name(target.name + ending))
    damage_mark(path).unlink(missing_ok=True)
    return target
