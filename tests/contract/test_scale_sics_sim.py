"""The MT-SICS driver against the simulated scale, which was written apart from the same manual."""

import asyncio

import pytest

from devices.driver import DriverContext
from devices.scale_sics.driver import INFO, ScaleSicsSettings
from edge.core.errors import DeviceMisbehaved, DeviceRefused, DeviceTimeout, LinkLost
from edge.core.facts import ItemPicked
from edge.core.instant import Instant
from edge.core.observation import SATURATED_HIGH, CellSamples, DeviceIdentity, DeviceState, DeviceStatus
from edge.core.shelf import Calibration, Shelves
from firmware_sim.platform import Platform, PlatformTraits
from firmware_sim.scale_sics import SicsScale
from firmware_sim.stream import memory_pipe
from tests.contract.test_sdp_family_sim import Babble
from tests.contract.test_shelf_mcu_sim import Raising
from tests.unit.shelf_support import A, site
from tests.virtual_time import run_virtual


class Bench:
    """A scale with a load that tests set, and the driver on it."""

    def __init__(self) -> None:
        self.load_g = 2500.0
        self.scale = SicsScale(Platform(lambda _t: self.load_g, PlatformTraits(noise_g=0.2), seed=4), "B021002590")
        self.seen: list = []
        self.counters: dict[str, int] = {}
        context = DriverContext("scale-a", self.now_us, self._open, self.counters)
        self.driver = INFO.open(context, ScaleSicsSettings("sim:scale"))
        self.role: asyncio.Task | None = None

    @staticmethod
    def now_us() -> int:
        return 1_000_000 + int(asyncio.get_running_loop().time() * 1e6)

    async def _open(self, _moniker: str) -> Raising:
        host, device = memory_pipe()
        self.role = asyncio.ensure_future(self.scale.serve(device))
        return Raising(host)

    def of(self, kind: type) -> list:
        return [o for o in self.seen if isinstance(o, kind)]

    async def during(self, work) -> None:
        running = asyncio.ensure_future(self.driver.run(self.seen.append))
        try:
            await work()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            if self.role is not None:
                self.role.cancel()
                await asyncio.gather(self.role, return_exceptions=True)


def test_weights_identity_and_the_scales_own_word_on_rest() -> None:
    async def main() -> None:
        bench = Bench()

        async def work() -> None:
            await asyncio.sleep(5)
            bench.load_g -= 250.0
            await asyncio.sleep(5)

        await bench.during(work)
        (identity,) = bench.of(DeviceIdentity)
        assert identity.serial == "B021002590"
        assert identity.model.startswith("ICS425")
        samples = bench.of(CellSamples)
        assert len(samples) > 80
        assert {s.stable for s in samples} == {True, False}
        assert samples[40].counts.tolist() == [[2_500_000]]
        assert samples[-1].counts.tolist() == [[2_250_000]]
        c = bench.counters
        assert c["bytes_in"] == c["bytes_accepted"] + c["bytes_rejected"] + c["bytes_skipped"] + c["bytes_buffered"]

    run_virtual(main())


def test_a_pick_from_a_scale_becomes_a_fact() -> None:
    async def main() -> None:
        bench = Bench()
        planogram = site({"one": ((0,), (A,))})
        part = Shelves(planogram, {("mcu", 0): Calibration(0.0, 1000.0)})

        async def work() -> None:
            await asyncio.sleep(6)
            bench.load_g -= 250.0
            await asyncio.sleep(5)
            bench.load_g -= 500.0
            await asyncio.sleep(5)

        await bench.during(work)
        facts = []
        for s in bench.of(CellSamples):
            as_mcu = CellSamples("mcu", s.mono_us, s.t_us, s.counts, None, s.stable)
            facts += [f for f in part.observe(as_mcu, Instant(s.mono_us, s.mono_us)) if isinstance(f, ItemPicked)]
        assert [(f.gtin, f.quantity) for f in facts] == [(A, 1), (A, 2)]

    run_virtual(main())


def test_overload_degrades_and_recovers() -> None:
    async def main() -> None:
        bench = Bench()

        async def work() -> None:
            await asyncio.sleep(4)
            bench.load_g = 9000.0
            await asyncio.sleep(4)
            bench.load_g = 1000.0
            await asyncio.sleep(4)

        await bench.during(work)
        states = [(s.state, s.cause) for s in bench.of(DeviceStatus)]
        assert states == [
            (DeviceState.ONLINE, ""),
            (DeviceState.DEGRADED, "overload"),
            (DeviceState.ONLINE, "recovered"),
        ]
        assert any(s.counts[0, 0] == SATURATED_HIGH for s in bench.of(CellSamples))

    run_virtual(main())


def test_zero_and_its_refusal() -> None:
    async def main() -> None:
        bench = Bench()
        bench.load_g = 30.0

        async def work() -> None:
            await asyncio.sleep(4)
            await bench.driver.tare()
            await asyncio.sleep(2)
            assert bench.of(CellSamples)[-1].counts.tolist() == [[0]]
            bench.load_g = 3000.0
            await asyncio.sleep(3)
            with pytest.raises(DeviceRefused, match=r"Z was answered \+"):
                await bench.driver.tare()

        await bench.during(work)
        with pytest.raises(LinkLost, match="not connected"):
            await bench.driver.tare()

    run_virtual(main())


def test_a_mute_scale_and_one_that_forgot() -> None:
    async def main() -> None:
        bench = Bench()

        async def work() -> None:
            await asyncio.sleep(4)
            bench.scale._stop()  # switched off and on: SIR is forgotten
            n = len(bench.of(CellSamples))
            await asyncio.sleep(8)
            assert len(bench.of(CellSamples)) > n + 10

        await bench.during(work)
        mute = Bench()
        mute.scale.mute = True
        with pytest.raises(DeviceTimeout, match="no weight for 15 s"):
            await mute.driver.run(mute.seen.append)
        mute.role.cancel()
        await asyncio.gather(mute.role, return_exceptions=True)

    run_virtual(main())


def test_garbage_is_told_apart() -> None:
    async def main() -> None:
        async def opened(_moniker: str) -> Babble:
            return Babble(5)

        context = DriverContext("scale-a", Bench.now_us, opened)
        with pytest.raises(DeviceMisbehaved, match="no MT-SICS answer"):
            await INFO.open(context, ScaleSicsSettings("sim:x")).run(lambda _o: None)

    run_virtual(main())
