"""LLRP on the wire, as a reader builds and reads it.

Source: EPCglobal Low Level Reader Protocol 1.0.1 (2007), clauses 16 (binary encoding) and 17 (messages), and the
additions of 1.1 (2010); Impinj Octane LLRP extensions for the custom parameters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

VERSION_1_0_1 = 1
VERSION_1_1 = 2
HEADER_BYTES = 10
MESSAGE_LIMIT = 1 << 20
"""A reader with little memory refuses longer messages."""
IMPINJ = 25882


class Msg(IntEnum):
    """Message types (clause 17.1, table of messages)."""

    GET_READER_CAPABILITIES = 1
    GET_READER_CONFIG = 2
    SET_READER_CONFIG = 3
    CLOSE_CONNECTION_RESPONSE = 4
    GET_READER_CAPABILITIES_RESPONSE = 11
    GET_READER_CONFIG_RESPONSE = 12
    SET_READER_CONFIG_RESPONSE = 13
    CLOSE_CONNECTION = 14
    ADD_ROSPEC = 20
    DELETE_ROSPEC = 21
    START_ROSPEC = 22
    STOP_ROSPEC = 23
    ENABLE_ROSPEC = 24
    DISABLE_ROSPEC = 25
    GET_ROSPECS = 26
    ADD_ROSPEC_RESPONSE = 30
    GET_ROSPECS_RESPONSE = 36
    ADD_ACCESSSPEC = 40
    DELETE_ACCESSSPEC = 41
    ENABLE_ACCESSSPEC = 42
    DISABLE_ACCESSSPEC = 43
    GET_ACCESSSPECS = 44
    GET_SUPPORTED_VERSION = 46
    SET_PROTOCOL_VERSION = 47
    ADD_ACCESSSPEC_RESPONSE = 50
    GET_ACCESSSPECS_RESPONSE = 54
    GET_SUPPORTED_VERSION_RESPONSE = 56
    SET_PROTOCOL_VERSION_RESPONSE = 57
    GET_REPORT = 60
    RO_ACCESS_REPORT = 61
    KEEPALIVE = 62
    READER_EVENT_NOTIFICATION = 63
    ENABLE_EVENTS_AND_REPORTS = 64
    KEEPALIVE_ACK = 72
    ERROR_MESSAGE = 100
    CUSTOM = 1023


class Par(IntEnum):
    """Parameter types. Below 128: TV encoded (clause 16.1); the others TLV."""

    ANTENNA_ID = 1
    FIRST_SEEN_UTC = 2
    LAST_SEEN_UTC = 4
    PEAK_RSSI = 6
    CHANNEL_INDEX = 7
    TAG_SEEN_COUNT = 8
    ROSPEC_ID = 9
    INVENTORY_PARAMETER_SPEC_ID = 10
    C1G2_CRC = 11
    C1G2_PC = 12
    EPC_96 = 13
    SPEC_INDEX = 14
    ACCESSSPEC_ID = 16
    UTC_TIMESTAMP = 128
    GENERAL_DEVICE_CAPABILITIES = 137
    RECEIVE_SENSITIVITY_ENTRY = 139
    PER_ANTENNA_AIR_PROTOCOL = 140
    GPIO_CAPABILITIES = 141
    LLRP_CAPABILITIES = 142
    REGULATORY_CAPABILITIES = 143
    UHF_BAND_CAPABILITIES = 144
    TRANSMIT_POWER_ENTRY = 145
    FREQUENCY_INFORMATION = 146
    FREQUENCY_HOP_TABLE = 147
    FIXED_FREQUENCY_TABLE = 148
    ROSPEC = 177
    RO_BOUNDARY = 178
    ROSPEC_START_TRIGGER = 179
    PERIODIC_TRIGGER = 180
    ROSPEC_STOP_TRIGGER = 182
    AISPEC = 183
    AISPEC_STOP_TRIGGER = 184
    TAG_OBSERVATION_TRIGGER = 185
    INVENTORY_PARAMETER_SPEC = 186
    RFSURVEY_SPEC = 187
    ACCESSSPEC = 207
    CONFIGURATION_STATE = 217
    IDENTIFICATION = 218
    GPO_WRITE_DATA = 219
    KEEPALIVE_SPEC = 220
    ANTENNA_PROPERTIES = 221
    ANTENNA_CONFIGURATION = 222
    RF_RECEIVER = 223
    RF_TRANSMITTER = 224
    GPI_STATE = 225
    EVENTS_AND_REPORTS = 226
    RO_REPORT_SPEC = 237
    TAG_CONTENT_SELECTOR = 238
    ACCESS_REPORT_SPEC = 239
    TAG_REPORT_DATA = 240
    EPC_DATA = 241
    EVENT_NOTIFICATION_SPEC = 244
    EVENT_NOTIFICATION_STATE = 245
    EVENT_NOTIFICATION_DATA = 246
    ROSPEC_EVENT = 249
    REPORT_BUFFER_LEVEL = 250
    REPORT_BUFFER_OVERFLOW = 251
    READER_EXCEPTION = 252
    AISPEC_EVENT = 254
    ANTENNA_EVENT = 255
    CONNECTION_ATTEMPT = 256
    CONNECTION_CLOSE = 257
    LLRP_STATUS = 287
    FIELD_ERROR = 288
    PARAMETER_ERROR = 289
    C1G2_LLRP_CAPABILITIES = 327
    C1G2_MODE_TABLE = 328
    C1G2_MODE_ENTRY = 329
    C1G2_INVENTORY_COMMAND = 330
    C1G2_RF_CONTROL = 335
    C1G2_SINGULATION = 336
    C1G2_EPC_MEMORY_SELECTOR = 348
    CUSTOM = 1023


class Status(IntEnum):
    """Status codes of LLRPStatus (clause 14.1)."""

    SUCCESS = 0
    PARAMETER_ERROR = 100
    FIELD_ERROR = 101
    MISSING_PARAMETER = 103
    UNSUPPORTED_MESSAGE = 109
    UNSUPPORTED_VERSION = 110
    UNSUPPORTED_PARAMETER = 111
    UNEXPECTED_MESSAGE = 112
    P_UNSUPPORTED_PARAMETER = 209
    INVALID = 300
    OUT_OF_RANGE = 301
    DEVICE_ERROR = 401


class EventType(IntEnum):
    """Event types of EventNotificationState (clause 13.2.6.4.1)."""

    HOPPING = 0
    GPI = 1
    ROSPEC = 2
    BUFFER_WARNING = 3
    EXCEPTION = 4
    RFSURVEY = 5
    AISPEC = 6
    AISPEC_WITH_SINGULATION = 7
    ANTENNA = 8


TV_BYTES = {1: 2, 2: 8, 3: 8, 4: 8, 5: 8, 6: 1, 7: 2, 8: 2, 9: 4, 10: 2, 11: 2, 12: 2, 13: 12, 14: 2, 15: 2, 16: 4}
"""Value length of the TV parameters (clause 16.2), without the type byte."""

FIXED_BYTES = {
    Par.ROSPEC: 6,
    Par.RO_BOUNDARY: 0,
    Par.ROSPEC_START_TRIGGER: 1,
    Par.PERIODIC_TRIGGER: 8,
    Par.ROSPEC_STOP_TRIGGER: 5,
    Par.AISPEC_STOP_TRIGGER: 5,
    Par.INVENTORY_PARAMETER_SPEC: 3,
    Par.RO_REPORT_SPEC: 3,
    Par.TAG_CONTENT_SELECTOR: 2,
    Par.EVENT_NOTIFICATION_SPEC: 0,
    Par.ANTENNA_CONFIGURATION: 2,
    Par.C1G2_INVENTORY_COMMAND: 1,
}
"""Bytes of fields that come before sub-parameters, for the parameters whose insides this reader obeys."""


class WireError(Exception):
    """A message that cannot be read; `status` and `offender` go into the answer."""

    def __init__(self, text: str, status: Status = Status.PARAMETER_ERROR, offender: int = 0) -> None:
        super().__init__(text)
        self.status = status
        self.offender = offender


@dataclass(frozen=True, slots=True)
class Message:
    """One LLRP message without its header."""

    version: int
    type: int
    id: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: `fields` are its own bytes, `subs` its sub-parameters (only where FIXED_BYTES knows them)."""

    type: int
    fields: bytes
    subs: tuple[Parameter, ...] = field(default=())

    def find(self, kind: Par) -> Parameter | None:
        """The first sub-parameter of a type."""
        return next((sub for sub in self.subs if sub.type == kind), None)


def message(kind: int, message_id: int, body: bytes = b"", version: int = VERSION_1_0_1) -> bytes:
    """A message with its header."""
    return struct.pack(">HII", version << 10 | kind, HEADER_BYTES + len(body), message_id & 0xFFFFFFFF) + body


def tlv(kind: int, fields: bytes = b"", *subs: bytes) -> bytes:
    """A TLV parameter."""
    body = fields + b"".join(subs)
    return struct.pack(">HH", kind, 4 + len(body)) + body


def tv(kind: int, value: bytes) -> bytes:
    """A TV parameter: the type byte has its high bit set."""
    return bytes((0x80 | kind,)) + value


def text(value: str) -> bytes:
    """A UTF-8 field with its length."""
    raw = value.encode()
    return struct.pack(">H", len(raw)) + raw


def status(code: int = Status.SUCCESS, description: str = "", offender: int = 0) -> bytes:
    """LLRPStatus, with a ParameterError where a parameter is at fault."""
    subs = () if not offender else (tlv(Par.PARAMETER_ERROR, struct.pack(">HH", offender, code)),)
    return tlv(Par.LLRP_STATUS, struct.pack(">H", code) + text(description), *subs)


def custom(subtype: int, fields: bytes, vendor: int = IMPINJ) -> bytes:
    """A vendor's custom parameter."""
    return tlv(Par.CUSTOM, struct.pack(">II", vendor, subtype) + fields)


def parameters(body: bytes) -> tuple[Parameter, ...]:
    """Read a sequence of parameters. Raises WireError where lengths lie."""
    return tuple(_parameters(body))


def _parameters(body: bytes) -> Iterator[Parameter]:
    at = 0
    while at < len(body):
        if body[at] & 0x80:
            kind = body[at] & 0x7F
            if kind not in TV_BYTES:
                raise WireError(f"unknown TV parameter {kind}", Status.UNSUPPORTED_PARAMETER, kind)
            end = at + 1 + TV_BYTES[kind]
            fields = body[at + 1 : end]
        else:
            if at + 4 > len(body):
                raise WireError(f"{len(body) - at} bytes left over: too short for a parameter")
            kind, length = struct.unpack_from(">HH", body, at)
            kind &= 0x3FF
            end = at + length
            if length < 4:
                raise WireError(f"parameter {kind}: length {length}, expected at least 4", offender=kind)
            fields = body[at + 4 : end]
        if end > len(body):
            raise WireError(f"parameter {kind} is longer than its message", offender=kind)
        yield _split(kind, fields)
        at = end


def _split(kind: int, fields: bytes) -> Parameter:
    if kind == Par.AISPEC:
        fixed = 2 + 2 * int.from_bytes(fields[:2], "big")
    elif kind in FIXED_BYTES:
        fixed = FIXED_BYTES[Par(kind)]
    else:
        return Parameter(kind, fields)
    if len(fields) < fixed:
        raise WireError(f"parameter {kind}: {len(fields)} bytes, expected at least {fixed}", offender=kind)
    return Parameter(kind, fields[:fixed], parameters(fields[fixed:]))


class Inbox:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Add bytes; returns the messages that became complete. WireError: the stream cannot go on."""
        self._buffer += data
        out: list[Message] = []
        while len(self._buffer) >= HEADER_BYTES:
            head, length, message_id = struct.unpack_from(">HII", self._buffer)
            if not HEADER_BYTES <= length <= MESSAGE_LIMIT:
                raise WireError(f"message length {length}: expected {HEADER_BYTES} to {MESSAGE_LIMIT}")
            if len(self._buffer) < length:
                break
            out.append(Message(head >> 10 & 7, head & 0x3FF, message_id, bytes(self._buffer[HEADER_BYTES:length])))
            del self._buffer[:length]
        return out
