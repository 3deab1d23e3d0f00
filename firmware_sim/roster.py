"""The devices of a scenario as roles: each can be served over a wire, or over memory under virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import numpy.typing as npt

from firmware_sim import sdp
from firmware_sim.adverts import ibeacon
from firmware_sim.ble_air import Heard
from firmware_sim.ble_scanner import BleScanner
from firmware_sim.clock import SimClock
from firmware_sim.door_array import DoorArray
from firmware_sim.layout import Beacon, Door, Reader
from firmware_sim.llrp_caps import Identity
from firmware_sim.llrp_reader import LlrpReader, ReaderOptions
from firmware_sim.people import PersonView
from firmware_sim.radio import Reads
from firmware_sim.sdp_device import SdpDevice
from firmware_sim.shelf_mcu import ShelfMcu
from firmware_sim.stream import Role
from firmware_sim.thermal import GRID_EYE, Passer, Scene
from firmware_sim.visitors import VisitorsEar
from firmware_sim.world import World

COAT_C = 24.5
"""What a body's surface shows above this temperature is its heat for a thermopile."""
BAUD_SHELF = 115_200
BAUD_DOOR = 460_800


@dataclass(frozen=True, slots=True)
class StoreDevice:
    """One device of the store: `kind` as a gateway names it, `serve` plays it on one connection."""

    id: str
    kind: str
    serve: Role
    heard_from: Callable[[], bool]
    """Whether a host has talked to it."""
    baud: int | None = None
    """Line speed of a serial device; None: a network device."""
    calibration: list[dict[str, float]] | None = None


class WorldTags:
    """What one reader of a world can read."""

    def __init__(self, world: World, device: str) -> None:
        self._world = world
        self._device = device

    @property
    def epcs(self) -> npt.NDArray[np.uint8]:
        """EPCs by tag index."""
        return self._world.epcs

    def reads_between(self, t0_us: int, t1_us: int) -> Reads:
        """Reads with t0 <= t < t1."""
        return self._world.reads_between(self._device, t0_us, t1_us)

    def connected(self) -> dict[int, bool]:
        """Whether each antenna's cable is whole."""
        return self._world.radio.connected(self._device)


def llrp_reader(world: World, reader: Reader, clock: SimClock, utc_us: Callable[[], int], number: int) -> LlrpReader:
    """The role of a reader; `number` makes its MAC address."""
    mac = bytes.fromhex("001625") + (0x112500 + number).to_bytes(3, "big")
    ports = tuple(antenna.port for antenna in reader.antennas)
    source = WorldTags(world, reader.device)
    options = ReaderOptions(identity=Identity(mac=mac))
    return LlrpReader(source, ports, clock.now_us, utc_us, options, cables=source.connected)


def scanner_ear(
    world: World, device: str, clock: SimClock, phones: Path | None = None
) -> Callable[[int, int], Sequence[Heard]]:
    """What a scanner hears, in the loop's µs; `phones`: where phones of another process say what they send."""
    payloads: dict[str, bytes] = {}
    here = next(scanner for scanner in world.layout.scanners if scanner.device == device)
    place = here.x_m, here.y_m
    others = VisitorsEar(phones, device, place, str(world.seed), world.ble.profile) if phones else None

    def ear(t0_us: int, t1_us: int) -> list[Heard]:
        heard = []
        now_us = clock.at_us(t1_us)
        for advert in world.adverts_between(device, clock.at_us(t0_us) + 1, now_us + 1):
            beacon = advert.beacon
            if beacon.id not in payloads:
                payloads[beacon.id] = beacon_payload(beacon)
            back_us = round((now_us - advert.t_us) / clock.speed)
            heard.append(Heard(t1_us - back_us, advert.rssi_dbm, 1, beacon.address, payloads[beacon.id]))
        return sorted(heard + others.receive(t0_us, t1_us)) if others else heard

    return ear


def beacon_payload(beacon: Beacon) -> bytes:
    """The AD structures a beacon sends."""
    return ibeacon(UUID(beacon.uuid), beacon.major, beacon.minor, beacon.measured_power_dbm)


def _passer(person: PersonView) -> Passer:
    heading = math.atan2(person.vy_mps, person.vx_mps)
    heat_k = max(1.5, person.surface_c - COAT_C)
    return Passer(person.x_m, person.y_m, heading, heat_k, person.height_m, person.shoulder_m)


def door_array(world: World, door: Door, clock: SimClock) -> DoorArray:
    """The role of a thermopile array over a door."""

    def people(t_us: int) -> list[Passer]:
        return [_passer(person) for person in world.door_view(door, clock.at_us(t_us))]

    return DoorArray(f"DOOR-{door.device}"[:16], Scene(GRID_EYE, world.seed), people, world.seed)


def shelf_mcu(world: World, device: str, clock: SimClock) -> ShelfMcu:
    """The role of a weight controller."""
    cells = world.cells[device]
    identity = sdp.Identity(
        f"SH-{device}"[:16], "SHELF-HX8", (1, 0, 0), cells=cells.n_cells, rate_tenths_hz=round(10 * cells.rate_hz)
    )

    def counts(t_us: int) -> list[int]:
        return [int(count) for count in world.cell_sample_at(device, clock.at_us(t_us))]

    return ShelfMcu(identity, counts, world.seed, lambda t_us: cells.temperature_c(clock.at_us(t_us)))


def _sdp(device: str, kind: str, role: SdpDevice, baud: int, calibration: list[dict[str, float]] | None) -> StoreDevice:
    return StoreDevice(device, kind, role.serve, lambda: role.counters["requests"] > 0, baud, calibration)


def store_devices(
    world: World, clock: SimClock, utc_us: Callable[[], int], phones: Path | None = None
) -> list[StoreDevice]:
    """Every device of the store except what a local Bluetooth adapter hears; `phones` as of `scanner_ear`."""
    devices: list[StoreDevice] = []
    for number, reader in enumerate(world.layout.readers):
        llrp = llrp_reader(world, reader, clock, utc_us, number)
        devices.append(StoreDevice(reader.device, "rfid_llrp", llrp.serve, llrp.has_client))
    for mcu in world.layout.mcus:
        shelf = shelf_mcu(world, mcu.device, clock)
        devices.append(_sdp(mcu.device, "shelf_mcu", shelf, BAUD_SHELF, world.cells[mcu.device].calibration()))
    for scanner in world.layout.scanners:
        identity = sdp.Identity(f"BLE-{scanner.device}"[:16], "SCAN-NRF52", (1, 0, 0))
        ear = BleScanner(identity, scanner_ear(world, scanner.device, clock, phones), world.seed)
        devices.append(_sdp(scanner.device, "ble_scanner", ear, BAUD_SHELF, None))
    devices.extend(
        _sdp(door.device, "door_array", door_array(world, door, clock), BAUD_DOOR, None) for door in world.layout.doors
    )
    return devices
