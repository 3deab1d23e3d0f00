"""A second store for judging reorder: demand traces of products over a year. Imports nothing of ours.

Customers come by a Poisson process whose rate depends on the weekday, drifts over the months, jumps with promotions
and scatters from day to day; some buy several. What they ask for while the shelf is empty is lost.
"""

from __future__ import annotations

import math
import random
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Parameters:
    """What a judge may vary."""

    products: int = 30
    days: int = 365
    warm_up_days: int = 90
    rate_low: float = 0.4
    rate_high: float = 14.0
    day_scatter: float = 0.25  # coefficient of variation of a day's rate
    weekday_swing: float = 0.45  # how much stronger Saturday is
    drift_per_year: float = 0.35  # sd of the logarithm
    promotions_per_year: float = 2.0
    promotion_lift: float = 1.6
    several_share: float = 0.12
    opens_h: float = 10.0
    closes_h: float = 20.0
    review_h: float = 20.0  # orders go out once a day, at this hour


@dataclass(frozen=True)
class Product:
    """One product's supply: lead time in days, pack size, quantity of one order."""

    number: int
    category: int
    rate: float
    lead_days: float
    pack: int
    quantity: int


@dataclass(frozen=True)
class Asked:
    """A customer asks for `n` items at `day` (days since the start, with the time of day as fraction)."""

    day: float
    n: int


class DemandWorld:
    """Products, and for each the trace of what customers ask for."""

    def __init__(self, seed: int, parameters: Parameters | None = None) -> None:
        self.p = parameters or Parameters()
        self._seed = seed
        rng = random.Random(seed * 6007 + 5)
        self.products = [self._product(rng, number) for number in range(self.p.products)]

    def _product(self, rng: random.Random, number: int) -> Product:
        rate = math.exp(rng.uniform(math.log(self.p.rate_low), math.log(self.p.rate_high)))
        pack = rng.choice((1, 4, 6, 12))
        quantity = max(1, math.ceil(rate * rng.uniform(4, 10) / pack)) * pack
        return Product(number, number % 4, rate, float(rng.choice((1, 2, 3, 5))), pack, quantity)

    def trace(self, product: Product) -> list[Asked]:
        """What customers ask for, in order of time; the same for every policy."""
        p = self.p
        rng = random.Random(self._seed * 6007 + 1000 + product.number)
        asked: list[Asked] = []
        level, promotion_until = 1.0, -1
        for day in range(p.days + p.warm_up_days):
            level *= math.exp(rng.gauss(0, p.drift_per_year / math.sqrt(365)))
            if rng.random() < p.promotions_per_year / 365:
                promotion_until = day + 7
            weekday = 1.0 + p.weekday_swing * (1.0 if day % 7 == 5 else 0.4 if day % 7 == 6 else -0.28)
            shape = 1.0 / p.day_scatter**2
            rate = product.rate * level * weekday * rng.gammavariate(shape, 1.0 / shape)
            if day < promotion_until:
                rate *= p.promotion_lift
            mean_items = 1.0 + p.several_share * 1.5
            at_h = p.opens_h
            while True:
                at_h += rng.expovariate(rate / mean_items / (p.closes_h - p.opens_h))
                if at_h >= p.closes_h:
                    break
                n = rng.choice((2, 2, 3, 3)) if rng.random() < p.several_share else 1
                asked.append(Asked(day + at_h / 24.0, n))
        return asked

    def describe(self) -> dict[str, object]:
        """The parameters, for the report."""
        return asdict(self.p)
