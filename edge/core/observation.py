"""Observations: what drivers emit, stamped with the engine's time by the runtime.

``mono_us`` is when the gateway received it. Columns instead of objects where a batch is large: a tag report is ONE
observation, whatever the number of reads in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

NO_READING = -(2**31)  # SDP/1 DATA: the cell gave nothing
SATURATED_HIGH = 2**23 - 1  # SDP/1 DATA: a 24-bit converter at its rail
SATURATED_LOW = -(2**23)


RESTING = "duty_off"  # cause of a degraded reader that rests by its schedule: what it does not see has not gone


class DeviceState(StrEnum):
    """Whether a device can be believed."""

    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class TagReads:
    """A batch of reads of one reader, as columns of n rows; all EPCs of one batch have the same width.

    epc (n, width) uint8, big-endian as on air · antenna (n,) uint16, 1-based port · rssi_cdbm (n,) int16 in 1/100 dBm ·
    seen_us (n,) int64 engine time of the last sighting (reader clock already mapped) · count (n,) uint16 sightings that
    the row stands for (LLRP TagSeenCount, 1 where the reader does not tell).
    """

    device_id: str
    mono_us: int
    epc: NDArray[np.uint8]
    antenna: NDArray[np.uint16]
    rssi_cdbm: NDArray[np.int16]
    seen_us: NDArray[np.int64]
    count: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.antenna)


@dataclass(frozen=True, slots=True)
class AntennaStatus:
    """A reader says that one of its antennas was connected or disconnected (LLRP AntennaEvent)."""

    device_id: str
    mono_us: int
    antenna: int
    connected: bool


@dataclass(frozen=True, slots=True)
class CellSamples:
    """Raw counts of the cells of one shelf controller: counts (n_samples, n_cells) int32, t_us (n_samples,) int64.

    A count may be `NO_READING`, `SATURATED_HIGH` or `SATURATED_LOW`. Scales that speak grams use the same observation
    with counts in milligrams and a calibration of 1000 counts a gram; ``stable`` is the scale's own word, else None.
    """

    device_id: str
    mono_us: int
    t_us: NDArray[np.int64]
    counts: NDArray[np.int32]
    temperature_c: float | None = None
    stable: bool | None = None


@dataclass(frozen=True, slots=True)
class Advert:
    """One own or known BLE advertisement heard by one scanner (a phone's address never gets this far).

    ``beacon`` names the payload's identity in canonical form, for example ``ibeacon:<uuid>:<major>:<minor>``,
    ``eddystone-uid:<namespace>:<instance>``, ``eddystone-eid:<hex>``, ``altbeacon:<hex>``, ``bthome:<address>``.
    """

    device_id: str
    mono_us: int
    beacon: str
    rssi_dbm: int
    tx_power_dbm: int | None = None


@dataclass(frozen=True, slots=True)
class SensorReading:
    """A named quantity a device measured: battery_percent, battery_mv, temperature_c, humidity_percent, door_open …"""

    device_id: str
    mono_us: int
    subject: str
    quantity: str
    value: float


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of a door array: pixels (n, rows, cols) int16 in 1/100 °C or mm (`unit`), t_us (n,) int64.

    -32768 marks a dead pixel. The runtime hands them to the Inference port; they are never stored.
    """

    device_id: str
    mono_us: int
    t_us: NDArray[np.int64]
    pixels: NDArray[np.int16]
    unit: str = "centi_celsius"


@dataclass(frozen=True, slots=True)
class DoorCrossing:
    """A person crossed a door: what the Inference port made of frames. direction is "in" or "out"."""

    device_id: str
    mono_us: int
    direction: str
    confidence: float
    crossed_us: int


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """The supervisor or a driver says how a device is; ``cause`` is machine-readable, ``detail`` is for people."""

    device_id: str
    mono_us: int
    state: DeviceState
    cause: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What a device says of itself on connecting: the position owns configuration, hardware is a part."""

    device_id: str
    mono_us: int
    serial: str
    model: str
    firmware: str


Observation = (
    TagReads
    | AntennaStatus
    | CellSamples
    | Advert
    | SensorReading
    | Frames
    | DoorCrossing
    | DeviceStatus
    | DeviceIdentity
)
