"""Driver of a local BLE adapter through an unmodified bleak: advertisements and readings of beacons out.

BlueZ keeps the adapter; bleak (3.x) talks to it over D-Bus. What is no beacon is counted and forgotten: a phone's
address never leaves `Hearing`. A silence of 90 s means a hung adapter: scanning begins anew; if that does not help,
the adapter is switched off and on and the driver ends, and its restart begins from nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from devices.beacon_ble.adverts import PATTERNS
from devices.beacon_ble.hearing import BindKey, Hearing, bind_keys_of, resolver_of
from devices.beacon_ble.power import switch_off_and_on
from devices.driver import BeaconKey, DriverContext, DriverInfo, Emit
from edge.core.errors import DeviceTimeout, LinkLost
from edge.core.instant import US_PER_S
from edge.core.observation import DeviceState, DeviceStatus
from edge.core.plain import Within

if TYPE_CHECKING:
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData

SILENCE_S: Final = 90.0
WATCH_S: Final = 5.0
START_S: Final = 10.0  # a hung bluetoothd never answers, and bleak would wait for ever
STOP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class BeaconBleSettings:
    """One local Bluetooth adapter."""

    adapter: str = ""
    """As BlueZ names it (hci0); empty: the default."""
    silence_s: Annotated[float, Within(1, 3600, "seconds")] = SILENCE_S
    """So long without any advertisement the adapter counts as hung and is started anew."""
    passive: bool = False
    """Listen only (BlueZ 5.56 or newer with --experimental); saves the beacons' batteries."""
    eid_keys: tuple[BeaconKey, ...] = ()
    """Own Eddystone-EID beacons: ``{ identity, key, exponent, time_s }``."""
    bind_keys: tuple[BindKey, ...] = ()
    """BTHome sensors that seal what they say: ``{ address, key }``."""


class BeaconBleDriver:
    """One local adapter."""

    def __init__(self, context: DriverContext, settings: BeaconBleSettings) -> None:
        self._context, self._settings = context, settings
        self._resolver = resolver_of((*settings.eid_keys, *context.beacon_keys()))
        self._bind = bind_keys_of(settings.bind_keys)
        self._last_us = 0

    def listener(self, emit: Emit) -> Callable[[BLEDevice, AdvertisementData], None]:
        """What bleak calls for each advertisement."""
        context = self._context
        hearing = Hearing(context.device_id, emit, context.count, self._resolver, self._bind)
        now_us, counters, parts = context.now_us, context.counters, hearing.parts
        counters.setdefault("adverts", 0)

        def heard(device: BLEDevice, advertisement: AdvertisementData) -> None:
            self._last_us = at_us = now_us()
            counters["adverts"] += 1
            manufacturer, services = advertisement.manufacturer_data, advertisement.service_data
            parts(manufacturer, services, device.address, (advertisement.rssi, at_us))

        return heard

    async def run(self, emit: Emit) -> None:
        """Scan until cancelled. Raises LinkLost (no BlueZ, no adapter, bluetoothd gone) and DeviceTimeout (silence)."""
        from bleak.exc import BleakError  # noqa: PLC0415

        self._last_us = self._context.now_us()
        scanner = self._scanner(emit)
        await self._start(scanner)
        emit(DeviceStatus(self._context.device_id, self._context.now_us(), DeviceState.ONLINE))
        try:
            await self._watch()
            await self._scan_anew(scanner)
            silent_s = await self._watch()
        finally:
            with contextlib.suppress(BleakError, OSError, EOFError, TimeoutError):  # bluetoothd may be gone
                await asyncio.wait_for(scanner.stop(), STOP_S)
        reset = await switch_off_and_on(self._settings.adapter or "hci0")
        self._context.count("adapter_resets", reset)
        detail = f"no advertisement for {silent_s:.0f} s, adapter hung? " + ("Switched off and on." if reset else "")
        raise DeviceTimeout(self._context.device_id, detail.strip())

    def _scanner(self, emit: Emit) -> Any:
        from bleak import BleakScanner  # noqa: PLC0415 (60 ms of imports that only stores with adapters pay)

        bluez: dict[str, Any] = {"adapter": self._settings.adapter} if self._settings.adapter else {}
        if not self._settings.passive:
            return BleakScanner(self.listener(emit), bluez=bluez)  # type: ignore[arg-type]
        from bleak.args.bluez import OrPattern  # noqa: PLC0415
        from bleak.assigned_numbers import AdvertisementDataType  # noqa: PLC0415

        bluez["or_patterns"] = [OrPattern(p.offset, AdvertisementDataType(p.ad_type), p.prefix) for p in PATTERNS]
        return BleakScanner(self.listener(emit), scanning_mode="passive", bluez=bluez)  # type: ignore[arg-type]

    async def _start(self, scanner: Any) -> None:
        from bleak.exc import BleakError  # noqa: PLC0415

        try:
            async with asyncio.timeout(START_S):
                await scanner.start()
        except TimeoutError as error:
            raise DeviceTimeout(self._context.device_id, f"BlueZ did not answer within {START_S:.0f} s") from error
        except (BleakError, OSError, EOFError) as error:
            raise LinkLost(self._context.device_id, f"BlueZ does not scan: {error}") from error

    async def _scan_anew(self, scanner: Any) -> None:
        """The gentle cure of silence. Raises LinkLost or DeviceTimeout where BlueZ itself does not answer."""
        from bleak.exc import BleakError  # noqa: PLC0415

        self._context.count("scans_restarted")
        try:
            await asyncio.wait_for(scanner.stop(), STOP_S)
        except TimeoutError as error:
            raise DeviceTimeout(self._context.device_id, f"BlueZ did not stop scanning in {STOP_S:.0f} s") from error
        except (BleakError, OSError, EOFError) as error:
            raise LinkLost(self._context.device_id, f"BlueZ does not stop scanning: {error}") from error
        await self._start(scanner)

    async def _watch(self) -> float:
        """Seconds of silence, once it is too long."""
        since_us = self._context.now_us()
        while True:
            await asyncio.sleep(min(WATCH_S, self._settings.silence_s / 2))
            silent_s = (self._context.now_us() - max(self._last_us, since_us)) / US_PER_S
            if silent_s >= self._settings.silence_s:
                return (self._context.now_us() - self._last_us) / US_PER_S


INFO = DriverInfo("beacon_ble", "Local BLE adapter (BlueZ)", BeaconBleSettings, BeaconBleDriver)
