"""A virtual store as a process: its devices on TCP ports, pseudo-terminals and a private D-Bus.

In the directory it is given it writes `site.json` (what a planner knows), `devices.json` (how to reach each device),
`truth.json` (the whole truth, rewritten every second) and the links of the serial ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firmware_sim.bluez import Bluez
from firmware_sim.bluez_objects import Adapter
from firmware_sim.clock import SimClock
from firmware_sim.private_bus import PrivateBus
from firmware_sim.roster import StoreDevice, scanner_ear, store_devices
from firmware_sim.scenario import SCENARIOS, Scenario
from firmware_sim.stream import ByteStream, PtyStream, Role, serve_tcp

HOST = "127.0.0.1"
ADAPTER_ADDRESS = "00:1A:7D:DA:71:13"


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How the store is played. `seconds`: how long shoppers come, after the store has opened."""

    directory: Path
    scenario: str = "demo"
    seed: int = 7
    seconds: float = 40.0
    speed: float = 1.0
    tags: int = 400
    open_after_s: float = 15.0
    """The store opens when every device has been contacted, at the latest after this long."""
    bluez: bool = True
    """Let the last scanner be a local adapter on a private D-Bus, where dbus-daemon is installed."""


def utc_us() -> int:
    """UTC now, µs since 1970: only readers with a clock of their own need it."""
    return time.time_ns() // 1000


def say(**values: object) -> None:
    """One JSON object on a line of standard output, at once."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def write_json(path: Path, value: object) -> None:
    """Replace a file so that a reader never sees half of it."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(value, indent=1))
    fresh.replace(path)


def told_to_stop() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets, from now on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _report_end(task: asyncio.Task[None]) -> None:
    """A role must never end unheard: whoever debugs a silent device looks here."""
    if not task.cancelled():
        error = task.exception()
        sys.stderr.write(f"{task.get_name()}: the role ended\n" + "".join(traceback.format_exception(error)))


class Wires:
    """The open wires of a process; leaving the context closes them all."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._ptys: list[PtyStream] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Wires:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pty in self._ptys:
            await pty.close()
        for server in self._servers:
            server.close()

    async def tcp(self, role: Role, port: int = 0, host: str = HOST) -> int:
        """Serve a role on a TCP port; returns the port."""
        server, port = await serve_tcp(self._tracked(role), host, port)
        self._servers.append(server)
        return port

    def _tracked(self, role: Role) -> Role:
        async def connected(stream: ByteStream) -> None:
            task = asyncio.current_task()
            if task is not None:
                self._tasks.add(task)
            try:
                await role(stream)
            except asyncio.CancelledError:
                await stream.close()
            finally:
                if task is not None:
                    self._tasks.discard(task)

        return connected

    def pty(self, role: Role, baud: int | None, link: Path | None = None) -> str:
        """Serve a role on a pseudo-terminal; returns the path to open."""
        stream = PtyStream(link, baud)
        self._ptys.append(stream)

        async def play() -> None:
            await role(stream)

        task = asyncio.create_task(play(), name=stream.path)
        task.add_done_callback(_report_end)
        self._tasks.add(task)
        return str(link) if link is not None else stream.path

    def background(self, task: asyncio.Task[None]) -> None:
        """Cancel a task with the wires."""
        self._tasks.add(task)


async def _wire(device: StoreDevice, wires: Wires, directory: Path) -> dict[str, object]:
    """Put a device on its wire; returns its entry for devices.json."""
    entry: dict[str, object] = {"id": device.id, "kind": device.kind}
    if device.baud is None:
        entry["moniker"] = f"tcp:{HOST}:{await wires.tcp(device.serve)}"
    else:
        path = wires.pty(device.serve, device.baud, directory / f"tty-{device.id}")
        entry["moniker"] = f"serial:{path}?baud={device.baud}"
    if device.calibration is not None:
        entry["calibration"] = device.calibration
    return entry


async def _bluez(
    scenario: Scenario, clock: SimClock, directory: Path, wires: Wires, stack: contextlib.AsyncExitStack
) -> tuple[dict[str, object], Callable[[], bool]] | None:
    """Play the store's last scanner as a local adapter; None where dbus-daemon is missing."""
    scanner = scenario.world.layout.scanners[-1]
    try:
        bus = await stack.enter_async_context(PrivateBus(directory))
    except FileNotFoundError as error:
        sys.stderr.write(f"{scanner.device}: no local Bluetooth adapter, a scanner on a serial port instead: {error}\n")
        return None
    adapter = Adapter("hci0", ADAPTER_ADDRESS, scanner_ear(scenario.world, scanner.device, clock, directory))
    bluez = Bluez([adapter], scenario.world.seed)
    ready = asyncio.Event()
    wires.background(asyncio.create_task(bluez.run(bus.address, ready)))
    await asyncio.wait_for(ready.wait(), 5.0)
    entry: dict[str, object] = {
        "id": scanner.device,
        "kind": "beacon_ble",
        "moniker": "bluez:hci0",
        "adapter": "hci0",
        "bus_address": bus.address,
    }
    return entry, lambda: adapter.discovering


async def run_store(options: StoreOptions) -> None:
    """Play the store until SIGTERM or SIGINT."""
    stop = told_to_stop()
    directory = options.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    clock = SimClock(options.speed)
    scenario = SCENARIOS[options.scenario](options.seed, options.seconds, options.tags, False)
    world = scenario.world
    async with contextlib.AsyncExitStack() as stack:
        wires = await stack.enter_async_context(Wires())
        devices = store_devices(world, clock, utc_us, directory)
        entries: list[dict[str, object]] = []
        contacted: list[Callable[[], bool]] = []
        local = await _bluez(scenario, clock, directory, wires, stack) if options.bluez else None
        if local is not None:
            entries.append(local[0])
            contacted.append(local[1])
        for device in devices:
            if local is not None and device.id == local[0]["id"]:
                continue
            entries.append(await _wire(device, wires, directory))
            contacted.append(device.heard_from)
        write_json(directory / "site.json", scenario.site)
        write_json(directory / "devices.json", entries)
        write_json(directory / "truth.json", _truth(scenario, clock))
        story = asyncio.create_task(_live(scenario, clock, options, directory, contacted))
        say(
            ready=True,
            pid=os.getpid(),
            directory=str(directory),
            scenario=options.scenario,
            seed=options.seed,
            devices=entries,
        )
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({story, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if story.done():
            await story  # it never ends by itself: say why it did
        story.cancel()
        write_json(directory / "truth.json", _truth(scenario, clock))


def _truth(scenario: Scenario, clock: SimClock) -> dict[str, object]:
    scenario.world.advance_to(clock.now_us())
    return {"utc_us": utc_us(), **scenario.world.truth()}


async def _live(
    scenario: Scenario, clock: SimClock, options: StoreOptions, directory: Path, contacted: list[Callable[[], bool]]
) -> None:
    """Open the store when the gateway is there; then keep the truth on disk, once a second."""
    loop = asyncio.get_running_loop()
    latest_s = loop.time() + options.open_after_s
    due_s = loop.time()
    opened = False
    while True:
        if not opened and (loop.time() >= latest_s or all(one() for one in contacted)):
            scenario.world.advance_to(clock.now_us())
            scenario.open()
            opened = True
        write_json(directory / "truth.json", _truth(scenario, clock))
        due_s += 1.0
        await asyncio.sleep(max(0.05, due_s - loop.time()))


async def run_role(role: Role, port: int | None, link: Path | None, baud: int, announce: dict[str, object]) -> None:
    """Play one role alone on a TCP port, or on a pseudo-terminal, until told to stop."""
    stop = told_to_stop()
    async with Wires() as wires:
        if port is not None:
            port = await wires.tcp(role, port)
            say(ready=True, port=port, moniker=f"tcp:{HOST}:{port}", pid=os.getpid(), **announce)
        else:
            path = wires.pty(role, baud, link)
            say(ready=True, path=path, moniker=f"serial:{path}?baud={baud}", pid=os.getpid(), **announce)
        await stop.wait()
