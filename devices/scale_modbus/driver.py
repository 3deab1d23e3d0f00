"""Driver of a Modbus RTU weight transmitter: polls its registers through pymodbus, emits milligrams.

pymodbus brings its own serial transport, so the link is given as a port and not as a moniker.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from pymodbus import FramerType, ModbusException
from pymodbus.client import AsyncModbusSerialClient

from devices.driver import DriverContext, DriverInfo, Emit
from devices.scale_modbus.profile import Profile, Reading, load_profile, read_registers
from edge.core.errors import DeviceMisbehaved, DeviceRefused, DeviceTimeout, LinkLost
from edge.core.observation import (
    NO_READING,
    SATURATED_HIGH,
    SATURATED_LOW,
    CellSamples,
    DeviceIdentity,
    DeviceState,
    DeviceStatus,
)
from edge.core.plain import OneOf, Within

ANSWER_S: Final = 0.5
SILENCE_S: Final = 15.0
COUNT_MAX: Final = 2**23 - 2


@dataclass(frozen=True, slots=True)
class ScaleModbusSettings:
    """One Modbus RTU weight transmitter."""

    port: str
    """Serial port by-id or by-path."""
    profile: str
    """A built-in model, or the path of a profile file."""
    unit: Annotated[int, Within(1, 247, "a Modbus address")] = 1
    baud: Annotated[int, Within(300, 4_000_000, "baud")] = 9600
    parity: Annotated[str, OneOf(("N", "E", "O"))] = "N"
    stop_bits: Annotated[int, Within(1, 2, "stop bits")] = 1
    rate_hz: Annotated[float, Within(0.1, 50, "polls a second")] = 10.0
    grams_per_division: Annotated[float, Within(1e-6, 1e6, "grams")] = 1.0
    """What one unit of the transmitter's value weighs (its decimal point is a setting of its own)."""
    counts_per_g: Annotated[float, Within(1e-3, 1e6, "counts a gram")] = 1000.0
    """Of the samples emitted, which the position's calibration repeats."""


class ScaleModbusDriver:
    """One transmitter. Implements Driver and Tareable."""

    def __init__(self, context: DriverContext, settings: ScaleModbusSettings) -> None:
        self.context = context
        self.profile: Profile = load_profile(settings.profile)
        self._settings = settings
        self._client: AsyncModbusSerialClient | None = None
        self._line = asyncio.Lock()  # one request at a time on the bus
        self._trouble = ""

    async def run(self, emit: Emit) -> None:
        """Poll until cancelled. Raises LinkLost, DeviceTimeout after 15 s without answer, DeviceMisbehaved."""
        s = self._settings
        client = AsyncModbusSerialClient(
            s.port,
            framer=FramerType.RTU,
            baudrate=s.baud,
            parity=s.parity,
            stopbits=s.stop_bits,
            timeout=ANSWER_S,
            retries=0,
            reconnect_delay=0,
        )
        self._trouble = ""
        try:
            if not await client.connect():
                raise LinkLost(self.context.device_id, f"cannot open {s.port}; expected a free serial port")
            self._client = client
            await self._poll(client, emit)
        finally:
            self._client = None
            client.close()

    async def _poll(self, client: AsyncModbusSerialClient, emit: Emit) -> None:
        loop = asyncio.get_running_loop()
        answered_s = due_s = loop.time()
        known = False
        while True:
            reading = await self._read(client)
            now_us = self.context.now_us()
            if reading is not None:
                answered_s = loop.time()
                if not known:
                    known = True
                    device_id, model = self.context.device_id, self.profile.model
                    emit(DeviceIdentity(device_id, now_us, f"unit {self._settings.unit}", model, ""))
                    emit(DeviceStatus(device_id, now_us, DeviceState.ONLINE))
                self._emit(reading, now_us, emit)
            elif loop.time() - answered_s >= SILENCE_S:
                detail = f"unit {self._settings.unit} did not answer for {SILENCE_S:.0f} s"
                raise DeviceTimeout(self.context.device_id, detail)
            due_s = max(due_s + 1.0 / self._settings.rate_hz, loop.time() - 1.0)
            await asyncio.sleep(max(0.0, due_s - loop.time()))

    async def _read(self, client: AsyncModbusSerialClient) -> Reading | None:
        """One poll; None without an answer. Raises LinkLost, or DeviceMisbehaved where the map does not fit."""
        p, unit = self.profile, self._settings.unit
        ask = client.read_input_registers if p.function == 4 else client.read_holding_registers
        self.context.count("requests")
        try:
            async with self._line:
                answer = await ask(p.first, count=p.count, device_id=unit)
        except ModbusException:
            if not client.connected:
                raise LinkLost(self.context.device_id, f"{self._settings.port} is gone") from None
            self.context.count("unanswered")
            return None
        if answer.isError():
            code = getattr(answer, "exception_code", 0)
            detail = f"{p.model}: exception {code} on register {p.first}; expected the map of this profile"
            raise DeviceMisbehaved(self.context.device_id, detail)
        reading = read_registers(p, answer.registers)
        if reading is None:
            detail = f"{p.model}: {len(answer.registers)} registers; expected {p.count}"
            raise DeviceMisbehaved(self.context.device_id, detail)
        return reading

    def _emit(self, reading: Reading, now_us: int, emit: Emit) -> None:
        trouble = "overload" if reading.overload else "underload" if reading.underload else ""
        if not trouble and reading.weight is None:
            trouble = "no_weight"
        if trouble != self._trouble:
            self._trouble = trouble
            state = DeviceState.DEGRADED if trouble else DeviceState.ONLINE
            emit(DeviceStatus(self.context.device_id, now_us, state, trouble or "recovered"))
        if reading.weight is None:
            counts = SATURATED_HIGH if reading.overload else SATURATED_LOW if reading.underload else NO_READING
        else:
            counts = round(reading.weight * self._settings.grams_per_division * self._settings.counts_per_g)
            counts = SATURATED_HIGH if counts > COUNT_MAX else max(counts, -COUNT_MAX)
        t_us, rows = np.array([now_us], np.int64), np.array([[counts]], np.int32)
        stable = reading.stable if reading.weight is not None else False
        emit(CellSamples(self.context.device_id, now_us, t_us, rows, None, stable))

    async def tare(self) -> None:
        """Have the transmitter set its zero. Raises DeviceRefused where it says no or its profile has no command."""
        zero, client, device_id = self.profile.zero, self._client, self.context.device_id
        if zero is None:
            raise DeviceRefused(device_id, f"the profile of {self.profile.model} has no zero command")
        if client is None:
            raise LinkLost(device_id, "the transmitter is not connected now")
        values = (0, zero.value, 0) if zero.pulse else (zero.value,)
        for value in values:
            try:
                async with self._line:
                    answer = await client.write_register(zero.register, value, device_id=self._settings.unit)
            except ModbusException:
                raise DeviceTimeout(device_id, "the zero command was not answered") from None
            if answer.isError():
                raise DeviceRefused(device_id, f"the zero command was refused (exception {answer.exception_code})")


INFO = DriverInfo("scale_modbus", "Weight transmitter (Modbus RTU)", ScaleModbusSettings, ScaleModbusDriver)
