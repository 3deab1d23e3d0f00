"""Installation aid of a door sensor: which way is in, how it hangs, and how well it counts on a walk test.

Pure functions over frames and crossings. The technician walks in ten times; each walk is the frames between two presses
of a button. Nothing is stored: the frames are looked at and forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import WalkError
from models.frontend import STEP_US, Frontend
from models.intake import GRID, INWARD, Signal, check_unit
from models.recordings import Event, match_events
from models.runner import Crossing, FootfallRunner

WALKS: Final = 10
ENOUGH_SHARE: Final = 0.8
"""Share of the walks that must agree before a direction is believed."""
PACE_M_S: Final = 1.3
"""Comfortable walking speed of adults, Bohannon, Age and Ageing 26 (1997): 1.27 to 1.46 m/s."""
HEAD_M: Final = 1.6
"""Height of a walker's head and shoulders."""
MAX_SKEW_DEG: Final = 25.0
MATCH_US: Final = 1_500_000


@dataclass(frozen=True, slots=True)
class Walk:
    """One walk inwards: raw frames (n, rows, cols) int16 and their times (n,) in µs, empty doorway at the start."""

    frames: NDArray[np.int16]
    t_us: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MountReport:
    """What ten walks tell about a mount. `problems` are sentences for the technician; none means it is well. `causes`
    names the same by a word each: no_agreement, aslant, too_low, too_high.

    inward: +x -x +y -y, or "" where the walks do not agree; votes: walks counted for each direction; skew_deg: how far
    the walks run aslant of the sensor's axis; speed_px_s: in pixels of the 8x8 field; field_m: width of the field at
    head height; height_m: of the sensor over the floor (measured by a depth sensor, else estimated from the pace).
    """

    inward: str
    votes: dict[str, int]
    walks: int
    skew_deg: float
    speed_px_s: float
    field_m: float
    height_m: float
    problems: tuple[str, ...]
    causes: tuple[str, ...] = ()


def _votes(walk: Walk, unit: str, runner: FootfallRunner) -> dict[str, int]:
    """For each direction, whether the walk is exactly one crossing inwards."""
    votes = dict.fromkeys(INWARD, 0)
    for axis in "xy":
        door = runner.door((walk.frames.shape[1], walk.frames.shape[2]), unit, f"+{axis}")
        found = door.push(walk.frames, walk.t_us) + door.flush()
        ways = {crossing.direction for crossing in found}
        if len(ways) == 1:
            votes[("+" if ways == {"in"} else "-") + axis] = 1
    return votes


def _signal(walk: Walk, unit: str) -> Signal:
    """The walk as (steps, 8, 8), sensor's own axes: rows are y, columns are x."""
    frontend = Frontend((walk.frames.shape[1], walk.frames.shape[2]), unit)
    pieces = frontend.push(walk.frames, walk.t_us) + frontend.flush()
    return np.concatenate([piece.signal for piece in pieces]) if pieces else np.zeros((0, GRID, GRID), np.float32)


def _velocity(signal: Signal) -> tuple[float, float] | None:
    """Speed of the body (x, y) in px/s, by a line through its centroid while it is well inside the field."""
    body = np.clip(signal - 0.3 * float(signal.max(initial=0)), 0, None)
    mass = body.sum(axis=(1, 2))
    there = mass > 0.4 * float(mass.max(initial=0))
    if there.sum() < 4 or not mass.any():
        return None
    axis = np.arange(GRID)
    x = (body.sum(axis=1)[there] @ axis) / mass[there]
    y = (body.sum(axis=2)[there] @ axis) / mass[there]
    t_s = np.flatnonzero(there) * STEP_US / 1e6
    t_s = t_s - t_s.mean()
    spread = float(t_s @ t_s)
    return float(t_s @ x) / spread, float(t_s @ y) / spread


def mount_check(
    walks: Sequence[Walk],
    runner: FootfallRunner,
    unit: str = "centi_celsius",
    half_field_deg: float = 30.0,
) -> MountReport:
    """Learn the inward direction from walks inwards, and tell how the sensor hangs.

    half_field_deg: half the sensor's field along the way people walk (Grid-EYE 30, MLX90640 55 or 27.5, VL53L5CX 22.5).
    Raises `WalkError` for fewer than ten walks, `FrameSizeError` and `FrameRateError` for bad frames.
    """
    if len(walks) < WALKS:
        raise WalkError(f"{len(walks)} walks: expected at least {WALKS} walks inwards")
    check_unit(unit)
    votes = dict.fromkeys(INWARD, 0)
    velocities: list[tuple[float, float]] = []
    for walk in walks:
        for way, vote in _votes(walk, unit, runner).items():
            votes[way] += vote
        velocity = _velocity(_signal(walk, unit))
        if velocity is not None:
            velocities.append(velocity)
    best = max(INWARD, key=lambda way: votes[way])
    agreed = best if votes[best] >= ENOUGH_SHARE * len(walks) else ""
    speed, skew_deg = _motion(velocities, best)
    field_m = GRID * PACE_M_S / speed if speed else math.nan
    below_m = field_m / (2 * math.tan(math.radians(half_field_deg)))
    height_m = _floor_m(walks) if unit == "mm" else HEAD_M + below_m
    problems = _problems(votes, len(walks), agreed, skew_deg, field_m)
    return MountReport(
        agreed, votes, len(walks), skew_deg, speed, field_m, height_m, tuple(problems.values()), tuple(problems)
    )


def _motion(velocities: Sequence[tuple[float, float]], way: str) -> tuple[float, float]:
    """Median speed in px/s, and the angle in degrees between the walks and the axis of `way`."""
    if not velocities:
        return 0.0, math.nan
    x, y = (float(np.median([velocity[side] for velocity in velocities])) for side in (0, 1))
    along, across = (x, y) if way[1] == "x" else (y, x)
    return math.hypot(x, y), math.degrees(math.atan2(abs(across), abs(along)))


def _floor_m(walks: Sequence[Walk]) -> float:
    """Distance of the empty floor in metres: the median depth, people being there only a part of the time."""
    depths = np.concatenate([walk.frames[walk.frames > 0].ravel() for walk in walks])
    return float(np.median(depths)) / 1000 if len(depths) else math.nan


def _problems(votes: dict[str, int], walks: int, agreed: str, skew_deg: float, field_m: float) -> dict[str, str]:
    """By cause, sentences for the technician, each with what to do."""
    found = {}
    if not agreed:
        told = ", ".join(f"{way} {n}" for way, n in votes.items())
        found["no_agreement"] = (
            f"The walks do not agree on a direction ({told} of {walks}): walk straight through, one at a time."
        )
    if skew_deg > MAX_SKEW_DEG:
        found["aslant"] = (
            f"People cross {skew_deg:.0f}° aslant: turn the sensor so that a side is parallel to the door."
        )
    if field_m < 0.7:
        found["too_low"] = f"The field is only {field_m:.1f} m wide at head height: hang the sensor higher."
    if field_m > 3.5:
        found["too_high"] = f"The field is {field_m:.1f} m wide at head height: hang it lower or take a narrower lens."
    return found


@dataclass(frozen=True, slots=True)
class WalkTest:
    """Result of a walk test: score is right / (right + missed + false); passed from 0.95."""

    right: int
    missed: int
    false: int
    score: float
    passed: bool


def walk_test(counted: Sequence[Crossing], walked: Sequence[tuple[int, str]]) -> WalkTest:
    """Compare what was counted with what the technician walked: (time in µs of the press at the door, "in" or "out").

    A crossing is right within 1.5 s of its press. Raises `WalkError` where nothing was walked.
    """
    if not walked:
        raise WalkError("0 walks: expected at least one press at the door")
    match = match_events(
        [Event(crossing.t_us, crossing.direction) for crossing in counted],
        [Event(t_us, direction) for t_us, direction in walked],
        MATCH_US,
    )
    score = match.hits / (match.hits + match.missed + match.false)
    return WalkTest(match.hits, match.missed, match.false, score, score >= 0.95)


def heat_view(frame: NDArray[np.int16], unit: str = "centi_celsius") -> dict[str, Any]:
    """One frame (rows, cols) for the technician's live view: {"rows", "cols", "unit", "low", "high", "pixels"}.

    Pixels row by row in the sensor's unit, None where dead or saturated; low and high are the 2nd and 98th percentile
    of the others (both None where no pixel is sound). Raises `FrameUnitError`.
    """
    known = check_unit(unit)
    sound = (frame >= known.low) & (frame <= known.high)
    low, high = np.percentile(frame[sound], (2, 98)).tolist() if sound.any() else (None, None)
    pixels = [int(value) if good else None for value, good in zip(frame.flat, sound.flat, strict=True)]
    return {"rows": frame.shape[0], "cols": frame.shape[1], "unit": unit, "low": low, "high": high, "pixels": pixels}
