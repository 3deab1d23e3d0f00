"""The runtime: owns the loop's way from observations through the engine into the journal; the only reader of Clock.

Commit before effect: documents, results of commands and everything else that can be seen from outside appear only
after the commit that contains their cause.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from edge.core.engine import Engine
from edge.core.errors import CommandRejected, InferenceError, JournalFull
from edge.core.fact import Fact, JsonValue
from edge.core.facts import ClockFixed, CommandRefused
from edge.core.instant import US_PER_MIN, US_PER_S, Instant, TimeQuality
from edge.core.observation import (
    Advert,
    CellSamples,
    DeviceIdentity,
    DeviceState,
    DeviceStatus,
    Frames,
    Observation,
    TagReads,
)
from edge.core.ports import Clock, Command, CommandResult, Commit, Inference
from edge.core.site import Site
from edge.health import DeviceHealth, Health
from edge.journal import Journal
from edge.logbook import Logbook

QUEUE_LIMIT = 20_000
SLICE_OBSERVATIONS = 200  # then the loop breathes: API, uplink and watchdog get their turn
FRAMES_LIMIT = 200
INTERNALS_PERIOD_US = 10 * US_PER_MIN
INFERENCE_CAUSES = frozenset({"inference", "inference_late", "model_fallback"})
TELEMETRY = (TagReads, CellSamples, Advert, Frames)


class View:
    """`StateView`: the documents that are true as of the last commit; replaced, never changed in place."""

    def __init__(self) -> None:
        self._documents: dict[str, tuple[int, JsonValue]] = {}
        self._waiting: deque[tuple[int, str, JsonValue]] = deque()
        self._listeners: list[Callable[[str], None]] = []
        self.version = 0
        """Rises with each commit that changed a document."""

    def documents(self) -> Mapping[str, tuple[int, JsonValue]]:
        return self._documents

    def subscribe(self, on_change: Callable[[str], None]) -> Callable[[], None]:
        self._listeners.append(on_change)
        return lambda: self._listeners.remove(on_change) if on_change in self._listeners else None

    def await_commit(self, seq: int, documents: Mapping[str, JsonValue]) -> None:
        """These documents become visible once `seq` is committed; None removes one."""
        self._waiting.extend((seq, suffix, document) for suffix, document in documents.items())

    def committed(self, last_seq: int) -> None:
        """Everything up to `last_seq` is on the disk."""
        changed: dict[str, None] = {}
        while self._waiting and self._waiting[0][0] <= last_seq:
            seq, suffix, document = self._waiting.popleft()
            if document is None:
                self._documents.pop(suffix, None)
            else:
                self._documents[suffix] = (seq, document)
            changed[suffix] = None
        self.version += bool(changed)
        for suffix in changed:
            for listener in tuple(self._listeners):
                listener(suffix)


class Runtime:
    """Feeds the engine. `emit` is what drivers call; `execute` is the CommandHandler of API and bridge."""

    def __init__(self, engine: Engine, journal: Journal, clock: Clock, health: Health) -> None:
        self.engine, self.journal, self.clock, self.health = engine, journal, clock, health
        self.view = View()
        self.logbook: Logbook | None = None
        self.before_replan: Callable[[Site], None] = lambda site: None
        self._queue: deque[Observation] = deque()
        self._frames: deque[Frames] = deque()
        self._late: set[str] = set()  # doors whose frames were dropped because the inference is behind
        self._wake = asyncio.Event()
        self._frames_wake = asyncio.Event()
        self._next_internals_us = 0
        self._quality = TimeQuality.UNSET
        self._first_wall_us: int | None = None
        journal.subscribe(self.view.committed)

    # --- in ---------------------------------------------------------------------------------------------------------

    def emit(self, observation: Observation) -> None:
        """Take an observation; never blocks. When too much waits, the oldest telemetry goes, and is counted."""
        self._note(observation)
        if isinstance(observation, Frames):
            self._take_frames(observation)
            return
        if len(self._queue) >= QUEUE_LIMIT and not self._make_room():
            self.health.count("observations_dropped")
            return
        self._queue.append(observation)
        self._wake.set()

    @property
    def observations_waiting(self) -> int:
        """Observations that the engine has not handled yet."""
        return len(self._queue)

    @property
    def frames_waiting(self) -> int:
        """Frames that the inference has not taken yet."""
        return len(self._frames)

    def _make_room(self) -> bool:
        for index, waiting in enumerate(self._queue):
            if isinstance(waiting, TELEMETRY):
                del self._queue[index]
                self.health.count("observations_dropped")
                return True
        return False

    def _take_frames(self, frames: Frames) -> None:
        if len(self._frames) >= FRAMES_LIMIT:
            dropped = self._frames.popleft()
            self.health.count("frames_dropped")
            self._late.add(dropped.device_id)
            detail = f"{FRAMES_LIMIT} frames wait for the inference: the oldest are not counted"
            self._say_inference(dropped.device_id, "inference_late", detail)
        self._frames.append(frames)
        self._frames_wake.set()

    def _note(self, observation: Observation) -> None:
        """Keep the living record: who was heard last, and how each device is."""
        device = self.health.devices.get(observation.device_id)
        if device is None:
            device = self.health.devices[observation.device_id] = DeviceHealth("unknown")
        if isinstance(observation, DeviceStatus):
            device.state, device.cause, device.detail = observation.state, observation.cause, observation.detail
            device.restarts += observation.state is DeviceState.OFFLINE
        elif isinstance(observation, DeviceIdentity):
            device.serial, device.model, device.firmware = observation.serial, observation.model, observation.firmware
        else:
            device.last_seen_us = observation.mono_us

    # --- the loop's way ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Handle what comes and what becomes due, until cancelled; nothing that was handled is left unwritten."""
        self._next_internals_us = self.clock.now().mono_us + INTERNALS_PERIOD_US
        try:
            while True:
                await self._sleep()
                self.step()
                self.health.beat("loop")
        finally:
            self.step()

    async def _sleep(self) -> None:
        if self._queue:
            await asyncio.sleep(0)
            return
        self._wake.clear()
        deadline_us = self.engine.next_deadline()
        now_us = self.clock.now().mono_us
        wait_s = 1.0 if deadline_us is None else min(1.0, max(0.0, (deadline_us - now_us) / US_PER_S))
        if wait_s == 0:
            await asyncio.sleep(0)
            return
        # A handle of the loop instead of wait_for: this runs some hundred times a second.
        handle = asyncio.get_running_loop().call_later(wait_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            handle.cancel()

    def step(self) -> None:
        """Handle up to a slice of what waits, then what is due, and hand all of it to the journal as one commit."""
        now = self.clock.now()
        facts: list[Fact] = list(self._watch_clock(now))
        for _ in range(min(len(self._queue), SLICE_OBSERVATIONS)):
            facts += self.engine.handle(self._queue.popleft(), now)
        deadline_us = self.engine.next_deadline()
        if deadline_us is not None and deadline_us <= now.mono_us:
            facts += self.engine.tick(now)
        internals = None
        if now.mono_us >= self._next_internals_us:
            self._next_internals_us = now.mono_us + INTERNALS_PERIOD_US
            internals = self.engine.snapshot()
        try:
            self._commit(facts, now, internals)
        except JournalFull:  # an alarm while `journal.full`; the log has dropped what it may
            self.health.count("facts_refused", len(facts))

    def _commit(
        self,
        facts: list[Fact],
        now: Instant,
        internals: Mapping[str, JsonValue] | None = None,
        *,
        urgent: bool | None = None,
    ) -> asyncio.Future[int] | None:
        self.journal.check_room(len(facts))  # first: what is drained and not written would never be said again
        said = self.engine.drain_said()
        documents = self.engine.drain_documents()
        if not (facts or said or documents or internals or urgent):
            return None
        commit = Commit([(fact, now) for fact in facts], said, internals)
        waiter = self.journal.append(commit, now, urgent=urgent)
        seq = self.journal.last_seq + self.journal.pending
        self.view.await_commit(seq, documents)
        if self.logbook is not None:
            self.logbook.await_commit(seq, facts)
        return waiter

    def _watch_clock(self, now: Instant) -> list[Fact]:
        """Say once a boot that the wall clock became trustworthy, so that earlier event times can be corrected."""
        if self._first_wall_us is None:
            self._first_wall_us, self._quality = now.wall_us - now.mono_us, now.quality
            return []
        before, self._quality = self._quality, now.quality
        if now.quality is not TimeQuality.SYNCED or before in (TimeQuality.SYNCED, TimeQuality.HOLDOVER):
            return []
        offset_us = now.wall_us - now.mono_us
        jump_us = offset_us - self._first_wall_us
        return [ClockFixed(at_us=now.mono_us, boot=self.clock.boot, offset_us=offset_us, jump_us=jump_us)]

    # --- facts and commands from outside the engine -------------------------------------------------------------------

    def tell(self, *facts: Fact) -> asyncio.Future[int]:
        """Commit facts that rooms around the engine know (claims, updates, restarts); done once on the disk."""
        waiter = self._commit(list(facts), self.clock.now(), urgent=True)
        assert waiter is not None  # urgent commits always wait
        return waiter

    async def execute(self, command: Command) -> CommandResult:
        """Carry out a command; answers after its effect is committed. Refusals are facts as well."""
        now = self.clock.now()
        try:
            facts = self.engine.execute(command, now)
        except CommandRejected as error:
            refused = CommandRefused(
                at_us=now.mono_us, command=command.id, name=command.name, reason=error.reason, detail=error.detail
            )
            await self.tell(refused)
            return CommandResult(command.id, "rejected", error.detail, error.reason)
        waiter = self._commit(facts, now, urgent=True)
        if waiter is not None:
            await waiter
        return CommandResult(command.id, "done")

    async def replan(self, site: Site) -> None:
        """Use another planogram from now on; committed when this returns."""
        now = self.clock.now()
        facts = self.engine.replan(site, now)
        self.before_replan(site)  # whoever keeps what was planned when hears it before the first fact gets its seq
        waiter = self._commit(facts, now, urgent=True)
        assert waiter is not None  # urgent commits always wait
        await waiter

    def clock_us(self) -> int:
        """Engine time (µs)."""
        return self.clock.now().mono_us

    # --- inference --------------------------------------------------------------------------------------------------

    async def infer(self, inference: Inference) -> None:
        """Hand frames to the inference thread in order, and what it finds back to the engine."""
        while True:
            while not self._frames:
                self._frames_wake.clear()
                await self._frames_wake.wait()
            frames = self._frames.popleft()
            try:
                crossings = await inference.submit(frames)
            except InferenceError as error:
                self._say_inference(frames.device_id, "inference", f"{error}. {error.hint}")
                continue
            finally:
                self.health.beat("inference")
            if len(self._frames) < FRAMES_LIMIT // 4:
                self._late.clear()
            if frames.device_id not in self._late:
                self._say_inference(
                    frames.device_id, "model_fallback" if inference.degraded else "", inference.degraded
                )
            for crossing in crossings:
                self.emit(crossing)

    def _say_inference(self, device_id: str, cause: str, detail: str) -> None:
        """Say that a door is counted badly, or not at all, and when that is over. Its driver knows nothing of it."""
        device = self.health.devices[device_id]
        ours = device.state is DeviceState.DEGRADED and device.cause in INFERENCE_CAUSES
        if cause and (device.state is DeviceState.ONLINE or (ours and device.cause != cause)):
            state = DeviceState.DEGRADED
        elif not cause and ours:
            state = DeviceState.ONLINE
        else:
            return
        self.emit(DeviceStatus(device_id, self.clock.now().mono_us, state, cause, detail))

    async def close(self) -> None:
        """Save filter internals and make everything durable."""
        now = self.clock.now()
        self._commit([], now, self.engine.snapshot(), urgent=True)
        await self.journal.flush()
