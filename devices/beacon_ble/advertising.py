"""The gateway as a beacon: iBeacon and Eddystone-URL on air through BlueZ (org.bluez.LEAdvertisingManager1).

The two do not fit into one advertisement of 31 bytes (flags 3, iBeacon 27, Eddystone-URL up to 28): each is an instance
of its own. bluetoothd forgets them when it restarts, so the driver looks whether its instances are still on air, and
ends where they are not: its restart registers them anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from devices.beacon_ble import eddystone
from devices.beacon_ble.adverts import APPLE
from devices.driver import DriverContext, DriverInfo, Emit
from edge.core.errors import DeviceRefused, DeviceTimeout, LinkLost, SettingsError
from edge.core.observation import DeviceState, DeviceStatus
from edge.core.plain import Matching, Within

if TYPE_CHECKING:
    from dbus_fast.aio import MessageBus

ANSWER_S: Final = 10.0
LOOK_S: Final = 10.0
BLUEZ: Final = "org.bluez"
MANAGER: Final = "org.bluez.LEAdvertisingManager1"
PATH: Final = "/smartstore/beacon"
EDDYSTONE_UUID: Final = "0000feaa-0000-1000-8000-00805f9b34fb"


@dataclass(frozen=True, slots=True)
class GatewayBeaconSettings:
    """What the gateway says of itself as an iBeacon."""

    uuid: Annotated[str, Matching("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "a UUID")]
    """Of the chain."""
    major: Annotated[int, Within(0, 65_535)]
    """Of the store."""
    minor: Annotated[int, Within(0, 65_535)]
    """Of the zone."""
    adapter: str = "hci0"
    url: str = ""
    """The zone's page for shoppers, short enough for Eddystone (17 bytes behind the scheme); empty: none."""
    power_dbm: Annotated[int, Within(-100, 20, "dBm")] = -59
    """Level at 1 m, measured with the adapter in place."""


def ibeacon_data(settings: GatewayBeaconSettings) -> bytes:
    """Manufacturer data of company 0x004C. Raises SettingsError."""
    try:
        identity = UUID(settings.uuid).bytes
        numbers = settings.major.to_bytes(2) + settings.minor.to_bytes(2)
        return b"\x02\x15" + identity + numbers + settings.power_dbm.to_bytes(1, signed=True)
    except (ValueError, OverflowError):
        value = f"{settings.uuid!r}, {settings.major}, {settings.minor}, {settings.power_dbm}"
        expected = "a UUID, major and minor of 0 to 65535, power_dbm of -128 to 127"
        raise SettingsError("settings", "uuid, major, minor, power_dbm", value, expected) from None


def url_data(settings: GatewayBeaconSettings) -> bytes:
    """Service data of Eddystone-URL, b"" for no URL. Raises SettingsError."""
    if not settings.url:
        return b""
    try:
        return eddystone.url_frame(settings.url, settings.power_dbm + eddystone.PATH_LOSS_1M_DB)
    except ValueError as fault:
        raise SettingsError("settings", "url", settings.url, str(fault)) from None


def _instances(settings: GatewayBeaconSettings) -> list[Any]:
    from dbus_fast import Variant  # noqa: PLC0415 (only stores whose gateway is a beacon)

    from devices.beacon_ble.advertisement import Advertisement  # noqa: PLC0415

    made = [Advertisement(manufacturer={APPLE: Variant("ay", ibeacon_data(settings))})]
    if frame := url_data(settings):
        made.append(Advertisement([EDDYSTONE_UUID], {EDDYSTONE_UUID: Variant("ay", frame)}))
    return made


class GatewayBeaconDriver:
    """Advertises until it is cancelled."""

    def __init__(self, context: DriverContext, settings: GatewayBeaconSettings) -> None:
        self._context, self._settings = context, settings
        ibeacon_data(settings), url_data(settings)  # what cannot be sent is refused before the driver runs

    async def run(self, emit: Emit) -> None:
        """Advertise. Raises LinkLost (no BlueZ, bluetoothd gone), DeviceRefused (no room, no such adapter)."""
        from dbus_fast import BusType  # noqa: PLC0415
        from dbus_fast.aio import MessageBus  # noqa: PLC0415

        device_id = self._context.device_id
        try:
            async with asyncio.timeout(ANSWER_S):
                bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
        except (OSError, EOFError, TimeoutError) as error:
            raise LinkLost(device_id, f"BlueZ is not reached: {error}") from error
        try:
            instances = _instances(self._settings)
            for number, instance in enumerate(instances):
                bus.export(f"{PATH}/{number}", instance)
                await self._call(bus, MANAGER, "RegisterAdvertisement", "oa{sv}", [f"{PATH}/{number}", {}])
            emit(DeviceStatus(device_id, self._context.now_us(), DeviceState.ONLINE))
            await self._watch(bus, len(instances))
        finally:
            bus.disconnect()  # BlueZ takes the instances of who leaves off the air

    async def _watch(self, bus: MessageBus, instances: int) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            reply = await self._call(bus, "org.freedesktop.DBus.Properties", "Get", "ss", [MANAGER, "ActiveInstances"])
            active = reply[0].value
            if active < instances:
                detail = f"{active} of {instances} advertisements on air: bluetoothd has forgotten them"
                raise LinkLost(self._context.device_id, detail)

    async def _call(self, bus: MessageBus, interface: str, member: str, signature: str, body: list[Any]) -> list[Any]:
        from dbus_fast import Message, MessageType  # noqa: PLC0415

        device_id, path = self._context.device_id, f"/org/bluez/{self._settings.adapter}"
        call = Message(BLUEZ, path, interface, member, signature=signature, body=body)
        try:
            async with asyncio.timeout(ANSWER_S):
                reply = await bus.call(call)
        except TimeoutError as error:
            raise DeviceTimeout(device_id, f"BlueZ did not answer {member} within {ANSWER_S:.0f} s") from error
        except (OSError, EOFError) as error:
            raise LinkLost(device_id, f"{member}: {error}") from error
        if reply is None or reply.message_type is not MessageType.METHOD_RETURN:
            said: Sequence[Any] = reply.body if reply is not None else ()
            detail = f"BlueZ refuses {member} on {self._settings.adapter}: {said[0] if said else 'no reason given'}"
            raise DeviceRefused(device_id, detail)
        return list(reply.body)


INFO = DriverInfo("gateway_beacon", "The gateway as a beacon (BlueZ)", GatewayBeaconSettings, GatewayBeaconDriver)
