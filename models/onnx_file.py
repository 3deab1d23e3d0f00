"""What an ONNX file holds, read without any ONNX package: its operators, and whether it points to other files.

Only the protocol-buffer wire format (https://protobuf.dev/programming-guides/encoding/) and four field numbers of
onnx.proto (IR version 8) are needed: ModelProto.graph 7, GraphProto.node 1 and initializer 5, NodeProto.op_type 4 and
domain 7, TensorProto.data_location 14.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from models.errors import ModelError


@dataclass(frozen=True, slots=True)
class FileContent:
    """Operators as "domain:type" (plain type for the standard domain), and whether tensors lie outside the file."""

    operators: frozenset[str]
    external_data: bool


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ModelError("ONNX file: a number runs past the end: expected a whole ModelProto")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of one message: varints as int, length-delimited as bytes, fixed ones skipped."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
        elif kind == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ModelError("ONNX file: a field runs past the end: expected a whole ModelProto")
            yield key >> 3, data[at : at + length]
            at += length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ModelError(f"ONNX file: wire type {kind}: expected 0, 1, 2 or 5")


def _messages(data: memoryview, number: int) -> Iterator[memoryview]:
    for field, value in _fields(data):
        if field == number and isinstance(value, memoryview):
            yield value


def _operator(node: memoryview) -> str:
    texts = {
        n: bytes(v).decode("utf-8", "replace") for n, v in _fields(node) if isinstance(v, memoryview) and n in (4, 7)
    }
    domain = texts.get(7, "")
    name = texts.get(4, "")
    return f"{domain}:{name}" if domain not in ("", "ai.onnx") else name


def read_content(data: bytes) -> FileContent:
    """Operators and external references of an ONNX file. Raises `ModelError` where it is no ONNX file."""
    operators: set[str] = set()
    external = False
    for graph in _messages(memoryview(data), 7):
        operators.update(_operator(node) for node in _messages(graph, 1))
        for tensor in _messages(graph, 5):
            external = external or any(n == 14 and value != 0 for n, value in _fields(tensor))
    if not operators:
        raise ModelError(f"ONNX file of {len(data)} bytes: no graph with operators found in it")
    return FileContent(frozenset(operators), external)
