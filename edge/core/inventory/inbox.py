"""The exceptions inbox: what a person should look at, each under a name that stays the same while the cause does."""

from __future__ import annotations

from dataclasses import dataclass

from edge.core.fact import JsonValue

INBOX_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """One open exception. kind is machine-readable, text is for people."""

    id: str
    kind: str
    text: str
    since_us: int
    gtin: str = ""
    shelf: str = ""

    def as_json(self) -> dict[str, JsonValue]:
        """As the API and the console show it."""
        return {
            "id": self.id,
            "kind": self.kind,
            "text": self.text,
            "since_us": self.since_us,
            "gtin": self.gtin,
            "shelf": self.shelf,
        }


class Inbox:
    """Open exceptions by id, oldest first; bounded, the oldest leave first."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self.changed: set[str] = set()

    def raise_(self, entry: Entry) -> None:
        """Open an exception; the same id again keeps its first time and takes the new text."""
        known = self._entries.get(entry.id)
        if known is not None:
            entry = Entry(entry.id, entry.kind, entry.text, known.since_us, entry.gtin, entry.shelf)
        elif len(self._entries) >= INBOX_LIMIT:
            self.resolve(next(iter(self._entries)))
        if entry != known:
            self._entries[entry.id] = entry
            self.changed.add(entry.id)

    def resolve(self, entry_id: str) -> None:
        """Close an exception, if it is open."""
        if self._entries.pop(entry_id, None) is not None:
            self.changed.add(entry_id)

    def has(self, entry_id: str) -> bool:
        """Whether this exception is open."""
        return entry_id in self._entries

    def entries(self) -> list[dict[str, JsonValue]]:
        """All open exceptions, oldest first."""
        return [entry.as_json() for entry in sorted(self._entries.values(), key=lambda entry: entry.since_us)]

    def drain(self) -> dict[str, JsonValue]:
        """Entries that changed since the last call, None where they were closed."""
        out: dict[str, JsonValue] = {}
        for entry_id in sorted(self.changed):
            entry = self._entries.get(entry_id)
            out[f"x/{entry_id}"] = entry.as_json() if entry else None
        self.changed.clear()
        return out

    def restore(self, row: JsonValue) -> None:
        """Take back one drained entry; foreign content is ignored."""
        if isinstance(row, dict) and isinstance(row.get("id"), str):
            since = row.get("since_us")
            texts = {key: str(row.get(key, "")) for key in ("id", "kind", "text", "gtin", "shelf")}
            self._entries[texts["id"]] = Entry(since_us=since if isinstance(since, int) else 0, **texts)
