"""The field world of tag presence: the judge's generator. It knows nothing of production or of the simulator.

Shelves in a row, one antenna each, one inventory round a second. A tag is read by its own shelf's antenna at its own
rate, and by one to three neighbours, weaker and less often. Fading is an Ornstein-Uhlenbeck process in logit for each
pair of tag and antenna; static multipath is drawn anew wherever a tag is laid; people stand before shelves in bursts;
tags are carried along the row by people and seen on the way, put on their other home shelf, on a wrong one, or taken
out of the store and sometimes brought back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ABSENT, CARRIED = -1, -2


@dataclass(frozen=True)
class FieldParameters:
    """What a judge may vary."""

    shelves: int = 8
    tags_a_shelf: int = 60
    skus: int = 12
    seconds: int = 3600
    read_rate: tuple[float, float] = (0.3, 0.95)
    neighbours: tuple[int, int] = (1, 3)
    weaker_db: tuple[float, float] = (8.0, 18.0)
    cross_share: tuple[float, float] = (0.1, 0.35)  # of a tag's reads
    fading_logit_sd: float = 1.3
    fading_s: tuple[float, float] = (4.0, 40.0)
    fading_common: float = 0.0  # share of its variance that all antennas see alike: a tag that hangs badly
    fading_db: float = 1.5  # what one standard deviation of fading does to the level
    multipath_db: float = 3.0
    tag_offset_db: float = 3.0
    antenna_offset_db: float = 3.0
    noise_db: float = 1.0
    burst_every_s: float = 150.0  # a shelf
    burst_s: tuple[float, float] = (5.0, 40.0)
    burst_logit: tuple[float, float] = (1.5, 4.0)
    burst_share: tuple[float, float] = (0.3, 1.0)  # of the shelf's tags that the person hides
    move_every_s: float = 1800.0  # a tag
    leave_share: float = 0.25
    misplace_share: float = 0.15
    tidy_every_s: float = 240.0  # a misplaced tag
    away_s: tuple[float, float] = (60.0, 900.0)
    walk_s_a_shelf: tuple[float, float] = (1.0, 3.0)


# Corners of the ranges, so that no figure hangs on their middle.
CORNERS = {
    "six_shelves": FieldParameters(shelves=6, tags_a_shelf=40, skus=5, cross_share=(0.25, 0.35), weaker_db=(8.0, 14.0)),
    "cross_reads_35": FieldParameters(cross_share=(0.34, 0.36)),
    "poor_tags": FieldParameters(read_rate=(0.3, 0.6)),
    "slow_fading": FieldParameters(fading_s=(20.0, 40.0)),
    "alike_fading": FieldParameters(fading_common=0.5),
    "crowd": FieldParameters(burst_every_s=75.0),
}
HARDER = FieldParameters(weaker_db=(2.0, 12.0), move_every_s=400.0, seconds=1800)


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))


class FieldWorld:
    """One run, second by second; `truth` (tags,) is the shelf, ABSENT or CARRIED."""

    def __init__(self, seed: int, parameters: FieldParameters | None = None) -> None:
        self.p = p = parameters or FieldParameters()
        self.rng = rng = np.random.default_rng([seed, 4711])
        n, a = p.shelves * p.tags_a_shelf, p.shelves
        self.n, self.t_s = n, 0
        self.sku = np.arange(n) % p.skus
        first = rng.permutation(p.skus) % a
        second = (first + rng.integers(1, a, p.skus)) % a
        self.homes = np.stack((first, second), 1)  # (skus, 2): where the planogram has it
        self.epc = np.stack([sgtin96(100 + sku, serial) for serial, sku in enumerate(self.sku.tolist())])
        self.rate = rng.uniform(*p.read_rate, n)
        self.tag_db = rng.normal(0, p.tag_offset_db, n)
        self.antenna_db = rng.normal(0, p.antenna_offset_db, a)
        self.truth = self.homes[self.sku, rng.integers(0, 2, n)]
        self.truth[rng.random(n) < 0.03] = ABSENT
        self.fade = rng.normal(0, 1, (n, a))
        self.fade_keep = np.exp(-1 / rng.uniform(*p.fading_s, (n, a)))
        self.sway = rng.normal(0, 1, (n, 1))
        self.sway_keep = np.exp(-1 / rng.uniform(*p.fading_s, (n, 1)))
        self.base = np.full((n, a), -np.inf)  # logit of being read in a round
        self.level = np.zeros((n, a))
        self.path: dict[int, list[tuple[int, int]]] = {}  # carried tags: (shelf passed, seconds left there)
        self.goal = np.full(n, ABSENT)
        self.back_at = np.full(n, -1)
        self.hidden = np.zeros((n, a))
        self.bursts: list[tuple[int, int, np.ndarray, float]] = []  # (until, shelf, tags, logit)
        self.changes: list[tuple[int, int, int, int]] = []  # (second, tag, from, to), places only
        for tag in range(n):
            self._lay(tag, int(self.truth[tag]))
            if self.truth[tag] == ABSENT:
                self.back_at[tag] = int(rng.uniform(*p.away_s))

    def second(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run one inventory round; its reads as (tag, antenna, dBm). Readers have four ports and visit them in turn."""
        p, rng = self.p, self.rng
        self.t_s += 1
        self._people()
        self._moves()
        self._walk()
        self.fade = self.fade * self.fade_keep + np.sqrt(1 - self.fade_keep**2) * rng.normal(0, 1, self.fade.shape)
        self.sway = self.sway * self.sway_keep + np.sqrt(1 - self.sway_keep**2) * rng.normal(0, 1, self.sway.shape)
        fade = np.sqrt(1 - p.fading_common) * self.fade + np.sqrt(p.fading_common) * self.sway
        logit = self.base + p.fading_logit_sd * fade - self.hidden
        tag, antenna = np.nonzero(rng.random(logit.shape) < 1 / (1 + np.exp(-logit)))
        dbm = self.level[tag, antenna] + p.fading_db * fade[tag, antenna] - 1.5 * self.hidden[tag, antenna]
        dbm = dbm + rng.normal(0, p.noise_db, len(tag))
        order = np.argsort(antenna % 4 + rng.random(len(tag)))
        return tag[order], antenna[order], dbm[order]

    def _lay(self, tag: int, shelf: int) -> None:
        """Read probabilities and levels of a tag that lies on a shelf (or is gone) until it is moved again."""
        p, rng = self.p, self.rng
        self.base[tag] = -np.inf
        self.truth[tag] = shelf
        if shelf < 0:
            return
        near = np.argsort(np.abs(np.arange(p.shelves) - shelf) + rng.random(p.shelves) * 0.9, kind="stable")[1:]
        near = near[: rng.integers(p.neighbours[0], p.neighbours[1] + 1)]
        weaker = rng.uniform(*p.weaker_db, len(near))
        share = rng.uniform(*p.cross_share)
        part = rng.dirichlet(np.ones(len(near))) * share / (1 - share) * self.rate[tag]
        mean_gain = np.sqrt(1 + 0.393 * p.fading_logit_sd**2)  # so that fading does not change the mean rate
        self.base[tag, shelf] = _logit(self.rate[tag]) * mean_gain
        self.base[tag, near] = _logit(np.clip(part, 0.005, 0.9)) * mean_gain
        where = np.append(near, shelf)
        level = -55 + self.tag_db[tag] + self.antenna_db[where] + rng.normal(0, p.multipath_db, len(where))
        level[:-1] -= weaker
        self.level[tag, where] = level

    def _people(self) -> None:
        p, rng = self.p, self.rng
        for burst in [b for b in self.bursts if b[0] <= self.t_s]:
            self.bursts.remove(burst)
            self.hidden[burst[2], burst[1]] -= burst[3]
        for shelf in np.flatnonzero(rng.random(p.shelves) < 1 / p.burst_every_s).tolist():
            tags = np.flatnonzero(rng.random(self.n) < rng.uniform(*p.burst_share))
            strength = float(rng.uniform(*p.burst_logit))
            self.hidden[tags, shelf] += strength
            self.bursts.append((self.t_s + int(rng.uniform(*p.burst_s)), shelf, tags, strength))

    def _moves(self) -> None:
        p, rng = self.p, self.rng
        on_shelf = self.truth >= 0
        at_home = (self.homes[self.sku] == self.truth[:, None]).any(axis=1)
        hazard = np.where(at_home, 1 / p.move_every_s, 1 / min(p.tidy_every_s, p.move_every_s))
        for tag in np.flatnonzero(on_shelf & (rng.random(self.n) < hazard)).tolist():
            self._take(tag, bool(at_home[tag]))
        for tag in np.flatnonzero(self.back_at == self.t_s).tolist():
            self.back_at[tag] = -1
            self._carry(tag, 0, int(rng.choice(self.homes[self.sku[tag]])))

    def _take(self, tag: int, from_home: bool) -> None:
        p, rng = self.p, self.rng
        here, homes = int(self.truth[tag]), self.homes[self.sku[tag]]
        what = rng.random()
        if not from_home:
            goal = int(rng.choice(homes))
        elif what < p.leave_share:
            goal = ABSENT
        elif what < p.leave_share + p.misplace_share:
            goal = int(rng.choice(np.setdiff1d(np.arange(p.shelves), homes)))
        else:
            goal = int(homes[homes != here][0])
        self._carry(tag, here, goal)

    def _carry(self, tag: int, start: int, goal: int) -> None:
        """Along the row, shelf by shelf; the door is beside shelf 0."""
        self.changes.append((self.t_s, tag, int(self.truth[tag]), CARRIED))
        end = max(goal, 0)
        passed = range(start, end + (1 if end >= start else -1), 1 if end >= start else -1)
        self.path[tag] = [(shelf, max(1, round(self.rng.uniform(*self.p.walk_s_a_shelf)))) for shelf in passed]
        self.goal[tag] = goal
        self.truth[tag] = CARRIED

    def _walk(self) -> None:
        p, rng = self.p, self.rng
        for tag in list(self.path):
            steps = self.path[tag]
            self.base[tag] = -np.inf
            if not steps:
                del self.path[tag]
                self._lay(tag, int(self.goal[tag]))
                self.changes.append((self.t_s, tag, CARRIED, int(self.goal[tag])))
                if self.goal[tag] == ABSENT:
                    self.back_at[tag] = self.t_s + int(rng.uniform(*p.away_s))
                continue
            shelf, left = steps[0]
            steps[0] = (shelf, left - 1)
            if left <= 1:
                steps.pop(0)
            self.base[tag, shelf] = rng.uniform(-2.5, 1.0)  # in a hand, beside a body
            self.level[tag, shelf] = -58 + self.tag_db[tag] + self.antenna_db[shelf] + rng.normal(0, 5)


def sgtin96(item: int, serial: int) -> np.ndarray:
    """EPC-96 of an SGTIN (GS1 EPC Tag Data Standard, 14.5.1): header 0x30, filter 1, partition 5 (7 + 6 digits)."""
    bits = (0x30 << 88) | (1 << 85) | (5 << 82) | (4012345 << 58) | (item << 38) | serial
    return np.frombuffer(bits.to_bytes(12, "big"), np.uint8)
