"""Reorder: from counts and sales to one trigger for each replenishment cycle, with its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar
from zoneinfo import ZoneInfo

from edge.core.errors import CommandRejected
from edge.core.fact import JsonValue
from edge.core.facts import (
    GoodsReceived,
    ItemSold,
    OnHandChanged,
    PhantomSuspected,
    ReorderCleared,
    ReorderTriggered,
)
from edge.core.instant import US_PER_DAY, US_PER_HOUR, US_PER_S, Instant
from edge.core.part import Said, Signal, earliest
from edge.core.plain import PlainError, build
from edge.core.ports import Command
from edge.core.reorder.demand import PRIOR_RATE, Demand
from edge.core.reorder.policy import Need, Policy, PolicyKind, horizon_days, need, order_quantity, parse_policy
from edge.core.site import Site

DWELL_US = 60 * US_PER_S  # a low count that is not certain must last: sensors settle within this
CERTAIN_FROM = 0.9
SENSORS = frozenset({"rfid", "weight"})
PHANTOM_PRIOR = 0.02  # of the book counts that no sensor sees
PHANTOM_FROM = 0.9
OVERDUE_LEAD_TIMES = 3.0  # an order this late is given up, so that the need can be told again
OVERDUE_MIN_US = 2 * US_PER_DAY


@dataclass(slots=True)
class Order:
    """An order that was triggered and has not all arrived."""

    key: str
    quantity: int
    at_us: int
    left: int


@dataclass(slots=True)
class Item:
    """State of one product."""

    policy: Policy | None = None
    demand: Demand = field(default_factory=Demand)
    on_hand: dict[str, int] = field(default_factory=dict)  # by shelf
    confidence: dict[str, float] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    cycle: int = 0
    signalled: str = ""  # key of a vendor's signal that stands
    low_since_us: int | None = None
    sells: bool = False  # a till tells sales; otherwise falling counts do
    day_sold: int = 0
    day_exposed_us: int = 0
    exposed_from_us: int | None = None
    wanted: Need | None = None
    low_water: int = 0  # fewest on the shelves since the last order or receipt
    unshelved: int = 0  # received and not yet seen on a shelf
    sensed: bool = False  # tags or scales see it: what they see is there
    quiet_us: int = 0  # in stock without a sale or a changed count
    suspected: bool = False

    @property
    def total(self) -> int:
        """Items on all shelves."""
        return sum(self.on_hand.values())

    @property
    def on_order(self) -> int:
        """Items that are under way."""
        return sum(order.left for order in self.orders)


class Reorder:
    """The reorder part. `held(gtin)` are items that are promised; `default` is the policy of unnamed products."""

    COMMANDS: ClassVar[frozenset[str]] = frozenset({"set_reorder_policy"})

    def __init__(self, site: Site, default: Policy | None = None, held: Callable[[str], int] | None = None) -> None:
        self._site, self._default, self._held = site, default, held
        self._zone = ZoneInfo(site.store.timezone)
        self._items: dict[str, Item] = {}
        self._day: int | None = None  # days since 1970 in the store's time
        self._day_ends_us: int | None = None
        self._done: dict[str, int] = {}
        self._changed: set[str] = set()
        self._timers: tuple[int | None] | None = None  # when a product is next due; None: to be looked for

    # --- evidence -----------------------------------------------------------------------------------------------------

    def handle(self, signal: Signal, now: Instant) -> list[Signal]:
        """Take one signal."""
        return self.handle_all((signal,), now)

    def handle_all(self, signals: Iterable[Signal], now: Instant) -> list[Signal]:
        """Take signals in order, then decide once for each product that they speak of."""
        out: list[Signal] = []
        touched: dict[str, None] = {}
        for signal in signals:
            if isinstance(signal, OnHandChanged):
                self._count(signal, now, out)
            elif isinstance(signal, ItemSold):
                item = self._item(signal.gtin)
                item.day_sold = item.day_sold + signal.quantity if item.sells else signal.quantity
                item.sells = True
                item.quiet_us, item.suspected = 0, False
            elif isinstance(signal, GoodsReceived):
                self._received(signal, now, out)
            else:
                continue
            touched[signal.gtin] = None
        if touched:
            self._timers = None
            self._turn_day(now)
        for gtin in touched:
            self._decide(gtin, now, out)
            self._changed.add(gtin)
        return out

    def _item(self, gtin: str) -> Item:
        item = self._items.get(gtin)
        if item is None:
            item = self._items[gtin] = Item(policy=self._default, demand=Demand(self._category_rate(gtin)))
        return item

    def _category_rate(self, gtin: str) -> float:
        """Mean daily sales of the category's known products."""
        product = self._site.product_by_gtin.get(gtin)
        if product is None or not product.category:
            return PRIOR_RATE
        rates = [
            item.demand.rate_per_day
            for other, item in self._items.items()
            if item.demand.exposure_days > 7.0
            and (known := self._site.product_by_gtin.get(other)) is not None
            and known.category == product.category
        ]
        return (sum(rates) + PRIOR_RATE) / (len(rates) + 1)

    def _count(self, told: OnHandChanged, now: Instant, out: list[Signal]) -> None:
        item = self._item(told.gtin)
        before = item.total
        item.on_hand[told.shelf] = told.on_hand
        item.confidence[told.shelf] = told.confidence
        item.sensed = item.sensed or not SENSORS.isdisjoint(told.sources)
        after = item.total
        if after != before:
            item.quiet_us, item.suspected = 0, False
        shelved = min(item.unshelved, max(0, after - before))
        item.unshelved -= shelved
        item.low_water = min(item.low_water + shelved, after)
        if not item.sells and after < before and not told.reason.startswith("counted"):
            item.day_sold += before - after
        if before > 0 and after == 0 and item.exposed_from_us is not None:
            item.day_exposed_us += now.mono_us - item.exposed_from_us
            item.exposed_from_us = None
        elif after > 0 and item.exposed_from_us is None:
            item.exposed_from_us = now.mono_us
        for order in list(item.orders):
            risen = after - item.low_water
            if item.wanted is not None and risen >= order.left and after > item.wanted.point:
                self._close(told.gtin, item, order, now, out, "stock is there without a receipt")

    def _received(self, told: GoodsReceived, now: Instant, out: list[Signal]) -> None:
        item, quantity = self._item(told.gtin), told.quantity
        # sensors may have seen the goods on the shelf before the receipt was told; the rest will be shelved
        item.unshelved += max(0, quantity - max(0, item.total - item.low_water))
        item.low_water = item.total
        for order in list(item.orders):
            taken = min(order.left, quantity)
            order.left -= taken
            quantity -= taken
            if order.left == 0:
                self._close(told.gtin, item, order, now, out, f"delivery {told.delivery} arrived")
        if item.signalled:
            self._clear_signal(told.gtin, item, now, out, f"delivery {told.delivery} arrived")

    def _close(self, gtin: str, item: Item, order: Order, now: Instant, out: list[Signal], reason: str) -> None:
        item.orders.remove(order)
        out.append(ReorderCleared(at_us=now.mono_us, gtin=gtin, idempotency_key=order.key, reason=reason))

    def _clear_signal(self, gtin: str, item: Item, now: Instant, out: list[Signal], reason: str) -> None:
        out.append(ReorderCleared(at_us=now.mono_us, gtin=gtin, idempotency_key=item.signalled, reason=reason))
        item.signalled = ""

    # --- the decision -------------------------------------------------------------------------------------------------

    def _decide(self, gtin: str, now: Instant, out: list[Signal]) -> None:
        item = self._items[gtin]
        if item.policy is None or not item.on_hand:
            return
        if item.wanted is None:
            item.wanted = need(item.policy, item.demand, self._weekday())
        wanted, held = item.wanted, self._held(gtin) if self._held else 0
        position = item.total + item.unshelved + item.on_order - held
        if position > wanted.point:
            item.low_since_us = None
            # a little above the point the need is not over: it would only come back
            if item.signalled and item.total >= wanted.point + max(1, (wanted.up_to - wanted.point) // 2):
                self._clear_signal(gtin, item, now, out, "the need is gone")
            return
        if item.signalled:
            return
        if item.low_since_us is None:
            item.low_since_us = now.mono_us
        certain = min(item.confidence.values(), default=0.0) >= CERTAIN_FROM
        if certain or now.mono_us >= item.low_since_us + DWELL_US:
            out.append(self._trigger(gtin, item, item.policy, position, now))

    def _trigger(self, gtin: str, item: Item, policy: Policy, position: int, now: Instant) -> ReorderTriggered:
        wanted = item.wanted or Need(0, 1)
        quantity = order_quantity(policy, wanted, position)
        item.cycle += 1
        item.low_since_us = None
        item.low_water = item.total
        key = f"{self._site.store.id}-{gtin}-{item.cycle}"
        on_order = item.on_order
        if policy.kind is PolicyKind.VENDOR_MANAGED:
            item.signalled = key
        else:
            item.orders.append(Order(key, quantity, now.mono_us, quantity))
        self._changed.add(gtin)
        return ReorderTriggered(
            at_us=now.mono_us,
            gtin=gtin,
            quantity=quantity,
            policy=policy.kind.value,
            why=self._why(item, policy, wanted, on_order),
            idempotency_key=key,
            on_hand=item.total,
            on_order=on_order,
            reorder_point=wanted.point,
        )

    def _why(self, item: Item, policy: Policy, wanted: Need, on_order: int) -> str:
        text = f"{item.total} on hand and {on_order} on order are at or below the reorder point {wanted.point}"
        if policy.kind in (PolicyKind.MIN_MAX, PolicyKind.VENDOR_MANAGED):
            return f"{text} (the fixed minimum; maximum {wanted.up_to})"
        hours = policy.lead_time_h + policy.review_h
        expected = item.demand.expected(hours / 24.0, self._weekday())
        return (
            f"{text}: {expected:.1f} are expected to sell in the {hours:g} h until goods come "
            f"({item.demand.rate_per_day:.2f} a day), target {policy.target:.2%} of days in stock"
        )

    # --- commands -----------------------------------------------------------------------------------------------------

    def execute(self, command: Command, now: Instant) -> list[Signal]:
        """set_reorder_policy; the same command again does nothing. Raises CommandRejected and then changed nothing."""
        if command.id in self._done:
            return []
        gtin, policy = parse_policy(command)
        if gtin not in self._site.product_by_gtin:
            text = f"set_reorder_policy: gtin = {gtin!r}: expected a GTIN of the catalogue"
            raise CommandRejected("unknown_gtin", text)
        self._timers = None
        self._turn_day(now)
        item = self._item(gtin)
        item.policy = None if policy.kind is PolicyKind.NONE else policy
        item.wanted = item.low_since_us = None
        self._done[command.id] = now.mono_us
        out: list[Signal] = []
        if item.signalled and policy.kind is not PolicyKind.VENDOR_MANAGED:
            self._clear_signal(gtin, item, now, out, "the policy was changed")
        self._decide(gtin, now, out)
        self._changed.add(gtin)
        return out

    def replan(self, site: Site, now: Instant) -> list[Signal]:
        """Use a new planogram or catalogue; open orders stay."""
        self._site = site
        self._zone = ZoneInfo(site.store.timezone)
        return []

    def policies(self) -> list[dict[str, JsonValue]]:
        """Every policy that is set, as `set_reorder_policy` takes it."""
        found: list[dict[str, JsonValue]] = []
        for gtin, item in self._items.items():
            if item.policy is not None:
                row = dataclasses.asdict(item.policy)
                found.append({"gtin": gtin, "policy": row.pop("kind").value, **row})
        return found

    def document(self, gtin: str) -> dict[str, JsonValue]:
        """ "Why now" as data: policy, demand, reorder point, position and open orders of a product."""
        item = self._items.get(gtin)
        if item is None or item.policy is None:
            return {"gtin": gtin, "policy": None}
        wanted = item.wanted or need(item.policy, item.demand, self._weekday())
        orders: list[JsonValue] = [
            {"key": order.key, "quantity": order.quantity, "left": order.left, "at_us": order.at_us}
            for order in item.orders
        ]
        return {
            "gtin": gtin,
            "policy": item.policy.kind.value,
            "reorder_point": wanted.point,
            "up_to": wanted.up_to,
            "on_hand": item.total,
            "on_order": item.on_order,
            "received_not_shelved": item.unshelved,
            "orders": orders,
            "demand_per_day": round(item.demand.rate_per_day, 4),
            "dispersion": round(item.demand.dispersion, 3),
            "observed_days": round(item.demand.exposure_days, 2),
        }

    # --- time ---------------------------------------------------------------------------------------------------------

    def _weekday(self) -> int:
        return ((self._day or 0) + 3) % 7  # 1970-01-01 was a Thursday

    def _turn_day(self, now: Instant) -> None:
        if self._day_ends_us is not None and now.mono_us < self._day_ends_us:
            return
        local = datetime.fromtimestamp(now.wall_us // US_PER_S, UTC).astimezone(self._zone)
        day = local.toordinal() - datetime(1970, 1, 1, tzinfo=UTC).toordinal()
        into_us = (local.hour * 3600 + local.minute * 60 + local.second) * US_PER_S
        self._day_ends_us = now.mono_us + US_PER_DAY - into_us
        if self._day is None or day != self._day:
            for gtin, item in self._items.items():
                self._learn(gtin, item, now)
            self._day = day

    def _learn(self, gtin: str, item: Item, now: Instant) -> None:
        if item.exposed_from_us is not None:
            item.day_exposed_us += now.mono_us - item.exposed_from_us
            item.exposed_from_us = now.mono_us
        if self._day is not None:
            horizon = horizon_days(item.policy) if item.policy else 1
            item.demand.learn_day(self._weekday(), item.day_sold, item.day_exposed_us / US_PER_DAY, horizon)
        item.quiet_us = 0 if item.day_sold else item.quiet_us + item.day_exposed_us
        item.day_sold = item.day_exposed_us = 0
        item.wanted = None
        self._changed.add(gtin)

    def tick(self, now: Instant) -> list[Signal]:
        """Turn the day, give up overdue orders, trigger what has been low for long enough."""
        out: list[Signal] = []
        self._timers = None
        day = self._day
        self._turn_day(now)
        for gtin, item in self._items.items():
            for order in [o for o in item.orders if now.mono_us >= self._overdue_us(item, o)]:
                self._close(gtin, item, order, now, out, "overdue: nothing arrived")
                self._changed.add(gtin)
            if item.low_since_us is not None or day != self._day:
                self._decide(gtin, now, out)
            if day != self._day:
                self._suspect(gtin, item, now, out)
        return out

    def _suspect(self, gtin: str, item: Item, now: Instant, out: list[Signal]) -> None:
        """Books that show goods which should have sold by now: probably they are not there."""
        if item.sensed or item.suspected or item.total <= 0:
            return
        days = item.quiet_us / US_PER_DAY
        silent = item.demand.quiet_probability(days)
        probability = PHANTOM_PRIOR / (PHANTOM_PRIOR + (1.0 - PHANTOM_PRIOR) * silent)
        if probability >= PHANTOM_FROM:
            item.suspected = True
            self._changed.add(gtin)
            out.append(
                PhantomSuspected(
                    at_us=now.mono_us,
                    gtin=gtin,
                    on_hand=item.total,
                    quiet_hours=round(days * 24.0, 1),
                    expected_sales=round(days * item.demand.rate_per_day, 2),
                    probability=round(probability, 4),
                )
            )

    def _overdue_us(self, item: Item, order: Order) -> int:
        lead_h = item.policy.lead_time_h if item.policy else 24.0
        return order.at_us + max(OVERDUE_MIN_US, round(OVERDUE_LEAD_TIMES * lead_h * US_PER_HOUR))

    def next_deadline_us(self) -> int | None:
        """When `tick` has something to do."""
        if self._timers is None:
            low = [i.low_since_us + DWELL_US for i in self._items.values() if i.low_since_us is not None]
            due = [self._overdue_us(item, order) for item in self._items.values() for order in item.orders]
            self._timers = (earliest(min(low, default=None), min(due, default=None)),)
        return earliest(self._day_ends_us, *self._timers)

    # --- restarts -----------------------------------------------------------------------------------------------------

    def drain_said(self) -> Said:
        """Changed products by GTIN, and remembered commands ``c/{id}``."""
        out: Said = {gtin: self._row(self._items[gtin]) for gtin in sorted(self._changed)}
        self._changed.clear()
        return out

    def _row(self, item: Item) -> JsonValue:
        return {
            "policy": dataclasses.asdict(item.policy) if item.policy else None,
            "on_hand": dict(item.on_hand),
            "orders": [[o.key, o.quantity, o.at_us, o.left] for o in item.orders],
            "cycle": item.cycle,
            "signalled": item.signalled,
            "demand": item.demand.as_json(),
            "sells": item.sells,
            "day": self._day,
            "unshelved": item.unshelved,
            "low_water": item.low_water,
            "sensed": item.sensed,
            "quiet_us": item.quiet_us,
            "suspected": item.suspected,
            "day_sold": item.day_sold,
            "day_exposed_us": item.day_exposed_us,
        }

    def restore(self, said: Mapping[str, JsonValue], now: Instant) -> None:
        """Take back policies, counts, open orders and demand: a cycle that was triggered stays triggered."""
        self._timers = None
        for gtin, row in said.items():
            if not isinstance(row, dict):
                continue
            item = self._items[gtin] = Item(policy=_policy_of(row.get("policy")))
            item.demand = Demand.from_json(row.get("demand"))
            on_hand, orders = row.get("on_hand"), row.get("orders")
            if isinstance(on_hand, dict):
                item.on_hand = {shelf: int(str(n)) for shelf, n in on_hand.items()}
            for order in orders if isinstance(orders, list) else ():
                if isinstance(order, list) and len(order) == 4:
                    item.orders.append(Order(str(order[0]), *(int(str(n)) for n in order[1:])))
            item.cycle, item.signalled = int(str(row.get("cycle", 0))), str(row.get("signalled", ""))
            item.sells = row.get("sells") is True
            item.day_sold = int(str(row.get("day_sold", 0)))
            item.unshelved = int(str(row.get("unshelved", 0)))
            item.low_water = int(str(row.get("low_water", 0)))
            item.sensed, item.suspected = row.get("sensed") is True, row.get("suspected") is True
            item.quiet_us = int(str(row.get("quiet_us", 0)))
            item.day_exposed_us = int(str(row.get("day_exposed_us", 0)))
            item.exposed_from_us = now.mono_us if item.total > 0 else None
            if isinstance(row.get("day"), int):
                self._day = int(str(row["day"]))

    def internals(self) -> JsonValue:
        """Reorder has no filter internals beyond what it says."""
        return None

    def restore_internals(self, internals: JsonValue) -> None:
        """Reorder has no filter internals beyond what it says."""


def _policy_of(row: JsonValue) -> Policy | None:
    if row is None:
        return None
    try:
        return build(Policy, row)
    except PlainError:
        return None
