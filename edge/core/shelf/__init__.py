"""Weight: from raw counts of load cells to what was taken and laid down, and how many stand there.

`Shelves` is the part of the engine. A settled change becomes a `LaneStep` with its candidates; a change of several
products at once becomes one `LaneStep` for each, and their deltas add up. One-product lanes also give `LaneLevel`.
"""

from edge.core.shelf.advice import WeightWarning, weight_warnings
from edge.core.shelf.calibration import Calibration, CellKey, as_given
from edge.core.shelf.part import Shelves

__all__ = ["Calibration", "CellKey", "Shelves", "WeightWarning", "as_given", "weight_warnings"]
