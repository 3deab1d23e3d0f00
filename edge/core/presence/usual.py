"""What is usual at each place, learned while tags stand there for sure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.core.presence.scorer import F32


class Usual:
    """What is usual at a place: reads/s of a tag that stands there, and its RSSI (dBm), learned from sure tags."""

    PRIOR_S, PRIOR_READS, MEMORY_S = 60.0, 40.0, 900.0

    def __init__(self, n_places: int) -> None:
        self.seconds = np.zeros(n_places + 1)
        self.reads = np.zeros(n_places + 1)
        self.levels = np.zeros(n_places + 1)
        self.all_reads, self.all_levels = 0.0, 0.0
        self.inverse_hz = np.ones(n_places + 1, np.float32)
        self.rssi_dbm = np.full(n_places + 1, -60.0, np.float32)

    def learn(self, place: NDArray[np.int32], dt_s: F32, reads: F32, levels: F32) -> None:
        """Sure tags: time, reads and summed RSSI since their last step."""
        n = len(self.seconds)
        self.seconds += np.bincount(place, dt_s, n)
        self.reads += np.bincount(place, reads, n)
        self.levels += np.bincount(place, levels, n)

    def settle(self, elapsed_s: float) -> None:
        """Forget slowly and bring the usual values up to date."""
        if not self.all_reads:
            return
        self.rssi_dbm[:] = (self.levels + self.PRIOR_READS * self.all_levels / self.all_reads) / (
            self.reads + self.PRIOR_READS
        )
        total_s, total = self.seconds.sum(), self.reads.sum()
        prior_hz = (total + self.PRIOR_S) / (total_s + self.PRIOR_S)
        hz = (self.reads + self.PRIOR_S * prior_hz) / (self.seconds + self.PRIOR_S)
        self.inverse_hz[:] = 1 / np.minimum(np.maximum(hz, 0.02), 200.0)
        kept = np.exp(-elapsed_s / self.MEMORY_S)
        self.seconds *= kept
        self.reads *= kept
        self.levels *= kept

    def renumbered(self, numbers: NDArray[np.int32], n_places: int) -> Usual:
        """The same for other place numbers."""
        new = Usual(n_places)
        kept = np.flatnonzero(numbers >= 0)
        for name in ("seconds", "reads", "levels", "inverse_hz", "rssi_dbm"):
            getattr(new, name)[numbers[kept]] = getattr(self, name)[kept]
        new.all_reads, new.all_levels = self.all_reads, self.all_levels
        return new
