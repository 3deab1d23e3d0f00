"""Schema of the journal and its migrations.

Changes expand first: release N-1 must be able to read and write the file of release N, so a migration only adds
tables, or columns with defaults. A step that has to reshape a table does it by `sqlite_utils.Database(connection)` and
imports that itself: it is 18 MiB that a gateway would carry until its next start.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable

Migration = Callable[[sqlite3.Connection], None]
MIGRATIONS: list[Migration] = []
QUALITIES = ("synced", "holdover", "restored", "unset")  # stored as index


def migration(step: Migration) -> Migration:
    """Append a step to the list; a step's number is its place and never changes."""
    MIGRATIONS.append(step)
    return step


@migration
def first_tables(connection: sqlite3.Connection) -> None:
    """Facts, what facts have said, filter internals, small keyed values, and the journal's own cursor."""
    connection.execute(
        """CREATE TABLE fact (
  seq INTEGER PRIMARY KEY,
  boot INTEGER NOT NULL,
  mono_us INTEGER NOT NULL,
  event_us INTEGER NOT NULL,
  record_us INTEGER NOT NULL,
  quality INTEGER NOT NULL,
  code INTEGER NOT NULL,
  body BLOB NOT NULL
)"""
    )
    for name in ("said", "internals", "keyed", "meta"):
        connection.execute(f"CREATE TABLE {name} (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")


def _columns(connection: sqlite3.Connection) -> set[tuple[str, str, str, int]]:
    """(table, column, type, place in the primary key) of every table."""
    tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
    query = f"SELECT t.name, c.name, c.type, c.pk FROM ({tables}) t, pragma_table_info(t.name) c"
    return set(connection.execute(query))


def damage(connection: sqlite3.Connection) -> str:
    """What is wrong with a file's schema, "" when every step that it counts is there (later releases may add more).

    SQLite keeps no checksums: a bit that flips in the first page renames a column, or makes the file count other steps.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    found = _columns(connection)
    if version < 0 or (version == 0) != (not found):
        return f"user_version = {version} with {len(found)} columns"
    with contextlib.closing(sqlite3.connect(":memory:")) as sound:
        for step in MIGRATIONS[:version]:
            step(sound)
        missing = sorted(_columns(sound) - found)
    return "column {}.{} {} is missing".format(*missing[0]) if missing else ""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to this release's schema, each step in a transaction of its own."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number in range(version, len(MIGRATIONS)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            MIGRATIONS[number](connection)
            connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
