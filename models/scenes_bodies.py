"""Training scenes from bodies in metres: heads, shoulders, arms and legs at their heights, seen through a lens.

People walk through a door on a floor in metres. Each part of a body is an ellipse at a height, projected on the
sensor's plane from the mounting height and angle (so that heads run ahead of feet), painted from the lowest to the
highest, and blurred by the lens. The other generator, `scenes_blobs`, knows no bodies at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.intake import GRID
from models.scenes import HALTS, Field, Scene, Truth, depth_frames, frame_times, halted, smooth_noise, thermal_frames

_FINE: Final = 3
"""Sub-pixels a pixel and axis."""
_CANVAS: Final = GRID * _FINE
_ABREAST_M: Final = 1.0
"""Nobody goes abreast, or past somebody who comes, through a door narrower than this."""
_FAR_M: Final = 2.6
"""People appear and vanish this far from the line."""


@dataclass(frozen=True, slots=True)
class Mount:
    """How the sensor hangs: height above the floor, tangent of half the field along and across, tilt and offset."""

    height_m: float
    tan_along: float
    tan_across: float
    tilt: float
    shift_across_m: float

    def project(
        self, along_m: NDArray[np.float64], across_m: NDArray[np.float64], high_m: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float, float]:
        """Canvas row and column of a point, and canvas pixels a metre across and along, at that height."""
        below_m = max(self.height_m - high_m, 0.25)
        per_along = _CANVAS / (2 * below_m * self.tan_along)
        per_across = _CANVAS / (2 * below_m * self.tan_across)
        middle = (_CANVAS - 1) / 2
        col = middle + (along_m + self.tilt * below_m) * per_along
        row = middle + (across_m + self.shift_across_m) * per_across
        return row, col, per_across, per_along


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a body: where it is from the body's middle, its half-axes, its height and its contrast in kelvin."""

    along_m: float
    across_m: float
    half_along_m: float
    half_across_m: float
    high_m: float
    kelvin: float
    swing_m: float = 0.0


@dataclass(frozen=True, slots=True)
class Track:
    """A person's middle on the floor in the frames `there` (along the way in, across it), in m; swing of limbs."""

    there: NDArray[np.intp]
    along_m: NDArray[np.float64]
    across_m: NDArray[np.float64]
    inward: bool | None
    swing: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


def _person(rng: np.random.Generator, warmth_k: float) -> list[Part]:
    """Parts of one person; hats, hoods, bags, trolleys and children among them."""
    tall_m = rng.uniform(1.0, 1.4) if rng.random() < 0.15 else rng.normal(1.70, 0.09)
    size = tall_m / 1.7
    coat = rng.uniform(0.45, 1.0) * warmth_k
    cover = rng.choice(["none", "hat", "hood", "hot"], p=[0.6, 0.2, 0.12, 0.08])
    head_k = warmth_k * {"none": rng.uniform(0.8, 1.3), "hat": 0.4, "hood": 0.6, "hot": 1.8}[str(cover)]
    wide = rng.uniform(0.19, 0.29) * size
    brim = rng.uniform(1.1, 1.6) if cover == "hat" else 1.0
    parts = [
        Part(0, 0, rng.uniform(0.12, 0.2) * size, wide, 0.82 * tall_m, coat),
        Part(rng.normal(0.04, 0.03), 0, 0.11 * brim, 0.09 * brim, 0.95 * tall_m, head_k),
    ]
    stride = rng.uniform(0.1, 0.3) * size
    bare = rng.uniform(0.4, 1.2)
    for side in (-1, 1):
        parts.append(Part(0, side * (wide + 0.03), 0.1, 0.06, 0.6 * tall_m, coat * bare, side * stride))
        parts.append(Part(0, side * 0.1, 0.13, 0.09, 0.3 * tall_m, coat * rng.uniform(0.4, 1), -side * stride))
    if rng.random() < 0.15:
        parts.append(Part(rng.uniform(-0.25, 0.1), rng.normal(0, 0.25), 0.15, 0.15, 0.6, rng.uniform(-0.5, 0.5)))
    if rng.random() < 0.12:
        parts.append(
            Part(rng.uniform(0.5, 0.9), 0, rng.uniform(0.3, 0.5), 0.28, rng.uniform(0.7, 1.05), rng.uniform(-1, 0.6))
        )
    return sorted(parts, key=lambda part: part.high_m)


def _track(
    rng: np.random.Generator, t_s: NDArray[np.float64], line_s: float, speed_m_s: float, across_m: float
) -> Track:
    """A person who goes through; at the line at `line_s`; negative speed is outward."""
    clock_s = t_s - line_s
    if rng.random() < HALTS:
        clock_s = halted(clock_s, rng.choice([-1, 1]) * rng.uniform(0.12, 0.9) / abs(speed_m_s), rng.uniform(0.4, 6))
    there = np.flatnonzero(np.abs(clock_s) < _FAR_M / abs(speed_m_s))
    since = clock_s[there]
    pace = 1 + rng.uniform(-0.3, 0.3) * np.tanh(since)
    along = speed_m_s * since * pace
    bent = np.where(along < 0, rng.normal(0, 0.08), rng.normal(0, 0.08)) * along**2
    across = (
        across_m + rng.normal(0, 0.1) * along + bent + 0.025 * np.sin(2 * np.pi * 0.9 * since + rng.uniform(0, 6.28))
    )
    return Track(there, along, across, speed_m_s > 0)


def _returning(rng: np.random.Generator, t_s: NDArray[np.float64], at_s: float) -> Track:
    """A person who comes near the line, stays a while and goes back where they came from."""
    side = float(rng.choice([-1, 1]))
    nearest_m = rng.uniform(0.05, 1.0)
    speed = rng.uniform(0.5, 1.4)
    stay_s = rng.exponential(3.0)
    there = np.flatnonzero(np.abs(t_s - at_s) < stay_s / 2 + _FAR_M / speed)
    idle = rng.uniform(0, 0.1) * smooth_noise(rng, len(t_s), int(t_s[-1] - t_s[0]) + 2)[there]
    away = nearest_m + np.maximum(np.abs(t_s[there] - at_s) - stay_s / 2, 0) * speed + np.abs(idle)
    return Track(there, side * away, rng.normal(0, 0.3) + idle, None)


def _standing(rng: np.random.Generator, t_s: NDArray[np.float64]) -> Track:
    """A person who stands beside the way for long, and shifts from foot to foot."""
    begin_s, stay_s = rng.uniform(-20, t_s[-1]), rng.uniform(8, 50)
    there = np.flatnonzero((t_s >= begin_s) & (t_s <= begin_s + stay_s))
    idle = rng.uniform(0.02, 0.12) * smooth_noise(rng, len(t_s), int(t_s[-1]) + 2)[there]
    side = float(rng.choice([-1, 1]))
    return Track(there, side * rng.uniform(0.5, 1.4) + idle, rng.uniform(-0.9, 0.9) + idle, None)


def _company(rng: np.random.Generator, t_s: NDArray[np.float64], at_s: float, door_m: float) -> list[Track]:
    """People around the door at about `at_s`: alone, in company, behind each other, against each other."""
    pace = rng.uniform(0.25, 3.2) if rng.random() < 0.15 else float(np.clip(rng.normal(1.1, 0.3), 0.35, 2.2))
    speed = pace * float(rng.choice([-1, 1]))
    free_m = max(door_m / 2 - 0.3, 0.05)
    across = rng.uniform(-free_m, free_m)
    kind = rng.choice(["one", "behind", "against", "beside", "return", "crowd"], p=[0.24, 0.25, 0.15, 0.16, 0.13, 0.07])
    if door_m < _ABREAST_M and kind in ("against", "beside"):
        kind = "behind"
    if kind == "return":
        return [_returning(rng, t_s, at_s)]
    if kind == "against":
        gap = rng.uniform(0.3, 0.75)
        other = -speed * rng.uniform(0.7, 1.4)
        first = rng.choice([-1, 1]) * gap / 2
        meet_s = at_s + rng.normal(0, 0.35) / abs(speed)
        return [_track(rng, t_s, at_s, speed, first), _track(rng, t_s, meet_s, other, -first)]
    if kind == "beside":
        gap = rng.uniform(0.45, 0.85)
        late_s = at_s + rng.normal(0, 0.15) / abs(speed)
        centre = rng.normal(0, 0.1)
        return [_track(rng, t_s, at_s, speed, centre - gap / 2), _track(rng, t_s, late_s, speed, centre + gap / 2)]
    tracks = [_track(rng, t_s, at_s, speed, across)]
    followers = {"behind": 1, "crowd": int(rng.integers(2, 6))}.get(str(kind), 0)
    for _ in range(followers):
        at_s += rng.uniform(0.42, 1.3) / abs(speed)
        beside = float(np.clip(across + rng.normal(0, 0.12 if kind == "behind" else 0.3), -free_m, free_m))
        tracks.append(_track(rng, t_s, at_s, speed * rng.uniform(0.92, 1.08), beside))
    return tracks


def _paint(canvas: Field, mount: Mount, track: Track, part: Part, value: float) -> None:
    """Paint one part of one person over what is below it."""
    heading = 1.0 if track.inward is not False else -1.0
    along = track.along_m + heading * part.along_m + part.swing_m * track.swing
    row, col, per_across, per_along = mount.project(along, track.across_m + heading * part.across_m, part.high_m)
    axis = np.arange(_CANVAS)
    down = (axis[None] - row[:, None]) / (part.half_across_m * per_across)
    right = (axis[None] - col[:, None]) / (part.half_along_m * per_along)
    square = down[:, :, None] ** 2 + right[:, None, :] ** 2
    cover = np.clip(1.6 - square, 0, 1).astype(np.float32)
    canvas[track.there] += cover * (np.float32(value) - canvas[track.there])


def _blur(values: Field, sigma_px: float) -> Field:
    """Gaussian blur over both axes of (n, 24, 24), sigma in canvas pixels."""
    if sigma_px < 0.3:
        return values
    axis = np.arange(_CANVAS)
    kernel = np.exp(-0.5 * ((axis[:, None] - axis[None]) / sigma_px) ** 2)
    kernel = (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)
    return np.asarray(np.einsum("rs,nsc,dc->nrd", kernel, values, kernel, optimize=True), np.float32)


def _mount(rng: np.random.Generator) -> tuple[Mount, float]:
    """How the sensor hangs, and the width of the door in m.

    Half fields from 17° (MLX90640 BAB along its short side) to 55° (BAA). A sensor on the frame of a door hangs a hand
    over it, so that a head is half a metre below it and fills its field; others hang from the ceiling, wide ones lower.
    """
    on_frame = rng.random() < 0.3
    tan_along = float(np.exp(rng.uniform(*np.log([0.29, 0.8] if on_frame else [0.36, 1.45]))))
    tan_across = tan_along * rng.uniform(0.6, 1.8 if on_frame else 1.6)
    if on_frame:
        height_m, door_m = rng.uniform(2.1, 2.5), rng.uniform(0.8, 1.3)
    else:
        lowest_m = float(np.clip(3.3 - 1.2 * tan_along, 2.1, 2.8))
        height_m, door_m = rng.uniform(lowest_m, lowest_m + 0.8), rng.uniform(0.8, 1.8)
    return Mount(height_m, tan_along, tan_across, rng.normal(0, 0.06), rng.normal(0, 0.08)), door_m


def make_scene(rng: np.random.Generator, seconds: float = 60.0) -> Scene:
    """One scene of `seconds`, decided entirely by `rng`."""
    t_us = frame_times(rng, seconds)
    t_s, fps = t_us / 1e6, len(t_us) / seconds
    mount, door_m = _mount(rng)
    depth = rng.random() < 0.2
    warmth_k = float(np.exp(rng.uniform(np.log(4.0), np.log(15.0))))
    pause_s = rng.uniform(3, 8)
    tracks = [_standing(rng, t_s)] if rng.random() < 0.12 else []
    at_s = rng.uniform(0, 6)
    while at_s < seconds:
        tracks += _company(rng, t_s, at_s, door_m)
        at_s += rng.exponential(pause_s) + 1.0
    jobs = []
    truths = []
    for track in tracks:
        if not len(track.there):
            continue
        beat = np.sin(2 * np.pi * rng.uniform(0.75, 1.1) * t_s[track.there] + rng.uniform(0, 6.28))
        walker = replace(track, swing=beat)
        parts = _person(rng, warmth_k * rng.uniform(0.7, 1.25))
        jobs += [(part.high_m, walker, part) for part in parts]
        if track.inward is not None:
            truths += _crossing(mount, track, parts, t_us)
    canvas = np.zeros((len(t_us), _CANVAS, _CANVAS), np.float32)
    for _, walker, part in sorted(jobs, key=lambda job: job[0]):
        _paint(canvas, mount, walker, part, part.high_m if depth else part.kelvin)
    canvas = _blur(canvas, float(rng.uniform(0, 0.5) if depth else rng.uniform(0.3, 1.0)) * _FINE)
    bodies = canvas.reshape(len(t_us), GRID, _FINE, GRID, _FINE).mean(axis=(2, 4))
    if depth:
        frames = depth_frames(rng, bodies * np.float32(1000), mount.height_m * 1000, fps)
        return Scene(frames, t_us, "mm", tuple(truths))
    return Scene(thermal_frames(rng, bodies, fps), t_us, "centi_celsius", tuple(truths))


def _crossing(mount: Mount, track: Track, parts: list[Part], t_us: NDArray[np.int64]) -> list[Truth]:
    """When the shoulders pass the middle of the field, and in which row of the 8x8 field."""
    shoulders = parts[-2].high_m
    row, col, _, _ = mount.project(track.along_m, track.across_m, shoulders)
    beyond = col > (_CANVAS - 1) / 2
    change = np.flatnonzero(beyond[1:] != beyond[:-1])
    if not len(change):
        return []
    at = int(change[-1])
    lane = float((row[at] + 0.5) / _FINE - 0.5)
    return [Truth(int(t_us[track.there[at]]), bool(track.inward), lane)]
