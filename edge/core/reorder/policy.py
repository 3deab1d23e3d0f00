"""Reorder policies: when to order (the reorder point) and how much."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from edge.core.arguments import check_gtin, check_quantity, parse, refused
from edge.core.ports import Command
from edge.core.reorder.demand import Demand, reorder_point

HOURS_PER_DAY = 24.0
LONGEST_H = 24.0 * 365
DEFAULT_TARGET = 0.99
DEFAULT_COVER_H = 7 * HOURS_PER_DAY
WITHIN_DAY = 0.5  # a day with an empty shelf counts whole, wherever in it the goods arrive
MARGIN = 0.18  # of the out-of-stock days that the target allows: the rest is for promotions, drift, a wrong model


class PolicyKind(StrEnum):
    """How a product is replenished."""

    MIN_MAX = "min_max"  # fixed: at or below the minimum, up to the maximum
    S_Q = "s_q"  # at the reorder point learned from demand, a fixed quantity
    S_S = "s_s"  # at the learned reorder point, up to what covers `cover_h`
    JUST_IN_TIME = "just_in_time"  # as little as the lead time allows, in single packs
    VENDOR_MANAGED = "vendor_managed"  # the vendor decides; the fact is the signal
    NONE = "none"  # not ordered any more (only in commands: it takes a policy away)


@dataclass(frozen=True, slots=True)
class Policy:
    """One product's policy. Times in hours, quantities in items, target = share of days in stock."""

    kind: PolicyKind
    minimum: int = 0
    maximum: int = 0
    quantity: int = 0
    pack: int = 1
    lead_time_h: float = 24.0
    review_h: float = 0.0
    cover_h: float = DEFAULT_COVER_H
    target: float = DEFAULT_TARGET
    vendor: str = ""


@dataclass(frozen=True, slots=True)
class PolicyArgs:
    """set_reorder_policy."""

    gtin: str
    policy: PolicyKind
    minimum: int = 0
    maximum: int = 0
    quantity: int = 0
    pack: int = 1
    lead_time_h: float = 24.0
    review_h: float = 0.0
    cover_h: float = DEFAULT_COVER_H
    target: float = DEFAULT_TARGET
    vendor: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """What a policy asks for now: order when the position is at or below `point`, up to `up_to`."""

    point: int
    up_to: int


def parse_policy(command: Command) -> tuple[str, Policy]:
    """GTIN and policy of a set_reorder_policy command. Raises CommandRejected."""
    args = parse(PolicyArgs, command)
    gtin = check_gtin(command, "gtin", args.gtin)
    for name in ("minimum", "maximum", "quantity"):
        check_quantity(command, name, getattr(args, name), low=0)
    check_quantity(command, "pack", args.pack)
    for name, low in (("lead_time_h", 0.0), ("review_h", 0.0), ("cover_h", 1.0)):
        value = getattr(args, name)
        if not low <= value <= LONGEST_H:
            raise refused(command, name, value, f"hours from {low:g} to {LONGEST_H:g}")
    if not 0.5 <= args.target <= 0.9999:
        raise refused(command, "target", args.target, "a share of days in stock from 0.5 to 0.9999")
    limits = args.policy in (PolicyKind.MIN_MAX, PolicyKind.VENDOR_MANAGED)
    if limits and args.maximum <= args.minimum:
        raise refused(command, "maximum", args.maximum, f"more than the minimum, {args.minimum}")
    if args.policy is PolicyKind.S_Q and args.quantity < 1:
        raise refused(command, "quantity", args.quantity, "1 or more, the quantity of one order")
    policy = Policy(
        kind=args.policy,
        minimum=args.minimum,
        maximum=args.maximum,
        quantity=args.quantity,
        pack=args.pack,
        lead_time_h=args.lead_time_h,
        review_h=args.review_h,
        cover_h=args.cover_h,
        target=args.target,
        vendor=args.vendor,
    )
    return gtin, policy


def need(policy: Policy, demand: Demand, weekday: int) -> Need:
    """Reorder point and order-up-to level of a policy today."""
    if policy.kind in (PolicyKind.MIN_MAX, PolicyKind.VENDOR_MANAGED):
        return Need(policy.minimum, policy.maximum)
    # the need is told at once and waits half a review period, on average, until the order goes out
    days = (policy.lead_time_h + 0.5 * policy.review_h) / HOURS_PER_DAY + WITHIN_DAY
    if policy.kind is PolicyKind.S_Q:
        quantity = in_packs(policy.quantity, policy.pack)
    elif policy.kind is PolicyKind.S_S:
        quantity = in_packs(math.ceil(demand.expected(policy.cover_h / HOURS_PER_DAY, weekday)), policy.pack)
    else:
        quantity = policy.pack
    point = reorder_point(demand.tail(days, weekday), quantity, (1.0 - policy.target) * MARGIN)
    return Need(point, point + quantity)


def horizon_days(policy: Policy) -> int:
    """Whole days between a need and the goods that answer it."""
    return max(1, round((policy.lead_time_h + policy.review_h) / HOURS_PER_DAY))


def in_packs(items: int, pack: int) -> int:
    """The next whole number of packs, at least one, in items."""
    return max(1, math.ceil(items / pack)) * pack


def order_quantity(policy: Policy, wanted: Need, position: int) -> int:
    """Items to order at this inventory position: whole packs."""
    if policy.kind is PolicyKind.S_Q:
        quantity = in_packs(policy.quantity, policy.pack)
        while position + quantity <= wanted.point:
            quantity += in_packs(policy.quantity, policy.pack)
        return quantity
    return in_packs(max(1, wanted.up_to - position), policy.pack)
