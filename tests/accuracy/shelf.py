"""How well weight tells what was taken and put where, on the judge's world; naive rounding as the baseline."""

from __future__ import annotations

import argparse
import dataclasses
import random
from collections import defaultdict

import numpy as np

from edge.core.facts import ItemPicked, ItemPutBack
from edge.core.instant import Instant
from edge.core.observation import CellSamples
from edge.core.shelf import Calibration, Shelves
from edge.core.site import load_site
from tests.worlds.shelf import Params, ShelfWorld, Visit

START_US = 1_000_000


def site_of(world: ShelfWorld):
    """The planogram that a store with these shelves would have."""
    skus = {sku.gtin: sku for lane in world.lanes for sku in lane.skus}
    return load_site(
        {
            "store": {
                "id": "judged",
                "tenant": "judge",
                "name": "Judged store",
                "sgln": "urn:epc:id:sgln:4012345.00001.0",
                "timezone": "Asia/Tokyo",
                "hours": [["09:00", "21:00"]] * 7,
            },
            "zones": [{"id": "floor"}],
            "products": [{"gtin": s.gtin, "unit_mass_g": s.mass_g, "mass_sd_g": s.sd_g} for s in skus.values()],
            "shelves": [
                {"id": f"shelf-{lane.id}", "zone": "floor", "products": [sku.gtin for sku in lane.skus]}
                for lane in world.lanes
            ],
            "lanes": [
                {
                    "id": lane.id,
                    "shelf": f"shelf-{lane.id}",
                    "cells": [{"device": f"mcu-{lane.device}", "cell": cell} for cell in lane.cells],
                    "gtins": [sku.gtin for sku in lane.skus],
                }
                for lane in world.lanes
            ],
        }
    )


def calibrated(world: ShelfWorld) -> dict[tuple[str, int], Calibration]:
    """Every cell as its technician left it."""
    rng = random.Random(world.seed + 1)
    return {
        (f"mcu-{device}", cell): Calibration(*world.calibration(device, cell, rng))
        for device, cells in enumerate(world.cells)
        for cell in range(len(cells))
    }


def play(world: ShelfWorld, shelves: Shelves, rows: int):
    """Feed the world to the part, `rows` samples an observation; yields (now_s, signals)."""
    streams = [world.render(device) for device in range(len(world.cells))]
    n = len(streams[0][0])
    times = [START_US + (t_s * 1e6).astype(np.int64) for t_s, _ in streams]
    for a in range(0, n, rows):
        for device, (_, counts) in enumerate(streams):
            t_us = times[device][a : a + rows]
            now_us = int(t_us[-1]) + 5_000  # the wire
            temperature_c = round(world.temperature_c((now_us - START_US) / 1e6), 2)
            samples = CellSamples(f"mcu-{device}", now_us, t_us, counts[a : a + rows], temperature_c)
            yield (now_us - START_US) / 1e6, shelves.observe(samples, Instant(now_us, now_us))


class Score:
    """Visits against facts."""

    def __init__(self, world: ShelfWorld) -> None:
        self.world = world
        self.single = {lane.id for lane in world.lanes if len(lane.skus) == 1}
        self.facts: dict[str, list[tuple[float, str, int, float]]] = defaultdict(list)
        self.counts: dict[str, list[tuple[float, int | None]]] = defaultdict(list)

    def note(self, now_s: float, signals: list, shelves: Shelves) -> None:
        for signal in signals:
            if isinstance(signal, ItemPicked | ItemPutBack):
                way = 1 if isinstance(signal, ItemPutBack) else -1
                self.facts[signal.lane].append((now_s, signal.gtin, way * signal.quantity, signal.confidence))
            lane = getattr(signal, "lane", None)
            if lane:
                self.counts[lane].append((now_s, shelves.count(lane)))

    def windows(self):
        """(visit, when the next one at the lane begins)."""
        by_lane: dict[str, list[Visit]] = defaultdict(list)
        for visit in self.world.visits:
            by_lane[visit.lane].append(visit)
        for visits in by_lane.values():
            ends = [visit.start_s for visit in visits[1:]] + [self.world.seconds]
            yield from zip(visits, ends, strict=True)

    def told(self, visit: Visit, end_s: float) -> tuple[dict[str, int], float, int]:
        """Net of the facts of a visit, when the last came, how many there were."""
        net: dict[str, int] = {}
        last_s, n = 0.0, 0
        for at_s, gtin, quantity, _ in self.facts[visit.lane]:
            if visit.start_s <= at_s < end_s:
                net[gtin] = net.get(gtin, 0) + quantity
                last_s, n = at_s, n + 1
        return {gtin: quantity for gtin, quantity in net.items() if quantity}, last_s, n


def judge(scores: list[Score]) -> dict[str, object]:
    """The figures of some busy worlds together."""
    right: dict[str, list[bool]] = defaultdict(list)
    abstained: list[bool] = []
    settled: list[bool] = []
    after: list[bool] = []  # lanes on which something strange lay before: its going is part of the count
    latency_s: list[float] = []
    confidences: list[tuple[float, bool]] = []
    idle_facts = 0
    for score, visit, end_s in ((one, *window) for one in scores for window in one.windows()):
        net, last_s, n = score.told(visit, end_s)
        group = "one_sku" if visit.lane in score.single else "mixed"
        ok = net == visit.net
        if not visit.net:
            idle_facts += n
        else:
            right["stranger" if visit.stranger else group].append(ok)
            if group == "mixed" and not visit.stranger:
                abstained.append(not n)
            if ok:
                latency_s.append(last_s - visit.left_s)
            inside = [c for at_s, _, _, c in score.facts[visit.lane] if visit.start_s <= at_s < end_s]
            if inside:
                confidences.append((min(inside), ok))
        if group == "one_sku" and not visit.stranger:
            known = [count for at_s, count in score.counts[visit.lane] if at_s < end_s]
            (settled if visit.pure else after).append(bool(known) and known[-1] == visit.count_after)
    return {
        "one_sku_right": _share(right["one_sku"]),
        "one_sku_settled": _share(settled),
        "one_sku_settled_after_strangers": _share(after),
        "mixed_right": _share(right["mixed"]),
        "mixed_abstained": _share(abstained),
        "stranger_right": _share(right["stranger"]),
        "latency_p50_s": _quantile(latency_s, 0.5),
        "latency_p95_s": _quantile(latency_s, 0.95),
        "facts_at_visits_without_change": idle_facts,
        "confidence_error": _calibration_error(confidences),
        "changes": sum(map(len, right.values())),
        "changes_one_sku": len(right["one_sku"]),
        "changes_mixed": len(right["mixed"]),
        "changes_stranger": len(right["stranger"]),
    }


def _share(values: list[bool]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def _quantile(values: list[float], q: float) -> float | None:
    return round(float(np.quantile(values, q)), 3) if values else None


def _calibration_error(pairs: list[tuple[float, bool]]) -> float | None:
    """Expected calibration error over ten equal bins."""
    if not pairs:
        return None
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for p, ok in pairs:
        bins[min(9, int(p * 10))].append((p, ok))
    error = sum(abs(sum(p for p, _ in b) - sum(ok for _, ok in b)) for b in bins.values())
    return round(error / len(pairs), 4)


def naive(world: ShelfWorld, calibrations: dict[tuple[str, int], Calibration]) -> list[bool]:
    """Visits that changed something, right or not, by what most shelves do.

    Whenever half a second varies by less than 5 g, they round the change to the nearest product.
    """
    found: dict[str, list[tuple[float, str, int]]] = defaultdict(list)
    for device in range(len(world.cells)):
        t_s, counts = world.render(device)
        for lane in (lane for lane in world.lanes if lane.device == device):
            grams = np.zeros(len(t_s))
            for cell in lane.cells:
                c = calibrations[f"mcu-{device}", cell]
                grams += (counts[:, cell] - c.zero_counts) / c.counts_per_g
            view = np.lib.stride_tricks.sliding_window_view(grams, 5)
            calm = (view.max(axis=1) - view.min(axis=1)) < 5.0
            level = None
            for i in np.flatnonzero(calm):
                now_g = float(view[i].mean())
                if level is not None and abs(now_g - level) > 20.0:
                    off = [(abs(now_g - level - k * s.mass_g), s.gtin, k) for s in lane.skus for k in range(-6, 7) if k]
                    _, gtin, k = min(off)
                    found[lane.id].append((float(t_s[i + 4]), gtin, k))
                level = now_g
    score = Score(world)
    for lane, rows in found.items():
        score.facts[lane] = [(at_s, gtin, k, 1.0) for at_s, gtin, k in rows]
    changed = [(visit, end_s) for visit, end_s in score.windows() if visit.net]
    return [score.told(visit, end_s)[0] == visit.net for visit, end_s in changed]


def busy(world: ShelfWorld, shelves: Shelves, rows: int) -> Score:
    """Play a busy world, and note what was said of it."""
    score = Score(world)
    for now_s, signals in play(world, shelves, rows):
        if signals:
            score.note(now_s, signals, shelves)
    return score


def empty_day(seed: int, hours: float) -> tuple[int, int]:
    """(facts, cells) of a store in which nobody touches anything."""
    world = ShelfWorld(seed, hours, Params(one_sku_lanes=10, mixed_lanes=6), empty=True)
    shelves = Shelves(site_of(world), calibrated(world))
    facts = 0
    for _, signals in play(world, shelves, rows=50):
        facts += sum(isinstance(signal, ItemPicked | ItemPutBack) for signal in signals)
    return facts, sum(len(lane.cells) for lane in world.lanes)


def run(seed: int, argv: list[str]) -> dict[str, object]:
    """Some busy stores and an empty day of 24 h, all drawn from the seed.

    One planogram may be lucky: several tell more than as many hours of one.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.accuracy shelf")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--worlds", type=int, default=3, help="busy stores")
    parser.add_argument("--empty-hours", type=float, default=24.0)
    parser.add_argument("--rows", type=int, default=1, help="samples an observation")
    options = parser.parse_args(argv)
    scores, plain = list[Score](), list[bool]()
    for number in range(options.worlds):
        world = ShelfWorld(seed * 101 + number, options.hours)
        calibrations = calibrated(world)
        scores.append(busy(world, Shelves(site_of(world), calibrations), options.rows))
        plain += naive(world, calibrations)
    facts, cells = empty_day(seed, options.empty_hours) if options.empty_hours else (0, 0)
    return {
        **judge(scores),
        "false_events_per_day": facts * 24.0 / options.empty_hours if options.empty_hours else None,
        "empty_cells": cells,
        "baseline_share": _share(plain),
        "seed": seed,
        "world": {
            **dataclasses.asdict(scores[0].world.params),
            "worlds": options.worlds,
            "hours": options.hours,
            "visits": sum(len(score.world.visits) for score in scores),
        },
    }
