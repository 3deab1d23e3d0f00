"""Driver of the door array: SDP/1 FRAME in, `Frames` out. No image leaves the gateway; frames are never stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from devices.driver import DriverContext, DriverInfo, Emit
from devices.sdp.driver import SdpDriver
from devices.sdp.messages import UNIT_NAMES, Identity, PixelFrame
from devices.sdp.session import Taken
from devices.transport.moniker import Link
from edge.core.observation import Frames


@dataclass(frozen=True, slots=True)
class DoorArraySettings:
    """One door sensor."""

    link: Link
    """Such as ``serial:/dev/serial/by-id/…?baud=460800``."""


class DoorArrayDriver(SdpDriver):
    """One door sensor: thermopile array or depth sensor."""

    WHAT: ClassVar[str] = "door array"

    def __init__(self, context: DriverContext, settings: DoorArraySettings) -> None:
        super().__init__(context, settings.link)

    def check(self, identity: Identity) -> str:
        """Hardware without pixels does not fit."""
        if identity.rows == 0 or identity.cols == 0:
            return f"{identity.model} {identity.serial} has no pixels; expected a door array"
        return ""

    def take(self, taken: list[Taken], emit: Emit) -> None:
        """One observation for each run of frames of one shape and unit; a frame of an unknown unit is counted."""
        run: list[tuple[PixelFrame, int]] = []
        for message, made_us in taken:
            if not isinstance(message, PixelFrame):
                continue
            if message.unit not in UNIT_NAMES or not message.pixels:
                self.context.count("frames_of_unknown_unit")
                continue
            if run and _shape(run[0][0]) != _shape(message):
                self._emit(run, emit)
                run = []
            run.append((message, made_us))
        if run:
            self._emit(run, emit)

    def _emit(self, run: list[tuple[PixelFrame, int]], emit: Emit) -> None:
        rows, cols, unit = _shape(run[0][0])
        raw = b"".join(frame.pixels for frame, _ in run)
        pixels = np.frombuffer(raw, "<i2").astype(np.int16).reshape(len(run), rows, cols)
        t_us = np.array([made_us for _, made_us in run], np.int64)
        emit(Frames(self.context.device_id, self.context.now_us(), t_us, pixels, UNIT_NAMES[unit]))


def _shape(frame: PixelFrame) -> tuple[int, int, int]:
    return frame.rows, frame.cols, frame.unit


INFO = DriverInfo("door_array", "Door array (SDP/1)", DoorArraySettings, DoorArrayDriver)
