"""Recordings of door sensors: count them, and score the count where labels exist.

Format: an .npz file with `centi_celsius` int16 (frames, rows, columns), evenly spaced frames (of a depth sensor: `mm`);
optionally
`window_label` int8 (frames - 9,): label of the window of frames i to i+9, 1 nothing, 2 out, 3 in; one crossing is one
run of equal labels, the person being in the middle of the field about 8 frames after the run's start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from models.errors import BadPixelsError, FrameSizeError, RecordingError
from models.intake import check_fps, check_inward
from models.runner import Crossing, FootfallRunner

_LABEL_LAG_FRAMES: Final = 8
_DIRECTION_OF_LABEL: Final = {2: "out", 3: "in"}
MATCH_FRAMES: Final = 10
_BLOCK_FRAMES: Final = 4096
MOST_DROPPED: Final = 0.5
"""A recording of which more frames are bad tells nothing: no count is better than a low one."""


@dataclass(frozen=True, slots=True)
class Event:
    """A crossing by frame number: direction is "in" or "out"."""

    frame: int
    direction: str


@dataclass(frozen=True, slots=True)
class Match:
    """How many events were found at their time and in their direction, one to one."""

    hits: int
    missed: int
    false: int

    @property
    def f1(self) -> float:
        """2 hits / (2 hits + missed + false); 1 where nothing happened and nothing was counted."""
        all_of = 2 * self.hits + self.missed + self.false
        return 2 * self.hits / all_of if all_of else 1.0


def _read(path: Path, key: str) -> NDArray[Any] | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return np.asarray(archive[key]) if key in archive else None
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        why = getattr(error, "strerror", None) or "it is no NumPy archive"
        raise RecordingError(f"{path}: {why}: expected an .npz recording with centi_celsius") from error


def read_recording(path: Path) -> tuple[NDArray[np.int16], str]:
    """Frames (n, rows, columns) int16 of a recording, and their unit: centi_celsius or mm. Raises `RecordingError`."""
    unit = "centi_celsius"
    frames = _read(path, unit)
    if frames is None:
        unit = "mm"
        frames = _read(path, unit)
    if frames is None:
        raise RecordingError(f"{path}: no array centi_celsius (or mm) in it: expected int16 (frames, rows, columns)")
    if frames.ndim != 3 or not len(frames):
        raise RecordingError(f"{path}: {unit} of shape {frames.shape}: expected (frames, rows, columns)")
    if np.issubdtype(frames.dtype, np.floating):
        # A NaN or infinite value is a dead pixel; what does not fit the wire's int16 is saturated, which counts as one.
        fits = np.isfinite(frames) & (np.abs(frames) < 32767)
        frames = np.where(fits, np.round(np.where(fits, frames, 0)), -32768)
    if not np.issubdtype(frames.dtype, np.number) or np.iscomplexobj(frames):
        raise RecordingError(f"{path}: {unit} of type {frames.dtype}: expected int16")
    return np.asarray(np.clip(frames, -32768, 32767), np.int16), unit


def read_frames(path: Path) -> NDArray[np.int16]:
    """Frames (n, rows, columns) int16 of a recording. Raises `RecordingError`."""
    return read_recording(path)[0]


def read_events(path: Path) -> list[Event]:
    """Labelled crossings of a recording. Raises `RecordingError` where it has no labels."""
    labels = _read(path, "window_label")
    if labels is None:
        raise RecordingError(f"{path}: no array window_label in it: expected labels of 10-frame windows to score by")
    starts = np.flatnonzero(np.diff(labels.astype(np.int16), prepend=1))
    return [
        Event(int(start) + _LABEL_LAG_FRAMES, _DIRECTION_OF_LABEL[int(labels[start])])
        for start in starts
        if int(labels[start]) in _DIRECTION_OF_LABEL
    ]


def frame_times(n: int, fps: float) -> NDArray[np.int64]:
    """Times in µs of n evenly spaced frames. Raises `FrameRateError`."""
    return np.round(np.arange(n) * (1e6 / check_fps(fps))).astype(np.int64)


def crossings_of(
    frames: NDArray[np.int16], fps: float, inward: str, runner: FootfallRunner, unit: str = "centi_celsius"
) -> list[Crossing]:
    """All crossings of a whole recording, in order of time. Raises the named errors of `models.errors`."""
    check_inward(inward)
    t_us = frame_times(len(frames), fps)
    if frames.ndim != 3:
        raise FrameSizeError(f"frames of shape {frames.shape}: expected (n, rows, columns)")
    counter = runner.door((frames.shape[1], frames.shape[2]), unit, inward)
    found: list[Crossing] = []
    for begin in range(0, len(frames), _BLOCK_FRAMES):
        block = slice(begin, begin + _BLOCK_FRAMES)
        found += counter.push(frames[block], t_us[block])
    dropped = counter.frontend.intake.dropped
    if dropped > MOST_DROPPED * len(frames):
        raise BadPixelsError(
            f"{dropped} of {len(frames)} frames are garbled, or dead or saturated in more than a quarter of the field:"
            f" expected at most {MOST_DROPPED:.0%}"
        )
    return sorted(found + counter.flush(), key=lambda crossing: crossing.t_us)


def matched(counted: Sequence[Event], true: Sequence[Event], reach_frames: int = MATCH_FRAMES) -> set[int]:
    """Which of `counted` (by index) have a partner in `true`: same direction, within reach, one to one, most possible.

    For events on a line and one reach for all, taking the earliest free partner in order of time gives a largest match.
    """
    taken: set[int] = set()
    for direction in ("in", "out"):
        free = sorted((event.frame, i) for i, event in enumerate(counted) if event.direction == direction)
        at = 0
        for frame in sorted(event.frame for event in true if event.direction == direction):
            while at < len(free) and free[at][0] < frame - reach_frames:
                at += 1
            if at < len(free) and free[at][0] <= frame + reach_frames:
                taken.add(free[at][1])
                at += 1
    return taken


def match_events(counted: Sequence[Event], true: Sequence[Event], reach_frames: int = MATCH_FRAMES) -> Match:
    """Tally of `matched`."""
    hits = len(matched(counted, true, reach_frames))
    return Match(hits, len(true) - hits, len(counted) - hits)


def count_recording(path: Path, fps: float, inward: str, runner: FootfallRunner | None = None) -> dict[str, Any]:
    """What `smartstore footfall count` prints: {"crossings": [{frame, direction, confidence, row}], "in", "out"}.

    Raises `RecordingError`, `FrameSizeError`, `FrameRateError`, `InwardError`, `ManifestError`, `ModelError`.
    """
    check_fps(fps)
    runner = runner or FootfallRunner()
    frames, unit = read_recording(path)
    found = crossings_of(frames, fps, check_inward(inward), runner, unit)
    rows = [
        {
            "frame": round(crossing.t_us * fps / 1e6),
            "direction": crossing.direction,
            "confidence": round(crossing.confidence, 4),
            "row": round(crossing.row, 2),
        }
        for crossing in found
    ]
    return {
        "recording": path.name,
        "crossings": rows,
        "in": sum(crossing.direction == "in" for crossing in found),
        "out": sum(crossing.direction == "out" for crossing in found),
        "model": runner.network.manifest.version,
        **({"degraded": runner.degraded} if runner.degraded else {}),
    }


def score_recording(path: Path, fps: float, inward: str, runner: FootfallRunner | None = None) -> dict[str, Any]:
    """What `smartstore footfall score` prints: the count, and hits, missed, false, f1 against the labels."""
    true = read_events(path)
    told = count_recording(path, fps, inward, runner)
    counted = [Event(row["frame"], row["direction"]) for row in told["crossings"]]
    match = match_events(counted, true)
    told.update(
        true_in=sum(event.direction == "in" for event in true),
        true_out=sum(event.direction == "out" for event in true),
        hits=match.hits,
        missed=match.missed,
        false=match.false,
        f1=round(match.f1, 4),
    )
    return told
