"""The driver of an LLRP reader: connect, set up, read; a new connection does everything again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from devices.driver import DriverContext, DriverInfo, Emit
from devices.rfid_llrp.batch import ReportBatch
from devices.rfid_llrp.capabilities import Capabilities, read_capabilities
from devices.rfid_llrp.framing import Message
from devices.rfid_llrp.identity import normal_identity, read_identity
from devices.rfid_llrp.link import EVENT, REPORT, LlrpLink
from devices.rfid_llrp.parameters import Parameter, Value
from devices.rfid_llrp.plan import ALL_ROSPECS, OUR_ROSPEC, PlanFault, reader_configuration, rospec, starts_by_itself
from devices.rfid_llrp.settings import Duty, Settings
from devices.rfid_llrp.tables import IMPINJ
from devices.transport.stream import ByteStream
from edge.core.errors import DeviceRefused, LinkLost
from edge.core.observation import RESTING, AntennaStatus, DeviceIdentity, DeviceState, DeviceStatus

ANTENNA_PROPERTIES = 2  # RequestedData of GET_READER_CONFIG (LLRP 1.1, 13.1.1)
END_OF_ROSPEC, ACTIVE = 1, 2  # ROSpecEvent's type (LLRP 1.1, 15.1.6), ROSpec's state (11.2.1.1)
ENABLE_EXTENSIONS = 21  # Impinj custom message IMPINJ_ENABLE_EXTENSIONS
DUTY_CHECK_S = 10.0
LONG_REST_S = 30  # rests from here on are told, so that tags unseen in them are not taken for gone
TROUBLE_S = 60.0  # so long a reader counts as degraded after it reported an exception
Find = Callable[[Callable[[str], Awaitable[ByteStream]], str, str], Awaitable[str | None]]
ANOTHER_CLIENT = 4  # ConnectionAttemptEvent: Another_Connection_Attempted


class _AnotherReader(DeviceRefused):
    """A reader answers, but not the one that the settings name."""


class LlrpDriver:
    """One LLRP reader at one position."""

    def __init__(self, context: DriverContext, settings: Settings, find: Find | None = None) -> None:
        self._context = context
        self._settings = settings
        self._find = find
        self._introduced = False
        self._ended = False
        self._resting = self._long_rests = False
        self._emit: Emit = _nowhere
        self._trouble_until_s: float | None = None

    async def run(self, emit: Emit) -> None:
        """Converse until cancelled. Raises LinkLost, DeviceTimeout, DeviceRefused or DeviceMisbehaved."""
        self._emit = emit
        moniker = self._settings.moniker
        try:
            link = LlrpLink(self._context, await self._context.open_stream(moniker))
            await self._converse(link, moniker)
        except (LinkLost, _AnotherReader):
            moved = await self._look_elsewhere()
            if moved is None:
                raise
            link = LlrpLink(self._context, await self._context.open_stream(moved))
            await self._converse(link, moved)

    async def _look_elsewhere(self) -> str | None:
        """Where the reader of our identity answers, if that is not where the settings say."""
        if not self._settings.identity or self._introduced:
            return None
        find = self._find
        if find is None:
            from devices.rfid_llrp.discovery import find_again  # noqa: PLC0415 (a store whose readers stay)

            find = find_again
        moved = await find(self._context.open_stream, self._settings.identity, self._settings.moniker)
        if moved is None or moved == self._settings.moniker:
            return None
        self._context.count("found_at_another_address")
        return moved

    async def _converse(self, link: LlrpLink, moniker: str) -> None:
        try:
            await link.greet()
            capabilities = await self._introduce(link, moniker)
            await self._set_up(link, capabilities)
            await self._read(link, capabilities)
        finally:
            await link.close_politely()

    async def _introduce(self, link: LlrpLink, moniker: str) -> Capabilities:
        """Who is there: identity, antennas; refuses a reader that the settings do not name."""
        capabilities = read_capabilities(await link.request("GET_READER_CAPABILITIES", {"RequestedData": 0}))
        identity = await read_identity(link)
        wanted = normal_identity(self._settings.identity)
        if wanted and identity != wanted:
            raise _AnotherReader(self._context.device_id, f"reader {identity} answers at {moniker}; expected {wanted}")
        self._introduced = True
        self._emit(
            DeviceIdentity(
                self._context.device_id,
                self._context.now_us(),
                identity,
                capabilities.model_name,
                capabilities.firmware,
            )
        )
        return capabilities

    async def _set_up(self, link: LlrpLink, capabilities: Capabilities) -> None:
        if capabilities.impinj:
            fields: dict[str, Value] = {
                "VendorIdentifier": IMPINJ,
                "MessageSubtype": ENABLE_EXTENSIONS,
                "Data": bytes(4),  # reserved
            }
            await link.ask("CUSTOM_MESSAGE", fields)
        await link.request(
            "SET_READER_CONFIG", {"ResetToFactoryDefault": 0}, *reader_configuration(self._settings, capabilities)
        )
        # An old plan of ours may or may not be there: the answer does not matter, the next ADD_ROSPEC tells
        await link.ask("DELETE_ROSPEC", {"ROSpecID": ALL_ROSPECS if self._settings.take_over else OUR_ROSPEC})
        answer = await link.ask("GET_READER_CONFIG", {"RequestedData": ANTENNA_PROPERTIES})
        for row in answer.all("AntennaProperties"):
            self._antenna(row.number("AntennaID"), bool(row.number("AntennaConnected")))

    def _duty(self) -> Duty:
        return self._settings.open_hours if self._context.store_open() else self._settings.closed_hours

    async def _start(self, link: LlrpLink, capabilities: Capabilities, duty: Duty) -> None:
        """Replace the plan of reading by that of `duty`."""
        await link.ask("DELETE_ROSPEC", {"ROSpecID": OUR_ROSPEC})
        self._long_rests = self._settings.trigger is not None or duty.off_s >= LONG_REST_S
        self._resting = duty.on_s <= 0 or self._settings.trigger is not None
        if duty.on_s <= 0:
            self._say_state()
            return
        try:
            plan = rospec(self._settings, capabilities, duty)
        except PlanFault as fault:
            raise DeviceRefused(self._context.device_id, f"settings: {fault}") from fault
        await link.request("ADD_ROSPEC", {}, plan)
        await link.request("ENABLE_ROSPEC", {"ROSpecID": OUR_ROSPEC})
        if not starts_by_itself(self._settings, duty):
            await link.request("START_ROSPEC", {"ROSpecID": OUR_ROSPEC})
        await link.send("ENABLE_EVENTS_AND_REPORTS")  # where the last client let the reader hold them back
        self._say_state()

    async def _read(self, link: LlrpLink, capabilities: Capabilities) -> None:
        loop = asyncio.get_running_loop()
        batch = ReportBatch(self._context)
        duty: Duty | None = None
        while True:
            if duty is not None and self._ended and await self._idle(link, duty):
                self._context.count("plans_restarted")
                duty = None
            if duty != self._duty():
                duty = self._duty()
                await self._start(link, capabilities, duty)
            check_s = loop.time() + DUTY_CHECK_S
            while loop.time() < check_s:
                try:
                    await self._collect(link, batch, check_s)
                finally:  # also when the link is lost: what has come has come
                    for reads in batch.take() if batch else ():
                        self._emit(reads)
            self._recover()

    async def _idle(self, link: LlrpLink, duty: Duty) -> bool:
        """Whether the reader has stopped a plan that should run for ever (after an antenna fault, say)."""
        self._ended = False
        if duty.on_s <= 0 or starts_by_itself(self._settings, duty):
            return False
        answer = await link.request("GET_ROSPECS")
        return not any(
            row.number("ROSpecID") == OUR_ROSPEC and row.number("CurrentState") == ACTIVE
            for row in answer.all("ROSpec")
        )

    async def _collect(self, link: LlrpLink, batch: ReportBatch, until_s: float) -> None:
        """Fill the batch: for `batch_ms` from its first report on, at most until `until_s`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(until_s) as deadline:
                while not batch.full:
                    was_empty = not batch
                    self._sort(await link.receive_some(), link, batch)
                    if was_empty and batch:
                        deadline.reschedule(min(until_s, loop.time() + self._settings.batch_ms / 1e3))
        except TimeoutError:
            return  # the batch is due

    def _sort(self, messages: list[Message], link: LlrpLink, batch: ReportBatch) -> None:
        batch.add([message.body for message in messages if message.type == REPORT], self._context.now_us())
        for message in messages:
            if message.type == EVENT:
                self._event(link.tree(message))
            elif message.type != REPORT:
                self._context.count("messages_ignored")

    def _event(self, tree: Parameter) -> None:
        """READER_EVENT_NOTIFICATION (LLRP 1.1, 15.1)."""
        data = tree.child("ReaderEventNotificationData") or Parameter("none")
        for event in data.children:
            if event.name == "AntennaEvent":
                self._antenna(event.number("AntennaID"), event.number("EventType") == 1)
            elif event.name == "ReportBufferOverflowErrorEvent":
                self._context.count("report_buffer_overflows")
                self._trouble("report_buffer_overflow", "the reader lost reads: its buffer was full")
            elif event.name == "ReportBufferLevelWarningEvent":
                self._context.count("report_buffer_warnings")
            elif event.name == "ReaderExceptionEvent":
                self._context.count("reader_exceptions")
                self._trouble("reader_exception", event.text("Message") or "the reader gives no text")
            elif event.name == "ROSpecEvent" and event.number("ROSpecID") == OUR_ROSPEC:
                self._plan_event(event.number("EventType"))
            elif event.name == "ConnectionCloseEvent":
                raise LinkLost(self._context.device_id, "the reader closes the connection")
            elif event.name == "ConnectionAttemptEvent" and event.number("Status") == ANOTHER_CLIENT:
                self._context.count("other_clients")

    def _plan_event(self, kind: int) -> None:
        """Our plan began or ended: by us, by its schedule, or because the reader gave up (the next round looks)."""
        self._ended = self._ended or kind == END_OF_ROSPEC
        if self._long_rests and self._resting != (kind == END_OF_ROSPEC):
            self._resting = kind == END_OF_ROSPEC
            self._say_state()

    def _antenna(self, port: int, connected: bool) -> None:
        used = self._settings.antennas
        if not used or port in used:
            self._emit(AntennaStatus(self._context.device_id, self._context.now_us(), port, connected))

    def _trouble(self, cause: str, detail: str) -> None:
        self._trouble_until_s = asyncio.get_running_loop().time() + TROUBLE_S
        self._status(DeviceState.DEGRADED, cause, detail)

    def _recover(self) -> None:
        if self._trouble_until_s is not None and asyncio.get_running_loop().time() >= self._trouble_until_s:
            self._trouble_until_s = None
            self._say_state()

    def _say_state(self) -> None:
        if self._resting:
            self._status(DeviceState.DEGRADED, RESTING, "the reader rests by its schedule")
        else:
            self._status(DeviceState.ONLINE)

    def _status(self, state: DeviceState, cause: str = "", detail: str = "") -> None:
        self._emit(DeviceStatus(self._context.device_id, self._context.now_us(), state, cause, detail))


def _nowhere(_observation: object) -> None:
    """Before `run` there is nobody to tell."""


INFO = DriverInfo("rfid_llrp", "RFID reader (LLRP)", Settings, LlrpDriver)
