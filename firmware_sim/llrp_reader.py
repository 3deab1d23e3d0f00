"""An LLRP reader as a server: any client of the standard can drive it.

Source: EPCglobal LLRP 1.0.1 (2007) with GET_SUPPORTED_VERSION of 1.1; behaviour of fixed readers in the field: one
client at a time, keepalives that give up on a silent client, ROSpecs that outlive the connection.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from firmware_sim import llrp_wire as w
from firmware_sim.llrp_caps import Config, Identity, capabilities, configuration
from firmware_sim.llrp_inventory import Inventory, TagSource
from firmware_sim.llrp_report import ReportWriter
from firmware_sim.llrp_rospec import report_spec
from firmware_sim.llrp_wire import EventType, Message, Msg, Par, Status, WireError, tlv
from firmware_sim.stream import ByteStream

POLL_S = 0.2
"""A reader's processor looks at its radio this often; reports are at most this late."""
MISSED_KEEPALIVES = 3
HELD_REPORTS = 1_000
READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """How this reader differs from a plain one."""

    identity: Identity = field(default_factory=Identity)
    max_version: int = w.VERSION_1_0_1
    omit_unchanged: bool = False
    utc_skew_us: int = 0
    """Error of the reader's clock."""
    refuse: dict[int, str] = field(default_factory=dict)
    """Requests (message types) that this reader answers with R_DeviceError and this text."""


Handler = Callable[[Message], bytes]


class LlrpReader:
    """The role: `serve` one connection; the reader's own state outlives it."""

    def __init__(
        self,
        source: TagSource,
        ports: tuple[int, ...],
        clock_us: Callable[[], int],
        utc_us: Callable[[], int],
        options: ReaderOptions | None = None,
        *,
        cables: Callable[[], dict[int, bool]] | None = None,
    ) -> None:
        """`clock_us`: simulated time now, as in `source`; `utc_us`: UTC now, µs since 1970; `cables`: whether the
        cable of each antenna is whole, by port (a reader measures what comes back)."""
        self.options = options or ReaderOptions()
        self.config = Config()
        self.connected = dict.fromkeys(ports, True)
        self._cables = cables
        self._ports = ports
        self._utc_us = utc_us
        writer = ReportWriter(self.options.omit_unchanged)
        self.inventory = Inventory(source, ports, clock_us, writer, self.options.identity.max_rospecs)
        self._client: ByteStream | None = None
        self._version = w.VERSION_1_0_1
        self._outbox: list[bytes] = []
        self._held: list[bytes] | None = None
        self._message_id = 0
        self._unanswered = 0
        self._closing = False
        self._access_specs: dict[int, bytes] = {}
        self._handlers: dict[int, Handler] = {
            Msg.GET_READER_CAPABILITIES: self._get_capabilities,
            Msg.GET_READER_CONFIG: self._get_config,
            Msg.SET_READER_CONFIG: self._set_config,
            Msg.ADD_ACCESSSPEC: self._add_access,
            Msg.DELETE_ACCESSSPEC: self._delete_access,
            Msg.ENABLE_ACCESSSPEC: self._known_access,
            Msg.DISABLE_ACCESSSPEC: self._known_access,
            Msg.GET_ACCESSSPECS: self._get_access,
            Msg.CLOSE_CONNECTION: self._close_connection,
            **dict.fromkeys(self.inventory.requests, self._rospec_request),
        }
        self._special: dict[int, Handler] = {
            Msg.KEEPALIVE_ACK: self._acked,
            Msg.ENABLE_EVENTS_AND_REPORTS: self._release,
            Msg.GET_REPORT: self._get_report,
            Msg.CUSTOM: self._custom,
            Msg.GET_SUPPORTED_VERSION: self._negotiate,
            Msg.SET_PROTOCOL_VERSION: self._negotiate,
        }

    def has_client(self) -> bool:
        """Whether somebody is connected."""
        return self._client is not None

    # --- connection ---------------------------------------------------------------------------------------------

    async def serve(self, stream: ByteStream) -> None:
        """Talk to one client until it hangs up; a second client at the same time is refused."""
        if self._client is not None:
            await stream.write(self._event(tlv(Par.CONNECTION_ATTEMPT, struct.pack(">H", 2))))
            self._outbox.append(self._event(tlv(Par.CONNECTION_ATTEMPT, struct.pack(">H", 4))))
            await stream.close()
            return
        self._client = stream
        self._unanswered = 0
        self._closing = False
        self._outbox.clear()
        self._held = [] if self.config.hold else None
        self.inventory.forget()
        try:
            await stream.write(self._event(tlv(Par.CONNECTION_ATTEMPT, struct.pack(">H", 0))))
            async with asyncio.TaskGroup() as tasks:
                ticker = tasks.create_task(self._tick_for_ever(stream))
                keeper = tasks.create_task(self._keep_alive(stream))
                await self._receive(stream)
                ticker.cancel()
                keeper.cancel()
        except* ConnectionError:
            pass  # the client is gone: the reader waits for the next one
        finally:
            self._client = None
            self._version = w.VERSION_1_0_1
            await stream.close()

    async def _receive(self, stream: ByteStream) -> None:
        inbox = w.Inbox()
        while not self._closing:
            data = await stream.read(READ_BYTES)
            if not data:
                return
            try:
                for received in inbox.feed(data):
                    await self._flush(stream, self._answer(received))
            except WireError as error:
                self._version = w.VERSION_1_0_1
                body = w.status(error.status, str(error))
                await stream.write(w.message(Msg.ERROR_MESSAGE, 0, body))
                return

    async def _flush(self, stream: ByteStream, last: bytes = b"") -> None:
        data = b"".join(self._outbox) + last
        self._outbox.clear()
        if data:
            await stream.write(data)

    async def _tick_for_ever(self, stream: ByteStream) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            self._gather()
            await self._flush(stream)

    async def _keep_alive(self, stream: ByteStream) -> None:
        while True:
            interval_ms = self.config.keepalive_ms
            if not interval_ms:
                await asyncio.sleep(1.0)
                continue
            await asyncio.sleep(interval_ms / 1000)
            if self._unanswered >= MISSED_KEEPALIVES:
                await stream.close()
                raise ConnectionAbortedError("the client stopped answering keepalives")
            self._unanswered += 1
            await stream.write(w.message(Msg.KEEPALIVE, self._next_id(), version=self._version))

    def _gather(self) -> None:
        """Let the inventory go on to now; send what it has to say."""
        utc_us = self._utc_us() + self.options.utc_skew_us
        if self._cables is not None:
            for port, connected in self._cables().items():
                self.set_antenna(port, connected)
        for event in self.inventory.advance():
            self.notify(event.kind, event.parameter)
        for report in self.inventory.reports(utc_us, self._reserve, self._version):
            self._emit(report)

    def _rospec_request(self, received: Message) -> bytes:
        return self.inventory.requests[received.type](received.body)

    def _reserve(self, n: int) -> int:
        """The first of `n` fresh message ids."""
        first = self._message_id + 1
        self._message_id += n
        return first

    def _next_id(self) -> int:
        return self._reserve(1)

    def _event(self, parameter: bytes) -> bytes:
        stamp = tlv(Par.UTC_TIMESTAMP, struct.pack(">Q", self._utc_us() + self.options.utc_skew_us))
        body = tlv(Par.EVENT_NOTIFICATION_DATA, stamp, parameter)
        return w.message(Msg.READER_EVENT_NOTIFICATION, self._next_id(), body, self._version)

    def notify(self, kind: EventType, parameter: bytes) -> None:
        """Queue a reader event, if the client asked for its kind."""
        if self._client is not None and self.config.events.get(kind):
            self._emit(self._event(parameter))

    def _emit(self, data: bytes) -> None:
        if self._held is None:
            self._outbox.append(data)
        elif len(self._held) < HELD_REPORTS:
            self._held.append(data)
        elif len(self._held) == HELD_REPORTS:
            self._held.append(self._event(tlv(Par.REPORT_BUFFER_OVERFLOW)))

    def set_antenna(self, port: int, connected: bool) -> None:
        """An antenna's cable was pulled or plugged: say so."""
        if self.connected[port] != connected:
            self.connected[port] = connected
            self.notify(EventType.ANTENNA, tlv(Par.ANTENNA_EVENT, struct.pack(">BH", connected, port)))

    def complain(self, text: str) -> None:
        """Send a ReaderExceptionEvent (over-temperature, for instance)."""
        self.notify(EventType.EXCEPTION, tlv(Par.READER_EXCEPTION, w.text(text)))

    # --- requests -----------------------------------------------------------------------------------------------

    def _answer(self, received: Message) -> bytes:
        kind = received.type
        if not w.VERSION_1_0_1 <= received.version <= self.options.max_version:
            body = w.status(Status.UNSUPPORTED_VERSION, f"version {received.version} is not supported")
            return w.message(Msg.ERROR_MESSAGE, received.id, body)
        if kind in self._special:
            return self._special[kind](received)
        handler = self._handlers.get(kind)
        if handler is None:
            body = w.status(Status.UNSUPPORTED_MESSAGE, f"message type {kind} is not supported")
            return w.message(Msg.ERROR_MESSAGE, received.id, body, received.version)
        answer_type = Msg.CLOSE_CONNECTION_RESPONSE if kind == Msg.CLOSE_CONNECTION else kind + 10
        return w.message(answer_type, received.id, self._handle(handler, received), received.version)

    def _acked(self, received: Message) -> bytes:
        self._unanswered = 0
        return b""

    def _get_report(self, received: Message) -> bytes:
        self.inventory.report_now()
        self._gather()
        return b""

    def _handle(self, handler: Handler, received: Message) -> bytes:
        if received.type in self.options.refuse:
            return w.status(Status.DEVICE_ERROR, self.options.refuse[received.type])
        try:
            return handler(received)
        except WireError as error:
            return w.status(error.status, str(error), error.offender)
        except (struct.error, IndexError):
            return w.status(Status.FIELD_ERROR, f"message type {received.type}: {len(received.body)} bytes are too few")

    def _release(self, received: Message) -> bytes:
        held, self._held = self._held, None
        self._outbox.extend(held or ())
        return b""

    def _custom(self, received: Message) -> bytes:
        vendor, subtype = struct.unpack(">IB", received.body[:5].ljust(5, b"\0"))
        if vendor != w.IMPINJ or subtype != 21:  # IMPINJ_ENABLE_EXTENSIONS
            body = w.status(Status.UNSUPPORTED_MESSAGE, f"custom message {subtype} of vendor {vendor} is unknown")
            return w.message(Msg.ERROR_MESSAGE, received.id, body, received.version)
        body = struct.pack(">IB", w.IMPINJ, 22) + w.status()
        return w.message(Msg.CUSTOM, received.id, body, received.version)

    def _negotiate(self, received: Message) -> bytes:
        highest = self.options.max_version
        if received.type == Msg.GET_SUPPORTED_VERSION:
            body = bytes((self._version, highest)) + w.status()
            return w.message(Msg.GET_SUPPORTED_VERSION_RESPONSE, received.id, body, received.version)
        wanted = received.body[0] if received.body else 0
        if w.VERSION_1_0_1 <= wanted <= highest:
            self._version = wanted
            body = w.status()
        else:
            body = w.status(Status.UNSUPPORTED_VERSION, f"version {wanted}: highest is {highest}")
        return w.message(Msg.SET_PROTOCOL_VERSION_RESPONSE, received.id, body, received.version)

    def _get_capabilities(self, received: Message) -> bytes:
        if received.body[0] > 4:
            raise WireError(f"RequestedData {received.body[0]}: expected 0 to 4", Status.FIELD_ERROR)
        return w.status() + capabilities(self.options.identity, self._ports, received.body[0])

    def _get_config(self, received: Message) -> bytes:
        antenna, requested = struct.unpack_from(">HB", received.body)
        if requested > 11:
            raise WireError(f"RequestedData {requested}: expected 0 to 11", Status.FIELD_ERROR)
        if antenna and antenna not in self._ports:
            raise WireError(f"antenna {antenna}: this reader has {len(self._ports)}", Status.INVALID)
        return w.status() + configuration(self.options.identity, self.config, self.connected, requested, antenna)

    def _set_config(self, received: Message) -> bytes:
        wanted = w.parameters(received.body[1:])
        if received.body[0] & 0x80:
            self.config = Config()
            self.inventory.clear()
            self._access_specs.clear()
        for parameter in wanted:
            self._set(parameter)
        self.inventory.configure(self.config)
        self.config.state = (self.config.state + 1) & 0xFFFFFFFF
        return w.status()

    def _set(self, parameter: w.Parameter) -> None:
        kind, fields = parameter.type, parameter.fields
        if kind == Par.KEEPALIVE_SPEC:
            periodic, interval_ms = struct.unpack(">BI", fields)
            self.config.keepalive_ms = interval_ms if periodic else 0
        elif kind == Par.RO_REPORT_SPEC:
            report_spec(parameter)
            self.config.report_spec = parameter
        elif kind == Par.EVENT_NOTIFICATION_SPEC:
            for sub in parameter.subs:
                event, state = struct.unpack(">HB", sub.fields)
                self.config.events[event] = bool(state & 0x80)
        elif kind == Par.EVENTS_AND_REPORTS:
            self.config.hold = bool(fields[0] & 0x80)
        elif kind == Par.ANTENNA_CONFIGURATION:
            self.config.set_antenna(parameter, self._ports)
        elif kind == Par.GPO_WRITE_DATA:
            port, data = struct.unpack(">HB", fields)
            self.config.gpo[port] = bool(data & 0x80)
        elif kind not in (Par.CUSTOM, Par.ACCESS_REPORT_SPEC, Par.ANTENNA_PROPERTIES, Par.GPI_STATE):
            raise WireError(f"parameter {kind} cannot be set", Status.P_UNSUPPORTED_PARAMETER, kind)

    def _close_connection(self, received: Message) -> bytes:
        self._closing = True
        return w.status()

    # --- AccessSpecs (kept and listed; this reader inventories only) ----------------------------------------------

    def _add_access(self, received: Message) -> bytes:
        found = [parameter for parameter in w.parameters(received.body) if parameter.type == Par.ACCESSSPEC]
        if len(found) != 1:
            raise WireError("ADD_ACCESSSPEC needs exactly one AccessSpec", Status.MISSING_PARAMETER, Par.ACCESSSPEC)
        (access_id,) = struct.unpack_from(">I", found[0].fields)
        if access_id in self._access_specs:
            raise WireError(f"AccessSpecID {access_id} exists already", Status.FIELD_ERROR, Par.ACCESSSPEC)
        self._access_specs[access_id] = tlv(Par.ACCESSSPEC, found[0].fields)
        return w.status()

    def _known_access(self, received: Message) -> bytes:
        (access_id,) = struct.unpack_from(">I", received.body)
        if access_id and access_id not in self._access_specs:
            raise WireError(f"AccessSpecID {access_id} does not exist", Status.FIELD_ERROR)
        return w.status()

    def _delete_access(self, received: Message) -> bytes:
        answer = self._known_access(received)
        (access_id,) = struct.unpack_from(">I", received.body)
        for known in [access_id] if access_id else list(self._access_specs):
            del self._access_specs[known]
        return answer

    def _get_access(self, received: Message) -> bytes:
        return w.status() + b"".join(self._access_specs.values())
