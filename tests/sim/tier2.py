"""Tier 2: the whole gateway on a virtual-time loop: drivers, supervisor, journal, runtime, uplink and the platform's
consumer, over in-memory links with seeded faults. Same seed, same trace.

Real: every codec, session, driver, the engine, SQLite (inline writer, in memory), the uplink, the consumer. Played:
wires, broker, time. A local Bluetooth adapter is a remote scanner here (bleak needs a real D-Bus; tier 3 has one).
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from cloud_bridge.announcements import Announcements
from cloud_bridge.contract.envelope import EnvelopeRenderer
from cloud_bridge.contract.epcis import Places
from cloud_bridge.contract.topics import Topics
from cloud_bridge.settings import UplinkSettings
from cloud_bridge.uplink import UplinkPorts
from devices.driver import DriverContext
from devices.registry import driver_info
from devices.transport import SimLinks, open_stream
from devices.transport.stream import ByteStream
from edge.bridge import Bridge, Gateway
from edge.core.errors import JournalError, LinkLost
from edge.core.fact import Fact, kind_of
from edge.core.plain import build
from edge.core.site import load_site
from edge.health import DeviceHealth, Health
from edge.installation import Installation
from edge.journal import InlineWriter, Journal, JournalSettings, Store
from edge.journal.log import begin_boot
from edge.runtime import Runtime
from edge.store_engine import make_engine
from edge.supervisor import Supervised, Supervisor
from firmware_sim.clock import SimClock
from firmware_sim.roster import StoreDevice, store_devices
from firmware_sim.scenario import SCENARIOS
from firmware_sim.stream import memory_pipe
from models.inference import DoorInference
from models.runner import FootfallRunner
from tests.bridge_support import PLATFORM_KEYS, STARTED_US, LoopClock, MemoryBroker, PlatformEnd
from tests.sim.demo_calibration import calibrations

QUEUES_MOST = {"observations": 1_000, "frames": 100, "facts": 1_000}
Wrap = Callable[[str, Any], Any]
"""Puts faults between a role and its end of the link: (device id, role's stream) → stream."""


class GatewayEnd:
    """The gateway's end of an in-memory link, as a stream of `devices.transport`."""

    def __init__(self, name: str, pipe: Any) -> None:
        self._name, self._pipe = name, pipe

    async def read(self, max_bytes: int = 65536) -> bytes:
        data: bytes = await self._pipe.read(max_bytes)
        if not data:
            raise LinkLost(self._name, "the simulated link was closed")
        return data

    async def write(self, data: bytes) -> None:
        try:
            await self._pipe.write(data)
        except ConnectionError:
            raise LinkLost(self._name, "the simulated link was closed") from None

    async def close(self) -> None:
        await self._pipe.close()


class Roles:
    """The simulated devices, each behind ``sim:{id}``: opening the link starts the role on its other end."""

    def __init__(self, devices: list[StoreDevice], wrap: Wrap) -> None:
        self.devices = devices
        self.links = SimLinks()
        self.unplugged: set[str] = set()
        self._wrap = wrap
        self._playing: dict[str, asyncio.Task[None]] = {}
        for device in devices:
            self.links.register(device.id, functools.partial(self._open, device))

    async def _open(self, device: StoreDevice) -> ByteStream:
        if device.id in self.unplugged:
            raise LinkLost(device.id, "unplugged")
        ours, theirs = memory_pipe()
        before = self._playing.get(device.id)
        if before is not None:
            before.cancel()
        self._playing[device.id] = asyncio.create_task(device.serve(self._wrap(device.id, theirs)))
        return GatewayEnd(device.id, ours)

    async def stop(self) -> None:
        for task in self._playing.values():
            task.cancel()
        await asyncio.gather(*self._playing.values(), return_exceptions=True)


class Tier2:
    """A virtual store, its gateway and its platform in one loop. Make it inside the running loop."""

    def __init__(self, name: str, seed: int, seconds: float, wrap: Wrap = lambda _, stream: stream) -> None:
        self.clock = LoopClock()
        self.scenario = SCENARIOS[name](seed, seconds, 400, False)
        self.site = load_site(self.scenario.site)
        self.rng = random.Random(seed)
        sim_clock = SimClock()
        now_us = functools.partial(int, STARTED_US)
        self.roles = Roles(store_devices(self.scenario.world, sim_clock, now_us), wrap)
        self.calibrations = calibrations(self.scenario.world)
        self.store = Store(None)
        self.broker = MemoryBroker()
        self.platform = PlatformEnd(self.broker)
        self.runner = FootfallRunner()
        self.most_waiting: dict[str, int] = {}
        self.sim_clock = sim_clock
        self._boot()

    def _boot(self) -> None:
        """A start of the gateway over what the journal holds."""
        kept = begin_boot(self.store)
        self.clock.boot = kept.boot
        self.journal = Journal(self.store, InlineWriter(), JournalSettings(), kept.boot, self._fatal)
        self.health = Health(lambda: self.clock.now().mono_us)
        self.engine = make_engine(self.site, self.calibrations)
        self.engine.restore(kept.said, kept.internals, self.clock.now())
        self.runtime = Runtime(self.engine, self.journal, self.clock, self.health)
        self.supervisor = Supervisor(self.runtime.emit, lambda: self.clock.now().mono_us, self.rng)
        self.bridge = self._make_bridge()
        self.uplink = self.bridge.uplink

    def _make_bridge(self) -> Bridge:
        settings = UplinkSettings(hosts=("mqtt://a:1883",), platform_keys=PLATFORM_KEYS)
        store = self.site.store
        renderer = EnvelopeRenderer(Places(store.sgln, {}), store.timezone, self.journal.epoch)
        record: Callable[[Fact], Any] = self.runtime.tell
        ports = UplinkPorts(
            self.journal, self.runtime.view, self.clock, renderer, self.broker.link, record, lambda *_: None, self.rng
        )
        devices = [device.id for device in self.roles.devices]
        says = Announcements(self.clock, "0.1.0", lambda: devices, f"{self.rng.getrandbits(64):016x}")
        gateway = Gateway(self.runtime, Installation(self.runtime, self.supervisor, (), lambda: True))
        return Bridge(gateway, Topics(store.tenant, store.id), settings, ports, says)

    @staticmethod
    def _fatal(error: JournalError) -> None:
        raise AssertionError(error)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def run(self, seconds: float) -> None:
        """Let gateway and store live for so long, then stop the gateway (its journal stays)."""
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(self.runtime.run()),
                group.create_task(self.runtime.infer(self._inference())),
                group.create_task(self.bridge.run()),
                group.create_task(self.platform.consumer.run()),
                group.create_task(self._watch_queues()),
            ]
            for device in self.roles.devices:
                self._supervise(group, device)
            await asyncio.sleep(seconds)
            await self.supervisor.stop_all()
            for task in background:
                task.cancel()
        await self.roles.stop()

    async def _watch_queues(self) -> None:
        while True:
            waiting = {
                "observations": self.runtime.observations_waiting,
                "frames": self.runtime.frames_waiting,
                "facts": self.journal.pending,
            }
            self.most_waiting = {name: max(n, self.most_waiting.get(name, 0)) for name, n in waiting.items()}
            await asyncio.sleep(0.5)

    def _inference(self) -> DoorInference:
        inward = {door.device: door.inward for door in self.site.doors}
        return DoorInference(inward.__getitem__, self.runner)

    def _supervise(self, group: asyncio.TaskGroup, device: StoreDevice) -> None:
        info = driver_info(device.kind)
        key = "moniker" if device.kind.startswith("rfid") else "link"
        settings = build(info.settings, {key: f"sim:{device.id}"})
        counters: dict[str, int] = {}
        opener = functools.partial(open_stream, sim_links=self.roles.links)
        context = DriverContext(device.id, lambda: self.clock.now().mono_us, opener, counters)
        self.health.devices[device.id] = DeviceHealth(device.kind, counters=counters)
        self.supervisor.start(group, Supervised(device.id, functools.partial(info.open, context, settings)))

    def open_shop(self) -> None:
        """Shoppers may come."""
        self.scenario.world.advance_to(self.sim_clock.now_us())
        self.scenario.open()

    # --- results ------------------------------------------------------------------------------------------------------

    def trace_hash(self) -> str:
        """SHA-256 over every committed fact."""
        digest = hashlib.sha256()
        for stored in self.journal.read(1, 1_000_000):
            head = f"{stored.seq} {stored.boot} {stored.mono_us} {kind_of(stored.type)} "
            digest.update(head.encode() + stored.body)
        return digest.hexdigest()

    def unaccounted(self) -> dict[str, dict[str, int]]:
        """Counters of devices of which a byte went nowhere: in = accepted + rejected + skipped + buffered."""
        wrong = {}
        for name, device in self.health.devices.items():
            counts = Counter(device.counters)
            ends = sum(counts[f"bytes_{end}"] for end in ("accepted", "rejected", "skipped", "buffered"))
            if counts["bytes_in"] != ends or not counts["bytes_in"]:
                wrong[name] = dict(counts)
        return wrong

    def overfull(self) -> dict[str, int]:
        """Queues that grew beyond what this store can explain (it fills some dozens), and what was dropped from one."""
        grown = {name: n for name, n in self.most_waiting.items() if n > QUEUES_MOST[name]}
        dropped = {name: n for name, n in self.health.counters.items() if name.endswith(("_dropped", "_refused"))}
        return grown | dropped

    async def platform_stock(self) -> dict[tuple[str, str], int]:
        """(shelf, GTIN) → count at the platform."""
        await self.platform.consumer.flush()
        rows = self.platform.store._open.execute("SELECT shelf, gtin, on_hand FROM stock")
        return {(shelf, gtin): count for shelf, gtin, count in rows}
