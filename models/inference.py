"""The Inference port over the footfall network: one thread named ``inference``, one counter a door.

Frames of a door are counted in the order in which they were handed over; an answer is the crossings that these frames
completed (a crossing is certain about a second after it happened).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from edge.core.observation import DoorCrossing, Frames
from models.runner import DoorCounter, FootfallRunner
from models.update import in_use

T = TypeVar("T")
Inward = Callable[[str], str]
"""Device id of a door → "+x", "-x", "+y" or "-y" as the planogram has it now."""
LOOK_US: Final = 10_000_000
"""How often the store of models is looked at for a new one."""


class DoorInference:
    """Counts on the caller's stack: for the inference thread, for simulation and for replay."""

    def __init__(self, inward: Inward, runner: FootfallRunner | None = None, store: Path | None = None) -> None:
        """The model is loaded with the first frames. store: folder of `models.update`, followed while counting."""
        self._inward = inward
        self._store = store
        self._used = in_use(store) if store is not None else None
        self.runner = runner or (FootfallRunner(*self._used) if self._used else FootfallRunner())
        self._look_us: int | None = None
        self._counters: dict[str, tuple[tuple[int, int, str, str], DoorCounter]] = {}

    @property
    def degraded(self) -> str:
        """Why another model than the newest counts, "" when all is well."""
        return self.runner.degraded

    def count(self, frames: Frames) -> list[DoorCrossing]:
        """Crossings that these frames completed. Raises InferenceError for a model or frames that cannot be used."""
        self._follow_updates(frames.mono_us)
        counter = self._counter(frames)
        found = counter.push(frames.pixels, frames.t_us)
        if not found:
            counter.frontend.intake.check_pixels()
        return [
            DoorCrossing(frames.device_id, frames.mono_us, crossing.direction, crossing.confidence, crossing.t_us)
            for crossing in found
        ]

    def _follow_updates(self, now_us: int) -> None:
        """Use a model that was installed since; every door begins anew with it."""
        if self._store is None or (self._look_us is not None and now_us < self._look_us):
            return
        self._look_us = now_us + LOOK_US
        used = in_use(self._store)
        if used != self._used:
            self._used, self.runner = used, FootfallRunner(*used)
            self._counters.clear()

    def _counter(self, frames: Frames) -> DoorCounter:
        """The door's counter; a sensor of another size or unit, or turned the other way, begins a new one."""
        rows, cols = frames.pixels.shape[1:]
        inward = self._inward(frames.device_id)
        shape = (rows, cols, frames.unit, inward)
        known = self._counters.get(frames.device_id)
        if known is not None and known[0] == shape:
            return known[1]
        counter = self.runner.door((rows, cols), frames.unit, inward)
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

    @property
    def degraded(self) -> str:
        """Why another model than the newest counts, "" when all is well."""
        return self._doors.degraded if self._doors is not None else ""

    async def submit(self, frames: Frames) -> list[DoorCrossing]:
        return await self.ask(lambda doors: doors.count(frames))

    async def ask(self, work: Callable[[DoorInference], T]) -> T:
        """Do something with the doors on their thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work)

    def _work(self, work: Callable[[DoorInference], T]) -> T:
        if self._doors is None:
            self._doors = self._make()
        return work(self._doors)

    def close(self) -> None:
        """Finish what was handed over and stop."""
        self._thread.shutdown(wait=True, cancel_futures=True)
