"""The calibration that a technician measured on the simulated shelves, as the shelf part wants it."""

from __future__ import annotations

from edge.core.shelf import Calibration, CellKey
from firmware_sim.world import World


def calibrations(world: World) -> dict[CellKey, Calibration]:
    """Every cell's zero and span."""
    return {
        (device, int(row["cell"])): Calibration(row["offset_counts"], row["counts_per_g"])
        for device, cells in world.cells.items()
        for row in cells.calibration()
    }
