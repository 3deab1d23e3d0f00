"""Where the platform keeps what it received: the protocol of a store, and SQLite as the default one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cloud_bridge.ingest.reading import EventRow
from cloud_bridge.ingest.sequencing import Stream, StreamKey
from cloud_bridge.intervals import IntervalSet
from edge.core.errors import UplinkError

MIGRATIONS: tuple[str, ...] = (
    """
CREATE TABLE stream (
  id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, store TEXT NOT NULL, epoch TEXT NOT NULL,
  contiguous INTEGER NOT NULL, above TEXT NOT NULL, boots TEXT NOT NULL, refused TEXT NOT NULL,
  UNIQUE (tenant, store, epoch));
CREATE TABLE event (
  stream INTEGER NOT NULL, seq INTEGER NOT NULL, boot INTEGER NOT NULL, fact TEXT NOT NULL, subject TEXT NOT NULL,
  time TEXT NOT NULL, quality TEXT NOT NULL, mono_us INTEGER NOT NULL, data TEXT NOT NULL,
  PRIMARY KEY (stream, seq)) WITHOUT ROWID;
CREATE TABLE stock (
  tenant TEXT NOT NULL, store TEXT NOT NULL, shelf TEXT NOT NULL, gtin TEXT NOT NULL, on_hand INTEGER NOT NULL,
  low INTEGER NOT NULL, high INTEGER NOT NULL, confidence REAL NOT NULL, stream INTEGER NOT NULL,
  seq INTEGER NOT NULL, time TEXT NOT NULL,
  PRIMARY KEY (tenant, store, shelf, gtin)) WITHOUT ROWID;
CREATE INDEX stock_gtin ON stock (tenant, gtin);
CREATE TABLE product (
  tenant TEXT NOT NULL, store TEXT NOT NULL, gtin TEXT NOT NULL, out_since TEXT NOT NULL, stream INTEGER NOT NULL,
  seq INTEGER NOT NULL, PRIMARY KEY (tenant, store, gtin)) WITHOUT ROWID;
CREATE TABLE footfall (
  tenant TEXT NOT NULL, store TEXT NOT NULL, door TEXT NOT NULL, start_us INTEGER NOT NULL, end_us INTEGER NOT NULL,
  entered INTEGER NOT NULL, left_count INTEGER NOT NULL, known INTEGER NOT NULL,
  PRIMARY KEY (tenant, store, door, start_us)) WITHOUT ROWID;
CREATE TABLE state (
  tenant TEXT NOT NULL, store TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY (tenant, store, name)) WITHOUT ROWID;
CREATE TABLE refusal (
  id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, store TEXT NOT NULL, epoch TEXT NOT NULL, reason TEXT NOT NULL);
""",
    """
ALTER TABLE stream ADD COLUMN births TEXT NOT NULL DEFAULT '[]';
ALTER TABLE stream ADD COLUMN promised INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stream ADD COLUMN online INTEGER;
""",
    "CREATE TABLE worker (name TEXT PRIMARY KEY, totals TEXT NOT NULL) WITHOUT ROWID;",
)
"""Each step runs once, in order, in a transaction of its own; steps only ever add."""


class Progress(NamedTuple):
    """A stream as stored: ranges as JSON; `online` 1, 0 or None where it is not known."""

    contiguous: int
    above: str
    boots: str
    refused: str
    births: str
    promised: int
    online: int | None


@dataclass(slots=True)
class Arrivals:
    """What one transaction writes: new events by stream, the streams' progress, state documents, refusals.

    `streams` live on while a transaction is written; `freeze` takes their progress as it was when it began, so that
    nothing is promised that this transaction does not hold. A state document of None was deleted.
    """

    events: dict[StreamKey, list[EventRow]] = field(default_factory=dict)
    streams: dict[StreamKey, Stream] = field(default_factory=dict)
    states: dict[tuple[str, str, str], str | None] = field(default_factory=dict)
    refusals: list[tuple[StreamKey, str]] = field(default_factory=list)
    progress: dict[StreamKey, Progress] = field(default_factory=dict)

    def freeze(self) -> None:
        """Take the streams' progress now."""
        self.progress = {key: progress_columns(stream) for key, stream in self.streams.items()}

    def __bool__(self) -> bool:
        return bool(self.events or self.streams or self.states or self.refusals)

    @property
    def n_events(self) -> int:
        """How many events."""
        return sum(map(len, self.events.values()))


class StoreLost(UplinkError):
    """The database is not there, or refuses: what was not written is taken up again from the brokers and the stores."""

    retryable = True
    hint = "Look at the database's own log."


class PlatformStore(Protocol):
    """A durable store of events; `write` is idempotent by (store, epoch, seq).

    shared: several workers write the same journals, so that each must learn from the store what the others have.
    """

    shared: bool

    async def open(self) -> list[Stream]:
        """Create or migrate the schema; the streams' progress as last written."""
        ...

    async def streams(self) -> list[Stream]:
        """The progress of every journal as last written, the newest epoch of a store last."""
        ...

    async def write(self, arrivals: Arrivals) -> list[Stream]:
        """All of it in one durable transaction, or nothing. Where `shared`: the journals as the store has them then."""
        ...

    async def query(self, question: str, /, **values: str) -> list[dict[str, Any]]:
        """Answer one of the named `QUESTIONS`."""
        ...

    async def tell_totals(self, worker: str, totals: Mapping[str, int]) -> None:
        """Keep what a worker has counted, for whoever serves metrics."""
        ...

    async def told_totals(self) -> dict[str, dict[str, int]]:
        """What each worker told last, by its name."""
        ...

    async def close(self) -> None:
        """Let go of the database."""
        ...


def stock_rows(key: StreamKey, stream: int, rows: Sequence[EventRow]) -> list[tuple[Any, ...]]:
    """Rows of the table `stock`: the newest OnHandChanged a shelf and product; malformed ones are left out."""
    newest: dict[tuple[str, str], tuple[Any, ...]] = {}
    for row in rows:
        if row.fact != "inventory.OnHandChanged":
            continue
        data = row.fields
        try:
            values = int(data["on_hand"]), int(data["low"]), int(data["high"]), float(data["confidence"])
            place = str(data["shelf"]), str(data["gtin"])
        except (KeyError, TypeError, ValueError):
            continue
        known = newest.get(place)
        if known is None or known[-2] < row.seq:
            newest[place] = (key.tenant, key.store, *place, *values, stream, row.seq, row.time)
    return list(newest.values())


def footfall_rows(key: StreamKey, rows: Sequence[EventRow]) -> list[tuple[Any, ...]]:
    """Rows of the table `footfall`."""
    made = []
    for row in rows:
        if row.fact != "footfall.Crossings":
            continue
        data = row.fields
        try:
            numbers = [int(data[name]) for name in ("start_us", "end_us", "entered", "left")]
        except (KeyError, TypeError, ValueError):
            continue
        made.append((key.tenant, key.store, str(data.get("door", "")), *numbers, int(bool(data.get("known", True)))))
    return made


def product_rows(key: StreamKey, stream: int, rows: Sequence[EventRow]) -> list[tuple[Any, ...]]:
    """Rows of the table `product`: since when it is out of stock ("" when it is in stock), the newest word wins."""
    newest: dict[str, tuple[Any, ...]] = {}
    for row in sorted(rows, key=lambda row: row.seq):
        if row.fact in ("inventory.StockOut", "inventory.BackInStock"):
            out_since = row.time if row.fact.endswith("StockOut") else ""
            newest[row.subject] = (key.tenant, key.store, row.subject, out_since, stream, row.seq)
    return list(newest.values())


QUESTIONS: Mapping[str, str] = {
    "stock": "SELECT tenant, store, shelf, gtin, on_hand, low, high, confidence, time FROM stock "
    "WHERE tenant = :tenant AND (:store = '' OR store = :store) AND (:gtin = '' OR gtin = :gtin) "
    "ORDER BY store, shelf, gtin",
    "who_has": "SELECT store, SUM(on_hand) AS on_hand, MIN(confidence) AS confidence FROM stock "
    "WHERE tenant = :tenant AND gtin = :gtin GROUP BY store HAVING SUM(on_hand) > 0 ORDER BY store",
    "stock_outs": "SELECT store, gtin, out_since FROM product WHERE tenant = :tenant AND out_since <> '' "
    "ORDER BY out_since, store, gtin",
    "footfall": "SELECT store, SUM(entered) AS entered, SUM(left_count) AS left_count, MIN(known) AS known "
    "FROM footfall WHERE tenant = :tenant AND start_us >= :from_us AND end_us <= :to_us GROUP BY store ORDER BY store",
    "states": "SELECT store, name, document FROM state WHERE tenant = :tenant AND (:store = '' OR store = :store) "
    "AND name LIKE :name ORDER BY store, name",
    "facts": "SELECT e.fact AS fact, COUNT(*) AS count FROM event e JOIN stream s ON s.id = e.stream "
    "WHERE (:tenant = '' OR s.tenant = :tenant) AND (:store = '' OR s.store = :store) GROUP BY e.fact ORDER BY e.fact",
    "refusals": "SELECT tenant, store, epoch, reason FROM refusal ORDER BY id",
}
"""Named questions; both stores answer them (PostgreSQL with its own placeholders)."""


def answer_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as plain JSON data."""
    return {name: float(value) if hasattr(value, "as_tuple") else value for name, value in row.items()}


class SqliteStore:
    """The default store: one file, WAL with synchronous=FULL, because an acknowledgement is a promise."""

    shared = False

    def __init__(self, path: Path | None, synchronous: str = "FULL") -> None:
        """path None keeps it in memory."""
        self._path, self._synchronous = path, synchronous
        self._db: sqlite3.Connection | None = None

    @property
    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            raise RuntimeError("the store is not open")
        return self._db

    async def open(self) -> list[Stream]:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(str(self._path) if self._path else ":memory:", isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {self._synchronous}")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        for step in range(version, len(MIGRATIONS)):
            self._db.executescript(f"BEGIN; {MIGRATIONS[step]} PRAGMA user_version = {step + 1}; COMMIT;")
        return await self.streams()

    async def streams(self) -> list[Stream]:
        return [stream_of(row) for row in self._open.execute("SELECT * FROM stream ORDER BY id")]

    async def write(self, arrivals: Arrivals) -> list[Stream]:
        db = self._open
        db.execute("BEGIN IMMEDIATE")
        try:
            for key in arrivals.progress:
                self._write_stream(db, key, arrivals)
            self._write_states(db, arrivals)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return []

    def _write_stream(self, db: sqlite3.Connection, key: StreamKey, arrivals: Arrivals) -> None:
        columns = arrivals.progress[key]
        (number,) = db.execute(
            "INSERT INTO stream (tenant, store, epoch, contiguous, above, boots, refused, births, promised, online) "
            "VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (tenant, store, epoch) DO UPDATE SET "
            "contiguous = excluded.contiguous, above = excluded.above, boots = excluded.boots, "
            "refused = excluded.refused, births = excluded.births, promised = excluded.promised, "
            "online = excluded.online RETURNING id",
            (key.tenant, key.store, key.epoch, *columns),
        ).fetchone()
        rows = arrivals.events.get(key, [])
        db.executemany(
            "INSERT INTO event VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
            ((number, r.seq, r.boot, r.fact, r.subject, r.time, r.quality, r.mono_us, r.data) for r in rows),
        )
        db.executemany(
            "INSERT INTO stock VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (tenant, store, shelf, gtin) DO UPDATE SET "
            "on_hand = excluded.on_hand, low = excluded.low, high = excluded.high, confidence = excluded.confidence, "
            "stream = excluded.stream, seq = excluded.seq, time = excluded.time "
            "WHERE (excluded.stream, excluded.seq) > (stock.stream, stock.seq)",
            stock_rows(key, number, rows),
        )
        db.executemany(
            "INSERT INTO product VALUES (?,?,?,?,?,?) ON CONFLICT (tenant, store, gtin) DO UPDATE SET "
            "out_since = excluded.out_since, stream = excluded.stream, seq = excluded.seq "
            "WHERE (excluded.stream, excluded.seq) > (product.stream, product.seq)",
            product_rows(key, number, rows),
        )
        db.executemany("INSERT OR REPLACE INTO footfall VALUES (?,?,?,?,?,?,?,?)", footfall_rows(key, rows))

    @staticmethod
    def _write_states(db: sqlite3.Connection, arrivals: Arrivals) -> None:
        for place, document in arrivals.states.items():
            if document is None:
                db.execute("DELETE FROM state WHERE tenant = ? AND store = ? AND name = ?", place)
            else:
                db.execute("INSERT OR REPLACE INTO state VALUES (?,?,?,?)", (*place, document))
        db.executemany(
            "INSERT INTO refusal (tenant, store, epoch, reason) VALUES (?,?,?,?)",
            ((key.tenant, key.store, key.epoch, reason) for key, reason in arrivals.refusals),
        )

    async def query(self, question: str, /, **values: str) -> list[dict[str, Any]]:
        return [answer_row(dict(row)) for row in self._open.execute(QUESTIONS[question], values)]

    async def tell_totals(self, worker: str, totals: Mapping[str, int]) -> None:
        self._open.execute("INSERT OR REPLACE INTO worker VALUES (?,?)", (worker, json.dumps(totals)))

    async def told_totals(self) -> dict[str, dict[str, int]]:
        return {name: json.loads(totals) for name, totals in self._open.execute("SELECT * FROM worker ORDER BY name")}

    async def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def progress_columns(stream: Stream) -> Progress:
    """A stream as stored."""
    return Progress(
        stream.contiguous,
        json.dumps([list(pair) for pair in stream.above]),
        json.dumps([[boot, *span] for boot, span in stream.boots.items()]),
        stream.refused,
        json.dumps([list(birth) for birth in stream.births.items()]),
        stream.promised,
        None if stream.online is None else int(stream.online),
    )


def stream_of(row: Mapping[str, Any] | sqlite3.Row) -> Stream:
    """A stream from its stored row."""
    return Stream(
        StreamKey(row["tenant"], row["store"], row["epoch"]),
        contiguous=row["contiguous"],
        above=IntervalSet((low, high) for low, high in json.loads(row["above"])),
        boots={boot: (low, high) for boot, low, high in json.loads(row["boots"])},
        births=dict(json.loads(row["births"])),
        refused=row["refused"],
        promised=row["promised"],
        online=None if row["online"] is None else bool(row["online"]),
    )
