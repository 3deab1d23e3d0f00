"""The shelf driver against the simulated shelf MCU (written apart, from the same page): memory links and a real pty."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devices.driver import DriverContext
from devices.shelf_mcu.driver import INFO, ShelfMcuDriver, ShelfMcuSettings
from devices.transport import open_stream
from devices.transport.stream import ByteStream
from edge.core.errors import DeviceMisbehaved, DeviceRefused, DeviceTimeout, LinkLost
from edge.core.observation import CellSamples, DeviceIdentity, DeviceState, DeviceStatus, Observation
from firmware_sim import sdp
from firmware_sim.bootloader import firmware_image
from firmware_sim.sdp_device import Manners
from firmware_sim.shelf_mcu import ShelfMcu
from firmware_sim.stream import MemoryStream, PtyStream, memory_pipe
from tests.virtual_time import run_virtual

MAKER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
IDENTITY = sdp.Identity("SH-000042", "SHELF-4", cells=4, rate_tenths_hz=100)


class Raising:
    """A simulator's stream as ours: the end of the stream is LinkLost."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int = 65536) -> bytes:
        data = await self._stream.read(max_bytes)
        if not data:
            raise LinkLost("sim", "closed")
        return data

    async def write(self, data: bytes) -> None:
        await self._stream.write(data)

    async def close(self) -> None:
        await self._stream.close()


class Bench:
    """One driver on one simulated device in virtual time."""

    def __init__(self, device: ShelfMcu, settings: ShelfMcuSettings | None = None) -> None:
        self.device = device
        self.seen: list[Observation] = []
        self.counters: dict[str, int] = {}
        self.host: Raising | None = None
        self._role: asyncio.Task[None] | None = None
        context = DriverContext("shelf-a", self._now_us, self._open, self.counters)
        self.driver = INFO.open(context, settings or ShelfMcuSettings("sim:shelf"))
        assert isinstance(self.driver, ShelfMcuDriver)

    @staticmethod
    def _now_us() -> int:
        return int(asyncio.get_running_loop().time() * 1e6)

    async def _open(self, _moniker: str) -> ByteStream:
        host, device = memory_pipe()
        self._role = asyncio.ensure_future(self.device.serve(device))
        self.host = Raising(host)
        return self.host

    def of(self, kind: type) -> list:
        return [o for o in self.seen if isinstance(o, kind)]

    async def during(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` while the driver runs."""
        running = asyncio.ensure_future(self.driver.run(self.seen.append))
        try:
            await work()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            if self._role is not None:
                self._role.cancel()
                await asyncio.gather(self._role, return_exceptions=True)


def a_device(manners: Manners | None = None, **kw: object) -> ShelfMcu:
    return ShelfMcu(IDENTITY, lambda t_us: [t_us // 100_000, -7, 8, 2**23 - 2], seed=1, manners=manners, **kw)


def test_samples_identity_and_time() -> None:
    async def main() -> None:
        bench = Bench(a_device(temperature_c=lambda _t: 21.5))
        await bench.during(lambda: asyncio.sleep(10))
        (identity,) = bench.of(DeviceIdentity)
        assert (identity.serial, identity.model, identity.firmware) == ("SH-000042", "SHELF-4", "1.0.0")
        counts = np.concatenate([o.counts for o in bench.of(CellSamples)])
        t_us = np.concatenate([o.t_us for o in bench.of(CellSamples)])
        assert 90 <= len(counts) <= 100
        assert counts.shape[1] == 4
        assert np.abs(np.diff(t_us) - 100_000).max() <= 1_500  # uptime is in ms
        assert (counts[:, 1:] == [-7, 8, 2**23 - 2]).all()
        assert all(o.temperature_c == 21.5 for o in bench.of(CellSamples))
        assert [s.state for s in bench.of(DeviceStatus)] == [DeviceState.ONLINE]
        c = bench.counters
        assert c["bytes_in"] == c["bytes_accepted"] + c["bytes_rejected"] + c["bytes_skipped"] + c["bytes_buffered"]
        assert (c["frames_lost"], c["frames_rejected"], c["reboots"]) == (0, 0, 0)

    run_virtual(main())


def test_rate_and_light_over_a_cable_that_swallows_answers() -> None:
    async def main() -> None:
        bench = Bench(a_device(Manners(ack_loss=0.5)))

        async def work() -> None:
            await asyncio.sleep(3)
            await bench.driver.configure({"sample_rate_hz": 80})
            await bench.driver.identify(10)
            bench.seen.clear()
            await asyncio.sleep(5)

        await bench.during(work)
        assert bench.device.identity.rate_tenths_hz == 800
        assert bench.device.identify_until_s > 0
        batches = bench.of(CellSamples)
        assert 380 <= sum(len(o.t_us) for o in batches) <= 410
        assert len(batches) <= 80, "frames at 80/s are gathered"

    run_virtual(main())


def test_refusals_are_told_in_words() -> None:
    async def main() -> None:
        bench = Bench(a_device())

        async def work() -> None:
            await asyncio.sleep(1)
            with pytest.raises(DeviceRefused, match="SET_RATE: the device refuses the value"):
                await bench.driver.configure({"sample_rate_hz": 5000})
            with pytest.raises(DeviceRefused, match="colour = 'red': expected sample_rate_hz"):
                await bench.driver.configure({"colour": "red"})

        await bench.during(work)
        with pytest.raises(LinkLost, match="not connected"):
            await bench.driver.identify(1)

    run_virtual(main())


@pytest.mark.parametrize("ack_loss", [0.0, 0.3])
def test_signed_firmware_is_taken_and_forged_is_not(ack_loss: float) -> None:
    public = MAKER.public_key().public_bytes_raw()
    image = firmware_image((2, 0, 1), bytes(range(256)) * 3)

    async def main() -> None:
        bench = Bench(a_device(Manners(firmware_key=public, ack_loss=ack_loss)))

        async def work() -> None:
            await asyncio.sleep(2)
            forged = Ed25519PrivateKey.from_private_bytes(bytes(32)).sign(hashlib.sha256(image).digest())
            with pytest.raises(DeviceRefused, match="not from the maker"):
                await bench.driver.update(image, forged, lambda share: None)
            with pytest.raises(DeviceRefused, match="expected the 64 bytes"):
                await bench.driver.update(image, b"short", lambda share: None)
            told: list[float] = []
            version = await bench.driver.update(image, MAKER.sign(hashlib.sha256(image).digest()), told.append)
            assert version == "2.0.1"
            assert told == sorted(told)
            assert told[-1] == 1.0
            await asyncio.sleep(2)

        await bench.during(work)
        assert [o.firmware for o in bench.of(DeviceIdentity)] == ["1.0.0", "2.0.1"]
        assert bench.counters["reboots"] == 1

    run_virtual(main())


def test_a_watchdog_reboot_degrades_and_recovers() -> None:
    async def main() -> None:
        bench = Bench(a_device())

        async def work() -> None:
            await asyncio.sleep(5)
            bench.device.restart(sdp.BY_WATCHDOG)
            await asyncio.sleep(60)

        await bench.during(work)
        states = [(s.state, s.cause) for s in bench.of(DeviceStatus)]
        assert states == [
            (DeviceState.ONLINE, ""),
            (DeviceState.DEGRADED, "reboot_watchdog"),
            (DeviceState.ONLINE, "recovered"),
        ]
        assert bench.counters["reboots"] == 1

    run_virtual(main())


def test_a_complaint_lasts_as_long_as_its_cause() -> None:
    level = [100, 100, 100, 100]
    device = ShelfMcu(IDENTITY, lambda _t: list(level), seed=1)

    async def main() -> None:
        bench = Bench(device)

        async def work() -> None:
            await asyncio.sleep(3)
            level[2] = sdp.NO_READING
            await asyncio.sleep(90)
            assert [s.cause for s in bench.of(DeviceStatus)] == ["", "adc_timeout"]
            level[2] = 100
            await asyncio.sleep(40)

        await bench.during(work)
        assert bench.of(DeviceStatus)[-1].cause == "recovered"
        assert "cell 2" in bench.of(DeviceStatus)[1].detail

    run_virtual(main())


def test_silence_and_an_unplugged_cable_and_the_wrong_device() -> None:
    async def ends(device: ShelfMcu, error: type[Exception], words: str, work: Callable[[Bench], None]) -> None:
        bench = Bench(device)
        running = asyncio.ensure_future(bench.driver.run(bench.seen.append))
        await asyncio.sleep(3)
        work(bench)
        before_s = asyncio.get_running_loop().time()
        with pytest.raises(error, match=words):
            await running
        assert asyncio.get_running_loop().time() - before_s <= 15.5
        bench._role.cancel()
        await asyncio.gather(bench._role, return_exceptions=True)

    closing: list[asyncio.Future[None]] = []

    def mute(bench: Bench) -> None:
        bench.device.restart(sdp.BY_POWER, down_s=1e6)

    def unplug(bench: Bench) -> None:
        closing.append(asyncio.ensure_future(bench.host.close()))

    async def main() -> None:
        await ends(a_device(), DeviceTimeout, "silent for 15 s", mute)
        await ends(a_device(), LinkLost, "closed", unplug)

    run_virtual(main())
    door = ShelfMcu(IDENTITY, lambda _t: [0] * 4, seed=1)
    door.identity = sdp.Identity("DR-1", "DOOR-8", rows=8, cols=8)

    async def wrong() -> None:
        bench = Bench(door)
        bench.device._counts = lambda _t: []
        with pytest.raises(DeviceMisbehaved, match="has no load cells"):
            await bench.driver.run(bench.seen.append)
        bench._role.cancel()
        await asyncio.gather(bench._role, return_exceptions=True)

    run_virtual(wrong())


def test_over_a_real_pty() -> None:
    async def main() -> None:
        device = a_device()
        line = PtyStream(baud=115200)
        role = asyncio.ensure_future(device.serve(line))
        seen: list[Observation] = []
        loop = asyncio.get_running_loop()
        context = DriverContext("shelf-a", lambda: int(loop.time() * 1e6), open_stream)
        driver = ShelfMcuDriver(context, ShelfMcuSettings(f"serial:{line.path}"))
        running = asyncio.ensure_future(driver.run(seen.append))
        try:
            async with asyncio.timeout(20):
                while sum(len(o.t_us) for o in seen if isinstance(o, CellSamples)) < 12:
                    await asyncio.sleep(0.1)
                await driver.configure({"sample_rate_hz": 80})
                while sum(len(o.t_us) for o in seen if isinstance(o, CellSamples)) < 60:
                    await asyncio.sleep(0.1)
            assert any(isinstance(o, DeviceIdentity) for o in seen)
            assert context.counters["frames_rejected"] == 0
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            role.cancel()
            await asyncio.gather(role, return_exceptions=True)
            await line.close()

    asyncio.run(main())
