"""The driver of a serial UHF module: stop what it does, set it up, poll for ever."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from devices.accounting import ByteAccount
from devices.driver import DriverContext, DriverInfo, Emit
from devices.rejected import Rejected
from devices.rfid_r200.codec import (
    COMMAND,
    ERROR,
    GET_INFO,
    GET_QUERY,
    MULTI_POLL,
    NO_TAG,
    NOTICE,
    RESPONSE,
    SET_POWER,
    SET_QUERY,
    SET_REGION,
    STOP_POLL,
    Decoder,
    Frame,
    TagNotice,
    encode,
    error_text,
    read_notice,
)
from devices.transport.moniker import Link
from devices.transport.stream import ByteStream
from edge.core.errors import DeviceMisbehaved, DeviceRefused, DeviceTimeout
from edge.core.observation import DeviceIdentity, DeviceState, DeviceStatus, TagReads
from edge.core.plain import OneOf, Within

ANSWER_S = 0.5
TRIES = 3  # the line has no flow control: an answer may be lost between notices
QUIET_S = 2.0  # a module that polls says something at each round, tag or no tag
ROUNDS = 10_000  # of one multi-poll command (u16)
ANTENNA = 1  # these modules have one port
REGIONS = {"cn900": 1, "us": 2, "eu": 3, "cn800": 4, "kr": 6}
_HARDWARE, _SOFTWARE = 0, 1  # what GET_INFO asks for


@dataclass(frozen=True, slots=True)
class Settings:
    """One serial UHF module."""

    moniker: Link
    """Such as ``serial:/dev/serial/by-id/…?baud=115200``."""
    region: Annotated[str, OneOf(("", *REGIONS))] = ""
    """Of the radio; empty keeps the module's."""
    tx_power_dbm: Annotated[float | None, Within(-20, 40, "dBm")] = None
    """Transmit power; left out: the module's own."""
    session: Annotated[int | None, Within(0, 3, "a Gen2 session")] = None
    batch_ms: Annotated[int, Within(1, 250, "ms")] = 100
    """So long reads are collected into one observation."""
    check_crc: bool = True
    """Drop tags whose own CRC-16 does not fit (the frame's 8-bit checksum alone is weak)."""


def tag_reads(device_id: str, now_us: int, notices: list[tuple[TagNotice, int]]) -> Iterator[TagReads]:
    """Notices with the engine times (µs) at which they came, as one observation for each EPC width among them."""
    for width in sorted({len(tag.epc) for tag, _ in notices if tag.epc}):
        mine = [(tag, at_us) for tag, at_us in notices if len(tag.epc) == width]
        n = len(mine)
        yield TagReads(
            device_id,
            now_us,
            np.frombuffer(b"".join(tag.epc for tag, _ in mine), np.uint8).reshape(n, width),
            np.full(n, ANTENNA, np.uint16),
            np.array([tag.rssi_dbm * 100 for tag, _ in mine], np.int16),
            np.array([at_us for _, at_us in mine], np.int64),
            np.ones(n, np.uint16),
        )


class R200Driver:
    """One module at one position."""

    def __init__(self, context: DriverContext, settings: Settings) -> None:
        self._context = context
        self._settings = settings
        self._decoder = Decoder()
        self._fed_bytes = 0
        self._bytes = ByteAccount(context.counters)
        self._inbox: deque[Frame] = deque()
        self._heard_s = 0.0

    async def run(self, emit: Emit) -> None:
        """Converse until cancelled. Raises LinkLost, DeviceTimeout, DeviceRefused or DeviceMisbehaved."""
        stream = await self._context.open_stream(self._settings.moniker)
        try:
            await self._ask(stream, STOP_POLL)
            await self._introduce(stream, emit)
            await self._set_up(stream)
            device_id = self._context.device_id
            emit(DeviceStatus(device_id, self._context.now_us(), DeviceState.ONLINE))
            while True:
                await stream.write(encode(Frame(COMMAND, MULTI_POLL, b"\x22" + ROUNDS.to_bytes(2, "big"))))
                await self._poll(stream, emit)
                await self._ask(stream, STOP_POLL)  # it fell silent: done with its rounds, or gone
        finally:
            await stream.close()

    async def _introduce(self, stream: ByteStream, emit: Emit) -> None:
        texts = []
        for what in (_HARDWARE, _SOFTWARE):
            answer = await self._ask(stream, GET_INFO, bytes((what,)))
            texts.append(answer.data[1:].decode("ascii", "replace").strip("\0 "))
        emit(DeviceIdentity(self._context.device_id, self._context.now_us(), "", *texts))

    async def _set_up(self, stream: ByteStream) -> None:
        settings = self._settings
        if settings.region:
            if settings.region not in REGIONS:
                raise self._refused(f"region = {settings.region!r}: expected one of {', '.join(REGIONS)}")
            await self._ask(stream, SET_REGION, bytes((REGIONS[settings.region],)))
        if settings.tx_power_dbm is not None:
            if not 0 <= settings.tx_power_dbm <= 33:
                raise self._refused(f"tx_power_dbm = {settings.tx_power_dbm!r}: expected 0 to 33")
            await self._ask(stream, SET_POWER, round(settings.tx_power_dbm * 100).to_bytes(2, "big"))
        if settings.session is not None:
            if not 0 <= settings.session <= 3:
                raise self._refused(f"session = {settings.session!r}: expected 0 to 3")
            answer = await self._ask(stream, GET_QUERY)
            query = int.from_bytes(answer.data[:2], "big") & ~0x0300 | settings.session << 8  # bits 9–8
            await self._ask(stream, SET_QUERY, query.to_bytes(2, "big"))

    async def _poll(self, stream: ByteStream, emit: Emit) -> None:
        """Read tags until the module has said nothing for QUIET_S."""
        loop = asyncio.get_running_loop()
        self._heard_s = loop.time()
        while loop.time() < self._heard_s + QUIET_S:
            notices: list[tuple[TagNotice, int]] = []
            try:
                async with asyncio.timeout_at(self._heard_s + QUIET_S) as deadline:
                    await self._gather(stream, notices, deadline)
            except TimeoutError:
                pass  # the batch is due, or nothing comes
            finally:  # also when the link is lost: what has come has come
                self._tell(notices, emit)

    async def _gather(
        self, stream: ByteStream, notices: list[tuple[TagNotice, int]], deadline: asyncio.Timeout
    ) -> None:
        """Collect notices until the deadline, which is `batch_ms` after the first of them."""
        while True:
            frame = await self._receive(stream)
            self._heard_s = asyncio.get_running_loop().time()
            if not notices:
                deadline.reschedule(self._heard_s + self._settings.batch_ms / 1e3)
            self._note(frame, notices)

    def _note(self, frame: Frame, notices: list[tuple[TagNotice, int]]) -> None:
        if frame.type == NOTICE:
            tag = read_notice(frame)
            if isinstance(tag, Rejected):
                self._context.count("frames_rejected")
            elif self._settings.check_crc and not tag.crc_ok:
                self._context.count("tags_rejected_by_crc")
            else:
                notices.append((tag, self._context.now_us()))
        elif frame.error is not None and frame.error != NO_TAG:
            self._context.count(f"module_error_{frame.error:02x}")

    def _tell(self, notices: list[tuple[TagNotice, int]], emit: Emit) -> None:
        """One observation for each EPC width among the notices."""
        if notices:
            self._context.count("tags_in", len(notices))
        for reads in tag_reads(self._context.device_id, self._context.now_us(), notices):
            emit(reads)

    async def _ask(self, stream: ByteStream, command: int, data: bytes = b"") -> Frame:
        """Send and wait for the answer, three times at most.

        Raises DeviceRefused with the module's reason, DeviceTimeout where it says nothing, DeviceMisbehaved where what
        comes is no answer.
        """
        before = self._fed_bytes
        for _ in range(TRIES):
            await stream.write(encode(Frame(COMMAND, command, data)))
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await self._answer(stream, command)
            except TimeoutError:
                self._context.count("answers_missing")
        said = f"no answer to command 0x{command:02X} in {TRIES} tries"
        if n_bytes := self._fed_bytes - before:
            came = f"{n_bytes} bytes came and {said}; expected frames BB … 7E at the module's baud rate, 8N1"
            raise DeviceMisbehaved(self._context.device_id, came)
        raise DeviceTimeout(self._context.device_id, f"{said}: check baud rate and wiring")

    async def _answer(self, stream: ByteStream, command: int) -> Frame:
        while True:
            frame = await self._receive(stream)
            if frame.type == RESPONSE and frame.command == command:
                return frame
            if command != STOP_POLL and frame.command == ERROR and frame.error not in (None, NO_TAG):
                raise self._refused(f"command 0x{command:02X}: {error_text(frame.data[0])}")

    async def _receive(self, stream: ByteStream) -> Frame:
        """The next good frame; bad ones are counted."""
        while not self._inbox:
            data = await stream.read()
            decoder = self._decoder
            frames = decoder.feed(data)
            self._fed_bytes += len(data)
            self._bytes.tell(
                self._fed_bytes,
                decoder.accepted_bytes,
                decoder.rejected_bytes,
                decoder.skipped_bytes,
                decoder.buffered_bytes,
            )
            for found in frames:
                if isinstance(found, Frame):
                    self._inbox.append(found)
                else:
                    self._context.count("frames_rejected")
        return self._inbox.popleft()

    def _refused(self, detail: str) -> DeviceRefused:
        return DeviceRefused(self._context.device_id, detail)


INFO = DriverInfo("rfid_r200", "UHF RFID module (YRM100, M100, R200)", Settings, R200Driver)
