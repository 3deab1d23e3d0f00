"""Ready-made stores and days: the demo store, a quiet morning, a Saturday rush.

Each function returns a `Scenario`: the living world and the plain description a gateway is configured with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from firmware_sim.ble_air import BleProfile
from firmware_sim.epc import gtin14
from firmware_sim.layout import (
    Antenna,
    Beacon,
    Door,
    Lane,
    Layout,
    Product,
    Reader,
    Scanner,
    Shelf,
    ShelfMcu,
    site_json,
)
from firmware_sim.loadcell import CellModel
from firmware_sim.people import Person
from firmware_sim.radio import FIELD, RadioProfile
from firmware_sim.shoppers import Behaviour, doorman, gremlin, patrol, restocker
from firmware_sim.world import World, WorldModel

COMPANY_PREFIX = "4569951"
"""The chain's GS1 company prefix (a Japanese one; the store is fictional)."""
BEACON_UUID = "6f1c6a54-2b1e-4c55-9d0a-0c9b7f2f5a10"
STORE_NUMBER = 101
SHELF_PITCH_M = 1.2

# (name, category, unit mass g, sd g, price JPY, detuning dB)
_WEIGHED = [
    ("Green tea 500 ml", "drinks", 523.0, 1.6, 150, 2.0),
    ("Rice crackers", "food", 118.0, 1.1, 248, 0.0),
    ("Instant noodles", "food", 96.0, 0.9, 198, 0.5),
    ("Hand cream", "beauty", 74.0, 0.5, 780, 1.0),
    ("Sparkling water 500 ml", "drinks", 531.0, 1.8, 120, 2.0),
    ("Chocolate bar", "food", 62.0, 0.6, 220, 1.5),
    ("Shampoo", "beauty", 402.0, 2.4, 980, 1.5),
    ("Coffee beans 200 g", "food", 214.0, 1.3, 1180, 1.0),
    ("Notebook A5", "stationery", 182.0, 1.0, 420, 0.0),
    ("Desk lamp bulb", "household", 58.0, 0.5, 690, 0.5),
    ("Soy sauce 300 ml", "food", 452.0, 2.0, 398, 1.5),
    ("Miso 400 g", "food", 431.0, 1.9, 448, 1.0),
    ("Toothpaste", "beauty", 148.0, 0.8, 358, 0.5),
    ("Batteries AA 4", "household", 98.0, 0.4, 598, 1.5),
    ("Socks 3 pairs", "apparel", 132.0, 1.6, 990, 0.0),
    ("Hand towel", "apparel", 88.0, 1.0, 550, 0.0),
]
_GARMENTS = ["T-shirt", "Shirt", "Hoodie", "Trousers", "Jeans", "Skirt", "Cardigan", "Scarf", "Cap", "Belt"]
_SIZES = ["S", "M", "L", "XL"]
UNTAGGED_LANES = (1, 5, 9, 13)
"""Weighed products without tags (counted by mass alone)."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A store ready to live."""

    world: World
    site: dict[str, object]
    behaviour: Behaviour

    def open(self) -> None:
        """Let shoppers in and staff start. Nothing moves before."""
        _staff(self.world, self.behaviour)


def _products(n_plain: int) -> tuple[list[Product], list[Product]]:
    """(weighed products, tagged products without a lane)."""
    weighed = [
        Product(_gtin(i), name, mass, sd, i not in UNTAGGED_LANES, category, price, detuning)
        for i, (name, category, mass, sd, price, detuning) in enumerate(_WEIGHED)
    ]
    plain = [
        Product(
            _gtin(100 + i),
            f"{_GARMENTS[i % len(_GARMENTS)]} {_SIZES[i // len(_GARMENTS) % len(_SIZES)]}",
            180.0 + 23.0 * (i % 9),
            2.0,
            True,
            "apparel",
            1990 + 500 * (i % 7),
        )
        for i in range(n_plain)
    ]
    return weighed, plain


def _gtin(reference: int) -> str:
    return gtin14(f"0{COMPANY_PREFIX}{reference:05d}")


def _shelf_spot(i: int) -> tuple[float, float]:
    """Two rows of four: the first along the upper wall, the second along the lower."""
    return 5.0 + SHELF_PITCH_M * (i % 4), 7.0 if i < 4 else 1.0


def _beacons() -> tuple[Beacon, ...]:
    places = [
        ("zone-fashion", "zone", "z-fashion", 6.8, 5.5),
        ("zone-food", "zone", "z-food", 6.8, 2.5),
        ("zone-entrance", "zone", "z-entrance", 1.5, 4.0),
        ("zone-checkout", "zone", "z-checkout", 2.5, 1.5),
        ("trolley-1", "asset", None, 6.0, 5.0),
        ("trolley-2", "asset", None, 7.5, 2.8),
        ("ladder-1", "asset", None, 8.2, 5.8),
        ("cleaner-1", "asset", None, 5.2, 2.2),
        ("badge-1", "badge", None, 6.0, 5.0),
        ("badge-2", "badge", None, 7.0, 2.5),
    ]
    return tuple(
        Beacon(name, kind, BEACON_UUID, STORE_NUMBER, i + 1, zone, x, y, bytes((0xC4, 0x69, 0x95, 0x10, 0x01, i + 1)))
        for i, (name, kind, zone, x, y) in enumerate(places)
    )


def demo_layout() -> Layout:
    """8 shelves × 7 SKUs, 16 weighed lanes, 4 readers × 2 antennas, 2 scanners, 1 door."""
    weighed, plain = _products(40)
    shelves, lanes = [], []
    for i in range(8):
        x, y = _shelf_spot(i)
        on_lanes = weighed[2 * i : 2 * i + 2]
        beside = plain[5 * i : 5 * i + 5]
        shelf = Shelf(
            f"shelf-{i + 1}",
            "z-fashion" if i < 4 else "z-food",
            str(101 + i),
            x,
            y,
            tuple(p.gtin for p in on_lanes + beside),
        )
        shelves.append(shelf)
        for k, product in enumerate(on_lanes):
            cell = 2 * (i % 4) + k
            lane_id = f"lane-{i + 1}-{'ab'[k]}"
            lanes.append(Lane(lane_id, shelf.id, f"shelf-mcu-{i // 4 + 1}", (cell,), (product.gtin,)))
    return Layout(
        store_id="demo-store",
        tenant="demo",
        name="Demo store",
        sgln=f"urn:epc:id:sgln:{COMPANY_PREFIX}.00{STORE_NUMBER}.0",
        timezone="Asia/Tokyo",
        zones=(
            ("z-entrance", "Entrance"),
            ("z-fashion", "Fashion"),
            ("z-food", "Food and home"),
            ("z-checkout", "Checkout"),
        ),
        products=tuple(weighed + plain),
        shelves=tuple(shelves),
        lanes=tuple(lanes),
        mcus=(ShelfMcu("shelf-mcu-1", 8), ShelfMcu("shelf-mcu-2", 8)),
        readers=tuple(
            Reader(
                f"reader-{r + 1}",
                tuple(_shelf_antenna(port, shelves[2 * r + port - 1]) for port in (1, 2)),
            )
            for r in range(4)
        ),
        scanners=(Scanner("scanner-1", "z-fashion", 6.8, 6.0), Scanner("scanner-2", "z-food", 6.8, 2.0)),
        beacons=_beacons(),
        doors=(Door("door-1", 0.0, 4.0),),
        company_prefix_digits=len(COMPANY_PREFIX),
    )


def _shelf_antenna(port: int, shelf: Shelf) -> Antenna:
    behind = 0.45 if shelf.y_m > 4.0 else -0.3
    return Antenna(port, "shelf", shelf.x_m, shelf.y_m + behind, shelf.id)


def _stock(world: World, tags: int) -> None:
    """Fill the shelves with `tags` tagged units, and lanes of untagged goods."""
    layout = world.layout
    pairs = [(shelf.id, gtin) for shelf in layout.shelves for gtin in shelf.products]
    tagged = [pair for pair in pairs if layout.by_gtin[pair[1]].tagged]
    for n, (shelf, gtin) in enumerate(tagged):
        lane = layout.lane_for(shelf, gtin)
        for _ in range(tags // len(tagged) + (n < tags % len(tagged))):
            world.put(world.make_item(gtin), shelf, lane.id if lane else None)
    for shelf, gtin in pairs:
        if not layout.by_gtin[gtin].tagged:
            lane = layout.lane_for(shelf, gtin)
            for _ in range(world.rng.randint(6, 12)):
                world.put(world.make_item(gtin), shelf, lane.id if lane else None)


def _staff(world: World, behaviour: Behaviour) -> None:
    """Two members of staff with badges: one restocks with a trolley, one walks about; a cleaner moves too."""
    layout = world.layout
    door = layout.doors[0]
    world.start(doorman(world, door, behaviour))
    if behaviour.fault_mean_s > 0:
        world.start(gremlin(world, behaviour))
    restock = world.enter("staff", layout.backroom_xy_m)
    world.start(restocker(world, restock, behaviour))
    spots = [(x, 4.0 + side * 1.6) for x in (5.2, 6.8, 8.2) for side in (-1, 1)]
    walker = world.enter("staff", spots[0])
    cleaner = world.enter("staff", spots[3])
    world.start(patrol(world, walker, spots, behaviour))
    world.start(patrol(world, cleaner, spots, behaviour))
    for _ in range(behaviour.restockers - 1):
        world.start(restocker(world, world.enter("staff", layout.backroom_xy_m), behaviour))
    riders: dict[str, Person] = {"badge-1": restock, "trolley-1": restock, "badge-2": walker, "cleaner-1": cleaner}
    for beacon, person in riders.items():
        world.ble.attach(beacon, person.position)


def demo_store(
    seed: int, seconds: float = 40.0, tags: int = 400, opened: bool = True, *, restockers: int = 1
) -> Scenario:
    """The demo store: mild noise, shoppers for `seconds`, then quiet. One restocker loses against the shoppers: the
    shelves are bare after a quarter of an hour; four keep them full for as long as the store is open."""
    behaviour = Behaviour(
        arrival_mean_s=3.0,
        open_s=seconds,
        last_entry_s=max(2.0, seconds - 15.0),
        pair=0.05,
        restock_mean_s=8.0,
        restockers=restockers,
    )
    return _live(seed, behaviour, WorldModel(), tags, opened)


def tag_store(seed: int, tags: int, antennas: int, radio: RadioProfile, n_products: int = 40) -> Scenario:
    """One reader before a row of shelves, one an antenna, and nothing but tags: for a reader role on its own."""
    _, products = _products(n_products)
    shelves = tuple(
        Shelf(f"shelf-{i + 1}", "z-floor", str(101 + i), SHELF_PITCH_M * i, 7.0, tuple(p.gtin for p in products))
        for i in range(antennas)
    )
    reader = Reader("reader-1", tuple(_shelf_antenna(i + 1, shelf) for i, shelf in enumerate(shelves)))
    layout = Layout(
        store_id="tag-store",
        tenant="demo",
        name="Tags before one reader",
        sgln=f"urn:epc:id:sgln:{COMPANY_PREFIX}.00{STORE_NUMBER}.0",
        timezone="Asia/Tokyo",
        zones=(("z-floor", "Floor"),),
        products=tuple(products),
        shelves=shelves,
        readers=(reader,),
        company_prefix_digits=len(COMPANY_PREFIX),
    )
    world = World(layout, seed, WorldModel(radio=radio))
    for i in range(tags):
        world.put(world.make_item(products[i % n_products].gtin), shelves[i % antennas].id)
    world.radio.open()
    return Scenario(world, site_json(layout), Behaviour())


def quiet_morning(seed: int, seconds: float = 3600.0, tags: int = 400, opened: bool = True) -> Scenario:
    """A few unhurried customers; the restocking of the day before noon."""
    behaviour = Behaviour(
        arrival_mean_s=90.0,
        open_s=seconds,
        visits=(1, 4),
        browse_s=(3.0, 15.0),
        put_back=0.2,
        pair=0.05,
        restock_mean_s=120.0,
    )
    return _live(seed, behaviour, WorldModel(), tags, opened)


def saturday_rush(seed: int, seconds: float = 3600.0, tags: int = 400, opened: bool = True) -> Scenario:
    """A crowd: groups at the door, blocked antennas, leaning hands, misplaced and stolen goods, worse sensors."""
    behaviour = Behaviour(
        arrival_mean_s=8.0,
        open_s=seconds,
        visits=(1, 3),
        picks=(0, 1),
        browse_s=(1.0, 8.0),
        put_back=0.25,
        misplace=0.15,
        misplace_on_lane=0.3,
        several=0.25,
        lean=0.5,
        swap=0.1,
        hide=0.2,
        steal=0.03,
        pair=0.35,
        restock_mean_s=15.0,
        restock_units=(3, 12),
        wrong_restock=0.03,
        fault_mean_s=600.0,
    )
    model = WorldModel(
        radio=FIELD,
        cells=CellModel(noise_g=0.8, drift_g=2.0, temperature_g_per_c=0.4, junk=3e-5),
        ble=replace(BleProfile(), shadow_sd_db=5.0, noise_sd_db=3.0, body_db=8.0, loss=0.2),
    )
    return _live(seed, behaviour, model, tags, opened)


def _live(seed: int, behaviour: Behaviour, model: WorldModel, tags: int, opened: bool) -> Scenario:
    world = World(demo_layout(), seed, model)
    _stock(world, tags)
    world.radio.open()
    scenario = Scenario(world, site_json(world.layout), behaviour)
    if opened:
        scenario.open()
    return scenario


SCENARIOS: dict[str, Callable[[int, float, int, bool], Scenario]] = {
    "demo": demo_store,
    "quiet-morning": quiet_morning,
    "saturday-rush": saturday_rush,
}
