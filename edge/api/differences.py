"""What an import would change: entry by entry, so that a person can say yes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = ("id", "gtin", "device")


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each entry that is added, changed (with both values) or removed."""
    rows: list[dict[str, Any]] = []
    for section in dict.fromkeys((*before, *after)):
        rows += _section(section, before.get(section), after.get(section))
    return rows


def _section(section: str, before: Any, after: Any) -> list[dict[str, Any]]:
    if isinstance(before or [], list) and isinstance(after or [], list):
        old, new = _named(before or []), _named(after or [])
    else:
        old, new = {"": before}, {"": after}
    rows = []
    for name in dict.fromkeys((*old, *new)):
        what = _change(old.get(name), new.get(name))
        if what:
            rows.append({"section": section, "entry": name, **what})
    return rows


def _named(entries: list[Any]) -> dict[str, Any]:
    return {_name(entry, index): entry for index, entry in enumerate(entries)}


def _name(entry: Any, index: int) -> str:
    if isinstance(entry, Mapping):
        if "device" in entry and "cell" in entry:
            return f"{entry['device']} cell {entry['cell']}"
        return next((str(entry[name]) for name in _NAMES if name in entry), str(index))
    return str(index)


def _change(old: Any, new: Any) -> dict[str, Any]:
    if old is None or new is None:
        return {} if old is new else {"change": "added" if old is None else "removed", "fields": {}}
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return {} if old == new else {"change": "changed", "fields": {"": [old, new]}}
    fields = {key: [old.get(key), value] for key, value in new.items() if old.get(key) != value}
    return {"change": "changed", "fields": fields} if fields else {}
