"""Door crossings on real recordings (../shared/recordings/footfall), which training never saw.

Labelled Grid-EYE recordings by event F1; empty doorways by their events (expected none); pairs composed from real
single-person clips; totals of the MLX90640 recordings. The two-zone counter and a classical tracker stand in the same
table.

Composition rule: a clip is the 24 frames on each side of a labelled crossing of a one-person recording (no other
crossing in it), minus that recording's median frame. Two clips are laid over a real empty doorway by the larger
contrast of the two at each pixel. Tailgating: same direction, second 8 to 16 frames later. Opposite: one in, one out,
at most 3 frames apart. Side by side: same direction, at most 2 frames apart, shifted by 2 rows each to opposite sides.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.recordings import Event, Match, count_recording, crossings_of, match_events, read_events, read_frames
from models.runner import FootfallRunner
from tests.worlds.door_baselines import contrast_of, tracker, two_zone

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SMARTSTORE_SHARED", ROOT.parent / "shared"))
FOOTFALL = SHARED / "recordings" / "footfall"
FPS = 10.0
MLX_FPS = 16.0
SINGLES = ("grideye_1person", "grideye_1person_hat", "grideye_1person_add")
HALF_CLIP = 24
# Entries and exits over both doors: Table 1 of Cokbas, Ishwar, Konrad, CVPRW 2020. Given per recording, not per sensor.
TIDOS_TOTALS = {"tidos_lecture": 2, "tidos_lunch_meeting_2": 8}


def model_events(frames: NDArray[np.int16], fps: float, inward: str, runner: FootfallRunner) -> list[Event]:
    """Crossings of the product as events by frame."""
    found = crossings_of(frames, fps, inward, runner)
    return [Event(round(crossing.t_us * fps / 1e6), crossing.direction) for crossing in found]


def baseline_events(frames: NDArray[np.int16], name: str, turned: bool = False) -> list[Event]:
    """Crossings of a baseline; `turned` for recordings in which people walk along the rows."""
    contrast = contrast_of(frames)
    contrast = contrast.transpose(0, 2, 1) if turned else contrast
    found = two_zone(contrast) if name == "two_zone" else tracker(contrast)
    return [Event(frame, "in" if inward else "out") for frame, inward in found]


def add(one: Match, other: Match) -> Match:
    """Sum of two tallies."""
    return Match(one.hits + other.hits, one.missed + other.missed, one.false + other.false)


def clips(folder: Path) -> dict[str, list[NDArray[np.float64]]]:
    """Contrast clips (48, 8, 8) in centi-°C around single crossings, by direction."""
    found: dict[str, list[NDArray[np.float64]]] = {"in": [], "out": []}
    for name in SINGLES:
        frames = read_frames(folder / f"{name}.npz").astype(np.float64)
        events = read_events(folder / f"{name}.npz")
        contrast = frames - np.median(frames, axis=0)
        for event in events:
            near = [other for other in events if other != event and abs(other.frame - event.frame) < HALF_CLIP + 8]
            if near or event.frame < HALF_CLIP or event.frame + HALF_CLIP > len(frames):
                continue
            found[event.direction].append(contrast[event.frame - HALF_CLIP : event.frame + HALF_CLIP])
    return found


def shifted(clip: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    """The clip moved by rows; nothing moves in from outside."""
    out = np.zeros_like(clip)
    if rows > 0:
        out[:, rows:] = clip[:, :-rows]
    else:
        out[:, :rows] = clip[:, -rows:]
    return out


def compose(
    folder: Path, kind: str, rng: np.random.Generator, pairs: int = 60, overlay: str = "max"
) -> tuple[NDArray[np.int16], list[Event]]:
    """A recording of `pairs` composed pairs over a real empty doorway, and its true crossings."""
    single = clips(folder)
    empty = read_frames(folder / "grideye_background_add.npz").astype(np.float64)
    typical = np.median(empty, axis=0)
    gap = 2 * HALF_CLIP + 50
    frames = np.tile(empty, (1 + (pairs + 1) * gap // len(empty), 1, 1))
    true: list[Event] = []
    for pair in range(pairs):
        ways = ("in", "out") if kind == "opposite" else (str(rng.choice(["in", "out"])),) * 2
        chosen = [single[way][int(rng.integers(len(single[way])))] for way in ways]
        reach = {"tailgating": (8, 17), "opposite": (-3, 4), "side": (-2, 3)}[kind]
        lag = int(rng.integers(*reach))
        if kind == "side":
            chosen = [shifted(chosen[0], -2), shifted(chosen[1], 2)]
        start = (pair + 1) * gap - gap // 2
        layers = np.full((2, 2 * HALF_CLIP + 20, 8, 8), -np.inf if overlay == "max" else 0.0)
        first = 3 if lag < 0 else 0
        for layer, clip, offset in zip(layers, chosen, (first, first + lag), strict=True):
            layer[offset : offset + len(clip)] = clip
        both = layers.max(axis=0) if overlay == "max" else layers.sum(axis=0)
        there = np.isfinite(both[:, 0, 0]) & (np.abs(both).sum(axis=(1, 2)) > 0)
        frames[start : start + len(both)][there] = (typical + both)[there]
        true += [Event(start + first + HALF_CLIP, ways[0]), Event(start + first + lag + HALF_CLIP, ways[1])]
    return np.round(frames).astype(np.int16), sorted(true, key=lambda event: event.frame)


def totals(folder: Path, runner: FootfallRunner) -> dict[str, list[int]]:
    """{recording: [counted, true]}, counted over both doors."""
    found: dict[str, list[int]] = {}
    for name, true in TIDOS_TOTALS.items():
        told = [count_recording(path, MLX_FPS, "+y", runner) for path in sorted(folder.glob(f"{name}_sensor_*.npz"))]
        found[name] = [sum(one["in"] + one["out"] for one in told), true]
    return found


def labelled(folder: Path) -> list[Path]:
    """Labelled Grid-EYE recordings in the folder."""
    with_labels = []
    for path in sorted(folder.glob("grideye_*.npz")):
        with np.load(path) as archive:
            if "window_label" in archive:
                with_labels.append(path)
    return with_labels


def run(seed: int, argv: list[str]) -> dict[str, Any]:
    """Score the product and the baselines; `argv` may name another folder of recordings."""
    folder = Path(argv[0]) if argv else FOOTFALL
    if not folder.is_dir():
        raise SystemExit(f"{folder}: not there: expected the real recordings (nothing can be scored without them)")
    runner = FootfallRunner()
    methods = {"model": lambda frames: model_events(frames, FPS, "+x", runner)}
    for name in ("two_zone", "tracker"):
        methods[name] = lambda frames, name=name: baseline_events(frames, name)
    table: dict[str, dict[str, float]] = {name: {} for name in methods}
    each: dict[str, float] = {}
    for name, method in methods.items():
        whole = Match(0, 0, 0)
        for path in labelled(folder):
            match = match_events(method(read_frames(path)), read_events(path))
            whole = add(whole, match)
            if name == "model":
                each[path.stem] = round(match.f1, 4)
        table[name]["f1"] = round(whole.f1, 4)
        empties = sorted(folder.glob("grideye_background*.npz"))
        table[name]["empty_events"] = sum(len(method(read_frames(path))) for path in empties)
    for kind in ("tailgating", "opposite", "side"):
        for overlay in ("max", "sum"):
            frames, true = compose(folder, kind, np.random.default_rng([seed, len(kind)]), overlay=overlay)
            for name, method in methods.items():
                key = f"composed_{kind}" + ("" if overlay == "max" else "_sum")
                table[name][key] = round(match_events(method(frames), true).f1, 4)
    return {
        **table["model"],
        "totals": totals(folder, runner),
        "f1_by_recording": each,
        "baselines": {name: row for name, row in table.items() if name != "model"},
        "overlay": "max of contrasts; *_sum: their sum",
        "seed": seed,
    }
