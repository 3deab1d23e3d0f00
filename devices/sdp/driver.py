"""What the drivers of all SDP/1 devices have in common: greeting, identity, complaints, requests, firmware."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from devices.driver import DriverContext, Emit
from devices.sdp.messages import ALL_CELLS, Boot, BootReason, ErrorReport, Identity, Message, identify, set_rate
from devices.sdp.session import LOOKED_FOR_S, Session, Taken
from edge.core.errors import DeviceMisbehaved, DeviceRefused, DeviceTimeout, LinkLost
from edge.core.observation import DeviceIdentity, DeviceState, DeviceStatus

GREET_EVERY_S: Final = 5.0
FAST_TENTHS_HZ: Final = 50  # from 5 Hz on, frames are gathered
GATHER_S: Final = 0.1
"""All drivers look at the same instants, multiples of this: one wake-up of the loop for all of them. Who wakes between
two of them (by a byte it waited for) sleeps on to the next but one, or it would wait in vain there each time."""
RECOVERED_AFTER_US: Final = 30_000_000  # no complaint for this long: well again

ERROR_CAUSES: Final = {
    1: "cell_open",
    2: "cell_saturated",
    3: "adc_timeout",
    4: "low_voltage",
    5: "sensor_bus",
    6: "flash",
}


class SdpDriver:
    """Base of the families' drivers; a family says what its frames mean in `take`.

    Implements Driver, Identifiable, Configurable (sample_rate_hz) and Updatable.
    """

    WHAT: ClassVar[str] = "SDP/1 device"

    def __init__(self, context: DriverContext, link: str) -> None:
        self.context = context
        self._link = link
        self._session: Session | None = None
        self._told: Identity | None = None
        self._complained_us: int | None = None

    def check(self, identity: Identity) -> str:
        """What is wrong with this hardware at this position, in words, or "" when it fits."""
        raise NotImplementedError

    def take(self, taken: list[Taken], emit: Emit) -> None:
        """Emit what the family's frames of one read say."""
        raise NotImplementedError

    async def run(self, emit: Emit) -> None:
        """Converse until cancelled. Raises LinkLost, DeviceTimeout or DeviceMisbehaved."""
        stream = await self.context.open_stream(self._link)
        session = self._session = Session(self.context, stream)
        self._told = self._complained_us = None
        loop = asyncio.get_running_loop()
        tasks = {loop.create_task(self._listen(session, emit)), loop.create_task(self._watch(session))}
        greeting = loop.create_task(self._greet(session))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._session = None
            for task in (*tasks, greeting):
                task.cancel()
            await asyncio.gather(*tasks, greeting, return_exceptions=True)
            session.tell_counters()
            await stream.close()

    async def _listen(self, session: Session, emit: Emit) -> None:
        loop = asyncio.get_running_loop()
        while True:
            taken = await session.read()
            if taken:
                self._tell(session, taken, emit)
                self.take(taken, emit)
            if _may_gather(session):
                ahead_s = GATHER_S - loop.time() % GATHER_S
                await asyncio.sleep(ahead_s if ahead_s > 0.9 * GATHER_S else ahead_s + GATHER_S)

    async def _watch(self, session: Session) -> None:
        """Look for silence now and then: a time limit on each read would cost more than the read."""
        while True:
            await asyncio.sleep(LOOKED_FOR_S)
            error = session.silence()
            if error is not None:
                raise error

    async def _greet(self, session: Session) -> None:
        """Ask who it is until it says so (a device that still boots does not hear the first time), then whenever it
        has nothing to tell: a scanner far from all beacons is silent and well."""
        while True:
            if session.identity is None or session.quiet_s() >= GREET_EVERY_S:
                try:
                    await session.hello()
                except DeviceTimeout:
                    self.context.count("greetings_unanswered")
                except LinkLost:
                    return  # `run` ends by its read
            await asyncio.sleep(GREET_EVERY_S)

    def _tell(self, session: Session, taken: list[Taken], emit: Emit) -> None:
        """Identity and health, as they change."""
        device_id = self.context.device_id
        for message, made_us in taken:
            if isinstance(message, ErrorReport):
                self._complained_us = made_us
                emit(DeviceStatus(device_id, made_us, DeviceState.DEGRADED, *_complaint(message)))
            elif isinstance(message, Boot) and message.reason in (BootReason.WATCHDOG, BootReason.BROWN_OUT):
                self._complained_us = made_us
                cause = f"reboot_{BootReason(message.reason).name.lower()}"
                emit(DeviceStatus(device_id, made_us, DeviceState.DEGRADED, cause, "the device restarted by itself"))
        if session.identity is not None and session.identity is not self._told:
            self._introduce(session.identity, emit)
        self._recover(taken, emit)

    def _introduce(self, identity: Identity, emit: Emit) -> None:
        """Tell who it is when that is news; a HELLO after each reboot or change of rate is none."""
        device_id, told = self.context.device_id, self._told
        fault = self.check(identity)
        if fault:
            raise DeviceMisbehaved(device_id, fault)
        self._told = identity
        if told is not None and _name(told) == _name(identity):
            return
        at_us = self.context.now_us()
        emit(DeviceIdentity(device_id, at_us, *_name(identity)))
        if self._complained_us is None:
            emit(DeviceStatus(device_id, at_us, DeviceState.ONLINE))

    def _recover(self, taken: list[Taken], emit: Emit) -> None:
        since_us = self._complained_us
        if since_us is None or not taken or taken[-1][1] - since_us < RECOVERED_AFTER_US:
            return
        if not any(self.ailing(message) for message, _ in taken):
            self._complained_us = None
            emit(DeviceStatus(self.context.device_id, taken[-1][1], DeviceState.ONLINE, "recovered"))

    def ailing(self, message: Message) -> bool:
        """Whether a message still shows the fault that was complained about."""
        return isinstance(message, ErrorReport)

    def _running(self) -> Session:
        if self._session is None:
            raise LinkLost(self.context.device_id, f"the {self.WHAT} is not connected now")
        return self._session

    async def identify(self, duration_s: int) -> None:
        """Blink for so long (at most 255 s); 0 stops. Raises DeviceRefused where the hardware cannot."""
        await self._running().demand(identify(min(max(duration_s, 0), 255)))

    async def configure(self, changes: Mapping[str, object]) -> None:
        """Apply sample_rate_hz. Raises DeviceRefused naming the value that is refused."""
        session = self._running()
        for name, value in changes.items():
            if name != "sample_rate_hz" or isinstance(value, bool) or not isinstance(value, int | float):
                detail = f"{name} = {value!r}: expected sample_rate_hz, a number"
                raise DeviceRefused(self.context.device_id, detail)
            if not 0.1 <= value <= 6553.5:
                detail = f"sample_rate_hz = {value!r}: expected 0.1 to 6553.5"
                raise DeviceRefused(self.context.device_id, detail)
            await session.demand(set_rate(round(value * 10)))
            await session.hello()

    async def update(self, firmware: bytes, signature: bytes, progress: Callable[[float], None]) -> str:
        """Send firmware signed by its maker; returns the version that runs then. DeviceRefused on a bad signature."""
        return await self._running().update(firmware, signature, progress)


def _may_gather(session: Session) -> bool:
    """Whether frames come fast and nobody waits for an answer."""
    identity = session.identity
    return identity is not None and identity.rate_tenths_hz >= FAST_TENTHS_HZ and not session.asking


def _name(identity: Identity) -> tuple[str, str, str]:
    return identity.serial, identity.model, identity.firmware


def _complaint(report: ErrorReport) -> tuple[str, str]:
    cause = ERROR_CAUSES.get(report.code, f"error_{report.code}")
    where = "" if report.cell == ALL_CELLS else f"cell {report.cell}: "
    return cause, where + report.text
