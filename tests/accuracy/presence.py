"""Accuracy of RFID presence on the field world (tests/worlds/presence.py), with the field's baselines beside it.

Scored each second after a minute of warm-up, over tags that lie on a shelf or are away (a tag in somebody's hand has no
right place): share of tag-seconds at the right place, flips per true change of place, time to the right shelf and to
the departure, misplaced items, and stock by SKU and shelf, exact, where nothing moved for 60 s: counted from the tags'
places (`sku_shelf_exact`), and as the inventory publishes it (`on_hand_exact`). A move lasts from the pick to the laying
down: both its ends are unsettled meanwhile; the shelves that it only passes are judged. `corners` are worlds at the ends of the
parameters' ranges, `hard` is harder than they are.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, replace

import numpy as np

from edge.core.facts import ItemMisplaced, OnHandChanged, TagArrived, TagDeparted, TagMoved
from edge.core.identity import decode_epc
from edge.core.instant import US_PER_S, Instant
from edge.core.inventory import Inventory
from edge.core.observation import TagReads
from edge.core.part import Signal
from edge.core.presence import Presence, load_profile
from edge.core.presence.mobility import PROFILES, MobilityLocator
from edge.core.site import Site, load_site
from tests.worlds.presence import ABSENT, CARRIED, CORNERS, HARDER, FieldParameters, FieldWorld

WARM_UP_S = 60
PORTS = 4
QUIET_S = 60
MISPLACED_WITHIN_S = 60
CORNER_S = 1200
CORNER_KEYS = (
    *("right_share", "flips_per_move", "p95_s", "departure_p95_s", "errors_vs_window", "sku_shelf_exact"),
    *("misplaced_precision", "misplaced_recall", "misplaced_events", "baselines"),
)


def identity(epc: bytes) -> tuple[str, str]:
    decoded = decode_epc(epc)
    return decoded.gtin, decoded.uri


def site_of(world: FieldWorld) -> Site:
    gtins = [identity(world.epc[np.flatnonzero(world.sku == sku)[0]].tobytes())[0] for sku in range(world.p.skus)]
    shelves = [
        {
            "id": f"s{s}",
            "zone": "floor",
            "products": [g for g, homes in zip(gtins, world.homes, strict=True) if s in homes],
        }
        for s in range(world.p.shelves)
    ]
    antennas = [{"port": s % PORTS + 1, "shelf": f"s{s}"} for s in range(world.p.shelves)]
    store = {"id": "s", "tenant": "t", "name": "", "sgln": "urn:epc:id:sgln:4012345.00001.0", "timezone": "UTC"}
    return load_site(
        {
            "store": {**store, "hours": [["00:00", "24:00"]] * 7},
            "zones": [{"id": "floor"}],
            "products": [{"gtin": gtin, "tagged": True} for gtin in gtins],
            "shelves": shelves,
            "readers": [
                {"device": f"r{first // PORTS}", "antennas": antennas[first : first + PORTS]}
                for first in range(0, len(antennas), PORTS)
            ],
        }
    )


class Ours:
    """The production parts, presence and inventory, followed through their facts only."""

    def __init__(self, world: FieldWorld, profile: str) -> None:
        self.world = world
        site = site_of(world)
        self.part, self.inventory = Presence(site, identity, load_profile(profile)), Inventory(site)
        self.sku = {identity(epc.tobytes())[0]: int(sku) for epc, sku in zip(world.epc, world.sku, strict=True)}
        self.on_hand = np.zeros((world.p.skus, world.p.shelves), int)
        self.tag = {identity(epc.tobytes())[1]: index for index, epc in enumerate(world.epc)}
        self.place = np.full(world.n, ABSENT)
        self.misplaced: list[tuple[int, int, int]] = []  # (second, tag, shelf)
        self.cpu_s = 0.0

    def second(self, tag: np.ndarray, antenna: np.ndarray, dbm: np.ndarray, t_s: int) -> None:
        now = Instant(t_s * US_PER_S, t_s * US_PER_S)
        batches = []
        for reader in range(-(-self.world.p.shelves // PORTS)):
            mine = antenna // PORTS == reader
            n = int(mine.sum())
            batches.append(
                TagReads(
                    f"r{reader}",
                    now.mono_us,
                    self.world.epc[tag[mine]],
                    (antenna[mine] % PORTS + 1).astype(np.uint16),
                    np.round(dbm[mine] * 100).astype(np.int16),
                    np.full(n, now.mono_us),
                    np.ones(n, np.uint16),
                )
            )
        started_s = time.process_time()
        for batch in batches:
            self.part.observe(batch, now)
        signals = self.part.tick(now)
        self.cpu_s += time.process_time() - started_s
        self._follow(signals, t_s)
        for fact in [*self.inventory.handle_all(signals, now), *self.inventory.tick(now)]:
            if isinstance(fact, OnHandChanged):
                self.on_hand[self.sku[fact.gtin], int(fact.shelf[1:])] = fact.on_hand

    def _follow(self, signals: list[Signal], t_s: int) -> None:
        for fact in signals:
            if isinstance(fact, TagArrived | TagMoved):
                self.place[self.tag[fact.epc]] = int(fact.shelf[1:])
            elif isinstance(fact, TagDeparted):
                self.place[self.tag[fact.epc]] = ABSENT
            elif isinstance(fact, ItemMisplaced) and not fact.resolved:
                self.misplaced.append((t_s, self.tag[fact.epc], int(fact.shelf[1:])))


class LastRead:
    """Where it was read last; gone after 30 s of silence."""

    def __init__(self, world: FieldWorld) -> None:
        self.place = np.full(world.n, ABSENT)
        self.seen = np.full(world.n, -1000)

    def second(self, tag: np.ndarray, antenna: np.ndarray, dbm: np.ndarray, t_s: int) -> None:
        self.place[tag], self.seen[tag] = antenna, t_s
        self.place[self.seen < t_s - 30] = ABSENT


class Window:
    """The antenna with the highest mean RSSI of the last 10 s."""

    def __init__(self, world: FieldWorld, seconds: int = 10) -> None:
        self.rows: deque[tuple[np.ndarray, np.ndarray, np.ndarray]] = deque(maxlen=seconds)
        self.shape = (world.n, world.p.shelves)
        self.place = np.full(world.n, ABSENT)

    def second(self, tag: np.ndarray, antenna: np.ndarray, dbm: np.ndarray, t_s: int) -> None:
        self.rows.append((tag, antenna, dbm))
        reads, level = np.zeros(self.shape), np.zeros(self.shape)
        for tags, antennas, levels in self.rows:
            np.add.at(reads, (tags, antennas), 1)
            np.add.at(level, (tags, antennas), levels)
        mean = np.where(reads > 0, level / np.maximum(reads, 1), -200)
        self.place = np.where(reads.any(axis=1), mean.argmax(axis=1), ABSENT)


class Mobility:
    """A mobility profile of Intel RSP / EdgeX."""

    def __init__(self, world: FieldWorld, profile: str) -> None:
        self.locator = MobilityLocator(PROFILES[profile])
        self.place = np.full(world.n, ABSENT)

    def second(self, tag: np.ndarray, antenna: np.ndarray, dbm: np.ndarray, t_s: int) -> None:
        for row in zip(tag.tolist(), antenna.tolist(), dbm.tolist(), strict=True):
            self.locator.read(*row, t_s * 1000.0)
        self.locator.age(t_s * 1000.0)
        self.place[:] = ABSENT
        self.place[list(self.locator.place)] = list(self.locator.place.values())


class Score:
    """Counts of one method over one run."""

    def __init__(self, world: FieldWorld) -> None:
        self.right = self.total = self.flips = 0
        self.before: np.ndarray | None = None
        self.truth_before: np.ndarray | None = None
        self.true_changes = 0
        self.open: dict[int, tuple[int, int]] = {}  # tag → (since, place) not yet found
        self.shelf_s: list[float] = []
        self.departure_s: list[float] = []
        self.changed_at = np.full((world.p.skus, world.p.shelves), -1000)
        self.cells = self.exact = self.tags_in_cells = 0
        self.stock_cells = self.stock_exact = 0
        self.rested = world.truth.copy()  # last place of rest of each tag

    def second(self, world: FieldWorld, place: np.ndarray, t_s: int, on_hand: np.ndarray | None = None) -> None:
        truth = world.truth
        self._arrivals(world, place, t_s)
        if t_s <= WARM_UP_S:
            self.before = place.copy()
            return
        scored = truth != CARRIED
        self.total += int(scored.sum())
        self.right += int((place == truth)[scored].sum())
        self.flips += int((place != self.before).sum())
        self.before = place.copy()
        if t_s % 10 == 0:
            self._cells(world, place, t_s, on_hand)

    def _arrivals(self, world: FieldWorld, place: np.ndarray, t_s: int) -> None:
        moved = (world.truth != CARRIED) & (world.truth != self.rested)
        for tag in np.flatnonzero(moved).tolist():
            if t_s > WARM_UP_S:
                self.true_changes += 1
                self._close(tag, t_s)
                self.open[tag] = (t_s, int(world.truth[tag]))
            self.rested[tag] = world.truth[tag]
        if self.truth_before is not None:
            for tag in np.flatnonzero((world.truth == CARRIED) | (world.truth != self.truth_before)).tolist():
                for shelf in (int(self.rested[tag]), int(world.goal[tag])):
                    if shelf >= 0:
                        self.changed_at[world.sku[tag], shelf] = t_s
        self.truth_before = world.truth.copy()
        for tag, (since, goal) in list(self.open.items()):
            if place[tag] == goal:
                (self.departure_s if goal == ABSENT else self.shelf_s).append(t_s - since)
                del self.open[tag]

    def _close(self, tag: int, t_s: int) -> None:
        """Moved on before it was found: counts where it lay for a minute at least."""
        since, goal = self.open.pop(tag, (t_s, 0))
        if t_s - since >= QUIET_S:
            (self.departure_s if goal == ABSENT else self.shelf_s).append(t_s - since)

    def _cells(self, world: FieldWorld, place: np.ndarray, t_s: int, on_hand: np.ndarray | None) -> None:
        true, seen = np.zeros_like(self.changed_at), np.zeros_like(self.changed_at)
        np.add.at(true, (world.sku[world.truth >= 0], world.truth[world.truth >= 0]), 1)
        np.add.at(seen, (world.sku[place >= 0], place[place >= 0]), 1)
        quiet = self.changed_at < t_s - QUIET_S
        cells = ((true > 0) | (seen > 0)) & quiet
        self.cells += int(cells.sum())
        self.exact += int((true == seen)[cells].sum())
        self.tags_in_cells += int(true[cells].sum())
        if on_hand is not None:
            cells = ((true > 0) | (on_hand > 0)) & quiet
            self.stock_cells += int(cells.sum())
            self.stock_exact += int((true == on_hand)[cells].sum())

    def p95(self, waits_s: list[float]) -> float:
        return float(np.percentile(waits_s, 95)) if waits_s else 0.0


def misplaced_score(world: FieldWorld, told: list[tuple[int, int, int]], stays: list[tuple[int, int, int, int]]):
    """Precision and recall of ItemMisplaced against stays (tag, shelf, from, to) on wrong shelves of 60 s and more."""
    wrong = [s for s in stays if s[1] >= 0 and s[1] not in world.homes[world.sku[s[0]]] and s[3] > WARM_UP_S]
    facts = [fact for fact in told if fact[0] > WARM_UP_S]
    by_tag: dict[int, list[tuple[int, int, int, int]]] = {}
    for stay in wrong:
        by_tag.setdefault(stay[0], []).append(stay)
    true = sum(any(s[1] == shelf and s[2] <= t_s <= s[3] + 5 for s in by_tag.get(tag, ())) for t_s, tag, shelf in facts)
    due = [s for s in wrong if s[3] - s[2] >= MISPLACED_WITHIN_S and s[2] > WARM_UP_S]
    found = sum(
        any(f[1] == s[0] and f[2] == s[1] and s[2] <= f[0] <= s[2] + MISPLACED_WITHIN_S for f in facts) for s in due
    )
    return true / max(len(facts), 1), found / max(len(due), 1), len(due)


def stays_of(world: FieldWorld, start: np.ndarray) -> list[tuple[int, int, int, int]]:
    """(tag, place, from, to) of all rests, in seconds."""
    since = {tag: (int(place), 0) for tag, place in enumerate(start)}
    stays = []
    for t_s, tag, _, new in world.changes:
        if new == CARRIED:
            place, from_s = since.pop(tag)
            stays.append((tag, place, from_s, t_s))
        else:
            since[tag] = (new, t_s)
    return stays + [(tag, place, from_s, world.t_s) for tag, (place, from_s) in since.items()]


def campaign(seed: int, parameters: FieldParameters, profile: str, *, baselines: bool = True) -> dict[str, object]:
    """One world, all methods on the same reads."""
    world = FieldWorld(seed, parameters)
    start = world.truth.copy()
    ours = Ours(world, profile)
    methods: dict[str, object] = {"ours": ours, "last_read": LastRead(world), "window_10s": Window(world)}
    if baselines:
        methods |= {name.replace("-", "_"): Mobility(world, name) for name in PROFILES}
    scores = {name: Score(world) for name in methods}
    for _ in range(parameters.seconds):
        tag, antenna, dbm = world.second()
        for name, method in methods.items():
            method.second(tag, antenna, dbm, world.t_s)
            scores[name].second(world, method.place, world.t_s, getattr(method, "on_hand", None))
    score = scores["ours"]
    precision, recall, events = misplaced_score(world, ours.misplaced, stays_of(world, start))
    return {
        "right_share": score.right / score.total,
        "flips_per_move": score.flips / max(score.true_changes, 1),
        "p95_s": score.p95(score.shelf_s),
        "departure_p95_s": score.p95(score.departure_s),
        "errors_vs_window": (score.total - score.right)
        / max(1, scores["window_10s"].total - scores["window_10s"].right),
        "misplaced_precision": precision,
        "misplaced_recall": recall,
        "misplaced_events": events,
        "sku_shelf_exact": score.exact / max(score.cells, 1),
        "on_hand_exact": score.stock_exact / max(score.stock_cells, 1),
        "tags_per_cell": score.tags_in_cells / max(score.cells, 1),
        "true_moves": score.true_changes,
        "baseline_share": scores["last_read"].right / scores["last_read"].total,
        "baselines": {name: round(s.right / s.total, 4) for name, s in scores.items() if name != "ours"},
        "baseline_flips_per_move": {
            name: round(s.flips / max(s.true_changes, 1), 2) for name, s in scores.items() if name != "ours"
        },
        "cpu_us_per_tag_second": ours.cpu_s / (parameters.seconds * world.n) * 1e6,
    }


def run(seed: int, argv: list[str]) -> dict[str, object]:
    """The field world, its corners and the harder one; ``--seconds N`` and ``--profile NAME`` as options."""
    options = dict(zip(argv[::2], argv[1::2], strict=False))
    seconds, profile = int(options.get("--seconds", FieldParameters.seconds)), options.get("--profile", "learned")
    parameters = replace(FieldParameters(), seconds=seconds)
    figures = campaign(seed, parameters, profile)
    hard = campaign(seed, replace(HARDER, seconds=min(seconds, HARDER.seconds)), profile)
    figures["right_share_hard"] = hard.pop("right_share")
    figures["hard"] = rounded(hard)
    figures["corners"] = {}
    for name, corner in CORNERS.items():
        row = campaign(seed, replace(corner, seconds=min(seconds, CORNER_S)), profile, baselines=False)
        figures["corners"][name] = rounded({key: row[key] for key in CORNER_KEYS})
    figures["world"] = asdict(parameters)
    return rounded(figures)


def rounded(figures: dict[str, object]) -> dict[str, object]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()}
