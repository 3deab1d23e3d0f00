"""Reorder judged on `tests.worlds.demand`: our learned (s, Q) against the normal approximation of the textbooks.

Both see the same customers, lead times, packs and order quantities, and for both the orders go out once a day.
The normal approximation orders at mean · t + 2.33 · sd · sqrt(t), t = lead time + review, of the last 56 days' sales.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import itertools
import math
import statistics
from collections.abc import Callable
from typing import Any

from edge.core.facts import GoodsReceived, ItemSold, OnHandChanged, ReorderTriggered
from edge.core.gtin import check_digit
from edge.core.instant import US_PER_DAY, Instant
from edge.core.ports import Command
from edge.core.reorder import Reorder
from edge.core.site import load_site
from tests.worlds.demand import DemandWorld, Parameters, Product

TARGET = 0.99
Z = 2.326  # 99 % of a normal distribution
REVIEW_DAYS = 1.0
HISTORY_DAYS = 56
Orders = list[tuple[int, float, int]]  # product, day of the order, items
START_US = 1_767_571_200_000_000  # Monday 2026-01-05 00:00 UTC


def gtin(number: int) -> str:
    """A valid GTIN of a product number."""
    digits = f"0400000{number:06d}"
    return digits + str(check_digit(digits))


def planogram(world: DemandWorld) -> Any:
    """One shelf with all products."""
    store = {
        "id": "s",
        "tenant": "t",
        "name": "Judge",
        "sgln": "urn:epc:id:sgln:4012345.00001.0",
        "timezone": "UTC",
        "hours": [["10:00", "20:00"]] * 7,
    }
    products = [{"gtin": gtin(p.number), "category": f"c{p.category}"} for p in world.products]
    shelf = {"id": "a", "zone": "floor", "products": [row["gtin"] for row in products]}
    return load_site({"store": store, "zones": [{"id": "floor"}], "products": products, "shelves": [shelf]})


def at(day: float) -> Instant:
    """The instant of a moment of the world."""
    mono_us = round(day * US_PER_DAY)
    return Instant(mono_us, START_US + mono_us)


class Ours:
    """The gateway's own reorder part, driven by the facts that it would get; restarted from its said state weekly."""

    def __init__(self, world: DemandWorld) -> None:
        self._site = planogram(world)
        self._part = Reorder(self._site)
        self._said: dict[str, Any] = {}
        self._receipts = itertools.count()
        self._week = 0
        self.keys: list[str] = []
        for p in world.products:
            args = {"gtin": gtin(p.number), "policy": "s_q", "quantity": p.quantity, "pack": p.pack}
            args |= {"lead_time_h": p.lead_days * 24.0, "review_h": 24.0, "target": TARGET}
            self._part.execute(Command(f"c{p.number}", "set_reorder_policy", args), at(0.0))

    def stock(self, product: Product, day: float, on_hand: int, sold: int = 0, received: int = 0) -> Orders:
        """A sale or a receipt happened; returns what to order, and when."""
        now, name = at(day), gtin(product.number)
        self._restart(now)
        orders: Orders = []
        while (due_us := self._part.next_deadline_us()) is not None and due_us <= now.mono_us:
            orders += self._note(self._part.tick(Instant(due_us, START_US + due_us)), due_us)
        told: list[Any] = []
        if sold:
            told.append(
                ItemSold(at_us=now.mono_us, gtin=name, quantity=sold, receipt=f"r{next(self._receipts)}", line=1)
            )
        if received:
            told.append(GoodsReceived(at_us=now.mono_us, gtin=name, quantity=received, delivery="d"))
        told.append(
            OnHandChanged(
                at_us=now.mono_us,
                gtin=name,
                shelf="a",
                on_hand=on_hand,
                low=on_hand,
                high=on_hand,
                confidence=0.99,
                sources=["weight"],
                reason="weight",
            )
        )
        return orders + self._note(self._part.handle_all(told, now), now.mono_us)

    def _note(self, signals: list[Any], at_us: int) -> Orders:
        triggers = [s for s in signals if isinstance(s, ReorderTriggered)]
        self.keys += [trigger.idempotency_key for trigger in triggers]
        return [(int(trigger.gtin[7:13]), at_us / US_PER_DAY, trigger.quantity) for trigger in triggers]

    def _restart(self, now: Instant) -> None:
        """Once a week the gateway is restarted with what the journal has."""
        self._said |= self._part.drain_said()
        if now.mono_us // (7 * US_PER_DAY) > self._week:
            self._week = now.mono_us // (7 * US_PER_DAY)
            self._part = Reorder(self._site)
            self._part.restore(self._said, now)


class Normal:
    """The textbook: demand over the lead time is normal, mean and deviation from the last 56 days' sales."""

    def __init__(self, world: DemandWorld) -> None:
        self._days: dict[int, dict[int, int]] = {p.number: {} for p in world.products}
        self._on_order: dict[int, int] = {p.number: 0 for p in world.products}
        self._point: dict[int, tuple[int, float]] = {}

    def stock(self, product: Product, day: float, on_hand: int, sold: int = 0, received: int = 0) -> Orders:
        """A sale or a receipt happened; returns what to order, and when."""
        history = self._days[product.number]
        history[int(day)] = history.get(int(day), 0) + sold
        self._on_order[product.number] -= received
        known = self._point.get(product.number)  # reviewed at the end of the day, when `simulate` sends the orders
        if known is None or known[0] != int(day):
            recent = [history.get(d, 0) for d in range(max(0, int(day) - HISTORY_DAYS), int(day))] or [product.rate]
            mean, sd = statistics.fmean(recent), statistics.pstdev(recent)
            days = product.lead_days + REVIEW_DAYS
            point = mean * days + Z * sd * days**0.5
            known = self._point[product.number] = (int(day), point)
        quantity = 0
        while on_hand + self._on_order[product.number] <= known[1]:
            quantity += product.quantity
            self._on_order[product.number] += product.quantity
        return [(product.number, day, quantity)] if quantity else []


@dataclasses.dataclass
class Outcome:
    """Product-days with an empty shelf, product-days, and the time integral of the stock in items · days."""

    out_days: int = 0
    days: int = 0
    stock_days: float = 0.0
    lost: int = 0
    asked: int = 0

    def __add__(self, other: Outcome) -> Outcome:
        """Both together."""
        mine, others = dataclasses.astuple(self), dataclasses.astuple(other)
        return Outcome(*(a + b for a, b in zip(mine, others, strict=True)))


def simulate(world: DemandWorld, policy: Callable[..., Orders]) -> Outcome:
    """All products through the year under one policy; the warm-up is not counted."""
    p, total = world.p, Outcome()
    events: list[tuple[float, int, int, str, int]] = []
    order = itertools.count()
    for product in world.products:
        events += [(asked.day, next(order), product.number, "ask", asked.n) for asked in world.trace(product)]
    heapq.heapify(events)
    on_hand = {x.number: round(x.rate * (x.lead_days + 6)) + 3 for x in world.products}
    since: dict[int, float] = dict.fromkeys(on_hand, 0.0)
    empty: set[tuple[int, int]] = set()

    def pass_time(number: int, day: float) -> None:
        start = max(since[number], float(p.warm_up_days))
        if day > start:
            total.stock_days += on_hand[number] * (day - start)
            if on_hand[number] == 0:
                for d in range(int(start), int(day) + 1):
                    opened, closed = d + p.opens_h / 24.0, d + p.closes_h / 24.0
                    if min(day, closed) > max(start, opened):
                        empty.add((number, d))
        since[number] = day

    while events:
        day, _, number, kind, n = heapq.heappop(events)
        product = world.products[number]
        pass_time(number, day)
        sold = min(n, on_hand[number]) if kind == "ask" else 0
        received = n if kind == "arrive" else 0
        on_hand[number] += received - sold
        if kind == "ask" and day >= p.warm_up_days:
            total.lost += n - sold
            total.asked += n
        for which, ordered, wanted in policy(product, day, on_hand[number], sold=sold, received=received):
            reviewed = math.floor(ordered) + p.review_h / 24.0
            reviewed += reviewed < ordered
            arrives = max(day, reviewed + world.products[which].lead_days)
            heapq.heappush(events, (arrives, next(order), which, "arrive", wanted))
    for number in on_hand:
        pass_time(number, float(p.days + p.warm_up_days))
    total.out_days, total.days = len(empty), p.products * p.days
    return total


def run(seed: int, argv: list[str]) -> dict[str, object]:
    """The figures of one seed: some assortments together, for one of 30 products may be lucky by 4 %."""
    parser = argparse.ArgumentParser(prog="reorder")
    parser.add_argument("--worlds", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", help="a parameter of the world")
    options = parser.parse_args(argv)
    changes = {name: float(value) for name, _, value in (text.partition("=") for text in options.set)}
    whole = {f.name for f in dataclasses.fields(Parameters) if f.type == "int"}
    parameters = Parameters(**{n: int(v) if n in whole else v for n, v in changes.items()})  # type: ignore[arg-type]
    mine, normal = Outcome(), Outcome()
    triggers = duplicates = 0
    for number in range(options.worlds):
        world = DemandWorld(seed * 101 + number, parameters)
        ours = Ours(world)
        mine += simulate(world, ours.stock)
        normal += simulate(world, Normal(world).stock)
        triggers += len(ours.keys)
        duplicates += len(ours.keys) - len(set(ours.keys))
    return {
        "out_of_stock_day_share": round(mine.out_days / mine.days, 5),
        "out_of_stock_day_share_normal": round(normal.out_days / normal.days, 5),
        "stock_ratio": round(mine.stock_days / normal.stock_days, 4),
        "duplicate_triggers": duplicates,
        "triggers": triggers,
        "lost_sales_share": round(mine.lost / max(1, mine.asked), 5),
        "baseline_share": round(normal.out_days / normal.days, 5),
        "mean_stock_items": round(mine.stock_days / mine.days, 2),
        "world": {**world.describe(), "worlds": options.worlds},
    }
