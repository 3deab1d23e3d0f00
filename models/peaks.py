"""From evidence to crossings: local maxima over time and row, each counted once.

Causal with a fixed delay: a step is decided when the steps that could outdo it are known, so block size never matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.intake import GRID

Evidence = NDArray[np.float32]
"""(steps, 2, 8): direction 0 inward, 1 outward; row."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What a peak looks like, as far as it tells how sure the crossing is.

    height: logit of the evidence at the peak; spread: mean evidence of the 3 steps and 3 rows about it as a share of
    the height, small for a sharp hill; rival: highest evidence farther away for the same direction; against: highest
    evidence for the other one, both within the reach of the peak rule.
    """

    height: float
    spread: float
    rival: float
    against: float


@dataclass(frozen=True, slots=True)
class Peak:
    """A crossing in the network's grid: step since the stretch began, direction 0 inward or 1 outward, row, signs."""

    step: int
    direction: int
    row: float
    signs: Signs


def signs_of(window: Evidence, direction: int, row: int) -> Signs:
    """Signs of the peak at `row` of the middle step of the window (2 reach + 1, 2, 8)."""
    same = window[:, direction].copy()
    middle = len(same) // 2
    near = same[middle - 1 : middle + 2, max(row - 1, 0) : row + 2]
    height = min(max(float(same[middle, row]), 1e-6), 1 - 1e-6)
    spread = float(near.mean()) / height
    near[:] = 0
    return Signs(math.log(height / (1 - height)), spread, float(same.max()), float(window[:, 1 - direction].max()))


@dataclass(frozen=True, slots=True)
class PeakRule:
    """When a maximum counts: at least `threshold`, and no higher place within `reach_steps` and `reach_rows` of it that
    no valley cuts off. A valley is lower than `valley` times the lower of the two: two people, not one.

    Of two within a step of each other, `valley_abreast` is asked instead: hills of people abreast lie so close that
    they leave a shallow valley, while a ridge along time, which one slow walker makes, must not be cut.
    """

    threshold: float = 0.42
    reach_steps: int = 3
    reach_rows: int = 2
    valley: float = 0.6
    valley_abreast: float = 0.9


class PeakPicker:
    """Streaming non-maximum suppression over the evidence of one door."""

    def __init__(self, rule: PeakRule) -> None:
        self.rule = rule
        self._kept: Evidence = np.zeros((2 * rule.reach_steps, 2, GRID), np.float32)
        self._first = -2 * rule.reach_steps

    def push(self, evidence: Evidence) -> list[Peak]:
        """Take (n, 2, 8) further steps; return the peaks that are now certain, in order of time."""
        known = np.concatenate((self._kept, evidence))
        n, reach = len(evidence), self.rule.reach_steps
        found: list[Peak] = []
        if n and float(known.max()) >= self.rule.threshold:
            for i, direction, row in np.argwhere(known[reach : reach + n] >= self.rule.threshold).tolist():
                window = known[i : i + 2 * reach + 1]
                field = window[:, direction]
                if self._stands_out(field, row):
                    step, lane = self._first + reach + i, self._refined(field[reach], row)
                    found.append(Peak(step, direction, lane, signs_of(window, direction, row)))
        self._kept = known[n:]
        self._first += n
        return found

    def _stands_out(self, field: Evidence, row: int) -> bool:
        """Whether the place at the middle step and `row` of the field (2 reach + 1, 8) counts as a crossing."""
        middle, rows = self.rule.reach_steps, self.rule.reach_rows
        height = field[middle, row]
        near = field[middle - 1 : middle + 2, max(row - 1, 0) : row + 2]
        if height < near.max():
            return False
        low = max(row - rows, 0)
        around = field[:, low : row + rows + 1]
        for step, line in np.argwhere(around >= height).tolist():
            other = (step, low + line)
            if other == (middle, row):
                continue
            # Of equal heights the first counts, so that a plateau is one crossing.
            if around[step, line] == height and other > (middle, row):
                continue
            valley = self.rule.valley_abreast if abs(step - middle) <= 1 else self.rule.valley
            if self._lowest_between(field, (middle, row), other) >= valley * height:
                return False
        return True

    @staticmethod
    def _lowest_between(field: Evidence, one: tuple[int, int], other: tuple[int, int]) -> float:
        """The lowest evidence on the straight line between two places."""
        points = max(abs(one[0] - other[0]), abs(one[1] - other[1])) + 1
        steps = np.rint(np.linspace(one[0], other[0], points)).astype(int)
        rows = np.rint(np.linspace(one[1], other[1], points)).astype(int)
        return float(field[steps, rows].min())

    @staticmethod
    def _refined(line: Evidence, row: int) -> float:
        low, high = max(row - 1, 0), min(row + 2, GRID)
        weight = line[low:high].astype(np.float64)
        return float(np.dot(weight, np.arange(low, high)) / weight.sum())
