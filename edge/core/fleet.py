"""The fleet: how each device is, said once per change; hardware identity, batteries, surroundings, contacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge.core.fact import JsonValue
from edge.core.facts import Degraded, DoorOpened, EnvironmentMeasured, LowBattery, Offline, Online, Replaced
from edge.core.instant import US_PER_MIN, Instant
from edge.core.observation import DeviceIdentity, DeviceState, DeviceStatus, SensorReading
from edge.core.part import Said, Signal

LOW_BATTERY_PERCENT = 15.0
BATTERY_OK_PERCENT = 25.0  # said again only after a new battery
ENVIRONMENT_PERIOD_US = 15 * US_PER_MIN
UNITS = {"temperature_c": "°C", "humidity_percent": "%", "battery_mv": "mV", "pressure_hpa": "hPa"}


@dataclass(slots=True)
class _Device:
    state: str = ""
    cause: str = ""
    serial: str = ""
    model: str = ""
    firmware: str = ""
    low_battery: bool = False
    door_open: bool | None = None


class Fleet:
    """Part of the engine. A device is known by its position's id, whatever hardware stands there."""

    def __init__(self) -> None:
        self._devices: dict[str, _Device] = {}
        self._measured_us: dict[tuple[str, str], int] = {}
        self._dirty: set[str] = set()

    def device_ids(self) -> list[str]:
        """Every device that was ever heard of."""
        return sorted(self._devices)

    def state_of(self, device_id: str) -> str:
        """online, degraded, offline, or "" for a device that was never heard of."""
        device = self._devices.get(device_id)
        return device.state if device else ""

    def document(self, device_id: str) -> dict[str, JsonValue]:
        """What `state/device/{id}` says."""
        device = self._devices.get(device_id, _Device())
        return {
            "state": device.state,
            "cause": device.cause,
            "serial": device.serial,
            "model": device.model,
            "firmware": device.firmware,
        }

    def status(self, status: DeviceStatus) -> list[Signal]:
        """Say a change of state or cause, once."""
        device = self._device(status.device_id)
        if (device.state, device.cause) == (status.state.value, status.cause):
            return []
        device.state, device.cause = status.state.value, status.cause
        self._dirty.add(status.device_id)
        at_us, device_id = status.mono_us, status.device_id
        if status.state is DeviceState.ONLINE:
            return [Online(at_us=at_us, device=device_id, serial=device.serial, firmware=device.firmware)]
        said = Offline if status.state is DeviceState.OFFLINE else Degraded
        return [said(at_us=at_us, device=device_id, cause=status.cause, detail=status.detail)]

    def identity(self, identity: DeviceIdentity) -> list[Signal]:
        """Remember the hardware; another serial number at the same position is a replacement."""
        device = self._device(identity.device_id)
        old = device.serial
        if (device.serial, device.model, device.firmware) == (identity.serial, identity.model, identity.firmware):
            return []
        device.serial, device.model, device.firmware = identity.serial, identity.model, identity.firmware
        self._dirty.add(identity.device_id)
        if not old or old == identity.serial:
            return []
        at_us, device_id = identity.mono_us, identity.device_id
        return [Replaced(at_us=at_us, device=device_id, old_serial=old, new_serial=identity.serial)]

    def reading(self, reading: SensorReading) -> list[Signal]:
        """A named quantity: battery and contacts by change, the rest every quarter of an hour."""
        if reading.quantity == "battery_percent":
            return self._battery(reading)
        if reading.quantity == "door_open":
            return self._contact(reading)
        key = (reading.subject, reading.quantity)
        last_us = self._measured_us.get(key)
        if last_us is not None and reading.mono_us - last_us < ENVIRONMENT_PERIOD_US:
            return []
        self._measured_us[key] = reading.mono_us
        unit = UNITS.get(reading.quantity, "")
        return [
            EnvironmentMeasured(
                at_us=reading.mono_us,
                device=reading.subject,
                quantity=reading.quantity,
                value=reading.value,
                unit=unit,
            )
        ]

    def _battery(self, reading: SensorReading) -> list[Signal]:
        device = self._device(reading.subject)
        limit = BATTERY_OK_PERCENT if device.low_battery else LOW_BATTERY_PERCENT
        low = reading.value <= limit
        if low == device.low_battery:
            return []
        device.low_battery = low
        self._dirty.add(reading.subject)
        return [LowBattery(at_us=reading.mono_us, device=reading.subject, percent=reading.value)] if low else []

    def _contact(self, reading: SensorReading) -> list[Signal]:
        device = self._device(reading.subject)
        opened = reading.value > 0
        if device.door_open == opened:
            return []
        device.door_open = opened
        self._dirty.add(reading.subject)
        return [DoorOpened(at_us=reading.mono_us, device=reading.subject, opened=opened)]

    def _device(self, device_id: str) -> _Device:
        return self._devices.setdefault(device_id, _Device())

    # --- Part -------------------------------------------------------------------------------------------------------

    def tick(self, now: Instant) -> list[Signal]:
        del now
        return []

    def next_deadline_us(self) -> int | None:
        return None

    def drain_said(self) -> Said:
        said: Said = {}
        for device_id in sorted(self._dirty):
            d = self._devices[device_id]
            said[device_id] = [d.state, d.cause, d.serial, d.model, d.firmware, d.low_battery, d.door_open]
        self._dirty.clear()
        return said

    def restore(self, said: Mapping[str, JsonValue], now: Instant) -> None:
        del now
        for device_id, value in said.items():
            fields: Any = value
            self._devices[device_id] = _Device(*fields)

    def internals(self) -> JsonValue:
        return None

    def restore_internals(self, internals: JsonValue) -> None:
        del internals
