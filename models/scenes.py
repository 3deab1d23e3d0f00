"""What a training scene is, and how a door sensor sees it: shared by the generators, which differ in everything else.

A generator makes the contrast of the bodies (n, 8, 8) in kelvin or millimetres and the true crossings; this module adds
what the place and the sensor do to it: floor pattern, drift, sun, warm traces, a swinging door, noise, quantisation,
dead pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.frontend import STEP_US
from models.intake import DEAD, GRID

Field = NDArray[np.float32]
"""A contrast over the empty doorway, (n, 8, 8), kelvin or millimetres, positive for a body."""


@dataclass(frozen=True, slots=True)
class Truth:
    """A person went through: when the body's middle passed the middle of the field, which way, and in which row."""

    t_us: int
    inward: bool
    row: float


@dataclass(frozen=True, slots=True)
class Scene:
    """Raw frames (n, 8, 8) int16 as a sensor would send them (inward = +x), their times (n,) in µs, and the truth."""

    frames: NDArray[np.int16]
    t_us: NDArray[np.int64]
    unit: str
    truths: tuple[Truth, ...]


SPREAD_STEPS: Final = 1.1
"""Width (sd) of the hill of evidence about a crossing, in steps; narrow enough for followers 0.4 s apart."""
SPREAD_ROWS: Final = 0.65
"""The same across the door, in rows; narrow enough for two abreast whose places are known to half a row."""
HALTS: Final = 0.08
"""Share of walkers who stop in the doorway before they go on."""
RATES_FPS: Final = (7.0, 20.0)


def target_of(scene: Scene, grid_us: NDArray[np.int64]) -> NDArray[np.float32]:
    """Soft evidence (steps, 2, 8): a Gaussian hill over each true crossing."""
    hills = np.zeros((len(grid_us), 2, GRID), np.float32)
    rows = np.arange(GRID)
    for truth in scene.truths:
        steps = (grid_us - truth.t_us) / STEP_US / SPREAD_STEPS
        in_time = np.exp(-0.5 * steps**2)
        in_row = np.exp(-0.5 * ((rows - np.clip(truth.row, 0, GRID - 1)) / SPREAD_ROWS) ** 2)
        side = 0 if truth.inward else 1
        hills[:, side] = np.maximum(hills[:, side], in_time[:, None] * in_row[None])
    return hills


def frame_times(rng: np.random.Generator, seconds: float) -> NDArray[np.int64]:
    """Times of a sensor's frames in µs: a rate of its own in 7 to 20/s, a little jitter, some frames lost."""
    fps = 10.0 if rng.random() < 0.4 else rng.uniform(*RATES_FPS)
    n = int(seconds * fps)
    times = (np.arange(n) / fps + rng.normal(0, 0.002, n)) * 1e6
    kept = rng.random(n) >= (rng.choice([0.0, 0.0, 0.02]))
    kept[0] = True
    return np.maximum.accumulate(times[kept].astype(np.int64)) + np.arange(int(kept.sum()))


def smooth_noise(rng: np.random.Generator, n: int, knots: int) -> NDArray[np.float64]:
    """A smooth random curve of n points through `knots` normal values (linear between them)."""
    return np.interp(np.linspace(0, max(knots - 1, 1), n), np.arange(max(knots, 2)), rng.normal(0, 1, max(knots, 2)))


def halted(since_s: NDArray[np.float64], stop_s: float, stay_s: float) -> NDArray[np.float64]:
    """The clock of a walk that halts for `stay_s` when it shows `stop_s`, and shows 0 when `since_s` does."""
    if stop_s < 0:
        return np.where(since_s >= stop_s, since_s, np.minimum(since_s + stay_s, stop_s))
    return np.where(since_s <= stop_s, since_s, np.maximum(since_s - stay_s, stop_s))


def _patch(rng: np.random.Generator, n: int, fps: float) -> Field:
    """A sun patch: a soft-edged rectangle that comes and goes with the clouds, in units of its full strength."""
    axis = np.arange(GRID)
    centre, half = rng.uniform(0, GRID, 2), rng.uniform(0.7, 3, 2)
    speed = rng.normal(0, 0.01, 2)
    t = np.arange(n) / fps
    edges = []
    for side in range(2):
        distance = np.abs(axis[None] - centre[side] - speed[side] * t[:, None]) - half[side]
        edges.append(1 / (1 + np.exp(np.clip(distance * 3, -30, 30))))
    level = np.clip(smooth_noise(rng, n, int(n / fps / rng.uniform(2, 15)) + 2) + rng.normal(), 0, 2)
    return np.asarray(level[:, None, None] * edges[0][:, :, None] * edges[1][:, None, :], np.float32)


def _door(rng: np.random.Generator, n: int, fps: float) -> Field:
    """A door leaf that swings in at one edge of the field a few times, in units of its full strength."""
    axis = np.arange(GRID)
    reach_px = rng.uniform(1, 3.5)
    out = np.zeros((n, GRID, GRID), np.float32)
    side, hinge = rng.integers(2), rng.integers(2)
    for _ in range(int(rng.integers(1, 7))):
        begin, length = rng.uniform(0, n), rng.uniform(0.8, 5) * fps
        t = (np.arange(n) - begin) / length
        swing = np.clip(np.minimum(t * 4, (1 - t) * 4), 0, 1)
        far = axis if hinge else axis[::-1]
        depth = axis if side else axis[::-1]
        edge = reach_px * swing[:, None] * (far[None] + 1) / GRID
        out += np.clip(edge[:, :, None] - depth[None, None, :], 0, 1).astype(np.float32)
    return np.clip(out, 0, 1)


def _trace(bodies: Field, fps: float, hold_s: float) -> Field:
    """The warmth that bodies leave on the floor: rises while they stand there, fades in `hold_s`."""
    fade = np.float32(np.exp(-1 / (hold_s * fps)))
    out = np.empty_like(bodies)
    level = np.zeros((GRID, GRID), np.float32)
    for i, body in enumerate(bodies):
        level = level * fade + body * (1 - fade)
        out[i] = level
    return out


def _wander(rng: np.random.Generator, n: int, fps: float) -> Field:
    """Slow drift of each pixel (draughts, amplifier drift), about 1 in size, smooth over neighbours."""
    knots = int(n / fps / rng.uniform(3, 20)) + 2
    coarse = rng.normal(0, 1, (knots, 3, 3))
    at = np.linspace(0, knots - 1.001, n)
    low = at.astype(int)
    weight = (at - low)[:, None, None]
    in_time = coarse[low] * (1 - weight) + coarse[low + 1] * weight
    place = np.linspace(0, 1.999, GRID)
    first = place.astype(int)
    part = place - first
    wide = in_time[:, :, first] * (1 - part) + in_time[:, :, first + 1] * part
    return np.asarray(wide[:, first] * (1 - part)[None, :, None] + wide[:, first + 1] * part[None, :, None], np.float32)


def _spoil(rng: np.random.Generator, values: NDArray[np.float64]) -> NDArray[np.int16]:
    """The integer the sensor would send; then garbled frames, dead, stuck and flickering pixels."""
    out = np.clip(np.round(values), -32000, 32000).astype(np.int16)
    if rng.random() < 0.05:
        for at in rng.integers(0, len(out), 3):
            out[at] += rng.integers(-1500, 1500, out[at].shape).astype(np.int16)
    if rng.random() < 0.15:
        for _ in range(int(rng.integers(1, 4))):
            row, col = rng.integers(0, GRID, 2)
            kind = rng.random()
            if kind < 0.5:
                out[:, row, col] = DEAD
            elif kind < 0.7:
                out[:, row, col] = out[0, row, col]
            else:
                out[rng.random(len(out)) < 0.05, row, col] += np.int16(rng.integers(-500, 500))
    return out


def thermal_frames(rng: np.random.Generator, bodies: Field, fps: float) -> NDArray[np.int16]:
    """What a thermopile array makes of bodies of the given contrast in kelvin: (n, 8, 8) int16 in centi-°C."""
    n = len(bodies)
    if rng.random() < 0.25:
        # A sensor that reads in chess pattern renews every second pixel: half of a pooled pixel is one frame old.
        bodies = np.concatenate((bodies[:1], (bodies[1:] + bodies[:-1]) / 2))
    kelvin = bodies.astype(np.float64)
    kelvin += rng.uniform(0, 0.12) * (rng.random() < 0.5) * _trace(bodies, fps, float(rng.uniform(3, 20)))
    kelvin += rng.uniform(0.02, 0.25) * _wander(rng, n, fps)
    if rng.random() < 0.2:
        kelvin += rng.uniform(0.3, 3.5) * _patch(rng, n, fps)
    if rng.random() < 0.25:
        kelvin += rng.uniform(-2.5, 2.0) * _door(rng, n, fps)
    kelvin += (rng.uniform(0.02, 0.4) * smooth_noise(rng, n, int(n / fps / 4) + 2))[:, None, None]
    kelvin += (rng.uniform(0.0, 0.15) * rng.normal(0, 1, n))[:, None, None]
    kelvin += rng.uniform(15, 28) + rng.normal(0, rng.uniform(0.1, 0.8), (GRID, GRID))
    kelvin += np.linspace(-1, 1, GRID)[:, None] * rng.normal(0, 0.7) + np.linspace(-1, 1, GRID) * rng.normal(0, 0.7)
    noise_k = rng.uniform(0.04, 0.36)
    kelvin += rng.normal(0, 1, kelvin.shape) * noise_k * rng.uniform(0.8, 1.2, (GRID, GRID))
    grain = float(rng.choice([1, 10, 25, 25, 25]))
    return _spoil(rng, np.round(kelvin * 100 / grain) * grain)


def depth_frames(rng: np.random.Generator, bodies: Field, floor_mm: float, fps: float) -> NDArray[np.int16]:
    """What a time-of-flight array makes of bodies of the given height above the floor in mm: (n, 8, 8) int16 mm."""
    n = len(bodies)
    mm = floor_mm + rng.normal(0, 40, (GRID, GRID)) - bodies.astype(np.float64)
    if rng.random() < 0.25:
        mm -= rng.uniform(0.3, 0.9) * floor_mm * _door(rng, n, fps)
    mm += rng.normal(0, 1, mm.shape) * (rng.uniform(4, 20) + 0.008 * mm)
    out = _spoil(rng, np.maximum(mm, 60))
    out[rng.random(out.shape) < rng.choice([0.0, 0.005, 0.03])] = DEAD
    return out
