"""Byte streams a device role talks over: in memory, TCP, or a real pseudo-terminal.

A role sees nothing but `ByteStream`, so the same role runs over a wire of the machine (real time) and over an
in-memory link under a virtual-time event loop. Only the running loop's clock is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

BUFFER_LIMIT = 256 * 1024
"""Bytes an in-memory direction holds before its writer waits (the role of a socket buffer)."""

BITS_PER_BYTE_8N1 = 10


@runtime_checkable
class ByteStream(Protocol):
    """One end of a full-duplex link."""

    async def read(self, n: int) -> bytes:
        """Between 1 and `n` bytes; b"" once the other side has closed."""
        ...

    async def write(self, data: bytes) -> None:
        """Send all of `data`; `ConnectionError` when the link is gone."""
        ...

    async def close(self) -> None:
        """Hang up. Closing twice is harmless."""
        ...


Role = Callable[[ByteStream], Awaitable[None]]
"""What serves one connection: returns when the peer has hung up."""


class _Lane:
    """One direction of a memory pipe: a bounded byte buffer with one reader and one writer."""

    __slots__ = ("_data", "_reader", "_writer", "closed")

    def __init__(self) -> None:
        self._data = bytearray()
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self.closed = False

    @staticmethod
    def _wake(waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def close(self) -> None:
        self.closed = True
        self._wake(self._reader)
        self._wake(self._writer)

    async def read(self, n: int) -> bytes:
        while not self._data:
            if self.closed:
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        out = bytes(self._data[:n])
        del self._data[:n]
        self._wake(self._writer)
        return out

    async def write(self, data: bytes) -> None:
        if self.closed:
            raise BrokenPipeError("in-memory link: the other side has closed")
        self._data += data
        self._wake(self._reader)
        while len(self._data) > BUFFER_LIMIT and not self.closed:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None


class MemoryStream:
    """One end of `memory_pipe()`."""

    __slots__ = ("_rx", "_tx")

    def __init__(self, rx: _Lane, tx: _Lane) -> None:
        self._rx = rx
        self._tx = tx

    async def read(self, n: int) -> bytes:
        """Between 1 and `n` bytes, or b"" after a close by either side."""
        return await self._rx.read(n)

    async def write(self, data: bytes) -> None:
        """Hand over all bytes; waits while the peer has too many unread; BrokenPipeError when closed."""
        await self._tx.write(data)

    async def close(self) -> None:
        """Close both directions; the peer still reads what was written before."""
        self._tx.close()
        self._rx.close()


def memory_pipe() -> tuple[MemoryStream, MemoryStream]:
    """The two ends of a lossless in-memory link."""
    a_to_b, b_to_a = _Lane(), _Lane()
    return MemoryStream(b_to_a, a_to_b), MemoryStream(a_to_b, b_to_a)


class TcpStream:
    """An asyncio TCP connection as a ByteStream."""

    __slots__ = ("_reader", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, n: int) -> bytes:
        """Between 1 and `n` bytes; b"" when the peer closed or reset the connection."""
        try:
            return await self._reader.read(n)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        """Send; waits while the socket's buffer is full; ConnectionError when the peer is gone."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """Close the socket."""
        self._writer.close()
        with contextlib.suppress(ConnectionError, OSError):
            await self._writer.wait_closed()


async def connect_tcp(host: str, port: int) -> TcpStream:
    """Open a client connection (used by tests and by phones)."""
    return TcpStream(*await asyncio.open_connection(host, port))


async def serve_tcp(role: Role, host: str = "127.0.0.1", port: int = 0) -> tuple[asyncio.Server, int]:
    """Listen; every connection is served by `role`. Returns the server and the port it got."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = TcpStream(reader, writer)
        try:
            await role(stream)
        except ConnectionError:
            pass  # the client hung up in the middle of a write: the role has nobody left to talk to
        finally:
            await stream.close()

    server = await asyncio.start_server(connected, host, port)
    return server, int(server.sockets[0].getsockname()[1])


class PtyStream:
    """The device's end of a real pseudo-terminal; the host opens `path` (or the symlink) as a serial port.

    A UART does not wait for its host: what does not fit the kernel's buffer is lost and counted in
    `dropped_bytes`. A pty ignores the baud rate, so `baud` paces the writes (8N1, ten bits a byte).
    """

    def __init__(self, link: Path | None = None, baud: int | None = None) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self.dropped_bytes = 0
        self._baud = baud
        self._line_free = 0.0
        self._link = link
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        if link is not None:
            _point(link, self.path)

    async def read(self, n: int) -> bytes:
        """Between 1 and `n` bytes from the host; b"" once closed by our own side."""
        loop = asyncio.get_running_loop()
        while not self._closed:
            try:
                return os.read(self._master, n)
            except BlockingIOError:
                pass
            except OSError:  # EIO: hung up
                return b""
            self._waiter = loop.create_future()
            loop.add_reader(self._master, self._wake)
            try:
                await self._waiter
            finally:
                if not self._closed:
                    loop.remove_reader(self._master)
                self._waiter = None
        return b""

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def write(self, data: bytes) -> None:
        """Send at the line's pace; never blocks on a host that does not read."""
        if self._closed:
            raise BrokenPipeError(f"{self.path}: unplugged")
        try:
            sent = os.write(self._master, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise BrokenPipeError(f"{self.path}: {error.strerror}") from error
        self.dropped_bytes += len(data) - sent
        if self._baud is not None:
            await self._pace(len(data), self._baud)

    async def _pace(self, n_bytes: int, baud: int) -> None:
        loop = asyncio.get_running_loop()
        self._line_free = max(self._line_free, loop.time()) + n_bytes * BITS_PER_BYTE_8N1 / baud
        ahead = self._line_free - loop.time()
        if ahead > 0.02:  # a UART's FIFO and driver buffer take small frames at once
            await asyncio.sleep(ahead)

    async def close(self) -> None:
        """Unplug: the host's read fails, the symlink goes."""
        if self._closed:
            return
        self._closed = True
        if self._waiter is not None:
            asyncio.get_running_loop().remove_reader(self._master)
            self._wake()
        os.close(self._slave)
        os.close(self._master)
        if self._link is not None:
            self._link.unlink(missing_ok=True)


def _point(link: Path, target: str) -> None:
    """Make `link` a symlink to `target`, replacing an older one atomically."""
    fresh = link.with_name(link.name + ".new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
