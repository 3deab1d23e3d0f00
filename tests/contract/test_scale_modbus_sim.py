"""The Modbus driver over real ptys: against pymodbus's own server as a foreign peer, and against the simulated slave."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import pytest
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from devices.driver import DriverContext
from devices.scale_modbus.driver import INFO, ScaleModbusSettings
from devices.scale_modbus.profile import load_profile, read_registers
from edge.core.errors import DeviceMisbehaved, DeviceTimeout, LinkLost
from edge.core.observation import CellSamples, DeviceIdentity, DeviceState, DeviceStatus
from edge.core.plain import PlainError, build
from firmware_sim.platform import Platform, PlatformTraits
from firmware_sim.scale_modbus import ModbusScale, RegisterMap, Value
from firmware_sim.stream import PtyStream

FLINTEC = RegisterMap(
    Value(0x3300),
    Value(0x3302),
    0x3304,
    stable_bit=4,
    overload_bit=1,
    underload_bit=0,
    command=0x2061,
    commands={2: "zero"},
)
TUNA = RegisterMap(
    Value(2, "f32"), Value(0, "f32"), 4, stable_bit=12, overload_bit=10, underload_bit=9, stable_is_zero=True
)


def words(layout: str, *values: float) -> list[int]:
    raw = struct.pack(layout, *values)
    return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]


@pytest.mark.parametrize(
    ("profile", "registers", "weight", "stable", "over", "under"),
    [
        ("flintec_dad141", words(">iiH", -1234, -1234, 0x10), -1234.0, True, False, False),
        ("flintec_dad141", words(">iiH", 99, 99, 0x02), None, False, True, False),
        ("dini_argeo_dgt", words(">IIH", 3055, 3055, 0b100), 3055.0, True, False, False),
        ("dini_argeo_dgt", words(">IIH", 3055, 3055, 0b011), -3055.0, False, False, False),
        ("dini_argeo_dgt", words(">IIH", 1, 1, 0b1000), None, False, False, True),
        ("tuna_id551", words(">ffH", 1.5, 12.25, 0x8000), 12.25, True, False, False),
        ("tuna_id551", words(">ffH", 1.5, 12.25, 0x9000), 12.25, False, False, False),
        ("tuna_id551", words(">ffH", 1.5, 12.25, 0x0000), None, True, False, False),
        ("tuna_id551", words(">ffH", 1.5, float("nan"), 0x8000), None, True, False, False),
    ],
)
def test_profiles_read_as_their_manuals_say(profile, registers, weight, stable, over, under) -> None:
    reading = read_registers(load_profile(profile), registers)
    assert (reading.weight, reading.stable, reading.overload, reading.underload) == (weight, stable, over, under)
    assert read_registers(load_profile(profile), registers[:-1]) is None


def test_profiles_that_cannot_be_used(tmp_path) -> None:
    with pytest.raises(PlainError, match="one of dini_argeo_dgt, flintec_dad141, tuna_id551"):
        load_profile("acme")
    good = (tmp_path / "good.toml").absolute()
    text = 'model = "x"\nfunction = 3\nfirst = 0\ncount = 3\nweight = { at = 0, type = "i32" }\nstatus = { at = 2 }\n'
    good.write_text(text)
    assert load_profile(str(good)).model == "x"
    for old, new, words_ in (
        ("function = 3", "function = 5", r"3 \(holding registers\)"),
        ('"i32"', '"i24"', "one of i16"),
        ("at = 2", "at = 3", "0 to 2"),
        ("at = 0", "at = 2", "0 to 1"),
        ("count = 3", "count = 300", "1 to 125"),
        ("model", "modell", "one of the keys"),
    ):
        bad = tmp_path / "bad.toml"
        bad.write_text(text.replace(old, new, 1))
        with pytest.raises(PlainError, match=words_):
            load_profile(str(bad))
    for key, value in (("unit", 0), ("rate_hz", 0.0), ("parity", "X"), ("stop_bits", 3), ("baud", 1)):
        with pytest.raises(PlainError, match=f"{key} = {value!r}: expected"):
            build(ScaleModbusSettings, {"port": "p", "profile": "tuna_id551", key: value})


@contextlib.asynccontextmanager
async def driven(settings: ScaleModbusSettings) -> AsyncIterator[tuple[object, list, dict[str, int]]]:
    """The driver, what it emits and its counters, while it runs in real time."""
    loop = asyncio.get_running_loop()
    seen: list = []
    context = DriverContext("scale-a", lambda: int(loop.time() * 1e6), lambda _m: None)
    driver = INFO.open(context, settings)
    running = asyncio.ensure_future(driver.run(seen.append))
    try:
        yield driver, seen, context.counters
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def samples(seen: list, n: int) -> list[CellSamples]:
    """Wait until n samples have come."""
    async with asyncio.timeout(20):
        while sum(isinstance(o, CellSamples) for o in seen) < n:
            await asyncio.sleep(0.02)
    return [o for o in seen if isinstance(o, CellSamples)]


async def simulated_slave() -> None:
    load_g = [1500.0]
    platform = Platform(lambda _t: load_g[0], PlatformTraits(noise_g=0.1), seed=2)
    slave = ModbusScale(platform, FLINTEC, unit=7)
    line = PtyStream()
    role = asyncio.ensure_future(slave.serve(line))
    settings = ScaleModbusSettings(line.path, "flintec_dad141", unit=7, rate_hz=20.0)
    try:
        async with driven(settings) as (driver, seen, counters):
            assert (await samples(seen, 10))[-1].counts.tolist() == [[1_500_000]]
            (identity,) = [o for o in seen if isinstance(o, DeviceIdentity)]
            assert (identity.serial, identity.model) == ("unit 7", "Flintec DAD 141.1")
            load_g[0] = 9000.0
            await asyncio.sleep(1.0)
            load_g[0] = 60.0
            await asyncio.sleep(1.5)
            await driver.tare()
            await asyncio.sleep(0.5)
            assert [o for o in seen if isinstance(o, CellSamples)][-1].counts.tolist() == [[0]]
            causes = [(o.state, o.cause) for o in seen if isinstance(o, DeviceStatus)]
            assert (DeviceState.DEGRADED, "overload") in causes
            assert causes[-1] == (DeviceState.ONLINE, "recovered")
            slave.mute = True
            await asyncio.sleep(1.2)
            assert counters["unanswered"] >= 1
    finally:
        role.cancel()
        await asyncio.gather(role, return_exceptions=True)
        await line.close()


async def bridge(a: PtyStream, b: PtyStream) -> None:
    """Connect the masters of two ptys: what one side writes, the other reads."""

    async def copy(source: PtyStream, sink: PtyStream) -> None:
        while data := await source.read(256):
            await sink.write(data)

    await asyncio.gather(copy(a, b), copy(b, a))


async def foreign_server() -> None:
    ours, theirs = PtyStream(), PtyStream()
    wires = asyncio.ensure_future(bridge(ours, theirs))
    registers = words(">IIH", 3055, 3055, 0b100)
    block = [SimData(0, values=registers, datatype=DataType.REGISTERS)]
    coils = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
    device = SimDevice(id=3, simdata=(coils, coils, block, block))
    server = ModbusSerialServer(device, port=theirs.path, baudrate=19200)
    await server.serve_forever(background=True)
    try:
        settings = ScaleModbusSettings(ours.path, "dini_argeo_dgt", unit=3, baud=19200, grams_per_division=0.1)
        async with driven(settings) as (driver, seen, _counters):
            got = await samples(seen, 5)
            assert {s.counts[0, 0] for s in got} == {305_500}
            assert {s.stable for s in got} == {True}
            await driver.tare()
        context = DriverContext("scale-a", lambda: 0, lambda _m: None)
        wrong = INFO.open(context, ScaleModbusSettings(ours.path, "flintec_dad141", unit=3, baud=19200))
        with pytest.raises(DeviceMisbehaved, match="exception 2 on register 13056"):
            await wrong.run(lambda _o: None)
    finally:
        await server.shutdown()
        wires.cancel()
        await asyncio.gather(wires, return_exceptions=True)
        await ours.close()
        await theirs.close()


def test_the_simulated_slave_on_a_pty() -> None:
    asyncio.run(simulated_slave())


def test_pymodbus_own_server_as_a_foreign_peer() -> None:
    asyncio.run(foreign_server())


def test_nobody_there() -> None:
    async def main() -> None:
        context = DriverContext("scale-a", lambda: 0, lambda _m: None)
        gone = INFO.open(context, ScaleModbusSettings("/dev/ttyNOPE", "tuna_id551"))
        with pytest.raises(LinkLost, match="cannot open /dev/ttyNOPE"):
            await gone.run(lambda _o: None)

    asyncio.run(main())


def test_silence_ends_in_a_time_out(monkeypatch) -> None:
    monkeypatch.setattr("devices.scale_modbus.driver.SILENCE_S", 1.0)

    async def main() -> None:
        line = PtyStream()
        loop = asyncio.get_running_loop()
        context = DriverContext("scale-a", lambda: int(loop.time() * 1e6), lambda _m: None)
        silent = INFO.open(context, ScaleModbusSettings(line.path, "tuna_id551"))
        with pytest.raises(DeviceTimeout, match="unit 1 did not answer"):
            await silent.run(lambda _o: None)
        await line.close()

    asyncio.run(main())
