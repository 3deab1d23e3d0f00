"""The judge's weight shelves: goods, hands and load cells, drawn from a seed. It knows nothing of production code.

People reach in, lean (a force that wanders and trembles, and now and then clips the cell), take one item, several, or
different ones in quick succession, put things back, on the wrong lane too, swap, browse for nothing; staff restock.
Cells drift, creep, follow the temperature, shake with compressors and trolleys, and send a junk sample now and then.
A converter's sinc⁴ filter spreads each step over four samples.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import numpy as np

RAIL = 2**23 - 1
SETTLING = (1 / 24, 11 / 24, 11 / 24, 1 / 24)
APART_SD = 4.0


@dataclass(frozen=True)
class Sku:
    gtin: str
    mass_g: float
    sd_g: float


@dataclass(frozen=True)
class Thing:
    """One item: its product and its own mass."""

    sku: Sku
    mass_g: float


@dataclass
class Lane:
    id: str
    device: int
    cells: list[int]
    skus: list[Sku]
    things: list[tuple[Thing, float]] = field(default_factory=list)  # with the share on the first cell
    free_s: float = 0.0
    stranger: bool = False
    pure: bool = True

    def count(self, gtin: str) -> int:
        return sum(thing.sku.gtin == gtin for thing, _ in self.things)


@dataclass(frozen=True)
class Visit:
    """What truly happened at one lane between a hand's coming and its leaving. net: gtin → ±items, zeros left out."""

    lane: str
    start_s: float
    left_s: float
    kind: str
    net: dict[str, int]
    stranger: bool  # something that does not belong there lay there before or lies there after
    pure: bool  # nothing that does not belong there was ever laid there
    count_after: int  # of the lane's own products


@dataclass(frozen=True)
class Hand:
    """Force of a hand on a lane, spread over its cells."""

    t0_s: float
    t1_s: float
    force_g: float
    wander: float
    share: float
    seed: int


@dataclass(frozen=True)
class Cell:
    offset_counts: float
    counts_per_g: float
    noise_g: float
    drift_g_per_h: float
    walk_g_per_sqrt_h: float
    zero_g_per_k: float
    creep_share: float


@dataclass(frozen=True)
class Params:
    """What a seed draws and a judge may vary."""

    one_sku_lanes: int = 12
    mixed_lanes: int = 8
    cells_per_device: int = 8
    rate_hz: float = 10.0
    lean_share: float = 0.35
    junk_share: float = 4e-5
    vibrations_per_h: float = 6.0
    bumps_per_h: float = 20.0
    temperature_swing_k: float = 3.0
    visits_per_lane_h: float = 45.0
    heeded_multiples: int = 4  # 1: only unit weights are kept apart, not n of one product from one of another
    capacity_g: float = 12_000.0  # of a cell; nobody loads a shelf beyond it
    mass_low_g: float = 60.0
    mass_high_g: float = 1200.0


def gtin(number: int) -> str:
    """A 14-digit GTIN with its check digit."""
    body = f"0450000{number:06d}"
    return body + str(-sum(int(d) * (3 if i % 2 == 0 else 1) for i, d in enumerate(reversed(body))) % 10)


class ShelfWorld:
    """One store's shelves for `hours`. Everything is planned on construction; `render` gives raw samples."""

    def __init__(self, seed: int, hours: float, params: Params | None = None, *, empty: bool = False) -> None:
        self.params = params or Params()
        self.rng = random.Random(f"shelf/{seed}")
        self.seed, self.seconds = seed, hours * 3600.0
        self._n_skus = 0
        self.lanes: list[Lane] = []
        self.visits: list[Visit] = []
        self._build()
        n_devices = 1 + max(lane.device for lane in self.lanes)
        width = self.params.cells_per_device
        self.cells = [[self._cell() for _ in range(width)] for _ in range(n_devices)]
        self.steps: list[list[list[tuple[float, float]]]] = [[[] for _ in range(width)] for _ in range(n_devices)]
        self.hands: list[list[tuple[Hand, int]]] = [[] for _ in range(n_devices)]
        self.start_g = [[0.0] * width for _ in range(n_devices)]
        for lane in self.lanes:
            for thing, share in lane.things:
                for cell, part in self._shares(lane, share):
                    self.start_g[lane.device][cell] += part * thing.mass_g
        self._carried: list[Thing] = []
        if not empty:
            self._live()
        self._shakes = [self._plan_shakes() for _ in range(n_devices)]

    # --- building -----------------------------------------------------------------------------------------------------

    def _sku(self) -> Sku:
        p, rng = self.params, self.rng
        mass_g = math.exp(rng.uniform(math.log(p.mass_low_g), math.log(p.mass_high_g)))
        self._n_skus += 1
        return Sku(gtin(self._n_skus), round(mass_g, 1), round(mass_g * rng.uniform(0.002, 0.008), 2))

    def _apart(self, skus: list[Sku], new: Sku) -> bool:
        """Whether a planner who heeds the warnings puts both on one lane: neither weighs like 1 to 4 of the other."""
        for other in skus:
            light, heavy = sorted((other, new), key=lambda sku: sku.mass_g)
            for n in range(1, 1 + self.params.heeded_multiples):
                sd_g = max(heavy.sd_g, math.sqrt(n) * light.sd_g, 0.5)
                if abs(heavy.mass_g - n * light.mass_g) < APART_SD * sd_g:
                    return False
        return True

    def _build(self) -> None:
        p, rng, free = self.params, self.rng, (0, 0)
        for number in range(p.one_sku_lanes + p.mixed_lanes):
            n_cells = rng.choice((1, 1, 2))
            device, cell = free
            if cell + n_cells > p.cells_per_device:
                device, cell = device + 1, 0
            free = (device, cell + n_cells)
            skus = [self._sku()]
            while number >= p.one_sku_lanes and len(skus) < 2 + number % 4:
                new = self._sku()
                if self._apart(skus, new):
                    skus.append(new)
            lane = Lane(f"lane-{number:02d}", device, list(range(cell, cell + n_cells)), skus)
            for sku in skus:
                for _ in range(rng.randint(6, 18) // (1 + (sku.mass_g > 500))):
                    if self._room(lane, sku) > 2:
                        lane.things.append((self._thing(sku), rng.random()))
            self.lanes.append(lane)

    def _room(self, lane: Lane, sku: Sku) -> int:
        """How many more of a product the lane's cells carry."""
        load_g = sum(thing.mass_g for thing, _ in lane.things)
        return int((self.params.capacity_g - load_g) / sku.mass_g)

    def _thing(self, sku: Sku) -> Thing:
        return Thing(sku, max(1.0, self.rng.gauss(sku.mass_g, sku.sd_g)))

    def _cell(self) -> Cell:
        rng = self.rng
        sign = -1 if rng.random() < 0.1 else 1
        return Cell(
            offset_counts=rng.uniform(-200_000, 200_000),
            counts_per_g=sign * rng.uniform(300, 450),
            noise_g=rng.uniform(0.15, 0.45),
            drift_g_per_h=rng.gauss(0, 0.5),
            walk_g_per_sqrt_h=rng.uniform(0.2, 0.8),
            zero_g_per_k=rng.gauss(0, 0.4),
            creep_share=rng.uniform(-2e-4, 2e-4),
        )

    @staticmethod
    def _shares(lane: Lane, share: float) -> list[tuple[int, float]]:
        if len(lane.cells) == 1:
            return [(lane.cells[0], 1.0)]
        return [(lane.cells[0], share), (lane.cells[1], 1.0 - share)]

    # --- people -------------------------------------------------------------------------------------------------------

    def _live(self) -> None:
        rng, p = self.rng, self.params
        t_s = 8.0
        pause_s = 3600.0 / (p.visits_per_lane_h * len(self.lanes))
        while t_s < self.seconds - 30.0:
            lane = rng.choice(self.lanes)
            start_s = max(t_s, lane.free_s)
            if start_s < self.seconds - 30.0:
                self._visit(lane, start_s)
            t_s += rng.expovariate(1.0 / pause_s)
        self.visits.sort(key=lambda visit: visit.start_s)

    def _visit(self, lane: Lane, start_s: float) -> None:
        rng = self.rng
        kinds = ["pick", "several", "browse", "back", "elsewhere", "swap", "restock"]
        kind = rng.choices(kinds, (55, 20, 9, 8, 3, 2, 3))[0]
        own = [pair for pair in lane.things if pair[0].sku in lane.skus]
        if kind in ("pick", "several", "swap") and len(own) < 4:
            kind = "restock"
        before = lane.stranger
        net: dict[str, int] = {}
        t_s = touched_s = start_s + rng.uniform(0.1, 0.6)
        for taken in self._acts(lane, kind, own):
            for thing, share, way in taken:
                touched_s = t_s + rng.uniform(0.03, 0.2)
                self._touch(lane, t_s - rng.uniform(0.05, 0.3), touched_s)
                self._move(lane, thing, share, way, t_s)
                net[thing.sku.gtin] = net.get(thing.sku.gtin, 0) + way
            t_s += rng.uniform(0.25, 1.3)
        left_s = touched_s
        if kind == "browse" or rng.random() < self.params.lean_share:
            left_s = max(left_s, self._lean(lane, start_s, touched_s))
        lane.stranger = any(thing.sku not in lane.skus for thing, _ in lane.things)
        lane.pure = lane.pure and not lane.stranger
        lane.free_s = left_s + rng.choice((2.6, 4.0, 9.0))
        own_count = sum(thing.sku in lane.skus for thing, _ in lane.things)
        change = {name: n for name, n in net.items() if n}
        stranger = before or lane.stranger
        self.visits.append(Visit(lane.id, start_s, left_s, kind, change, stranger, lane.pure, own_count))

    def _acts(self, lane: Lane, kind: str, own: list) -> list[list[tuple[Thing, float, int]]]:
        """What is moved, in order: each act is a list of (thing, share, ±1) moved at once."""
        rng = self.rng
        if kind == "pick":
            return [[(*rng.choice(own), -1)]]
        if kind == "several":
            n = rng.choice((2, 2, 2, 3, 3, 4))
            first = rng.choice(own)[0].sku
            pool = [pair for pair in own if pair[0].sku == first] if rng.random() < 0.6 else own
            chosen = rng.sample(pool, min(n, len(pool)))
            if rng.random() < 0.4:
                return [[(*pair, -1) for pair in chosen]]
            return [[(*pair, -1)] for pair in chosen]
        if kind == "swap":
            taken = rng.choice(own)
            return [[(*taken, -1)], [(self._thing(rng.choice(lane.skus)), rng.random(), 1)]]
        if kind in ("back", "elsewhere") and self._carried:
            home = [thing for thing in self._carried if (thing.sku in lane.skus) == (kind == "back")]
            if home:
                return [[(rng.choice(home), rng.random(), 1)]]
        if kind == "restock":
            strangers = [pair for pair in lane.things if pair[0].sku not in lane.skus]
            acts = [[(*pair, -1)] for pair in strangers]
            sku = rng.choice(lane.skus)
            number = min(rng.randint(3, 8), self._room(lane, sku))
            acts += [[(self._thing(sku), rng.random(), 1)] for _ in range(number)]
            return acts
        return []

    def _move(self, lane: Lane, thing: Thing, share: float, way: int, t_s: float) -> None:
        if way < 0:
            lane.things.remove((thing, share))
            self._carried = [*self._carried[-11:], thing]
        else:
            lane.things.append((thing, share))
            self._carried = [other for other in self._carried if other is not thing]
        for cell, part in self._shares(lane, share):
            self.steps[lane.device][cell].append((t_s, way * part * thing.mass_g))

    def _touch(self, lane: Lane, t0_s: float, t1_s: float) -> None:
        """Fingers on the goods around a move."""
        force_g = self.rng.uniform(-60.0, 220.0)
        self._press(lane, Hand(t0_s, t1_s, force_g, 0.3, self.rng.random(), self.rng.getrandbits(32)))

    def _lean(self, lane: Lane, start_s: float, end_s: float) -> float:
        """A hand or an elbow rests on the lane for a while: it wanders, trembles, rarely sits down on it."""
        rng = self.rng
        t1_s = max(start_s + 0.4, end_s + rng.uniform(-1.0, 2.5))
        force_g = 40_000.0 if rng.random() < 0.02 else math.exp(rng.uniform(math.log(80), math.log(3000)))
        wander = rng.uniform(0.04, 0.2)
        self._press(lane, Hand(start_s, t1_s, force_g, wander, rng.random(), rng.getrandbits(32)))
        return t1_s

    def _press(self, lane: Lane, hand: Hand) -> None:
        for cell, part in self._shares(lane, hand.share):
            shared = Hand(hand.t0_s, hand.t1_s, hand.force_g * part, hand.wander, part, hand.seed)
            self.hands[lane.device].append((shared, cell))

    # --- rendering ----------------------------------------------------------------------------------------------------

    def _plan_shakes(self) -> list[tuple[float, float, float, float]]:
        """(start, end, amplitude g, frequency Hz): compressors for many seconds, bumps that ring out (frequency 0)."""
        rng, p = self.rng, self.params
        shakes: list[tuple[float, float, float, float]] = []
        for per_h, bump in ((p.vibrations_per_h, False), (p.bumps_per_h, True)):
            t_s = rng.expovariate(per_h / 3600.0) if per_h else math.inf
            while t_s < self.seconds:
                if bump:
                    shakes.append((t_s, t_s + 1.2, rng.uniform(5, 90), 0.0))
                else:
                    shakes.append((t_s, t_s + rng.uniform(8, 60), rng.uniform(0.5, 4.0), rng.uniform(12.0, 49.0)))
                t_s += rng.expovariate(per_h / 3600.0)
        return shakes

    def temperature_c(self, t_s: float) -> float:
        swing = self.params.temperature_swing_k
        return 21.0 + swing * math.sin(2 * math.pi * t_s / 5400.0 + self.seed) + 0.2 * swing * math.sin(t_s / 400.0)

    def calibration(self, device: int, cell: int, rng: random.Random) -> tuple[float, float]:
        """(zero counts, counts a gram) as a technician measured them, a little off."""
        c = self.cells[device][cell]
        return c.offset_counts + c.counts_per_g * rng.gauss(0, 0.3), c.counts_per_g * (1 + rng.gauss(0, 4e-4))

    def render(self, device: int) -> tuple[np.ndarray, np.ndarray]:
        """All samples of a device: t_s (n,), counts (n, cells) int32."""
        rate_hz = self.params.rate_hz
        rng = np.random.default_rng([self.seed, device, 77])
        n = int(self.seconds * rate_hz)
        t_s = (np.arange(n) + rng.random()) / rate_hz
        width = len(self.cells[device])
        counts = np.empty((n, width), np.int32)
        warmer_k = np.array([self.temperature_c(x) - self.temperature_c(0.0) for x in t_s[::50]])
        warmer_k = np.interp(t_s, t_s[::50], warmer_k)
        shake_g = self._shake(device, t_s, rng)
        for number, cell in enumerate(self.cells[device]):
            load_g = np.full(n, self.start_g[device][number])
            for at_s, delta_g in self.steps[device][number]:
                load_g[np.searchsorted(t_s, at_s) :] += delta_g
            creep_g = cell.creep_share * self._creep(load_g, rate_hz)
            for hand, where in self.hands[device]:
                if where == number:
                    self._lay_hand(load_g, t_s, hand)
            padded = np.concatenate([np.full(3, load_g[0]), load_g])
            g = sum(w * padded[3 - k : 3 - k + n] for k, w in enumerate(SETTLING))
            g += creep_g + cell.drift_g_per_h * t_s / 3600.0 + cell.zero_g_per_k * warmer_k
            g += np.cumsum(rng.normal(0, cell.walk_g_per_sqrt_h * math.sqrt(1 / rate_hz / 3600.0), n))
            g += rng.normal(0, cell.noise_g, n) + shake_g * rng.uniform(0.6, 1.4)
            raw = np.rint(cell.offset_counts + cell.counts_per_g * g)
            junk = np.flatnonzero(rng.random(n) < self.params.junk_share)
            raw[junk] = np.where(rng.random(len(junk)) < 0.5, raw[junk] * 2, rng.integers(-(2**22), 2**22, len(junk)))
            counts[:, number] = np.clip(raw, -RAIL - 1, RAIL)
        return t_s, counts

    def _shake(self, device: int, t_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        out = np.zeros(len(t_s))
        for t0_s, t1_s, amplitude_g, hz in self._shakes[device]:
            a, b = np.searchsorted(t_s, (t0_s, t1_s))
            x = t_s[a:b] - t0_s
            if hz:
                out[a:b] += (
                    amplitude_g * np.sin(2 * math.pi * hz * x + rng.uniform(0, 6)) * rng.uniform(0.7, 1.3, b - a)
                )
            else:
                out[a:b] += amplitude_g * np.exp(-x / 0.25) * rng.normal(0, 1, b - a)
        return out

    @staticmethod
    def _creep(load_g: np.ndarray, rate_hz: float, tau_s: float = 600.0) -> np.ndarray:
        """The load as a slow body remembers it: first order, in steps of five seconds."""
        every = int(5 * rate_hz)
        slow = load_g[::every].copy()
        gain = 1 - math.exp(-5.0 / tau_s)
        for i in range(1, len(slow)):
            slow[i] = slow[i - 1] + gain * (slow[i] - slow[i - 1])
        return np.interp(np.arange(len(load_g)), np.arange(len(slow)) * every, slow)

    @staticmethod
    def _lay_hand(load_g: np.ndarray, t_s: np.ndarray, hand: Hand) -> None:
        a, b = np.searchsorted(t_s, (hand.t0_s, hand.t1_s))
        if a == b:
            return
        rng = np.random.default_rng(hand.seed)
        x = t_s[a:b] - hand.t0_s
        wander = np.empty(b - a)
        level = rng.normal()
        decay = math.exp(-(t_s[1] - t_s[0]) / 0.7)
        for i in range(b - a):
            level = decay * level + math.sqrt(1 - decay * decay) * rng.normal()
            wander[i] = level
        shape = np.minimum(1.0, np.minimum(x + 0.03, hand.t1_s - hand.t0_s - x + 0.03) / 0.15)
        tremor = 0.015 * rng.normal(0, 1, b - a)
        load_g[a:b] += hand.force_g * shape * (1 + hand.wander * wander + tremor)
