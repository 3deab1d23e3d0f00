"""An event loop in virtual time: when nothing is ready it jumps to the next timer. Same seed, same trace."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


RESOLUTION_S = 1e-9


class _Selector(selectors.DefaultSelector):
    """Never waits: goes straight to the next timer instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.next_timer_s: Callable[[], float | None] = lambda: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("virtual time stands still: no timer and nothing ready (a task waits for ever)")
        # Exactly to the timer, never a rounding error before it: who compares with its `when` must see it reached.
        next_s = self.next_timer_s()
        if next_s is not None and next_s - self.now_s <= max(timeout or 0.0, RESOLUTION_S):
            self.now_s = max(self.now_s, next_s)
        elif not ready and timeout:
            self.now_s += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose clock is its timers'. Real file descriptors are not to be waited for in it."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self._clock_resolution = RESOLUTION_S
        self._virtual.next_timer_s = lambda: self._scheduled[0].when() if self._scheduled else None

    def time(self) -> float:
        return self._virtual.now_s


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time and give the result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
