"""The composition root's share of the bridge: uplink, downlink and twin over this gateway's journal, view and clock."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from dataclasses import dataclass, field, replace
from typing import Any

from cloud_bridge.announcements import Announcements
from cloud_bridge.contract.topics import Topics
from cloud_bridge.downlink import Downlink, DownlinkPorts
from cloud_bridge.paho_client import PahoLinks
from cloud_bridge.settings import FILES, UplinkSettings
from cloud_bridge.twin import Twin, TwinPorts
from cloud_bridge.uplink import Uplink, UplinkPorts
from edge.configuration import GatewayConfiguration, Trial
from edge.core.fact import Fact
from edge.core.ports import Rollout
from edge.core.site import Site
from edge.installation import Installation
from edge.journal import Journal
from edge.planned_places import PlannedPlaces
from edge.remote import RemoteCommands
from edge.runtime import Runtime
from edge.settings import SettingsFile

FAREWELL_S, FAREWELL_LONGEST_S = 3.0, 10.0  # from the platform's last word on; in all


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the bridge serves. `rollout` takes the versions that the twin wants, where this gateway updates itself.

    `instance` is this start of the process, the same in all births of a boot, also where enrolment makes a new bridge.
    """

    runtime: Runtime
    installation: Installation
    rollout: Rollout | None = None
    trial: Trial = field(default_factory=Trial)
    instance: str = field(default_factory=lambda: secrets.token_hex(8))


class Bridge:
    """The running bridge: facts up, commands and configurations down."""

    def __init__(
        self, gateway: Gateway, topics: Topics, settings: UplinkSettings, ports: UplinkPorts, says: Announcements
    ) -> None:
        runtime = gateway.runtime
        self.uplink = Uplink(topics, settings, replace(ports, received=self._received), says)
        handler = RemoteCommands(runtime, gateway.installation, gateway.rollout)
        down = DownlinkPorts(runtime.journal, runtime.clock, self.uplink.keys, handler, self.uplink.post, ports.record)
        self._downlink = Downlink(topics, down)
        configuration = GatewayConfiguration(runtime, gateway.installation, self.uplink, gateway.rollout, gateway.trial)
        twin = TwinPorts(
            runtime.journal, runtime.clock, self.uplink.keys, configuration, self.uplink.post, ports.record
        )
        self.twin = Twin(topics, twin)

    async def run(self) -> None:
        """Both directions, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.uplink.run())
            group.create_task(self._downlink.run())
            group.create_task(self.twin.run())

    def _received(self, suffix: str, payload: bytes) -> None:
        if suffix == "command":
            self._downlink.received(payload)
        elif suffix == "twin/desired":
            self.twin.received(payload)


def uplink_settings(file: SettingsFile) -> UplinkSettings:
    """``[uplink]`` with its files resolved. Raises SettingsError."""
    settings = file.section("uplink", UplinkSettings)
    found: dict[str, Any] = {
        name: str(file.resolve(getattr(settings, name))) for name in FILES if getattr(settings, name)
    }
    return replace(settings, **found)


def make_bridge(gateway: Gateway, site: Site, settings: UplinkSettings, version: str) -> Bridge | None:
    """The bridge, None where the settings name no broker."""
    runtime = gateway.runtime
    places = PlannedPlaces(runtime.journal, site)
    runtime.before_replan = places.use  # also while no broker is named: its facts are sent later
    if not settings.hosts:
        return None
    if not settings.client_id:
        settings = replace(settings, client_id=f"{site.store.tenant}-{site.store.id}")

    def record(fact: Fact) -> None:
        runtime.tell(fact)

    def devices() -> list[str]:
        return sorted(runtime.health.devices)

    ports = UplinkPorts(
        log=runtime.journal,
        view=runtime.view,
        clock=runtime.clock,
        renderer=places.renderer,
        link_factory=PahoLinks(settings),
        record=record,
        received=lambda suffix, payload: None,  # the bridge puts its downlink here
        rng=random.Random(),
    )
    says = Announcements(runtime.clock, version, devices, gateway.instance)
    return Bridge(gateway, Topics(site.store.tenant, site.store.id), settings, ports, says)


async def farewell(journal: Journal) -> None:
    """Until the platform has acknowledged everything, or has been silent for 3 s, or 10 s are over."""
    now_s, acked_seq = asyncio.get_running_loop().time, journal.acked_seq
    longest_s = now_s() + FAREWELL_LONGEST_S
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FAREWELL_S) as patience:
            while journal.acked_seq < journal.last_seq:
                if journal.acked_seq != acked_seq:
                    acked_seq = journal.acked_seq
                    patience.reschedule(min(longest_s, now_s() + FAREWELL_S))
                await asyncio.sleep(0.05)
