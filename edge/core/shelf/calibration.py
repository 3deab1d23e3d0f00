"""From raw counts to grams: zero and span of each cell, and how a technician finds them.

A lane is the sum of its cells, so goods weigh the same wherever they stand on it. Zero is set with the empty lane
(`tared`), span with a known mass or with a known number of units on it (`spanned`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import CommandRejected
from edge.core.fact import JsonValue
from edge.core.plain import PlainError, build

CellKey = tuple[str, int]
"""(device id, 0-based channel)."""

MIN_SPAN_COUNTS: Final = 2_000.0
"""A span taken over fewer counts is worth less than the noise of the cell (an HX711 wanders by about 100)."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """One cell: grams = (counts - zero_counts) / counts_per_g. counts_per_g 0: tared only, its span is not known.

    counts_per_g is negative where the signal wires are swapped. temperature_c is the board's at the tare, if known.
    """

    zero_counts: float
    counts_per_g: float
    temperature_c: float | None = None

    @property
    def complete(self) -> bool:
        """Whether grams can be told."""
        return self.counts_per_g != 0.0


def tared(
    cells: Sequence[CellKey],
    counts: NDArray[np.float64],
    known: Mapping[CellKey, Calibration],
    temperature_c: float | None,
) -> dict[CellKey, Calibration]:
    """Calibrations of the cells of an empty lane; counts (n_cells,) are its settled means. Spans are kept."""
    made: dict[CellKey, Calibration] = {}
    for key, zero in zip(cells, counts, strict=True):
        old = known.get(key)
        made[key] = Calibration(float(zero), old.counts_per_g if old else 0.0, temperature_c)
    return made


def spanned(
    cells: Sequence[CellKey],
    counts: NDArray[np.float64],
    known: Mapping[CellKey, Calibration],
    mass_g: float,
) -> dict[CellKey, Calibration]:
    """Calibrations of the cells of a lane that carries `mass_g` in all; counts (n_cells,) are its settled means.

    One load cannot tell cells of a lane apart: all of them are scaled alike. Raises CommandRejected naming what is
    missing or implausible.
    """
    if not mass_g > 0.0:
        raise CommandRejected("arguments", f"mass = {mass_g!r} g: expected a mass above 0 g on the lane")
    old: list[Calibration] = []
    for key in cells:
        if key not in known:
            raise CommandRejected("not_tared", f"cell {key[1]} of {key[0]} has no zero: tare the empty lane first")
        old.append(known[key])
    deflection = counts - np.array([calibration.zero_counts for calibration in old])
    if np.abs(deflection).sum() < MIN_SPAN_COUNTS:
        detail = (
            f"{np.abs(deflection).sum():.0f} counts between empty and loaded: expected at least {MIN_SPAN_COUNTS:.0f}"
        )
        raise CommandRejected("load_too_small", detail)
    if all(calibration.complete for calibration in old):
        reading_g = float((deflection / np.array([calibration.counts_per_g for calibration in old])).sum())
        if not 0.2 <= reading_g / mass_g <= 5.0:
            detail = f"the lane reads {reading_g:.0f} g for {mass_g:.0f} g: expected the named load and no other"
            raise CommandRejected("load_implausible", detail)
        factor = reading_g / mass_g
        return {k: replace(c, counts_per_g=c.counts_per_g * factor) for k, c in zip(cells, old, strict=True)}
    counts_per_g = float(deflection.sum()) / mass_g
    if abs(counts_per_g) * mass_g < MIN_SPAN_COUNTS:
        detail = "the cells of the lane answer in opposite directions: expected one direction; check their wires"
        raise CommandRejected("cells_disagree", detail)
    return {k: replace(c, counts_per_g=counts_per_g) for k, c in zip(cells, old, strict=True)}


CELLS_LIMIT: Final = 2_000


def given(args: Mapping[str, JsonValue]) -> dict[CellKey, Calibration]:
    """The cells of ``set_calibrations {cells: [...]}``, each as `as_given` writes it. Raises CommandRejected."""
    rows = args.get("cells")
    if not isinstance(rows, list) or len(rows) > CELLS_LIMIT:
        raise CommandRejected("arguments", f"cells: expected a list of at most {CELLS_LIMIT} cells")
    try:
        cells = [build(GivenCell, row, f"cells[{index}]") for index, row in enumerate(rows)]
    except PlainError as error:
        raise CommandRejected("arguments", str(error)) from None
    for cell in cells:
        if not all(map(math.isfinite, (cell.zero_counts, cell.counts_per_g, cell.temperature_c or 0.0))):
            raise CommandRejected("arguments", f"cells: {cell.device} cell {cell.cell}: expected finite numbers")
    made = [Calibration(cell.zero_counts, cell.counts_per_g, cell.temperature_c) for cell in cells]
    return {(cell.device, cell.cell): calibration for cell, calibration in zip(cells, made, strict=True)}


def as_given(known: Mapping[CellKey, Calibration]) -> list[JsonValue]:
    """Calibrations as `given` takes them, by device and cell."""
    return [{"device": device, "cell": cell, **asdict(known[device, cell])} for device, cell in sorted(known)]


@dataclass(frozen=True, slots=True)
class GivenCell:
    """One cell of the command."""

    device: str
    cell: int
    zero_counts: float
    counts_per_g: float
    temperature_c: float | None = None
