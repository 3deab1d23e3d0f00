"""The floor as a grid of cells: which zone each belongs to, how far it is from each scanner, how one walks over it.

Where no positions were ever entered, each zone is one cell, and a scanner hears its own zone better than the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.core.site import Site

STEP_S: Final = 0.5
SPEED_M_S: Final = 1.2  # of people in shops
REST_S: Final = 20.0  # mean stay at a place before walking on; short, since who browses walks a little all the time
WALK_S: Final = 8.0
TURN_S: Final = 6.0
RESTING: Final = 0.8  # share of beacons that rest when first heard
HEIGHT_M: Final = 1.8  # of a scanner above what it hears
MARGIN: Final = 0.55  # the floor goes on so far behind the last scanner, in distances between scanners
CELLS_A_ZONE: Final = 6.5  # along one side
CELL_MIN_M: Final = 1.0
CELLS_MAX: Final = 1500
UNPLACED_DB: Final = 12.0  # how much weaker another zone's scanner hears, where no positions are known
UNPLACED_MOVE: Final = 1.0 - math.exp(-STEP_S / 40.0)
_DIRECTIONS: Final = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
MODES: Final = 1 + len(_DIRECTIONS)

Columns = NDArray[np.float32]
Points = NDArray[np.float64]


@dataclass(slots=True)
class Floor:
    """log10_m and extra_db are (scanners, cells), zone_of_cell (cells, zones) of 0 and 1."""

    zones: list[str]
    log10_m: Columns
    extra_db: Columns
    zone_of_cell: Columns
    is_placed: bool
    source: NDArray[np.intp]
    share: Columns

    def anywhere(self) -> Columns:
        """The belief before anything was heard, (MODES, cells)."""
        n = self.log10_m.shape[1]
        belief = np.full((MODES, n), (1.0 - RESTING) / (MODES - 1) / n, np.float32)
        belief[0] = RESTING / n
        return belief

    def walk(self, beliefs: Columns, steps: NDArray[np.int64]) -> Columns:
        """Let steps (beacons,) of half a second pass in (beacons, MODES, cells); those given may be overwritten.

        Nobody walks through the outer wall: such belief is left out.
        """
        for step in range(int(np.maximum.reduce(steps))):
            goes_on = steps > step
            if np.count_nonzero(goes_on) == len(steps):
                beliefs = self._walk(beliefs)
            else:
                beliefs[goes_on] = self._walk(beliefs[goes_on])
        return beliefs

    def _walk(self, beliefs: Columns) -> Columns:
        if not self.is_placed:
            return _mixed(beliefs)
        everywhere = np.zeros((len(beliefs), self.source.size + 1), np.float32)  # behind the wall is nothing
        everywhere[:, :-1] = beliefs.reshape(len(beliefs), -1)
        moved = everywhere.take(self.source, axis=1)
        moved -= beliefs
        moved *= self.share
        moved += beliefs
        found: Columns = _CHANGES @ moved
        return found

    def chances(self, beliefs: Columns) -> Columns:
        """Probability of each zone; (..., MODES, cells) → (..., zones)."""
        found: Columns = np.add.reduce(beliefs, axis=-2) @ self.zone_of_cell
        return found


_START: Final = 1.0 - math.exp(-STEP_S / REST_S)
_STOP: Final = 1.0 - math.exp(-STEP_S / WALK_S)
_TURN: Final = 1.0 - math.exp(-STEP_S / TURN_S)


def _changes() -> Columns:
    """(to, from): the chances to stop, start and turn between the modes in a step; columns sum to 1."""
    found = np.full((MODES, MODES), (1.0 - _STOP) * _TURN / (MODES - 1))
    found += (1.0 - _STOP) * (1.0 - _TURN) * np.eye(MODES)
    found[0], found[1:, 0], found[0, 0] = _STOP, _START / (MODES - 1), 1.0 - _START
    return found.astype(np.float32)


_CHANGES: Final = _changes()


def _mixed(beliefs: Columns) -> Columns:
    """Zones without places: who stays, stays; else any other zone is alike."""
    found: Columns = beliefs * (1.0 - UNPLACED_MOVE) + beliefs.mean(axis=(1, 2), keepdims=True) * UNPLACED_MOVE
    return found


def make_floor(site: Site) -> Floor:
    """The floor of a planogram."""
    anchors = _anchors(site)
    if len({point for points in anchors.values() for point in points}) < 2:
        return _unplaced(site)
    zones = sorted(anchors)
    ears = np.array([(s.x_m, s.y_m) for s in site.scanners], np.float64).reshape(-1, 2)
    points = np.array([point for zone in zones for point in anchors[zone]])
    owner = np.array([index for index, zone in enumerate(zones) for _ in anchors[zone]])
    low, high, pitch_m = _extent(ears, points)
    cell_m = max(CELL_MIN_M, pitch_m / CELLS_A_ZONE, math.sqrt(float(np.prod(high - low)) / CELLS_MAX))
    size = np.maximum(1, np.ceil((high - low) / cell_m)).astype(int)
    side_m = (high - low) / size
    axes = [low[k] + (np.arange(size[k]) + 0.5) * side_m[k] for k in (0, 1)]
    cells = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], 1)
    nearest = owner[_square_m(cells, points).argmin(1)]
    away = _square_m(ears, cells) + HEIGHT_M**2
    zone_of_cell = np.eye(len(zones), dtype=np.float32)[nearest]
    source, share = _steps((int(size[0]), int(size[1])), (float(side_m[0]), float(side_m[1])))
    log10_m = (0.5 * np.log10(away)).astype(np.float32)
    return Floor(zones, log10_m, np.zeros_like(log10_m), zone_of_cell, True, source, share)


def _square_m(a: Points, b: Points) -> Points:
    found: Points = ((a[:, None] - b[None]) ** 2).sum(-1)
    return found


def _extent(ears: Points, points: Points) -> tuple[Points, Points, float]:
    """Lower and upper corner of the floor, and the usual distance between neighbouring scanners."""
    if len(ears) > 1:
        apart = np.sqrt(_square_m(ears, ears))
        np.fill_diagonal(apart, np.inf)
        pitch_m = max(2.0 * CELL_MIN_M, float(np.median(apart.min(1))))
    else:
        pitch_m = 5.0
    everything = np.concatenate([ears, points])
    return everything.min(0) - MARGIN * pitch_m, everything.max(0) + MARGIN * pitch_m, pitch_m


def _steps(size: tuple[int, int], side_m: tuple[float, float]) -> tuple[NDArray[np.intp], Columns]:
    """For each mode and cell the (flat) index from where belief comes in a step, and the share of it that moves."""
    columns, rows = size
    n = columns * rows
    at = np.arange(n).reshape(columns, rows)
    source = np.full((MODES, n), MODES * n)  # behind the wall is nothing
    source[0] = np.arange(n)
    share = np.zeros((MODES, 1), np.float32)
    x, y = np.meshgrid(np.arange(columns), np.arange(rows), indexing="ij")
    for mode, (dx, dy) in enumerate(_DIRECTIONS, 1):
        inside = (x - dx >= 0) & (x - dx < columns) & (y - dy >= 0) & (y - dy < rows)
        before = at[np.clip(x - dx, 0, columns - 1), np.clip(y - dy, 0, rows - 1)]
        source[mode] = np.where(inside, mode * n + before, MODES * n).ravel()
        share[mode] = min(1.0, SPEED_M_S * STEP_S / math.hypot(dx * side_m[0], dy * side_m[1]))
    return source, share


def _unplaced(site: Site) -> Floor:
    zones = sorted({scanner.zone for scanner in site.scanners})
    extra_db = np.array(
        [[0.0 if scanner.zone == zone else UNPLACED_DB for zone in zones] for scanner in site.scanners],
        np.float32,
    ).reshape(len(site.scanners), len(zones))
    log10_m = np.full(extra_db.shape, 15.0 / 26.0, np.float32)  # 15 dB weaker than at 1 m: some 4 m
    nowhere = np.zeros((MODES, len(zones)), np.intp)
    return Floor(
        zones, log10_m, extra_db, np.eye(len(zones), dtype=np.float32), False, nowhere, np.zeros((MODES, 1), np.float32)
    )


def _anchors(site: Site) -> dict[str, list[tuple[float, float]]]:
    """Points of each zone: its scanners and the shelves that were given a place."""
    found: dict[str, list[tuple[float, float]]] = {}
    for scanner in site.scanners:
        found.setdefault(scanner.zone, []).append((scanner.x_m, scanner.y_m))
    for shelf in site.shelves:
        if (shelf.x_m, shelf.y_m) != (0.0, 0.0):
            found.setdefault(shelf.zone, []).append((shelf.x_m, shelf.y_m))
    return found
