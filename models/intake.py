"""From what a door sensor sends to sound 8x8 frames: sizes, rates, units checked, bad pixels filled, pooled, turned.

What is wrong with a setting is a named error; what is wrong with a frame is repaired or dropped, and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import BadPixelsError, FrameRateError, FrameSizeError, FrameUnitError, InwardError

GRID: Final = 8
"""Rows and columns of the pooled field."""
DEAD: Final = -32768
"""A dead pixel on the wire (SDP/1 FRAME)."""
SIZES: Final = ((8, 8), (24, 32))
INWARD: Final = ("+x", "-x", "+y", "-y")
MIN_FPS: Final = 5.0
MAX_FPS: Final = 30.0
RATE_TOLERANCE: Final = 0.08
"""A sensor's own clock and the serial line move its rate by some per cent: 30/s may arrive as 31."""
GAP_US: Final = 600_000
"""Frames further apart than this are not joined by interpolation: the field is taken to be empty between."""
_RATE_FRAMES: Final = 24
MAX_BAD_SHARE: Final = 0.25
"""Frames with a larger share of bad pixels are dropped and counted."""

Signal = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Unit:
    """What a raw count means: which are plausible, and how they become signal (about 1 for a body)."""

    name: str
    low: int
    high: int
    scale: float


# A clothed body stands 2 to 8 K above a floor seen from the ceiling; Grid-EYE measures −20 to 100 °C, MLX90640 −40 to
# 300 °C. Depth falls by 1000 to 1900 mm under a body; VL53L5CX ranges to 4 m, and 0 means no target.
CENTI_CELSIUS: Final = Unit("centi_celsius", -4_000, 15_000, 1 / 300)
MILLIMETRE: Final = Unit("mm", 1, 8_000, -1 / 900)
UNITS: Final = {unit.name: unit for unit in (CENTI_CELSIUS, MILLIMETRE)}


def check_inward(inward: str) -> str:
    """Return `inward` if it is one of +x -x +y -y, else raise `InwardError`."""
    if inward not in INWARD:
        raise InwardError(f"inward direction {inward!r}: expected one of {' '.join(INWARD)} (x = column, y = row)")
    return inward


def check_fps(fps: float, tolerance: float = 0.0) -> float:
    """Return `fps` if it lies within 5 to 30 frames a second (by a share more or less), else raise `FrameRateError`."""
    if not MIN_FPS * (1 - tolerance) <= fps <= MAX_FPS * (1 + tolerance):
        raise FrameRateError(f"frame rate {fps:.2f}/s: expected {MIN_FPS:.0f} to {MAX_FPS:.0f} frames a second")
    return fps


def check_size(rows: int, cols: int) -> tuple[int, int]:
    """Return (rows, cols) if a supported sensor has that size, else raise `FrameSizeError`."""
    if (rows, cols) not in SIZES:
        expected = " or ".join(f"{r}x{c}" for r, c in SIZES)
        raise FrameSizeError(f"frame of {rows}x{cols} pixels: expected {expected} (rows x columns)")
    return rows, cols


def check_unit(name: str) -> Unit:
    """Return the unit of that name, else raise `FrameUnitError`."""
    if name not in UNITS:
        raise FrameUnitError(f"frame unit {name!r}: expected one of {', '.join(UNITS)}")
    return UNITS[name]


def fill_bad(values: Signal, bad: NDArray[np.bool_]) -> Signal:
    """Replace bad pixels of (n, rows, cols) by the mean of their good neighbours, or of the frame where none is."""
    n, rows, cols = values.shape
    # One plane of values and one of ones, good pixels only, with a rim of zeros.
    planes = np.zeros((2, n, rows + 2, cols + 2), np.float32)
    np.copyto(planes[0, :, 1:-1, 1:-1], values, where=~bad)
    np.copyto(planes[1, :, 1:-1, 1:-1], 1, where=~bad)
    down = planes[:, :, :-2] + planes[:, :, 1:-1] + planes[:, :, 2:]
    total, count = down[:, :, :, :-2] + down[:, :, :, 1:-1] + down[:, :, :, 2:]
    whole, good = planes.sum(axis=(2, 3))
    mean = total / np.maximum(count, 1)
    alone = bad & (count == 0)
    if alone.any():
        mean = np.where(alone, (whole / np.maximum(good, 1))[:, None, None], mean)
    return np.where(bad, mean, values)


def pool(values: Signal) -> Signal:
    """Mean of equal blocks: (n, rows, cols) to (n, 8, 8)."""
    n, rows, cols = values.shape
    if (rows, cols) == (GRID, GRID):
        return values
    high, wide = rows // GRID, cols // GRID
    blocks = values.reshape(n, GRID, high, GRID * wide).sum(axis=2).reshape(n, GRID, GRID, wide).sum(axis=3)
    return np.asarray(blocks * np.float32(1 / (high * wide)))


def orient(values: Signal, inward: str) -> Signal:
    """Turn (n, 8, 8) so that inward is rising column and rows are the lanes across the door."""
    turned = values if inward[1] == "x" else values.transpose(0, 2, 1)
    return turned if inward[0] == "+" else turned[:, :, ::-1]


@dataclass(frozen=True, slots=True)
class Piece:
    """Sound frames (n, 8, 8) in signal units at rising times (n,) µs; `fresh` where they do not join those before."""

    values: Signal
    t_us: NDArray[np.int64]
    fresh: bool


class Intake:
    """Streaming state of one sensor's frames. One frame is held back, so that a garbled one can be told by the next."""

    _GARBLED: Final = (4.0, 0.25)
    """A frame is garbled if it differs from both neighbours by more than 4 times what they differ from each other, and
    by 0.25 signal units (0.75 K) on average: people move, they do not flash. Seen on a real MLX90640."""

    def __init__(self, size: tuple[int, int], unit: str, inward: str) -> None:
        """Raises `FrameSizeError`, `FrameUnitError`, `InwardError`."""
        self.size = check_size(*size)
        self.unit = check_unit(unit)
        self.inward = check_inward(inward)
        self.dropped = 0
        self.gaps = 0
        self._past: Signal = np.zeros((0, GRID, GRID), np.float32)  # the frame given out last, then the one held back
        self._past_us = np.zeros(0, np.int64)
        self._newest_us: NDArray[np.int64] = np.zeros(0, np.int64)
        self._intervals_us: NDArray[np.int64] = np.zeros(0, np.int64)
        self._unusable: NDArray[np.bool_] = np.zeros(0, np.bool_)  # of the last frames, which had too many bad pixels

    def push(self, frames: NDArray[np.int16], t_us: NDArray[np.int64]) -> list[Piece]:
        """Frames (n, rows, cols) at times (n,) in µs → what is sound of them, cut where more than 0.6 s is missing.

        Raises `FrameSizeError`, `FrameRateError`.
        """
        if frames.ndim != 3 or frames.shape[1:] != self.size or len(frames) != len(t_us):
            raise FrameSizeError(
                f"frames of shape {frames.shape} at {len(t_us)} times: expected (n, {self.size[0]}, {self.size[1]})"
            )
        values, t_us = self._in_order(*self._sound(frames, t_us))
        pooled = orient(pool(values), self.inward) * np.float32(self.unit.scale)
        before = self._past_us[-1:] if len(self._past_us) else t_us[:1]
        since = np.concatenate((before, t_us))
        cuts = np.flatnonzero(np.abs(since[1:] - since[:-1]) > GAP_US).tolist()
        pieces: list[Piece] = []
        for begin, end in pairwise([0, *(cut for cut in cuts if cut), len(t_us)]):
            if begin in cuts:
                pieces += self.flush()
                self.gaps += 1
            pieces += self._joined(pooled[begin:end], t_us[begin:end])
        return pieces

    def flush(self) -> list[Piece]:
        """The frame held back; what comes next begins afresh."""
        held = self._past[-1:], self._past_us[-1:]
        fresh = len(self._past) == 1
        self._past, self._past_us = self._past[:0], self._past_us[:0]
        return [Piece(*held, fresh)] if len(held[0]) else []

    def _sound(self, frames: NDArray[np.int16], t_us: NDArray[np.int64]) -> tuple[Signal, NDArray[np.int64]]:
        """Drop frames that are mostly bad; fill single bad pixels."""
        bad = (frames < self.unit.low) | (frames > self.unit.high)
        values = frames.astype(np.float32)
        unusable = bad.mean(axis=(1, 2)) > MAX_BAD_SHARE if bad.any() else np.zeros(len(frames), np.bool_)
        self._unusable = np.concatenate((self._unusable, unusable))[-_RATE_FRAMES:]
        if bad.any():
            keep = ~unusable
            self.dropped += int(len(keep) - keep.sum())
            values, t_us = fill_bad(values[keep], bad[keep]), t_us[keep]
        return values, t_us

    def check_pixels(self) -> None:
        """Raise `BadPixelsError` if half of the last 24 frames could not be used."""
        count = int(self._unusable.sum())
        if count >= _RATE_FRAMES // 2:
            raise BadPixelsError(
                f"{count} of the last {len(self._unusable)} frames have dead or saturated pixels in more than"
                f" {MAX_BAD_SHARE:.0%} of the field: expected fewer than {_RATE_FRAMES // 2}"
            )

    def _in_order(self, values: Signal, t_us: NDArray[np.int64]) -> tuple[Signal, NDArray[np.int64]]:
        """Drop frames not later than the one before (a clock set back further than a gap begins afresh); check rate."""
        steps_us = self._steps_us(t_us)
        wrong = (steps_us <= 0) & (steps_us >= -GAP_US)
        while wrong.any():
            keep = np.concatenate((np.ones(len(t_us) - len(steps_us), np.bool_), ~wrong))
            self.dropped += int(wrong.sum())
            values, t_us = values[keep], t_us[keep]
            steps_us = self._steps_us(t_us)
            wrong = (steps_us <= 0) & (steps_us >= -GAP_US)
        if len(t_us):
            self._newest_us = t_us[-1:]
            # The median of the last intervals tells the rate, so that a lost frame is not taken for a slow sensor.
            known_us = np.concatenate((self._intervals_us, steps_us[steps_us > 0]))
            self._intervals_us = np.asarray(known_us[-_RATE_FRAMES:], np.int64)
            if len(self._intervals_us) >= _RATE_FRAMES // 2:
                self._check_rate()
        return values, t_us

    def _steps_us(self, t_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """Intervals between the newest frame so far and these."""
        since = np.concatenate((self._newest_us, t_us))
        return since[1:] - since[:-1]

    def _check_rate(self) -> None:
        """Frames at a wrong rate are not counted; when the rate is right again, counting begins afresh."""
        try:
            middle = len(self._intervals_us) // 2
            check_fps(1e6 / float(np.partition(self._intervals_us, middle)[middle]), RATE_TOLERANCE)
        except FrameRateError:
            self._past, self._past_us = self._past[:0], self._past_us[:0]
            raise

    def _joined(self, values: Signal, t_us: NDArray[np.int64]) -> list[Piece]:
        """All frames but the newest, without garbled ones."""
        known, known_us = np.concatenate((self._past, values)), np.concatenate((self._past_us, t_us))
        fresh, first = len(self._past) < 2, max(len(self._past) - 1, 0)
        self._past, self._past_us = known[-2:], known_us[-2:]
        out, out_us = known[first:-1], known_us[first:-1]
        if not len(out):
            return []
        if first or len(known) > 2:
            keep = ~self._garbled(known)[first:-1]
            if not keep.all():
                self.dropped += int(len(keep) - keep.sum())
                out, out_us = out[keep], out_us[keep]
        return [Piece(out, out_us, fresh)] if len(out) else []

    def _garbled(self, known: Signal) -> NDArray[np.bool_]:
        """Which of the frames (n, 8, 8) stand out from both neighbours; never the first and the last."""
        flat = known.reshape(len(known), GRID * GRID)
        share = np.full(GRID * GRID, 1 / (GRID * GRID), np.float32)
        step = np.abs(flat[1:] - flat[:-1]) @ share
        over = np.abs(flat[2:] - flat[:-2]) @ share
        out = np.zeros(len(known), np.bool_)
        out[1:-1] = np.minimum(step[1:], step[:-1]) > self._GARBLED[0] * over + self._GARBLED[1]
        return out
