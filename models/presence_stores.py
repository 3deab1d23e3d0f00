"""Generated stores on which the scorer of RFID presence learns; those that judge it are in tests/worlds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ABSENT, CARRIED = -1, -2
ODD_SHARE = 0.4  # of the stores; the others keep to the ranges of an ordinary one: read rates, cross-reads, fading
F64 = NDArray[np.float64]


class Store:
    """A generated store: shelves at random points, links as budgets, people as shadows; one call of `second` a second.

    A read succeeds when its level plus fading stands above the tag's threshold (logistic); stores differ in how
    strongly level and success share a cause, in fading's speed and depth and in how much of it all antennas see alike
    (a tag that hangs badly), in rounds a second, shadows, tidiness, and in how people carry things about.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.a = a = int(rng.integers(4, 11))
        self.n = n = int(a * rng.integers(15, 46))
        depth_m = 2.0 if rng.random() < 0.5 else 0.2
        self.at = np.stack((np.arange(a) * rng.uniform(0.9, 1.4), rng.uniform(0, depth_m, a)), 1)
        odd = rng.random() < ODD_SHARE
        self.rounds_hz = float(np.exp(rng.uniform(np.log(0.4), np.log(8)))) if odd and rng.random() < 0.6 else 1.0
        self.fade_logit = rng.uniform(0.8, 1.7)
        self.fade_db = rng.uniform(0.3, 3.0)
        self.noise_db = rng.uniform(0.5, 2.0)
        self.path_db = rng.uniform(1.5, 4.5)
        low, high = np.sort(rng.uniform(0.2, 0.97, 2)).tolist() if odd and rng.random() < 0.6 else (0.3, 0.95)
        self.weak_lo, self.weak_hi = (2, 12) if odd and rng.random() < 0.4 else (8, 18)
        self.share = rng.uniform(0.05, 0.42)
        self.common = float(rng.uniform(0.1, 0.7)) if odd and rng.random() < 0.6 else 0.0  # of fading's variance
        self.stride_s = rng.uniform(0.6, 4.0)  # along one shelf, with something in the hand
        self.tidy_s = float(np.exp(rng.uniform(np.log(300), np.log(2400))))
        self.move_s = float(np.exp(rng.uniform(np.log(400), np.log(3000))))
        self.shadow_hz = 1 / rng.uniform(100, 400)
        self.outage_hz = 1 / 3000 if rng.random() < 0.3 else 0.0
        self.tag_db = rng.normal(0, rng.uniform(1, 4), n)
        self.antenna_db = rng.normal(0, rng.uniform(0, 4), a)
        taus = np.exp(rng.uniform(np.log(4), np.log(40), (n, a)))
        self.keep = np.exp(-1 / taus)
        self.fade = rng.normal(0, 1, (n, a))
        self.sway_keep = np.exp(-1 / np.exp(rng.uniform(np.log(4), np.log(40), (n, 1))))
        self.sway = rng.normal(0, 1, (n, 1))
        self.tag_rate = rng.uniform(low, high, n)
        self.logit = np.full((n, a), -20.0)
        self.level = np.full((n, a), -90.0)
        self.shade = np.zeros((n, a))
        self.shadow_until = np.zeros(a)
        self.dead_until = np.zeros(a)
        self.products = int(rng.integers(1, 3 * a))
        self.product = rng.integers(0, self.products, n)
        self.planned = rng.random() < 0.85  # whether anybody has told where products belong
        self.homes = [rng.choice(a, rng.integers(1, 4), replace=False) for _ in range(self.products)]
        self.tidiness = 1 - np.exp(rng.uniform(np.log(0.03), np.log(0.45)))  # share of tags put where they belong
        self.truth = np.array([ABSENT if rng.random() < 0.05 else self._goal(tag) for tag in range(n)])
        self.carried_until = np.full(n, np.inf)
        self.goal = self.truth.copy()
        self.came_from = self.truth.copy()  # where a carried tag lay last
        self.ways: dict[int, list[int]] = {}  # tag → antennas that it will be carried past, a second each
        self.t_s = 0
        for tag in range(n):
            self._lay(tag)

    def second(self) -> tuple[NDArray[np.intp], NDArray[np.intp], F64, F64]:
        """One second: (tag, antenna, mean dBm, number of reads)."""
        rng = self.rng
        self.t_s += 1
        self._move()
        self._shadow()
        self.fade = self.fade * self.keep + np.sqrt(1 - self.keep**2) * rng.normal(size=self.fade.shape)
        self.sway = self.sway * self.sway_keep + np.sqrt(1 - self.sway_keep**2) * rng.normal(size=self.sway.shape)
        fade = np.sqrt(1 - self.common) * self.fade + np.sqrt(self.common) * self.sway
        success = 1 / (1 + np.exp(-(self.logit + self.fade_logit * fade - self.shade)))
        success[:, self.dead_until > self.t_s] = 0
        if self.rounds_hz == 1.0:
            reads = (rng.random(success.shape) < success).astype(float)
        else:
            reads = rng.binomial(rng.poisson(self.rounds_hz), success).astype(float)
        tag, antenna = np.nonzero(reads)
        count = reads[tag, antenna]
        level = self.level[tag, antenna] + self.fade_db * fade[tag, antenna] - self.shade[tag, antenna]
        return tag, antenna, level + rng.normal(0, self.noise_db / np.sqrt(count)), count

    def _goal(self, tag: int) -> int:
        """A shelf for a tag: mostly one of its product's, sometimes any."""
        tidy = self.rng.random() < self.tidiness
        return int(self.rng.choice(self.homes[self.product[tag]])) if tidy else int(self.rng.integers(0, self.a))

    def _lay(self, tag: int) -> None:
        rng, shelf = self.rng, int(self.truth[tag])
        self.logit[tag] = -20.0
        if shelf < 0:
            return
        distance = np.hypot(*(self.at - self.at[shelf]).T)
        others = np.argsort(distance + rng.exponential(0.6, self.a))
        others = others[others != shelf][: rng.integers(0, 5)]
        weaker = np.clip(
            rng.uniform(self.weak_lo, self.weak_hi)
            + self.path_db * (distance[others] - 1.0)
            + rng.normal(0, 2, len(others)),
            self.weak_lo,
            26,
        )
        rate = self.tag_rate[tag]
        level = -56 + self.tag_db[tag] + self.antenna_db + rng.normal(0, 3, self.a)
        level[others] -= weaker
        self.level[tag] = level
        slope = np.sqrt(1 + 0.393 * self.fade_logit**2)
        self.logit[tag, shelf] = np.log(rate / (1 - rate)) * slope
        if len(others):
            part = np.exp(-weaker / 8) * rng.exponential(1, len(others))
            share = min(rng.uniform(0.3, 1.7) * self.share, 0.42)
            cross = np.clip(part / part.sum() * share / (1 - share) * rate, 0.004, 0.9)
            self.logit[tag, others] = np.log(cross / (1 - cross)) * slope

    def _move(self) -> None:
        rng = self.rng
        gone = self.truth == ABSENT
        astray = np.array([p >= 0 and p not in self.homes[self.product[t]] for t, p in enumerate(self.truth.tolist())])
        hazard = np.where(gone, 1 / 300, 1 / self.move_s + np.where(astray, 1 / self.tidy_s, 0))
        for tag in np.flatnonzero((self.truth != CARRIED) & (rng.random(self.n) < hazard)).tolist():
            self._take(tag, bool(astray[tag]))
        for tag in np.flatnonzero(self.truth == CARRIED).tolist():
            if self.t_s >= self.carried_until[tag]:
                self.truth[tag] = self.goal[tag]
                self._lay(tag)
            else:
                self._carry(tag)

    def _take(self, tag: int, astray: bool) -> None:
        """Pick a tag up: along the row to its goal, or about in no order, or before one shelf for a while."""
        rng, here = self.rng, int(self.truth[tag])
        leaves = here >= 0 and not astray and rng.random() < 0.3
        self.goal[tag] = goal = ABSENT if leaves else self._goal(tag)
        self.truth[tag], self.came_from[tag] = CARRIED, here
        if rng.random() < 0.35:
            length = int(rng.integers(1, 25))
            self.ways[tag] = [] if rng.random() < 0.6 else [here if here >= 0 else goal] * length
        else:
            door = 0 if rng.random() < 0.5 else self.a - 1
            ends = [door if end < 0 else end for end in (here, goal)]
            way = range(ends[0], ends[1] + 1) if ends[1] >= ends[0] else range(ends[0], ends[1] - 1, -1)
            self.ways[tag] = [at for at in way for _ in range(max(1, round(rng.exponential(self.stride_s))))]
            length = len(self.ways[tag])
        self.carried_until[tag] = self.t_s + length

    def _carry(self, tag: int) -> None:
        rng = self.rng
        way = self.ways[tag]
        if not way and rng.random() < 0.5:
            return
        self.logit[tag] = -20.0
        near = np.array([way[int(self.t_s - self.carried_until[tag])]]) if way else rng.integers(0, self.a, 2)
        if way and rng.random() < 0.3:
            near = np.append(near, np.clip(near[0] + rng.choice((-1, 1)), 0, self.a - 1))
        self.logit[tag, near] = rng.uniform(-4, 1.5, len(near))
        self.level[tag, near] = -58 + self.tag_db[tag] + rng.normal(0, 6, len(near))

    def _shadow(self) -> None:
        rng = self.rng
        for shelf in range(self.a):
            if self.shadow_until[shelf] and self.t_s >= self.shadow_until[shelf]:
                self.shadow_until[shelf], self.shade[:, shelf] = 0, 0
            elif not self.shadow_until[shelf] and rng.random() < self.shadow_hz:
                self.shadow_until[shelf] = self.t_s + rng.uniform(4, 40)
                self.shade[:, shelf] = rng.uniform(1, 4) * (rng.random(self.n) < rng.uniform(0.2, 1.0))
            if self.outage_hz and rng.random() < self.outage_hz:
                self.dead_until[shelf] = self.t_s + rng.uniform(20, 200)
