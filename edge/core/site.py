"""The site: one store's planogram, frozen. Built from plain JSON by `load_site`; every contradiction is named.

Ids are ``[a-z0-9-]+`` because they become MQTT topic levels. Positions own configuration: a device id names a
position, not a piece of hardware.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from edge.core.errors import SiteError
from edge.core.gtin import gtin_fault, normalize_gtin
from edge.core.plain import PlainError, build

_ID = re.compile(r"[a-z0-9-]+\Z")
_SGLN = re.compile(r"urn:epc:id:sgln:\d{6,12}\.\d{0,6}\.[0-9A-Za-z!%-?_]{1,20}\Z")
_HOUR = re.compile(r"(([01]\d|2[0-3]):[0-5]\d|24:00)\Z")
INWARD = ("+x", "-x", "+y", "-y")


class AntennaRole(StrEnum):
    """What a read at this antenna means."""

    SHELF = "shelf"
    FITTING = "fitting"
    EXIT = "exit"
    POS = "pos"
    BACK = "back"
    RECEIVING = "receiving"


CONTAINER_LIMIT_G = 50_000.0
"""No shelf carries a heavier tray."""


@dataclass(frozen=True, slots=True)
class Store:
    """The store itself. hours: one (open, close) pair of "HH:MM" a weekday from Monday, in the store's time zone."""

    id: str
    tenant: str
    name: str
    sgln: str
    timezone: str
    hours: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Zone:
    """A part of the sales floor."""

    id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the catalogue; unit mass 0 means unknown."""

    gtin: str
    name: str = ""
    unit_mass_g: float = 0.0
    mass_sd_g: float = 0.0
    tagged: bool = False
    category: str = ""
    price_minor: int = 0
    currency: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A shelf: the place of a product. x_m, y_m is its middle on the floor map."""

    id: str
    zone: str
    sgln_extension: str = "0"
    x_m: float = 0.0
    y_m: float = 0.0
    products: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """One load cell: channel `cell` (0-based) of a device."""

    device: str
    cell: int


@dataclass(frozen=True, slots=True)
class Lane:
    """A weighed part of a shelf, carried by one or more cells, meant for one or more products.

    containers_g: masses of the trays and boxes that come and go with the goods and are none.
    """

    id: str
    shelf: str
    cells: tuple[Cell, ...]
    gtins: tuple[str, ...] = ()
    containers_g: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Antenna:
    """One antenna port (1-based) of a reader; `shelf` for role shelf, `zone` for the others."""

    port: int
    role: AntennaRole = AntennaRole.SHELF
    shelf: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Reader:
    """A position of an RFID reader."""

    device: str
    antennas: tuple[Antenna, ...]


@dataclass(frozen=True, slots=True)
class Scanner:
    """A position of a BLE scanner."""

    device: str
    zone: str
    x_m: float = 0.0
    y_m: float = 0.0


@dataclass(frozen=True, slots=True)
class Beacon:
    """An own beacon: it marks a zone, or it is an asset or a staff badge. `identity` as in `Advert.beacon`."""

    id: str
    kind: str
    format: str = "ibeacon"
    uuid: str = ""
    major: int = 0
    minor: int = 0
    zone: str | None = None
    identity: str = ""

    @property
    def key(self) -> str:
        """The canonical identity that adverts of this beacon carry (see `Advert.beacon`)."""
        return self.identity or f"ibeacon:{self.uuid.lower()}:{self.major}:{self.minor}"


@dataclass(frozen=True, slots=True)
class Door:
    """A position of a door array; inward is the axis on which people come in (x = column, y = row)."""

    device: str
    inward: str = "+x"


@dataclass(frozen=True, slots=True)
class Site:
    """Everything that is fixed about one store, with the look-ups that the parts need."""

    store: Store
    zones: tuple[Zone, ...] = ()
    products: tuple[Product, ...] = ()
    shelves: tuple[Shelf, ...] = ()
    lanes: tuple[Lane, ...] = ()
    readers: tuple[Reader, ...] = ()
    scanners: tuple[Scanner, ...] = ()
    beacons: tuple[Beacon, ...] = ()
    doors: tuple[Door, ...] = ()
    product_by_gtin: Mapping[str, Product] = field(init=False, repr=False, compare=False)
    shelf_by_id: Mapping[str, Shelf] = field(init=False, repr=False, compare=False)
    homes_by_gtin: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        homes: dict[str, list[str]] = {}
        for shelf in self.shelves:
            for gtin in shelf.products:
                homes.setdefault(gtin, []).append(shelf.id)
        frozen_homes = {gtin: tuple(places) for gtin, places in homes.items()}
        object.__setattr__(self, "product_by_gtin", MappingProxyType({p.gtin: p for p in self.products}))
        object.__setattr__(self, "shelf_by_id", MappingProxyType({s.id: s for s in self.shelves}))
        object.__setattr__(self, "homes_by_gtin", MappingProxyType(frozen_homes))


def load_site(document: Mapping[str, Any]) -> Site:
    """The site of a planogram document (plain JSON). Raises SiteError naming entry, value and what is expected."""
    try:
        site: Site = build(Site, document)
    except PlainError as error:
        raise SiteError(error.key, error.value, error.expected) from None
    _check_store(site.store)
    _check(site)
    return site


def _check_store(store: Store) -> None:
    for key in ("id", "tenant"):
        _check_id(f"store.{key}", getattr(store, key))
    if not _SGLN.match(store.sgln):
        raise SiteError("store.sgln", store.sgln, "an SGLN URN such as urn:epc:id:sgln:4012345.00001.0")
    try:
        ZoneInfo(store.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SiteError("store.timezone", store.timezone, "an IANA time zone such as Asia/Tokyo") from None
    if len(store.hours) != 7 or any(len(day) != 2 or not all(map(_HOUR.match, day)) for day in store.hours):
        raise SiteError("store.hours", store.hours, 'seven pairs ["HH:MM", "HH:MM"], Monday first')


def _check_id(entry: str, value: str) -> None:
    if not _ID.match(value):
        raise SiteError(entry, value, "an id of the letters a-z, digits and '-'")


def _unique(entry: str, values: Iterable[Any]) -> None:
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            raise SiteError(entry, value, "each value only once")
        seen.add(value)


def _refer(entry: str, value: str, known: Iterable[str], what: str) -> None:
    if value not in known:
        raise SiteError(entry, value, f"the id of {what} of this planogram")


def _check(site: Site) -> None:
    zones = {zone.id for zone in site.zones}
    for name, ids in (("zones", zones), ("shelves", site.shelf_by_id), ("lanes", {lane.id for lane in site.lanes})):
        for value in ids:
            _check_id(f"{name}.id", value)
    _unique("zones.id", (zone.id for zone in site.zones))
    _unique("shelves.id", (shelf.id for shelf in site.shelves))
    _unique("lanes.id", (lane.id for lane in site.lanes))
    _check_products(site)
    _check_lanes(site)
    for shelf in site.shelves:
        _refer(f"shelf {shelf.id}.zone", shelf.zone, zones, "a zone")
        _unique(f"shelf {shelf.id}.products", shelf.products)
        for gtin in shelf.products:
            _refer(f"shelf {shelf.id}.products", gtin, site.product_by_gtin, "a product")
    _check_devices(site, zones)


def _check_products(site: Site) -> None:
    for product in site.products:
        fault = gtin_fault(product.gtin)
        if fault is None and normalize_gtin(product.gtin) != product.gtin:
            fault = "expected the 14-digit form, with leading zeros"
        if fault:
            raise SiteError("products.gtin", product.gtin, fault.removeprefix("expected "))
        if product.unit_mass_g < 0 or product.mass_sd_g < 0:
            raise SiteError(f"product {product.gtin}.unit_mass_g", product.unit_mass_g, "a mass of 0 g or more")
    _unique("products.gtin", (product.gtin for product in site.products))


def _check_lanes(site: Site) -> None:
    _unique("lanes.cells", (cell for lane in site.lanes for cell in lane.cells))
    for lane in site.lanes:
        _refer(f"lane {lane.id}.shelf", lane.shelf, site.shelf_by_id, "a shelf")
        if not lane.cells:
            raise SiteError(f"lane {lane.id}.cells", [], "at least one cell")
        for cell in lane.cells:
            _check_id(f"lane {lane.id}.cells.device", cell.device)
            if not 0 <= cell.cell <= 15:
                raise SiteError(f"lane {lane.id}.cells.cell", cell.cell, "a channel from 0 to 15")
        for gtin in lane.gtins:
            _refer(f"lane {lane.id}.gtins", gtin, site.product_by_gtin, "a product")
        for mass_g in lane.containers_g:
            if not 0.0 < mass_g <= CONTAINER_LIMIT_G:
                expected = f"grams above 0, at most {CONTAINER_LIMIT_G:g}"
                raise SiteError(f"lane {lane.id}.containers_g", mass_g, expected)


def _check_devices(site: Site, zones: set[str]) -> None:
    _unique("readers.device", (reader.device for reader in site.readers))
    for reader in site.readers:
        _check_id("readers.device", reader.device)
        _unique(f"reader {reader.device}.antennas.port", (antenna.port for antenna in reader.antennas))
        for antenna in reader.antennas:
            entry = f"reader {reader.device}.antennas.{antenna.port}"
            if antenna.role is AntennaRole.SHELF:
                _refer(f"{entry}.shelf", antenna.shelf, site.shelf_by_id, "a shelf")
            else:
                _refer(f"{entry}.zone", antenna.zone, zones, "a zone")
    for scanner in site.scanners:
        _check_id("scanners.device", scanner.device)
        _refer(f"scanner {scanner.device}.zone", scanner.zone, zones, "a zone")
    _unique("scanners.device", (scanner.device for scanner in site.scanners))
    _unique("beacons.id", (beacon.id for beacon in site.beacons))
    for beacon in site.beacons:
        _check_id("beacons.id", beacon.id)
        if beacon.kind not in ("zone", "asset", "badge"):
            raise SiteError(f"beacon {beacon.id}.kind", beacon.kind, "zone, asset or badge")
        if beacon.zone is not None:
            _refer(f"beacon {beacon.id}.zone", beacon.zone, zones, "a zone")
    _unique("doors.device", (door.device for door in site.doors))
    for door in site.doors:
        _check_id("doors.device", door.device)
        if door.inward not in INWARD:
            raise SiteError(f"door {door.device}.inward", door.inward, f"one of {', '.join(INWARD)}")
