"""Load cells under lanes: what the amplifier's counts say while goods, trays and hands weigh on them.

Numbers are those of a 20 kg shelf cell of class C3 (creep and temperature effect at most 0.02 % of the load) behind an
HX711 (24-bit, datasheet by Avia Semiconductor): about 420 counts a gram, noise of some tenths of a gram, zero that
wanders with temperature, a step of the load settled four conversions later.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FULL_SCALE = 8_388_607
"""Largest count of a 24-bit converter; beyond it the converter clips."""
NO_READING = -2_147_483_648
"""What SDP/1 says for a cell without a reading."""
HISTORY_US = 15_000_000
SETTLING = (1 / 24, 11 / 24, 11 / 24, 1 / 24)
"""How a converter's sinc⁴ filter spreads a step over its outputs, newest first (the quartic B-spline)."""
NOISY = 20.0
"""A bad joint or a compressor beside the shelf: this many times the noise."""
WANDER_US = 10_000_000
"""Drift is constant within this slot."""

_READS = {"open": NO_READING, "saturated": FULL_SCALE, "stuck": 0}
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CellModel:
    """How good the cells are."""

    noise_g: float = 0.35
    drift_g: float = 0.4
    """Amplitude of the slow wander of zero (hours)."""
    temperature_g_per_c: float = 0.15
    span_error: float = 0.001
    """Standard deviation of the technician's span calibration."""
    zero_error_g: float = 0.3
    creep_share: float = 2e-4
    """How much more (or less) a load shows after hours than at once."""
    creep_tau_s: float = 600.0
    junk: float = 0.0
    """Share of samples in which the converter is read with one clock edge too many: all bits move up."""


class LoadCells:
    """The cells of one shelf MCU. Loads change at instants; samples lie on the device's own grid."""

    def __init__(self, device: str, n_cells: int, rate_hz: float, model: CellModel, rng: np.random.Generator) -> None:
        self.device = device
        self.n_cells = n_cells
        self.rate_hz = rate_hz
        self._model = model
        self._rng = rng
        self.counts_per_g = rng.uniform(380.0, 450.0, n_cells)
        self.offset_counts = np.round(rng.uniform(-150_000.0, 150_000.0, n_cells))
        self._phase = rng.uniform(0.0, 2 * math.pi, (2, n_cells))
        self._period_s = rng.uniform(2_000.0, 9_000.0, (2, n_cells))
        self._span_error = rng.normal(0.0, model.span_error, n_cells)
        self._zero_error_g = rng.normal(0.0, model.zero_error_g, n_cells)
        self._grid_us = int(rng.integers(0, 100_000))
        self._slow = -1, np.zeros(n_cells)
        self._creep_share = rng.uniform(-model.creep_share, model.creep_share, n_cells)
        self._creep: tuple[int, FloatArray] | None = None
        self._junk_rng = np.random.default_rng(rng.integers(1 << 62))
        self._period_us = round(1e6 / rate_hz)
        self._tare_g = np.zeros(n_cells)
        self._goods_g = np.zeros(n_cells)
        self._hands: dict[tuple[int, int], float] = {}
        self._changes: deque[tuple[int, FloatArray]] = deque([(0, np.zeros(n_cells))])
        self._faults: dict[int, tuple[str, int]] = {}

    def set_tare(self, cell: int, tare_g: float) -> None:
        """Lay a tray on a cell before the store opens."""
        self._tare_g[cell] = tare_g
        self._note(0)

    def add(self, t_us: int, shares: tuple[tuple[int, float], ...], mass_g: float) -> None:
        """Put `mass_g` (negative: take) on cells, split by `shares` of (cell, share)."""
        for cell, share in shares:
            self._goods_g[cell] += share * mass_g
        self._note(t_us)

    def press(self, t_us: int, person: int, cell: int, force_g: float) -> None:
        """A hand of `person` pushes (positive) or lifts; 0 lets go."""
        if force_g:
            self._hands[person, cell] = force_g
        else:
            self._hands.pop((person, cell), None)
        self._note(t_us)

    def fail(self, cell: int, kind: str | None, value: int = 0) -> None:
        """Break a cell; None repairs it.

        "open" (no reading), "saturated", "stuck" at the count `value`, "noisy", "slipped" (the mount moved: `value`
        grams too much).
        """
        if kind is None:
            self._faults.pop(cell, None)
        else:
            self._faults[cell] = (kind, value)

    def _note(self, t_us: int) -> None:
        load = self._goods_g + self._tare_g
        for (_, cell), force in self._hands.items():
            load[cell] += force
        if self._changes[-1][0] >= t_us:
            self._changes[-1] = (self._changes[-1][0], load)
        else:
            self._changes.append((t_us, load))
        while len(self._changes) > 1 and self._changes[1][0] < t_us - HISTORY_US:
            self._changes.popleft()

    def loads_g(self, t_us: int) -> FloatArray:
        """True load of each cell (goods, tray and hands) at `t_us`, in grams."""
        for since, load in reversed(self._changes):
            if since <= t_us:
                return load
        return self._changes[0][1]

    def temperature_c(self, t_us: int) -> float:
        """Air temperature at the shelf: a slow wave of an air-conditioned day."""
        return 22.0 + 1.5 * math.sin(2 * math.pi * t_us / 7.2e9 + float(self._phase[0, 0]))

    def calibration(self) -> list[dict[str, float]]:
        """What the technician measured: {"cell", "offset_counts", "counts_per_g"}, the tray tared away."""
        span = self.counts_per_g * (1.0 + self._span_error)
        offset = self.offset_counts + self.counts_per_g * (self._tare_g + self._zero_error_g)
        offset += self.counts_per_g * self._wander_at(0)
        return [
            {"cell": cell, "offset_counts": float(round(offset[cell])), "counts_per_g": float(round(span[cell], 3))}
            for cell in range(self.n_cells)
        ]

    def _wander_at(self, slot: int) -> FloatArray:
        """Zero error of each cell in grams, in time slot `slot`: two slow waves and the temperature's."""
        t_s = slot * WANDER_US / 1e6
        model = self._model
        waves = np.sin(2 * math.pi * t_s / self._period_s + self._phase).sum(axis=0)
        warm = self.temperature_c(slot * WANDER_US) - 22.0
        return np.asarray(0.5 * model.drift_g * waves + model.temperature_g_per_c * warm)

    def _slow_g(self, t_us: IntArray) -> FloatArray:
        """Wander and creep in grams for samples at `t_us`, broadcastable to (n, cells)."""
        slots = t_us // WANDER_US
        low, high = int(slots[0]), int(slots[-1])
        if low != self._slow[0]:
            self._slow = low, self._wander_at(low) + self._creep_from(low, low)[0]
        if low == high:
            return self._slow[1]
        creep_g = self._creep_from(low, high)
        return np.array([self._wander_at(low + i) + creep_g[i] for i in range(high - low + 1)])[slots - low]

    def _creep_from(self, low: int, high: int) -> FloatArray:
        """Creep in grams in each slot of wander from `low` to `high`; its state follows the load from slot to slot."""
        if self._creep is None or not 0 <= low - self._creep[0] < 1_000:
            self._creep = low, self._creep_share * self.loads_g(low * WANDER_US)
        at, now_g = self._creep
        gain = -math.expm1(-WANDER_US / 1e6 / self._model.creep_tau_s)
        told = []
        for slot in range(at, high + 1):
            if slot > at:
                now_g = now_g + gain * (self._creep_share * self.loads_g(slot * WANDER_US) - now_g)
            if slot == low:
                self._creep = low, now_g
            if slot >= low:
                told.append(now_g)
        return np.array(told)

    def samples_between(self, t0_us: int, t1_us: int) -> tuple[IntArray, IntArray]:
        """Samples with t0 <= t < t1: times (n,) in µs and raw counts (n, cells)."""
        period = self._period_us
        first = -((self._grid_us - t0_us) // period)
        last = -((self._grid_us - t1_us) // period)
        t_us = self._grid_us + period * np.arange(first, last, dtype=np.int64)
        if t_us.size == 0:
            return t_us, np.zeros((0, self.n_cells), np.int64)
        return t_us, self._counts(self._settled(t_us, period), t_us)

    def _settled(self, t_us: IntArray, period_us: int) -> FloatArray:
        """Loads behind the converter's filter for samples at `t_us`, broadcastable to (n, cells)."""
        if self._changes[-1][0] <= t_us[0] - 3 * period_us:
            return self._changes[-1][1][None, :]
        since = np.array([change[0] for change in self._changes])
        loads = np.array([change[1] for change in self._changes])
        settled = np.zeros((t_us.size, self.n_cells))
        for age, weight in enumerate(SETTLING):
            index = np.maximum(np.searchsorted(since, t_us - age * period_us, side="right") - 1, 0)
            settled += weight * loads[index]
        return settled

    def sample_at(self, t_us: int) -> IntArray:
        """One sample at an instant of the caller's own grid: raw counts (cells,)."""
        at = np.array([t_us], np.int64)
        return self._counts(self._settled(at, self._period_us), at).reshape(-1)

    def _counts(self, loads: FloatArray, t_us: IntArray) -> IntArray:
        """What the converter makes of loads at `t_us`: counts (n, cells)."""
        error_g = self._model.noise_g * self._rng.standard_normal((t_us.size, self.n_cells))
        for cell, (kind, value) in self._faults.items():
            if kind == "noisy":
                error_g[:, cell] *= NOISY
            elif kind == "slipped":
                error_g[:, cell] += value
        error_g += self._slow_g(t_us)
        counts = np.rint(self.offset_counts + self.counts_per_g * (loads + error_g)).astype(np.int64)
        if self._model.junk:
            junk = self._junk_rng.random(counts.shape) < self._model.junk
            counts[junk] = _bits_moved_up(counts[junk])
        np.minimum(np.maximum(counts, -FULL_SCALE - 1, out=counts), FULL_SCALE, out=counts)
        for cell, (kind, value) in self._faults.items():
            if kind in _READS:
                counts[:, cell] = value if kind == "stuck" else _READS[kind]
        return counts


def _bits_moved_up(counts: IntArray) -> IntArray:
    """24-bit two's complement, shifted by one."""
    raw = (counts << 1) & 0xFFFFFF
    return np.asarray(np.where(raw & 0x800000, raw - 0x1000000, raw), np.int64)
