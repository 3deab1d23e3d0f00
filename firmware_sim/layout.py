"""What stands where in a virtual store: products, shelves, lanes, readers, scanners, beacons, doors.

`site_json` writes the plain description a gateway is configured with; it holds nothing that a planner of a real
store would not know (no EPCs, no positions of people, no sensor errors).
"""

from __future__ import annotations

from dataclasses import dataclass, field

HOURS = tuple(("09:00", "21:00") for _ in range(7))


@dataclass(frozen=True, slots=True)
class Product:
    """A GTIN with the mass of one unit (mean and standard deviation over units)."""

    gtin: str
    name: str
    unit_mass_g: float
    mass_sd_g: float
    tagged: bool
    category: str
    price_minor: int
    detuning_db: float = 0.0
    """What the contents (liquid, foil) take from the tag's range."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A strip of a shelf that lies on `cells` of the weight device `device`."""

    id: str
    shelf: str
    device: str
    cells: tuple[int, ...]
    gtins: tuple[str, ...]
    tare_g: float = 350.0
    """The tray itself."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A shelf: the centre of its front edge, and what belongs on it."""

    id: str
    zone: str
    sgln_extension: str
    x_m: float
    y_m: float
    products: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Antenna:
    """One port of a reader. `shelf` is set where `role` is "shelf"."""

    port: int
    role: str
    x_m: float
    y_m: float
    shelf: str | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """An RFID reader; `kind` is "llrp" or "r200"."""

    device: str
    antennas: tuple[Antenna, ...]
    kind: str = "llrp"


@dataclass(frozen=True, slots=True)
class Scanner:
    """A beacon scanner in a zone."""

    device: str
    zone: str
    x_m: float
    y_m: float


@dataclass(frozen=True, slots=True)
class Beacon:
    """A Bluetooth beacon: fixed in a zone, on a trolley (asset), or worn by staff (badge)."""

    id: str
    kind: str
    uuid: str
    major: int
    minor: int
    zone: str | None
    x_m: float
    y_m: float
    address: bytes
    measured_power_dbm: int = -59
    interval_s: float = 1.0
    format: str = "ibeacon"


@dataclass(frozen=True, slots=True)
class Door:
    """A door with a sensor above it. A person's x grows on the way in."""

    device: str
    x_m: float
    y_m: float
    rows: int = 8
    cols: int = 8
    rate_hz: float = 10.0
    inward: str = "+x"


@dataclass(frozen=True, slots=True)
class ShelfMcu:
    """A weight device with `n_cells` load cells."""

    device: str
    n_cells: int
    rate_hz: float = 10.0


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole store."""

    store_id: str
    tenant: str
    name: str
    sgln: str
    timezone: str
    zones: tuple[tuple[str, str], ...]
    products: tuple[Product, ...]
    shelves: tuple[Shelf, ...]
    lanes: tuple[Lane, ...] = ()
    mcus: tuple[ShelfMcu, ...] = ()
    readers: tuple[Reader, ...] = ()
    scanners: tuple[Scanner, ...] = ()
    beacons: tuple[Beacon, ...] = ()
    doors: tuple[Door, ...] = ()
    company_prefix_digits: int = 7
    checkout_xy_m: tuple[float, float] = (2.0, 1.5)
    backroom_xy_m: tuple[float, float] = (12.0, 4.0)
    by_gtin: dict[str, Product] = field(init=False, repr=False, compare=False)
    by_shelf: dict[str, Shelf] = field(init=False, repr=False, compare=False)
    by_lane: dict[str, Lane] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Build the look-up tables."""
        object.__setattr__(self, "by_gtin", {p.gtin: p for p in self.products})
        object.__setattr__(self, "by_shelf", {s.id: s for s in self.shelves})
        object.__setattr__(self, "by_lane", {lane.id: lane for lane in self.lanes})

    def lane_for(self, shelf: str, gtin: str) -> Lane | None:
        """The weighed lane of `shelf` on which `gtin` belongs, if there is one."""
        return next((lane for lane in self.lanes if lane.shelf == shelf and gtin in lane.gtins), None)


def _product_json(product: Product) -> dict[str, object]:
    return {
        "gtin": product.gtin,
        "name": product.name,
        "unit_mass_g": product.unit_mass_g,
        "mass_sd_g": product.mass_sd_g,
        "tagged": product.tagged,
        "category": product.category,
        "price_minor": product.price_minor,
        "currency": "JPY",
    }


def _antenna_json(antenna: Antenna) -> dict[str, object]:
    place: dict[str, object] = {} if antenna.shelf is None else {"shelf": antenna.shelf}
    return {"port": antenna.port, "role": antenna.role, **place}


def site_json(layout: Layout) -> dict[str, object]:
    """The description of the store as plain JSON values."""
    return {
        "store": {
            "id": layout.store_id,
            "tenant": layout.tenant,
            "name": layout.name,
            "sgln": layout.sgln,
            "timezone": layout.timezone,
            "hours": [list(day) for day in HOURS],
        },
        "zones": [{"id": zone, "name": name} for zone, name in layout.zones],
        "products": [_product_json(product) for product in layout.products],
        "shelves": [
            {
                "id": s.id,
                "zone": s.zone,
                "sgln_extension": s.sgln_extension,
                "x_m": s.x_m,
                "y_m": s.y_m,
                "products": list(s.products),
            }
            for s in layout.shelves
        ],
        "lanes": [
            {
                "id": lane.id,
                "shelf": lane.shelf,
                "cells": [{"device": lane.device, "cell": cell} for cell in lane.cells],
                "gtins": list(lane.gtins),
            }
            for lane in layout.lanes
        ],
        "readers": [{"device": r.device, "antennas": [_antenna_json(a) for a in r.antennas]} for r in layout.readers],
        "scanners": [{"device": s.device, "zone": s.zone, "x_m": s.x_m, "y_m": s.y_m} for s in layout.scanners],
        "beacons": [
            {
                "id": b.id,
                "format": b.format,
                "uuid": b.uuid,
                "major": b.major,
                "minor": b.minor,
                "zone": b.zone,
                "kind": b.kind,
            }
            for b in layout.beacons
        ],
        "doors": [{"device": d.device, "inward": d.inward} for d in layout.doors],
    }
