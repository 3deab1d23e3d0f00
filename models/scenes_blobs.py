"""Training scenes in the sensor's own plane: bodies are clusters of soft spots in pixels, and nothing is physical.

Everything is drawn wide on purpose (size, speed, warmth, lobes, gaps), so that what a network learns here is not a
certain body but "something body-like went over to the other side". The other generator, `scenes_bodies`, is physical.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.intake import GRID
from models.scenes import HALTS, Field, Scene, Truth, depth_frames, frame_times, halted, smooth_noise, thermal_frames

MIDDLE_PX: Final = (GRID - 1) / 2
_OUTSIDE_PX: Final = 9.0
"""Bodies begin and end this far outside the field."""
_NO_ROOM_ABREAST: Final = 1.6
"""Bodies larger than this fill the field: it hangs low in the frame of a narrow door, where nobody walks abreast."""
_Line = NDArray[np.floating[Any]]
_PLANS: Final = ("single", "tail", "opposite", "side", "group", "turn", "loiter")
_SHARES: Final = (0.22, 0.24, 0.15, 0.15, 0.08, 0.09, 0.07)


@dataclass(frozen=True, slots=True)
class Walk:
    """Where one body's middle is in each frame (NaN where it is not there), and its crossing, if any."""

    col: NDArray[np.float64]
    row: NDArray[np.float64]
    truth: Truth | None


def _walk(rng: np.random.Generator, t_s: NDArray[np.float64], middle_s: float, speed: float, row: float) -> Walk:
    """A walk at `speed` px/s (negative: outward) that is at the middle at `middle_s`."""
    span_s = (GRID / 2 + _OUTSIDE_PX) / abs(speed)
    clock_s = t_s - middle_s
    if rng.random() < HALTS:
        clock_s = halted(clock_s, rng.choice([-1, 1]) * rng.uniform(0.7, 3.5) / abs(speed), rng.uniform(0.4, 6))
    there = np.abs(clock_s) <= span_s
    since = clock_s[there]
    beat = 2 * np.pi * rng.uniform(0.5, 1.5)
    phase = rng.uniform(0, 2 * np.pi)
    uneven = rng.uniform(0, 0.3) / beat * (np.sin(beat * since + phase) - np.sin(phase))
    travelled = speed * (since + uneven)
    sway = rng.uniform(0, 0.25) * np.sin(beat / 2 * since + phase)
    col = np.full(len(t_s), np.nan)
    across = np.full(len(t_s), np.nan)
    col[there] = MIDDLE_PX + travelled
    across[there] = row + rng.normal(0, 0.12) * travelled + sway
    seen = t_s[0] <= middle_s <= t_s[-1]
    return Walk(col, across, Truth(int(middle_s * 1e6), speed > 0, row) if seen else None)


def _turn(rng: np.random.Generator, t_s: NDArray[np.float64], at_s: float, loiter: bool) -> Walk:
    """Someone who comes in from one side, turns round before the middle (or lingers there) and goes back."""
    side = float(rng.choice([-1, 1]))
    near_px = rng.uniform(-0.3, 3.5)
    speed = rng.uniform(1.5, 8)
    stay_s = rng.uniform(3, 12) if loiter else rng.uniform(0.1, 2)
    run_s = (GRID / 2 + _OUTSIDE_PX) / speed
    since = np.abs(t_s - at_s)
    there = since <= stay_s / 2 + run_s
    away = near_px + np.maximum(since - stay_s / 2, 0) * speed
    idle = rng.uniform(0.2, 0.8) * smooth_noise(rng, len(t_s), int((t_s[-1] - t_s[0]) / 0.8) + 2)
    col = np.where(there, MIDDLE_PX + side * np.maximum(away + idle * (near_px > 1), 0), np.nan)
    row = np.where(there, rng.uniform(0.5, 6.5) + idle, np.nan)
    return Walk(col, row, None)


def _standing(rng: np.random.Generator, t_s: NDArray[np.float64]) -> Walk:
    """Someone who stands or sits near an edge of the field for long, and shifts from foot to foot."""
    begin_s, stay_s = rng.uniform(-20, t_s[-1]), rng.uniform(8, 50)
    there = (t_s >= begin_s) & (t_s <= begin_s + stay_s)
    idle = rng.uniform(0.1, 0.5) * smooth_noise(rng, len(t_s), int(t_s[-1]) + 2)
    edge = MIDDLE_PX + float(rng.choice([-1, 1])) * rng.uniform(2.2, 5)
    return Walk(np.where(there, edge + idle, np.nan), np.where(there, rng.uniform(0, 7) + idle, np.nan), None)


def _episode(rng: np.random.Generator, t_s: NDArray[np.float64], at_s: float, scale: float) -> list[Walk]:
    """The walks of one episode around `at_s`; `scale` is the size of a body in this scene."""
    plan = rng.choice(_PLANS, p=_SHARES)
    if scale > _NO_ROOM_ABREAST and plan in ("opposite", "side"):
        plan = "tail"
    pace = float(np.clip(np.exp(rng.normal(np.log(5.0), 0.55)), 1.2, 15))
    speed = float(np.clip(scale * pace, 1.0, 26)) * float(rng.choice([-1, 1]))
    row = float(np.clip(rng.normal(MIDDLE_PX, 1.4), 0.3, 6.7))
    if plan in ("turn", "loiter"):
        walks = [_turn(rng, t_s, at_s, bool(plan == "loiter"))]
        if rng.random() < 0.4:
            walks.append(_walk(rng, t_s, at_s + rng.uniform(-3, 3), speed, float(rng.uniform(0.5, 6.5))))
        return walks
    walks = [_walk(rng, t_s, at_s, speed, row)]
    if plan in ("tail", "group"):
        lag_s = 0.0
        for _ in range(1 if plan == "tail" else int(rng.integers(2, 5))):
            lag_s += max(scale * rng.uniform(2.4, 7.0) / abs(speed), 0.35)
            beside = float(np.clip(row + scale * rng.normal(0, 0.7 if plan == "tail" else 1.6), 0.3, 6.7))
            walks.append(_walk(rng, t_s, at_s + lag_s, speed * rng.uniform(0.9, 1.1), beside))
    elif plan == "opposite":
        other = -speed * float(np.exp(rng.normal(0, 0.25)))
        beside = float(np.clip(row + rng.choice([-1, 1]) * scale * rng.uniform(0, 4.5), 0.2, 6.8))
        walks.append(_walk(rng, t_s, at_s + scale * rng.normal(0, 3) / abs(speed), other, beside))
    elif plan == "side":
        gap = min(scale * rng.uniform(2.2, 4.5), 6.0)
        first = float(np.clip(row - gap / 2, 0.2, 6.8 - gap))
        walks = [_walk(rng, t_s, at_s, speed, first)]
        walks.append(
            _walk(
                rng, t_s, at_s + scale * rng.normal(0, 0.8) / abs(speed), speed * rng.uniform(0.95, 1.05), first + gap
            )
        )
    return walks


def _spot(centre: tuple[_Line, _Line], size: tuple[float, float], sharp: float) -> Field:
    """A soft elliptic spot for the frames where the walk is there; sharp 1 = Gaussian, 2 = flatter with hard edges."""
    axis = np.arange(GRID, dtype=np.float32)
    across = ((axis[None] - centre[0][:, None]) / size[0]) ** 2
    along = ((axis[None] - centre[1][:, None]) / size[1]) ** 2
    square = across[:, :, None] + along[:, None, :]
    return np.asarray(np.exp(-0.5 * square**sharp), np.float32)


def _body(
    rng: np.random.Generator, walk: Walk, t_s: NDArray[np.float64], there: NDArray[np.bool_], scale: float
) -> Field:
    """A body's contrast (frames there, 8, 8), about 1 at its warmest: trunk, head, arms that swing, legs that trail."""
    row, col = walk.row[there].astype(np.float32), walk.col[there].astype(np.float32)
    t = t_s[there]
    small = scale * (rng.uniform(0.6, 0.85) if rng.random() < 0.15 else 1.0)
    wide, long = rng.uniform(0.8, 2.0) * small, rng.uniform(0.65, 1.6) * small
    sharp = rng.uniform(0.9, 2.0)
    beat = 2 * np.pi * rng.uniform(0.7, 1.2)
    swing = np.sin(beat * t + rng.uniform(0, 6.28)).astype(np.float32)
    parts = [_spot((row, col), (wide, long), sharp)]
    lean = scale * rng.normal(0, 0.8)
    head = rng.uniform(0.4, 0.9) * small
    parts.append(rng.uniform(0.2, 1.8) * _spot((row + rng.normal(0, 0.2), col + lean), (head, head), 1.0))
    for arm in (-1, 1):
        if rng.random() < 0.6:
            out, reach = rng.uniform(0.8, 1.4) * wide, scale * rng.uniform(0, 1.3)
            place = (row + arm * out, col + reach * arm * swing + rng.normal(0, 0.4))
            parts.append(
                rng.uniform(0.2, 0.9)
                * _spot(place, (scale * rng.uniform(0.4, 0.9), scale * rng.uniform(0.4, 0.9)), 1.0)
            )
    for way in (-1, 1):
        if rng.random() < 0.5:
            place = (row + rng.normal(0, 0.4), col + way * scale * (rng.uniform(0.7, 2.4) + 0.4 * swing))
            parts.append(
                rng.uniform(0.15, 0.8)
                * _spot(place, (scale * rng.uniform(0.5, 1.1), scale * rng.uniform(0.5, 1.0)), 1.0)
            )
    if rng.random() < 0.1:
        place = (row + rng.normal(0, 0.5), col + rng.choice([-1, 1]) * scale * rng.uniform(1.5, 3))
        parts.append(rng.uniform(-0.5, 0.6) * _spot(place, (scale, scale * 1.2), 2.0))
    slope = rng.normal(0, 0.05) * (col - MIDDLE_PX)
    shape = np.max(parts, axis=0) if rng.random() < 0.6 else np.minimum(np.sum(parts, axis=0), 2.0)
    return np.asarray(shape * np.clip(1 + slope, 0.5, 1.5)[:, None, None], np.float32)


def make_scene(rng: np.random.Generator, seconds: float = 60.0) -> Scene:
    """One scene of `seconds`, decided entirely by `rng`."""
    t_us = frame_times(rng, seconds)
    t_s = t_us / 1e6
    fps = len(t_us) / seconds
    depth = rng.random() < 0.15
    warmth = float(np.exp(rng.uniform(np.log(1.5), np.log(7.5))))
    together = rng.choice(["max", "sum", "soft"], p=[0.5, 0.2, 0.3])
    pause_s = rng.uniform(3, 8)
    low = rng.random() < 0.25
    scale = float(np.exp(rng.uniform(*(np.log([1.3, 2.5]) if low else np.log([0.45, 1.45])))))
    field = np.zeros((len(t_us), GRID, GRID), np.float32)
    truths: list[Truth] = []
    walks = [_standing(rng, t_s)] if rng.random() < 0.12 else []
    at_s = rng.uniform(0, 6)
    while at_s < seconds:
        walks += _episode(rng, t_s, at_s, scale)
        at_s += rng.exponential(pause_s) + 1.0
    for walk in walks:
        there = ~np.isnan(walk.col)
        if not there.any():
            continue
        body = _body(rng, walk, t_s, there, scale) * np.float32(1.0 if depth else warmth * rng.uniform(0.6, 1.3))
        if together == "max" or depth:
            field[there] = np.maximum(field[there], body)
        elif together == "sum":
            field[there] += body
        else:
            field[there] = np.hypot(field[there], body)
        if walk.truth is not None:
            truths.append(walk.truth)
    if depth:
        floor_mm = rng.uniform(2000, 3200)
        tall_mm = rng.uniform(0.5, 0.75) * floor_mm
        frames = depth_frames(rng, np.clip(field, 0, 1.2) * np.float32(tall_mm), floor_mm, fps)
        return Scene(frames, t_us, "mm", tuple(truths))
    return Scene(thermal_frames(rng, field, fps), t_us, "centi_celsius", tuple(truths))
