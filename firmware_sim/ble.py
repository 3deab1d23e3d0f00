"""The beacons and scanners of a store on the air."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from firmware_sim.ble_air import BleProfile, Ear, Point, Position, Sender
from firmware_sim.layout import Beacon, Scanner


@dataclass(frozen=True, slots=True)
class Advert:
    """One packet as one scanner heard it."""

    t_us: int
    beacon: Beacon
    rssi_dbm: int


class BleField:
    """All scanners and beacons of a store; people at ``bodies(t_us)`` stand in the way."""

    def __init__(
        self,
        scanners: tuple[Scanner, ...],
        beacons: tuple[Beacon, ...],
        profile: BleProfile,
        seed: int,
        bodies: Callable[[int], Iterable[Point]] | None = None,
    ) -> None:
        self.profile = profile
        senders = [Sender(b.id, b.interval_s, b.measured_power_dbm) for b in beacons]
        self._ears = {s.device: Ear(s.device, senders, str(seed), profile, bodies) for s in scanners}
        self._here = {s.device: (s.x_m, s.y_m) for s in scanners}
        self._beacons = beacons
        self._index = {b.id: i for i, b in enumerate(beacons)}
        self._places: list[Position] = [_still(b.x_m, b.y_m) for b in beacons]

    def attach(self, beacon_id: str, where: Position) -> None:
        """Let a beacon ride on something that moves."""
        self._places[self._index[beacon_id]] = where

    def adverts_between(self, device: str, t0_us: int, t1_us: int) -> list[Advert]:
        """What scanner `device` heard with t0 <= t < t1, in time order."""
        got = self._ears[device].receive(t0_us, t1_us, self._here[device], self._places)
        return [Advert(t_us, self._beacons[i], rssi_dbm) for t_us, i, rssi_dbm in got]


def _still(x_m: float, y_m: float) -> Position:
    return lambda _t_us: (x_m, y_m)
