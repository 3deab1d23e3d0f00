"""Release N-1 and release N share one journal: an update that is taken back loses nothing, on either side.

Release N here is this one with what a next release may bring: a migration that expands, a new kind of fact, a new part.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_bridge.contract.envelope import EnvelopeRenderer, batches
from cloud_bridge.contract.epcis import Places
from edge.core import fact as fact_module
from edge.core.fact import Fact, FactClass, fact
from edge.core.instant import US_PER_S, Instant
from edge.core.ports import Commit
from edge.core.site import load_site
from edge.journal import InlineWriter, Journal, JournalSettings
from edge.journal import schema as schema_module
from edge.journal.log import open_store
from edge.store_engine import make_engine
from tests.unit.api_support import SITE
from tests.unit.test_journal import urgent_fact

NEW_CODE = 990


class Release:
    """One release over the journal's file."""

    def __init__(self, path: Path) -> None:
        self.settings = JournalSettings(path=str(path))

    def run(self, facts: list[Fact], said: dict[str, object] | None = None) -> tuple[str, list[int]]:
        """A start, some facts, a stop: (epoch, every stored seq)."""

        async def life() -> tuple[str, list[int]]:
            store, kept = open_store(self.settings)
            journal = Journal(store, InlineWriter(), self.settings, kept.boot, lambda error: None)
            make_engine(load_site(SITE), {}).restore(kept.said, kept.internals, Instant(0, 1_800_000_000 * US_PER_S))
            at = Instant(kept.boot * US_PER_S, 1_800_000_000 * US_PER_S)
            await journal.append(Commit([(one, at) for one in facts], said or {}), at)  # type: ignore[arg-type]
            seqs = [row.seq for row in journal.read(1, 10_000)]
            await journal.close()
            store.close()
            return store.epoch, seqs

        return asyncio.run(life())

    def sent(self) -> list[dict]:
        """Everything pending, as it goes to the platform."""
        store, _ = open_store(self.settings)
        site = load_site(SITE)
        render = EnvelopeRenderer(Places(site.store.sgln, {}), site.store.timezone, store.epoch).event
        rows = store.read(1, 10_000, 10_000, None)
        store.close()
        events: list[dict] = []
        for batch in batches(rows, render):
            told = json.loads(batch.payload)
            events += told if isinstance(told, list) else [told]
        return sorted(events, key=lambda event: int(event["seq"]))


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple]:
    """Turn this process into release N, and back into N-1."""

    def expand(db) -> None:
        db.execute("ALTER TABLE fact ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0")
        db.execute("CREATE TABLE later (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")

    made: list[type[Fact]] = []

    def later() -> type[Fact]:
        monkeypatch.setattr(schema_module, "MIGRATIONS", [*schema_module.MIGRATIONS, expand])
        if not made:

            @fact(NEW_CODE, FactClass.INVENTORY)
            class ShelfScrubbed(Fact):
                shelf: str
                minutes: float

            made.append(ShelfScrubbed)
        fact_module._BY_CODE[NEW_CODE] = made[0]
        return made[0]

    def earlier() -> None:
        monkeypatch.setattr(schema_module, "MIGRATIONS", schema_module.MIGRATIONS[:1])
        fact_module._BY_CODE.pop(NEW_CODE, None)

    yield later, earlier
    fact_module._BY_CODE.pop(NEW_CODE, None)


def test_an_update_and_its_way_back_keep_every_pending_fact(tmp_path: Path, upgrade: tuple) -> None:
    later, earlier = upgrade
    release = Release(tmp_path / "j.db")
    epoch, _ = release.run([urgent_fact()] * 3)
    before = release.sent()

    scrubbed = later()
    said = {"future/part": {"of": "a later release"}}
    assert release.run([urgent_fact(), scrubbed(at_us=1, shelf="shelf-1", minutes=2.5)], said)[0] == epoch  # type: ignore[call-arg]
    as_later = release.sent()
    assert as_later[:3] == before  # byte for byte what N-1 would have sent

    earlier()
    again, seqs = release.run([urgent_fact()] * 2)
    assert (again, seqs) == (epoch, list(range(1, 8)))
    as_earlier = release.sent()
    assert as_earlier[:4] == as_later[:4]
    unknown = as_earlier[4]
    assert unknown["type"] == "io.smartstore.system.OfLaterRelease.v1"
    assert unknown["data"] == {"code": NEW_CODE, "values": '["shelf-1",2.5]'}
    assert unknown["id"] == f"{epoch}-5"

    later()
    assert release.run([urgent_fact()]) == (epoch, list(range(1, 9)))
    assert release.sent()[:5] == as_later
    with sqlite3.connect(tmp_path / "j.db") as db:
        assert dict(db.execute("SELECT key, value FROM said")) == {"future/part": b'{"of":"a later release"}'}


def test_every_migration_only_expands() -> None:
    """A statement that N-1 could stumble over fails here, before it fails in ten thousand stores."""
    for number, step in enumerate(schema_module.MIGRATIONS):
        statements: list[str] = []
        connection = sqlite3.connect(":memory:")
        for earlier in schema_module.MIGRATIONS[:number]:
            earlier(connection)
        connection.set_trace_callback(statements.append)
        step(connection)
        for statement in statements:
            words = statement.upper().split()
            expands = words[:2] in (["CREATE", "TABLE"], ["CREATE", "INDEX"]) or (
                words[:2] == ["ALTER", "TABLE"] and "ADD" in words and ("NOT" not in words or "DEFAULT" in words)
            )
            reads = words[0] in ("SELECT", "PRAGMA", "BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "INSERT")
            assert expands or reads, statement
