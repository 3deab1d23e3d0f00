"""Tier 1: the engine alone on a heap scheduler, fed by the simulated store without wires: thousands of store hours.

Observations arrive much as a gateway would get them: every advertisement and every crossing by itself, when it
happens; tag reads a reader and second (the engine judges tags once a second, however the reads were cut up); samples
a controller and second, which tells a change of weight up to a second later than live. The engine's own deadlines are
kept to the second, so that zones, too, are told a little later than live. The door's crossings come from the world (the network is judged elsewhere). The same seed gives the
same trace, whatever PYTHONHASHSEED.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.fact import Fact, kind_of, pack
from edge.core.facts import OnHandChanged
from edge.core.instant import US_PER_S, Instant
from edge.core.observation import Advert, CellSamples, DeviceState, DeviceStatus, DoorCrossing, Observation, TagReads
from edge.core.site import load_site
from edge.store_engine import make_engine
from firmware_sim.scenario import SCENARIOS, Scenario
from firmware_sim.world import World
from tests.sim.demo_calibration import calibrations

STEP_US = US_PER_S
AHEAD_US = 8 * STEP_US
SETTLE_US = 120 * US_PER_S
START_WALL_US = 1_790_000_000 * US_PER_S


def instant(mono_us: int) -> Instant:
    """Virtual time: the wall clock is right from the start."""
    return Instant(mono_us, START_WALL_US + mono_us)


@dataclass(frozen=True, slots=True)
class Sensed:
    """Columns in time order; step k has the rows from ``edges[k]`` to ``edges[k + 1]``."""

    columns: tuple[NDArray[Any], ...]
    edges: list[int]


class Ahead:
    """What every sensor senses from `since_us` until `until_us`: the world does not hear the gateway, so it may be
    asked for several steps at once. The observations are those of asking step by step, however far it looks.
    """

    def __init__(self, world: World, since_us: int, until_us: int) -> None:
        self.since_us, self.until_us = since_us, until_us
        noted = world.log_total
        world.advance_to(until_us)
        self._steps_us = np.arange(since_us, until_us + 1, STEP_US)
        self.reads = {reader.device: self._reads(world, reader.device) for reader in world.layout.readers}
        self.samples = {mcu.device: self._samples(world, mcu.device) for mcu in world.layout.mcus}
        key_of = {beacon.id: beacon_key(beacon) for beacon in world.layout.beacons}
        moments: list[Advert | DoorCrossing] = [
            Advert(scanner.device, heard.t_us, key_of[heard.beacon.id], heard.rssi_dbm)
            for scanner in world.layout.scanners
            for heard in world.adverts_between(scanner.device, since_us, until_us)
        ]
        news = list(world.log)[-(world.log_total - noted) :] if world.log_total > noted else []
        moments += [
            DoorCrossing(event["door"], event["t_us"], event["direction"], 1.0, event["t_us"])
            for event in news
            if event["kind"] == "crossing"
        ]
        self.moments = deque(sorted(moments, key=lambda moment: moment.mono_us))

    def _reads(self, world: World, device: str) -> Sensed:
        reads = world.reads_between(device, self.since_us, self.until_us)
        port, rssi_cdbm = reads.port.astype(np.uint16), reads.rssi_cdbm.astype(np.int16)
        count = np.ones(len(reads.tag), np.uint16)
        columns = (world.epcs[reads.tag], port, rssi_cdbm, reads.t_us, count)
        return Sensed(columns, reads.t_us.searchsorted(self._steps_us).tolist())

    def _samples(self, world: World, device: str) -> Sensed:
        t_us, counts = world.cell_samples_between(device, self.since_us, self.until_us)
        return Sensed((t_us, counts.astype(np.int32)), t_us.searchsorted(self._steps_us).tolist())


class Tier1:
    """One virtual store and its engine."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.facts: list[tuple[int, Fact]] = []
        self.said: dict[str, object] = {}
        self.observations = 0
        self.carried: Counter[str] = Counter()
        """What the observations held: tag reads, cell samples, adverts, crossings."""
        self.now_us = 0
        self.down: set[str] = set()
        self.site = load_site(scenario.site)
        self.engine = make_engine(self.site, calibrations(scenario.world))
        self._end_us = 0
        self._ahead = Ahead(scenario.world, 0, 0)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        for device in self.devices():
            self.feed(DeviceStatus(device, 0, DeviceState.ONLINE))
        self.at(STEP_US, self._step)

    def devices(self) -> list[str]:
        """Every device of the planogram."""
        lanes = {cell.device for lane in self.site.lanes for cell in lane.cells}
        others = [d.device for d in (*self.site.readers, *self.site.scanners, *self.site.doors)]
        return sorted(lanes | set(others))

    def feed(self, observation: Observation) -> None:
        """Hand one observation to the engine."""
        self.observations += 1
        self.take(self.engine.handle(observation, instant(self.now_us)))

    def take(self, facts: list[Fact]) -> None:
        """Keep facts and the state they changed, as the journal would."""
        if not facts:
            return  # what changed without a fact is written with the next one, at the latest at the step's end
        self.facts += [(self.now_us, fact) for fact in facts]
        self._keep()

    def _keep(self) -> None:
        for key, value in self.engine.drain_said().items():
            if value is None:
                self.said.pop(key, None)
            else:
                self.said[key] = value

    def at(self, t_us: int, action: Callable[[], None]) -> None:
        """Do something at a moment of virtual time (a fault, a command)."""
        heapq.heappush(self._heap, (t_us, len(self._heap), action))

    def run_until(self, end_us: int) -> None:
        """Let the store live until `end_us`, a whole step; its world is then there too, and no further."""
        if end_us % STEP_US:
            raise ValueError(f"end_us = {end_us}: expected a multiple of {STEP_US}")
        self._end_us = end_us
        self._look_ahead()
        while self._heap and self._heap[0][0] <= end_us:
            due_us, _, action = heapq.heappop(self._heap)
            self._hear(due_us)
            self._tick(due_us)
            action()
            self._tick(due_us)
        self.now_us = end_us

    def _tick(self, until_us: int) -> None:
        self.now_us = max(self.now_us, until_us)
        deadline_us = self.engine.next_deadline()
        if deadline_us is not None and deadline_us <= until_us:
            self.take(self.engine.tick(instant(until_us)))

    def _step(self) -> None:
        self._sense(self.now_us - STEP_US, self.now_us)
        self._keep()
        self._look_ahead()
        self.at(self.now_us + STEP_US, self._step)

    def _look_ahead(self) -> None:
        since_us = self._ahead.until_us
        if since_us <= self.now_us and since_us < self._end_us:
            self._ahead = Ahead(self.scenario.world, since_us, min(since_us + AHEAD_US, self._end_us))

    def _hear(self, until_us: int) -> None:
        """What happens by itself: each at its own time."""
        moments = self._ahead.moments
        while moments and moments[0].mono_us <= until_us:
            moment = moments.popleft()
            self.carried["adverts" if isinstance(moment, Advert) else "crossings"] += 1
            self.now_us = moment.mono_us
            self.feed(moment)

    def _sense(self, t0_us: int, t1_us: int) -> None:
        ahead, step = self._ahead, (t0_us - self._ahead.since_us) // STEP_US
        for device, reads in ahead.reads.items():
            low, high = reads.edges[step : step + 2]
            if low < high and device not in self.down:
                self.carried["reads"] += high - low
                self.feed(TagReads(device, self.now_us, *(column[low:high] for column in reads.columns)))
        for device, samples in ahead.samples.items():
            low, high = samples.edges[step : step + 2]
            if low < high:
                t_us, counts = samples.columns
                self.carried["samples"] += counts[low:high].size
                self.feed(CellSamples(device, t1_us, t_us[low:high], counts[low:high]))

    # --- results ----------------------------------------------------------------------------------------------------

    def trace_hash(self) -> str:
        """SHA-256 over every fact in order."""
        digest = hashlib.sha256()
        for at_us, fact in self.facts:
            digest.update(f"{at_us} {kind_of(type(fact))} {fact.at_us} ".encode() + pack(fact))
        return digest.hexdigest()

    def on_hand(self) -> dict[tuple[str, str], int]:
        """(shelf, GTIN) → the last count that was said."""
        last: dict[tuple[str, str], int] = {}
        for _, fact in self.facts:
            if isinstance(fact, OnHandChanged):
                last[fact.shelf, fact.gtin] = fact.on_hand
        return last

    def mismatches(self) -> list[tuple[str, str, int, int]]:
        """(shelf, GTIN, truth, said) wherever they differ."""
        said, truth = self.on_hand(), self.scenario.world.on_hand()
        pairs = sorted(said.keys() | truth.keys())
        return [(s, g, truth.get((s, g), 0), said.get((s, g), 0)) for s, g in pairs
                if truth.get((s, g), 0) != said.get((s, g), 0)]  # fmt: skip


def beacon_key(beacon: object) -> str:
    """The canonical identity of a simulated beacon's advertisement."""
    return f"ibeacon:{beacon.uuid.lower()}:{beacon.major}:{beacon.minor}"  # type: ignore[attr-defined]


def run_tier1(name: str, seed: int, seconds: float, settle_us: int = SETTLE_US) -> Tier1:
    """A scenario to its end, and until it has settled."""
    tier = Tier1(SCENARIOS[name](seed, seconds, 400, True))
    tier.run_until(int(seconds * US_PER_S) + settle_us)
    return tier
