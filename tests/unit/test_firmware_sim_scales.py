"""The scale roles: MT-SICS by its manual's examples, Modbus RTU by pymodbus's own client."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient

from firmware_sim.platform import Platform, PlatformTraits, Range
from firmware_sim.scale_modbus import ModbusScale, RegisterMap, Value, crc16
from firmware_sim.scale_sics import SicsScale
from firmware_sim.stream import MemoryStream, memory_pipe, serve_tcp
from tests.virtual_time import run_virtual


class Pan:
    """Something to put weights on; remembers when."""

    def __init__(self, grams: float = 0.0) -> None:
        self._loads = [(-1, grams)]

    async def put(self, grams: float) -> None:
        """From now on this lies on it; the indicator has had a moment to notice."""
        self._loads.append((int(asyncio.get_running_loop().time() * 1e6), grams))
        await asyncio.sleep(0.1)

    def __call__(self, t_us: int) -> float:
        return [grams for since_us, grams in self._loads if since_us < t_us or since_us < 0][-1]


class Terminal:
    """The host's end of the line."""

    def __init__(self, stream: MemoryStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def line(self) -> str:
        async with asyncio.timeout(10):
            while b"\r\n" not in self.buffer:
                data = await self.stream.read(100)
                assert data, "the scale hung up"
                self.buffer += data
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode()

    async def ask(self, command: str) -> str:
        await self.stream.write(command.encode() + b"\r\n")
        return await self.line()


def with_scale(test: Callable[[Terminal, SicsScale, Pan], Awaitable[None]], **traits: float) -> None:
    async def main() -> None:
        pan = Pan()
        scale = SicsScale(Platform(pan, PlatformTraits(**traits), seed=1), "B021002593", decimals=2)
        ours, theirs = memory_pipe()
        serving = asyncio.ensure_future(scale.serve(theirs))
        terminal = Terminal(ours)
        assert await terminal.line() == 'I4 A "B021002593"'
        await asyncio.sleep(2)
        await test(terminal, scale, pan)
        await ours.close()
        await serving

    run_virtual(main())


def test_sics_weighs_stable_and_at_once() -> None:
    async def test(terminal: Terminal, scale: SicsScale, pan: Pan) -> None:
        await pan.put(100.0)
        assert (await terminal.ask("SI")).startswith("S D ")
        assert await terminal.ask("S") == "S S     100.00 g"  # the manual's example
        assert await terminal.ask("SI") == "S S     100.00 g"
        await pan.put(7000.0)
        assert await terminal.ask("S") == "S +"
        await pan.put(-500.0)
        await asyncio.sleep(1)
        assert await terminal.ask("SI") == "S -"

    with_scale(test)


def test_sics_gives_up_when_the_load_never_rests_and_refuses_a_second_wait() -> None:
    async def test(terminal: Terminal, scale: SicsScale, pan: Pan) -> None:
        await pan.put(500.0)
        scale.platform.vibration_g = 10.0
        await asyncio.sleep(1)
        start_s = asyncio.get_running_loop().time()
        await terminal.stream.write(b"S\r\nT\r\n")
        assert await terminal.line() == "T I"
        assert await terminal.line() == "S I"
        assert 2.9 < asyncio.get_running_loop().time() - start_s < 3.5

    with_scale(test)


def test_sics_zero_and_tare() -> None:
    async def test(terminal: Terminal, scale: SicsScale, pan: Pan) -> None:
        await pan.put(8.0)
        assert await terminal.ask("Z") == "Z A"
        await pan.put(258.0)
        assert await terminal.ask("T") == "T S     250.00 g"
        assert await terminal.ask("S") == "S S       0.00 g"
        assert await terminal.ask("TA") == "TA A     250.00 g"
        assert await terminal.ask("TA 100.4 g") == "TA A     100.00 g"
        assert await terminal.ask("S") == "S S     150.00 g"
        assert await terminal.ask("TA 1 kg") == "TA L"
        assert await terminal.ask("TA 9000 g") == "TA L"
        assert await terminal.ask("TAC") == "TAC A"
        assert await terminal.ask("Z") == "Z +"  # 250 g is more than 2 % of 6 kg
        await pan.put(60.0)
        await asyncio.sleep(0.2)
        assert await terminal.ask("ZI") == "ZI D"
        assert (await terminal.ask("TI")).startswith("TI D ")

    with_scale(test)


def test_sics_repeats_until_told_otherwise() -> None:
    async def test(terminal: Terminal, scale: SicsScale, pan: Pan) -> None:
        await pan.put(200.0)
        assert (await terminal.ask("SIR"))[:4] == "S D "
        lines = [await terminal.line() for _ in range(30)]
        assert lines[-1] == "S S     200.00 g"
        assert await terminal.ask("@") == 'I4 A "B021002593"'
        assert await terminal.ask("SR") == "S S     200.00 g"
        await pan.put(300.0)
        assert (await terminal.line())[:4] == "S D "
        assert await terminal.line() == "S S     300.00 g"
        await pan.put(310.0)  # less than an eighth: SR keeps silent
        with pytest.raises(TimeoutError):
            await terminal.line()
        assert await terminal.ask("S") == "S S     310.00 g"

    with_scale(test)


def test_sics_identity_and_errors() -> None:
    async def test(terminal: Terminal, scale: SicsScale, pan: Pan) -> None:
        assert await terminal.ask("I1") == 'I1 A "01" "2.30" "2.20" "" ""'
        assert await terminal.ask("I2") == 'I2 A "ICS425-6SM Standard 6000.00 g"'
        assert (await terminal.ask("I3")).startswith("I3 A ")
        commands = [await terminal.ask("I0")]
        while not commands[-1].startswith("I0 A"):
            commands.append(await terminal.line())
        assert commands[0] == 'I0 B 0 "I0"'
        assert len(commands) == 16
        assert await terminal.ask("XYZ") == "ES"
        assert await terminal.ask("S 5") == "ES"
        assert await terminal.ask("") == "ES"
        await terminal.stream.write(b"S\xff\r\n")
        assert await terminal.line() == "ET"
        await terminal.stream.write(b"A" * 200)
        assert await terminal.line() == "ET"
        assert scale.counters["errors"] == 5

    with_scale(test)


def test_platform_ranges_and_determinism() -> None:
    platform = Platform(Pan(6009.0), PlatformTraits(noise_g=0), seed=1)
    assert platform.read(0).range is Range.INSIDE
    assert Platform(Pan(6010.0), PlatformTraits(noise_g=0), seed=1).read(0).range is Range.OVER
    assert Platform(Pan(-21.0), PlatformTraits(noise_g=0), seed=1).read(0).range is Range.UNDER
    assert Platform(Pan(-5.0), PlatformTraits(noise_g=0), seed=1).tare(0) is Range.UNDER

    def trace(seed: int) -> list[float]:
        scale = Platform(Pan(50.0), PlatformTraits(noise_g=2.0), seed)
        return [scale.read(t * 100_000).gross_g for t in range(40)]

    assert trace(1) == trace(1) != trace(2)


# -- Modbus ----------------------------------------------------------------------------------------------------------

MAP = RegisterMap(
    gross=Value(7, "i32", 0.1),
    net=Value(9, "f32", 1000.0, low_word_first=True),
    tare=Value(11, "u16", 1.0),
    status=6,
    stable_bit=4,
    overload_bit=2,
    underload_bit=3,
    command=5,
    commands={7: "tare", 8: "zero", 9: "clear tare"},
    constants={0: 0x5AA5},
)


def _signed(words: list[int]) -> int:
    return int.from_bytes(b"".join(w.to_bytes(2, "big") for w in words), "big", signed=True)


def test_modbus_as_pymodbus_reads_it() -> None:
    async def main() -> None:
        pan = Pan(1234.5)
        scale = ModbusScale(Platform(pan, PlatformTraits(division_g=0.1, noise_g=0.0), seed=1), MAP, unit=3)
        server, port = await serve_tcp(scale.serve)
        client = AsyncModbusTcpClient("127.0.0.1", port=port, framer=FramerType.RTU, timeout=1, retries=0)
        try:
            assert await client.connect()
            gross = await client.read_holding_registers(7, count=2, device_id=3)
            assert _signed(gross.registers) == 12345
            assert (await client.read_input_registers(0, count=1, device_id=3)).registers == [0x5AA5]
            status = await client.read_holding_registers(6, count=1, device_id=3)
            assert status.registers == [1 << 4]
            await client.write_register(5, 7, device_id=3)  # tare
            net = await client.read_holding_registers(9, count=2, device_id=3)
            assert client.convert_from_registers(net.registers, client.DATATYPE.FLOAT32, word_order="little") == 0.0
            assert (await client.read_holding_registers(11, count=1, device_id=3)).registers == [1234]
            await client.write_registers(5, [9], device_id=3)  # clear tare
            net = await client.read_holding_registers(9, count=2, device_id=3)
            kg = client.convert_from_registers(net.registers, client.DATATYPE.FLOAT32, word_order="little")
            assert kg == pytest.approx(1.2345)
            for address, count, code in ((1, 1, 2), (7, 20, 2)):
                refused = await client.read_holding_registers(address, count=count, device_id=3)
                assert refused.isError()
                assert refused.exception_code == code
            assert (await client.write_register(5, 99, device_id=3)).exception_code == 3
            assert (await client.write_register(6, 1, device_id=3)).exception_code == 2
            assert (await client.read_coils(0, count=1, device_id=3)).exception_code == 1
            await pan.put(9999.0)
            await asyncio.sleep(0.8)
            status = await client.read_holding_registers(6, count=1, device_id=3)
            assert status.registers[0] & 1 << 2
        finally:
            client.close()
            server.close()
            await server.wait_closed()

    asyncio.run(main())


def _request(unit: int, pdu: bytes) -> bytes:
    frame = bytes((unit,)) + pdu
    return frame + crc16(frame).to_bytes(2, "little")


def test_modbus_frames_noise_foreign_units_and_broadcasts() -> None:
    # "MODBUS over Serial Line" V1.02, appendix B: the CRC of 02 07 is sent as 41 12
    assert crc16(b"\x02\x07").to_bytes(2, "little") == b"\x41\x12"

    async def main() -> None:
        pan = Pan(500.0)
        scale = ModbusScale(Platform(pan, PlatformTraits(noise_g=0.0), seed=1), MAP, unit=3)
        ours, theirs = memory_pipe()
        serving = asyncio.ensure_future(scale.serve(theirs))
        read = _request(3, b"\x03\x00\x00\x00\x01")
        answer = _request(3, b"\x03\x02\x5a\xa5")
        await ours.write(b"\x03\x63\x00" + read)  # noise before it, in one piece
        assert await ours.read(100) == answer
        for byte in read:
            await ours.write(bytes((byte,)))
            await asyncio.sleep(0.001)
        assert await ours.read(100) == answer
        await ours.write(read[:5])  # half a request, then silence
        await asyncio.sleep(0.5)
        await ours.write(read + _request(9, b"\x03\x00\x00\x00\x01") + _request(0, b"\x06\x00\x05\x00\x07") + read)
        await asyncio.sleep(0.1)
        assert await ours.read(100) == answer * 2
        assert scale.counters["foreign"] == 1
        assert scale.counters["dropped"] == 3 + 5
        assert scale.platform.read(int(asyncio.get_running_loop().time() * 1e6)).tare_g == 500.0
        scale.mute = True
        await ours.write(read)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await ours.read(1)
        await ours.close()
        await serving

    run_virtual(main())


@pytest.mark.parametrize(
    ("value", "grams", "registers"),
    [
        (Value(0, "i16", 1.0), -2.0, [0xFFFE]),
        (Value(0, "i16", 1.0), 99_999.0, [0x7FFF]),
        (Value(0, "u32", 1.0), -5.0, [0, 0]),
        (Value(0, "i32", 1.0, low_word_first=True), 65_537.0, [1, 1]),
        (Value(0, "i32", 0.01, low_word_first=True), 1000.0, [0x86A0, 1]),
        (Value(0, "f32", 1.0), 1.0, [0x3F80, 0]),
    ],
)
def test_values_as_registers(value: Value, grams: float, registers: list[int]) -> None:
    assert value.registers(grams) == registers
