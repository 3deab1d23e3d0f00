"""The part of the engine: adverts of own beacons in; ZoneEntered, ZoneLeft, heat, health and suspicions out.

Only beacons of the planogram are followed, staff badges only where that was agreed, and *visitors*: customers whose
consent says so, whose phones advertise an identifier that rotates. A visitor is known here by the pseudonym of the day
alone (`edge.offers.rotating` has the keys), and nothing is kept of anybody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edge.core.fact import JsonValue
from edge.core.facts import ZoneEntered, ZoneLeft
from edge.core.instant import US_PER_S, Instant
from edge.core.observation import Advert, SensorReading
from edge.core.part import Said, Signal, ZoneVisit, earliest
from edge.core.proximity.care import Care
from edge.core.proximity.heat import Heat
from edge.core.proximity.owner import Owners
from edge.core.proximity.zones import ENTER, SURE, Track, ZoneModel
from edge.core.site import Beacon, Site

LEAVE_US: Final = 20 * US_PER_S
TOGETHER_US: Final = US_PER_S // 5  # beacons wait for each other so long: weighing six costs little more than one
BATTERY_FULL_MV, BATTERY_EMPTY_MV = 3000.0, 2000.0  # a CR2032 as Eddystone-TLM tells it


@dataclass(slots=True)
class _Followed:
    track: Track = field(default_factory=Track)
    zone: str = ""
    since_us: int = 0
    last_us: int = 0
    likely: str = ""
    is_visitor: bool = False

    def is_sure(self, zone: str, probability: float) -> bool:
        """Whether a zone is believed: at once where it is clear, else when it was the likelier one twice."""
        before, self.likely = self.likely, zone if probability >= ENTER else ""
        return probability >= SURE or (self.likely == before != "")


class Proximity:
    """Assets move between zones (badges, where `badges`); zone beacons show that they live and stay in place."""

    def __init__(self, site: Site, *, badges: bool = False) -> None:
        self._badges = badges
        self._heard: dict[str, _Followed] = {}
        self._dirty: set[str] = set()
        self._heat = Heat()
        self._care = Care()
        self._unweighed: dict[str, _Followed] = {}  # a step of theirs has ended
        self._weigh_us: int | None = None
        self._leaves_us: int | None = None  # nothing leaves sooner; when it does is looked at then
        self._owners = Owners()
        self._visitors: Mapping[str, str] = {}
        self._plan(site)

    def _plan(self, site: Site) -> None:
        self._model = ZoneModel(site)
        kinds = {"asset", "zone", "badge"} if self._badges else {"asset", "zone"}
        self._beacons: dict[str, Beacon] = {beacon.key: beacon for beacon in site.beacons if beacon.kind in kinds}
        self._known: dict[str, Beacon] = {beacon.id: beacon for beacon in self._beacons.values()}
        self._heat.plan(site, self._model.zones)
        self._care.plan(site, self._model)

    def replan(self, site: Site, now: Instant) -> list[Signal]:
        """Follow another planogram: beliefs begin anew, what was said stays until it is known better."""
        self._plan(site)
        self._owners.keep(set(self._known))
        self._unweighed.clear()
        signals: list[Signal] = []
        for beacon, heard in list(self._heard.items()):
            heard.track = _track(self._known.get(beacon))
            is_known = heard.is_visitor or beacon in self._known
            if not is_known or (heard.zone and heard.zone not in self._model.zones):
                signals += self._leave(beacon, heard, now.mono_us)
            if not is_known:
                self._drop(beacon)
        return signals

    def heard(self, advert: Advert, now: Instant) -> list[Signal]:
        """One advertisement at one scanner."""
        beacon = self._beacons.get(advert.beacon)
        if beacon is None:
            visitor = self._visitors.get(advert.beacon)
            return [] if visitor is None else self._visit(visitor, advert, now)
        self._owners.hear(beacon.id, advert.device_id, advert.rssi_dbm, now.mono_us)
        if advert.device_id not in self._model.zone_of:
            return []
        heard = self._heard.get(beacon.id)
        if heard is None:
            heard = self._heard[beacon.id] = _Followed(_track(beacon))
        self._hear(beacon.id, heard, advert, now.mono_us)
        return self._care.alive(beacon, now)

    def _hear(self, key: str, heard: _Followed, advert: Advert, now_us: int) -> None:
        """Take one packet; what all have heard is weighed together."""
        heard.last_us = now_us
        if advert.tx_power_dbm is not None:
            heard.track.power_dbm = float(advert.tx_power_dbm)
        if self._model.hear(heard.track, advert.device_id, advert.rssi_dbm, now_us):
            self._unweighed[key] = heard
            if self._weigh_us is None:
                self._weigh_us = now_us + TOGETHER_US

    def _weigh(self, now: Instant) -> list[Signal]:
        """Beacons with a step that has ended: where they are believed to be, and whether they can be there."""
        unweighed, self._unweighed, self._weigh_us = self._unweighed, {}, None
        found = self._model.update([heard.track for heard in unweighed.values()], now.mono_us)
        signals: list[Signal] = []
        for (key, heard), zones in zip(unweighed.items(), found, strict=True):
            beacon = None if heard.is_visitor else self._known.get(key)
            if beacon is not None:
                signals += self._care.suspect(beacon, heard.track, now)
            for zone, probability in zones:
                if not heard.is_sure(zone, probability):
                    continue
                if beacon is not None and beacon.kind == "zone":
                    signals += self._care.placed(beacon, zone, now)
                else:
                    signals += self._enter(key, heard, (zone, probability), now)
        return signals

    # --- visitors ---------------------------------------------------------------------------------------------------

    def follow(self, visitors: Mapping[str, str]) -> None:
        """Identities that consenting phones advertise now (as in `Advert.beacon`) → pseudonym of the day; all of them.

        Who is no longer among them falls silent, and leaves as everybody does who is not heard any more.
        """
        self._visitors = visitors
        present = set(visitors.values())
        for subject, heard in list(self._heard.items()):
            if heard.is_visitor and not heard.zone and subject not in present:
                self._drop(subject)

    def forget(self, subject: str) -> None:
        """A consent was withdrawn: from now on nothing is said of this person, not even that they left."""
        self._visitors = {identity: one for identity, one in self._visitors.items() if one != subject}
        heard = self._heard.get(subject)
        if heard is not None and heard.is_visitor:
            self._drop(subject)
            self._heat.forget(subject)
            self._dirty.add(subject)

    def _visit(self, subject: str, advert: Advert, now: Instant) -> list[Signal]:
        if advert.device_id not in self._model.zone_of:
            return []
        heard = self._heard.get(subject)
        if heard is None:
            heard = self._heard[subject] = _Followed(is_visitor=True)
        self._hear(subject, heard, advert, now.mono_us)
        return []

    # --- enter and leave --------------------------------------------------------------------------------------------

    def _enter(self, beacon: str, heard: _Followed, found: tuple[str, float], now: Instant) -> list[Signal]:
        zone, probability = found
        now_us = now.mono_us
        if zone == heard.zone:
            return []
        entered = ZoneEntered(
            at_us=now_us,
            beacon=beacon,
            zone=zone,
            confidence=round(probability, 3),
            from_zone=heard.zone,
            subject_id=beacon if heard.is_visitor else "",
        )
        self._heat.left(beacon, heard.zone, now_us)
        self._heat.entered(beacon, zone, now)
        heard.zone, heard.since_us = zone, now_us
        self._dirty.add(beacon)
        self._leaves_us = earliest(self._leaves_us, heard.last_us + LEAVE_US)
        return [entered, ZoneVisit(now_us, beacon, zone)]

    def _leave(self, beacon: str, heard: _Followed, now_us: int) -> list[Signal]:
        if not heard.zone:
            return []
        dwell_s = round(max(0, heard.last_us - heard.since_us) / US_PER_S, 1)
        subject = beacon if heard.is_visitor else ""
        left = ZoneLeft(at_us=now_us, beacon=beacon, zone=heard.zone, dwell_s=dwell_s, subject_id=subject)
        self._heat.left(beacon, heard.zone, heard.last_us)
        heard.zone, heard.track = "", Track(power_dbm=heard.track.power_dbm)
        self._unweighed.pop(beacon, None)
        self._dirty.add(beacon)
        return [left, ZoneVisit(now_us, beacon, None)]

    def reading(self, reading: SensorReading) -> list[SensorReading]:
        """What the fleet may know of a measurement: under the beacon's id; nothing of a stranger's sensor."""
        if ":" not in reading.subject:
            return [reading]  # a device of the planogram, by its position
        beacon = self._beacons.get(reading.subject)
        if beacon is None or reading.quantity in ("adverts_sent", "uptime_s"):
            return []
        if not self._owners.may_speak(beacon.id, reading.device_id, reading.mono_us):
            return []
        device_id, at_us, value = reading.device_id, reading.mono_us, reading.value
        told = [SensorReading(device_id, at_us, beacon.id, reading.quantity, value)]
        if reading.quantity == "battery_mv":
            share = (value - BATTERY_EMPTY_MV) / (BATTERY_FULL_MV - BATTERY_EMPTY_MV)
            percent = round(100 * min(1.0, max(0.0, share)), 1)
            told.append(SensorReading(device_id, at_us, beacon.id, "battery_percent", percent))
        return told

    def zone_of(self, beacon_key: str) -> str | None:
        """The zone that an own zone beacon marks; None for every other identity."""
        beacon = self._beacons.get(beacon_key)
        return beacon.zone if beacon is not None and beacon.kind == "zone" else None

    # --- Part -------------------------------------------------------------------------------------------------------

    def tick(self, now: Instant) -> list[Signal]:
        now_us = now.mono_us
        signals: list[Signal] = []
        if self._weigh_us is not None and now_us >= self._weigh_us:
            signals += self._weigh(now)
        if self._leaves_us is not None and now_us >= self._leaves_us:
            signals += self._let_leave(now_us)
        return signals + self._heat.tick(now) + self._care.tick(now)

    def _let_leave(self, now_us: int) -> list[Signal]:
        signals: list[Signal] = []
        for beacon, heard in list(self._heard.items()):
            if heard.zone and now_us - heard.last_us >= LEAVE_US:
                signals += self._leave(beacon, heard, now_us)
                if heard.is_visitor:
                    self._drop(beacon)  # nothing is kept of who has gone
        self._leaves_us = min((heard.last_us + LEAVE_US for heard in self._heard.values() if heard.zone), default=None)
        return signals

    def _drop(self, key: str) -> None:
        del self._heard[key]
        self._unweighed.pop(key, None)

    def next_deadline_us(self) -> int | None:
        return earliest(self._weigh_us, self._leaves_us, self._heat.deadline_us, self._care.deadline_us)

    def drain_said(self) -> Said:
        said: Said = {beacon: self._said(beacon) for beacon in self._dirty}
        self._dirty.clear()
        return said | self._care.drain_said()

    def _said(self, beacon: str) -> JsonValue:
        heard = self._heard.get(beacon)
        if heard is None:
            return None
        return [heard.zone, heard.since_us, True] if heard.is_visitor else [heard.zone, heard.since_us]

    def restore(self, said: Mapping[str, JsonValue], now: Instant) -> None:
        self._care.restore(said)
        for beacon, value in said.items():
            if "/" not in beacon:
                fields: Any = value
                self._heard[beacon] = _Followed(
                    zone=fields[0], since_us=fields[1], last_us=now.mono_us, is_visitor=len(fields) > 2
                )
                self._leaves_us = now.mono_us + LEAVE_US
                self._heat.entered(beacon, fields[0], now)

    def internals(self) -> JsonValue:
        return None

    def restore_internals(self, internals: JsonValue) -> None:
        del internals


def _track(beacon: Beacon | None) -> Track:
    """A fresh belief about a beacon; None: somebody's phone."""
    mounted = beacon is not None and beacon.kind == "zone"
    return Track(is_mounted=mounted, home=(beacon.zone or "") if beacon is not None and mounted else "")
