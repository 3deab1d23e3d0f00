"""Devices lost in every form: half-open links, flaps, another port, a second client, bluetoothd that dies."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import edge.supervisor as supervisor_module
from devices.driver import DriverContext
from devices.registry import driver_info
from devices.transport import open_stream
from edge.core.errors import DeviceRefused
from edge.core.observation import DeviceState, DeviceStatus, Observation
from edge.core.plain import build
from edge.supervisor import Supervised, Supervisor
from firmware_sim.bluez import Bluez
from firmware_sim.clock import SimClock
from firmware_sim.roster import StoreDevice, store_devices
from firmware_sim.scenario import SCENARIOS
from firmware_sim.serve import Wires
from firmware_sim.stream import ByteStream
from tests.contract import test_beacon_ble_sim as bluetooth
from tests.contract import test_rfid_llrp_sim as reader
from tests.fault._campaign import NotHere, Outcome, Promise, Trial
from tests.sim.tier2 import Tier2
from tests.virtual_time import run_virtual

SILENCE_S, BLE_SILENCE_S, RETURN_S = 15.0, 90.0, 10.0
LOOK_S = 0.1


# --- half-open, under virtual time ------------------------------------------------------------------------------------


class _Wire:
    """A role's end that can die without a word: what is written vanishes, what is read never comes."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream, self.dead = stream, asyncio.Event()

    async def read(self, n: int) -> bytes:
        if self.dead.is_set():
            await asyncio.Event().wait()
        reading = asyncio.ensure_future(self._stream.read(n))
        dying = asyncio.ensure_future(self.dead.wait())
        await asyncio.wait([reading, dying], return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if self.dead.is_set():
            reading.cancel()
            await asyncio.Event().wait()
        return await reading

    async def write(self, data: bytes) -> None:
        if not self.dead.is_set():
            await self._stream.write(data)

    async def close(self) -> None:
        if not self.dead.is_set():
            await self._stream.close()


async def _half_open(seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds until each device's silence was told, and from its return until it was served again."""
    wires: list[_Wire] = []

    def wrap(_device: str, stream: ByteStream) -> ByteStream:
        wires.append(_Wire(stream))
        return wires[-1]

    rng = random.Random(seed)
    tier = Tier2("demo", seed, 30.0, wrap)
    await tier.platform.open()
    dies_s, back_s = rng.uniform(30, 60), rng.uniform(170, 190)
    noticed: dict[str, float] = {}
    served: dict[str, float] = {}

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await asyncio.sleep(dies_s)
        for wire in wires:
            wire.dead.set()
        tier.roles.unplugged.update(device.id for device in tier.roles.devices)
        while loop.time() - began_s < back_s + 60:
            passed_s = loop.time() - began_s
            if passed_s >= back_s:
                tier.roles.unplugged.clear()
            for name, health in tier.health.devices.items():
                if passed_s < back_s and health.state is DeviceState.OFFLINE:
                    noticed.setdefault(name, passed_s - dies_s)
                if passed_s >= back_s and health.state is DeviceState.ONLINE:
                    served.setdefault(name, passed_s - back_s)
            await asyncio.sleep(LOOK_S)

    watching = asyncio.create_task(watch())
    await tier.run(back_s + 61)
    await watching
    never = dict.fromkeys(tier.health.devices, 1e9)
    return {**never, **noticed}, {**never, **served}


def half_open(trial: Trial) -> Outcome:
    """Every link of a store dies without a FIN, at once; later all devices are reachable again."""
    failed, worst, worst_ble, back = 0, 0.0, 0.0, 0.0
    for seed in range(trial.seed, trial.seed + trial.count):
        noticed, served = run_virtual(_half_open(seed))
        for name, silent_s in noticed.items():
            is_ble = name.startswith(("scan", "ble"))
            limit_s = BLE_SILENCE_S if is_ble else SILENCE_S
            failed += silent_s > limit_s + LOOK_S or served[name] > RETURN_S + LOOK_S
            worst, worst_ble = max(worst, 0.0 if is_ble else silent_s), max(worst_ble, silent_s if is_ble else 0.0)
            back = max(back, served[name])
    figure = (
        f"noticed after at most {worst:.1f} s (scanners {worst_ble:.1f} s), served at most {back:.1f} s after return"
    )
    return Outcome(trial.count * len(noticed), failed, figure)


# --- flaps, over real sockets and terminals ---------------------------------------------------------------------------


class _Store:
    """The demo store's devices on TCP and ptys, and a real supervisor with their real drivers."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        self.state: dict[str, DeviceState] = {}
        scenario = SCENARIOS["demo"](seed, 1.0, 50, False)
        self.devices = list(store_devices(scenario.world, SimClock(), functools.partial(int, 1_790_000_000_000_000)))
        self.connected: dict[str, set[ByteStream]] = {device.id: set() for device in self.devices}
        loop = asyncio.get_running_loop()
        self.now_us = lambda: int(loop.time() * 1e6)
        self.supervisor = Supervisor(self._emit, self.now_us, self.rng)

    def _emit(self, observation: Observation) -> None:
        if isinstance(observation, DeviceStatus):
            self.state[observation.device_id] = observation.state

    def role(self, device: StoreDevice) -> Callable[[ByteStream], object]:
        async def play(stream: ByteStream) -> None:
            self.connected[device.id].add(stream)
            try:
                await device.serve(stream)
            finally:
                self.connected[device.id].discard(stream)

        return play

    def drive(self, group: asyncio.TaskGroup, device: StoreDevice, moniker: str) -> None:
        info = driver_info(device.kind)
        key = "moniker" if device.kind.startswith("rfid") else "link"
        context = DriverContext(device.id, self.now_us, open_stream)
        settings = build(info.settings, {key: moniker})
        self.supervisor.start(group, Supervised(device.id, functools.partial(info.open, context, settings)))

    async def online(self, within_s: float = 30.0) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not all(self.state.get(one.id) is DeviceState.ONLINE for one in self.devices):
                    await asyncio.sleep(0.02)
                return True
        return False

    async def flap(self, device: StoreDevice) -> None:
        """Hang up in the middle of whatever is going on, and wait until the driver is there again."""
        for stream in tuple(self.connected[device.id]):
            await stream.close()
        for _ in range(500):
            await asyncio.sleep(0.005)
            if self.connected[device.id]:
                break


def _held() -> tuple[int, int, int]:
    """(open file descriptors, threads, tasks) of this process."""
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), len(asyncio.all_tasks())


async def _flap(trial: Trial) -> tuple[int, str]:
    store = _Store(trial.seed, trial.folder)
    async with Wires() as wires, asyncio.TaskGroup() as group:
        for device in store.devices:
            port = await wires.tcp(store.role(device))  # type: ignore[arg-type]
            store.drive(group, device, f"tcp:127.0.0.1:{port}")
        assert await store.online(), f"not all devices came: {store.state}"
        for device in store.devices:
            await store.flap(device)  # what is made once (caches, sockets of the first loss) is made before the count
        assert await store.online()
        await asyncio.sleep(0.5)
        before, flaps = _held(), 0
        while flaps < trial.count:
            await store.flap(store.rng.choice(store.devices))
            flaps += 1
        well = await store.online(60.0)
        await asyncio.sleep(1.0)
        after = _held()
        await store.supervisor.stop_all()
    fault = not well or any(now > then for now, then in zip(after, before, strict=True))
    words = f"descriptors {before[0]} → {after[0]}, threads {before[1]} → {after[1]}, tasks {before[2]} → {after[2]}"
    return int(fault), words + ("" if well else "; not all devices are served again")


def flaps(trial: Trial) -> Outcome:
    """Every kind of device hangs up at any moment, over real TCP; nothing may be left behind."""
    first, most = supervisor_module.FIRST_BACKOFF_S, supervisor_module.MAX_BACKOFF_S
    supervisor_module.FIRST_BACKOFF_S = supervisor_module.MAX_BACKOFF_S = 0.01  # a thousand of them in a minute
    try:
        failed, words = asyncio.run(_flap(trial))
    finally:
        supervisor_module.FIRST_BACKOFF_S, supervisor_module.MAX_BACKOFF_S = first, most
    return Outcome(trial.count, failed, words)


async def _renumber(trial: Trial) -> tuple[int, float]:
    """A USB adapter comes back under another number: the link by port (udev) names another terminal."""
    store = _Store(trial.seed, trial.folder)
    store.devices = [device for device in store.devices if device.kind == "shelf_mcu"][:1]
    (device,) = store.devices
    link, failed, worst_s = trial.folder / "port-1", 0, 0.0
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        for number in range(trial.count + 1):
            began_s = loop.time()
            async with Wires() as wires:
                terminal = wires.pty(store.role(device), device.baud, trial.folder / f"ttyUSB{number}")  # type: ignore[arg-type]
                link.unlink(missing_ok=True)
                link.symlink_to(terminal)
                if number == 0:
                    store.drive(group, device, f"serial:{link}?baud={device.baud}")
                ok = await store.online(20.0)
                took_s = loop.time() - began_s
                failed += number > 0 and (not ok or took_s > RETURN_S)
                worst_s = max(worst_s, took_s if number else 0.0)
                await asyncio.sleep(0.2)
            store.state.clear()
        await store.supervisor.stop_all()
    return failed, worst_s


def renumbered(trial: Trial) -> Outcome:
    """Each time under another terminal's name, behind the same link by port."""
    failed, worst_s = asyncio.run(_renumber(trial))
    return Outcome(trial.count, failed, f"served at most {worst_s:.1f} s after it came back under another number")


# --- second client, bluetoothd ----------------------------------------------------------------------------------------


def second_client(trial: Trial) -> Outcome:
    """A reader that another client holds: told as that, and the first client is not disturbed."""
    failed = 0

    async def play(scene: reader.Scene) -> None:
        first = asyncio.create_task(scene.run(20))
        await asyncio.sleep(2)
        with pytest.raises(DeviceRefused, match="another client"):
            await scene.run(5)
        await asyncio.sleep(1)
        assert not first.done()
        first.cancel()

    for _ in range(trial.count):
        try:
            reader.played(play)
        except (AssertionError, pytest.fail.Exception) as error:
            failed += 1
            trial.say(f"  {error}")
    return Outcome(trial.count, failed, "DeviceRefused by name, the first client goes on")


BLUETOOTH_FAULTS: dict[str, Callable[[Bluez], None]] = {
    "crash": lambda bluez: bluez.restart(0.5, crash=True),
    "restart": lambda bluez: bluez.restart(0.5),
    "unplug": bluetooth._unplug_and_plug,
    "hang": bluetooth._hang_and_resume,
}


def bluetoothd(trial: Trial) -> Outcome:
    """bluetoothd dies, restarts, loses its adapter, hangs: scanning comes back, over a private D-Bus with bleak."""
    import shutil

    if shutil.which("dbus-daemon") is None:
        raise NotHere("dbus-daemon is not installed")
    failed, worst_s = 0, 0.0
    for number in range(trial.count):
        name = list(BLUETOOTH_FAULTS)[number % len(BLUETOOTH_FAULTS)]
        folder = trial.folder / str(number)
        folder.mkdir()

        async def main(name: str = name, folder: Path = folder) -> float:
            patch = pytest.MonkeyPatch()
            try:
                async with bluetooth.gateway(folder, patch, 1.0) as (made, bluez):
                    await made.hears(20.0)
                    BLUETOOTH_FAULTS[name](bluez)
                    began_s = asyncio.get_running_loop().time()
                    await asyncio.sleep(0.3)
                    await made.hears(within_s=30.0)
                    return asyncio.get_running_loop().time() - began_s
            finally:
                patch.undo()

        try:
            worst_s = max(worst_s, asyncio.run(main()))
        except (TimeoutError, OSError) as error:
            failed += 1
            trial.say(f"  {name}: {type(error).__name__}: {error}")
    return Outcome(trial.count, failed, f"{', '.join(BLUETOOTH_FAULTS)}; hears again within {worst_s:.1f} s")


PROMISES = (
    Promise(
        "half_open", "half-open links: noticed ≤ 15 s (BLE 90 s), served ≤ 10 s after return", (0, 10, 100), half_open
    ),
    Promise("flaps", "device flaps: descriptors, threads, tasks back to baseline", (30, 1000, 1000), flaps),
    Promise("renumbered", "adapter back under another number: served ≤ 10 s after", (1, 5, 50), renumbered),
    Promise("second_client", "second client at a reader: refused by name, first goes on", (1, 5, 20), second_client),
    Promise("bluetoothd", "bluetoothd dies, hangs, loses its adapter: hears again", (0, 8, 40), bluetoothd),
)
