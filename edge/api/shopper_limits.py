"""Rates per client: a token bucket for each, in memory only, under a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge.core.instant import US_PER_S

MAX_CLIENTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second in the long run, so many at once."""

    per_s: float
    burst: float


class Limits:
    """Buckets by client. A flood of new names empties the table, never the memory."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: dict[str, tuple[float, int]] = {}

    def allow(self, client: str, now_us: int) -> bool:
        """Whether this one may; takes from its bucket."""
        level, since_us = self._buckets.get(client, (self._rate.burst, now_us))
        level = min(self._rate.burst, level + (now_us - since_us) / US_PER_S * self._rate.per_s)
        if len(self._buckets) >= MAX_CLIENTS and client not in self._buckets:
            self._buckets.clear()
        allowed = level >= 1.0
        self._buckets[client] = (level - allowed, now_us)
        return allowed
