"""Door array and BLE scanner drivers against their simulated devices, and every SDP/1 driver against garbage."""

import asyncio
import random

import numpy as np
import pytest

from devices.beacon_ble import scanner
from devices.door_array import driver as door
from devices.driver import DriverContext, DriverInfo
from devices.shelf_mcu import driver as shelf
from edge.core.errors import DeviceMisbehaved, LinkLost
from edge.core.observation import Advert, DeviceIdentity, Frames, Observation
from firmware_sim import adverts, sdp
from firmware_sim.ble_air import Heard
from firmware_sim.ble_scanner import BleScanner
from firmware_sim.door_array import DoorArray
from firmware_sim.sdp_device import SdpDevice
from firmware_sim.stream import memory_pipe
from firmware_sim.thermal import GRID_EYE, MLX90640, VL53L5CX, Optics, Scene
from tests.contract.test_shelf_mcu_sim import Raising
from tests.unit.test_firmware_sim_ble_scanner import STORE
from tests.virtual_time import run_virtual


async def run_against(info: DriverInfo, device: SdpDevice, seconds: float) -> tuple[list[Observation], dict[str, int]]:
    """What the driver emits within `seconds` of virtual time, and its counters."""
    loop = asyncio.get_running_loop()
    host, theirs = memory_pipe()
    role = asyncio.ensure_future(device.serve(theirs))

    async def opened(_moniker: str) -> Raising:
        return Raising(host)

    seen: list[Observation] = []
    context = DriverContext("device-1", lambda: int(loop.time() * 1e6), opened)
    running = asyncio.ensure_future(info.open(context, info.settings("sim:x")).run(seen.append))
    done, _ = await asyncio.wait({running}, timeout=seconds)
    assert not done, running.exception()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    role.cancel()
    await asyncio.gather(role, return_exceptions=True)
    return seen, context.counters


@pytest.mark.parametrize("optics", [GRID_EYE, MLX90640, VL53L5CX], ids=lambda o: o.model)
def test_door_frames(optics: Optics) -> None:
    async def main() -> None:
        device = DoorArray("DR-000001", Scene(optics, seed=4), lambda _t: [], seed=4, dead=[(2, 5)])
        seen, counters = await run_against(door.INFO, device, 10.0)
        frames = [o for o in seen if isinstance(o, Frames)]
        pixels = np.concatenate([o.pixels for o in frames])
        assert len(pixels) == pytest.approx(9.6 * optics.rate_tenths_hz / 10, abs=4)
        assert pixels.shape[1:] == (optics.rows, optics.cols)
        assert {o.unit for o in frames} == {"mm" if optics.unit == sdp.UNIT_MM else "centi_celsius"}
        assert (pixels[:, 2, 5] == -32768).all()
        assert (pixels[:, 0, 0] > 0).all()
        assert counters["frames_rejected"] == counters["frames_lost"] == 0

    run_virtual(main())


def test_scanner_adverts_and_a_long_silence() -> None:
    heard = Heard(0, -71, 1, bytes.fromhex("c1a2b3d4e5f6"), adverts.ibeacon(STORE, 101, 7))

    def ear(t0_us: int, t1_us: int) -> list[Heard]:
        return [heard._replace(t_us=t1_us - 3000)] if t0_us < 2_000_000 <= t1_us else []

    async def main() -> None:
        device = BleScanner(sdp.Identity("BS-000003", "SCAN-1"), ear, seed=1)
        seen, counters = await run_against(scanner.INFO, device, 120.0)
        (advert,) = [o for o in seen if isinstance(o, Advert)]
        assert (advert.beacon, advert.rssi_dbm) == (f"ibeacon:{STORE}:101:7", -71)
        assert advert.mono_us == pytest.approx(2_000_000, abs=60_000)
        assert len([o for o in seen if isinstance(o, DeviceIdentity)]) == 1
        assert counters["reboots"] == 0
        assert counters["frames"] > 10, "it was asked whether it is still there"

    run_virtual(main())


class Babble:
    """A link on which somebody else talks."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.written = 0

    async def read(self, max_bytes: int = 65536) -> bytes:
        await asyncio.sleep(self._rng.uniform(0.01, 0.5))
        return self._rng.randbytes(self._rng.randint(1, min(3000, max_bytes)))

    async def write(self, data: bytes) -> None:
        self.written += len(data)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("info", [shelf.INFO, door.INFO, scanner.INFO], ids=lambda i: i.kind)
def test_garbage_is_told_apart_from_silence(info: DriverInfo) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        link = Babble(5)

        async def opened(_moniker: str) -> Babble:
            return link

        context = DriverContext("device-1", lambda: int(loop.time() * 1e6), opened)
        with pytest.raises(DeviceMisbehaved, match="no SDP/1 frame in them"):
            await info.open(context, info.settings("sim:x")).run(lambda _o: None)
        assert loop.time() <= 15.5
        c = context.counters
        assert c["bytes_in"] == c["bytes_accepted"] + c["bytes_rejected"] + c["bytes_skipped"] + c["bytes_buffered"]
        assert c["frames_rejected"] > 0

    run_virtual(main())


def test_a_link_that_cannot_be_opened() -> None:
    async def main() -> None:
        async def refuse(moniker: str) -> Babble:
            raise LinkLost(moniker, "no such port")

        context = DriverContext("device-1", lambda: 0, refuse)
        with pytest.raises(LinkLost, match="no such port"):
            await shelf.INFO.open(context, shelf.ShelfMcuSettings("serial:/dev/none")).run(lambda _o: None)

    run_virtual(main())
