"""A technician's recording of a door sensor: the only way frames are ever kept, with a notice and a time limit.

Frames stay in memory until the technician saves them; a recording that is not saved is gone with the object.
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import RecorderError
from models.intake import check_size, check_unit

LONGEST_US: Final = 10 * 60 * 1_000_000
_MOST_FRAMES: Final = 10 * 60 * 30
"""Ten minutes at the highest rate: 27 MB of 24x32."""


class Recorder:
    """One recording of one sensor, begun only when somebody says that the notice is shown at the door."""

    def __init__(
        self, size: tuple[int, int], now_us: int, limit_us: int, unit: str = "centi_celsius", *, notice_shown: bool
    ) -> None:
        """Raises `RecorderError` without the notice or with a limit outside 0 to 10 minutes, `FrameSizeError`,
        `FrameUnitError`."""
        if not notice_shown:
            raise RecorderError("notice_shown = False: expected a visible notice at the door before frames are kept")
        if not 0 < limit_us <= LONGEST_US:
            raise RecorderError(f"limit_us = {limit_us}: expected more than 0 and at most {LONGEST_US} (10 minutes)")
        self.size = check_size(*size)
        self.unit = check_unit(unit).name
        self.ends_us = now_us + limit_us
        self._frames: list[NDArray[np.int16]] = []
        self._times: list[NDArray[np.int64]] = []
        self.kept = 0

    def running(self, now_us: int) -> bool:
        """Whether frames are still taken."""
        return now_us < self.ends_us and self.kept < _MOST_FRAMES

    def add(self, frames: NDArray[np.int16], t_us: NDArray[np.int64]) -> int:
        """Keep frames (n, rows, cols) at times (n,) before the time limit; return how many were kept."""
        within = t_us < self.ends_us
        room = _MOST_FRAMES - self.kept
        frames, t_us = frames[within][:room], t_us[within][:room]
        if len(frames):
            self._frames.append(frames.astype(np.int16))
            self._times.append(t_us.astype(np.int64))
            self.kept += len(frames)
        return len(frames)

    def to_npz(self) -> bytes:
        """The recording as .npz: centi_celsius or mm int16 (n, rows, cols), t_us int64 (n,). Raises `RecorderError`."""
        if not self._frames:
            raise RecorderError("0 frames kept: expected a recording with frames before it is saved")
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {self.unit: np.concatenate(self._frames), "t_us": np.concatenate(self._times)}
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()
