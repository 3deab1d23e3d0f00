"""A second store for judging stock fusion: physical truth, and what sensors would tell of it, errors included.

Imports nothing of ours. Truth is a set of items (tag, product, place); sensors tell of it by their own error models:
tags late, flipping to a neighbour, vanishing behind people, dead; weight in plateaus, decoded by a plain Bayes rule of
this file over single products only, missing some moves, inventing others when somebody leans on a lane. What is not put
back is sold minutes later, unless its line is lost or nobody pays.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Parameters:
    """What a judge may vary."""

    shelves: int = 12
    unweighed_every: int = 12  # each twelfth shelf has antennas only
    products_per_shelf: int = 3
    items_per_product: int = 10
    hours: float = 2.0
    visits_per_hour: float = 150.0  # shoppers' actions at shelves
    restocks_per_hour: float = 8.0
    put_back_share: float = 0.30
    elsewhere_share: float = 0.12  # of put-backs: on another shelf, where nobody looks for it
    several_share: float = 0.20  # picks of more than one
    both_share: float = 0.05  # picks of two products of one mixed lane in one plateau
    dead_tags: float = 0.003  # items without a working tag: on a mixed lane nobody can know of them
    unsold_share: float = 0.12  # of what is carried away: stolen, or its line at the till is lost
    till_s: tuple[float, float] = (60.0, 1200.0)  # from the shelf to the line at the till
    departure_median_s: float = 20.0
    departure_p95_s: float = 45.0
    arrival_median_s: float = 8.0
    arrival_p95_s: float = 30.0
    flips_per_tag_hour: float = 1.0  # false moves of a tag that stands still
    flip_mean_s: float = 25.0
    stuck_share: float = 0.02  # of the flips: they last ten times as long
    missed_steps: float = 0.02
    leans_per_lane_hour: float = 0.8
    mass_noise_g: float = 1.2
    unit_sd_share: float = 0.006
    junk_mass_share: float = 0.01  # moves whose measured mass is off by tens of grams
    level_every_s: float = 120.0
    check_every_s: float = 15.0
    warm_up_s: float = 300.0


@dataclass
class Lane:
    """A weighed part of a shelf."""

    id: str
    shelf: int
    products: list[int]


@dataclass
class Item:
    """A physical item."""

    epc: str
    product: int
    shelf: int | None
    dead: bool
    believed: int | None = None
    version: int = 0


@dataclass
class Told:
    """What a sensor tells, or a moment of checking (kind "check")."""

    at_s: float
    kind: str  # tag, step, level, sale, check
    data: dict[str, object] = field(default_factory=dict)


class StockWorld:
    """One seeded world. `events()` yields what is told in order of time; `truth` is right at each of those moments."""

    def __init__(self, seed: int, parameters: Parameters | None = None) -> None:
        self.p = parameters or Parameters()
        self._rng = random.Random(seed * 7919 + 17)
        self._queue: list[tuple[float, int, str, tuple[object, ...]]] = []
        self._order = itertools.count()
        self.masses_g = []
        self.homes: dict[int, int] = {}
        self.lanes: list[Lane] = []
        self.items: dict[str, Item] = {}
        self.on_lane: dict[str, Counter[int]] = {}
        self.last_move_s: dict[tuple[int, int], float] = {}
        self.truth: Counter[tuple[int, int]] = Counter()
        self._serial = itertools.count(1)
        self._plan()

    # --- the building ------------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        p, rng = self.p, self._rng
        for shelf in range(p.shelves):
            products = []
            for _ in range(p.products_per_shelf):
                product = len(self.masses_g)
                self.homes[product] = shelf
                products.append(product)
                self.masses_g.append(0.0)
            self._masses(products)
            if shelf % p.unweighed_every == p.unweighed_every - 1:
                continue
            single, mixed = products[:1], products[1:]
            self.lanes.append(Lane(f"lane-{shelf}-1", shelf, single))
            if mixed:
                self.lanes.append(Lane(f"lane-{shelf}-2", shelf, mixed))
        for lane in self.lanes:
            self.on_lane[lane.id] = Counter()
        for product, shelf in self.homes.items():
            for _ in range(max(1, round(rng.gauss(p.items_per_product, 2)))):
                self._new_item(product, shelf)

    def _masses(self, products: list[int]) -> None:
        """Unit masses of one shelf at least 4 standard deviations apart, as the planogram page asks for."""
        rng, chosen = self._rng, list[float]()
        while len(chosen) < len(products):
            mass = math.exp(rng.uniform(math.log(40), math.log(900)))
            if all(abs(mass - other) > 6 + 5 * self.p.unit_sd_share * max(mass, other) for other in chosen):
                chosen.append(mass)
        for product, mass in zip(products, chosen, strict=True):
            self.masses_g[product] = mass

    def _new_item(self, product: int, shelf: int) -> Item:
        epc = f"urn:epc:id:sgtin:4000000.{product:06d}.{next(self._serial)}"
        item = Item(epc, product, shelf, self._rng.random() < self.p.dead_tags)
        self.items[epc] = item
        self.truth[shelf, product] += 1
        lane = self._lane_for(shelf, product)
        if lane:
            self.on_lane[lane.id][product] += 1
        return item

    def _lane_for(self, shelf: int, product: int) -> Lane | None:
        """The lane an item lies on: its own, or any of the shelf."""
        lanes = [lane for lane in self.lanes if lane.shelf == shelf]
        return next(
            (lane for lane in lanes if product in lane.products), lanes[product % len(lanes)] if lanes else None
        )

    # --- time --------------------------------------------------------------------------------------------------------

    def _at(self, at_s: float, what: str, *data: object) -> None:
        heapq.heappush(self._queue, (at_s, next(self._order), what, data))

    def events(self) -> Iterator[Told]:
        """Everything that is told, until the last hour is over."""
        p, rng = self.p, self._rng
        end_s = p.hours * 3600
        for item in self.items.values():
            if not item.dead:
                self._at(rng.expovariate(1 / 6.0), "notice", item.epc, item.shelf, 0)
        for lane in self.lanes:
            self._at(1.0, "level", lane.id)
            self._at(rng.expovariate(p.leans_per_lane_hour / 3600), "lean", lane.id)
        for epc in list(self.items):
            self._flip_later(epc, 0.0)
        self._at(60 + rng.expovariate(p.visits_per_hour / 3600), "visit")
        self._at(120 + rng.expovariate(p.restocks_per_hour / 3600), "restock")
        self._at(p.warm_up_s, "check")
        while self._queue:
            at_s, _, what, data = heapq.heappop(self._queue)
            if at_s > end_s:
                return
            yield from getattr(self, f"_{what}")(at_s, *data)

    def _check(self, at_s: float) -> Iterator[Told]:
        self._at(at_s + self.p.check_every_s, "check")
        yield Told(at_s, "check")

    # --- people ------------------------------------------------------------------------------------------------------

    def _visit(self, at_s: float) -> Iterator[Told]:
        p, rng = self.p, self._rng
        self._at(at_s + rng.expovariate(p.visits_per_hour / 3600), "visit")
        stocked = [pair for pair, n in self.truth.items() if n > 0]
        if not stocked:
            return
        shelf, product = rng.choice(stocked)
        here = [i for i in self.items.values() if i.shelf == shelf and i.product == product]
        several = rng.choice((2, 2, 2, 3, 4)) if rng.random() < p.several_share else 1
        taken = rng.sample(here, min(several, len(here)))
        lane = self._lane_for(shelf, product)
        if lane and len(lane.products) > 1 and rng.random() < p.both_share:
            others = [i for i in self.items.values() if i.shelf == shelf and i.product in lane.products]
            taken += [i for i in rng.sample(others, min(1, len(others))) if i not in taken]
        yield from self._shift(at_s, taken, shelf, None)
        back = rng.random() < p.put_back_share
        for item in taken:
            self._miss(at_s, item)
            if back:
                self._at(at_s + rng.uniform(4, 90), "put", item.epc, shelf, rng.random() < p.elsewhere_share)
            elif rng.random() >= p.unsold_share:
                self._at(at_s + rng.uniform(*p.till_s), "tell", "sale", {"product": item.product})

    def _put(self, at_s: float, epc: str, shelf: int, elsewhere: bool) -> Iterator[Told]:
        item = self.items[epc]
        target = self._rng.randrange(self.p.shelves) if elsewhere else shelf
        yield from self._shift(at_s, [item], None, target)
        self._miss(at_s, item)

    def _restock(self, at_s: float) -> Iterator[Told]:
        p, rng = self.p, self._rng
        self._at(at_s + rng.expovariate(p.restocks_per_hour / 3600), "restock")
        low = min(self.homes, key=lambda product: self.truth[self.homes[product], product] + rng.random())
        shelf, n = self.homes[low], rng.randint(3, p.items_per_product)
        spent_s = at_s
        while n > 0:  # a handful at a time
            handful = min(n, rng.randint(1, 4))
            self._at(spent_s, "stack", low, shelf, handful)
            spent_s += rng.uniform(3, 8)
            n -= handful
        yield from ()

    def _stack(self, at_s: float, product: int, shelf: int, handful: int) -> Iterator[Told]:
        items = []
        for _ in range(handful):
            item = self._new_item(product, shelf)
            self.truth[shelf, product] -= 1
            lane = self._lane_for(shelf, product)
            if lane:
                self.on_lane[lane.id][product] -= 1
            item.shelf = None
            items.append(item)
        yield from self._shift(at_s, items, None, shelf)
        for item in items:
            self._miss(at_s, item)
            self._flip_later(item.epc, at_s)

    def _shift(self, at_s: float, items: list[Item], source: int | None, target: int | None) -> Iterator[Told]:
        """Items physically leave or reach a shelf in one plateau; the lanes tell within a second."""
        changes: dict[str, Counter[int]] = {}
        for item in items:
            for shelf, sign in ((source, -1), (target, 1)):
                if shelf is None:
                    continue
                self.truth[shelf, item.product] += sign
                self.last_move_s[shelf, item.product] = at_s
                lane = self._lane_for(shelf, item.product)
                if lane:
                    self.on_lane[lane.id][item.product] += sign
                    changes.setdefault(lane.id, Counter())[item.product] += sign
            item.shelf = target
        for lane_id, change in changes.items():
            grams = sum(self._weigh(product) * n for product, n in change.items())
            if self._rng.random() >= self.p.missed_steps:
                self._at(at_s + self._rng.uniform(0.4, 1.3), "step", lane_id, grams)
        yield from ()

    def _weigh(self, product: int) -> float:
        rng, mass = self._rng, self.masses_g[product]
        off = rng.gauss(0, 25.0) if rng.random() < self.p.junk_mass_share else 0.0
        return mass * (1 + rng.gauss(0, self.p.unit_sd_share)) + off

    # --- weight ------------------------------------------------------------------------------------------------------

    def _step(self, at_s: float, lane_id: str, grams: float) -> Iterator[Told]:
        lane = next(lane for lane in self.lanes if lane.id == lane_id)
        grams += self._rng.gauss(0, self.p.mass_noise_g)
        data = {"shelf": lane.shelf, "lane": lane.id, "delta_g": grams, "sd_g": self.p.mass_noise_g}
        for candidates in self._decode(lane, grams):
            yield Told(at_s, "step", {**data, "candidates": candidates})
        yield from self._tell_level(at_s + 0.001, lane)

    def _decode(self, lane: Lane, grams: float) -> list[list[tuple[int, int, float]]]:
        """Bayes' rule over some of one product, or some of two; what is left of 1 is abstention.

        One list of candidates for a change of one product, and one for each product of a likely pair.
        """
        sign = 1 if grams > 0 else -1
        weights: dict[tuple[tuple[int, int], ...], float] = {}
        for product, n in itertools.product(lane.products, range(1, 9)):
            prior = 0.65 * 0.35 ** (n - 1) / len(lane.products)
            weights[((product, sign * n),)] = prior * self._likely(grams, ((product, sign * n),))
        for a, b in itertools.combinations(lane.products, 2):
            for m, n in itertools.product(range(1, 4), repeat=2):
                both = ((a, sign * m), (b, sign * n))
                weights[both] = 0.05 * 0.4 ** (m + n - 2) * self._likely(grams, both)
        total = sum(weights.values()) + 0.05 / 2000.0
        ranked = sorted(((items, w / total) for items, w in weights.items()), key=lambda row: -row[1])
        best, probability = ranked[0]
        if len(best) > 1 and probability > 0.6:
            return [[(product, quantity, probability)] for product, quantity in best]
        return [[(*items[0], p) for items, p in ranked if len(items) == 1 and p >= 0.005][:6]]

    def _likely(self, grams: float, items: tuple[tuple[int, int], ...]) -> float:
        mean = sum(n * self.masses_g[product] for product, n in items)
        spread = sum(abs(n) * (self.p.unit_sd_share * self.masses_g[product]) ** 2 for product, n in items)
        return _normal(grams, mean, math.sqrt(spread + self.p.mass_noise_g**2))

    def _level(self, at_s: float, lane_id: str) -> Iterator[Told]:
        """Absolute weight, told now and then."""
        self._at(at_s + self.p.level_every_s, "level", lane_id)
        yield from self._tell_level(at_s, next(lane for lane in self.lanes if lane.id == lane_id))

    def _tell_level(self, at_s: float, lane: Lane) -> Iterator[Told]:
        if len(lane.products) != 1:
            return
        unit = self.masses_g[lane.products[0]]
        n = sum(self.on_lane[lane.id].values())
        grams = sum(self.masses_g[product] * count for product, count in self.on_lane[lane.id].items())
        sd = math.hypot(self.p.unit_sd_share * math.sqrt(max(1, n)), 2.0 / unit)
        mean = grams / unit + self._rng.gauss(0, sd)
        where = {"shelf": lane.shelf, "lane": lane.id, "product": lane.products[0]}
        yield Told(at_s, "level", {**where, "mean": mean, "sd": sd})

    def _lean(self, at_s: float, lane_id: str) -> Iterator[Told]:
        """Somebody leans: sometimes it looks like items for a while."""
        rng = self._rng
        self._at(at_s + rng.expovariate(self.p.leans_per_lane_hour / 3600), "lean", lane_id)
        lane = next(lane for lane in self.lanes if lane.id == lane_id)
        product, n = rng.choice(lane.products), rng.choice((-1, 1, 1))
        until_s = at_s + rng.uniform(4, 40)
        for when, sign in ((at_s, n), (until_s, -n)):
            probability = rng.uniform(0.5, 0.95)
            data = {"shelf": lane.shelf, "lane": lane.id, "delta_g": sign * self.masses_g[product], "sd_g": 3.0}
            self._at(when, "tell", "step", {**data, "candidates": [(product, sign, probability)]})
        yield from ()

    def _tell(self, at_s: float, kind: str, data: dict[str, object]) -> Iterator[Told]:
        yield Told(at_s, kind, data)

    # --- tags --------------------------------------------------------------------------------------------------------

    def _miss(self, at_s: float, item: Item) -> None:
        """Presence will notice where the item is now, after its delay."""
        item.version += 1
        if item.dead:
            return
        gone = item.shelf is None
        median, p95 = (
            (self.p.departure_median_s, self.p.departure_p95_s)
            if gone
            else (self.p.arrival_median_s, self.p.arrival_p95_s)
        )
        sigma = math.log(p95 / median) / 1.645
        late_s = median * math.exp(self._rng.gauss(0, sigma))
        self._at(at_s + late_s, "notice", item.epc, item.shelf, item.version)

    def _notice(self, at_s: float, epc: str, shelf: int | None, version: int) -> Iterator[Told]:
        item = self.items[epc]
        if version == item.version and item.believed != shelf:
            item.believed = shelf
            yield self._belief(at_s, item, shelf, 1.0 - 0.15 * self._rng.random() ** 2)

    def _belief(self, at_s: float, item: Item, shelf: int | None, probability: float) -> Told:
        data = {"epc": item.epc, "product": item.product, "shelf": shelf, "probability": min(0.9995, probability)}
        return Told(at_s, "tag", data)

    def _flip_later(self, epc: str, at_s: float) -> None:
        if self.p.flips_per_tag_hour > 0:
            self._at(at_s + self._rng.expovariate(self.p.flips_per_tag_hour / 3600), "flip", epc)

    def _flip(self, at_s: float, epc: str) -> Iterator[Told]:
        """A false move: to a neighbour, or out of sight behind a person."""
        rng, item = self._rng, self.items[epc]
        self._flip_later(epc, at_s)
        if item.dead or item.shelf is None or item.believed != item.shelf:
            return
        near = [s for s in (item.shelf - 1, item.shelf + 1) if 0 <= s < self.p.shelves]
        wrong = rng.choice(near) if rng.random() < 0.6 else None
        item.believed = wrong
        yield self._belief(at_s, item, wrong, rng.uniform(0.55, 0.98))
        lasts_s = rng.expovariate(1 / self.p.flip_mean_s) * (10 if rng.random() < self.p.stuck_share else 1)
        self._at(at_s + lasts_s, "notice", epc, item.shelf, item.version)

    def untagged(self) -> set[tuple[int, int]]:
        """(shelf, product) where an item without a working tag stands now."""
        return {(i.shelf, i.product) for i in self.items.values() if i.dead and i.shelf is not None}

    def describe(self) -> dict[str, object]:
        """The parameters, for the report."""
        return asdict(self.p)


def _normal(x: float, mean: float, sd: float) -> float:
    return math.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))
