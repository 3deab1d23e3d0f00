"""Care for the beacon fleet: silence, a beacon that was carried off, and a clone that is heard where it cannot be.

A beacon is a hint, never proof. Radio can be weaker than free space allows by any amount, but hardly stronger: so a
strong level bounds the distance from above, and two bounds that together do not reach from one scanner to the other
mean two senders.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any, Final

from edge.core.fact import JsonValue
from edge.core.facts import Degraded, Offline, Online, SpoofingSuspected
from edge.core.instant import US_PER_MIN, US_PER_S, Instant
from edge.core.part import Said, Signal
from edge.core.proximity.zones import Track, ZoneModel
from edge.core.site import Beacon, Site

SILENT_US: Final = 15 * US_PER_MIN
MOVED_US: Final = 10 * US_PER_MIN
SUSPECT_AGAIN_US: Final = 10 * US_PER_MIN
BONUS_DB: Final = 15.0  # waves that add up, a good antenna, a beacon that sends more than it says
FREE_SPACE: Final = 2.0
MIN_SAMPLES: Final = 3
_RSSI: Final = operator.itemgetter(1)
CONFIRM_US: Final = 5 * US_PER_S  # longer than a window: who walks fast is not in two places


class Care:
    """Health of zone beacons and suspicion about all of them."""

    def __init__(self) -> None:
        self._last_us: dict[str, int] = {}
        self._silent: set[str] = set()
        self._elsewhere: dict[str, tuple[str, int]] = {}
        self._moved: set[str] = set()
        self._suspected_us: dict[str, int] = {}
        self._since_us: dict[str, int] = {}
        self._dirty: set[str] = set()
        self._apart: list[tuple[str, str, float]] = []
        self.deadline_us: int | None = None
        """No zone beacon counts as silent sooner; whether one does is looked at then."""

    def plan(self, site: Site, model: ZoneModel) -> None:
        """Distances between scanners, where positions are known."""
        place = model.place
        devices = sorted(place)
        self._apart = [(a, b, math.dist(place[a], place[b])) for i, a in enumerate(devices) for b in devices[i + 1 :]]
        zone_beacons = {beacon.id for beacon in site.beacons if beacon.kind == "zone"}
        self._last_us = {beacon: at_us for beacon, at_us in self._last_us.items() if beacon in zone_beacons}

    def alive(self, beacon: Beacon, now: Instant) -> list[Signal]:
        """It was heard."""
        if beacon.kind != "zone":
            return []
        self._last_us[beacon.id] = now.mono_us
        if self.deadline_us is None:
            self.deadline_us = now.mono_us + SILENT_US
        if beacon.id not in self._silent:
            return []
        self._silent.discard(beacon.id)
        self._dirty.add(beacon.id)
        return [Online(at_us=now.mono_us, device=beacon.id, serial="", firmware="")]

    def tick(self, now: Instant) -> list[Signal]:
        """Zone beacons that fell silent."""
        if self.deadline_us is None or now.mono_us < self.deadline_us:
            return []
        signals: list[Signal] = []
        for beacon, last_us in self._last_us.items():
            if beacon not in self._silent and now.mono_us - last_us >= SILENT_US:
                self._silent.add(beacon)
                self._dirty.add(beacon)
                detail = f"not heard for {SILENT_US // US_PER_MIN} min: battery, or taken away"
                signals.append(Offline(at_us=now.mono_us, device=beacon, cause="silent", detail=detail))
        heard = (at_us + SILENT_US for beacon, at_us in self._last_us.items() if beacon not in self._silent)
        self.deadline_us = min(heard, default=None)
        return signals

    def placed(self, beacon: Beacon, zone: str, now: Instant) -> list[Signal]:
        """Where a zone beacon is heard to be; one that stays elsewhere was moved, and would lie to phones."""
        if beacon.zone is None or zone == beacon.zone:
            self._elsewhere.pop(beacon.id, None)
            if beacon.id in self._moved:
                self._moved.discard(beacon.id)
                self._dirty.add(beacon.id)
                return [Online(at_us=now.mono_us, device=beacon.id, serial="", firmware="")]
            return []
        before = self._elsewhere.get(beacon.id)
        if before is None or before[0] != zone:
            self._elsewhere[beacon.id] = (zone, now.mono_us)
            return []
        if beacon.id in self._moved or now.mono_us - before[1] < MOVED_US:
            return []
        self._moved.add(beacon.id)
        self._dirty.add(beacon.id)
        detail = f"heard in zone {zone}, expected in {beacon.zone}: put it back, or change the planogram"
        return [Degraded(at_us=now.mono_us, device=beacon.id, cause="moved", detail=detail)]

    def suspect(self, beacon: Beacon, track: Track, now: Instant) -> list[Signal]:
        """Two scanners hear it nearer than they are to each other."""
        last_us = self._suspected_us.get(beacon.id)
        if last_us is not None and now.mono_us - last_us < SUSPECT_AGAIN_US:
            return []
        if not self._may_be_two(track):
            self._since_us.pop(beacon.id, None)
            return []
        reach: dict[str, float] = {}
        for device, samples in track.samples.items():
            if len(samples) >= MIN_SAMPLES:
                level = sorted(rssi for _, rssi in samples)[len(samples) // 2]
                reach[device] = 10 ** ((track.power_dbm + BONUS_DB - level) / (10 * FREE_SPACE))
        if len(reach) < 2:
            return []
        for one, other, metres in self._apart:
            if one in reach and other in reach and reach[one] + reach[other] < metres:
                if now.mono_us - self._since_us.setdefault(beacon.id, now.mono_us) < CONFIRM_US:
                    return []
                del self._since_us[beacon.id]
                self._suspected_us[beacon.id] = now.mono_us
                detail = (
                    f"heard within {reach[one]:.1f} m of {one} and {reach[other]:.1f} m of {other}, "
                    f"which are {metres:.1f} m apart"
                )
                return [SpoofingSuspected(at_us=now.mono_us, thing=beacon.id, places=[one, other], detail=detail)]
        self._since_us.pop(beacon.id, None)
        return []

    def _may_be_two(self, track: Track) -> bool:
        """Whether the strongest samples alone would keep two scanners apart; the middle ones are weaker."""
        nearest: dict[str, float] = {}
        for device, samples in track.samples.items():
            if len(samples) >= MIN_SAMPLES:
                level = max(samples, key=_RSSI)[1]
                nearest[device] = 10 ** ((track.power_dbm + BONUS_DB - level) / (10 * FREE_SPACE))
        return len(nearest) < 2 or any(
            one in nearest and other in nearest and nearest[one] + nearest[other] < metres
            for one, other, metres in self._apart
        )

    # --- state ------------------------------------------------------------------------------------------------------

    def drain_said(self) -> Said:
        """``care/{beacon}``: [silent, moved]."""
        said: Said = {f"care/{beacon}": [beacon in self._silent, beacon in self._moved] for beacon in self._dirty}
        self._dirty.clear()
        return said

    def restore(self, said: Mapping[str, JsonValue]) -> None:
        """What was said of each beacon."""
        for key, value in said.items():
            if key.startswith("care/"):
                flags: Any = value
                for kept, flag in ((self._silent, flags[0]), (self._moved, flags[1])):
                    if flag:
                        kept.add(key[5:])
