"""The UHF module's driver against the simulated module (written apart): memory links and a real pty."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from devices.driver import DriverContext
from devices.registry import driver_info
from devices.rfid_r200.codec import GET_INFO, SET_POWER, SET_QUERY, STOP_POLL
from devices.rfid_r200.driver import R200Driver, Settings
from devices.transport import Tap, open_stream
from edge.core.errors import DeviceMisbehaved, DeviceRefused, DeviceTimeout, LinkLost
from edge.core.observation import DeviceIdentity, DeviceState, DeviceStatus, TagReads
from edge.replay import reads_of_tap
from firmware_sim.r200_module import R200Module
from firmware_sim.radio import Reads
from firmware_sim.stream import PtyStream, memory_pipe
from tests.contract.test_rfid_llrp_sim import OurEnd, Tags
from tests.virtual_time import run_virtual


class Garbling:
    """Flips a bit in one of so many bytes that the module sends."""

    def __init__(self, stream, one_in: int) -> None:
        self._stream, self._rng, self._one_in = stream, np.random.default_rng(4), one_in

    async def read(self, max_bytes: int = 65536) -> bytes:
        data = np.frombuffer(await self._stream.read(max_bytes), np.uint8).copy()
        hit = self._rng.random(len(data)) < 1 / self._one_in
        data[hit] ^= 1 << self._rng.integers(0, 8, hit.sum(), dtype=np.uint8)
        return data.tobytes()

    async def write(self, data: bytes) -> None:
        await self._stream.write(data)

    async def close(self) -> None:
        await self._stream.close()


class Few(Tags):
    """One tag, once a second."""

    def reads_between(self, t0_us, t1_us):
        t_us = np.arange(-(-t0_us // 1_000_000) * 1_000_000, t1_us, 1_000_000)
        return Reads(t_us, np.zeros_like(t_us), np.ones_like(t_us), np.full_like(t_us, -5000))


def played(seconds: float, settings: Settings, one_in: int = 0, tags: type[Tags] = Tags):
    """(what the driver emitted, its counters, the module) after so long in virtual time; a failure comes out."""

    async def main():
        loop = asyncio.get_running_loop()
        module = R200Module(tags(), lambda: round(loop.time() * 1e6))
        tasks = []

        async def connect(moniker):
            ours, theirs = memory_pipe()
            tasks.append(asyncio.create_task(module.serve(theirs)))
            return Garbling(OurEnd(ours), one_in) if one_in else OurEnd(ours)

        context = DriverContext("uhf-1", lambda: round(loop.time() * 1e6), connect)
        seen = []
        try:
            async with asyncio.timeout(seconds):
                await R200Driver(context, settings).run(seen.append)
        except TimeoutError as error:
            if isinstance(error, DeviceTimeout):
                raise
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return seen, context.counters, module

    return run_virtual(main())


def reads_of(seen):
    return [item for item in seen if isinstance(item, TagReads)]


def test_identity_status_reads():
    seen, counters, _ = played(5, Settings("sim:u"))
    assert isinstance(seen[0], DeviceIdentity)
    assert (seen[0].model, seen[0].firmware) == ("M100 26dBm V1.0", "V2.3.5")
    assert isinstance(seen[1], DeviceStatus)
    assert seen[1].state is DeviceState.ONLINE
    expected = {row.tobytes() for row in Tags().epcs[::2]}  # only port 1 is this module's
    assert {row.tobytes() for batch in reads_of(seen) for row in batch.epc} == expected
    for batch in reads_of(seen):
        assert (batch.rssi_cdbm == -5000 - 100 * (batch.epc[:, 0] // 12).astype(int)).all()
        assert (batch.antenna == 1).all()
        assert (batch.seen_us <= batch.mono_us).all()
    assert counters["tags_in"] >= 4 * 50


def test_polling_goes_on_after_the_rounds_of_one_command():
    seen, counters, _ = played(1_100, Settings("sim:u"), tags=Few)
    times_s = np.array([batch.mono_us for batch in reads_of(seen)]) / 1e6
    assert np.diff(times_s).max() < 5.0, "10,000 rounds of 0.1 s end after 1,000 s; then it is told again"
    assert times_s[-1] > 1_095
    assert counters["tags_in"] > 1_080


def test_settings_reach_the_module():
    _, _, module = played(3, Settings("sim:u", region="eu", tx_power_dbm=18.5, session=2))
    assert module.settings[SET_POWER] == 1850
    assert module.settings[SET_QUERY] == 0x1220


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings("sim:u", region="mars"), "region = 'mars': expected one of cn900, us"),
        (Settings("sim:u", tx_power_dbm=40.0), "tx_power_dbm = 40.0: expected 0 to 33"),
        (Settings("sim:u", session=5), "session = 5: expected 0 to 3"),
    ],
)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(DeviceRefused, match=words):
        played(3, settings)


def test_a_bad_line_gives_no_tag_that_is_not_there():
    """One byte in 100 is damaged: a tenth of the frames and more are lost, but nothing is invented."""
    seen, counters, _ = played(120, Settings("sim:u"), one_in=100)
    expected = {row.tobytes() for row in Tags().epcs[::2]}
    found = {row.tobytes() for batch in reads_of(seen) for row in batch.epc}
    assert found == expected
    assert counters["frames_rejected"] > 100
    assert counters["tags_in"] > 3_000


def test_silent_module_is_a_timeout():
    async def main():
        class Mute:
            async def read(self, max_bytes=65536):
                await asyncio.sleep(1e6)

            async def write(self, data):
                pass

            async def close(self):
                pass

        async def connect(moniker):
            return Mute()

        with pytest.raises(DeviceTimeout, match=f"command 0x{STOP_POLL:02X} in 3 tries: check baud rate"):
            await R200Driver(DriverContext("uhf-1", lambda: 0, connect), Settings("sim:u")).run(print)

    run_virtual(main())


def test_what_answers_with_noise_is_no_module_and_not_silent():
    async def main():
        class Noise:
            def __init__(self):
                self._rng = np.random.default_rng(7)

            async def read(self, max_bytes=65536):
                await asyncio.sleep(0.05)
                return self._rng.bytes(100)

            async def write(self, data):
                pass

            async def close(self):
                pass

        async def connect(moniker):
            return Noise()

        with pytest.raises(
            DeviceMisbehaved, match=r"\d+00 bytes came and no answer to command 0x28 .*expected frames BB"
        ):
            await R200Driver(DriverContext("uhf-1", lambda: 0, connect), Settings("sim:u")).run(print)

    run_virtual(main())


def test_module_that_refuses_says_so():
    async def main():
        async def connect(moniker):
            ours, theirs = memory_pipe()

            async def module():
                await theirs.read(100)
                await theirs.write(bytes.fromhex("bb01280001002a7e"))
                await theirs.read(100)
                await theirs.write(bytes.fromhex("bb01ff000117187e"))

            main.task = asyncio.create_task(module())
            return OurEnd(ours)

        with pytest.raises(DeviceRefused, match=f"command 0x{GET_INFO:02X}: error 17: the module does not know"):
            await R200Driver(DriverContext("uhf-1", lambda: 0, connect), Settings("sim:u")).run(print)

    run_virtual(main())


def test_on_a_real_pty_and_unplugged():
    async def main():
        loop = asyncio.get_running_loop()
        module = R200Module(Tags(), lambda: round(loop.time() * 1e6))
        line = PtyStream(baud=115_200)
        serving = asyncio.create_task(module.serve(line))
        context = DriverContext("uhf-1", lambda: round(loop.time() * 1e6), open_stream)
        seen = []
        info = driver_info("rfid_r200")
        running = asyncio.create_task(info.open(context, Settings(f"serial:{line.path}?baud=115200")).run(seen.append))
        while len(reads_of(seen)) < 5:
            await asyncio.sleep(0.05)
        await line.close()
        with pytest.raises(LinkLost, match=line.path):
            await running
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), 20))


def test_recorded_reads_are_those_of_the_live_driver(tmp_path):
    tap = tmp_path / "module.tap"

    async def main():
        loop = asyncio.get_running_loop()
        module = R200Module(Tags(), lambda: round(loop.time() * 1e6))
        serving = []

        async def connect(moniker):
            ours, theirs = memory_pipe()
            serving.append(asyncio.create_task(module.serve(theirs)))
            return Tap(OurEnd(ours), tap, moniker)

        context, seen = DriverContext("uhf-1", lambda: round(loop.time() * 1e6), connect), []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await R200Driver(context, Settings("sim:u")).run(seen.append)
        for task in serving:
            task.cancel()
        return reads_of(seen)

    def rows(batches):
        columns = (zip(b.epc, b.rssi_cdbm, strict=True) for b in batches)
        return [(epc.tobytes(), int(rssi)) for column in columns for epc, rssi in column]

    live = run_virtual(main())
    again = list(reads_of_tap(tap, "uhf-1"))
    assert len(rows(live)) > 50
    assert rows(again)[: len(rows(live))] == rows(live)
    assert all((batch.seen_us <= batch.mono_us).all() and batch.device_id == "uhf-1" for batch in again)
