"""The Inference port over the footfall network: one thread named ``inference``, one counter a door.

Frames of a door are counted in the order in which they were handed over; an answer is the crossings that these frames
completed (a crossing is certain about a second after it happened).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from edge.core.observation import DoorCrossing, Frames
from models.runner import DoorCounter, FootfallRunner


class DoorInference:
    """Counts on the caller's stack: for the inference thread, for simulation and for replay."""

    def __init__(self, inward: Mapping[str, str], runner: FootfallRunner | None = None) -> None:
        """inward: device id of each door → "+x", "-x", "+y" or "-y". The model is loaded with the first frames."""
        self._inward = inward
        self._runner = runner or FootfallRunner()
        self._counters: dict[str, tuple[tuple[int, int, str], DoorCounter]] = {}

    def count(self, frames: Frames) -> list[DoorCrossing]:
        """Crossings that these frames completed. Raises InferenceError for a model or frames that cannot be used."""
        counter = self._counter(frames)
        return [
            DoorCrossing(frames.device_id, frames.mono_us, crossing.direction, crossing.confidence, crossing.t_us)
            for crossing in counter.push(frames.pixels, frames.t_us)
        ]

    def _counter(self, frames: Frames) -> DoorCounter:
        """The door's counter; a sensor of another size or unit at the same door begins a new one."""
        rows, cols = frames.pixels.shape[1:]
        shape = (rows, cols, frames.unit)
        known = self._counters.get(frames.device_id)
        if known is not None and known[0] == shape:
            return known[1]
        inward = self._inward.get(frames.device_id, "+x")
        counter = self._runner.door((rows, cols), frames.unit, inward)
        self._counters[frames.device_id] = (shape, counter)
        return counter

    async def submit(self, frames: Frames) -> list[DoorCrossing]:
        """`Inference` without a thread, for virtual time."""
        return self.count(frames)


class InferenceThread:
    """`Inference` on its own thread, so that a frame never delays a tag or a request."""

    def __init__(self, make: Callable[[], DoorInference]) -> None:
        """make: called on the thread with the first frames, since loading the model takes most of a second."""
        self._make = make
        self._doors: DoorInference | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")

    async def submit(self, frames: Frames) -> list[DoorCrossing]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._count, frames)

    def _count(self, frames: Frames) -> list[DoorCrossing]:
        if self._doors is None:
            self._doors = self._make()
        return self._doors.count(frames)

    def close(self) -> None:
        """Finish what was handed over and stop."""
        self._thread.shutdown(wait=True, cancel_futures=True)
