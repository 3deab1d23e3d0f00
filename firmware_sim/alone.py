"""Single roles as processes: each makes a small world of its own and plays one device of it."""

from __future__ import annotations

import asyncio
import os
from argparse import Namespace

from firmware_sim import llrp_wire, sdp
from firmware_sim.ble_scanner import BleScanner
from firmware_sim.clock import SimClock
from firmware_sim.layout import Reader
from firmware_sim.llrp_reader import LlrpReader, ReaderOptions
from firmware_sim.phone_actors import Actors, play
from firmware_sim.platform import Platform, PlatformTraits
from firmware_sim.r200_module import R200Module
from firmware_sim.radio import FIELD, MILD
from firmware_sim.roster import WorldTags, door_array, scanner_ear, shelf_mcu
from firmware_sim.scale_modbus import ModbusScale, RegisterMap, Value
from firmware_sim.scale_sics import SicsScale
from firmware_sim.scenario import SCENARIOS, Scenario, demo_layout, tag_store
from firmware_sim.serve import run_role, say, told_to_stop, utc_us
from firmware_sim.stream import Role

RADIOS = {"mild": MILD, "field": FIELD}


def _tags(options: Namespace, antennas: int) -> tuple[Scenario, Reader]:
    scenario = tag_store(options.seed, int(options.tags), antennas, RADIOS[options.radio])
    return scenario, scenario.world.layout.readers[0]


async def reader(options: Namespace) -> None:
    """An LLRP reader before `--tags` tags."""
    scenario, which = _tags(options, int(options.antennas))
    clock = SimClock(options.speed)
    version = llrp_wire.VERSION_1_1 if options.llrp_1_1 else llrp_wire.VERSION_1_0_1
    role = LlrpReader(
        WorldTags(scenario.world, which.device),
        tuple(antenna.port for antenna in which.antennas),
        clock.now_us,
        utc_us,
        ReaderOptions(max_version=version, omit_unchanged=options.omit_unchanged),
    )
    await _run(role.serve, options, tags=int(options.tags), antennas=len(which.antennas))


async def r200(options: Namespace) -> None:
    """A serial UHF module with one antenna."""
    scenario, which = _tags(options, 1)
    role = R200Module(WorldTags(scenario.world, which.device), SimClock(options.speed).now_us)
    await _run(role.serve, options, tags=int(options.tags))


def _store(options: Namespace) -> Scenario:
    return SCENARIOS[options.scenario](options.seed, options.seconds, 400, True)


async def shelf(options: Namespace) -> None:
    """The first weight controller of a store."""
    world = _store(options).world
    device = world.layout.mcus[0].device
    calibration = world.cells[device].calibration()
    await _run(shelf_mcu(world, device, SimClock(options.speed)).serve, options, calibration=calibration)


async def door(options: Namespace) -> None:
    """The door of a store."""
    world = _store(options).world
    await _run(door_array(world, world.layout.doors[0], SimClock(options.speed)).serve, options)


async def scanner(options: Namespace) -> None:
    """The first beacon scanner of a store."""
    world = _store(options).world
    device = world.layout.scanners[0].device
    identity = sdp.Identity(f"BLE-{device}"[:16], "SCAN-NRF52", (1, 0, 0))
    await _run(BleScanner(identity, scanner_ear(world, device, SimClock(options.speed)), options.seed).serve, options)


def _platform(options: Namespace) -> Platform:
    """A scale on which somebody puts 250 g more every five seconds, and clears it after six."""

    def load_g(t_us: int) -> float:
        return 250.0 * (int(t_us * options.speed) // 5_000_000 % 7)

    return Platform(load_g, PlatformTraits(), options.seed)


async def sics(options: Namespace) -> None:
    """An MT-SICS scale."""
    await _run(SicsScale(_platform(options), f"SICS-{options.seed}").serve, options)


async def modbus(options: Namespace) -> None:
    """A Modbus RTU weight transmitter: gross at 0, net at 2 (i32, g), status at 4 (bits 0 stable, 1 over, 2 under)."""
    registers = RegisterMap(Value(0), Value(2), status=4, stable_bit=0, overload_bit=1, underload_bit=2)
    await _run(ModbusScale(_platform(options), registers).serve, options, unit=1)


async def _run(role: Role, options: Namespace, **announce: object) -> None:
    link = getattr(options, "link", None)
    await run_role(role, options.port, link, options.baud, {"role": options.role, "seed": options.seed, **announce})


async def phones(options: Namespace) -> None:
    """Phones of shoppers in the demo store, and a till; what they did goes into phones.json."""
    zone_beacons = [beacon for beacon in demo_layout().beacons if beacon.kind == "zone"]
    till = os.environ.get("SMARTSTORE_TILL_TOKEN", "")
    actors = Actors(options.api, till, zone_beacons, options.seed, directory=options.dir)
    told = told_to_stop()
    playing = asyncio.create_task(play(actors, options.dir / "phones.json"))
    say(ready=True, beacons=len(zone_beacons), pid=os.getpid())
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait({playing, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if playing.done():
        playing.result()
    playing.cancel()
