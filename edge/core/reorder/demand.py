"""Demand of one product: a Gamma-Poisson model with a category prior, learned only while the product is in stock.

Sales while the shelf is empty say nothing of demand (censoring), so exposure counts in-stock time only. Old days are
discounted, weekdays have factors that are shrunk to 1, and what days scatter beyond Poisson is learned too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from edge.core.fact import JsonValue

DISCOUNT = 0.975  # a day's memory: half of it is gone after 27 days
PRIOR_DAYS = 3.0  # the category speaks as loudly as so many days of own sales
PRIOR_RATE = 0.5  # items a day where nothing is known of product or category
WEEKDAY_SHRINK = 12.0  # items that a weekday needs to sell before its factor is half its own
DISPERSION_PRIOR_DAYS = 14.0
DISPERSION_PRIOR = 1.15
DISPERSION_MAX = 6.0
SURPRISE_MEMORY = 0.75  # of a day: four days count
SURPRISE_FROM = 3.5  # standard deviation of the sum is 1.5 where nothing has changed
SURPRISE_KEEPS = 0.75  # of what was known, each day that the surprise lasts
TAIL = 1e-9
MIN_EXPOSURE_DAYS = 0.02


@dataclass(slots=True)
class Demand:
    """Posterior of the daily rate, Gamma(shape, exposure_days), with weekday factors and dispersion."""

    prior_rate: float = PRIOR_RATE
    sold: float = 0.0  # discounted items
    exposure_days: float = 0.0  # discounted in-stock days, each weighted by its weekday factor
    weekday_sold: list[float] = field(default_factory=lambda: [0.0] * 7)
    weekday_expected: list[float] = field(default_factory=lambda: [0.0] * 7)
    spread: float = 0.0  # discounted sum of squared standardised residuals
    spread_days: float = 0.0
    surprise: float = 0.0  # discounted sum of standardised residuals
    recent: list[tuple[float, float]] = field(default_factory=list)  # (sold, expected) of the last whole days

    @property
    def rate_per_day(self) -> float:
        """Expected items on an average day."""
        return self.shape / self.scale_days

    @property
    def shape(self) -> float:
        """Shape of the Gamma posterior (items)."""
        return self.prior_rate * PRIOR_DAYS + self.sold

    @property
    def scale_days(self) -> float:
        """Rate parameter of the Gamma posterior (days)."""
        return PRIOR_DAYS + self.exposure_days

    @property
    def dispersion(self) -> float:
        """Variance of a day's demand over its mean, at least 1."""
        days = DISPERSION_PRIOR_DAYS + self.spread_days
        told = (DISPERSION_PRIOR * DISPERSION_PRIOR_DAYS + self.spread) / days
        return min(max(told, 1.0), DISPERSION_MAX)

    def weekday_factor(self, weekday: int) -> float:
        """How much more than average is sold on a weekday (Monday 0), shrunk to 1."""
        factors = [
            (sold + WEEKDAY_SHRINK) / (expected + WEEKDAY_SHRINK)
            for sold, expected in zip(self.weekday_sold, self.weekday_expected, strict=True)
        ]
        return factors[weekday] * 7.0 / sum(factors)

    def learn_day(self, weekday: int, sold: int, exposure_days: float, horizon_days: int = 1) -> None:
        """Take one day: items sold and the share of the day that the product was in stock.

        What is forecast is the demand until goods come, so the scatter is learned over windows of `horizon_days`: slow
        swings (weather, promotions) add up there and would be missed day by day.
        """
        exposure_days = min(exposure_days, 1.0)
        if exposure_days < MIN_EXPOSURE_DAYS:
            self.recent.clear()
            return
        rate, factor = self.rate_per_day, self.weekday_factor(weekday)
        expected = rate * factor * exposure_days
        if exposure_days > 0.9:
            self.recent = [*self.recent, (float(sold), expected)][-horizon_days:]
            if len(self.recent) == horizon_days:
                seen = sum(row[0] for row in self.recent)
                told = sum(row[1] for row in self.recent)
                # an error that the unknown rate explains is no scatter
                allowed = max(told, 0.05) * (1.0 + told / max(self.shape, 0.1))
                self.spread = self.spread * DISCOUNT + min((seen - told) ** 2 / allowed, 20.0)
                self.spread_days = self.spread_days * DISCOUNT + 1.0
        else:
            self.recent.clear()
        self._notice_change(float(sold), expected)
        self.weekday_sold = [value * DISCOUNT for value in self.weekday_sold]
        self.weekday_expected = [value * DISCOUNT for value in self.weekday_expected]
        self.weekday_sold[weekday] += sold
        self.weekday_expected[weekday] += rate * exposure_days
        self.sold = self.sold * DISCOUNT + sold
        self.exposure_days = self.exposure_days * DISCOUNT + exposure_days * factor

    def _notice_change(self, sold: float, expected: float) -> None:
        """Forget faster when the last days were not what was expected: a promotion, a season, a rival's closing."""
        self.surprise = self.surprise * SURPRISE_MEMORY + (sold - expected) / math.sqrt(
            max(expected, 0.1) * self.dispersion
        )
        if abs(self.surprise) > SURPRISE_FROM:
            self.sold *= SURPRISE_KEEPS
            self.exposure_days *= SURPRISE_KEEPS

    def expected(self, days: float, weekday: int) -> float:
        """Expected items over the next `days` from the middle of a day, the first of which is this weekday."""
        total, left, day, share = 0.0, days, weekday, 0.5
        while left > 0:
            total += min(left, share) * self.weekday_factor(day % 7)
            left -= share
            day, share = day + 1, 1.0
        return total * self.rate_per_day

    def tail(self, days: float, weekday: int) -> list[float]:
        """P(demand over the next `days` ≥ n) for n = 0, 1, … until it is negligible."""
        mean = self.expected(days, weekday)
        # what days scatter, and what is not known of the rate
        variance = mean * self.dispersion + mean * mean / max(self.shape, 0.1)
        return negative_binomial_tail(mean, variance)

    def quiet_probability(self, days: float) -> float:
        """Probability that nothing sells for so many in-stock days (Gamma-Poisson, scatter included)."""
        shape, scale = self.shape / self.dispersion, self.scale_days / self.dispersion
        return float((scale / (scale + days / self.dispersion)) ** shape)

    def as_json(self) -> list[JsonValue]:
        """Compact form for the said state."""
        numbers = [self.prior_rate, self.sold, self.exposure_days, self.spread, self.spread_days]
        return [round(x, 5) for x in (*numbers, *self.weekday_sold, *self.weekday_expected)]

    @classmethod
    def from_json(cls, row: JsonValue) -> Demand:
        """Back from `as_json`; foreign content gives an empty model."""
        values = [float(x) for x in row if isinstance(x, int | float)] if isinstance(row, list) else []
        if len(values) != 19:
            return cls()
        return cls(values[0], values[1], values[2], values[5:12], values[12:19], values[3], values[4])


def negative_binomial_tail(mean: float, variance: float) -> list[float]:
    """P(X ≥ n), n = 0, 1, …, of a negative binomial number (Poisson where variance ≤ mean)."""
    if mean <= 0:
        return [1.0, 0.0]
    excess = max(variance / mean, 1.0 + 1e-6)
    size = mean / (excess - 1.0)
    share = 1.0 / excess  # success probability in the (size, share) form
    log_weight = size * math.log(share)
    tail, reached, n = [1.0], 0.0, 0
    while True:
        reached += math.exp(log_weight)
        n += 1
        rest = 1.0 - reached
        if (rest < TAIL and n > mean) or n > 100_000:
            break
        tail.append(max(rest, 0.0))
        log_weight += math.log((size + n - 1.0) / n * (1.0 - share))
    tail.append(0.0)
    return tail


def reorder_point(tail: list[float], quantity: int, out_share: float) -> int:
    """Smallest s so that, ordering `quantity` at s, the stock is empty at most `out_share` of the days.

    Under (s, Q) the inventory position is uniform on s+1 … s+Q and the stock a protection interval later is position
    minus demand (Hadley and Whitin 1963, chapter 4), so the share is the mean of P(demand ≥ position).
    """
    sums = [0.0]
    for probability in tail:
        sums.append(sums[-1] + probability)

    def share(point: int) -> float:
        top = min(point + quantity, len(tail) - 1)
        low = min(point, len(tail) - 1)
        return (sums[top + 1] - sums[low + 1]) / quantity

    point = 0
    while share(point) > out_share:
        point += 1
    return point
