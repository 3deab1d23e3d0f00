"""The twin over a real broker: a platform desires, a gateway applies, proves itself, reports, or goes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloud_bridge.contract.signed import sign
from cloud_bridge.contract.topics import Topics
from cloud_bridge.ingest.broker import Broker, free_port, nats_broker
from cloud_bridge.ingest.platform import Platform
from cloud_bridge.paho_client import PahoLinks
from cloud_bridge.settings import UplinkSettings
from edge.bridge import Bridge, Gateway, make_bridge
from edge.configuration import Trial
from edge.core.errors import SettingsError
from edge.core.ports import Message
from edge.core.site import load_site
from edge.journal import Store
from tests.e2e.bridge_wires import keys_of, until, wired_platform
from tests.unit.api_support import RICE, SITE, TEA, Bench, gateway

TOPICS = Topics("t-1", "s-1")


class Updates:
    """A `Rollout` that only remembers."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}

    def wanted(self) -> Mapping[str, str]:
        return self.versions

    def check(self, versions: Mapping[str, str]) -> None:
        if unknown := sorted(set(versions) - {"gateway", "footfall"}):
            raise SettingsError("twin/desired", "versions", unknown[0], "gateway or footfall")

    async def want(self, versions: Mapping[str, str]) -> None:
        self.versions = dict(versions)


@dataclass
class Scene:
    """A gateway's bridge, the platform, and what the platform heard of the twin."""

    broker: Broker
    platform: Platform
    bench: Bench
    bridge: Bridge
    updates: Updates
    reports: list[dict[str, Any]] = field(default_factory=list)

    def desire(self, version: int, config: dict[str, Any]) -> None:
        topic = TOPICS.of("twin/desired")
        body = sign(topic, {"version": version, "config": config}, self.platform.signer, "platform-1")
        self.platform.say(Message(topic, body, retain=True))

    async def reported(self, desired: int) -> dict[str, Any]:
        await until(lambda: bool(self.reports) and self.reports[-1].get("desired") == desired, 60)
        return self.reports[-1]


@contextlib.asynccontextmanager
async def scene(folder: Path, store: Store, broker: Broker) -> AsyncIterator[Scene]:
    async with wired_platform(folder, (broker.address,)) as platform, gateway(store=store, claimed=False) as bench:
        updates = Updates()
        served = Gateway(bench.services.runtime, bench.services.installation, updates, Trial(2.0, 0.2))
        settings = UplinkSettings(hosts=(broker.address,), platform_keys=keys_of(platform), backoff_most_s=0.3)
        bridge = make_bridge(served, load_site(SITE), settings, "0")
        assert bridge is not None
        at = Scene(broker, platform, bench, bridge, updates)
        heard = platform.received

        def listen(message: Message) -> None:
            if message.topic.endswith("twin/reported") and message.payload:
                at.reports.append(json.loads(message.payload))
            heard(message)

        platform.received = listen  # type: ignore[method-assign]
        task = asyncio.create_task(bridge.run())
        try:
            await until(lambda: bridge.uplink.status.connected, 60)
            yield at
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def test_the_twin_is_applied_proven_reverted_and_refused(tmp_path: Path) -> None:
    policy = {"gtin": TEA, "policy": "min_max", "minimum": 2, "maximum": 9}
    offer = {"id": "p-1", "zone": "z-1", "gtins": [TEA], "title": "Tea"}

    async def main() -> None:
        store = Store(None)
        async with nats_broker(tmp_path / "nats") as broker:
            async with scene(tmp_path, store, broker) as at:
                parts = at.bench.services.runtime.engine.parts
                wish = {
                    "uplink": {"rate_per_s": 500, "state_delay_s": 0.5},
                    "reorder_policies": [policy],
                    "promotions": [offer],
                    "versions": {"gateway": "1.4.0"},
                }
                at.desire(1, wish)
                assert await at.reported(1) == {"version": 1, "status": "applied", "error": "", "desired": 1}
                assert at.bridge.uplink.settings.rate_per_s == 500
                assert [row["gtin"] for row in parts.reorder.policies()] == [TEA]
                await until(lambda: at.updates.versions == {"gateway": "1.4.0"}, 60)

                site = json.loads(json.dumps(at.bench.services.installation.site_document()))
                site["store"]["name"] = "Elsewhere"
                moved = {"planogram": site, "uplink": {"hosts": [f"mqtt://127.0.0.1:{free_port()}"]}}
                at.desire(2, moved | {"reorder_policies": [policy | {"gtin": RICE}]})
                told = await at.reported(2)
                assert (told["version"], told["status"]) == (1, "reverted"), told
                assert "uplink not connected after 2 s" in told["error"]
                assert at.bench.services.site.store.name == SITE["store"]["name"]
                assert at.bridge.uplink.settings.rate_per_s == 500
                assert [row["gtin"] for row in parts.reorder.policies()] == [TEA]

                for version, config, named in (
                    (3, {"lights": True}, "lights"),
                    (4, {"uplink": {"rate_per_s": -1}}, "rate_per_s"),
                    (5, {"promotions": [], "rules": [{"id": "r"}]}, "rules"),
                    (6, {"planogram": site | {"store": site["store"] | {"id": "s-2"}}}, "s-2"),
                    (7, {"versions": {"toaster": "2"}}, "toaster"),
                    (8, {"uplink": {"hosts": []}}, "hosts"),
                ):
                    at.desire(version, config)
                    told = await at.reported(version)
                    assert (told["version"], told["status"]) == (1, "refused")
                    assert named in told["error"]
                assert [row["id"] for row in parts.promotions.rows()] == ["p-1"], "what came before the fault is undone"
            async with scene(tmp_path, store, broker) as at:
                assert at.bridge.uplink.settings.rate_per_s == 500, "the configuration survives a restart"

    asyncio.run(main())


def test_hosts_cannot_be_made_less_secure_from_afar() -> None:
    async def main() -> None:
        async with gateway() as bench:
            served = Gateway(bench.services.runtime, bench.services.installation)
            settings = UplinkSettings(hosts=("mqtts://127.0.0.1:8883",))
            bridge = make_bridge(served, load_site(SITE), settings, "0")
            assert bridge is not None
            assert isinstance(bridge.uplink._ports.link_factory, PahoLinks)
            configuration = bridge.twin._ports.configuration
            with contextlib.suppress(SettingsError):
                await configuration.apply({"uplink": {"hosts": ["mqtt://127.0.0.1:1883"]}})
                raise AssertionError("a plain connection was accepted")
            await configuration.apply({"uplink": {"hosts": ["wss://127.0.0.1:443"]}})
            assert bridge.uplink.settings.hosts == ("wss://127.0.0.1:443",)

    asyncio.run(main())
