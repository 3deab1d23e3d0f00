"""The provisioning plan of a store's beacons: one UUID for the chain, major for the store, minor for the zone.

An app registers the chain's UUID once (iOS allows 20 regions an app) and reads store and zone from what it hears. What
a technician writes into each beacon stands in a row, in the words of configuration tools: iBeacon (Apple, "Proximity
Beacon Specification" R1), Eddystone-UID (namespace: first 4 and last 6 bytes of the UUID, as Eddystone's own
recommendation has it; instance: major and minor) and the zone's page.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from edge.core.site import Beacon, Site

LARGEST: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Row:
    """One beacon: as it is in the planogram (``is_new`` False) or as it should be. faults: what is wrong with it."""

    id: str
    zone: str
    uuid: str
    major: int
    minor: int
    is_new: bool
    faults: tuple[str, ...] = ()

    @property
    def ibeacon(self) -> str:
        """Manufacturer data behind company 0x004C, hexadecimal, without the measured power."""
        return f"0215{UUID(self.uuid).hex}{self.major:04x}{self.minor:04x}"

    @property
    def eddystone_uid(self) -> tuple[str, str]:
        """(namespace, instance), hexadecimal: 10 and 6 bytes."""
        chain = UUID(self.uuid).hex
        return chain[:8] + chain[-12:], f"0000{self.major:04x}{self.minor:04x}"


def plan_of(site: Site, uuid: str, major: int) -> list[Row]:
    """A row for each zone's beacon, those of the planogram first judged, missing ones proposed with the next minor.

    Raises ValueError for a UUID or a major that cannot be.
    """
    chain = str(UUID(uuid))
    if not 0 <= major <= LARGEST:
        raise ValueError(f"major = {major}: expected 0 to {LARGEST}")
    own = [beacon for beacon in site.beacons if beacon.kind == "zone"]
    times = Counter(beacon.key for beacon in site.beacons)
    rows = [_judged(beacon, chain, major, times[beacon.key]) for beacon in own if not beacon.identity]
    marked = {beacon.zone for beacon in own}
    taken = {beacon.minor for beacon in site.beacons if beacon.uuid.lower() == chain and beacon.major == major}
    names = {beacon.id for beacon in site.beacons}
    for zone in site.zones:
        if zone.id in marked:
            continue
        minor = next(number for number in range(1, LARGEST + 1) if number not in taken)
        taken.add(minor)
        name = next(name for name in (f"zone-{zone.id}", f"zone-{zone.id}-{minor}") if name not in names)
        rows.append(Row(name, zone.id, chain, major, minor, is_new=True))
    return rows


def _judged(beacon: Beacon, chain: str, major: int, times: int) -> Row:
    faults = []
    try:
        uuid = str(UUID(beacon.uuid))
    except ValueError:
        return Row(beacon.id, beacon.zone or "", chain, beacon.major, beacon.minor, False, ("uuid: is none",))
    if uuid != chain:
        faults.append(f"uuid: {uuid}, the chain's is {chain}: apps of the chain do not hear it")
    if beacon.major != major:
        faults.append(f"major: {beacon.major}, the store's is {major}: apps take it for another store")
    if times > 1:
        faults.append(f"minor: {beacon.minor} is given to {times} beacons: nobody can tell them apart")
    return Row(beacon.id, beacon.zone or "", uuid, beacon.major, beacon.minor, False, tuple(faults))
