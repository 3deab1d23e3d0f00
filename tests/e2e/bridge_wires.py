"""Real brokers, real paho, real files: a store's uplink in a loop for the end-to-end tests and the benchmarks."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloud_bridge.announcements import Announcements
from cloud_bridge.contract.envelope import EnvelopeRenderer
from cloud_bridge.contract.epcis import Places
from cloud_bridge.contract.topics import Topics
from cloud_bridge.ingest.broker import Broker, mosquitto_broker, mosquitto_program, nats_broker
from cloud_bridge.ingest.platform import Platform, PlatformSettings
from cloud_bridge.paho_client import PahoLinks
from cloud_bridge.settings import UplinkSettings
from cloud_bridge.uplink import Uplink, UplinkPorts
from edge.core import facts
from edge.core.fact import Fact
from edge.core.instant import Instant, TimeQuality
from edge.core.ports import Commit
from edge.journal import Journal, JournalSettings, ThreadWriter
from edge.journal.log import open_store
from tests.bridge_support import FakeView

EPOCH_WALL_US = 1_790_000_000_000_000


class MonotonicClock:
    """A `Clock` by the loop's time (the machine's monotonic clock)."""

    def __init__(self, boot: int) -> None:
        self.boot = boot

    def now(self) -> Instant:
        mono_us = round(asyncio.get_running_loop().time() * 1e6)
        return Instant(mono_us, EPOCH_WALL_US + mono_us, TimeQuality.SYNCED)


def change(number: int, at_us: int) -> Fact:
    return facts.OnHandChanged(
        at_us=at_us, gtin=f"0401234500{number % 400:04d}", shelf=f"shelf-{number % 40}", on_hand=number % 30, low=0, high=30,
        confidence=0.93, sources=["rfid", "weight"], reason="picked",
    )  # fmt: skip


@dataclass
class WiredStore:
    journal: Journal
    uplink: Uplink
    view: FakeView
    clock: MonotonicClock

    def add(self, count: int) -> asyncio.Future[int]:
        now = self.clock.now()
        return self.journal.append(Commit([(change(n, now.mono_us), now) for n in range(count)]), now)


@contextlib.asynccontextmanager
async def wired_store(
    folder: Path, settings: UplinkSettings, *, name: str = "s1", tenant: str = "t1", running: bool = True
) -> AsyncIterator[WiredStore]:
    """A journal (FULL, own writer thread) and its uplink."""
    journal_settings = JournalSettings(path=str(folder / f"{name}.db"), pending_limit=10**7)
    store, kept = open_store(journal_settings)
    journal = Journal(store, ThreadWriter(), journal_settings, kept.boot, _fatal)
    clock, view, rng = MonotonicClock(kept.boot), FakeView(), random.Random()

    def record(fact: Fact) -> None:
        journal.append(Commit([(fact, clock.now())]), clock.now())

    renderer = EnvelopeRenderer(Places("urn:epc:id:sgln:4012345.00001.0", {}), "Asia/Tokyo", journal.epoch)
    ports = UplinkPorts(journal, view, clock, renderer, PahoLinks(settings), record, lambda suffix, payload: None, rng)
    says = Announcements(clock, "0.1.0", list, f"{rng.getrandbits(64):016x}")
    uplink = Uplink(Topics(tenant, name), settings, ports, says)
    wired = WiredStore(journal, uplink, view, clock)
    task = asyncio.create_task(uplink.run()) if running else None
    try:
        yield wired
    finally:
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await journal.close()


@contextlib.asynccontextmanager
async def wired_platform(folder: Path, hosts: tuple[str, ...], **changes: object) -> AsyncIterator[Platform]:
    fields = {"database": str(folder / "platform.db"), "key_file": str(folder / "platform.key"), **changes}
    platform = Platform(PlatformSettings(hosts, **fields))
    task = asyncio.create_task(platform.run())
    try:
        async with asyncio.timeout(15):
            await platform.ready.wait()
        yield platform
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def keys_of(platform: Platform) -> dict[str, str]:
    return {platform.settings.key_name: base64.b64encode(platform.signer.public_key).decode()}


def make_broker(kind: str, folder: Path, port: int = 0, *, persistent: bool = False) -> Broker:
    if kind == "nats":
        return nats_broker(folder / "nats", mqtt_port=port)
    if mosquitto_program() is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    return mosquitto_broker(folder / "mosquitto", port=port, persistent=persistent)


async def until(condition: Callable[[], bool], limit_s: float = 30.0) -> float:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while not condition():
        assert loop.time() - began_s < limit_s, "the condition never came true"
        await asyncio.sleep(0.005)
    return loop.time() - began_s


class SilentServer:
    """Accepts TCP and says nothing."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()


def _fatal(error: Exception) -> None:
    raise AssertionError(error)
