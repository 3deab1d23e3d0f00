"""The local adapter's driver against BlueZ played on a private D-Bus: adverts, and every way in which Bluetooth fails."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from devices.beacon_ble import driver
from devices.driver import DriverContext
from edge.core.errors import DeviceError, DeviceTimeout, LinkLost
from edge.core.observation import Advert, DeviceState, DeviceStatus, Observation
from firmware_sim import adverts
from firmware_sim.ble_air import Heard
from firmware_sim.bluez import Bluez
from firmware_sim.bluez_objects import Adapter
from firmware_sim.private_bus import PrivateBus

STORE = UUID("f7826da6-4fa2-4e98-8024-bc5b71e0893e")
PHONE = adverts.FLAGS + adverts.structure(0xFF, b"\x4c\x00\x10\x05\x01\x18")
pytestmark = pytest.mark.skipif(
    shutil.which("dbus-daemon") is None and not os.environ.get("CI"), reason="dbus-daemon is missing: apt install dbus"
)


def ear(t0_us: int, t1_us: int) -> list[Heard]:
    """Twenty beacons and a phone, each about once in 50 ms."""
    if t1_us <= t0_us:
        return []
    beacons = [Heard(t1_us, -40 - n, 1, bytes((0xC0, 0, 0, 0, 0, n)), adverts.ibeacon(STORE, 1, n)) for n in range(20)]
    return [*beacons, Heard(t1_us, -50, 1, b"\x55" * 6, PHONE)]


class Gateway:
    """The driver as the supervisor runs it: started again after each error."""

    def __init__(self, silence_s: float) -> None:
        loop = asyncio.get_running_loop()
        self.seen: list[Observation] = []
        self.errors: list[DeviceError] = []

        async def no_stream(moniker: str) -> None:
            raise AssertionError(f"{moniker}: a local adapter has no link of its own")

        self.context = DriverContext("ble-1", lambda: int(loop.time() * 1e6), no_stream)  # type: ignore[arg-type]
        settings = driver.BeaconBleSettings("hci0", silence_s)
        self._driver = driver.INFO.open(self.context, settings)

    async def supervise(self) -> None:
        while True:
            try:
                await self._driver.run(self.seen.append)
            except DeviceError as error:
                self.errors.append(error)
            await asyncio.sleep(0.2)

    async def hears(self, within_s: float = 10.0) -> None:
        """Return when the driver says that it scans (again), and adverts come."""
        self.seen.clear()
        async with asyncio.timeout(within_s):
            while not any(isinstance(o, DeviceStatus) and o.state is DeviceState.ONLINE for o in self.seen):
                await asyncio.sleep(0.05)
            self.seen.clear()
            while sum(isinstance(o, Advert) for o in self.seen) < 40:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silence_s: float
) -> AsyncIterator[tuple[Gateway, Bluez]]:
    async with PrivateBus(tmp_path) as bus:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        bluez, ready = Bluez([Adapter("hci0", "00:1A:7D:DA:71:13", ear)], seed=1), asyncio.Event()
        made = Gateway(silence_s)
        playing = asyncio.create_task(bluez.run(bus.address, ready))
        await asyncio.wait_for(ready.wait(), 5)
        running = asyncio.create_task(made.supervise())
        try:
            yield made, bluez
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)


def test_beacons_are_told_and_phones_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with gateway(tmp_path, monkeypatch, 90.0) as (made, bluez):
            await made.hears()
            told = {o.beacon: o.rssi_dbm for o in made.seen if isinstance(o, Advert)}
            assert told == {f"ibeacon:{STORE}:1:{n}": -40 - n for n in range(20)}
            assert made.context.counters["adverts_of_no_beacon"] > 0
            assert made.errors == []
            assert bluez.adapters["hci0"].discovering

    asyncio.run(main())


def _unplug_and_plug(bluez: Bluez) -> None:
    bluez.unplug("hci0")
    asyncio.get_running_loop().call_later(3.0, bluez.plug, "hci0")


def _hang_and_resume(bluez: Bluez) -> None:
    bluez.hang()
    asyncio.get_running_loop().call_later(7.0, bluez.resume)


def _hang_and_restart(bluez: Bluez) -> None:
    bluez.hang()
    asyncio.get_running_loop().call_later(7.0, lambda: bluez.restart(0.2, crash=True))


@pytest.mark.parametrize(
    "fault",
    [
        lambda b: b.restart(0.5, crash=True),
        lambda b: b.restart(0.5),
        _unplug_and_plug,
        _hang_and_resume,
        _hang_and_restart,
    ],
    ids=["crash", "restart", "unplug", "hang", "hang, then killed"],
)
def test_silence_is_noticed_and_scanning_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Bluez], None]
) -> None:
    async def main() -> None:
        async with gateway(tmp_path, monkeypatch, 1.0) as (made, bluez):
            await made.hears()
            fault(bluez)
            await asyncio.sleep(0.3)
            await made.hears(within_s=30.0)
            assert made.errors
            assert all(isinstance(error, DeviceTimeout | LinkLost) for error in made.errors)

    asyncio.run(main())


def test_without_bluez_the_driver_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'nothing'}")
        made = Gateway(90.0)
        running = asyncio.create_task(made.supervise())
        await asyncio.sleep(1.0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert made.errors
        assert "BlueZ does not scan" in str(made.errors[0])

    asyncio.run(main())
