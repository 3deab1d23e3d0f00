"""Demand model and reorder point: against exact sums, against simulation, and a short run of the judge's world."""

from __future__ import annotations

import math
import random

import pytest

from edge.core.reorder.demand import Demand, negative_binomial_tail, reorder_point
from edge.core.reorder.policy import Need, Policy, PolicyKind, in_packs, order_quantity
from tests.accuracy import reorder as judge
from tests.worlds.demand import DemandWorld, Parameters


def test_tail_is_poisson_where_nothing_scatters() -> None:
    tail = negative_binomial_tail(3.0, 3.0)
    exact = [1.0 - sum(math.exp(-3.0) * 3.0**k / math.factorial(k) for k in range(n)) for n in range(12)]
    assert tail[:12] == pytest.approx(exact, abs=1e-5)


def test_tail_has_the_mean_and_variance_that_were_asked_for() -> None:
    tail = negative_binomial_tail(10.0, 25.0)
    mean = sum(tail[1:])
    second = sum((2 * n - 1) * p for n, p in enumerate(tail) if n)
    assert mean == pytest.approx(10.0, abs=1e-3)
    assert second - mean**2 == pytest.approx(25.0, abs=0.05)


def test_reorder_point_meets_its_share_in_a_simulation_of_poisson_demand() -> None:
    tail = negative_binomial_tail(8.0, 8.0)
    point = reorder_point(tail, 12, 0.02)
    rng = random.Random(5)
    empty = 0
    for _ in range(40_000):
        position = point + rng.randint(1, 12)
        demand, at = 0, rng.expovariate(8.0)
        while at < 1.0:
            demand, at = demand + 1, at + rng.expovariate(8.0)
        empty += demand >= position
    assert 0.005 < empty / 40_000 <= 0.022


def test_weekdays_are_learned_and_shrunk() -> None:
    demand = Demand()
    for day in range(140):
        demand.learn_day(day % 7, 12 if day % 7 == 5 else 4, 1.0)
    assert demand.weekday_factor(5) > 1.7
    assert demand.weekday_factor(1) < 1.0
    fresh = Demand()
    fresh.learn_day(5, 3, 1.0)
    assert fresh.weekday_factor(5) < 1.4


def test_scatter_over_the_lead_time_is_learned() -> None:
    calm, wild = Demand(), Demand()
    rng = random.Random(3)
    for day in range(200):
        calm.learn_day(day % 7, 10, 1.0, 3)
        wild.learn_day(day % 7, rng.choice((0, 2, 10, 28)), 1.0, 3)
    assert calm.dispersion < 1.2
    assert wild.dispersion > 3.0


def test_the_model_survives_a_restart() -> None:
    demand = Demand(prior_rate=2.0)
    for day in range(30):
        demand.learn_day(day % 7, day % 5, 1.0)
    again = Demand.from_json(demand.as_json())
    assert again.rate_per_day == pytest.approx(demand.rate_per_day, rel=1e-3)
    assert again.dispersion == pytest.approx(demand.dispersion, rel=1e-3)
    assert Demand.from_json("nonsense").rate_per_day == Demand().rate_per_day


@pytest.mark.parametrize(("items", "pack", "whole"), [(1, 6, 6), (6, 6, 6), (7, 6, 12), (0, 4, 4)])
def test_orders_are_whole_packs(items: int, pack: int, whole: int) -> None:
    assert in_packs(items, pack) == whole


def test_a_fixed_quantity_is_doubled_when_once_is_not_enough() -> None:
    policy = Policy(PolicyKind.S_Q, quantity=10)
    assert order_quantity(policy, Need(12, 22), 5) == 10
    assert order_quantity(policy, Need(12, 22), -3) == 20


def test_fewer_empty_shelves_with_less_stock_than_the_normal_approximation() -> None:
    world = DemandWorld(21, Parameters(products=10, days=150, warm_up_days=60))
    ours = judge.Ours(world)
    mine = judge.simulate(world, ours.stock)
    normal = judge.simulate(world, judge.Normal(world).stock)
    assert mine.out_days / mine.days <= 0.02
    assert mine.stock_days <= 1.02 * normal.stock_days
    assert len(ours.keys) == len(set(ours.keys))
