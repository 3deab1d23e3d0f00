"""Which of several ears speaks for a beacon: one adapter's cached, late reading must not undo another's fresh one.

The ear that hears it best owns it; a rival must be clearly louder, and an owner that falls silent loses it. The same
for local adapters of one box and for remote scanners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge.core.instant import US_PER_S

RIVAL_DB: Final = 8.0  # the spread of single packets: a rival is louder in the mean, not by luck
SILENT_US: Final = 30 * US_PER_S
WEIGHT: Final = 0.2  # of the newest packet in an ear's mean level


@dataclass(slots=True)
class _Owner:
    device: str
    level_dbm: float
    heard_us: int
    rival: str = ""
    rival_dbm: float = 0.0


class Owners:
    """One owner a beacon, and the loudest rival."""

    def __init__(self) -> None:
        self._owners: dict[str, _Owner] = {}

    def hear(self, beacon: str, device: str, rssi_dbm: int, now_us: int) -> None:
        """An ear heard the beacon."""
        owner = self._owners.get(beacon)
        if owner is None or (owner.device != device and now_us - owner.heard_us >= SILENT_US):
            self._owners[beacon] = _Owner(device, float(rssi_dbm), now_us)
        elif owner.device == device:
            owner.level_dbm += WEIGHT * (rssi_dbm - owner.level_dbm)
            owner.heard_us = now_us
        else:
            self._challenge(beacon, owner, (device, rssi_dbm), now_us)

    def _challenge(self, beacon: str, owner: _Owner, rival: tuple[str, int], now_us: int) -> None:
        device, rssi_dbm = rival
        if owner.rival == device:
            owner.rival_dbm += WEIGHT * (rssi_dbm - owner.rival_dbm)
        elif not owner.rival or rssi_dbm > owner.rival_dbm:
            owner.rival, owner.rival_dbm = device, min(float(rssi_dbm), owner.level_dbm)  # one packet proves nothing
        if owner.rival == device and owner.rival_dbm >= owner.level_dbm + RIVAL_DB:
            self._owners[beacon] = _Owner(device, owner.rival_dbm, now_us)

    def may_speak(self, beacon: str, device: str, now_us: int) -> bool:
        """Whether readings of this beacon are taken from this ear."""
        owner = self._owners.get(beacon)
        return owner is None or owner.device == device or now_us - owner.heard_us >= SILENT_US

    def keep(self, beacons: set[str]) -> None:
        """Forget all others."""
        self._owners = {beacon: owner for beacon, owner in self._owners.items() if beacon in beacons}
