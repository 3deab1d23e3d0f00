"""What phones of other processes send into a store's air: the file ``phones-on-air.json``, which the phones keep fresh.

Each entry: name, x_m, y_m (the place now), address and ad (hexadecimal), until_s (Unix time; later it is silent, also
where the phones' process died). All receivers of the store hear it as they hear beacons (`ble_air`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from firmware_sim.ble_air import BleProfile, Ear, Heard, Point, Sender

FILE: Final = "phones-on-air.json"
LOOKED_US: Final = 200_000
INTERVAL_S: Final = 0.25
"""Android's ADVERTISE_MODE_BALANCED."""


@dataclass(frozen=True, slots=True)
class OnAir:
    """One phone that sends now."""

    name: str
    x_m: float
    y_m: float
    address: str
    ad: str
    until_s: float

    def place(self, _t_us: int) -> Point:
        """Where it is: for as long as nothing newer is said."""
        return self.x_m, self.y_m


def write(directory: Path, phones: Iterable[OnAir]) -> None:
    """Replace what is on the air."""
    path = directory / FILE
    fresh = path.with_name(FILE + ".new")
    fresh.write_text(json.dumps([asdict(phone) for phone in phones]))
    fresh.replace(path)


class VisitorsEar:
    """What one receiver hears of them; windows follow each other, as those of `Ear`."""

    def __init__(self, directory: Path, receiver: str, here: Point, seed: str, profile: BleProfile) -> None:
        self._path = directory / FILE
        self._receiver, self._here, self._seed, self._profile = receiver, here, seed, profile
        self._ears: dict[str, tuple[int, Ear]] = {}
        self._phones: list[OnAir] = []
        self._looked_us = -LOOKED_US

    def receive(self, t0_us: int, t1_us: int) -> list[Heard]:
        """Packets with t0 <= t < t1 by the running loop's clock, in time order."""
        if t1_us - self._looked_us >= LOOKED_US:
            self._look(t1_us)
        heard: list[Heard] = []
        for phone in self._phones:
            kept = self._ears.get(phone.name)
            if kept is None:
                sender = Sender(phone.name, INTERVAL_S)
                kept = self._ears[phone.name] = (t0_us, Ear(self._receiver, [sender], self._seed, self._profile))
            begun_us, ear = kept
            got = ear.receive(t0_us - begun_us, t1_us - begun_us, self._here, [phone.place])
            address, ad = bytes.fromhex(phone.address), bytes.fromhex(phone.ad)
            heard += [Heard(begun_us + one.t_us, one.rssi_dbm, 1, address, ad) for one in got]
        return sorted(heard)

    def _look(self, now_us: int) -> None:
        self._looked_us = now_us
        try:
            rows = json.loads(self._path.read_text())
        except FileNotFoundError:
            return
        now_s = time.time()
        self._phones = [phone for phone in (OnAir(**row) for row in rows) if phone.until_s > now_s]
        present = {phone.name for phone in self._phones}
        self._ears = {name: kept for name, kept in self._ears.items() if name in present}
