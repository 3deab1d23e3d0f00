"""Throttling of guesses: five are free, then each one doubles the wait, per account and per address."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from edge.access.errors import AccessDenied
from edge.core.instant import US_PER_MIN, US_PER_S

FREE = 5
LONGEST_US = 15 * US_PER_MIN
FORGET_US = 60 * US_PER_MIN
KEPT = 4_096  # keys; the one that was quiet longest leaves first


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_us: int = 0
    until_us: int = 0


class Throttle:
    """Counts failures by key. Times are engine µs."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def check(self, keys: tuple[str, ...], now_us: int) -> None:
        """Raises AccessDenied("throttled") while one of the keys has to wait."""
        waits_us = [row.until_us - now_us for key in keys if (row := self._failures.get(key)) is not None]
        wait_us = max(waits_us, default=0)
        if wait_us > 0:
            wait_s = -(-wait_us // US_PER_S)
            detail = f"too many wrong attempts: the next one is allowed in {wait_s} s"
            raise AccessDenied("throttled", detail, "Wait, then try again.", float(wait_s))

    def failed(self, keys: tuple[str, ...], now_us: int) -> None:
        """Note a wrong guess."""
        for key in keys:
            row = self._failures.pop(key, None) or _Failures()
            if now_us - row.last_us > FORGET_US:
                row = _Failures()
            row.count += 1
            row.last_us = now_us
            if row.count >= FREE:
                row.until_us = now_us + min(LONGEST_US, US_PER_S << min(row.count - FREE, 20))
            self._failures[key] = row
        while len(self._failures) > KEPT:
            self._failures.popitem(last=False)

    def succeeded(self, keys: tuple[str, ...]) -> None:
        """Forget the failures of these keys."""
        for key in keys:
            self._failures.pop(key, None)
