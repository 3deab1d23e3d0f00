"""Secrets in what the API shows: taken out on the way out, and put back where a document comes back as it was shown."""

from __future__ import annotations

import re
from typing import Any, Final

HIDDEN: Final = "…"
_SECRET = re.compile(r"pass|secret|token|pin$|key$|credential", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")


def without_secrets(value: Any) -> Any:
    """The same document with the values of secret keys, and logins in addresses, taken out."""
    if isinstance(value, dict):
        return {key: HIDDEN if _SECRET.search(str(key)) else without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    return _LOGIN.sub("", value) if isinstance(value, str) else value


def without_keys(value: Any) -> Any:
    """As `without_secrets`, but logins in addresses stay: who set them up reads them again."""
    if isinstance(value, dict):
        return {key: HIDDEN if _SECRET.search(str(key)) else without_keys(item) for key, item in value.items()}
    return [without_keys(item) for item in value] if isinstance(value, list) else value


def with_secrets(value: Any, before: Any) -> Any:
    """A document that came back with hidden values, with those of ``before``; rows of lists are known by the rest."""
    if isinstance(value, dict):
        known = before if isinstance(before, dict) else {}
        return {
            key: known.get(key, HIDDEN) if item == HIDDEN else with_secrets(item, known.get(key))
            for key, item in value.items()
        }
    if isinstance(value, list):
        rows = before if isinstance(before, list) else []
        shown = [without_keys(row) for row in rows]
        return [with_secrets(item, rows[shown.index(item)] if item in shown else None) for item in value]
    return value


def without_hidden(value: Any) -> tuple[Any, int]:
    """A document without the rows of lists whose secrets nobody here knows, and how many these were."""
    if isinstance(value, list):
        kept = [without_hidden(row) for row in value if not _hides(row)]
        return [row for row, _ in kept], len(value) - len(kept) + sum(count for _, count in kept)
    if isinstance(value, dict):
        found = {key: without_hidden(item) for key, item in value.items() if item != HIDDEN}
        missing = len(value) - len(found) + sum(count for _, count in found.values())
        return {key: item for key, (item, _) in found.items()}, missing
    return value, 0


def _hides(row: Any) -> bool:
    return isinstance(row, dict) and HIDDEN in row.values()
