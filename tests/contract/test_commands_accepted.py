"""Every command's published example is accepted by the gateway that the contract describes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from cloud_bridge.contract.messages import COMMANDS, MESSAGES
from cloud_bridge.contract.topics import Topics
from cloud_bridge.downlink import Downlink, DownlinkPorts
from cloud_bridge.keys import KeyRing
from edge.configuration import GatewayConfiguration
from edge.core.ports import Command
from edge.installation import Installation
from edge.remote import RemoteCommands
from tests.unit.api_support import Bench, gateway

BEFORE = {"recount": (), "place_hold": ("recount",), "pick_hold": ("recount", "place_hold")}
BEFORE |= {"collect_hold": (*BEFORE["pick_hold"], "pick_hold"), "release_hold": BEFORE["pick_hold"]}


class Updates:
    def __init__(self) -> None:
        self.versions: dict[str, str] = {}

    def wanted(self) -> Mapping[str, str]:
        return self.versions

    def check(self, versions: Mapping[str, str]) -> None:
        assert all(versions.values())

    async def want(self, versions: Mapping[str, str]) -> None:
        self.versions = dict(versions)


class Blinking:
    def __init__(self) -> None:
        self.told: list[object] = []

    async def identify(self, duration_s: int) -> None:
        self.told.append(duration_s)

    async def configure(self, changes: Mapping[str, object]) -> None:
        self.told.append(dict(changes))


class OneDevice:
    """An installation whose only device is a driver of this test."""

    def __init__(self, real: Installation) -> None:
        self.real, self.blinking = real, Blinking()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def entries(self) -> dict[str, object]:
        return {"shelf-mcu-1": object()}

    def driver(self, device_id: str) -> Blinking:
        assert device_id == "shelf-mcu-1"
        return self.blinking


def handler(bench: Bench, updates: Updates | None) -> tuple[RemoteCommands, OneDevice]:
    devices = OneDevice(cast("Installation", bench.services.installation))
    return RemoteCommands(bench.services.runtime, cast("Installation", devices), updates), devices


SITE = COMMANDS["set_planogram"]["planogram"]


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"rotate_key"}))
def test_the_example_is_accepted(name: str) -> None:
    async def main() -> None:
        async with gateway(site=SITE, claimed=False) as bench:
            carry, devices = handler(bench, Updates())
            for before in BEFORE.get(name, ()):
                assert (await carry(Command(before, before, COMMANDS[before]))).status == "done"
            result = await carry(Command("c-1", name, COMMANDS[name]))
            assert result.status == ("accepted" if name.startswith("update_") else "done"), result
            if name in ("identify_device", "set_sample_rate"):
                assert devices.blinking.told in ([30], [{"sample_rate_hz": 20}])

    asyncio.run(main())


def test_the_example_of_a_key_is_accepted() -> None:
    async def main() -> None:
        async with gateway(site=SITE, claimed=False) as bench:
            runtime, keys = bench.services.runtime, KeyRing({})
            ports = DownlinkPorts(runtime.journal, runtime.clock, keys, runtime.execute, lambda *_, **__: None, print)
            result = await Downlink(Topics("t1", "s1"), ports)._rotate_key(
                Command("c", "rotate_key", COMMANDS["rotate_key"])
            )
            assert result.status == "done"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "args", "named"),
    [
        ("set_planogram", {}, "planogram"),
        ("set_planogram", {"planogram": SITE | {"store": SITE["store"] | {"id": "s2"}}}, "t1/s1"),
        ("identify_device", {"device": "toaster", "duration_s": 5}, "shelf-mcu-1"),
        ("identify_device", {"device": "shelf-mcu-1", "duration_s": 10**9}, "duration_s"),
        ("set_sample_rate", {"device": "shelf-mcu-1", "sample_rate_hz": "fast"}, "sample_rate_hz"),
        ("update_software", {"target": "gateway"}, "target"),
    ],
)
def test_wrong_arguments_are_refused_by_name(name: str, args: dict[str, Any], named: str) -> None:
    async def main() -> None:
        async with gateway(site=SITE, claimed=False) as bench:
            result = await handler(bench, Updates())[0](Command("c-1", name, args))
            assert result.status == "rejected"
            assert named in result.detail

    asyncio.run(main())


def test_a_gateway_without_updates_says_so() -> None:
    async def main() -> None:
        async with gateway(site=SITE, claimed=False) as bench:
            result = await handler(bench, None)[0](Command("c-1", "update_software", {"target": "gateway-2"}))
            assert (result.status, result.reason) == ("rejected", "no_updates")

    asyncio.run(main())


def test_the_twins_example_is_one_that_a_gateway_takes() -> None:
    example = next(kind.example for kind in MESSAGES if kind.name == "twin-desired")

    async def main() -> None:
        async with gateway(site=SITE, claimed=False) as bench:
            from cloud_bridge.settings import UplinkSettings
            from edge.bridge import Gateway, make_bridge
            from edge.core.site import load_site

            served = Gateway(bench.services.runtime, cast("Installation", bench.services.installation))
            settings = UplinkSettings(hosts=("mqtt://127.0.0.1:1883",))
            bridge = make_bridge(served, load_site(SITE), settings, "0")
            assert bridge is not None
            configuration = GatewayConfiguration(served.runtime, served.installation, bridge.uplink)
            await configuration.apply(example["config"])
            assert bridge.uplink.settings.connect_every_s == 900

    asyncio.run(main())
