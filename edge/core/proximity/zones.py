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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.core.instant import US_PER_S
from edge.core.proximity.floor import Floor, make_floor
from edge.core.site import Site

WINDOW_US: Final = 5 * US_PER_S // 2
STEP_US: Final = US_PER_S // 2
STEP_S: Final = STEP_US / US_PER_S
MOUNTED_STEP_US: Final = 4 * STEP_US  # what marks a zone hangs on a wall: it is looked at less often
SAME_US: Final = 30_000  # of one packet, the scanners tell within so long; none is sent twice as fast
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
SOLVE_EVERY: Final = 12  # lessons: they are taken together, since nothing changes before
AT_ONCE: Final = 1 << 16  # beacons × scanners × cells that are weighed together: half a megabyte of columns

PACKET_VAR: Final = np.float32(PACKET_SD_DB**2)
MEAN_VAR: Final = np.float32(MEAN_SD_DB**2)

Columns = NDArray[np.float32]
"""Single precision: a belief needs no more, and its logarithms cost a third."""


@dataclass(frozen=True, slots=True)
class Window:
    """What was heard of a beacon in a step, up to the packet at ``until_us``: sums of dBm and packets by scanner.

    It begins and ends with a packet of the beacon: so the packets sent in it are always as many, where half seconds by
    the clock would hold one more or less. steps: half seconds in which it may have walked.
    """

    until_us: int
    sums: list[float]
    counts: list[int]
    steps: int


@dataclass(slots=True)
class Track:
    """One beacon: samples by scanner (for `Care`), what was heard since the last step, and the belief.

    belief (9, cells): rest and the eight directions of walking; it sums to 1. home: the zone that it should mark.
    """

    samples: dict[str, deque[tuple[int, int]]] = field(default_factory=dict)
    belief: Columns | None = None
    sums: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    since_us: int = 0
    until_us: int | None = None  # the packet with which the step that runs ends
    steps: list[Window] = field(default_factory=list)  # not yet weighed
    rate: float = 0.0
    weighed: int = 0
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
        self._at_once = max(1, AT_ONCE // max(1, self.floor.log10_m.size))
        self._ears = _Ears(self.floor)

    def hear(self, track: Track, device: str, rssi_dbm: int, now_us: int) -> bool:
        """Take one packet; whether there is a step to be weighed."""
        samples = track.samples.get(device)
        if samples is None:
            samples = track.samples[device] = deque(maxlen=MAX_SAMPLES)
        samples.append((now_us, rssi_dbm))
        if not track.counts:  # nothing is said of a single packet
            self._begin(track, now_us)
        elif track.until_us is not None and now_us - track.until_us > SAME_US:
            self._close(track, track.until_us)
        row = self._index[device]
        track.sums[row] += rssi_dbm
        track.counts[row] += 1
        if track.until_us is None and now_us - track.since_us >= (MOUNTED_STEP_US if track.is_mounted else STEP_US):
            track.until_us = now_us
        return track.until_us is not None

    def _begin(self, track: Track, now_us: int) -> None:
        track.sums, track.counts = [0.0] * len(self._index), [0] * len(self._index)
        track.since_us, track.until_us = now_us, None

    def _close(self, track: Track, until_us: int) -> None:
        steps = 1 if track.is_mounted else min(STEPS_MAX, (until_us - track.since_us) // STEP_US)
        track.steps.append(Window(until_us, track.sums, track.counts, steps))
        self._begin(track, until_us)

    def update(self, tracks: Sequence[Track], now_us: int) -> list[list[tuple[str, float]]]:
        """Weigh the steps that have ended: after each of them, the likeliest zone and its probability, by beacon."""
        for track in tracks:
            _forget(track, now_us - WINDOW_US)
            if track.until_us is not None:
                self._close(track, track.until_us)
        found: list[list[tuple[str, float]]] = [[] for _ in tracks]
        for turn in range(max((len(track.steps) for track in tracks), default=0)):
            left = [index for index, track in enumerate(tracks) if turn < len(track.steps)]
            for start in range(0, len(left), self._at_once):
                chosen = left[start : start + self._at_once]
                told = self._weigh([tracks[index] for index in chosen], turn)
                for index, one in zip(chosen, told, strict=True):
                    found[index].append(one)
        for track in tracks:
            track.steps.clear()
        return found

    def _weigh(self, tracks: Sequence[Track], turn: int) -> Iterator[tuple[str, float]]:
        floor, windows = self.floor, [track.steps[turn] for track in tracks]
        walked = floor.walk(
            np.array([floor.anywhere() if track.belief is None else track.belief for track in tracks]),
            np.array([0 if track.belief is None else track.steps[turn].steps for track in tracks]),
        )
        likelihood = self._ears.weigh(tracks, windows, np.add.reduce(walked, axis=1))
        beliefs = walked * likelihood[:, None]
        beliefs /= np.add.reduce(beliefs, axis=(1, 2), keepdims=True)
        for track, belief in zip(tracks, beliefs, strict=True):
            track.belief = belief.copy()  # a view would keep all the others
        chances = floor.chances(beliefs)
        zones = [self.zones[index] for index in chances.argmax(axis=1).tolist()]
        return zip(zones, np.maximum.reduce(chances, axis=1).tolist(), strict=True)


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
        self._lessons: list[tuple[NDArray[Any], ...]] = []
        """Of each: where the beacon is (cells,), mean levels and trust (scanners,), and its power at 1 m."""

    def weigh(self, tracks: Sequence[Track], windows: Sequence[Window], prior: Columns) -> Columns:
        """Likelihood of each cell (beacons, cells; largest 1) for what was heard of each in a step.

        prior (beacons, cells): what was believed before. Learns from it as well.
        """
        counts = np.array([window.counts for window in windows], np.float32)  # (beacons, scanners)
        level_dbm = np.array([window.sums for window in windows], np.float32) / np.maximum(counts, ONE)
        power_dbm = np.array([track.power_dbm for track in tracks], np.float32)
        want = power_dbm[:, None, None] - self._loss_db  # (beacons, scanners, cells)
        trust = counts / (PACKET_VAR + MEAN_VAR * counts)  # 0 where nothing was heard
        residual = level_dbm[:, :, None] - want
        common = trust[:, None] @ residual
        common /= (np.add.reduce(trust, axis=1) + LOOSE)[:, None, None]
        residual -= common
        residual *= residual
        residual *= (trust / TAIL)[:, :, None]
        residual += ONE
        scores = TAIL_WEIGHT * np.add.reduce(np.log(residual, out=residual), axis=1)
        unheard = SENSITIVITY_DBM - want
        unheard -= common
        unheard *= STEEPNESS
        np.exp(unheard, out=unheard)
        unheard += ONE
        rates = [_rate(track, window.counts) for track, window in zip(tracks, windows, strict=True)]
        expected = (np.array(rates, np.float32) * HEARD_SHARE)[:, None, None] / unheard
        expected += STRAY
        surprise = np.add.reduce(expected, axis=1)
        common *= common
        scores += HALF_LOOSE * common[:, 0]
        surprise -= (counts[:, None] @ np.log(expected, out=unheard))[:, 0]
        scores += COUNT_WEIGHT * surprise
        likelihood: Columns = np.minimum.reduce(scores, axis=1, keepdims=True) - scores
        np.exp(likelihood, out=likelihood)
        if self._learns:
            self._learn(tracks, prior * likelihood, (level_dbm, trust, power_dbm))
        return likelihood

    def _learn(self, tracks: Sequence[Track], where: Columns, heard: Sequence[NDArray[Any]]) -> None:
        """Keep a lesson of those beacons whose turn it is. heard: mean levels, trust and powers of all."""
        for index, track in enumerate(tracks):
            track.weighed += 1
            if track.is_mounted or track.weighed % LEARN_EVERY == 0:
                place = where[index] / np.add.reduce(where[index])
                if self._teaches(track, place):
                    self._lessons.append((place, *(column[index] for column in heard)))
        if len(self._lessons) >= SOLVE_EVERY:
            self._solve()

    def _teaches(self, track: Track, where: Columns) -> bool:
        """A beacon that should hang in another zone was moved, or is believed wrongly: it would teach that for ever."""
        owned = self._zones.get(track.home)
        return owned is None or float(where @ owned) >= ENTER

    def _solve(self) -> None:
        """Take the lessons into the normal equations, and gain and exponent out of them."""
        where, level_dbm, trust, power_dbm = (np.array(column) for column in zip(*self._lessons, strict=True))
        self._lessons.clear()
        surplus_db, seen = _censored(level_dbm, power_dbm[:, None, None] - self._loss_db, trust, where)
        weight = LEARN * trust * seen**2
        slope = -(where @ self._around.T)
        gap = surplus_db + self._known[:, 0] + self._known[:, 1] * slope
        steeper = weight * slope
        self._square[:, 0, 0] += np.add.reduce(weight)
        self._square[:, 0, 1] += (crossed := np.add.reduce(steeper))
        self._square[:, 1, 0] += crossed
        self._square[:, 1, 1] += np.add.reduce(steeper * slope)
        self._right[:, 0] += np.add.reduce(weight * gap)
        self._right[:, 1] += np.add.reduce(steeper * gap)
        self._known = np.asarray(np.linalg.solve(self._square, self._right[:, :, None])[:, :, 0], np.float64)
        self._known[:, 0] -= self._known[:, 0].mean()  # what all have alike is the beacons' power
        gain, exponent = self._known[:, :1], self._known[:, 1:]
        self._loss_db = (self._prior_loss_db - gain + exponent * self._around).astype(np.float32)


def _censored(level_dbm: Columns, want: Columns, trust: Columns, where: Columns) -> tuple[Columns, Columns]:
    """How much stronger than wanted all packets were, and how fully that is seen; both (beacons, scanners)."""
    hidden = np.exp((SENSITIVITY_DBM - want) / CENSOR_DB)
    seen: Columns = np.matmul(ONE / (ONE + hidden), where[:, :, None])[:, :, 0]
    residual = level_dbm[:, :, None] - want - CENSOR_DB * np.log1p(hidden)
    residual -= trust[:, None] @ residual / (np.add.reduce(trust, axis=1) + LOOSE)[:, None, None]
    surplus_db: Columns = np.matmul(residual, where[:, :, None])[:, :, 0] / seen
    return surplus_db, seen


def _rate(track: Track, counts: list[int]) -> float:
    """Packets a step of a beacon where it is heard well: the mean of its two best scanners; follows slowly."""
    two = sorted(counts)[-2:]
    best = sum(two) / len(two)
    track.rate = best if track.rate == 0.0 else RATE_KEEP * track.rate + (1.0 - RATE_KEEP) * best
    return track.rate
