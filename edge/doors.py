"""The composition root's share of footfall: the gateway's Inference port, and a technician's work at a door.

Frames pass through memory. The network counts in them; a technician's heat view, walks and recordings see them while
they run, and forget them: a heat view keeps the newest frame for its one reader, walks go when the mount is judged and
after `FORGET_S` at the latest, a recording goes with its one download or after `FORGET_S`. Nothing is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.core.errors import LinkLost
from edge.core.instant import US_PER_S
from edge.core.observation import DoorCrossing, Frames
from edge.jobs import Progress
from edge.runtime import Runtime

if TYPE_CHECKING:
    from models.inference import DoorInference, InferenceThread
    from models.mounting import Walk
    from models.recorder import Recorder

SILENT_S = 10.0
"""A sensor that sends nothing for so long is not there."""
FORGET_S = 15 * 60.0
SETTLE_US = 3 * US_PER_S
"""After a walk test, so long may the last crossing take to become certain (it takes 1.4 s)."""
MODELS = "models"
Watcher = Callable[[Frames, list[DoorCrossing]], None]


@dataclasses.dataclass(slots=True)
class _Aid:
    """What a technician has gathered at one door; in memory only."""

    unit: str = "centi_celsius"
    walks: list[Walk] = dataclasses.field(default_factory=list)
    walked: list[tuple[int, str]] | None = None
    recorder: Recorder | None = None
    busy: str = ""
    forget: asyncio.TimerHandle | None = None


class Doors:
    """Every door of the store. The model is loaded, and the thread begins, with the first frames."""

    def __init__(self, runtime: Runtime, state_dir: Path) -> None:
        self._runtime = runtime
        self._store = state_dir / MODELS
        self._thread: InferenceThread | None = None
        self._watchers: dict[str, list[Watcher]] = {}
        self._aids: dict[str, _Aid] = {}

    # --- the Inference port -------------------------------------------------------------------------------------------

    @property
    def degraded(self) -> str:
        """Why another model than the newest counts, "" when all is well."""
        return self._thread.degraded if self._thread is not None else ""

    async def submit(self, frames: Frames) -> list[DoorCrossing]:
        """Count, then show the frames to who watches. Raises InferenceError."""
        crossings: list[DoorCrossing] = []
        try:
            crossings = await self._inference().submit(frames)
        finally:
            for watcher in tuple(self._watchers.get(frames.device_id, ())):
                watcher(frames, crossings)
        return crossings

    def _inference(self) -> InferenceThread:
        if self._thread is None:
            from models.inference import DoorInference, InferenceThread  # noqa: PLC0415 (only stores with door arrays)

            self._thread = InferenceThread(lambda: DoorInference(self.inward, store=self._store))
        return self._thread

    def inward(self, device_id: str) -> str:
        """The way in, as the planogram has it now."""
        doors = self._runtime.engine.site.doors
        return next((door.inward for door in doors if door.device == device_id), "+x")

    def close(self) -> None:
        """Stop the thread."""
        if self._thread is not None:
            self._thread.close()

    async def model(self) -> dict[str, str]:
        """Which model counts: name, version, sha256, and why it is not the newest one. Raises ModelError."""

        def read(doors: DoorInference) -> dict[str, str]:
            manifest = doors.runner.network.manifest
            told = {"name": manifest.name, "version": manifest.version, "sha256": manifest.sha256}
            return told | {"licence": manifest.licence, "degraded": doors.degraded}

        return await self._inference().ask(read)

    # --- watching frames ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _watching(self, device_id: str, watcher: Watcher) -> Iterator[None]:
        self._watchers.setdefault(device_id, []).append(watcher)
        try:
            yield
        finally:
            self._watchers[device_id].remove(watcher)

    async def _frames(self, device_id: str) -> AsyncGenerator[tuple[Frames, list[DoorCrossing]], None]:
        """Frames and what was counted in them, until the caller has enough. Raises LinkLost when none come."""
        waiting: asyncio.Queue[tuple[Frames, list[DoorCrossing]]] = asyncio.Queue()
        with self._watching(device_id, lambda frames, crossings: waiting.put_nowait((frames, crossings))):
            while True:
                try:
                    yield await asyncio.wait_for(waiting.get(), SILENT_S)
                except TimeoutError:
                    raise LinkLost(device_id, f"no frame for {SILENT_S:.0f} s") from None

    async def heat(self, device_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """The newest frame whenever there is a newer one; frames in between are not kept. Raises LinkLost."""
        from models.mounting import heat_view  # noqa: PLC0415

        newest: list[Frames] = []
        came = asyncio.Event()

        def keep(frames: Frames, crossings: list[DoorCrossing]) -> None:
            del crossings
            newest[:] = [frames]
            came.set()

        with self._watching(device_id, keep):
            while True:
                try:
                    await asyncio.wait_for(came.wait(), SILENT_S)
                except TimeoutError:
                    raise LinkLost(device_id, f"no frame for {SILENT_S:.0f} s") from None
                came.clear()
                frames = newest.pop()
                yield heat_view(frames.pixels[-1], frames.unit)

    # --- mount check --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _working(self, device_id: str, what: str) -> Iterator[_Aid]:
        """One piece of work at a door at a time. Raises WalkError."""
        from models.errors import WalkError  # noqa: PLC0415

        aid = self._aids.setdefault(device_id, _Aid())
        if aid.busy:
            raise WalkError(f"{device_id}: {aid.busy} runs already: expected one thing at a time")
        aid.busy = what
        try:
            yield aid
        finally:
            aid.busy = ""
            self._forget_later(device_id, aid)

    def _forget_later(self, device_id: str, aid: _Aid) -> None:
        if aid.forget is not None:
            aid.forget.cancel()
        aid.forget = asyncio.get_running_loop().call_later(FORGET_S, self._forget, device_id)

    def _forget(self, device_id: str) -> None:
        if device_id in self._aids and not self._aids[device_id].busy:
            del self._aids[device_id]

    def aid(self, device_id: str) -> dict[str, Any]:
        """What is gathered now: walks, work that runs, frames of a recording that waits for its download."""
        aid = self._aids.get(device_id, _Aid())
        frames = aid.recorder.kept if aid.recorder is not None else 0
        return {"walks": len(aid.walks), "busy": aid.busy, "recorded_frames": frames}

    async def walk(self, device_id: str, seconds: float, tell: Progress) -> dict[str, int]:
        """Gather one walk inwards: the frames of so many seconds, by the sensor's clock. Raises LinkLost, WalkError."""
        from models.mounting import Walk  # noqa: PLC0415

        with self._working(device_id, "a walk") as aid:
            pixels, times = [], []
            async with contextlib.aclosing(self._frames(device_id)) as seen:
                async for frames, _ in seen:
                    pixels.append(frames.pixels)
                    times.append(frames.t_us)
                    share = float(frames.t_us[-1] - times[0][0]) / (seconds * US_PER_S)
                    tell(share, f"{max(0, math.ceil(seconds * (1 - share)))} s")
                    if share >= 1:
                        break
            if any(piece.shape[1:] != pixels[0].shape[1:] for piece in pixels):
                raise LinkLost(device_id, "frames of different sizes within one walk")
            aid.unit = frames.unit
            aid.walks.append(Walk(np.concatenate(pixels), np.concatenate(times)))
            return {"walks": len(aid.walks)}

    def forget_walks(self, device_id: str) -> None:
        """Begin the walks anew."""
        if device_id in self._aids:
            self._aids[device_id].walks.clear()

    async def mount(self, device_id: str, half_field_deg: float) -> dict[str, Any]:
        """What the walks tell about the mount. Raises WalkError for fewer than ten."""
        from models.mounting import mount_check  # noqa: PLC0415

        aid = self._aids.get(device_id, _Aid())
        walks = tuple(aid.walks)
        report = await self._inference().ask(
            lambda doors: mount_check(walks, doors.runner, aid.unit, half_field_deg),
        )
        told = dataclasses.asdict(report)
        rounded = {key: _finite(value) for key, value in told.items() if isinstance(value, float)}
        return told | rounded | {"current": self.inward(device_id)}

    # --- walk test ----------------------------------------------------------------------------------------------------

    async def walk_test(self, device_id: str, seconds: float, tell: Progress) -> dict[str, Any]:
        """Count while the technician walks and presses; the score. Raises LinkLost, WalkError."""
        from models.mounting import walk_test  # noqa: PLC0415
        from models.runner import Crossing  # noqa: PLC0415

        with self._working(device_id, "a walk test") as aid:
            walked = aid.walked = []
            try:
                counted = await self._count_walks(device_id, seconds, aid, tell)
            finally:
                aid.walked = None
            crossings = [Crossing(row.crossed_us, row.direction, row.confidence, 0.0) for row in counted]
            return dataclasses.asdict(walk_test(crossings, walked))

    async def _count_walks(self, device_id: str, seconds: float, aid: _Aid, tell: Progress) -> list[DoorCrossing]:
        walked, counted = aid.walked or [], []
        until_us: int | None = None
        async with contextlib.aclosing(self._frames(device_id)) as seen:
            async for frames, crossings in seen:
                now_us = int(frames.t_us[-1])
                until_us = until_us if until_us is not None else now_us + int(seconds * US_PER_S)
                counted += crossings
                left_s = (until_us - now_us) / US_PER_S
                tell(1 - left_s / seconds, f"{max(0, math.ceil(left_s))} s · {len(walked)} ⇄ {len(counted)}")
                if left_s <= 0:
                    aid.walked = None  # presses are over; the last crossing becomes certain
                if now_us >= until_us + SETTLE_US:
                    break
        return counted

    def pressed(self, device_id: str, direction: str) -> int:
        """The technician goes through now, "in" or "out"; how many so far. Raises WalkError while no test runs."""
        from models.errors import WalkError  # noqa: PLC0415

        walked = self._aids.get(device_id, _Aid()).walked
        if walked is None:
            raise WalkError(f"{device_id}: no walk test runs: expected to press while one does")
        walked.append((self._runtime.clock_us(), direction))
        return len(walked)

    # --- recording ----------------------------------------------------------------------------------------------------

    async def record(self, device_id: str, seconds: float, notice_shown: bool, tell: Progress) -> dict[str, int]:
        """Keep frames in memory for so long, with the notice at the door. Raises RecorderError, LinkLost, WalkError."""
        from models.recorder import Recorder  # noqa: PLC0415

        with self._working(device_id, "a recording") as aid:
            aid.recorder = None
            limit_us = int(seconds * US_PER_S)
            Recorder((8, 8), 0, limit_us, notice_shown=notice_shown)  # refuses at once, before any frame is looked at
            recorder = aid.recorder = await self._record(device_id, limit_us, notice_shown, tell)
            return {"frames": recorder.kept}

    async def _record(self, device_id: str, limit_us: int, notice_shown: bool, tell: Progress) -> Recorder:
        from models.recorder import Recorder  # noqa: PLC0415

        recorder: Recorder | None = None
        async with contextlib.aclosing(self._frames(device_id)) as seen:
            async for frames, _ in seen:
                if recorder is None:
                    rows, cols = frames.pixels.shape[1:]
                    begin_us = int(frames.t_us[0])
                    recorder = Recorder((rows, cols), begin_us, limit_us, frames.unit, notice_shown=notice_shown)
                if (*frames.pixels.shape[1:], frames.unit) == (*recorder.size, recorder.unit):
                    recorder.add(frames.pixels, frames.t_us)
                left_us = recorder.ends_us - int(frames.t_us[-1])
                tell(1 - left_us / limit_us, f"{max(0, math.ceil(left_us / US_PER_S))} s · {recorder.kept}")
                if not recorder.running(int(frames.t_us[-1])):
                    return recorder
        raise LinkLost(device_id, "the recording ended before its time")

    async def take_recording(self, device_id: str) -> bytes:
        """The recording as .npz, which is then forgotten. Raises RecorderError where there is none."""
        from models.errors import RecorderError  # noqa: PLC0415

        aid = self._aids.get(device_id, _Aid())
        if aid.recorder is None:
            raise RecorderError(f"{device_id}: no recording waits: expected one that has ended")
        recorder, aid.recorder = aid.recorder, None
        return await self._inference().ask(lambda _: recorder.to_npz())

    def forget_recording(self, device_id: str) -> None:
        """Throw the recording away."""
        if device_id in self._aids:
            self._aids[device_id].recorder = None


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
