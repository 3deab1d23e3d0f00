"""Small distributions over whole numbers, as sparse mappings ``{value: probability}`` that sum to 1.

Counts on a shelf are small and mostly certain: a dictionary of a few entries is faster than an array and reads better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

Pmf = dict[int, float]
PRUNE_BELOW = 1e-7
CERTAIN: Pmf = {0: 1.0}


def normalized(weights: Pmf) -> Pmf:
    """The weights scaled to sum 1, without entries below 1e-7; certainty at 0 where nothing is left."""
    total = sum(weights.values())
    if total <= 0.0:
        return {0: 1.0}
    least = PRUNE_BELOW * total
    kept = {value: weight / total for value, weight in weights.items() if weight >= least}
    scale = sum(kept.values())
    return kept if scale == 1.0 else {value: weight / scale for value, weight in kept.items()}


def convolve(left: Pmf, right: Pmf) -> Pmf:
    """Distribution of the sum of two independent numbers."""
    if len(right) == 1:
        left, right = right, left
    if len(left) == 1:
        ((shift, _),) = left.items()
        return {value + shift: weight for value, weight in right.items()} if shift else dict(right)
    out: Pmf = {}
    known, addends = out.get, list(right.items())
    for a, weight_a in left.items():
        for b, weight_b in addends:
            value = a + b
            out[value] = known(value, 0.0) + weight_a * weight_b
    return normalized(out)


def bernoullis(probabilities: Iterable[float]) -> Pmf:
    """Distribution of how many of some independent events happen (Poisson-binomial)."""
    out: Pmf = {0: 1.0}
    for probability in probabilities:
        out = convolve(out, {0: 1.0 - probability, 1: probability})
    return out


def poisson(mean: float, sign: int = 1) -> Pmf:
    """Poisson distribution, mirrored for sign -1; the tail beyond 1e-7 is cut."""
    if mean < PRUNE_BELOW:
        return {0: 1.0}
    out: Pmf = {}
    weight, value = math.exp(-mean), 0
    while weight > PRUNE_BELOW or value < mean:
        out[sign * value] = weight
        value += 1
        weight *= mean / value
    return normalized(out)


def not_negative(pmf: Pmf) -> Pmf:
    """What is left when a count is known to be at least zero."""
    if min(pmf) >= 0:
        return pmf
    kept = {value: weight for value, weight in pmf.items() if value >= 0}
    return normalized(kept) if kept else {0: 1.0}


def weighted(pmf: Pmf, likelihood: Callable[[int], float]) -> Pmf:
    """The distribution after evidence with this likelihood."""
    return normalized({value: weight * likelihood(value) for value, weight in pmf.items()})


def blended(left: Pmf, right: Pmf, share_right: float) -> Pmf:
    """Mixture of two distributions."""
    out = {value: weight * (1.0 - share_right) for value, weight in left.items()}
    for value, weight in right.items():
        out[value] = out.get(value, 0.0) + weight * share_right
    return normalized(out)


def mode(pmf: Pmf) -> int:
    """The most probable value (the smallest of equals)."""
    return max(sorted(pmf), key=pmf.__getitem__)


def quantile(pmf: Pmf, share: float) -> int:
    """Smallest value with at least this share of the probability at or below it."""
    reached = 0.0
    for value in sorted(pmf):
        reached += pmf[value]
        if reached >= share - 1e-9:
            return value
    return max(pmf)


def mean(pmf: Pmf) -> float:
    """Expected value."""
    return sum(value * weight for value, weight in pmf.items())
