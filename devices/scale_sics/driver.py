"""Driver of an MT-SICS scale: asks who it is, then has it repeat its weight (SIR) and emits it as milligrams.

A scale zeroes, filters and judges stability itself, so the core gets grams with the scale's own word on rest.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np

from devices.accounting import ByteAccount
from devices.driver import DriverContext, DriverInfo, Emit
from devices.scale_sics.codec import Decoder, Done, Line, NoWeight, Rejected, Said, Trouble, Weight, command
from devices.transport.moniker import Link
from devices.transport.stream import ByteStream
from edge.core.errors import DeviceMisbehaved, DeviceRefused, DeviceTimeout, LinkLost
from edge.core.observation import (
    SATURATED_HIGH,
    SATURATED_LOW,
    CellSamples,
    DeviceIdentity,
    DeviceState,
    DeviceStatus,
)
from edge.core.plain import Within

SILENCE_S: Final = 15.0
ASK_AGAIN_S: Final = 3.0  # a scale that was switched off and on forgets SIR
TARE_S: Final = 12.0  # the terminal itself waits a few seconds for rest
MG_PER_G: Final = 1000.0
COUNT_MAX: Final = 2**23 - 2  # 8.3 kg; heavier goods need `counts_per_g` below 1000
_RAILS: Final = {Trouble.OVERLOAD: SATURATED_HIGH, Trouble.UNDERLOAD: SATURATED_LOW}


@dataclass(frozen=True, slots=True)
class ScaleSicsSettings:
    """One MT-SICS scale."""

    link: Link
    """Such as ``serial:/dev/serial/by-id/…?baud=9600``."""
    counts_per_g: Annotated[float, Within(1e-3, 1e6, "counts a gram")] = MG_PER_G
    """Of the samples emitted, which the position's calibration repeats (1000: milligrams, up to 8.3 kg; 100 for
    scales up to 83 kg)."""


class ScaleSicsDriver:
    """One scale. Implements Driver and Tareable."""

    def __init__(self, context: DriverContext, settings: ScaleSicsSettings) -> None:
        self.context = context
        self._settings = settings
        self._stream: ByteStream | None = None
        self._decoder = Decoder()
        self._bytes = ByteAccount(context.counters)
        self._said: dict[str, str] = {}
        self._told: DeviceIdentity | None = None
        self._trouble: Trouble | None = None
        self._zeroed: asyncio.Future[str] | None = None
        self._weighed_us = 0

    async def run(self, emit: Emit) -> None:
        """Weigh until cancelled. Raises LinkLost, DeviceTimeout after 15 s of silence, DeviceMisbehaved on garbage."""
        stream = self._stream = await self.context.open_stream(self._settings.link)
        self._decoder, self._said, self._told, self._trouble = Decoder(), {}, None, None
        self._weighed_us = self.context.now_us()
        loop = asyncio.get_running_loop()
        tasks = {loop.create_task(self._listen(stream, emit)), loop.create_task(self._ask(stream))}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._stream = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await stream.close()

    async def _ask(self, stream: ByteStream) -> None:
        """Ask for the identity and for weights; again when none came for a while; give up after 15 s."""
        asked = False
        while True:
            quiet_s = (self.context.now_us() - self._weighed_us) / 1e6
            if quiet_s >= SILENCE_S:
                raise self._silent()
            if quiet_s >= ASK_AGAIN_S or not asked:
                asked = True
                for name in ("I2", "I3", "I4", "SIR"):
                    await stream.write(command(name))
            await asyncio.sleep(ASK_AGAIN_S)

    def _silent(self) -> DeviceTimeout | DeviceMisbehaved:
        if self._decoder.rejected:
            detail = f"{self._decoder.rejected} bytes are no MT-SICS answer; expected the scale's baud rate and format"
            return DeviceMisbehaved(self.context.device_id, detail)
        return DeviceTimeout(self.context.device_id, f"no weight for {SILENCE_S:.0f} s")

    async def _listen(self, stream: ByteStream, emit: Emit) -> None:
        while True:
            lines = self._decoder.feed(await stream.read())
            now_us = self.context.now_us()
            for line in lines:
                self._take(line, now_us, emit)
            decoder = self._decoder
            self._bytes.tell(decoder.fed, decoder.accepted, decoder.rejected, decoder.skipped, decoder.buffered)

    def _take(self, line: Line, now_us: int, emit: Emit) -> None:
        if isinstance(line, Rejected):
            self.context.count(f"lines_rejected_{line.reason}")
        elif isinstance(line, Said):
            self._said[line.name] = line.text
            self._introduce(now_us, emit)
        elif isinstance(line, Weight):
            self._weighed_us = now_us
            self._recover(now_us, emit)
            counts = round(line.grams * self._settings.counts_per_g)
            counts = SATURATED_HIGH if counts > COUNT_MAX else max(counts, -COUNT_MAX)
            self._emit(counts, line.stable, now_us, emit)
        elif isinstance(line, NoWeight):
            self._weighed_us = now_us
            self._no_weight(line.trouble, now_us, emit)
        elif isinstance(line, Done) and line.name == "Z" and self._zeroed is not None and not self._zeroed.done():
            self._zeroed.set_result(line.letter)

    def _no_weight(self, trouble: Trouble, now_us: int, emit: Emit) -> None:
        rail = _RAILS.get(trouble)
        if rail is None:
            self.context.count(f"answers_{trouble.value}")
            return
        if trouble is not self._trouble:
            self._trouble = trouble
            device_id = self.context.device_id
            emit(DeviceStatus(device_id, now_us, DeviceState.DEGRADED, trouble.value, f"the scale shows {trouble}"))
        self._emit(rail, False, now_us, emit)

    def _recover(self, now_us: int, emit: Emit) -> None:
        if self._trouble is not None:
            self._trouble = None
            emit(DeviceStatus(self.context.device_id, now_us, DeviceState.ONLINE, "recovered"))

    def _emit(self, counts: int, stable: bool, now_us: int, emit: Emit) -> None:
        t_us = np.array([now_us], np.int64)
        emit(CellSamples(self.context.device_id, now_us, t_us, np.array([[counts]], np.int32), None, stable))

    def _introduce(self, now_us: int, emit: Emit) -> None:
        if not {"I2", "I3", "I4"} <= self._said.keys():
            return
        device_id = self.context.device_id
        model, software, serial = (self._said[name].strip() for name in ("I2", "I3", "I4"))
        identity = DeviceIdentity(device_id, now_us, serial, model, software)
        told = self._told
        if told is None or (told.serial, told.model, told.firmware) != (serial, model, software):
            self._told = identity
            emit(identity)
            emit(DeviceStatus(device_id, now_us, DeviceState.ONLINE))

    async def tare(self) -> None:
        """Set the scale's zero (Z) once it rests. Raises DeviceRefused where it does not come to rest."""
        stream = self._stream
        if stream is None:
            raise LinkLost(self.context.device_id, "the scale is not connected now")
        self._zeroed = asyncio.get_running_loop().create_future()
        try:
            await stream.write(command("Z"))
            async with asyncio.timeout(TARE_S):
                letter = await self._zeroed
        except TimeoutError:
            raise DeviceTimeout(self.context.device_id, f"Z unanswered for {TARE_S:.0f} s") from None
        finally:
            self._zeroed = None
        if letter != "A":
            detail = f"Z was answered {letter}: the load moves or is outside the zero-setting range"
            raise DeviceRefused(self.context.device_id, detail)
        await stream.write(command("SIR"))


INFO = DriverInfo("scale_sics", "Bench scale (MT-SICS)", ScaleSicsSettings, ScaleSicsDriver)
