"""What a door counter must beat: the usual two-zone state machine, and a good classical tracker.

Both read (n, 8, 8) contrast over the empty doorway in kelvin (or mm / 300), inward = rising column, and return
(frame, inward) for each crossing. Independent of production code.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Contrast = NDArray[np.float64]


def contrast_of(frames: NDArray[np.int16], unit: str = "centi_celsius", horizon: int = 600) -> Contrast:
    """Raw frames (n, rows, cols) to contrast (n, 8, 8): pooled, causal running median and common mode taken off."""
    values = frames.astype(np.float64)
    values[frames == -32768] = np.nan
    n, rows, cols = values.shape
    typical = np.nanmedian(values)
    seen = ~np.isnan(values).all(axis=0)
    typical_each = np.full((rows, cols), typical)
    typical_each[seen] = np.nanmedian(values[:, seen], axis=0)
    values = np.where(np.isnan(values), typical_each, values)
    values = values.reshape(n, 8, rows // 8, 8, cols // 8).mean(axis=(2, 4))
    out = np.empty_like(values)
    for start in range(0, n, 10):
        past = values[max(0, start - horizon) : max(start, 30) : 5]
        out[start : start + 10] = values[start : start + 10] - np.median(past, axis=0)
    out *= 0.01 if unit == "centi_celsius" else -1 / 300
    return out - np.median(out, axis=(1, 2), keepdims=True)


def _above_noise(contrast: Contrast, times: float) -> float:
    """A threshold so many times the noise of the recording (kelvin), as an installer would set it."""
    return max(0.35, times * 1.48 * float(np.median(np.abs(contrast - np.median(contrast)))))


def two_zone(contrast: Contrast) -> list[tuple[int, bool]]:
    """Two zones, one on each side: which was taken first and which was left last tells the direction."""
    threshold = _above_noise(contrast, 4.0)
    left = contrast[:, :, :4].max(axis=(1, 2)) > threshold
    right = contrast[:, :, 4:].max(axis=(1, 2)) > threshold
    events: list[tuple[int, bool]] = []
    first, both_at, last = "", -1, ""
    for i, (on_left, on_right) in enumerate(zip(left, right, strict=True)):
        if not on_left and not on_right:
            if first and last and first != last:
                events.append((both_at if both_at >= 0 else i, first == "left"))
            first, both_at, last = "", -1, ""
            continue
        if on_left != on_right:
            side = "left" if on_left else "right"
            first, last = first or side, side
        if both_at < 0 and first and last != first:
            both_at = i
    return events


@dataclass
class _Track:
    row: float
    col: float
    speed_row: float = 0.0
    speed_col: float = 0.0
    missed: int = 0
    age: int = 1
    side: int = 0
    crossed: list[tuple[int, bool]] = field(default_factory=list)


def _smooth(contrast: Contrast) -> Contrast:
    padded = np.pad(contrast, ((0, 0), (1, 1), (1, 1)), mode="edge")
    down = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    flat = (down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]) / 16
    flat[1:] = 0.5 * flat[1:] + 0.5 * flat[:-1]
    return flat


def _peaks(image: NDArray[np.float64], threshold: float) -> list[tuple[float, float]]:
    """Local maxima above the threshold, refined by the centroid of their 3x3."""
    padded = np.pad(image, 1, constant_values=-np.inf)
    around = np.stack([padded[r : r + 8, c : c + 8] for r in range(3) for c in range(3)]).max(axis=0)
    found = []
    for row, col in np.argwhere((image >= around) & (image > threshold)):
        rows = slice(max(row - 1, 0), min(row + 2, 8))
        cols = slice(max(col - 1, 0), min(col + 2, 8))
        weight = np.clip(image[rows, cols], 0, None)
        grid = np.mgrid[rows, cols]
        found.append((float((grid[0] * weight).sum() / weight.sum()), float((grid[1] * weight).sum() / weight.sum())))
    return found


def tracker(contrast: Contrast, gate_px: float = 2.2) -> list[tuple[int, bool]]:
    """Smoothing, peaks, nearest neighbour in a gate at constant speed, hysteresis about the middle line."""
    smooth = _smooth(contrast)
    threshold = _above_noise(smooth, 4.0)
    tracks: list[_Track] = []
    events: list[tuple[int, bool]] = []
    for i, image in enumerate(smooth):
        level = max(threshold, 0.35 * float(image.max()))
        peaks = _peaks(image, level)
        pairs = sorted(
            (np.hypot(t.row + t.speed_row - r, t.col + t.speed_col - c), k, j)
            for k, t in enumerate(tracks)
            for j, (r, c) in enumerate(peaks)
        )
        taken_tracks: set[int] = set()
        taken_peaks: set[int] = set()
        for distance, k, j in pairs:
            if distance > gate_px or k in taken_tracks or j in taken_peaks:
                continue
            taken_tracks.add(k)
            taken_peaks.add(j)
            track, (row, col) = tracks[k], peaks[j]
            track.speed_row = 0.7 * track.speed_row + 0.3 * (row - track.row)
            track.speed_col = 0.7 * track.speed_col + 0.3 * (col - track.col)
            track.row, track.col, track.missed, track.age = row, col, 0, track.age + 1
        for k, track in enumerate(tracks):
            if k not in taken_tracks:
                track.missed += 1
                track.row += track.speed_row
                track.col += track.speed_col
            side = -1 if track.col < 2.9 else 1 if track.col > 4.1 else 0
            if side and track.side and side != track.side and track.age >= 3:
                events.append((i, side > 0))
            track.side = side or track.side
        tracks = [t for t in tracks if t.missed <= 3 and -1 < t.col < 8]
        tracks += [_Track(r, c) for j, (r, c) in enumerate(peaks) if j not in taken_peaks]
    return events
