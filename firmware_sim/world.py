"""The physical truth of one store: items, shelves, people, and what every sensor could sense of them.

Time is simulated, in integer µs from the start of the scenario; `advance_to` runs the actors' scripts in time order.
Every query advances the world itself, so roles that poll at different paces see one world. Same seed, same world,
however it is polled.
"""

from __future__ import annotations

import heapq
import random
import zlib
from collections import Counter, deque
from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from firmware_sim.ble import Advert, BleField
from firmware_sim.ble_air import BleProfile
from firmware_sim.epc import sgtin96
from firmware_sim.layout import Door, Layout
from firmware_sim.loadcell import CellModel, LoadCells
from firmware_sim.people import HISTORY_US, Doorway, Person, PersonView
from firmware_sim.radio import MILD, RadioField, RadioProfile, Reads

Script = Generator[int, None, None]
"""An actor: yields how many µs it waits before its next action."""

QUIET_US = 5_000_000
LOG_LIMIT = 100_000
HIDDEN_LOSS_DB = 9.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item is: `kind` is shelf, carried, backroom, sold or stolen."""

    kind: str
    shelf: str | None = None
    lane: str | None = None
    x_m: float = 0.0
    y_m: float = 0.0


BACKROOM = Place("backroom")


class Item:
    """One unit of a product."""

    __slots__ = ("cell_shares", "epc", "gtin", "index", "mass_g", "place")

    def __init__(self, index: int, gtin: str, epc: bytes | None, mass_g: float) -> None:
        self.index = index
        self.gtin = gtin
        self.epc = epc
        self.mass_g = mass_g
        self.place = BACKROOM
        self.cell_shares: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class WorldModel:
    """Everything about the sensors' physics that a scenario chooses."""

    radio: RadioProfile = MILD
    cells: CellModel = field(default_factory=CellModel)
    ble: BleProfile = field(default_factory=BleProfile)


class World:
    """A store that lives. Build it, stock it, add scripts, then query it."""

    def __init__(self, layout: Layout, seed: int, model: WorldModel | None = None) -> None:
        model = model or WorldModel()
        self.layout = layout
        self.seed = seed
        self.now_us = 0
        self.opened_us: int | None = None
        """When the first actor started; None before."""
        self.rng = random.Random(f"{seed}:actors")
        self.items: list[Item] = []
        self._serial = self.rng.randrange(1_000, 2_000_000)
        self.radio = RadioField(layout.readers, model.radio, seed)
        self.ble = BleField(layout.scanners, layout.beacons, model.ble, seed, self._bodies_at)
        self.cells = {
            mcu.device: LoadCells(
                mcu.device,
                mcu.n_cells,
                mcu.rate_hz,
                model.cells,
                np.random.default_rng([seed, zlib.crc32(mcu.device.encode())]),
            )
            for mcu in layout.mcus
        }
        for lane in layout.lanes:
            for cell in lane.cells:
                self.cells[lane.device].set_tare(cell, lane.tare_g / len(lane.cells))
        self.people: dict[int, Person] = {}
        self.crossings: dict[str, Counter[str]] = {door.device: Counter() for door in layout.doors}
        self.doorways = {door.device: Doorway() for door in layout.doors}
        self.counts: Counter[str] = Counter()
        self.log: deque[dict[str, object]] = deque(maxlen=LOG_LIMIT)
        self.log_total = 0
        self._on_hand: Counter[tuple[str, str]] = Counter()
        self._on_shelf: dict[str, dict[int, Item]] = {shelf.id: {} for shelf in layout.shelves}
        self._agenda: list[tuple[int, int, Script]] = []
        self._order = 0
        self._people_made = 0
        self._gone: deque[tuple[int, int]] = deque()
        self._busy = 0
        self._last_move_us = 0
        self._epcs: npt.NDArray[np.uint8] = np.zeros((1024, 12), np.uint8)

    # --- time ---------------------------------------------------------------------------------------------------

    def advance_to(self, t_us: int) -> None:
        """Run all actors up to and including `t_us`. Going back is a no-op."""
        agenda = self._agenda
        while agenda and agenda[0][0] <= t_us:
            when, _, script = heapq.heappop(agenda)
            self.now_us = when
            self._step(when, script)
        self.now_us = max(self.now_us, t_us)
        while self._gone and self._gone[0][0] < t_us - HISTORY_US:
            del self.people[self._gone.popleft()[1]]

    def _step(self, when: int, script: Script) -> None:
        try:
            wait_us = next(script)
        except StopIteration:
            self._busy -= 1
            return
        self._push(when + max(1, wait_us), script)

    def _push(self, when: int, script: Script) -> None:
        self._order += 1
        heapq.heappush(self._agenda, (when, self._order, script))

    def start(self, script: Script, after_us: int = 0) -> None:
        """Let an actor act; the store is not quiet before its script ends."""
        if self.opened_us is None:
            self.opened_us = self.now_us
        self._busy += 1
        self._push(self.now_us + after_us, script)

    def since_opening_us(self) -> int:
        """Simulated time since the store opened."""
        return self.now_us - (self.opened_us or 0)

    def note(self, kind: str, **details: object) -> None:
        """Write an event into the truth's log and count it."""
        self.counts[kind] += 1
        self.log_total += 1
        self.log.append({"t_us": self.now_us, "kind": kind, **details})

    # --- goods --------------------------------------------------------------------------------------------------

    def make_item(self, gtin: str) -> Item:
        """A new unit in the back room, with its own mass and, if the product is tagged, its EPC."""
        self._serial += self.rng.randint(1, 40)
        product = self.layout.by_gtin[gtin]
        mass_g = max(0.2 * product.unit_mass_g, self.rng.gauss(product.unit_mass_g, product.mass_sd_g))
        epc = sgtin96(gtin, self.layout.company_prefix_digits, self._serial) if product.tagged else None
        item = Item(len(self.items), gtin, epc, mass_g)
        self.items.append(item)
        if item.index == len(self._epcs):
            self._epcs = np.concatenate((self._epcs, np.zeros_like(self._epcs)))
        if epc is not None:
            self._epcs[item.index] = np.frombuffer(epc, np.uint8)
        return item

    @property
    def epcs(self) -> npt.NDArray[np.uint8]:
        """EPCs by item index, shape (items, 12); zeros where an item has no tag."""
        return self._epcs[: len(self.items)]

    def on_shelf(self, shelf: str) -> list[Item]:
        """The items that stand on a shelf, oldest first."""
        return list(self._on_shelf[shelf].values())

    def put(self, item: Item, shelf: str, lane: str | None = None, *, hidden: bool = False) -> None:
        """Stand an item on a shelf, on a weighed lane or beside the lanes; `hidden`: behind others, deep in metal."""
        self._take_off(item)
        spot = self.layout.by_shelf[shelf]
        x_m = spot.x_m + self.rng.uniform(-0.45, 0.45)
        y_m = spot.y_m + self.rng.uniform(0.0, 0.15)
        item.place = Place("shelf", shelf, lane, x_m, y_m)
        if lane is not None:
            strip = self.layout.by_lane[lane]
            item.cell_shares = _shares(strip.cells, self.rng.random())
            self.cells[strip.device].add(self.now_us, item.cell_shares, item.mass_g)
        self._on_hand[shelf, item.gtin] += 1
        self._on_shelf[shelf][item.index] = item
        self._sense(item, shelf, HIDDEN_LOSS_DB if hidden else 0.0)

    def carry(self, item: Item, at_m: tuple[float, float]) -> None:
        """Take an item into somebody's hands, or move it on in them."""
        self._take_off(item)
        item.place = Place("carried", None, None, *at_m)
        self._sense(item, None, 0.0)

    def remove(self, item: Item, kind: str) -> None:
        """Take an item out of the sales floor: `kind` is sold, stolen or backroom."""
        self._take_off(item)
        item.place = Place(kind)
        if item.epc is not None:
            self.radio.remove(self.now_us, item.index)

    def _sense(self, item: Item, shelf: str | None, loss_db: float) -> None:
        if item.epc is None:
            return
        at_m = item.place.x_m, item.place.y_m
        loss_db += self.layout.by_gtin[item.gtin].detuning_db
        self.radio.place(self.now_us, item.index, at_m, shelf, loss_db)

    def _take_off(self, item: Item) -> None:
        self._last_move_us = self.now_us
        place = item.place
        if place.shelf is None:
            return
        self._on_hand[place.shelf, item.gtin] -= 1
        del self._on_shelf[place.shelf][item.index]
        if place.lane is not None:
            device = self.layout.by_lane[place.lane].device
            self.cells[device].add(self.now_us, item.cell_shares, -item.mass_g)

    def press(self, person: Person, lane: str, force_g: float) -> None:
        """A hand on a lane (first cell of it); 0 lets go."""
        strip = self.layout.by_lane[lane]
        self._last_move_us = self.now_us
        self.cells[strip.device].press(self.now_us, person.id, strip.cells[0], force_g)

    # --- people -------------------------------------------------------------------------------------------------

    def enter(self, kind: str, at_m: tuple[float, float]) -> Person:
        """A person appears (on the street, or from the back room)."""
        self._people_made += 1
        person = Person(self._people_made, kind, self.now_us, at_m)
        self.people[person.id] = person
        return person

    def gone(self, person: Person) -> None:
        """A person is out of sight."""
        person.gone_us = self.now_us
        self._gone.append((self.now_us, person.id))

    def crossed(self, door: Door, inwards: bool) -> None:
        """A person is exactly under a door sensor."""
        self.crossings[door.device]["in" if inwards else "out"] += 1
        self.note("crossing", door=door.device, direction="in" if inwards else "out")

    # --- what sensors could sense -------------------------------------------------------------------------------

    def reads_between(self, reader: str, t0_us: int, t1_us: int) -> Reads:
        """RFID reads of `reader` with t0 <= t < t1, columns in time order (`tag` indexes `epcs`)."""
        self.advance_to(t1_us)
        return self.radio.reads_between(reader, t0_us, t1_us)

    def cell_loads_g(self, device: str, t_us: int) -> npt.NDArray[np.float64]:
        """True load of each cell of a weight device: goods, tray and hands, in grams."""
        self.advance_to(t_us)
        return self.cells[device].loads_g(t_us)

    def cell_samples_between(
        self, device: str, t0_us: int, t1_us: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Converter samples of a weight device: times (n,) and raw counts (n, cells), noise and drift included."""
        self.advance_to(t1_us)
        return self.cells[device].samples_between(t0_us, t1_us)

    def cell_sample_at(self, device: str, t_us: int) -> npt.NDArray[np.int64]:
        """One sample (cells,) of a weight device that keeps its own sampling grid."""
        self.advance_to(t_us)
        return self.cells[device].sample_at(t_us)

    def adverts_between(self, scanner: str, t0_us: int, t1_us: int) -> list[Advert]:
        """What a beacon scanner heard with t0 <= t < t1."""
        self.advance_to(t1_us)
        return self.ble.adverts_between(scanner, t0_us, t1_us)

    def people_at(self, t_us: int) -> list[PersonView]:
        """Everybody in or before the store at `t_us` (at most 15 s back)."""
        self.advance_to(t_us)
        return [person.view(t_us) for person in self.people.values() if person.present(t_us)]

    def _bodies_at(self, t_us: int) -> list[tuple[float, float]]:
        """Where people stand, for what they shade."""
        return [person.position(t_us) for person in self.people.values() if person.present(t_us)]

    def door_view(self, door: Door, t_us: int, reach_m: float = 1.9) -> list[PersonView]:
        """People near a door, in the door's coordinates: x grows inwards and is 0 under the sensor."""
        self.advance_to(t_us)
        near: list[PersonView] = []
        for person in self.people.values():
            if not person.present(t_us):
                continue
            x, y = person.position(t_us)
            if abs(x - door.x_m) <= reach_m and abs(y - door.y_m) <= reach_m:
                near.append(_relative(person.view(t_us), door))
        return near

    # --- truth --------------------------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Nothing has moved for 5 s and no actor has anything left to do."""
        return self.opened_us is not None and self._busy == 0 and self.now_us - self._last_move_us >= QUIET_US

    def on_hand(self) -> dict[tuple[str, str], int]:
        """Units by (shelf, GTIN): every pair of the planogram, and misplaced goods."""
        pairs = {(shelf.id, gtin): 0 for shelf in self.layout.shelves for gtin in shelf.products}
        pairs.update({pair: n for pair, n in self._on_hand.items() if n > 0})
        return pairs

    def misplaced(self) -> list[Item]:
        """Items on a shelf where they do not belong."""
        shelves = self.layout.by_shelf
        return [
            item
            for shelf, items in self._on_shelf.items()
            for item in items.values()
            if item.gtin not in shelves[shelf].products
        ]

    def truth(self) -> dict[str, object]:
        """The whole truth as plain JSON values."""
        by_gtin = self.layout.by_gtin
        return {
            "t_us": self.now_us,
            "opened": self.opened_us is not None,
            "settled": self.settled,
            "on_hand": [
                {"shelf": shelf, "gtin": gtin, "count": n, "tagged": by_gtin[gtin].tagged}
                for (shelf, gtin), n in sorted(self.on_hand().items())
            ],
            "crossings": {door: {"in": n["in"], "out": n["out"]} for door, n in self.crossings.items()},
            "counts": dict(sorted(self.counts.items())),
            "misplaced": [
                {"epc": item.epc.hex() if item.epc else None, "gtin": item.gtin, "shelf": item.place.shelf}
                for item in self.misplaced()
            ],
            "people": sum(person.present(self.now_us) for person in self.people.values()),
            "last_move_us": self._last_move_us,
        }


def _shares(cells: tuple[int, ...], along: float) -> tuple[tuple[int, float], ...]:
    """How the mass of an item at `along` (0-1) of a lane divides between the lane's cells."""
    if len(cells) == 1:
        return ((cells[0], 1.0),)
    spot = along * (len(cells) - 1)
    left = min(int(spot), len(cells) - 2)
    right_share = spot - left
    return (cells[left], 1.0 - right_share), (cells[left + 1], right_share)


def _relative(person: PersonView, door: Door) -> PersonView:
    return PersonView(
        person.id,
        person.kind,
        person.x_m - door.x_m,
        person.y_m - door.y_m,
        person.vx_mps,
        person.vy_mps,
        person.height_m,
        person.shoulder_m,
        person.surface_c,
    )
