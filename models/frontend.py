"""From raw sensor frames to the signal the network reads: 8x8, inward = +x, one frame each 100 ms.

Steps, all causal and all in numpy: sound frames (`intake`), resampled in time to the network's step, background
(running quantile of the last minute) and common mode (whole-field drift) taken off, about 1 for a warm body.

The signal of a frame depends only on the frames up to it (and the next one, which tells a garbled frame), so pushing
one frame or ten thousand at a time gives the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.intake import GRID, Intake, Piece, Signal

STEP_US: Final = 100_000
"""Time step of the network."""
CLIP: Final = (-1.5, 4.0)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Signal (m, 8, 8) at grid times (m,) µs, 100 ms apart; `fresh` where it does not join the stretch before."""

    signal: Signal
    grid_us: NDArray[np.int64]
    fresh: bool


class Background:
    """Running quantile of a pixel over about the last minute, causal.

    The 0.4 quantile instead of the median: bodies are nearly always above the floor (warmer, or nearer), so a doorway
    that is busy 55 % of the time still shows its floor. Samples are taken often at first and ever more rarely, so that
    the first minute is as good as it can be and a minute costs 64 frames of memory.
    """

    _SLOTS: Final = 64
    _FIRST_STRIDE: Final = 1
    _LAST_STRIDE: Final = 8
    _QUANTILE: Final = 0.4

    def __init__(self) -> None:
        self._samples = np.zeros((self._SLOTS, GRID * GRID), np.float32)
        self._filled = 0
        self._next = 0
        self._stride = self._FIRST_STRIDE
        self._wait = 0
        self.level = np.zeros((GRID, GRID), np.float32)

    def steps_until_sample(self) -> int:
        """How many further steps keep the present level."""
        return self._wait

    def advance(self, steps: int) -> None:
        """Tell that `steps` frames went by without a sample."""
        self._wait -= steps

    def sample(self, frame: Signal) -> None:
        """Take the frame (8, 8) as a sample and bring the level up to date."""
        if self._filled == self._SLOTS and self._stride < self._LAST_STRIDE:
            self._samples[: self._SLOTS // 2] = self._samples[1::2]
            self._filled = self._next = self._SLOTS // 2
            self._stride *= 2
        self._samples[self._next] = frame.reshape(-1)
        self._filled = max(self._filled, self._next + 1)
        self._next = (self._next + 1) % self._SLOTS
        self._wait = self._stride - 1
        rank = int(self._QUANTILE * (self._filled - 1))
        self.level = np.partition(self._samples[: self._filled], rank, axis=0)[rank].reshape(GRID, GRID)


class Frontend:
    """Streaming state of one door between its raw frames and the network's signal."""

    _COMMON_RANK: Final = 25
    """Common mode = this order statistic of the 64 pixels: below the median, since up to half the field is bodies."""

    def __init__(self, size: tuple[int, int], unit: str = "centi_celsius", inward: str = "+x") -> None:
        """Raises `FrameSizeError`, `FrameUnitError`, `InwardError`."""
        self.intake = Intake(size, unit, inward)
        self._background = Background()
        self._last: Signal = np.zeros((0, GRID, GRID), np.float32)
        self._last_us = np.zeros(0, np.int64)
        self._grid_us = 0

    def push(self, frames: NDArray[np.int16], t_us: NDArray[np.int64]) -> list[Stretch]:
        """Take frames (n, rows, cols) at rising times (n,) in µs; return the stretches they complete.

        Raises: `FrameSizeError` for another size, `FrameRateError` for a rate outside 5–30/s.
        """
        return [self._stretch(piece) for piece in self.intake.push(frames, t_us)]

    def flush(self) -> list[Stretch]:
        """What was held back, at the end of a recording; frames that follow begin afresh."""
        return [self._stretch(piece) for piece in self.intake.flush()]

    def _stretch(self, piece: Piece) -> Stretch:
        """Linear interpolation to the step grid, which starts at the first frame after a gap."""
        if piece.fresh:
            self._last, self._last_us = self._last[:0], self._last_us[:0]
            self._grid_us = int(piece.t_us[0])
        known_us = np.concatenate((self._last_us, piece.t_us))
        known = np.concatenate((self._last, piece.values))
        self._last, self._last_us = known[-1:], known_us[-1:]
        grid_us = np.arange(self._grid_us, known_us[-1] + 1, STEP_US, dtype=np.int64)
        self._grid_us += STEP_US * len(grid_us)
        after = np.searchsorted(known_us, grid_us, side="left")
        before = np.maximum(after - 1, 0)
        span_us = np.maximum(known_us[after] - known_us[before], 1)
        weight = np.where(after == before, 0, (grid_us - known_us[before]) / span_us).astype(np.float32)
        values = known[before] + weight[:, None, None] * (known[after] - known[before])
        return Stretch(self._cleaned(values), grid_us, piece.fresh)

    def _cleaned(self, values: Signal) -> Signal:
        """Background and common mode off, scaled and clipped; (m, 8, 8) to (m, 8, 8)."""
        out = np.empty_like(values)
        start = 0
        while start < len(values):
            if self._background.steps_until_sample() == 0:
                self._background.sample(values[start])
                steps = 1
            else:
                steps = min(self._background.steps_until_sample(), len(values) - start)
                self._background.advance(steps)
            np.subtract(values[start : start + steps], self._background.level, out=out[start : start + steps])
            start += steps
        common = np.partition(out.reshape(len(out), GRID * GRID), self._COMMON_RANK, axis=1)[:, self._COMMON_RANK]
        return np.asarray(np.clip(out - common[:, None, None], CLIP[0], CLIP[1]), np.float32)
