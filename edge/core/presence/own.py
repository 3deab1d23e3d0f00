"""What is usual of each tag itself, at whatever place; `usual.Usual` is what is usual at a place.

Tags differ more than places do, and keep their way for years: one that is read half as often or 6 dB above what is
usual was so on its last shelf too. So a weak read elsewhere can be told from a weak tag, and a long silence from a tag
that is often silent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

N_OWN = 5  # rows of `step`: log of hits in units of the place's, level / 8 dB, logs of evidence and of calm (s), away
MEMORY_S = np.float32(1800.0)
PRIOR_S = np.float32(20.0)
PRIOR_HITS = np.float32(5.0)
DB_UNIT = np.float32(8.0)
TINY = np.float32(1e-6)
AWAY_GAIN = np.float32(0.3)
SECONDS, HITS, LEVELS, CALM, AWAY = range(5)
N_SUMS = 5


class Own:
    """By row of the tag table (rows, N_SUMS): seconds at sure places, hits and summed levels there; then calm, seconds
    of silence, each worth what is read at the place now of what is usual there (people hide many tags at once); and
    away, which share of its last hits was elsewhere, however long ago: who is carried off is read elsewhere first."""

    def __init__(self) -> None:
        self.sums = np.zeros((0, N_SUMS), np.float32)

    def grow(self, more: int) -> None:
        """Make room for more rows."""
        self.sums = np.concatenate((self.sums, np.zeros((more, N_SUMS), np.float32)))

    def step(
        self, rows: NDArray[np.int64], dt_s: F32, sure: NDArray[np.bool_], read: tuple[F32, F32, F32], quiet: F32
    ) -> F32:
        """Learn from one step, then give the features (N_OWN, n).

        read: hit rates and levels (dB above usual) at the place where the tag is believed, of which those of sure ones
        count, and hit rates at all places.
        quiet: activity (0 to 1) of that place for tags that were not read anywhere in this step, -1 for others.
        """
        sums = np.ascontiguousarray(self.sums[rows].T)
        kept = 1 - dt_s / MEMORY_S
        gained_s = dt_s * sure
        hits = gained_s * read[0]
        sums[:CALM] *= kept
        sums[SECONDS] += gained_s
        sums[HITS] += hits
        sums[LEVELS] += hits * read[1]
        sums[CALM] = np.where(quiet < 0, np.float32(0), sums[CALM] + dt_s * quiet)
        elsewhere = 1 - read[0] / np.maximum(read[2], TINY)
        sums[AWAY] += (elsewhere - sums[AWAY]) * (AWAY_GAIN * (read[2] > 0))
        self.sums[rows] = sums.T
        out = np.empty((N_OWN, len(rows)), np.float32)
        np.log((sums[HITS] + PRIOR_S) / (sums[SECONDS] + PRIOR_S), out=out[0])
        np.divide(sums[LEVELS], (sums[HITS] + PRIOR_HITS) * DB_UNIT, out=out[1])
        np.log(sums[SECONDS] + 1, out=out[2])
        np.log(np.minimum(sums[CALM], 600) + 1, out=out[3])
        out[4] = sums[AWAY]
        return out
