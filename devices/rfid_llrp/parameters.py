"""LLRP bodies as trees of parameters, both ways, driven by `tables` (LLRP 1.1, 17.2: parameter encoding)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from devices.rejected import Rejected
from devices.rfid_llrp.framing import Message
from devices.rfid_llrp.tables import (
    MESSAGE_NUMBERS,
    MESSAGES,
    PARAMETERS,
    PARAMETERS_BY_NAME,
    TV_LENGTHS,
    VENDOR_PARAMETERS,
    VENDOR_PARAMETERS_BY_NAME,
    Definition,
)

CUSTOM = 1023
MAX_DEPTH = 12  # LLRP nests 7 deep at most (ROSpec … C1G2SingulationControl … action)
Value = int | str | bytes | tuple[int, ...]
_FIXED = {"u8": ">B", "s8": ">b", "u16": ">H", "s16": ">h", "u32": ">I", "u64": ">Q"}
_ELEMENTS = {"u16v": "H", "u32v": "I"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter, or a whole body under its message's name. fields by name; children in wire order."""

    name: str
    fields: Mapping[str, Value] = field(default_factory=dict)
    children: tuple[Parameter, ...] = ()

    def child(self, name: str) -> Parameter | None:
        """The first direct child of that name."""
        return next((child for child in self.children if child.name == name), None)

    def all(self, name: str) -> Iterator[Parameter]:
        """Every direct child of that name."""
        return (child for child in self.children if child.name == name)

    def find(self, name: str) -> Parameter | None:
        """The first descendant of that name."""
        for child in self.children:
            found = child if child.name == name else child.find(name)
            if found is not None:
                return found
        return None

    def number(self, name: str) -> int:
        """A numeric field; 0 where it is absent."""
        value = self.fields.get(name, 0)
        return value if isinstance(value, int) else 0

    def text(self, name: str) -> str:
        """A text field; "" where it is absent."""
        value = self.fields.get(name, "")
        return value if isinstance(value, str) else ""


class _Fault(Exception):
    """Internal to decoding: turned into Rejected at the door."""


def decode(message: Message) -> Parameter | Rejected:
    """The tree of a message's body; Rejected (the whole body) where it contradicts itself.

    Parameters of unknown types and vendors are kept under the names ``type N`` and ``vendor V subtype S``.
    """
    row = MESSAGES.get(message.type, Definition(message.type, message.name, (("Data", "rest"),)))
    try:
        fields, at = _decode_fields(row, memoryview(message.body), 0)
        return Parameter(row.name, fields, _decode_children(memoryview(message.body)[at:], 0))
    except _Fault as fault:
        return Rejected(f"{row.name}: {fault}", len(message.body))


def _decode_children(data: memoryview, depth: int) -> tuple[Parameter, ...]:
    if depth > MAX_DEPTH:
        raise _Fault(f"nested deeper than {MAX_DEPTH}")
    out = []
    at = 0
    while at < len(data):
        row, length, start = _header(data, at)
        body = data[at + start : at + length]
        fields, used = _decode_fields(row, body, 0)
        out.append(Parameter(row.name, fields, _decode_children(body[used:], depth + 1)))
        at += length
    return tuple(out)


def _header(data: memoryview, at: int) -> tuple[Definition, int, int]:
    """(definition, whole length, length of the header) of the parameter that begins at `at`."""
    left = len(data) - at
    if data[at] & 0x80:
        number = data[at] & 0x7F
        length = TV_LENGTHS.get(number, 0)
        if not length:
            raise _Fault(f"unknown TV parameter {number}, whose length nobody can know")
        if length > left:
            raise _Fault(f"{PARAMETERS[number].name} is cut short")
        return PARAMETERS[number], length, 1
    if left < 4:
        raise _Fault(f"{left} bytes left over, too few for a parameter")
    word, length = struct.unpack_from(">HH", data, at)
    number = word & 0x3FF
    if not 4 <= length <= left:
        raise _Fault(f"parameter type {number} claims {length} bytes of {left}")
    if number == CUSTOM and length >= 12:
        vendor, subtype = struct.unpack_from(">II", data, at + 4)
        unknown = Definition(subtype, f"vendor {vendor} subtype {subtype}", (("Data", "rest"),))
        return VENDOR_PARAMETERS.get((vendor, subtype), unknown), length, 12
    return PARAMETERS.get(number) or Definition(number, f"type {number}", (("Data", "rest"),)), length, 4


def _decode_fields(row: Definition, data: memoryview, at: int) -> tuple[dict[str, Value], int]:
    fields: dict[str, Value] = {}
    bits = 0
    for name, kind in row.fields:
        if kind[0] == "u" and kind[1:].isdigit() and (int(kind[1:]) < 8 or bits):
            width = int(kind[1:])
            value = _bits(row, data, at * 8 + bits, width)
            bits += width
            at, bits = at + bits // 8, bits % 8
            if name != "_":
                fields[name] = value
            continue
        decoded, at = _decode_field(row, kind, data, at)
        if name != "_":
            fields[name] = decoded
    return fields, at


def _bits(row: Definition, data: memoryview, at_bit: int, width: int) -> int:
    end = -(-(at_bit + width) // 8)
    if end > len(data):
        raise _Fault(f"{row.name} is cut short")
    window = int.from_bytes(data[at_bit // 8 : end], "big")
    return window >> (end * 8 - at_bit - width) & ((1 << width) - 1)


def _decode_field(row: Definition, kind: str, data: memoryview, at: int) -> tuple[Value, int]:
    if kind in _FIXED:
        size = struct.calcsize(_FIXED[kind])
        if at + size > len(data):
            raise _Fault(f"{row.name} is cut short")
        return struct.unpack_from(_FIXED[kind], data, at)[0], at + size
    if kind == "rest":
        return bytes(data[at:]), len(data)
    if kind == "u96":
        size, count = 12, 12
    else:
        if at + 2 > len(data):
            raise _Fault(f"{row.name} is cut short")
        count = int.from_bytes(data[at : at + 2], "big")
        at += 2
        size = {"u1v": -(-count // 8), "u16v": 2 * count, "u32v": 4 * count}.get(kind, count)
    if at + size > len(data):
        raise _Fault(f"{row.name}: {count} elements claimed, {len(data) - at} bytes there")
    raw = bytes(data[at : at + size])
    if kind in _ELEMENTS:
        return struct.unpack(f">{count}{_ELEMENTS[kind]}", raw), at + size
    if kind == "utf8v":
        return raw.decode("utf-8", "replace"), at + size
    return raw, at + size


def encode(name: str, message_id: int, fields: Mapping[str, Value] | None = None, *children: Parameter) -> Message:
    """A message of that name. Raises KeyError or struct.error for what the tables do not allow (our own mistake)."""
    row = MESSAGES[MESSAGE_NUMBERS[name]]
    return Message(row.number, message_id, _encode_fields(row, fields or {}) + encode_parameters(children))


def encode_parameters(parameters: tuple[Parameter, ...]) -> bytes:
    """The bytes of some parameters, one after the other."""
    return b"".join(_encode_parameter(parameter) for parameter in parameters)


def _encode_parameter(parameter: Parameter) -> bytes:
    if parameter.name in VENDOR_PARAMETERS_BY_NAME:
        vendor, row = VENDOR_PARAMETERS_BY_NAME[parameter.name]
        number, prefix = CUSTOM, struct.pack(">II", vendor, row.number)
    else:
        row = PARAMETERS_BY_NAME[parameter.name]
        number, prefix = row.number, b""
    body = prefix + _encode_fields(row, parameter.fields) + encode_parameters(parameter.children)
    if number < 128:
        return bytes((0x80 | number,)) + body
    return struct.pack(">HH", number, 4 + len(body)) + body


def _encode_fields(row: Definition, fields: Mapping[str, Value]) -> bytes:
    out, pending, n_pending = b"", 0, 0
    for name, kind in row.fields:
        value = fields.get(name, 0) if name == "_" or kind in _FIXED or kind[1:].isdigit() else fields[name]
        if isinstance(value, int) and kind[0] == "u" and (int(kind[1:]) < 8 or n_pending):
            width = int(kind[1:])
            pending, n_pending = pending << width | value, n_pending + width
            if n_pending % 8 == 0:
                out, pending, n_pending = out + pending.to_bytes(n_pending // 8, "big"), 0, 0
        else:
            out += _encode_field(kind, value)
    return out


def _encode_field(kind: str, value: Value) -> bytes:
    if isinstance(value, int):
        return struct.pack(_FIXED[kind], value)
    if isinstance(value, tuple):
        return struct.pack(f">H{len(value)}{_ELEMENTS[kind]}", len(value), *value)
    raw = value.encode() if isinstance(value, str) else value
    if kind in ("u96", "rest"):
        return raw
    return struct.pack(">H", len(raw) * 8 if kind == "u1v" else len(raw)) + raw
