"""ETags and conflicting edits: who edits an old version is told, with both versions."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from edge.api.problems import Problem


def etag_of(document: Any) -> str:
    """A strong ETag of a JSON document (RFC 9110, 8.8.3)."""
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:20]}"'


def check_match(if_match: str | None, current: Any, wanted: Any) -> None:
    """Raises Problem 409 with both versions where `if_match` is not the ETag of what is there now."""
    if if_match is None or (if_match == "*" and current is not None):
        return
    if current is None or if_match not in (etag_of(current), f"W/{etag_of(current)}"):
        detail = "somebody changed it since you read it"
        raise Problem(
            409,
            "edit_conflict",
            detail,
            "Compare both versions, then send yours with the new ETag.",
            current=current,
            yours=wanted,
            etag=etag_of(current) if current is not None else "",
        )
