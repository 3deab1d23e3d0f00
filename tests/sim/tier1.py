"""Tier 1: the engine alone on a heap scheduler, fed by the simulated store without wires: thousands of store hours.

Observations arrive as a gateway would get them (tag reads a reader and half second, samples a controller and half
second, one advertisement each); the engine's own deadlines are kept in between. The door's crossings come from the
world (the network is judged elsewhere). The same seed gives the same trace, whatever PYTHONHASHSEED.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable

import numpy as np

from edge.core.fact import Fact, kind_of, pack
from edge.core.facts import OnHandChanged
from edge.core.instant import US_PER_S, Instant
from edge.core.observation import Advert, CellSamples, DeviceState, DeviceStatus, DoorCrossing, Observation, TagReads
from edge.core.site import load_site
from edge.store_engine import make_engine
from firmware_sim.scenario import SCENARIOS, Scenario
from tests.sim.demo_calibration import calibrations

STEP_US = US_PER_S // 2
SETTLE_US = 120 * US_PER_S
START_WALL_US = 1_790_000_000 * US_PER_S


def instant(mono_us: int) -> Instant:
    """Virtual time: the wall clock is right from the start."""
    return Instant(mono_us, START_WALL_US + mono_us)


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
        self._crossed = {door.device: (0, 0) for door in scenario.world.layout.doors}
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
        """Let the store live until `end_us`."""
        while self._heap and self._heap[0][0] <= end_us:
            due_us, _, action = heapq.heappop(self._heap)
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
        self.at(self.now_us + STEP_US, self._step)

    def _sense(self, t0_us: int, t1_us: int) -> None:
        world = self.scenario.world
        world.advance_to(t1_us)
        for reader in world.layout.readers:
            if reader.device in self.down:
                continue
            reads = world.reads_between(reader.device, t0_us, t1_us)
            if len(reads.tag):
                self.carried["reads"] += len(reads.tag)
                self.feed(self._tag_reads(reader.device, reads))
        for mcu in world.layout.mcus:
            times, counts = world.cell_samples_between(mcu.device, t0_us, t1_us)
            if len(times):
                self.carried["samples"] += counts.size
                self.feed(CellSamples(mcu.device, t1_us, times, counts.astype(np.int32)))
        for scanner in world.layout.scanners:
            for advert in world.adverts_between(scanner.device, t0_us, t1_us):
                self.carried["adverts"] += 1
                self.feed(Advert(scanner.device, t1_us, beacon_key(advert.beacon), advert.rssi_dbm))
        for door, counts in world.crossings.items():
            self._cross(door, counts["in"], counts["out"])

    def _tag_reads(self, device: str, reads: object) -> TagReads:
        tag, port = reads.tag, reads.port  # type: ignore[attr-defined]
        epc = self.scenario.world.epcs[tag]
        return TagReads(
            device, self.now_us, epc, port.astype(np.uint16),
            reads.rssi_cdbm.astype(np.int16), reads.t_us, np.ones(len(tag), np.uint16),  # type: ignore[attr-defined]
        )  # fmt: skip

    def _cross(self, door: str, entered: int, left: int) -> None:
        known_in, known_out = self._crossed[door]
        for direction, more in (("in", entered - known_in), ("out", left - known_out)):
            for _ in range(more):
                self.feed(DoorCrossing(door, self.now_us, direction, 1.0, self.now_us))
        self._crossed[door] = (entered, left)

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
