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
from edge.core.instant import Instant
from edge.core.observation import Advert, DeviceState, DeviceStatus, Observation, SensorReading
from edge.core.proximity import Proximity
from edge.core.site import load_site
from firmware_sim import adverts
from firmware_sim.ble_air import Heard
from firmware_sim.bluez import Bluez
from firmware_sim.bluez_objects import Adapter
from firmware_sim.private_bus import PrivateBus
from tests.unit.test_settings import site

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

    def __init__(self, silence_s: float, adapter: str = "hci0", *, passive: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.seen: list[Observation] = []
        self.errors: list[DeviceError] = []

        async def no_stream(moniker: str) -> None:
            raise AssertionError(f"{moniker}: a local adapter has no link of its own")

        self.context = DriverContext(f"ble-{adapter}", lambda: int(loop.time() * 1e6), no_stream)  # type: ignore[arg-type]
        settings = driver.BeaconBleSettings(adapter, silence_s, passive=passive)
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silence_s: float, *, passive: bool = False
) -> AsyncIterator[tuple[Gateway, Bluez]]:
    async with PrivateBus(tmp_path) as bus:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        bluez, ready = Bluez([Adapter("hci0", "00:1A:7D:DA:71:13", ear)], seed=1), asyncio.Event()
        made = Gateway(silence_s, passive=passive)
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


def test_a_passive_scan_asks_bluez_for_beacons_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AdvertisementMonitor1 with our patterns: phones do not even cross the bus, and nobody is asked for more."""

    async def main() -> None:
        async with gateway(tmp_path, monkeypatch, 1.0, passive=True) as (made, bluez):
            await made.hears()
            told = {o.beacon for o in made.seen if isinstance(o, Advert)}
            assert told == {f"ibeacon:{STORE}:1:{n}" for n in range(20)}
            adapter = bluez.adapters["hci0"]
            assert adapter.monitors
            assert not adapter.sessions  # StartDiscovery would be an active scan
            assert bluez.counters["filtered"] > 0
            assert "adverts_of_no_beacon" not in made.context.counters
            bluez.restart(0.3, crash=True)  # BlueZ has forgotten the monitor: the watchdog finds the silence
            await asyncio.sleep(0.5)
            await made.hears(within_s=30.0)
            assert bluez.adapters["hci0"].monitors

    asyncio.run(main())


def test_a_deaf_adapter_is_scanned_anew_and_then_switched_off_and_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hung controller says that it scans and hears nothing until it was without power: the second cure helps."""

    async def main() -> None:
        async with gateway(tmp_path, monkeypatch, 1.0) as (made, bluez):
            await made.hears()
            bluez.adapters["hci0"].deaf = True
            await asyncio.sleep(0.2)
            await made.hears(within_s=30.0)
            assert not bluez.adapters["hci0"].deaf
            assert made.context.counters["scans_restarted"] >= 1
            assert made.context.counters["adapter_resets"] == 1
            assert [type(error) for error in made.errors] == [DeviceTimeout]
            assert "Switched off and on" in made.errors[0].detail

    asyncio.run(main())


def test_two_adapters_hear_a_beacon_and_the_better_one_speaks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One BleakScanner an adapter; the readings of a beacon that both hear are taken from the louder ear, and from the
    other one when the louder falls silent."""
    sensor = b"\x5a" * 6

    def hearing(rssi_dbm: int, battery_mv: int) -> Callable[[int, int], list[Heard]]:
        def heard(t0_us: int, t1_us: int) -> list[Heard]:
            if t1_us <= t0_us:
                return []
            telemetry = adverts.eddystone_tlm(battery_mv, 20.0 + t1_us // 1_000_000 % 3, t1_us // 1_000_000, 5)
            uid = adverts.eddystone_uid(b"n" * 10, b"i" * 6)
            return [Heard(t1_us, rssi_dbm, 1, sensor, uid), Heard(t1_us, rssi_dbm, 1, sensor, telemetry)]

        return heard

    async def main() -> None:
        key = f"eddystone-uid:{(b'n' * 10).hex()}:{(b'i' * 6).hex()}"
        rows = [{"id": "cart", "kind": "asset", "identity": key}]
        proximity = Proximity(load_site(site(scanners=[], beacons=rows)))
        told: list[tuple[str, float]] = []

        def take(seen: Observation) -> None:
            now = Instant(seen.mono_us, seen.mono_us)
            if isinstance(seen, Advert):
                proximity.heard(seen, now)
            elif isinstance(seen, SensorReading):
                told.extend((r.device_id, r.value) for r in proximity.reading(seen) if r.quantity == "battery_mv")

        async with PrivateBus(tmp_path) as bus:
            monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
            near = Adapter("hci0", "00:1A:7D:DA:71:10", hearing(-50, 2900))
            far = Adapter("hci1", "00:1A:7D:DA:71:11", hearing(-75, 2000))
            bluez, ready = Bluez([near, far], seed=1), asyncio.Event()
            playing = asyncio.create_task(bluez.run(bus.address, ready))
            await asyncio.wait_for(ready.wait(), 5)
            drivers = [Gateway(90.0, name) for name in ("hci0", "hci1")]
            tasks = [asyncio.create_task(one._driver.run(take)) for one in drivers]
            await asyncio.sleep(3.0)
            assert {device for device, _ in told[len(told) // 2 :]} == {"ble-hci0"}
            near.deaf = True
            monkeypatch.setattr("edge.core.proximity.owner.SILENT_US", 1_000_000)
            told.clear()
            await asyncio.sleep(3.0)
            assert told
            assert set(told) == {("ble-hci1", 2000.0)}
            for task in (*tasks, playing):
                task.cancel()
            await asyncio.gather(*tasks, playing, return_exceptions=True)

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
