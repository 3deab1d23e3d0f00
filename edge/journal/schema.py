"""Schema of the journal and its migrations.

Changes expand first: release N-1 must be able to read and write the file of release N, so a migration only adds
tables, or columns with defaults. `sqlite-utils` is imported only when there is something to migrate.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

Migration = Callable[["Database"], None]
MIGRATIONS: list[Migration] = []
QUALITIES = ("synced", "holdover", "restored", "unset")  # stored as index


def migration(step: Migration) -> Migration:
    """Append a step to the list; a step's number is its place and never changes."""
    MIGRATIONS.append(step)
    return step


@migration
def first_tables(db: Database) -> None:
    """Facts, what facts have said, filter internals, small keyed values, and the journal's own cursor."""
    db.table("fact").create(
        {
            "seq": int,
            "boot": int,
            "mono_us": int,
            "event_us": int,
            "record_us": int,
            "quality": int,
            "code": int,
            "body": bytes,
        },
        pk="seq",
        not_null={"boot", "mono_us", "event_us", "record_us", "quality", "code", "body"},
    )
    for name in ("said", "internals", "keyed", "meta"):
        db.execute(f"CREATE TABLE {name} (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to this release's schema, each step in a transaction of its own."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version >= len(MIGRATIONS):
        return
    from sqlite_utils import Database  # noqa: PLC0415 (90 ms of imports that only a new file needs)

    db = Database(connection)
    for number in range(version, len(MIGRATIONS)):
        with db.atomic():
            MIGRATIONS[number](db)
            db.execute(f"PRAGMA user_version = {number + 1}")
