"""A gateway's API in this process: real runtime, journal in memory, no devices; people of every role."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from cloud_bridge.settings import UplinkSettings
from edge.access import Access, AccessDenied, Role
from edge.access.enrolment import Enrolment, EnrolmentPorts
from edge.access.gate import Person
from edge.api.app import create_app
from edge.api.services import Services
from edge.core.instant import US_PER_S, Instant, TimeQuality
from edge.core.site import load_site
from edge.discovery import Discovery
from edge.doors import Doors
from edge.health import Health
from edge.installation import Installation
from edge.jobs import Jobs
from edge.journal import InlineWriter, Journal, JournalSettings, Store, ThreadWriter
from edge.journal.log import begin_boot
from edge.logbook import Logbook
from edge.metrics import gateway_samples
from edge.network import Bus, MachineNetwork, NetworkUnmanaged
from edge.recordings import Recordings
from edge.runtime import Runtime
from edge.settings import ApiSettings
from edge.store_engine import make_engine
from edge.supervisor import Supervisor
from edge.updates.report import LAST, UpdateDesk
from edge.updates.settings import UpdatePaths
from edge.way_out import WayOut

PIN = "246810 go"
TEA, RICE = "04569951000003", "04569951000010"
SITE: dict[str, Any] = {
    "store": {
        "id": "s-1",
        "tenant": "t-1",
        "name": "青山店 <Aoyama>",
        "sgln": "urn:epc:id:sgln:4569951.00101.0",
        "timezone": "Asia/Tokyo",
        "hours": [["09:00", "21:00"]] * 7,
    },
    "zones": [{"id": "z-1", "name": "Food"}, {"id": "z-2", "name": "Entrance"}],
    "products": [
        {
            "gtin": TEA,
            "name": "Green tea",
            "unit_mass_g": 523.0,
            "category": "drinks",
            "price_minor": 150,
            "currency": "JPY",
        },
        {"gtin": RICE, "name": "Rice crackers <b>", "unit_mass_g": 118.0},
    ],
    "shelves": [
        {"id": "shelf-1", "zone": "z-1", "x_m": 1.0, "y_m": 2.0, "products": [TEA]},
        {"id": "shelf-2", "zone": "z-1", "x_m": 3.0, "y_m": 2.0, "products": [RICE]},
    ],
    "lanes": [{"id": "lane-1", "shelf": "shelf-1", "cells": [{"device": "mcu-1", "cell": 0}], "gtins": [TEA]}],
    "readers": [{"device": "reader-1", "antennas": [{"port": 1, "role": "shelf", "shelf": "shelf-1"}]}],
    "scanners": [],
    "beacons": [],
    "doors": [],
}


class HandClock:
    """Time that the test moves."""

    boot = 1

    def __init__(self) -> None:
        self.now_us = 1_000 * US_PER_S

    def now(self) -> Instant:
        return Instant(self.now_us, 1_790_000_000 * US_PER_S + self.now_us, TimeQuality.SYNCED)

    def advance(self, seconds: float) -> None:
        self.now_us += int(seconds * US_PER_S)


@dataclasses.dataclass
class Bench:
    """What a test has in its hands."""

    services: Services
    clock: HandClock
    app: Any
    tokens: dict[str, str]
    restarts: list[int] = dataclasses.field(default_factory=list)

    def client(self, role: str | None = "admin", **headers: str) -> httpx.AsyncClient:
        """Somebody of this role; None: nobody; "" in place of a token."""
        if role is not None:
            headers["Authorization"] = f"Bearer {self.tokens[role]}"
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)


@contextlib.asynccontextmanager
async def gateway(
    settings: ApiSettings | None = None,
    store: Store | None = None,
    *,
    claimed: bool = True,
    bus: Bus | None = None,
    site: dict[str, Any] | None = None,
    threaded: bool = False,
    updates: UpdatePaths | None = None,
) -> AsyncIterator[Bench]:
    """The whole API over a real runtime; `threaded`: the journal writes as in a store, in its own thread, by groups."""
    clock = HandClock()
    store = store or Store(None)
    kept = begin_boot(store)
    writer, pace = (
        (ThreadWriter(), JournalSettings()) if threaded else (InlineWriter(), JournalSettings(urgent_delay_s=0))
    )
    journal = Journal(store, writer, pace, kept.boot, _fail)
    health = Health(lambda: clock.now_us)
    runtime = Runtime(make_engine(load_site(site or SITE)), journal, clock, health)
    supervisor = Supervisor(runtime.emit, lambda: clock.now_us, random.Random(1))
    installation = Installation(runtime, supervisor, (), lambda: True)
    access = Access(journal, clock, runtime.tell)
    logbook = runtime.logbook = Logbook(clock.now, lambda line, level: None)
    journal.subscribe(logbook.committed)
    doors = Doors(runtime, Path("no-such-folder"))
    folder = tempfile.mkdtemp(prefix="smartstore-recordings-")
    restarts: list[int] = []
    services = Services(
        runtime=runtime,
        health=health,
        version="0",
        started_us=0,
        access=access,
        enrolment=Enrolment(enrolment_ports(journal, clock, access, installation.adopt)),
        jobs=Jobs(),
        installation=installation,
        discovery=Discovery(dict),
        settings=settings or ApiSettings(),
        uplink=lambda: "off",
        doors=doors,
        logbook=logbook,
        measures=lambda: gateway_samples(health, runtime, {"connected": 1}, {"connects": 3}),
        recordings=Recordings(Path(folder), installation),
        restart=lambda: restarts.append(clock.now_us),
        network=MachineNetwork(bus or NoBus(), journal),
        way_out=WayOut(journal, UplinkSettings, lambda: restarts.append(0)),
        updates=UpdateDesk(updates, lambda: journal.get(LAST)),
    )
    async with asyncio.TaskGroup() as group:
        installation.start(group)
        tokens = await people(access) if claimed else {}
        yield Bench(services, clock, create_app(services), tokens, restarts)
        await services.jobs.close()
        await supervisor.stop_all()
    doors.close()
    access.close()
    shutil.rmtree(folder, ignore_errors=True)


class NoBus:
    """A `Bus` on which nobody is."""

    async def call(self, service: str, path: str, member: str, signature: str = "", *body: Any) -> Any:
        raise NetworkUnmanaged(f"{service} cannot be asked: no bus")


class NoPlatform:
    """A `PlatformDoor` that leads nowhere."""

    def genuine(self, document: Mapping[str, Any], keys: Mapping[str, str]) -> bool:
        return False

    async def call(self, url: str, body: Mapping[str, str], ca: str) -> dict[str, Any]:
        raise AccessDenied("platform_unreachable", url)


def enrolment_ports(journal: Journal, clock: HandClock, access: Access, adopt: Any, **more: Any) -> EnrolmentPorts:
    fields = {"keyed": journal, "clock": clock, "audit": access.audit, "folder": Path("no-such-folder"), "adopt": adopt}
    fields |= {"door": NoPlatform(), "trusted": dict, "changed": lambda: None}
    return EnrolmentPorts(**fields | more)


async def people(access: Access) -> dict[str, str]:
    """Claim, and a token for each role."""
    tokens = {"admin": await access.claim(access.claim_code, "admin", PIN, "127.0.0.1")}
    boss = Person("admin", Role.ADMIN)
    for role in (Role.VIEWER, Role.STAFF, Role.TECHNICIAN):
        tokens[role.value] = await access.make_token(boss, role.value, role)
    return tokens


def _fail(error: BaseException) -> None:
    raise error


def run(test: Callable[..., Awaitable[None]], **settings: Any) -> None:
    """Run a test against a fresh gateway."""

    async def main() -> None:
        async with gateway(**settings) as bench:
            await test(bench)

    asyncio.run(main())
