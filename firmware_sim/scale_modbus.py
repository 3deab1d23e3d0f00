"""A weight transmitter as a Modbus RTU slave; there is no common register map, so a map is a value.

Sources: MODBUS Application Protocol Specification V1.1b3 (functions 03, 04, 06, 16, exceptions) and MODBUS over Serial
Line V1.02 (RTU framing, CRC-16 with polynomial A001).
"""

import asyncio
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from firmware_sim.platform import Indication, Platform, Range
from firmware_sim.stream import ByteStream

READ_HOLDING, READ_INPUT, WRITE_ONE, WRITE_MANY = 3, 4, 6, 16
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
_KINDS: Final = {"i16": "h", "u16": "H", "i32": "i", "u32": "I", "f32": "f"}
_SILENCE_S: Final = 0.02  # longer than 3.5 characters at 2400 baud: what came before is no frame


@dataclass(frozen=True, slots=True)
class Value:
    """One quantity in the map: its register, wire type (i16, u16, i32, u32, f32), grams a count, word order."""

    address: int
    kind: str = "i32"
    grams_per_count: float = 1.0
    low_word_first: bool = False

    def registers(self, grams: float) -> list[int]:
        """The registers that say ``grams``; out of range clips, as transmitters do."""
        number: float = grams / self.grams_per_count
        if self.kind != "f32":
            bits = int(self.kind[1:])
            low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if self.kind[0] == "i" else (0, (1 << bits) - 1)
            number = min(max(round(number), low), high)
        raw = struct.pack(f">{_KINDS[self.kind]}", number)
        words = [word for (word,) in struct.iter_unpack(">H", raw)]
        return words[::-1] if self.low_word_first else words


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """What a transmitter's manual says. Bits are numbered from 0 of the ``status`` register.

    ``commands`` of the ``command`` register: code → "zero", "tare" or "clear tare". ``constants`` are identity and
    settings that a master may read.
    """

    gross: Value
    net: Value
    status: int
    stable_bit: int
    overload_bit: int
    underload_bit: int
    tare: Value | None = None
    command: int | None = None
    commands: Mapping[int, str] = field(default_factory=dict)
    constants: Mapping[int, int] = field(default_factory=dict)
    reads: frozenset[int] = frozenset({READ_HOLDING, READ_INPUT})
    stable_is_zero: bool = False


class ModbusScale:
    """A slave at ``unit`` that weighs ``platform``. ``mute`` is a fault: power is on, the line is broken.

    ``counters``: requests, answered, exceptions, foreign (for another unit), dropped (bytes that were no frame).
    """

    def __init__(self, platform: Platform, registers: RegisterMap, unit: int = 1) -> None:
        self.platform = platform
        self.registers = registers
        self.unit = unit
        self.mute = False
        self.counters: Counter[str] = Counter()

    async def serve(self, stream: ByteStream) -> None:
        """Answer until the master hangs up."""
        buffer = bytearray()
        loop = asyncio.get_running_loop()
        last_s = loop.time()
        try:
            while data := await stream.read(512):
                if buffer and loop.time() - last_s > _SILENCE_S:
                    self.counters["dropped"] += len(buffer)
                    buffer.clear()
                last_s = loop.time()
                buffer += data
                for request in self._frames(buffer):
                    answer = self._answer(request)
                    if answer is not None and not self.mute:
                        await stream.write(answer)
        except ConnectionError:
            self.counters["hung_up"] += 1

    def _frames(self, buffer: bytearray) -> list[bytes]:
        """Cut complete requests with a right CRC off the buffer; a byte that begins none is dropped."""
        out = []
        while len(buffer) >= 4:
            n = _length(buffer)
            if n is not None and len(buffer) < n:
                break
            if n is None or crc16(buffer[: n - 2]) != int.from_bytes(buffer[n - 2 : n], "little"):
                self.counters["dropped"] += 1
                del buffer[0]
                continue
            out.append(bytes(buffer[: n - 2]))
            del buffer[:n]
        return out

    def _answer(self, request: bytes) -> bytes | None:
        unit, function, body = request[0], request[1], request[2:]
        if unit not in (0, self.unit):
            self.counters["foreign"] += 1
            return None
        self.counters["requests"] += 1
        result = self._do(function, body)
        if unit == 0:
            return None  # a broadcast is obeyed, not answered
        if isinstance(result, int):
            self.counters["exceptions"] += 1
            result = bytes((function | 0x80, result))
        self.counters["answered"] += 1
        frame = bytes((unit,)) + result
        return frame + crc16(frame).to_bytes(2, "little")

    def _do(self, function: int, body: bytes) -> bytes | int:
        """The answer without unit and CRC, or an exception's code."""
        if function in self.registers.reads:
            address, count = struct.unpack(">HH", body)
            return self._read(function, address, count)
        if function == WRITE_ONE:
            address, value = struct.unpack(">HH", body)
            problem = self._write(address, [value])
            return problem or bytes((function,)) + body
        if function == WRITE_MANY:
            address, count, n = struct.unpack_from(">HHB", body)
            if n != 2 * count or not 1 <= count <= 123:
                return ILLEGAL_VALUE
            problem = self._write(address, [v for (v,) in struct.iter_unpack(">H", body[5:])])
            return problem or bytes((function,)) + body[:4]
        return ILLEGAL_FUNCTION

    def _read(self, function: int, address: int, count: int) -> bytes | int:
        if not 1 <= count <= 125:
            return ILLEGAL_VALUE
        shown = self._shown(self.platform.read(self._t_us()))
        wanted = range(address, address + count)
        if not all(a in shown for a in wanted):
            return ILLEGAL_ADDRESS
        return bytes((function, 2 * count)) + b"".join(shown[a].to_bytes(2, "big") for a in wanted)

    def _shown(self, now: Indication) -> dict[int, int]:
        """Every readable register."""
        m = self.registers
        out = dict(m.constants)
        weights: list[tuple[Value | None, float]] = [(m.gross, now.gross_g), (m.net, now.net_g), (m.tare, now.tare_g)]
        for value, grams in weights:
            if value is not None:
                out |= {value.address + i: word for i, word in enumerate(value.registers(grams))}
        stable = (now.stable != m.stable_is_zero) << m.stable_bit
        over, under = (now.range is Range.OVER) << m.overload_bit, (now.range is Range.UNDER) << m.underload_bit
        out[m.status] = stable | over | under
        if m.command is not None:
            out[m.command] = 0
        return out

    def _write(self, address: int, values: list[int]) -> int:
        """Obey a command register; 0 or an exception's code."""
        if address != self.registers.command or len(values) != 1:
            return ILLEGAL_ADDRESS
        acts: dict[str, Callable[[], object]] = {
            "zero": lambda: self.platform.zero(self._t_us()),
            "tare": lambda: self.platform.tare(self._t_us()),
            "clear tare": lambda: self.platform.preset_tare(0.0),
        }
        act = acts.get(self.registers.commands.get(values[0], ""))
        if act is None:
            return ILLEGAL_VALUE
        act()
        return 0

    @staticmethod
    def _t_us() -> int:
        return int(asyncio.get_running_loop().time() * 1e6)


def _length(buffer: bytearray) -> int | None:
    """Bytes of the request that begins here, None when it can be none; grows with what has arrived."""
    function = buffer[1]
    if function == WRITE_MANY:
        return 9 + buffer[6] if len(buffer) > 6 else 9
    return 8 if 1 <= function <= WRITE_ONE else None


def crc16(raw: bytes | bytearray) -> int:
    """CRC of Modbus RTU: polynomial A001 (reflected 8005), start FFFF; sent low byte first."""
    crc = 0xFFFF
    for byte in raw:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc
