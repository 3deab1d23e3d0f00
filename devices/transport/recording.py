"""Recordings of a link: `Tap` writes one while the stream is used, ``replay:FILE?speed=1`` plays it back.

Format, all integers big-endian: magic ``SSTAP`` + version u8 (1) + u16 length + that many bytes UTF-8 (the moniker),
then records of u64 µs since the start of the recording, u8 direction (0 from the device, 1 to the device), u32 length,
and the bytes. A file may end inside a record (the power went away); that record is ignored.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from devices.transport.moniker import Moniker
from devices.transport.stream import ByteStream
from edge.core.errors import LinkLost
from edge.core.plain import PlainError

MAGIC = b"SSTAP"
VERSION = 1
FROM_DEVICE, TO_DEVICE = 0, 1
MAX_RECORD_BYTES = 1 << 24
MAX_RECORDING_BYTES = 1 << 30
_HEAD = struct.Struct(">5sBH")
_RECORD = struct.Struct(">QBI")


@dataclass(frozen=True, slots=True)
class Record:
    """One chunk as it passed: µs since the start, FROM_DEVICE or TO_DEVICE, bytes."""

    at_us: int
    direction: int
    data: bytes


class Tap:
    """A ByteStream that writes everything that passes to a file, then behaves like the one it wraps.

    The recording stops for good (and the link goes on) when the file reaches `max_bytes` or cannot be written;
    `fault` then says why.
    """

    def __init__(self, stream: ByteStream, path: Path, name: str = "", max_bytes: int = MAX_RECORDING_BYTES) -> None:
        self._stream = stream
        self._left_bytes = max_bytes
        self._started_s = asyncio.get_running_loop().time()
        self.fault = ""
        self._file: BinaryIO | None = path.open("wb", buffering=0)
        name_bytes = name.encode()[:65535]
        self._file.write(_HEAD.pack(MAGIC, VERSION, len(name_bytes)) + name_bytes)

    async def read(self, max_bytes: int = 65536) -> bytes:
        """As the wrapped stream; recorded as from the device."""
        data = await self._stream.read(max_bytes)
        self._record(FROM_DEVICE, data)
        return data

    async def write(self, data: bytes) -> None:
        """As the wrapped stream; recorded as to the device."""
        self._record(TO_DEVICE, data)
        await self._stream.write(data)

    async def close(self) -> None:
        """Close the recording and the wrapped stream."""
        self._stop("")
        await self._stream.close()

    def _record(self, direction: int, data: bytes) -> None:
        if self._file is None:
            return
        self._left_bytes -= _RECORD.size + len(data)
        if self._left_bytes < 0:
            self._stop("the recording reached its largest size")
            return
        at_us = round((asyncio.get_running_loop().time() - self._started_s) * 1e6)
        try:
            self._file.write(_RECORD.pack(at_us, direction, len(data)) + data)
        except OSError as error:  # a full disk must not take the device away
            self._stop(str(error))

    def _stop(self, fault: str) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self.fault = fault


def read_recording(path: Path) -> Iterator[Record]:
    """The records of a file, oldest first. Raises PlainError where it is no recording of a version we know."""
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        magic, version, name_bytes = _HEAD.unpack(head) if len(head) == _HEAD.size else (head, 0, 0)
        if magic != MAGIC or version != VERSION:
            raise PlainError(
                "replay file", str(path), f"a link recording of version {VERSION}, as the moniker option tap= writes it"
            )
        file.seek(name_bytes, 1)
        while len(head := file.read(_RECORD.size)) == _RECORD.size:
            at_us, direction, n_bytes = _RECORD.unpack(head)
            if direction not in (FROM_DEVICE, TO_DEVICE) or n_bytes > MAX_RECORD_BYTES:
                raise PlainError("replay file", str(path), "whole records; this one is damaged")
            data = file.read(n_bytes)
            if len(data) < n_bytes:
                return
            yield Record(at_us, direction, data)


def open_replay(moniker: Moniker) -> ReplayStream:
    """Open a recording. Option ``speed``: 1 as recorded (default), 10 ten times faster, 0 without waiting."""
    path = Path(moniker.target)
    if not path.is_file():
        raise LinkLost(moniker.text, f"no recording {path}; expected a file written by a tap")
    return ReplayStream(moniker.text, path, moniker.number("speed", 1.0, 0.0, 1e6))


class ReplayStream:
    """What the device said, at its pace; what we write goes nowhere. The end of the file is LinkLost."""

    def __init__(self, name: str, path: Path, speed: float) -> None:
        self._name = name
        self._records = (record for record in read_recording(path) if record.direction == FROM_DEVICE)
        self._speed = speed
        self._started_s = asyncio.get_running_loop().time()
        self._due: Record | None = None
        self._rest = b""
        self._closed = False

    async def read(self, max_bytes: int = 65536) -> bytes:
        """The next chunk when it is due; raises LinkLost at the end of the recording."""
        while not self._rest and not self._closed:
            record = self._due or next(self._records, None)
            if record is None:
                raise LinkLost(self._name, "end of the recording")
            self._due = record  # kept while we wait: a cancelled read must not lose it
            if self._speed > 0:
                due_s = self._started_s + record.at_us / 1e6 / self._speed
                await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
            else:
                await asyncio.sleep(0)  # a long recording must not keep the loop to itself
            self._rest, self._due = record.data, None
        if self._closed:
            raise LinkLost(self._name, "closed")
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return data

    async def write(self, data: bytes) -> None:
        """Nothing listens; raises LinkLost once closed."""
        if self._closed:
            raise LinkLost(self._name, "closed")

    async def close(self) -> None:
        """Close the file."""
        self._closed = True
        self._records.close()
