"""How each cell is: rate, noise, range, and whether it is stuck, saturated or silent. Looked at every two seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge.core.instant import US_PER_S
from edge.core.observation import NO_READING, SATURATED_HIGH, SATURATED_LOW, CellSamples

LOOK_US: Final = 2 * US_PER_S
STUCK_LOOKS: Final = 12
STUCK_LOG: Final = -21.0  # probability below 1e-9 that a living cell repeats itself so often
SAME_LOOKS: Final = 5  # from here on equal counts no longer count as the cell's habit
LIVELIEST: Final = 0.98
BAD_LOOKS: Final = 2
LIVELY_SHARE: Final = 0.4


class CellFault(StrEnum):
    """What is wrong with a cell."""

    NONE = ""
    MISSING = "missing"
    SATURATED = "saturated"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class CellReport:
    """One cell for the technician: samples a second, noise of one sample (counts), range seen, fault."""

    cell: int
    rate_hz: float
    noise_counts: float
    low_counts: int
    high_counts: int
    fault: CellFault


class CellWatch:
    """Watches the raw counts of one device."""

    def __init__(self, n_cells: int) -> None:
        self._last = [NO_READING] * n_cells  # lists: of eight cells numpy's calls cost more than they save
        self._same = [0] * n_cells
        self._changes = [0.0] * n_cells
        self._looks = 0
        self._bad = [0] * n_cells
        self._low = [SATURATED_HIGH] * n_cells
        self._high = [SATURATED_LOW] * n_cells
        self._noise = [0.0] * n_cells
        self._next_us = 0
        self._since_us = 0
        self._rows = 0
        self._rate_hz = 0.0
        self.faults: tuple[CellFault, ...] = (CellFault.NONE,) * n_cells

    def take(self, samples: CellSamples) -> bool:
        """Count samples, and look at the last when it is time; True when it looked."""
        self._rows += len(samples.t_us)
        t_us = int(samples.t_us[-1])
        if t_us < self._next_us:
            return False
        if self._since_us and t_us > self._since_us:
            self._rate_hz = self._rows * 1e6 / (t_us - self._since_us)
        self._since_us, self._rows, self._next_us = t_us, 0, t_us + LOOK_US
        self._looks += 1
        gain = max(0.02, 1.0 / self._looks)
        row: list[int] = samples.counts[-1].tolist()
        for cell, value in enumerate(row):
            self._look(cell, value, gain)
        self._last = row
        self.faults = self._judge(row, steady=samples.stable is not None)
        return True

    def _look(self, cell: int, value: int, gain: float) -> None:
        step = abs(value - self._last[cell])
        self._same[cell] = 0 if step else self._same[cell] + 1
        if self._same[cell] < SAME_LOOKS:
            self._changes[cell] += gain * ((1.0 if step else 0.0) - self._changes[cell])
        if not SATURATED_LOW < value < SATURATED_HIGH:
            self._bad[cell] += 1
            return
        self._bad[cell] = 0
        if self._last[cell] != NO_READING:
            self._noise[cell] += 0.1 * (min(step, 5_000) / 2.0**0.5 - self._noise[cell])
        self._low[cell], self._high[cell] = min(self._low[cell], value), max(self._high[cell], value)

    def _judge(self, row: list[int], *, steady: bool) -> tuple[CellFault, ...]:
        """A scale of its own rounds, so its reading may well stand still; so may a world without noise."""
        lively, total = self._changes, sum(self._changes)
        faults: list[CellFault] = []
        for cell, value in enumerate(row):
            others = (total - lively[cell]) / max(1, len(lively) - 1)
            habit = min(max(lively[cell], others), LIVELIEST)
            unlikely = habit > LIVELY_SHARE and self._same[cell] * math.log(1.0 - habit) < STUCK_LOG
            if self._bad[cell] >= BAD_LOOKS:
                faults.append(CellFault.MISSING if value == NO_READING else CellFault.SATURATED)
            elif not steady and unlikely and self._same[cell] >= STUCK_LOOKS:
                faults.append(CellFault.STUCK)
            else:
                faults.append(CellFault.NONE)
        return tuple(faults)

    def report(self) -> tuple[CellReport, ...]:
        """All cells as they are now."""
        rows = zip(self._noise, self._low, self._high, self.faults, strict=True)
        rate_hz = round(self._rate_hz, 2)
        return tuple(
            CellReport(cell, rate_hz, round(noise, 1), low, high, fault)
            for cell, (noise, low, high, fault) in enumerate(rows)
        )
