"""The floor as a picture: shelves, zones, scanners and doors laid out for the live map (SVG user units)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edge.core.site import Shelf, Site

WIDTH = 1000.0
MARGIN = 26.0
STRIP = 190.0
"""Zones without shelves (entrance, till) stand in a strip on the left, where the doors are drawn."""
SHELF_W, SHELF_H = 172.0, 168.0
GAP = 18.0
NARROW, TOP_H = 560.0, 150.0  # a phone's width in user units, and the row of entrance and till
BAR_H = 74.0  # a product's bar in its shelf, when it is full
FLATTEST, TALLEST = 0.56, 0.7  # height by width: distances are bent to it, neighbours stay neighbours


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; `id` names what it shows."""

    id: str
    name: str
    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True)
class Floor:
    """Everything to draw."""

    height: float
    shelves: tuple[Box, ...]
    zones: tuple[Box, ...]
    scanners: tuple[tuple[str, float, float], ...]
    doors: tuple[tuple[str, float, float], ...]
    eyes: tuple[tuple[str, str, float, float], ...]
    """What looks at each shelf: (device, rfid or weight, x, y of its mark)."""
    width: float = WIDTH


def floor_of(site: Site) -> Floor:
    """Lay the planogram out."""
    used = {shelf.zone for shelf in site.shelves}
    empty = [zone for zone in site.zones if zone.id not in used]
    left = STRIP + MARGIN if empty or site.doors else MARGIN
    columns = _ranks([shelf.x_m for shelf in site.shelves])
    rows = _ranks([shelf.y_m for shelf in site.shelves])
    if len(columns) * len(rows) < len(site.shelves) or len({(s.x_m, s.y_m) for s in site.shelves}) < len(site.shelves):
        places = _grid(site.shelves)
    else:
        places = {shelf.id: (columns[shelf.x_m], len(rows) - 1 - rows[shelf.y_m]) for shelf in site.shelves}
    across = max((place[0] for place in places.values()), default=0) + 1
    down = max((place[1] for place in places.values()), default=0) + 1
    width = (WIDTH - left - MARGIN) / across
    height = max(FLATTEST * WIDTH, min(TALLEST * WIDTH, down * (SHELF_H + 90.0)))
    step = (height - 2 * MARGIN) / down
    box_w, box_h = min(SHELF_W, width - GAP), min(SHELF_H, step - 52.0)
    shelves = tuple(
        Box(
            shelf.id,
            shelf.id,
            left + (col + 0.5) * width - box_w / 2,
            MARGIN + (row + 0.5) * step - box_h / 2 + 12,
            box_w,
            box_h,
        )
        for shelf in site.shelves
        for col, row in (places[shelf.id],)
    )
    zones = [
        _around(
            zone.id,
            zone.name or zone.id,
            [box for box, shelf in zip(shelves, site.shelves, strict=True) if shelf.zone == zone.id],
        )
        for zone in site.zones
        if zone.id in used
    ]
    tall = (height - 2 * MARGIN - GAP * (len(empty) - 1)) / max(1, len(empty))
    zones += [
        Box(zone.id, zone.name or zone.id, MARGIN, MARGIN + i * (tall + GAP), STRIP - MARGIN, tall)
        for i, zone in enumerate(empty)
    ]
    zone_of = {zone.id: zone for zone in zones}
    scanners = tuple(
        (row.device, zone_of[row.zone].x + zone_of[row.zone].w - 22, zone_of[row.zone].y + 22)
        for row in site.scanners
        if row.zone in zone_of
    )
    doors = tuple(
        (door.device, MARGIN, MARGIN + tall * (index + 0.5) / len(site.doors)) for index, door in enumerate(site.doors)
    )
    return Floor(height, shelves, tuple(zones), scanners, doors, tuple(_eyes(site, shelves)))


def narrow_floor_of(site: Site) -> Floor:
    """The same for a phone: zones below each other, two shelves beside each other, entrance and till on top."""
    used = dict.fromkeys(shelf.zone for shelf in site.shelves)
    empty = [zone for zone in site.zones if zone.id not in used]
    names = {zone.id: zone.name or zone.id for zone in site.zones}
    box_w, inner = (NARROW - 2 * MARGIN - GAP - 28.0) / 2, MARGIN + 14.0
    y, boxes, zones = MARGIN, {}, []
    if empty or site.doors:
        wide = (NARROW - 2 * MARGIN - GAP * (len(empty) - 1)) / max(1, len(empty))
        zones += [
            Box(zone.id, names[zone.id], MARGIN + i * (wide + GAP), y, wide, TOP_H) for i, zone in enumerate(empty)
        ]
        y += TOP_H + GAP
    for zone_id in used:
        own = [shelf for shelf in site.shelves if shelf.zone == zone_id]
        down = -(-len(own) // 2)
        for index, shelf in enumerate(own):
            x = inner + index % 2 * (box_w + GAP)
            boxes[shelf.id] = Box(shelf.id, shelf.id, x, y + 40 + index // 2 * (SHELF_H + GAP), box_w, SHELF_H)
        tall = 40 + down * (SHELF_H + GAP) - GAP + 14
        zones.append(Box(zone_id, names.get(zone_id, zone_id), MARGIN, y, NARROW - 2 * MARGIN, tall))
        y += tall + GAP
    zone_of = {zone.id: zone for zone in zones}
    scanners = tuple(
        (row.device, zone_of[row.zone].x + zone_of[row.zone].w - 22, zone_of[row.zone].y + 22)
        for row in site.scanners
        if row.zone in zone_of
    )
    doors = tuple((door.device, MARGIN, MARGIN + TOP_H / 2) for door in site.doors[:1])
    shelves = tuple(boxes[shelf.id] for shelf in site.shelves)
    return Floor(y + 8, shelves, tuple(zones), scanners, doors, tuple(_eyes(site, shelves)), NARROW)


def _eyes(site: Site, shelves: tuple[Box, ...]) -> Iterator[tuple[str, str, float, float]]:
    box_of = {box.id: box for box in shelves}
    looking: dict[str, dict[tuple[str, str], None]] = {box.id: {} for box in shelves}
    for reader in site.readers:
        for antenna in reader.antennas:
            looking.get(antenna.shelf, {})[reader.device, "rfid"] = None
    for lane in site.lanes:
        for cell in lane.cells:
            looking.get(lane.shelf, {})[cell.device, "weight"] = None
    for shelf, devices in looking.items():
        for index, (device, how) in enumerate(devices):
            yield device, how, box_of[shelf].x + 20 + 22 * index, box_of[shelf].y + 54


def product_bars(box: Box, n: int) -> list[tuple[float, float, float]]:
    """Where the bars of n products stand in a shelf: (x, width, foot), all of the same height `BAR_H`."""
    step = (box.w - 28) / max(n, 6)
    return [
        (box.x + 14 + index * step, max(2.0, step - min(5.0, step * 0.25)), box.y + box.h - 14) for index in range(n)
    ]


def _ranks(values: list[float]) -> dict[float, int]:
    return {value: rank for rank, value in enumerate(sorted(set(values)))}


def _grid(shelves: tuple[Shelf, ...]) -> dict[str, tuple[int, int]]:
    """Without coordinates: a row for each zone, at most six shelves long."""
    places: dict[str, tuple[int, int]] = {}
    row = 0
    for zone in dict.fromkeys(shelf.zone for shelf in shelves):
        own = [shelf for shelf in shelves if shelf.zone == zone]
        for index, shelf in enumerate(own):
            places[shelf.id] = (index % 6, row + index // 6)
        row += (len(own) + 5) // 6
    return places


def _around(zone: str, name: str, boxes: list[Box]) -> Box:
    x, y = min(box.x for box in boxes) - 14, min(box.y for box in boxes) - 40
    right, bottom = max(box.x + box.w for box in boxes) + 14, max(box.y + box.h for box in boxes) + 14
    return Box(zone, name, x, y, right - x, bottom - y)
