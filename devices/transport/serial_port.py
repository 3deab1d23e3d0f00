"""``serial:PATH?baud=115200``: a serial port (or a pseudo-terminal) as a ByteStream on the running loop.

Options: ``baud``; ``dtr=on|off`` (default on: USB CDC devices send nothing without it; ``off`` for boards that reset
on DTR); ``wait`` seconds for the path to appear (default 10 for /dev/serial/by-id and by-path, whose links come from
udev a moment after the device, else 0).
"""

from __future__ import annotations

import asyncio
import os
import termios
from pathlib import Path

import serial

from devices.transport.moniker import Moniker
from edge.core.errors import LinkLost

MIN_BAUD, MAX_BAUD = 300, 4_000_000
UDEV_WAIT_S = 10.0
POLL_S = 0.25
_UDEV_DIRECTORIES = ("/dev/serial/by-id/", "/dev/serial/by-path/")


async def open_serial(moniker: Moniker) -> SerialStream:
    """Open, lock and configure the port. Raises LinkLost naming the path, the cause and the ports that exist."""
    baud = int(moniker.number("baud", 115_200, MIN_BAUD, MAX_BAUD))
    dtr = moniker.switch("dtr", True)
    by_udev = moniker.target.startswith(_UDEV_DIRECTORIES)
    await _wait_for(moniker, moniker.number("wait", UDEV_WAIT_S if by_udev else 0.0, 0.0, 3600.0))
    port = serial.Serial()
    port.port, port.baudrate, port.timeout, port.exclusive = moniker.target, baud, 0, True
    port.dtr = dtr
    try:
        port.open()
        _configure(port.fd)
    except (serial.SerialException, OSError, termios.error, ValueError) as error:
        port.close()
        raise LinkLost(moniker.text, _why_not(moniker.target, error)) from error
    return SerialStream(moniker.text, port)


async def _wait_for(moniker: Moniker, wait_s: float) -> None:
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + wait_s
    while not _exists(moniker.target):
        if loop.time() >= deadline_s:
            ports = list_ports()
            expected = f"expected one of: {', '.join(ports)}" if ports else "this machine has none at present"
            raise LinkLost(moniker.text, f"no serial port {moniker.target}; {expected}")
        await asyncio.sleep(POLL_S)


def _exists(path: str) -> bool:
    return Path(path).exists()  # one stat under /dev: nothing to wait for


def list_ports() -> list[str]:
    """The serial ports of this machine, stable names first."""
    stable = [str(path) for folder in _UDEV_DIRECTORIES for path in sorted(Path(folder).glob("*"))]
    plain = [str(path) for pattern in ("ttyUSB*", "ttyACM*", "ttyAMA*") for path in sorted(Path("/dev").glob(pattern))]
    return stable or plain


def _configure(fd: int) -> None:
    """VMIN 1: an empty read means hung up, not "nothing yet"; no HUPCL: our restart must not reset the board."""
    attributes = termios.tcgetattr(fd)
    attributes[2] &= ~termios.HUPCL
    attributes[6][termios.VMIN] = 1
    attributes[6][termios.VTIME] = 0
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


def _why_not(path: str, error: Exception) -> str:
    text = str(error)
    if "exclusively lock" in text:
        return f"{path} is in use by another program; expected to be its only user"
    if isinstance(error, PermissionError) or "Permission denied" in text:
        return f"no permission to open {path}; expected membership of the group that owns it (usually dialout)"
    return f"cannot open {path}: {text}"


class SerialStream:
    """An open serial port; the file descriptor is watched by the loop, no thread."""

    def __init__(self, name: str, port: serial.Serial) -> None:
        self._name = name
        self._port = port
        self._fd: int = port.fd
        self._readable: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._closed = False
        self._watched = False

    async def read(self, max_bytes: int = 65536) -> bytes:
        """At least one byte; raises LinkLost when the device is unplugged or the stream is closed."""
        while not self._closed:
            try:
                data = os.read(self._fd, max_bytes)
            except BlockingIOError:
                await self._until_readable()
                continue
            except OSError as error:
                raise self._lost(error.strerror or str(error)) from error
            if not data:
                raise self._lost("hung up")
            return data
        raise self._lost("closed")

    async def write(self, data: bytes) -> None:
        """Hand over all bytes; waits while the port's buffer is full."""
        view = memoryview(data)
        while view:
            if self._closed:
                raise self._lost("closed")
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await self._until_writable()
            except OSError as error:
                raise self._lost(error.strerror or str(error)) from error

    async def close(self) -> None:
        """Let go of the port and of its lock; wakes a pending read with LinkLost."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        loop.remove_writer(self._fd)
        _wake(self._readable)
        _wake(self._writable)
        self._port.close()

    async def _until_readable(self) -> None:
        """Wait for bytes. The descriptor stays watched between reads: two system calls a frame are half its cost."""
        loop = asyncio.get_running_loop()
        self._readable = loop.create_future()
        if not self._watched:
            self._watched = True
            loop.add_reader(self._fd, self._on_readable)
        try:
            await self._readable
        finally:
            self._readable = None

    def _on_readable(self) -> None:
        if self._readable is None:  # nobody reads now (a driver that gathers): do not wake the loop for each byte
            self._watched = False
            asyncio.get_running_loop().remove_reader(self._fd)
        else:
            _wake(self._readable)

    async def _until_writable(self) -> None:
        loop = asyncio.get_running_loop()
        self._writable = loop.create_future()
        loop.add_writer(self._fd, _wake, self._writable)
        try:
            await self._writable
        finally:
            self._writable = None
            if not self._closed:
                loop.remove_writer(self._fd)

    def _lost(self, why: str) -> LinkLost:
        return LinkLost(self._name, f"serial port {self._port.port}: {why}")


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
