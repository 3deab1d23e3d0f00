"""Which zone: a hidden Markov model over places of the floor, fed by what each scanner hears and does not hear.

A beacon is somewhere on a grid of cells and either rests or walks in one of eight directions; zones are the cells
nearest to their scanners and shelves. Walking keeps its direction for some seconds, so that who has crossed a border
is believed before the levels alone would say so. (Bayes filter on a grid: Thrun, Burgard and Fox, "Probabilistic
Robotics", chapter 8.)

Evidence of a step of half a second: the mean level of each scanner around power at 1 m − 10·n·log10(distance), with
what takes all levels alike (a hand, a body, a weak battery) integrated out, and the number of packets against what
the level lets expect. Levels of single packets differ by 6 to 9 dB (three channels, fast fading: Faragher and Harle,
"Location Fingerprinting with Bluetooth Low Energy Beacons", IEEE JSAC 33(11), 2015) and are nearly independent; what
remains (shadowing) is not, hence the floor under the variance of a mean and the tails of Student's t.

A beacon sends by its own clock, so the number heard is binomial, which is narrower than Poisson's: near a scanner,
where most packets come through, it says the most.

What a scanner's own ears and walls do (gain, exponent) is learned from all beacons along the way, by recursive least
squares around ITU-R P.1238's exponent for shops. Far away only the strong packets are heard, so that their mean is
higher than that of all (a censored normal): taken as it is, it made exponents of 2.9 look like 2.1.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.core.instant import US_PER_S
from edge.core.proximity.floor import Floor, make_floor
from edge.core.site import Site

WINDOW_US: Final = 5 * US_PER_S // 2
STEP_US: Final = US_PER_S // 2
STEP_S: Final = STEP_US / US_PER_S
MOUNTED_STEP_US: Final = 4 * STEP_US  # what marks a zone hangs on a wall: it is looked at less often
STEPS_MAX: Final = 4  # after a silence: what moved meanwhile is anywhere anyway
MAX_SAMPLES: Final = 64
DEFAULT_POWER_DBM: Final = -59.0
ENTER: Final = 0.5
SURE: Final = 0.58

EXPONENT: Final = 2.6  # ITU-R P.1238-11: 2 to 3 in commercial buildings
EXPONENT_SD: Final = 0.3
GAIN_SD_DB: Final = 2.0  # between scanners of one make
REFERENCE_LOG10: Final = 0.8  # decimal logarithm of the distance (6 m) around which gain and exponent are apart
PACKET_SD_DB: Final = 6.0
MEAN_SD_DB: Final = 1.4  # what no number of packets averages away within a step
TAIL: Final = np.float32(6.0)  # degrees of freedom of Student's t
TAIL_WEIGHT: Final = np.float32((TAIL + 1.0) / 2.0)
LOOSE: Final = np.float32(6.0**-2)  # of what all levels have alike: 6 dB (a hand, a body, a weak battery)
SENSITIVITY_DBM: Final = np.float32(-94.0)
STEEPNESS: Final = np.float32(1.7 / 7.0)  # of the share that is heard around it: a logistic curve for 7 dB
COUNT_WEIGHT: Final = np.float32(1.5)
"""Of Poisson's word for a number of packets. A binomial's variance is 1 − p times Poisson's: for a p of 0.3 to 0.6 its
word weighs 1.4 to 2.5 times as much; collisions, which come in bursts, take some of that back."""
CENSOR_DB: Final = np.float32(7.0)  # how softly the mean of what is heard turns at the sensitivity: a packet's spread
HEARD_SHARE: Final = 0.8  # of the packets that the best ear hears, in the mean
STRAY: Final = np.float32(0.05)  # packets a step where none is expected: the model is not the world
RATE_KEEP: Final = 0.9
ONE: Final = np.float32(1.0)
HALF_LOOSE: Final = np.float32(0.5) * LOOSE
LEARN_EVERY: Final = 4  # steps
LEARN: Final = 0.2  # weight of such a step's evidence: places are beliefs, and steps are not independent
SOLVE_EVERY: Final = 12  # lessons

PACKET_VAR: Final = np.float32(PACKET_SD_DB**2)
MEAN_VAR: Final = np.float32(MEAN_SD_DB**2)

Heard = NDArray[np.intp] | slice
"""Scanners by index: some, or all."""
Columns = NDArray[np.float32]
"""Single precision: a belief needs no more, and its logarithms cost a third."""


@dataclass(slots=True)
class Track:
    """One beacon: samples by scanner (for `Care`), what was heard since the last step, and the belief.

    belief (9, cells): rest and the eight directions of walking; it sums to 1. home: the zone that it should mark.
    """

    samples: dict[str, deque[tuple[int, int]]] = field(default_factory=dict)
    belief: Columns | None = None
    sums: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    rate: float = 0.0
    steps: int = 0
    updated_us: int = 0
    power_dbm: float = DEFAULT_POWER_DBM
    is_mounted: bool = False
    home: str = ""


class ZoneModel:
    """The floor of one site and the filter over it."""

    def __init__(self, site: Site) -> None:
        self.zone_of = {scanner.device: scanner.zone for scanner in site.scanners}
        self.floor: Floor = make_floor(site)
        self.zones: list[str] = self.floor.zones
        self.place = {s.device: (s.x_m, s.y_m) for s in site.scanners} if self.floor.is_placed else {}
        self._index = {scanner.device: row for row, scanner in enumerate(site.scanners)}
        self._ears = _Ears(self.floor)

    def hear(self, track: Track, device: str, rssi_dbm: int, now_us: int) -> bool:
        """Take one packet; whether the belief is due."""
        samples = track.samples.get(device)
        if samples is None:
            samples = track.samples[device] = deque(maxlen=MAX_SAMPLES)
        samples.append((now_us, rssi_dbm))
        if not track.counts:  # nothing is said of a single packet
            track.sums, track.counts = [0.0] * len(self._index), [0] * len(self._index)
            track.updated_us = now_us
        row = self._index[device]
        track.sums[row] += rssi_dbm
        track.counts[row] += 1
        return now_us - track.updated_us >= (MOUNTED_STEP_US if track.is_mounted else STEP_US)

    def update(self, track: Track, now_us: int) -> tuple[str, float] | None:
        """Let time pass and weigh what was heard: the likeliest zone and its probability; None if nothing is heard."""
        _forget(track, now_us - WINDOW_US)
        if not any(track.counts):
            return None
        floor = self.floor
        steps = 1 if track.is_mounted else min(STEPS_MAX, max(1, (now_us - track.updated_us) // STEP_US))
        belief = floor.anywhere() if track.belief is None else floor.walk(track.belief, steps)
        likelihood = self._ears.weigh(track, np.add.reduce(belief))
        belief *= likelihood  # both ways above give an array of its own
        belief /= np.add.reduce(belief, axis=None)
        track.belief, track.updated_us = belief, now_us
        track.sums, track.counts = [0.0] * len(track.sums), [0] * len(track.counts)
        chances = floor.chances(belief)
        index = int(chances.argmax())
        return self.zones[index], float(chances[index])


def _forget(track: Track, edge_us: int) -> None:
    for samples in track.samples.values():
        while samples and samples[0][0] < edge_us:
            samples.popleft()


class _Ears:
    """What each scanner should hear from each cell, and how well that fits; learns gain and exponent of each."""

    def __init__(self, floor: Floor) -> None:
        n_scanners = len(floor.log10_m)
        self._around = floor.log10_m - REFERENCE_LOG10  # (scanners, cells)
        self._prior_loss_db = floor.extra_db + 10.0 * EXPONENT * floor.log10_m
        self._loss_db = self._prior_loss_db.astype(np.float32)
        self._learns = floor.is_placed
        self._zones = {zone: floor.zone_of_cell[:, index] for index, zone in enumerate(floor.zones)}
        # Normal equations of (gain, exponent) of each scanner, beginning with the priors.
        self._square = np.zeros((n_scanners, 2, 2))
        self._square[:, 0, 0], self._square[:, 1, 1] = GAIN_SD_DB**-2, (10.0 * EXPONENT_SD) ** -2
        self._right = np.zeros((n_scanners, 2))
        self._known: NDArray[np.float64] = np.zeros((n_scanners, 2))
        self._lessons = 0

    def weigh(self, track: Track, prior: Columns) -> Columns:
        """Likelihood of each cell (largest 1) for what was heard since the last step; learns from it as well."""
        counts = np.array(track.counts, np.float32)
        rows: Heard = slice(None) if all(track.counts) else counts.nonzero()[0]
        heard = counts[rows]
        self._rate(track)
        want = np.float32(track.power_dbm) - self._loss_db
        residual = (np.array(track.sums, np.float32)[rows] / heard)[:, None] - want[rows]
        trust = ONE / (PACKET_VAR / heard + MEAN_VAR)
        common = trust @ residual
        common /= np.add.reduce(trust) + LOOSE
        residual -= common
        scores = HALF_LOOSE * common**2
        tails = residual * residual
        tails *= (trust / TAIL)[:, None]
        tails += ONE
        scores += TAIL_WEIGHT * np.add.reduce(np.log(tails, out=tails))
        unheard = SENSITIVITY_DBM - want
        unheard -= common
        unheard *= STEEPNESS
        np.exp(unheard, out=unheard)
        unheard += ONE
        expected = np.float32(track.rate * HEARD_SHARE) / unheard
        expected += STRAY
        scores += COUNT_WEIGHT * (np.add.reduce(expected) - counts @ np.log(expected, out=unheard))
        likelihood: Columns = np.subtract(np.minimum.reduce(scores), scores, out=scores)
        np.exp(likelihood, out=likelihood)
        track.steps += 1
        if self._learns and (track.is_mounted or track.steps % LEARN_EVERY == 0):
            where = prior * likelihood
            where /= np.add.reduce(where)
            if self._teaches(track, where):
                level_dbm = np.array(track.sums, np.float32)[rows] / heard
                self._learn(rows, trust, self._censored(level_dbm, want[rows], trust, where), where)
        return likelihood

    def _teaches(self, track: Track, where: Columns) -> bool:
        """A beacon that should hang in another zone was moved, or is believed wrongly: it would teach that for ever."""
        owned = self._zones.get(track.home)
        return owned is None or float(where @ owned) >= ENTER

    @staticmethod
    def _censored(level_dbm: Columns, want: Columns, trust: Columns, where: Columns) -> tuple[Columns, Columns]:
        """(how much stronger than wanted all packets were, by scanner and cell; how fully that is seen, by scanner)."""
        hidden = np.exp((SENSITIVITY_DBM - want) / CENSOR_DB)
        residual = level_dbm[:, None] - want - CENSOR_DB * np.log1p(hidden)
        residual -= trust @ residual / (np.add.reduce(trust) + LOOSE)
        seen: Columns = (ONE / (ONE + hidden)) @ where
        return residual / seen[:, None], seen

    @staticmethod
    def _rate(track: Track) -> None:
        """Packets a step of this beacon where it is heard well: the mean of its two best scanners."""
        two = sorted(track.counts)[-2:]
        best = sum(two) / len(two)
        track.rate = best if track.rate == 0.0 else RATE_KEEP * track.rate + (1.0 - RATE_KEEP) * best

    def _learn(self, rows: Heard, trust: Columns, found: tuple[Columns, Columns], where: Columns) -> None:
        residual, seen = found
        weight = LEARN * trust * seen**2
        slope = -(self._around[rows] @ where)
        gap = residual @ where + self._known[rows, 0] + self._known[rows, 1] * slope
        self._square[rows, 0, 0] += weight
        self._square[rows, 0, 1] += weight * slope
        self._square[rows, 1, 0] += weight * slope
        self._square[rows, 1, 1] += weight * slope**2
        self._right[rows, 0] += weight * gap
        self._right[rows, 1] += weight * slope * gap
        self._lessons += 1
        if self._lessons % SOLVE_EVERY == 0:
            self._known = np.asarray(np.linalg.solve(self._square, self._right[:, :, None])[:, :, 0], np.float64)
            self._known[:, 0] -= self._known[:, 0].mean()  # what all have alike is the beacons' power
            gain, steeper = self._known[:, :1], self._known[:, 1:]
            self._loss_db = (self._prior_loss_db - gain + steeper * self._around).astype(np.float32)
