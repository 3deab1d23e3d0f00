"""Pacing: the token bucket for backlog and the jittered pause between attempts to connect."""

from __future__ import annotations

import random


class TokenBucket:
    """`rate_per_s` tokens a second, at most one second's worth kept (and never less than `least`). 0 = unlimited."""

    def __init__(self, rate_per_s: float, now_s: float, least: int = 200) -> None:
        self._rate_per_s, self._least = rate_per_s, least
        self._tokens = self._capacity
        self._at_s = now_s

    @property
    def _capacity(self) -> float:
        return max(self._rate_per_s, self._least)

    def set_rate(self, rate_per_s: float, now_s: float) -> None:
        """Another rate from now on."""
        self.available(now_s)
        self._rate_per_s = rate_per_s
        self._tokens = min(self._tokens, self._capacity)

    def available(self, now_s: float) -> float:
        """How many tokens there are now (infinite when unlimited)."""
        if not self._rate_per_s:
            return float("inf")
        self._tokens = min(self._capacity, self._tokens + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s
        return self._tokens

    def take(self, amount: int) -> None:
        """Use tokens; the bucket may go below zero, then it waits the longer."""
        if self._rate_per_s:
            self._tokens -= amount

    def wait_s(self, amount: int) -> float:
        """How long until `amount` tokens are there."""
        return max(0.0, (amount - self._tokens) / self._rate_per_s) if self._rate_per_s else 0.0


class Backoff:
    """Full-jitter exponential pause: uniform in 0 … min(most, least · 2^attempt), so that stores do not march."""

    def __init__(self, least_s: float, most_s: float, rng: random.Random) -> None:
        self._least_s, self._most_s, self._rng = least_s, most_s, rng
        self._attempt = 0

    def succeeded(self) -> None:
        """Start over with short pauses."""
        self._attempt = 0

    def next_s(self) -> float:
        """The next pause."""
        ceiling_s = min(self._most_s, self._least_s * 2**self._attempt)
        self._attempt = min(self._attempt + 1, 32)
        return self._rng.uniform(0, ceiling_s)
