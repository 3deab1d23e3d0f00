"""Driver of the shelf MCU: SDP/1 DATA in, `CellSamples` out, in batches of whatever has arrived.

Counts stay raw: zero and span belong to the position and are the core's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from devices.driver import DriverContext, DriverInfo, Emit
from devices.sdp.driver import SdpDriver
from devices.sdp.messages import Data, ErrorReport, Identity, Message
from devices.sdp.session import Taken
from devices.transport.moniker import Link
from edge.core.observation import NO_READING, SATURATED_HIGH, SATURATED_LOW, CellSamples
from edge.core.plain import Within

_NO_WEIGHT = frozenset((NO_READING, SATURATED_HIGH, SATURATED_LOW))


@dataclass(frozen=True, slots=True)
class ShelfMcuSettings:
    """One shelf controller."""

    link: Link
    """Such as ``serial:/dev/serial/by-id/…?baud=115200``."""
    cells: Annotated[int, Within(0, 16, "cells")] = 0
    """How many this position has; 0: as many as the hardware says."""


class ShelfMcuDriver(SdpDriver):
    """One shelf controller."""

    WHAT: ClassVar[str] = "shelf controller"

    def __init__(self, context: DriverContext, settings: ShelfMcuSettings) -> None:
        super().__init__(context, settings.link)
        self._expected_cells = settings.cells

    def check(self, identity: Identity) -> str:
        """A controller without cells, or with fewer than the position needs, does not fit."""
        if identity.cells == 0:
            return f"{identity.model} {identity.serial} has no load cells; expected a shelf controller"
        if self._expected_cells and identity.cells < self._expected_cells:
            return f"{identity.serial} has {identity.cells} cells; this position expects {self._expected_cells}"
        return ""

    def take(self, taken: list[Taken], emit: Emit) -> None:
        """One observation a read; a frame with another number of cells than the last begins a new one."""
        rows: list[tuple[int, ...]] = []
        times_us: list[int] = []
        temperature_c: float | None = None
        for message, made_us in taken:
            if isinstance(message, Data):
                if rows and len(message.counts) != len(rows[0]):
                    self._emit(rows, times_us, temperature_c, emit)
                    rows, times_us = [], []
                rows.append(message.counts)
                times_us.append(made_us)
                temperature_c = message.temperature_c
        if rows:
            self._emit(rows, times_us, temperature_c, emit)

    def _emit(self, rows: list[tuple[int, ...]], times_us: list[int], temperature_c: float | None, emit: Emit) -> None:
        counts = np.array(rows, np.int32)
        t_us = np.array(times_us, np.int64)
        emit(CellSamples(self.context.device_id, self.context.now_us(), t_us, counts, temperature_c))

    def ailing(self, message: Message) -> bool:
        """A cell still at its rail or silent keeps the complaint alive."""
        if isinstance(message, Data):
            return not _NO_WEIGHT.isdisjoint(message.counts)
        return isinstance(message, ErrorReport)


INFO = DriverInfo("shelf_mcu", "Weight shelf (SDP/1 controller)", ShelfMcuSettings, ShelfMcuDriver)
