"""A serial UHF module of the YRM100/M100/R200 family.

Source: "UHF RFID module YRM100/M100 serial protocol" (Invelion, V2.x; the R200 manual agrees): frame BB type command
length16 parameters checksum 7E; type 00 command, 01 answer, 02 notice; checksum is the low byte of the sum from the
type to the last parameter. An inventory round that reads nothing answers error 15 (command FF).
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Callable

from firmware_sim.llrp_inventory import TagSource
from firmware_sim.llrp_report import PC_96_BITS, crc16
from firmware_sim.stream import ByteStream

HEAD, TAIL = 0xBB, 0x7E
COMMAND, ANSWER, NOTICE = 0, 1, 2
GET_INFO, SINGLE, MULTI, STOP = 0x03, 0x22, 0x27, 0x28
SET_REGION, SET_CHANNEL, GET_CHANNEL, SET_POWER, GET_POWER = 0x07, 0xAB, 0xAA, 0xB6, 0xB7
SET_HOPPING, SET_SELECT, SET_SELECT_MODE, GET_QUERY, SET_QUERY = 0xAD, 0x0C, 0x12, 0x0D, 0x0E
SLEEP, SET_BAUD = 0x17, 0x11
FAILED = 0xFF
ERROR_COMMAND, ERROR_INVENTORY = 0x17, 0x15
COMMAND_LIMIT = 64
"""Longest parameters of a command (a select mask of 32 bytes)."""
BYTE_TIMEOUT_S = 0.1
"""A command whose rest does not come is forgotten."""
FULL_POWER_CDBM = 2600
SENSITIVITY_DBM = -80.0
SETTING_BYTES = {SET_REGION: 1, SET_CHANNEL: 1, SET_POWER: 2, SET_HOPPING: 1, SET_SELECT_MODE: 1, SET_QUERY: 2}
"""Length of the value of each setting."""
GETS = {GET_POWER: SET_POWER, GET_CHANNEL: SET_CHANNEL, GET_QUERY: SET_QUERY}
ROUND_S = 0.1
"""A round of the module takes about this long."""
INFO = {0: b"M100 26dBm V1.0", 1: b"V2.3.5", 2: b"MagicRF"}


def frame(kind: int, command: int, parameters: bytes = b"") -> bytes:
    """One frame."""
    body = struct.pack(">BBH", kind, command, len(parameters)) + parameters
    return bytes((HEAD,)) + body + bytes((sum(body) & 0xFF, TAIL))


class R200Module:
    """The role. `serve` talks to one host on its line."""

    def __init__(self, source: TagSource, clock_us: Callable[[], int]) -> None:
        """`clock_us`: simulated time now, as in `source`; only port 1 of it is used."""
        self.counters: Counter[str] = Counter()
        self.settings = {
            SET_POWER: FULL_POWER_CDBM,
            SET_REGION: 1,
            SET_CHANNEL: 1,
            SET_QUERY: 0x1020,
            SET_HOPPING: 0xFF,
        }
        """By the command that sets it."""
        self._source = source
        self._clock_us = clock_us
        self._rounds = 0
        self._since_us = 0
        self._buffer = bytearray()

    async def serve(self, stream: ByteStream) -> None:
        """Answer commands and run inventory rounds until the line closes."""
        loop = asyncio.get_running_loop()
        heard_s = loop.time()
        self._rounds = 0
        self._buffer.clear()
        self._since_us = self._clock_us()
        try:
            async with asyncio.TaskGroup() as tasks:
                rounds = tasks.create_task(self._run_rounds(stream))
                while data := await stream.read(512):
                    if loop.time() - heard_s > BYTE_TIMEOUT_S:
                        self.counters["skipped"] += len(self._buffer)
                        self._buffer.clear()
                    heard_s = loop.time()
                    self._buffer += data
                    for command, parameters in self._frames():
                        await stream.write(self._obey(command, parameters))
                rounds.cancel()
        except* ConnectionError:
            self.counters["hung_up"] += 1

    def _frames(self) -> list[tuple[int, bytes]]:
        """Commands in the buffer; anything else is skipped byte by byte and counted."""
        out: list[tuple[int, bytes]] = []
        buffer = self._buffer
        while len(buffer) >= 7:
            kind, command, length = struct.unpack_from(">BBH", buffer, 1)
            if buffer[0] != HEAD or kind != COMMAND or length > COMMAND_LIMIT:
                self.counters["skipped"] += 1
                del buffer[0]
                continue
            if len(buffer) < 7 + length:
                break
            body = bytes(buffer[1 : 5 + length])
            if buffer[5 + length] != sum(body) & 0xFF or buffer[6 + length] != TAIL:
                self.counters["skipped"] += 1
                del buffer[0]
                continue
            del buffer[: 7 + length]
            self.counters["commands"] += 1
            out.append((command, body[4:]))
        return out

    def _obey(self, command: int, parameters: bytes) -> bytes:
        if command == SINGLE:
            self._since_us = max(self._since_us, self._clock_us() - 1_000_000)
            return self._round(limit=1)
        if command == MULTI:
            if len(parameters) != 3 or parameters[0] != 0x22:
                return frame(ANSWER, FAILED, bytes((ERROR_COMMAND,)))
            self._rounds = int.from_bytes(parameters[1:], "big") or 0xFFFF
            self._since_us = self._clock_us()
            return b""
        if command == STOP:
            self._rounds = 0
            return frame(ANSWER, STOP, b"\x00")
        return self._configure(command, parameters)

    def _configure(self, command: int, parameters: bytes) -> bytes:
        if command == GET_INFO:
            kind = parameters[0] if parameters else 0
            return frame(ANSWER, GET_INFO, bytes((kind,)) + INFO.get(kind, b""))
        if command in GETS:
            value, size = self.settings[GETS[command]], SETTING_BYTES[GETS[command]]
            return frame(ANSWER, command, value.to_bytes(size, "big"))
        if command in SETTING_BYTES:
            if len(parameters) != SETTING_BYTES[command]:
                return frame(ANSWER, FAILED, bytes((ERROR_COMMAND,)))
            self.settings[command] = int.from_bytes(parameters, "big")
            return frame(ANSWER, command, b"\x00")
        known = command in (SET_SELECT, SLEEP, SET_BAUD)
        return frame(ANSWER, command, b"\x00") if known else frame(ANSWER, FAILED, bytes((ERROR_COMMAND,)))

    async def _run_rounds(self, stream: ByteStream) -> None:
        while True:
            await asyncio.sleep(ROUND_S)
            if self._rounds:
                self._rounds -= 1
                await stream.write(self._round(limit=None))

    def _round(self, limit: int | None) -> bytes:
        """One round's notices, or the error answer of an empty one."""
        now_us = self._clock_us()
        reads = self._source.reads_between(self._since_us, now_us)
        self._since_us = now_us
        levels = zip(reads.tag.tolist(), reads.port.tolist(), reads.rssi_cdbm.tolist(), strict=True)
        loss_db = (FULL_POWER_CDBM - self.settings[SET_POWER]) / 100
        weakened = [(tag, level / 100 - loss_db) for tag, port, level in levels if port == 1]
        heard = [(tag, level) for tag, level in weakened if level > SENSITIVITY_DBM]
        if not heard:
            return frame(ANSWER, FAILED, bytes((ERROR_INVENTORY,)))
        epcs = self._source.epcs
        out = b""
        for tag, level in heard[:limit]:
            stored = struct.pack(">H", PC_96_BITS) + epcs[tag].tobytes()
            rssi = struct.pack(">b", max(-128, min(127, round(level))))
            out += frame(NOTICE, SINGLE, rssi + stored + struct.pack(">H", crc16(stored)))
            self.counters["notices"] += 1
        return out
