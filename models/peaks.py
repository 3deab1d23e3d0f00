"""From evidence to crossings: local maxima over time and row, each counted once.

Causal with a fixed delay: a step is decided when the steps that could outdo it are known, so block size never matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.intake import GRID

Evidence = NDArray[np.float32]
"""(steps, 2, 8): direction 0 inward, 1 outward; row."""


@dataclass(frozen=True, slots=True)
class Peak:
    """A crossing in the network's grid: step since the stretch began, direction 0 inward or 1 outward, row, height."""

    step: int
    direction: int
    row: float
    height: float


@dataclass(frozen=True, slots=True)
class PeakRule:
    """When a maximum counts: at least `threshold`, and no higher place within `reach_steps` and `reach_rows` of it
    without a valley between. A valley is lower than `valley` times the lower of the two: two people, not one wide one.
    """

    threshold: float = 0.45
    reach_steps: int = 4
    reach_rows: int = 2
    valley: float = 0.6


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
                field = known[i : i + 2 * reach + 1, direction]
                if self._stands_out(field, row):
                    step = self._first + reach + i
                    height = float(field[reach, row])
                    found.append(Peak(step, direction, self._refined(field[reach], row), height))
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
            if self._lowest_between(field, (middle, row), other) >= self.rule.valley * height:
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
