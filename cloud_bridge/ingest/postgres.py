"""PostgreSQL as the platform's store: events hash-partitioned by journal, rows written as arrays in one statement."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from cloud_bridge.ingest.reading import EventRow
from cloud_bridge.ingest.sequencing import Stream, StreamKey
from cloud_bridge.ingest.store import (
    QUESTIONS,
    Arrivals,
    Progress,
    StoreLost,
    answer_row,
    footfall_rows,
    product_rows,
    progress_columns,
    stock_rows,
    stream_of,
)

PARTITIONS = 8
LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
MIGRATION_LOCK = 7_031_501  # advisory lock: several workers start at once
_PARTS = "".join(
    f"CREATE TABLE event_{n} PARTITION OF event FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {n});"
    for n in range(PARTITIONS)
)
MIGRATIONS: tuple[str, ...] = (
    f"""
CREATE TABLE stream (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant TEXT NOT NULL, store TEXT NOT NULL, epoch TEXT NOT NULL,
  contiguous BIGINT NOT NULL, above TEXT NOT NULL, boots TEXT NOT NULL, refused TEXT NOT NULL,
  UNIQUE (tenant, store, epoch));
CREATE TABLE event (
  stream BIGINT NOT NULL, seq BIGINT NOT NULL, boot BIGINT NOT NULL, fact TEXT NOT NULL, subject TEXT NOT NULL,
  time TEXT NOT NULL, quality TEXT NOT NULL, mono_us BIGINT NOT NULL, data TEXT NOT NULL,
  PRIMARY KEY (stream, seq)) PARTITION BY HASH (stream);
{_PARTS}
CREATE TABLE stock (
  tenant TEXT NOT NULL, store TEXT NOT NULL, shelf TEXT NOT NULL, gtin TEXT NOT NULL, on_hand BIGINT NOT NULL,
  low BIGINT NOT NULL, high BIGINT NOT NULL, confidence DOUBLE PRECISION NOT NULL, stream BIGINT NOT NULL,
  seq BIGINT NOT NULL, time TEXT NOT NULL, PRIMARY KEY (tenant, store, shelf, gtin));
CREATE INDEX stock_gtin ON stock (tenant, gtin);
CREATE TABLE product (
  tenant TEXT NOT NULL, store TEXT NOT NULL, gtin TEXT NOT NULL, out_since TEXT NOT NULL, stream BIGINT NOT NULL,
  seq BIGINT NOT NULL, PRIMARY KEY (tenant, store, gtin));
CREATE TABLE footfall (
  tenant TEXT NOT NULL, store TEXT NOT NULL, door TEXT NOT NULL, start_us BIGINT NOT NULL, end_us BIGINT NOT NULL,
  entered BIGINT NOT NULL, left_count BIGINT NOT NULL, known BIGINT NOT NULL,
  PRIMARY KEY (tenant, store, door, start_us));
CREATE TABLE state (
  tenant TEXT NOT NULL, store TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY (tenant, store, name));
CREATE TABLE refusal (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant TEXT NOT NULL, store TEXT NOT NULL,
  epoch TEXT NOT NULL, reason TEXT NOT NULL);
""",
    """
ALTER TABLE stream ADD COLUMN births TEXT NOT NULL DEFAULT '[]', ADD COLUMN promised BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN online SMALLINT;
CREATE TABLE worker (name TEXT PRIMARY KEY, counters TEXT NOT NULL, told_at TIMESTAMPTZ NOT NULL);
""",
)
"""Each step runs once, in order, in a transaction of its own; steps only ever add."""

_EVENTS = (
    "INSERT INTO event SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], "
    "$6::text[], $7::text[], $8::bigint[], $9::text[]) ON CONFLICT DO NOTHING"
)
_STREAMS = (
    "INSERT INTO stream (tenant, store, epoch, contiguous, above, boots, refused, births, promised, online) "
    "SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], "
    "$8::text[], $9::bigint[], $10::smallint[]) ON CONFLICT (tenant, store, epoch) DO UPDATE SET "
    "contiguous = excluded.contiguous, above = excluded.above, boots = excluded.boots, refused = excluded.refused, "
    "births = excluded.births, promised = excluded.promised, online = excluded.online "
    "RETURNING id, tenant, store, epoch"
)
_NEW_STREAMS = (
    "INSERT INTO stream (tenant, store, epoch, contiguous, above, boots, refused) "
    "SELECT *, 0, '[]', '[]', '' FROM unnest($1::text[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING"
)
_LOCKED_STREAMS = (
    "SELECT * FROM stream WHERE (tenant, store, epoch) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[])) "
    "ORDER BY id FOR UPDATE"
)
_STOCK = (
    "INSERT INTO stock SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], "
    "$6::bigint[], $7::bigint[], $8::float8[], $9::bigint[], $10::bigint[], $11::text[]) "
    "ON CONFLICT (tenant, store, shelf, gtin) DO UPDATE SET on_hand = excluded.on_hand, low = excluded.low, "
    "high = excluded.high, confidence = excluded.confidence, stream = excluded.stream, seq = excluded.seq, "
    "time = excluded.time WHERE (excluded.stream, excluded.seq) > (stock.stream, stock.seq)"
)
_PRODUCT = (
    "INSERT INTO product SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], "
    "$6::bigint[]) ON CONFLICT (tenant, store, gtin) DO UPDATE SET out_since = excluded.out_since, "
    "stream = excluded.stream, seq = excluded.seq "
    "WHERE (excluded.stream, excluded.seq) > (product.stream, product.seq)"
)
_FOOTFALL = (
    "INSERT INTO footfall SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], "
    "$6::bigint[], $7::bigint[], $8::bigint[]) ON CONFLICT (tenant, store, door, start_us) DO UPDATE SET "
    "entered = excluded.entered, left_count = excluded.left_count, known = excluded.known"
)
_STATE = (
    "INSERT INTO state SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) "
    "ON CONFLICT (tenant, store, name) DO UPDATE SET document = excluded.document"
)


class PostgresStore:
    """`PlatformStore` over PostgreSQL. `tenants` empty: this worker keeps the streams of all tenants.

    shared: the facts of one store reach several workers (an MQTT 5 shared subscription). Then each transaction locks
    the journals it touches, joins what it brings to what the others have written, and gives back the sum.
    """

    def __init__(self, address: str, tenants: Sequence[str] = (), *, shared: bool = False) -> None:
        """address as libpq URI, such as ``postgresql://user@host:5432/smartstore``."""
        self.shared = shared
        self._address, self._tenants = address, list(tenants)
        self._pool: asyncpg.Pool | None = None

    @property
    def _open(self) -> asyncpg.Pool:
        if self._pool is None:
            raise RuntimeError("the store is not open")
        return self._pool

    async def open(self) -> list[Stream]:
        try:
            self._pool = await asyncpg.create_pool(self._address, min_size=1, max_size=4)
            return await self._migrate()
        except LOST as error:
            raise StoreLost(f"PostgreSQL: {type(error).__name__}: {error}") from error

    async def _migrate(self) -> list[Stream]:
        async with self._open.acquire() as db, db.transaction():
            await db.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
            await db.execute("CREATE TABLE IF NOT EXISTS migration (step INT PRIMARY KEY)")
            done = await db.fetchval("SELECT COUNT(*) FROM migration")
            for step in range(done, len(MIGRATIONS)):
                await db.execute(MIGRATIONS[step])
                await db.execute("INSERT INTO migration VALUES ($1)", step)
        return await self.streams()

    async def streams(self) -> list[Stream]:
        chosen = "SELECT * FROM stream WHERE $1::text[] = '{}' OR tenant = ANY($1) ORDER BY id"
        return [stream_of(row) for row in await self._fetch(chosen, self._tenants)]

    async def write(self, arrivals: Arrivals) -> list[Stream]:
        try:
            return await self._write(arrivals)
        except LOST as error:
            raise StoreLost(f"PostgreSQL: {type(error).__name__}: {error}") from error

    async def _write(self, arrivals: Arrivals) -> list[Stream]:
        joined: list[Stream] = []
        async with self._open.acquire() as db, db.transaction():
            progress = arrivals.progress
            if self.shared and progress:
                joined = await self._join(db, progress)
                progress = {stream.key: progress_columns(stream) for stream in joined}
            ids = await self._write_streams(db, progress)
            events: list[tuple[Any, ...]] = []
            stock: list[tuple[Any, ...]] = []
            product: list[tuple[Any, ...]] = []
            footfall: list[tuple[Any, ...]] = []
            for key, rows in arrivals.events.items():
                number = ids[key]
                events += _event_rows(number, rows)
                stock += stock_rows(key, number, rows)
                product += product_rows(key, number, rows)
                footfall += footfall_rows(key, rows)
            states = [(*place, text) for place, text in arrivals.states.items() if text is not None]
            await self._write_events(db, events)
            for statement, made in (
                (_STOCK, stock),
                (_PRODUCT, product),
                (_FOOTFALL, footfall),
                (_STATE, states),
            ):
                if made:
                    await db.execute(statement, *map(list, zip(*made, strict=True)))
            await self._write_rest(db, arrivals)
        return joined

    @staticmethod
    async def _join(db: Any, progress: Mapping[StreamKey, Progress]) -> list[Stream]:
        """The journals as this worker and the others have them together, locked until the transaction ends."""
        keys = sorted(progress)
        rows = await db.fetch(_LOCKED_STREAMS, *map(list, zip(*keys, strict=True)))
        known = {(row["tenant"], row["store"], row["epoch"]) for row in rows}
        new = [key for key in keys if key not in known]
        if new:
            columns = list(map(list, zip(*new, strict=True)))
            await db.execute(_NEW_STREAMS, *columns)
            rows += await db.fetch(_LOCKED_STREAMS, *columns)
        joined = []
        for row in rows:
            key = StreamKey(row["tenant"], row["store"], row["epoch"])
            mine = stream_of({**key._asdict(), **progress[key]._asdict()})
            mine.absorb(stream_of(row))
            joined.append(mine)
        return joined

    @staticmethod
    async def _write_events(db: Any, events: list[tuple[Any, ...]]) -> None:
        """COPY costs half of INSERT on both sides; what another worker wrote meanwhile needs the slower way."""
        if not events:
            return
        try:
            async with db.transaction():  # a savepoint
                await db.copy_records_to_table("event", records=events)
        except asyncpg.UniqueViolationError:
            await db.execute(_EVENTS, *map(list, zip(*events, strict=True)))

    @staticmethod
    async def _write_streams(db: Any, progress: Mapping[StreamKey, Progress]) -> dict[StreamKey, int]:
        if not progress:
            return {}
        rows = [(*key, *columns) for key, columns in sorted(progress.items())]
        kept = await db.fetch(_STREAMS, *map(list, zip(*rows, strict=True)))
        return {StreamKey(row["tenant"], row["store"], row["epoch"]): row["id"] for row in kept}

    @staticmethod
    async def _write_rest(db: Any, arrivals: Arrivals) -> None:
        gone = [place for place, text in arrivals.states.items() if text is None]
        if gone:
            await db.executemany("DELETE FROM state WHERE tenant = $1 AND store = $2 AND name = $3", gone)
        if arrivals.refusals:
            await db.executemany(
                "INSERT INTO refusal (tenant, store, epoch, reason) SELECT $1, $2, $3, $4 WHERE NOT EXISTS "
                "(SELECT 1 FROM refusal WHERE tenant = $1 AND store = $2 AND epoch = $3)",
                [(key.tenant, key.store, key.epoch, reason) for key, reason in arrivals.refusals],
            )

    async def query(self, question: str, /, **values: str) -> list[dict[str, Any]]:
        names: list[str] = []

        def number(match: re.Match[str]) -> str:
            if match[1] not in names:
                names.append(match[1])
            kind = "bigint" if match[1].endswith("_us") else "text"
            return f"${names.index(match[1]) + 1}::text::{kind}"

        statement = re.sub(r":(\w+)", number, QUESTIONS[question])
        return [answer_row(dict(row)) for row in await self._fetch(statement, *(values[name] for name in names))]

    async def tell_totals(self, worker: str, totals: Mapping[str, int]) -> None:
        statement = "INSERT INTO worker VALUES ($1, $2, now()) ON CONFLICT (name) DO UPDATE SET "
        statement += "counters = excluded.counters, told_at = excluded.told_at"
        await self._fetch(statement, worker, json.dumps(totals))

    async def told_totals(self) -> dict[str, dict[str, int]]:
        rows = await self._fetch("SELECT name, counters FROM worker ORDER BY name")
        return {row["name"]: json.loads(row["counters"]) for row in rows}

    async def _fetch(self, statement: str, *values: Any) -> list[Any]:
        """Raises StoreLost."""
        try:
            async with self._open.acquire() as db:
                rows: list[Any] = await db.fetch(statement, *values)
                return rows
        except LOST as error:
            raise StoreLost(f"PostgreSQL: {type(error).__name__}: {error}") from error

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None


def _event_rows(number: int, rows: Sequence[EventRow]) -> list[tuple[Any, ...]]:
    return [
        (number, r.seq, r.boot, _plain(r.fact), _plain(r.subject), _plain(r.time), _plain(r.quality), r.mono_us, r.data)
        for r in rows
    ]


def _plain(text: str) -> str:
    """PostgreSQL text cannot hold NUL; a sender that uses it gets it replaced, not the transaction refused."""
    return text.replace("\0", "\ufffd")
