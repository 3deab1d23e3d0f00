"""Actors: shoppers who come, pick, hesitate, put back (sometimes wrongly), pay or steal; staff who restock.

Each actor is a generator that yields how long it waits. Chances are the scenario's `Behaviour`.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_sim.layout import Door, Shelf
from firmware_sim.people import Person
from firmware_sim.world import Item, Script, World

SECOND_US = 1_000_000
STREET_M = 2.6
"""How far outside the door people appear and vanish."""
LET_PASS_US = 100_000
"""So long one waits before looking again whether the doorway is free."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Chances and paces of a scenario."""

    arrival_mean_s: float = 5.0
    open_s: float = 40.0
    """Nobody arrives later, and staff start nothing later."""
    last_entry_s: float | None = None
    visits: tuple[int, int] = (1, 3)
    picks: tuple[int, int] = (0, 2)
    browse_s: tuple[float, float] = (1.0, 4.0)
    put_back: float = 0.15
    misplace: float = 0.05
    misplace_on_lane: float = 0.0
    """Share of misplaced goods that lands on another product's weighed lane."""
    several: float = 0.1
    """Chance to take two at once."""
    lean: float = 0.25
    swap: float = 0.0
    """Chance to take a unit, put it back and take another of the same product."""
    hide: float = 0.0
    """Share of misplaced goods pushed behind others, where radio hardly reaches."""
    steal: float = 0.0
    pair: float = 0.1
    """Chance that a second shopper follows within a second."""
    restock_mean_s: float = 25.0
    restock_units: tuple[int, int] = (2, 5)
    restockers: int = 1
    """Members of staff who bring goods from the back room."""
    wrong_restock: float = 0.0
    carry_step_s: float = 2.0
    fault_mean_s: float = 0.0
    """Mean time between failures of a cell or an antenna; 0: nothing breaks."""
    fault_s: tuple[float, float] = (20.0, 180.0)


def _us(seconds: float) -> int:
    return round(seconds * SECOND_US)


def _pause(world: World, behaviour: Behaviour, seconds: float) -> int:
    """A wait in µs that ends at closing time at the latest."""
    left_us = _us(behaviour.open_s) - world.since_opening_us()
    return max(1, min(_us(seconds), left_us))


def _walk(world: World, person: Person, to_m: tuple[float, float], carried: list[Item], step_s: float) -> Script:
    """Walk; goods with tags in the hands are sensed on the way at every step."""
    left = person.walk_to(world.now_us, *to_m)
    tagged = [item for item in carried if item.epc is not None]
    while left > 0:
        step = min(left, _us(step_s)) if tagged else left
        yield step
        left -= step
        for item in tagged:
            world.carry(item, person.position(world.now_us))


def _through(world: World, person: Person, door: Door, inwards: bool) -> Script:
    """Let others pass, walk from one side of the door to the other, straight, and be counted under the sensor."""
    far = door.x_m + (STREET_M if inwards else -STREET_M)
    x, y = person.position(world.now_us)
    walk_us = _us(abs(door.x_m - x) / person.speed_mps)
    while not world.doorways[door.device].book(world.now_us + walk_us, y):
        yield LET_PASS_US
    yield person.walk_to(world.now_us, door.x_m, y)
    world.crossed(door, inwards)
    yield person.walk_to(world.now_us, far, y)


def _hand(world: World, person: Person, lane: str | None, lean: float) -> Script:
    """A hand works on a lane: it touches, sometimes leans, and lets go at the end."""
    rng = world.rng
    if lane is None:
        yield _us(rng.uniform(0.4, 1.0))
        return
    strength = 260.0 if rng.random() < lean else 40.0
    for _ in range(rng.randint(1, 3)):
        world.press(person, lane, rng.uniform(-0.3, 1.0) * strength or 1.0)
        yield _us(rng.uniform(0.15, 0.4))
    world.press(person, lane, 0.0)


def _take(
    world: World, person: Person, shelf: Shelf, basket: list[Item], behaviour: Behaviour, wanted: str | None = None
) -> Script:
    """Take one unit of any product (or of `wanted`), or two of the same product at once."""
    rng = world.rng
    there = world.on_shelf(shelf.id)
    if not there:
        return
    gtin = wanted or rng.choice(sorted({item.gtin for item in there}))
    units = [item for item in there if item.gtin == gtin]
    chosen = rng.choice(units)
    lane = chosen.place.lane
    yield from _hand(world, person, lane, behaviour.lean)
    taken = [chosen]
    others = [item for item in units if item is not chosen and item.place.lane == lane]
    if others and rng.random() < behaviour.several:
        taken.append(rng.choice(others))
    for item in taken:
        if item.place.shelf != shelf.id:  # somebody else was faster
            continue
        world.carry(item, person.position(world.now_us))
        basket.append(item)
        world.note("pick", shelf=shelf.id, gtin=gtin, lane=lane, item=item.index)
    yield _us(rng.uniform(0.3, 0.8))


def _put(
    world: World, person: Person, item: Item, shelf: Shelf, lane: str | None, kind: str, *, hidden: bool = False
) -> Script:
    """Put a unit down; the hand rests on it for a moment."""
    rng = world.rng
    if lane is not None:
        world.press(person, lane, rng.uniform(20.0, 90.0))
        yield _us(rng.uniform(0.15, 0.35))
    world.put(item, shelf.id, lane, hidden=hidden)
    world.note(kind, shelf=shelf.id, gtin=item.gtin, lane=lane, item=item.index)
    yield _us(rng.uniform(0.15, 0.4))
    if lane is not None:
        world.press(person, lane, 0.0)
    yield _us(rng.uniform(0.2, 0.6))


def _visit(world: World, person: Person, shelf: Shelf, basket: list[Item], behaviour: Behaviour) -> Script:
    """Stand before a shelf: browse, pick, perhaps put something back or leave something that belongs elsewhere."""
    rng = world.rng
    yield from _walk(world, person, _before(shelf, rng.uniform(-0.3, 0.3)), basket, behaviour.carry_step_s)
    world.radio.block(world.now_us, shelf.id, 1)
    yield _us(rng.uniform(*behaviour.browse_s))
    strangers = [item for item in basket if item.gtin not in shelf.products]
    if strangers and rng.random() < behaviour.misplace:
        item = rng.choice(strangers)
        lanes = [lane.id for lane in world.layout.lanes if lane.shelf == shelf.id]
        lane = rng.choice(lanes) if lanes and rng.random() < behaviour.misplace_on_lane else None
        basket.remove(item)
        hidden = rng.random() < behaviour.hide
        yield from _put(world, person, item, shelf, lane, "misplace", hidden=hidden)
    for _ in range(rng.randint(*behaviour.picks)):
        before = len(basket)
        yield from _take(world, person, shelf, basket, behaviour)
        if len(basket) == before:
            continue
        luck = rng.random()
        if luck < behaviour.put_back + behaviour.swap:
            yield _us(rng.uniform(1.0, 3.0))
            item = basket.pop()
            home = world.layout.lane_for(shelf.id, item.gtin)
            yield from _put(world, person, item, shelf, home.id if home else None, "put_back")
            if luck < behaviour.swap:
                yield from _take(world, person, shelf, basket, behaviour, item.gtin)
    world.radio.block(world.now_us, shelf.id, -1)


def _before(shelf: Shelf, aside_m: float = 0.0) -> tuple[float, float]:
    """Where a person stands to reach a shelf: on the aisle's side of it."""
    return shelf.x_m + aside_m, shelf.y_m + (-0.7 if shelf.y_m > 4.0 else 0.7)


def shopper(world: World, door: Door, behaviour: Behaviour) -> Script:
    """One customer from the street and back to it."""
    rng = world.rng
    person = world.enter("shopper", (door.x_m - STREET_M, door.y_m + rng.uniform(-0.35, 0.35)))
    person.height_m = min(1.95, max(1.05, rng.gauss(1.66, 0.13)))
    person.shoulder_m = 0.27 * person.height_m + rng.uniform(-0.02, 0.03)
    person.surface_c = rng.uniform(27.0, 31.0)
    person.speed_mps = min(1.8, max(0.8, rng.gauss(1.3, 0.2)))
    basket: list[Item] = []
    yield from _through(world, person, door, inwards=True)
    for _ in range(rng.randint(*behaviour.visits)):
        yield from _visit(world, person, rng.choice(world.layout.shelves), basket, behaviour)
    kind = "stolen" if rng.random() < behaviour.steal else "sold"
    if basket and kind == "sold":
        x, y = world.layout.checkout_xy_m
        yield from _walk(world, person, (x, y + rng.uniform(-0.3, 0.3)), basket, behaviour.carry_step_s)
        yield _us(rng.uniform(1.5, 3.0))
        _sell(world, basket)
    exit_m = door.x_m + STREET_M, door.y_m + rng.uniform(-0.35, 0.35)
    yield from _walk(world, person, exit_m, basket, behaviour.carry_step_s)
    yield from _through(world, person, door, inwards=False)
    for item in basket:
        world.remove(item, kind)
        world.note(kind, gtin=item.gtin, item=item.index)
    world.gone(person)


def _sell(world: World, basket: list[Item]) -> None:
    for item in basket:
        world.remove(item, "sold")
        world.note("sold", gtin=item.gtin, item=item.index)
    basket.clear()


def doorman(world: World, door: Door, behaviour: Behaviour) -> Script:
    """Lets shoppers arrive until the store closes, sometimes two close together."""
    rng = world.rng
    last_us = _us(behaviour.open_s if behaviour.last_entry_s is None else behaviour.last_entry_s)
    wait_s = rng.uniform(0.5, 1.5)
    while True:
        yield _us(wait_s)
        wait_s = rng.expovariate(1.0 / behaviour.arrival_mean_s)
        if world.since_opening_us() >= last_us:
            return
        world.start(shopper(world, door, behaviour))
        if rng.random() < behaviour.pair:
            world.start(shopper(world, door, behaviour), _us(rng.uniform(0.6, 1.2)))


def restocker(world: World, person: Person, behaviour: Behaviour) -> Script:
    """Brings goods from the back room to where most is missing (or, by mistake, to another shelf)."""
    rng = world.rng
    full = world.on_hand()
    while True:
        yield _pause(world, behaviour, rng.expovariate(1.0 / behaviour.restock_mean_s))
        if world.since_opening_us() >= _us(behaviour.open_s):
            return
        there = world.on_hand()
        shelf_id, gtin = min(full, key=lambda pair: (there[pair] / max(1, full[pair]), pair))
        units = min(full[shelf_id, gtin] - there[shelf_id, gtin], rng.randint(*behaviour.restock_units))
        if units <= 0:
            continue
        wrong = rng.random() < behaviour.wrong_restock
        target = rng.choice(world.layout.shelves) if wrong else world.layout.by_shelf[shelf_id]
        batch = [world.make_item(gtin) for _ in range(units)]
        yield from _walk(world, person, _before(target), batch, behaviour.carry_step_s)
        lane = world.layout.lane_for(target.id, gtin)
        for item in batch:
            yield from _put(world, person, item, target, lane.id if lane else None, "restock")
        yield from _walk(world, person, world.layout.backroom_xy_m, [], behaviour.carry_step_s)


def patrol(world: World, person: Person, spots: list[tuple[float, float]], behaviour: Behaviour) -> Script:
    """Staff who go from place to place with their badge or a trolley."""
    rng = world.rng
    while world.since_opening_us() < _us(behaviour.open_s):
        yield person.walk_to(world.now_us, *rng.choice(spots))
        yield _pause(world, behaviour, rng.uniform(8.0, 30.0))


def gremlin(world: World, behaviour: Behaviour) -> Script:
    """Breaks a cell or an antenna now and then, and repairs it: stuck, clipped or silent cells, a pulled cable."""
    rng = world.rng
    while True:
        yield _pause(world, behaviour, rng.expovariate(1.0 / behaviour.fault_mean_s))
        if world.since_opening_us() >= _us(behaviour.open_s):
            return
        lasts_us = _pause(world, behaviour, rng.uniform(*behaviour.fault_s))
        if rng.random() < 0.5 and world.layout.mcus:
            mcu = rng.choice(world.layout.mcus)
            cell, kind = rng.randrange(mcu.n_cells), rng.choice(("open", "stuck", "saturated"))
            cells = world.cells[mcu.device]
            world.note("cell_fault", device=mcu.device, cell=cell, fault=kind)
            cells.fail(cell, kind, int(cells.offset_counts[cell]))
            yield lasts_us
            cells.fail(cell, None)
        else:
            reader = rng.choice(world.layout.readers)
            port = rng.choice(reader.antennas).port
            world.note("antenna_fault", device=reader.device, port=port)
            world.radio.set_alive(world.now_us, reader.device, port, alive=False)
            yield lasts_us
            world.radio.set_alive(world.now_us, reader.device, port, alive=True)
