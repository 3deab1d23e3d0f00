"""The network page's room: addresses, Wi-Fi and time over a real D-Bus; proxy and WebSocket of the way out."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cloud_bridge.settings import UplinkSettings
from edge.core.plain import PlainError
from edge.network import NTP_KEY, TRIAL_S, Address, MachineNetwork, NetworkRefused, NetworkUnmanaged, SystemBus
from edge.way_out import WayOut, with_websocket
from firmware_sim.private_bus import PrivateBus
from tests.unit.api_support import Bench, run
from tests.unit.network_manager import ROOT, FakeNetworkManager

needs_bus = pytest.mark.skipif(not shutil.which("dbus-daemon"), reason="dbus-daemon is missing: apt-get install dbus")


class Kept(dict[str, Any]):
    """Keyed values in memory."""

    async def put(self, key: str, value: Any) -> None:
        self[key] = value


def on_a_bus(
    monkeypatch: pytest.MonkeyPatch,
    test: Callable[[MachineNetwork, FakeNetworkManager, Kept], Awaitable[None]],
    folder: Path,
) -> None:
    async def main() -> None:
        async with PrivateBus(folder) as private:
            monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", private.address)
            manager, kept = FakeNetworkManager(), Kept()
            bus = await manager.serve(private.address)
            await test(MachineNetwork(SystemBus(), kept), manager, kept)
            bus.disconnect()

    asyncio.run(main())


@needs_bus
def test_an_address_is_tried_kept_and_taken_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def test(network: MachineNetwork, manager: FakeNetworkManager, kept: Kept) -> None:
        before = await network.state()
        assert (before["unmanaged"], before["trial"]) == ("", None)
        assert [row["name"] for row in before["interfaces"]] == ["eth0", "wlan0"]  # lo is nobody's business
        cable = before["interfaces"][0]
        assert (cable["addresses"], cable["method"], cable["up"]) == (["192.168.1.77/24"], "auto", True)

        wish = Address("manual", "10.9.0.20/16", "10.9.0.1", ("10.9.0.2",))
        await network.set_address("eth0", wish)
        assert manager.checkpoint_calls == [[[], TRIAL_S, 0x7]]
        now = await network.state()
        assert now["trial"]["what"] == "eth0 10.9.0.20/16"
        assert 0 < now["trial"]["left_s"] <= TRIAL_S
        assert now["interfaces"][0]["addresses"] == ["10.9.0.20/16"]
        assert (now["interfaces"][0]["gateway"], now["interfaces"][0]["dns"]) == ("10.9.0.1", ["10.9.0.2"])
        assert manager.profiles[f"{ROOT}/Settings/1"]["ipv4"]["ignore-auto-dns"].value is False  # not ours: it stays
        await network.revert()
        assert (await network.state())["interfaces"][0]["addresses"] == ["192.168.1.77/24"]

        await network.set_address("eth0", wish)
        assert await network.confirm() == "eth0 10.9.0.20/16"
        assert manager.checkpoints == {}
        assert (await network.state())["interfaces"][0]["method"] == "manual"
        with pytest.raises(NetworkRefused, match="no change is on trial"):
            await network.confirm()
        await network.set_address("eth0", Address("auto"))
        assert (await network.state())["interfaces"][0]["method"] == "auto"

    on_a_bus(monkeypatch, test, tmp_path)


@needs_bus
def test_a_trial_that_nobody_confirms_is_over_and_a_refused_change_is_taken_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def test(network: MachineNetwork, manager: FakeNetworkManager, kept: Kept) -> None:
        manager.refuse = "Update"
        with pytest.raises(NetworkRefused, match="not authorised"):
            await network.set_address("eth0", Address("manual", "10.9.0.20/16"))
        assert (manager.checkpoints, (await network.state())["trial"]) == ({}, None)
        manager.refuse = ""
        monkeypatch.setattr("edge.network.TRIAL_S", 0)
        await network.set_address("eth0", Address("manual", "10.9.0.20/16"))
        assert (await network.state())["trial"] is None
        with pytest.raises(NetworkRefused):
            await network.revert()
        with pytest.raises(NetworkRefused, match="not connected"):
            await network.set_address("wlan0", Address("auto"))
        with pytest.raises(PlainError, match="eth9"):
            await network.set_address("eth9", Address("auto"))

    on_a_bus(monkeypatch, test, tmp_path)


@needs_bus
def test_wifi_is_seen_joined_and_keeps_its_password_when_its_address_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def test(network: MachineNetwork, manager: FakeNetworkManager, kept: Kept) -> None:
        seen = await network.wifi()
        assert [(row["ssid"], row["strength"], row["secured"]) for row in seen] == [
            ("staff", 80, True),
            ("客", 55, False),
        ]
        await network.join_wifi("staff", "blue door 7")
        row = (await network.state())["interfaces"][1]
        assert (row["ssid"], row["up"]) == ("staff", True)
        await network.confirm()
        await network.set_address("wlan0", Address("manual", "10.9.0.21/16"))
        profile = manager.profiles[manager.active["wlan0"]]
        assert profile["802-11-wireless-security"]["psk"].value == "old secret"
        for ssid, password in (("", "x" * 8), ("x" * 33, ""), ("staff", "short")):
            with pytest.raises(PlainError):
                await network.join_wifi(ssid, password)

    on_a_bus(monkeypatch, test, tmp_path)


@needs_bus
def test_time_servers_are_used_kept_and_used_again_after_a_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def test(network: MachineNetwork, manager: FakeNetworkManager, kept: Kept) -> None:
        await network.set_ntp(("ntp.nict.jp", "192.168.1.1"))
        assert manager.ntp == kept[NTP_KEY] == ["ntp.nict.jp", "192.168.1.1"]
        manager.ntp = []
        await MachineNetwork(SystemBus(), kept).start()
        assert manager.ntp == ["ntp.nict.jp", "192.168.1.1"]
        for wrong in (("a b",), ("-x",), ("",), ("x",) * 5):
            with pytest.raises(PlainError):
                await network.set_ntp(wrong)
        assert kept[NTP_KEY] == ["ntp.nict.jp", "192.168.1.1"]

    on_a_bus(monkeypatch, test, tmp_path)


def test_a_machine_without_network_manager_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def main() -> None:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
        network = MachineNetwork(SystemBus(), Kept())
        assert "cannot be asked" in (await network.state())["unmanaged"]
        with pytest.raises(NetworkUnmanaged):
            await network.set_ntp(("ntp.nict.jp",))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (("static", "", "", ()), "method"),
        (("manual", "192.168.1.20", "", ()), "address"),
        (("manual", "192.168.1.300/24", "", ()), "address"),
        (("manual", "192.168.1.0/24", "", ()), "address"),
        (("manual", "192.168.1.255/24", "", ()), "address"),
        (("manual", "192.168.1.20/24", "192.168.2.1", ()), "gateway"),
        (("manual", "192.168.1.20/24", "router", ()), "gateway"),
        (("manual", "192.168.1.20/24", "", ("x",)), "dns[0]"),
    ],
)
def test_an_address_that_cannot_be_is_named(fields: Any, named: str) -> None:
    with pytest.raises(PlainError) as caught:
        Address(*fields)
    assert caught.value.key == named


def test_websocket_comes_after_all_brokers_and_is_as_secure() -> None:
    hosts = ("mqtts://a.example:8883", "mqtt://b.example", "wss://a.example:443/mqtt")
    assert with_websocket(hosts) == (*hosts, "ws://b.example:80/mqtt")
    assert with_websocket(("mqtts://[2001:db8::1]:8883",))[1] == "wss://[2001:db8::1]:443/mqtt"


def test_the_way_out_is_kept_and_goes_before_the_file() -> None:
    async def main() -> None:
        kept, changed = Kept(), []
        file = UplinkSettings(hosts=("mqtts://a.example:8883",), proxy="http://old:1")
        way = WayOut(kept, lambda: file, lambda: changed.append(1))
        assert way.settings() is file
        await way.choose("http://proxy:3128", True)
        again = WayOut(kept, lambda: file, lambda: None)
        assert again.settings().proxy == "http://proxy:3128"
        assert again.state()["hosts"] == ["mqtts://a.example:8883", "wss://a.example:443/mqtt"]
        with pytest.raises(PlainError):
            await way.choose("ftp://x", False)
        await way.choose("", False)
        assert (again.settings().proxy, again.settings().hosts, len(changed)) == ("", file.hosts, 2)

    asyncio.run(main())


@needs_bus
def test_the_api_tries_and_confirms_and_audits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        async with PrivateBus(tmp_path) as private:
            monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", private.address)
            manager = FakeNetworkManager()
            bus = await manager.serve(private.address)
            async with bench.client("technician") as client:
                body = {"method": "manual", "address": "10.9.0.20/16", "gateway": "10.9.0.1", "dns": [""]}
                answer = await client.put("/v1/network/interfaces/eth0", json=body)
                assert (answer.status_code, answer.json()["trial"]["what"]) == (200, "eth0 10.9.0.20/16"), answer.text
                page = (await client.get("/network", headers={"Accept-Language": "ja"})).text
                assert "変更を試行中" in page
                assert (await client.post("/v1/network/confirm")).json()["trial"] is None
                twice = await client.post("/v1/network/confirm", headers={"Accept-Language": "ja"})
                assert (twice.status_code, twice.json()["cause"]) == (409, "network_refused")
                assert twice.json()["detail"].startswith("試行中の変更はありません")
                assert (await client.get("/v1/network/wifi")).json()[0]["ssid"] == "staff"
                assert (await client.put("/v1/network/time", json={"servers": ["ntp.nict.jp"]})).status_code == 200
                link = {"proxy": "http://proxy:3128", "websocket": True}
                assert (await client.put("/v1/network/link", json=link)).json()["link"]["proxy"] == link["proxy"]
                actions = [row["action"] for row in bench.services.access.audit.rows(limit=4)]
                assert actions == ["set_link", "set_time", "confirm_network", "set_network"]
            bus.disconnect()

    run(test, bus=SystemBus())
