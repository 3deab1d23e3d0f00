"""The simulated time of a running store: the loop's clock times a speed."""

from __future__ import annotations

import asyncio


class SimClock:
    """Maps the running loop's clock to simulated µs; starts at 0 when made."""

    def __init__(self, speed: float = 1.0) -> None:
        if not speed > 0:
            raise ValueError(f"speed {speed}: expected more than 0")
        self._loop = asyncio.get_running_loop()
        self._start_s = self._loop.time()
        self.speed = speed

    def now_us(self) -> int:
        """Simulated time now."""
        return round((self._loop.time() - self._start_s) * self.speed * 1e6)

    def at_us(self, loop_us: int) -> int:
        """Simulated time of an instant of the loop's clock, given in µs."""
        return round((loop_us - self._start_s * 1e6) * self.speed)
