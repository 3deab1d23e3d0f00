"""One shelf controller's samples, from raw counts to plateaus: where the weight of each lane rests, and how surely.

As in weighing indicators (OIML R 76), motion is told apart from rest, and the zero is followed only at rest. All lanes
at rest are handled together, a block of samples at a time: that is the quiet path, and nearly all there is. A lane that
moves is looked at alone until it rests again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.core.instant import US_PER_S
from edge.core.observation import SATURATED_HIGH, SATURATED_LOW, CellSamples

CAPACITY_ROWS: Final = 1024
KEPT_ROWS: Final = 420  # 5 s at 80 samples/s
CHUNK_ROWS: Final = CAPACITY_ROWS - KEPT_ROWS
BLOCK_US: Final = 500_000  # the quiet path looks this often
STEP_US: Final = 200_000  # a moving lane is looked at this often when samples come in large batches

REST_US: Final = 500_000  # rest: this long within the tolerance
REST_ROWS: Final = 5
SAMPLE_US: Final = 100_000  # the slow rate of an HX711; a faster one only makes a level surer than assumed
SHAKEN_LANES: Final = 3  # fewer tell nothing about each other
SHAKEN_ROWS: Final = 8
SHAKEN_FROM: Final = 1.5  # the middle one of several lanes rarely trembles more by chance
SHAKEN_MAX: Final = 40.0
SHAKEN_FAR: Final = 3.0  # from here on rest is looked for over
SHAKEN_ALIKE: Final = 2.5
SHAKEN_REST_US: Final = 1_500_000
LEARN_US: Final = 1_200_000
NOISY_REST_US: Final = 2_400_000  # rest under vibration: this long without a trend
NOISY_AFTER_US: Final = 3_000_000
NOISY_LIMIT: Final = 15.0  # standard deviations of the lane's own noise
MOMENT_ROWS: Final = 3
MOMENT_US: Final = 200_000
PASSED_US: Final = 15_000_000
PASSED_MAX: Final = 10
STEADY_COUNTS: Final = 20.0  # drift of a second that still counts as standing still
LOOK_BACK_US: Final = 4_000_000

FLOOR_SD_G: Final = 0.05  # below what any such cell resolves
MOTION_SD: Final = 6.0
FOLLOW_US: Final = 8.0 * US_PER_S  # time constant of the level at rest
NOISE_US: Final = 30.0 * US_PER_S  # of the noise
TOLERANCE_BLOCKS: Final = 16
CORRELATED: Final = 2.0  # neighbouring samples share some noise: a mean is this much worse than independent ones make


@dataclass(frozen=True, slots=True)
class Wiring:
    """A lane as the controller carries it: channels, their zeros (counts) and grams a count."""

    cells: tuple[int, ...]
    zero_counts: tuple[float, ...]
    g_per_count: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Plateau:
    """A lane rests: level (g) with variance (g²), since when, seen until when (µs, engine time).

    delta_g is the change from the level at the last rest (nan: there was none), delta_var_g2 its variance.
    """

    lane: int
    level_g: float
    var_g2: float
    since_us: int
    until_us: int
    delta_g: float
    delta_var_g2: float


def drift_var_g2(elapsed_s: float) -> float:
    """How far a zero may have gone unobserved: a random walk of 1 g/√h and 2.5 g/h (5 K/h at 0.5 g/K), 1 sd."""
    return elapsed_s / 3600.0 + (2.5 * elapsed_s / 3600.0) ** 2


class Controller:
    """The lanes of one device. `feed` gives plateaus of lanes that moved; each is answered with `calm` or `wait`."""

    def __init__(self, wirings: Sequence[Wiring], n_cells: int) -> None:
        n = self._n = len(wirings)
        self._shake = 1.0
        self.wirings = tuple(wirings)
        self.n_cells = n_cells
        self._per_count = np.zeros((n_cells, n))
        for lane, wiring in enumerate(wirings):
            self._per_count[list(wiring.cells), lane] = wiring.g_per_count
        zeros = [np.dot(w.zero_counts, w.g_per_count) for w in wirings]
        self._zero_g = np.array(zeros, float)
        self._counts = np.zeros((CAPACITY_ROWS, n_cells), np.int32)
        self._weight_g = np.zeros((CAPACITY_ROWS, n))  # of the lanes, above their zeros
        self._t_us = np.zeros(CAPACITY_ROWS, np.int64)
        self._filled = self._done = 0
        self._bad_until = 0  # rows from here on hold good samples only
        self._last_us = self._seen_us = 0
        self._stable: bool | None = None
        self.level_g = np.full(n, np.nan)
        self._noise_g2 = np.full(n, np.nan)
        self._age_us = np.zeros(n)
        self._base_g = np.zeros(n)
        self._calm_us = np.ones(n)
        self._calm_g2 = np.zeros(n)
        self._moving = np.ones(n, bool)
        self._n_moving = n
        self._moved_us = np.zeros(n, np.int64)
        self._rest_us = np.zeros(n, np.int64)
        self._tolerance_g = np.zeros(n)
        self._tolerance_age = 0

    # --- what the lanes' book asks ----------------------------------------------------------------------------------

    def noise_sd_g(self, lane: int) -> float:
        """Standard deviation of one sample of the lane (g); the floor while nothing is known."""
        noise_g2 = float(self._noise_g2[lane])
        return FLOOR_SD_G if math.isnan(noise_g2) else max(FLOOR_SD_G, noise_g2**0.5)

    def noisy(self, limits_g: NDArray[np.float64]) -> tuple[int, ...]:
        """Lanes whose noise is beyond a limit each (n_lanes,) in grams."""
        return tuple(np.flatnonzero(self._noise_g2 > limits_g * limits_g).tolist())

    def moving(self, lane: int) -> bool:
        """Whether the lane is not at rest now."""
        return bool(self._moving[lane])

    def drifted_g(self, lane: int) -> float:
        """How far the level has been followed since the last `calm`: the zero moved by this much."""
        drift_g = float(self.level_g[lane] - self._base_g[lane])
        return 0.0 if math.isnan(drift_g) else drift_g

    def steady_counts(self, cells: Sequence[int]) -> NDArray[np.float64] | None:
        """Mean raw counts (len(cells),) over the last second, None while they move, lack or stand at a rail."""
        end = self._filled
        start = int(np.searchsorted(self._t_us[:end], self._t_us[end - 1] - US_PER_S)) if end else 0
        rows = self._counts[start:end][:, list(cells)].astype(np.float64)
        if len(rows) < REST_ROWS or (rows <= SATURATED_LOW).any() or (rows >= SATURATED_HIGH).any():
            return None
        half = len(rows) // 2
        noise = np.abs(np.diff(rows, axis=0)).mean(axis=0)
        trend = np.abs(rows[:half].mean(axis=0) - rows[half:].mean(axis=0))
        if (trend > STEADY_COUNTS + 4.0 * noise).any():
            return None
        mean: NDArray[np.float64] = rows.mean(axis=0)
        return mean

    def calm(self, plateau: Plateau) -> None:
        """The lane rests at this plateau from now on."""
        lane = plateau.lane
        self.level_g[lane] = self._base_g[lane] = plateau.level_g
        self._age_us[lane] = self._calm_us[lane] = max(1, plateau.until_us - plateau.since_us)
        self._calm_g2[lane] = plateau.var_g2
        self._rest_us[lane] = plateau.until_us
        if self._moving[lane]:
            self._moving[lane] = False
            self._n_moving -= 1

    def assume(self, lane: int, level_g: float, at_us: int) -> None:
        """Expect the level at which the lane rested at `at_us`, before a restart; it still has to come to rest."""
        self.level_g[lane] = self._base_g[lane] = level_g
        self._rest_us[lane] = at_us

    # --- samples ----------------------------------------------------------------------------------------------------

    def feed(self, samples: CellSamples, rests: Callable[[Plateau], None]) -> None:
        """Take samples; `rests` is called for each moving lane that rests, as it happens, until `calm` answers."""
        self._stable = samples.stable
        counts, t_us = samples.counts, samples.t_us
        for start in range(0, len(t_us), CHUNK_ROWS):
            self._append(counts[start : start + CHUNK_ROWS], t_us[start : start + CHUNK_ROWS])
            if self._n_moving or self._last_us - self._seen_us >= BLOCK_US:
                self._advance(rests)

    def _append(self, counts: NDArray[np.int32], t_us: NDArray[np.int64]) -> None:
        filled = self._filled + len(t_us)
        if filled > CAPACITY_ROWS:
            self._make_room()
            filled = self._filled + len(t_us)
        if t_us[0] < self._last_us:  # the device's clock was mapped anew
            t_us = np.maximum(t_us, self._last_us)
        self._counts[self._filled : filled] = counts
        np.subtract(counts @ self._per_count, self._zero_g, out=self._weight_g[self._filled : filled])
        self._t_us[self._filled : filled] = t_us
        if counts.min() <= SATURATED_LOW or counts.max() >= SATURATED_HIGH:
            self._bad_until = filled
        self._filled, self._last_us = filled, int(t_us[-1])

    def _make_room(self) -> None:
        """Keep the rows that a moving lane may still look back on, and those not yet seen."""
        start = min(self._done, max(0, self._filled - KEPT_ROWS))
        kept = self._filled - start
        self._counts[:kept] = self._counts[start : self._filled].copy()
        self._weight_g[:kept] = self._weight_g[start : self._filled].copy()
        self._t_us[:kept] = self._t_us[start : self._filled].copy()
        self._filled, self._done = kept, self._done - start
        self._bad_until = max(0, self._bad_until - start)

    def _advance(self, rests: Callable[[Plateau], None]) -> None:
        """Look at all rows not yet seen: in one block while all rest, in steps where something moves."""
        self._seen_us = self._last_us
        if not self._n_moving and self._quiet(self._done, self._filled):
            self._done = self._filled
            return
        while self._done < self._filled:
            t_us = self._t_us
            stop = self._done + 1
            while stop < self._filled and t_us[stop] - t_us[self._done] < STEP_US:
                stop += 1
            self._quiet(self._done, stop, note=True)
            self._done = stop
            self._shake = self._shaken(stop)
            for lane in self._moving.nonzero()[0].tolist():
                plateau = self._examine(lane, stop)
                if plateau is not None:
                    rests(plateau)

    def _shaken(self, stop: int) -> float:
        """How much more than usual all lanes of the controller tremble now: a compressor shakes all, a hand one."""
        if self._n < SHAKEN_LANES or stop <= SHAKEN_ROWS:
            return 1.0
        weight_g = self._weight_g[stop - SHAKEN_ROWS - 1 : stop]
        step_g = weight_g[1:] - weight_g[:-1]
        step_g *= step_g
        step_g2 = np.add.reduce(step_g) / (2.0 * SHAKEN_ROWS)
        ratio = step_g2 / np.maximum(self._noise_g2, FLOOR_SD_G**2)
        ratio.sort()
        middle = float(ratio[self._n // 2]) ** 0.5
        return min(max(1.0, middle / SHAKEN_FROM), SHAKEN_MAX) if math.isfinite(middle) else 1.0

    def _shaken_all_along(self, stop: int, rows: int) -> float:
        """The least of it over the last `rows`; 1 where it came or went meanwhile: a bump rings out within a second."""
        levels = [self._shaken(stop - late) for late in (0, rows // 3, 2 * rows // 3)]
        return min(levels) if max(levels) < SHAKEN_ALIKE * min(levels) else 1.0

    def _quiet(self, start: int, stop: int, *, note: bool = False) -> bool:
        """Follow level and noise of the lanes at rest over rows start..stop; False when a lane leaves its rest.

        Without `note`, nothing is changed when a lane moves: the caller looks again in smaller steps.
        """
        rows = stop - start
        off_g = self._weight_g[start:stop] - self.level_g
        mean_g = np.add.reduce(off_g) / rows
        off_g *= off_g
        worst = np.maximum.reduce(off_g)
        if not self._tolerance_age:
            self._renew_tolerance()
        self._tolerance_age -= 1
        tolerance_g = self._tolerance_g
        strayed = worst > tolerance_g * tolerance_g
        if rows >= REST_ROWS:
            strayed |= np.abs(mean_g) > tolerance_g * max(0.25, rows**-0.5)
        if self._n_moving:
            strayed &= ~self._moving
        moved = np.count_nonzero(strayed) > 0
        if moved and not note:
            return False
        elapsed_us = min(2e6, float(self._t_us[stop - 1] - self._t_us[max(0, start - 1)])) or 1.0
        self._follow(off_g, mean_g, elapsed_us, strayed if moved or self._n_moving else None)
        if moved:
            self._leave(strayed, start)
        return not moved

    def _follow(
        self,
        squares_g2: NDArray[np.float64],
        mean_g: NDArray[np.float64],
        elapsed_us: float,
        strayed: NDArray[np.bool_] | None,
    ) -> None:
        self._age_us += elapsed_us
        gain = elapsed_us / np.minimum(self._age_us, FOLLOW_US)
        np.minimum(gain, 1.0, out=gain)
        noise_gain = min(1.0, elapsed_us / NOISE_US)
        noise_g2 = np.add.reduce(squares_g2) / len(squares_g2) - self._noise_g2
        if strayed is None:
            self.level_g += gain * mean_g
            self._noise_g2 += noise_gain * noise_g2
        else:
            rest = ~(strayed | self._moving)
            self.level_g[rest] += gain[rest] * mean_g[rest]
            self._noise_g2[rest] += noise_gain * noise_g2[rest]

    def _renew_tolerance(self) -> None:
        noise_g2 = np.maximum(self._noise_g2, FLOOR_SD_G**2)
        self._tolerance_g = MOTION_SD * np.sqrt(np.where(np.isnan(noise_g2), FLOOR_SD_G**2, noise_g2))
        self._tolerance_age = TOLERANCE_BLOCKS

    def _leave(self, strayed: NDArray[np.bool_], start: int) -> None:
        self._moving |= strayed
        self._n_moving = int(np.count_nonzero(self._moving))
        self._moved_us[strayed] = self._t_us[start]
        self._rest_us[strayed] = self._t_us[max(0, start - 1)]

    def _examine(self, lane: int, stop: int) -> Plateau | None:
        """Whether a moving lane rests at row `stop`."""
        until_us = int(self._t_us[stop - 1])
        rest_us = REST_US if self._shake < SHAKEN_FAR else SHAKEN_REST_US
        weight_g, t_us = self._weights(lane, stop, until_us - rest_us)
        if len(t_us) < REST_ROWS:  # a slow scale
            weight_g, t_us = self._weights(lane, stop, until_us - LOOK_BACK_US)
        if len(t_us) < REST_ROWS or t_us[-1] != until_us or self._stable is False:
            return None
        unweighed = math.isnan(self.level_g[lane]) or math.isnan(self._noise_g2[lane])
        if unweighed and not self._learn_noise(lane, *self._weights(lane, stop, until_us - LOOK_BACK_US)):
            return None
        rest = self._at_rest(lane, weight_g, t_us, rest_us)
        if rest is None and until_us - self._moved_us[lane] > NOISY_AFTER_US:
            rest = self._noisy_rest(lane, stop, *self._weights(lane, stop, until_us - LOOK_BACK_US))
        if rest is None:
            return None
        level_g, var_g2, since_us = rest
        away_s = (until_us - int(self._rest_us[lane])) / 1e6 if self._rest_us[lane] else 0.0
        age_us = max(1.0, float(self._age_us[lane]))
        start_var_g2 = CORRELATED * self.noise_sd_g(lane) ** 2 / max(1.0, min(FOLLOW_US, age_us) / SAMPLE_US)
        start_var_g2 = max(start_var_g2, float(self._calm_g2[lane] * self._calm_us[lane]) / age_us)
        delta_var_g2 = var_g2 + start_var_g2 + drift_var_g2(away_s)
        return Plateau(lane, level_g, var_g2, since_us, until_us, level_g - float(self.level_g[lane]), delta_var_g2)

    def _weights(self, lane: int, stop: int, from_us: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Grams above zero of a lane and their times, rows before `stop` from `from_us` on, without bad samples."""
        start = int(self._t_us[:stop].searchsorted(from_us))
        t_us, weight_g = self._t_us[start:stop], self._weight_g[start:stop, lane]
        if start >= self._bad_until:
            return weight_g, t_us
        rows = self._counts[start:stop][:, list(self.wirings[lane].cells)]
        good = np.logical_and.reduce((rows > SATURATED_LOW) & (rows < SATURATED_HIGH), axis=1)
        return weight_g[good], t_us[good]

    def passed(self, plateau: Plateau) -> list[tuple[float, float]]:
        """Levels held for a moment between the last rest and this one: (change since the last rest in g, variance)."""
        lane, stop = plateau.lane, self._done
        from_us = max(int(self._moved_us[lane]), plateau.until_us - PASSED_US)
        start, end = np.searchsorted(self._t_us[:stop], (from_us, plateau.since_us)).tolist()
        weight_g = self._weights(lane, end, int(self._t_us[start]) if start < end else from_us)[0] - self.level_g[lane]
        rows_a_moment = max(MOMENT_ROWS, round((end - start) * MOMENT_US / max(1, plateau.since_us - from_us)))
        near_g = 3.0 * self.noise_sd_g(lane) + 0.1
        found: list[tuple[float, float]] = []
        at = 0
        while at + rows_a_moment <= len(weight_g):
            upto = at + rows_a_moment
            if np.ptp(weight_g[at:upto]) > 2.0 * near_g:
                at += 1
                continue
            level_g = float(weight_g[at:upto].mean())
            while upto < len(weight_g) and abs(weight_g[upto] - level_g) <= near_g:
                upto += 1
            found.append((float(weight_g[at:upto].mean()), CORRELATED * self.noise_sd_g(lane) ** 2 / (upto - at) + 0.2))
            at = upto
        return found[-PASSED_MAX:]

    def reach_g(self, plateau: Plateau) -> float:
        """How far (g) the weight went from its last rest on the way to this one; infinite where that is forgotten.

        Two neighbouring samples on one side count: a bump rings to both sides, and junk is a sample alone.
        """
        lane, stop = plateau.lane, self._done
        moved_us = int(self._moved_us[lane])
        if not stop or moved_us <= self._t_us[0]:
            return math.inf
        weight_g, _ = self._weights(lane, stop, moved_us)
        if len(weight_g) < 2:
            return math.inf
        away_g = weight_g - self.level_g[lane]
        above_g, below_g = np.minimum(away_g[1:], away_g[:-1]).max(), np.maximum(away_g[1:], away_g[:-1]).min()
        return float(max(above_g, -below_g, 0.0))

    def _learn_noise(self, lane: int, weight_g: NDArray[np.float64], t_us: NDArray[np.int64]) -> bool:
        """Noise of a lane not yet weighed, from differences of neighbours: a slowly moving load does not spoil it."""
        if t_us[-1] - t_us[0] < LEARN_US or len(t_us) < 2 * REST_ROWS:
            return False
        weight_g = weight_g[-KEPT_ROWS:]
        sd_g = 1.4826 * float(np.median(np.abs(np.diff(weight_g)))) / 2.0**0.5
        sd_g *= 1.0 + 2.0 / len(weight_g) ** 0.5  # of a few samples it may come out too small, and nothing would rest
        self._noise_g2[lane] = max(FLOOR_SD_G, sd_g) ** 2
        self._tolerance_age = 0
        return True

    def _at_rest(
        self, lane: int, weight_g: NDArray[np.float64], t_us: NDArray[np.int64], rest_us: int
    ) -> tuple[float, float, int] | None:
        """(level, variance, since) when the last `rest_us` lie within the tolerance, but for one junk sample."""
        first = min(int(t_us.searchsorted(t_us[-1] - rest_us)), len(t_us) - REST_ROWS)
        last_g = weight_g[first:]
        n = len(last_g)
        sd_g = self.noise_sd_g(lane) * self._shake
        if abs(last_g[-1] - last_g[-2]) > 9.0 * sd_g:  # most looks at a moving lane end here
            return None
        level_g = float(np.sort(last_g)[n // 2])
        near = np.abs(last_g - level_g) <= 4.5 * sd_g
        n_near = int(np.count_nonzero(near))
        if n - n_near > max(1, n // 20) or not near[-1]:
            return None
        kept_g = last_g[near]
        half = n_near // 2
        early_g, late_g = float(kept_g[:half].sum()) / half, float(kept_g[half:].sum()) / (n_near - half)
        if abs(early_g - late_g) > 3.5 * sd_g * (4.0 / n_near) ** 0.5 + 0.02:
            return None
        mean_g = float(kept_g.sum()) / n_near
        return mean_g, CORRELATED * sd_g * sd_g / n_near, int(t_us[first])

    def _noisy_rest(
        self, lane: int, stop: int, weight_g: NDArray[np.float64], t_us: NDArray[np.int64]
    ) -> tuple[float, float, int] | None:
        """The same under vibration: larger noise, but no trend; a hand wanders, a compressor does not.

        How much larger is bounded, unless all lanes tremble all the time: no hand does that, and a bump soon rings out.
        """
        if len(t_us) < 12:
            return None
        first = int(t_us.searchsorted(t_us[-1] - NOISY_REST_US))
        last_g = weight_g[first:]
        if first == 0 or len(last_g) < 12:
            return None
        level_g = float(np.median(last_g))
        off_g = last_g - level_g
        sd_g = 1.4826 * float(np.median(np.abs(off_g)))
        if sd_g > NOISY_LIMIT * self.noise_sd_g(lane) * self._shaken_all_along(stop, len(last_g)):
            return None
        kept_g = np.clip(off_g, -3.5 * sd_g, 3.5 * sd_g)
        parts = np.array([part.mean() for part in np.array_split(kept_g, 6)])
        expected_g2 = CORRELATED * sd_g * sd_g * 6.0 / len(last_g)
        if float(parts.var()) > 2.5 * expected_g2 + 1e-4:  # chi-square with 5 degrees of freedom: 1 % beyond 2.5
            return None
        return level_g + float(kept_g.mean()), expected_g2 / 3.0, int(t_us[first])
