"""A reader's clock on the engine's: skewed, drifting, sometimes stepped, and only ever heard of too late."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DRIFT_PPM = 200  # twice a bad crystal: how fast the estimate may follow a reader that runs slow
STALL_US = 20_000_000  # a link is given up after 15 s of silence: what seems later than this, no stall has delayed
STEP_US = 2_000_000  # what seems later than this either hung in the network, or somebody set the reader's clock back …
STEP_BATCHES = 3  # … if it stays so


class ReaderClock:
    """engine time = reader time + offset. The smallest delay ever seen is the best guess of no delay."""

    def __init__(self) -> None:
        self._offset_us: int | None = None
        self._last_us = 0
        self._late = 0
        self.steps = 0

    def map(self, stamps_us: NDArray[np.int64], arrived_us: int) -> NDArray[np.int64]:
        """Engine times (n,) of reader times (n,), none after `arrived_us`, when the last of them came in."""
        candidate_us = arrived_us - int(stamps_us.max())
        if self._offset_us is None:
            self._offset_us = candidate_us
        else:
            self._follow(self._offset_us, candidate_us, arrived_us)
        self._last_us = arrived_us
        mapped: NDArray[np.int64] = np.minimum(stamps_us + self._offset_us, arrived_us)
        return mapped

    def _follow(self, offset_us: int, candidate_us: int, arrived_us: int) -> None:
        late_us = candidate_us - offset_us
        if late_us > STEP_US:
            self._late += 1
            if self._late >= STEP_BATCHES or late_us > STALL_US:
                self._offset_us, self._late, self.steps = candidate_us, 0, self.steps + 1
            return
        self._late = 0
        if late_us < -STEP_US:
            self.steps += 1
        leak_us = (arrived_us - self._last_us) * DRIFT_PPM // 1_000_000
        self._offset_us = offset_us + min(late_us, leak_us)
