"""Stock fusion judged on `tests.worlds.stock`: exactness of settled counts, and whether confidence means what it says.

python -m tests.accuracy fusion --seed 7 --json
python -m tests.accuracy fusion --seed 7 --plot docs/stock-reliability.png
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from typing import Any

import numpy as np

from edge.core.gtin import check_digit
from edge.core.instant import US_PER_S, Instant
from edge.core.inventory import Inventory
from edge.core.part import LaneLevel, LaneStep, Signal, TagBelief
from edge.core.ports import Command
from edge.core.site import Site, load_site
from tests.worlds.stock import Parameters, StockWorld, Told

SETTLED_S = 60.0
LIVE_S = 30.0
BINS = 15


def gtin(product: int) -> str:
    """A valid GTIN of a product number."""
    digits = f"0400000{product:06d}"
    return digits + str(check_digit(digits))


def planogram(world: StockWorld) -> Site:
    """The site that a technician would have drawn of the world."""
    products = [
        {"gtin": gtin(product), "unit_mass_g": mass_g, "tagged": True} for product, mass_g in enumerate(world.masses_g)
    ]
    shelves = [
        {"id": f"s{shelf}", "zone": "floor", "products": [gtin(p) for p, home in world.homes.items() if home == shelf]}
        for shelf in range(world.p.shelves)
    ]
    lanes = [
        {
            "id": lane.id,
            "shelf": f"s{lane.shelf}",
            "cells": [{"device": f"mcu-{index}", "cell": 0}],
            "gtins": [gtin(product) for product in lane.products],
        }
        for index, lane in enumerate(world.lanes)
    ]
    readers = [
        {"device": f"reader-{shelf}", "antennas": [{"port": 1, "shelf": f"s{shelf}"}]}
        for shelf in range(world.p.shelves)
    ]
    store = {
        "id": "s",
        "tenant": "t",
        "name": "Judge",
        "sgln": "urn:epc:id:sgln:4012345.00001.0",
        "timezone": "Asia/Tokyo",
        "hours": [["00:00", "24:00"]] * 7,
    }
    return load_site(
        {"store": store, "zones": [{"id": "floor"}], "products": products, "shelves": shelves, "lanes": lanes}
        | {"readers": readers}
    )


def tell(inventory: Inventory, told: Told, now: Instant) -> None:
    """Give the inventory what is told."""
    if told.kind != "sale":
        inventory.handle(evidence(told), now)
        return
    name = f"till-{now.mono_us}"
    line = {"line": 1, "gtin": gtin(told.data["product"]), "quantity": 1}
    inventory.execute(Command(name, "goods_sold", {"receipt": name, "lines": [line]}), now)


def evidence(told: Told) -> Signal:
    """What the parts before the inventory would say."""
    at_us, data = round(told.at_s * US_PER_S), told.data
    row: Any = data
    if told.kind == "tag":
        shelf = "" if row["shelf"] is None else f"s{row['shelf']}"
        return TagBelief(at_us, row["epc"], gtin(row["product"]), shelf, row["probability"])
    if told.kind == "level":
        return LaneLevel(at_us, f"s{row['shelf']}", row["lane"], gtin(row["product"]), row["mean"], row["sd"])
    candidates = tuple((gtin(product), quantity, p) for product, quantity, p in row["candidates"])
    return LaneStep(at_us, f"s{row['shelf']}", row["lane"], row["delta_g"], row["sd_g"], candidates)


@dataclasses.dataclass
class Tally:
    """Right and wrong of one kind of sample."""

    right: int = 0
    total: int = 0

    def add(self, is_right: bool) -> None:
        self.right += is_right
        self.total += 1

    @property
    def share(self) -> float:
        return self.right / max(1, self.total)


def judge(seed: int, parameters: Parameters | None = None) -> dict[str, Any]:
    """Run one world. Returns tallies, and (confidence, right) of live samples and of all.

    Confidence is judged where there is something to doubt: counts that evidence touched in the last minutes.
    """
    world = StockWorld(seed, parameters)
    inventory = Inventory(planogram(world))
    mixed = {(lane.shelf, p) for lane in world.lanes if len(lane.products) > 1 for p in lane.products}
    single = {(lane.shelf, p) for lane in world.lanes if len(lane.products) == 1 for p in lane.products}
    tallies = {
        name: Tally()
        for name in ("settled", "mixed", "single", "unweighed", "untagged", "tags_only", "weight_only", "all")
    }
    chain: Counter[tuple[int, int]] = Counter(dict(world.truth.items()))
    samples: list[tuple[float, bool]] = []
    everything: list[tuple[float, bool]] = []
    for told in world.events():
        now = Instant(round(told.at_s * US_PER_S), 1_700_000_000_000_000 + round(told.at_s * US_PER_S))
        while (due_us := inventory.next_deadline_us()) is not None and due_us <= now.mono_us:
            inventory.tick(Instant(due_us, 1_700_000_000_000_000 + due_us))
        if told.kind != "check":
            tell(inventory, told, now)
            if told.kind == "step":
                row: Any = told.data
                for product, quantity, _ in row["candidates"][:1]:
                    chain[row["shelf"], product] += quantity
            continue
        seen = Counter((i.believed, i.product) for i in world.items.values() if i.believed is not None)
        untagged = world.untagged()
        for pair in {p for p, n in world.truth.items() if n > 0} | {_pair(key) for key in inventory.fusion.pairs}:
            truth = world.truth[pair]
            key = (f"s{pair[0]}", gtin(pair[1]))
            known = inventory.fusion.pairs.get(key)
            published = known.published if known else None
            on_hand = published.on_hand if published else 0
            if truth == 0 and on_hand == 0:
                continue
            confidence = inventory.fusion.estimate(known, now.mono_us).confidence if known else 0.0
            everything.append((confidence, on_hand == truth))
            if known and told.at_s - known.as_of_us / US_PER_S <= LIVE_S:
                samples.append((confidence, on_hand == truth))
            tallies["all"].add(on_hand == truth)
            if told.at_s - world.last_move_s.get(pair, -1e9) < SETTLED_S:
                continue
            if pair in untagged:  # reported apart: the goal is of tagged goods
                tallies["untagged"].add(on_hand == truth)
                continue
            kind = "mixed" if pair in mixed else "single" if pair in single else "unweighed"
            for name in ("settled", kind):
                tallies[name].add(on_hand == truth)
            tallies["tags_only"].add(seen[pair] == truth)
            tallies["weight_only"].add(chain[pair] == truth)
    return {"tallies": tallies, "samples": samples, "everything": everything, "world": world.describe()}


def _pair(key: tuple[str, str]) -> tuple[int, int]:
    return int(key[0][1:]), int(key[1][7:13])


def reliability(samples: list[tuple[float, bool]]) -> list[tuple[float, float, int]]:
    """(mean confidence, share right, samples) by bin of equal numbers of samples."""
    ordered = np.array(sorted(samples), float)
    return [
        (float(part[:, 0].mean()), float(part[:, 1].mean()), len(part))
        for part in np.array_split(ordered, BINS)
        if len(part)
    ]


def calibration_error(samples: list[tuple[float, bool]]) -> float:
    """Expected calibration error over 10 bins of equal width, weighted by their samples."""
    array = np.array(samples, float)
    bins = np.minimum((array[:, 0] * 10).astype(int), 9)
    gaps = [abs(array[bins == b].mean(axis=0) @ (1, -1)) * (bins == b).sum() for b in range(10) if (bins == b).any()]
    return float(sum(gaps) / len(array))


def run(seed: int, argv: list[str]) -> dict[str, object]:
    """The figures of one seed (four worlds), with the reliability plot where asked for."""
    parser = argparse.ArgumentParser(prog="fusion")
    parser.add_argument("--plot", default="", help="write the reliability plot (PNG) to this file")
    parser.add_argument("--worlds", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", help="a parameter of the world")
    options = parser.parse_args(argv)
    changes = {name: float(value) for name, _, value in (text.partition("=") for text in options.set)}
    whole = {f.name for f in dataclasses.fields(Parameters) if f.type == "int"}
    parameters = Parameters(**{n: int(v) if n in whole else v for n, v in changes.items()})  # type: ignore[arg-type]
    results = [judge(seed * 101 + number, parameters) for number in range(options.worlds)]
    tallies = {name: Tally() for name in results[0]["tallies"]}
    samples: list[tuple[float, bool]] = []
    everything: list[tuple[float, bool]] = []
    for result in results:
        samples += result["samples"]
        everything += result["everything"]
        for name, tally in result["tallies"].items():
            tallies[name].right += tally.right
            tallies[name].total += tally.total
    array = np.array(samples, float)
    base = float(array[:, 1].mean())
    if options.plot:
        from tests.accuracy._plots import reliability_plot

        reliability_plot(options.plot, reliability(samples), "Stock: is the confidence right?")
    return {
        "settled_exact": round(tallies["settled"].share, 5),
        "mixed_settled_exact": round(tallies["mixed"].share, 5),
        "single_settled_exact": round(tallies["single"].share, 5),
        "unweighed_settled_exact": round(tallies["unweighed"].share, 5),
        "with_untagged_settled_exact": round(tallies["untagged"].share, 5),
        "exact_at_all_times": round(tallies["all"].share, 5),
        "calibration_error": round(calibration_error(samples), 5),
        "calibration_error_all": round(calibration_error(everything), 5),
        "brier": round(float(((array[:, 0] - array[:, 1]) ** 2).mean()), 5),
        "brier_base_rate": round(base * (1 - base), 5),
        "below_095_share": round(float((array[:, 0] < 0.95).mean()), 4),
        "baseline_share": round(tallies["tags_only"].share, 5),
        "baselines": {
            "tags_only": round(tallies["tags_only"].share, 5),
            "weight_only": round(tallies["weight_only"].share, 5),
        },
        "samples": len(samples),
        "settled_samples": tallies["settled"].total,
        "reliability": [[round(c, 3), round(r, 3), n] for c, r, n in reliability(samples)],
        "world": results[0]["world"],
    }
