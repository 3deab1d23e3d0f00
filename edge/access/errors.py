"""Refusals of the access room."""

from __future__ import annotations

from edge.core.errors import GatewayError


class AccessDenied(GatewayError):
    """Somebody is not let in: a machine-readable cause, words for people, and when to try again (s, 0 = any time)."""

    hint = "Ask an admin of this gateway."

    def __init__(self, cause: str, detail: str, hint: str = "", retry_after_s: float = 0.0) -> None:
        self.cause, self.detail, self.retry_after_s = cause, detail, retry_after_s
        self.next_action = hint or self.hint
        super().__init__(f"{cause}: {detail}")
