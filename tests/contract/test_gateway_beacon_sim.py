"""The gateway as a beacon against BlueZ played on a private D-Bus: on air, heard as such, back after a restart."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from devices.beacon_ble import advertising
from devices.beacon_ble.advertising import GatewayBeaconSettings
from devices.beacon_ble.adverts import parse_advert
from devices.driver import DriverContext
from edge.core.errors import DeviceError, SettingsError
from edge.core.observation import DeviceState, DeviceStatus, Observation
from firmware_sim import adverts
from firmware_sim.bluez import Bluez
from firmware_sim.bluez_objects import Adapter
from firmware_sim.private_bus import PrivateBus

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
SETTINGS = GatewayBeaconSettings(UUID, 7, 3, url="https://aoyama.jp/s/z-3")
needs_bus = pytest.mark.skipif(
    shutil.which("dbus-daemon") is None and not os.environ.get("CI"), reason="dbus-daemon is missing: apt install dbus"
)


@asynccontextmanager
async def gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: GatewayBeaconSettings
) -> AsyncIterator[tuple[Bluez, list[Observation], list[DeviceError]]]:
    """The driver under a supervisor that starts it again."""
    loop, seen, errors = asyncio.get_running_loop(), [], []  # type: ignore[var-annotated]
    context = DriverContext("beacon-1", lambda: int(loop.time() * 1e6), None)  # type: ignore[arg-type]

    async def supervise() -> None:
        while True:
            try:
                await advertising.INFO.open(context, settings).run(seen.append)
            except DeviceError as error:
                errors.append(error)
            await asyncio.sleep(0.2)

    async with PrivateBus(tmp_path) as bus:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        bluez, ready = Bluez([Adapter("hci0", "00:1A:7D:DA:71:13", lambda _t0, _t1: [])], seed=1), asyncio.Event()
        playing = asyncio.create_task(bluez.run(bus.address, ready))
        await asyncio.wait_for(ready.wait(), 5)
        running = asyncio.create_task(supervise())
        try:
            yield bluez, seen, errors
        finally:
            for task in (running, playing):
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def on_air(bluez: Bluez, count: int) -> list[Any]:
    """What a scanner would take from it, once so many instances are on air."""
    async with asyncio.timeout(20):
        while len(bluez.on_air("hci0")) != count:
            await asyncio.sleep(0.05)
    return [parse_advert(ad, "00:00:00:00:00:00") for ad in bluez.on_air("hci0")]


@needs_bus
def test_both_beacons_are_heard_and_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advertising, "LOOK_S", 0.2)

    async def main() -> None:
        async with gateway(tmp_path, monkeypatch, SETTINGS) as (bluez, seen, errors):
            ibeacon, page = await on_air(bluez, 2)
            assert (ibeacon.beacon, ibeacon.tx_power_dbm) == (f"ibeacon:{UUID}:7:3", -59)
            assert (page.beacon, page.tx_power_dbm) == (f"eddystone-url:{SETTINGS.url}", -59)
            assert all(len(ad) <= 31 - len(adverts.FLAGS) for ad in bluez.on_air("hci0"))
            assert [one.state for one in seen if isinstance(one, DeviceStatus)] == [DeviceState.ONLINE]
            bluez.restart(0.3)
            await on_air(bluez, 0)
            await on_air(bluez, 2)
            assert errors

    asyncio.run(main())


@needs_bus
def test_an_adapter_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        settings = GatewayBeaconSettings(UUID, 7, 3, adapter="hci9")
        async with gateway(tmp_path, monkeypatch, settings) as (_, _, errors):
            async with asyncio.timeout(5):
                while not errors:
                    await asyncio.sleep(0.05)
            assert "hci9" in str(errors[0])

    asyncio.run(main())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"uuid": "nobody"}, "a UUID"),
        ({"minor": 65_536}, "0 to 65535"),
        ({"url": "ftp://x"}, "http://"),
        ({"url": "https://a-very-long-name.example/s/z-1"}, "at most 17 bytes"),
        ({"url": "https://青山.jp"}, "ASCII"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    settings = GatewayBeaconSettings(**({"uuid": UUID, "major": 7, "minor": 3} | changes))
    with pytest.raises(SettingsError, match=words):
        advertising.INFO.open(DriverContext("beacon-1", lambda: 0, None), settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["https://x.com/s/z-1", "http://www.shop.org", "https://a.info/b.com/"])
def test_the_simulators_frame_is_the_same(url: str) -> None:
    frame = advertising.url_data(GatewayBeaconSettings(UUID, 1, 1, url=url, power_dbm=-59))
    assert adverts.eddystone_url(url, -18)[-len(frame) :] == frame
