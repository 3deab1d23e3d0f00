"""The audit: rows that each carry the hash of the row before, so that nothing can be changed or taken out unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from edge.core.fact import Fact, JsonValue
from edge.core.facts import Audited
from edge.core.ports import Clock, KeyValue

KEPT_ROWS = 5_000
GENESIS = "0" * 64
_FIELDS = ("row", "at_us", "actor", "action", "target", "detail", "prev")
Record = Callable[[Fact], Awaitable[object]]


class Keyed(KeyValue, Protocol):
    """Keyed values of the journal, with the keys of a prefix."""

    def keys(self, prefix: str) -> list[str]:
        """Keys with this prefix, in order."""
        ...


class Audit:
    """Appends rows. Beyond `KEPT_ROWS` the oldest leave; the anchor keeps the hash that the chain goes on from."""

    def __init__(self, keyed: Keyed, clock: Clock, record: Record) -> None:
        self._keyed, self._clock, self._record = keyed, clock, record

    async def add(self, actor: str, action: str, target: str = "", detail: str = "") -> int:
        """Write one row and its fact; both are durable when this returns. Returns the row's number."""
        head = self._keyed.get("audit-head")
        last: dict[str, JsonValue] = head if isinstance(head, dict) else {"row": 0, "hash": GENESIS}
        number = int(str(last["row"])) + 1
        now = self._clock.now()
        entry: dict[str, JsonValue] = {
            "row": number,
            "at_us": now.wall_us,
            "actor": actor,
            "action": action,
            "target": target[:200],
            "detail": detail[:500],
            "prev": last["hash"],
        }
        entry["hash"] = row_hash(entry)
        kept = self._keyed.put(_key(number), entry)
        head_kept = self._keyed.put("audit-head", {"row": number, "hash": entry["hash"]})
        self._trim(number)
        await self._record(Audited(at_us=now.mono_us, actor=actor, action=action, target=target[:200], row=number))
        await kept
        await head_kept
        return number

    def _trim(self, newest: int) -> None:
        leaving = newest - KEPT_ROWS
        row = self._keyed.get(_key(leaving)) if leaving > 0 else None
        if isinstance(row, dict):
            self._keyed.put("audit-anchor", {"row": leaving, "hash": row["hash"]})
            self._keyed.put(_key(leaving), None)

    def rows(self, before: int = 0, limit: int = 100) -> list[dict[str, JsonValue]]:
        """Rows below `before` (0: the newest), newest first."""
        head = self._keyed.get("audit-head")
        newest = int(str(head["row"])) if isinstance(head, dict) else 0
        top = min(newest, before - 1) if before else newest
        found = (self._keyed.get(_key(number)) for number in range(top, max(0, top - limit), -1))
        return [row for row in found if isinstance(row, dict)]

    def verify(self) -> tuple[int, str]:
        """(number of rows, what is wrong or "")."""
        names = ["audit-head", "audit-anchor", *self._keyed.keys("audit/")]
        return verify({name: self._keyed.get(name) for name in names})


def _key(number: int) -> str:
    return f"audit/{number:09d}"


def row_hash(row: Mapping[str, JsonValue]) -> str:
    """SHA-256 over the canonical JSON of a row's fields, the hash of the row before among them."""
    values = [row.get(name) for name in _FIELDS]
    return hashlib.sha256(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def verify(keyed: Mapping[str, JsonValue]) -> tuple[int, str]:
    """Check the chain in the keyed values of a journal: (number of rows, the first fault in words or "")."""
    anchor, head = keyed.get("audit-anchor"), keyed.get("audit-head")
    number, last = 0, GENESIS
    if isinstance(anchor, dict):
        number, last = int(str(anchor.get("row", 0))), str(anchor.get("hash"))
    rows = sorted(name for name in keyed if name.startswith("audit/"))
    for name in rows:
        row = keyed[name]
        number += 1
        if not isinstance(row, dict) or name != _key(number) or row.get("row") != number:
            return len(rows), f"row {number} is missing: {name} stands in its place"
        if row.get("prev") != last:
            return len(rows), f"row {number} does not follow from row {number - 1}: rows were changed or taken out"
        if row.get("hash") != row_hash(row):
            return len(rows), f"row {number} was changed after it was written"
        last = str(row["hash"])
    expected = head if isinstance(head, dict) else {"row": 0, "hash": GENESIS}
    if expected.get("row") != number or expected.get("hash") != last:
        return len(rows), f"rows are missing at the end: expected row {expected.get('row')}, found row {number}"
    return len(rows), ""
