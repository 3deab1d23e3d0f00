"""Places: what an antenna's read means. Several antennas of one shelf are one place; other roles are places by zone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.core.site import AntennaRole, Site

NOWHERE = -1
MAX_PORT = 65_535  # LLRP AntennaID is u16


@dataclass(frozen=True, slots=True)
class Place:
    """A shelf (role shelf, id of the shelf) or a zone with another role (id of the zone)."""

    id: str
    role: AntennaRole


@dataclass(frozen=True, slots=True)
class AntennaPort:
    """One planned antenna and the index of its place."""

    device: str
    port: int
    place: int


class Places:
    """All places and antennas of a site, numbered from 0; `place_of` and `antenna_of` map ports of a device."""

    def __init__(self, site: Site) -> None:
        self.all: list[Place] = []
        self.antennas: list[AntennaPort] = []
        self.by_device: dict[str, list[int]] = {}
        self._index: dict[Place, int] = {}
        self._antenna_of: dict[str, NDArray[np.int32]] = {}
        for reader in site.readers:
            lookup = np.full(max((a.port for a in reader.antennas), default=0) + 2, NOWHERE, np.int32)
            for antenna in reader.antennas:
                place = Place(antenna.shelf if antenna.role is AntennaRole.SHELF else antenna.zone, antenna.role)
                index = self._index.setdefault(place, len(self._index))
                if index == len(self.all):
                    self.all.append(place)
                lookup[antenna.port] = len(self.antennas)
                self.by_device.setdefault(reader.device, []).append(len(self.antennas))
                self.antennas.append(AntennaPort(reader.device, antenna.port, index))
            self._antenna_of[reader.device] = lookup
        self.place_of_antenna = np.array([a.place for a in self.antennas] or [NOWHERE], np.int32)
        self.is_exit = np.array([place.role is AntennaRole.EXIT for place in self.all] + [False])
        self.is_shelf = np.array([place.role is AntennaRole.SHELF for place in self.all] + [False])

    def __len__(self) -> int:
        return len(self.all)

    def antenna_of(self, device: str, ports: NDArray[np.uint16]) -> NDArray[np.int32]:
        """Antenna indices of ports (n,), -1 for ports and devices the planogram does not have."""
        lookup = self._antenna_of.get(device)
        if lookup is None:
            return np.full(len(ports), NOWHERE, np.int32)
        return lookup.take(ports, mode="clip")

    def find(self, place_id: str, role: str) -> int:
        """Index of a place by id and role, NOWHERE if this site has none."""
        return self._index.get(Place(place_id, AntennaRole(role)), NOWHERE) if role in set(AntennaRole) else NOWHERE


def home_table(site: Site, places: Places) -> tuple[dict[str, int], NDArray[np.int8]]:
    """Row of each product with a home, and (rows, places + 1): 1 home, -1 elsewhere; row 0 is for all others, all 0."""
    row_of: dict[str, int] = {}
    rows = [np.zeros(len(places) + 1, np.int8)]
    for gtin, homes in site.homes_by_gtin.items():
        row = np.where(places.is_shelf, np.int8(-1), np.int8(0))
        for shelf in homes:
            place = places.find(shelf, AntennaRole.SHELF.value)
            if place != NOWHERE:
                row[place] = 1
        row_of[gtin] = len(rows)
        rows.append(row.astype(np.int8))
    return row_of, np.stack(rows)
