"""The network: evidence that somebody crosses the middle now, per direction and row, from 25 steps of the 8x8 field.

Input `signal` (batch, time, 8, 8) float32, 100 ms a step, inward = rising column; output `evidence`
(batch, time - 24, 2, 8) in 0..1, direction 0 inward, 1 outward. Output i tells of input step i + 15: fifteen steps of
past, nine of future. Columns are channels, so a filter sees a walk over the whole field at once; rows share weights.

Needs the extra `train` (PyTorch); the gateway runs the exported ONNX file and never imports this module.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.intake import GRID
from models.window import WINDOW_STEPS


class CrossingNet(nn.Module):
    """Three convolutions over (time, row); the first spans the whole window."""

    def __init__(self, filters: int = 96, hidden: int = 64) -> None:
        super().__init__()
        self.seen = nn.Conv2d(GRID, filters, (WINDOW_STEPS, 3), padding=(0, 1))
        self.mixed = nn.Conv2d(filters, hidden, (1, 3), padding=(0, 1))
        self.told = nn.Conv2d(hidden, 2, (1, 3), padding=(0, 1))

    def layers(self) -> list[tuple[str, nn.Conv2d]]:
        """The convolutions by name, first to last, for the export."""
        return [("seen", self.seen), ("mixed", self.mixed), ("told", self.told)]

    def logits(self, signal: Tensor) -> Tensor:
        """(batch, time, row, column) to (batch, direction, time - 24, row)."""
        seen = torch.relu(self.seen(signal.permute(0, 3, 1, 2)))
        mixed = torch.relu(self.mixed(seen))
        told: Tensor = self.told(mixed)
        return told

    def forward(self, signal: Tensor) -> Tensor:
        """(batch, time, row, column) to (batch, time - 24, direction, row), 0..1."""
        return torch.sigmoid(self.logits(signal)).permute(0, 2, 1, 3)
