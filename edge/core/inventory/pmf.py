"""Small distributions over whole numbers, as sparse mappings ``{value: probability}`` that sum to 1.

Counts on a shelf are small and mostly certain: a dictionary of a few entries is faster than an array and reads better.
They are values: nobody changes one in place, so a function may give back what it was given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

Pmf = dict[int, float]
PRUNE_BELOW = 1e-7
CERTAIN: Pmf = {0: 1.0}


def normalized(weights: Pmf) -> Pmf:
    """The weights scaled to sum 1, without entries below 1e-7; certainty at 0 where nothing is left."""
    total = sum(weights.values())
    if total <= 0.0:
        return {0: 1.0}
    least = PRUNE_BELOW * total
    if min(weights.values()) < least:
        weights = {value: weight for value, weight in weights.items() if weight >= least}
        total = sum(weights.values())
    if total == 1.0:
        return weights
    return {value: weight / total for value, weight in weights.items()}


def convolve(left: Pmf, right: Pmf) -> Pmf:
    """Distribution of the sum of two independent numbers."""
    if len(right) == 1:
        left, right = right, left
    if len(left) == 1:
        shift = next(iter(left))
        return {value + shift: weight for value, weight in right.items()} if shift else right
    out: Pmf = {}
    known, addends = out.get, list(right.items())
    for a, weight_a in left.items():
        for b, weight_b in addends:
            value = a + b
            out[value] = known(value, 0.0) + weight_a * weight_b
    return normalized(out)


def counted(certain: int, fewer: float, more: float, doubtful: Iterable[float]) -> Pmf:
    """A number that is `certain` but for many rare doubts and some single ones, all independent.

    `fewer` and `more` are the means of two Poisson numbers; `doubtful` the probabilities of single items on top
    (Poisson-binomial).
    """
    down, up = _poisson(fewer), _poisson(more)
    lowest = certain - len(down) + 1
    down.reverse()
    if len(up) == 1:
        weights = down
    else:
        weights = [0.0] * (len(down) + len(up) - 1)
        for missing, share in enumerate(down):
            for surplus, weight in enumerate(up, missing):
                weights[surplus] += share * weight
    for probability in doubtful:
        none = 1.0 - probability
        weights = [a * none + b * probability for a, b in zip((*weights, 0.0), (0.0, *weights), strict=True)]
    return normalized(dict(enumerate(weights, lowest)))


def _poisson(mean: float) -> list[float]:
    """Weights of 0, 1, 2 …; the tail beyond 1e-7 is cut."""
    if mean < PRUNE_BELOW:
        return [1.0]
    out = []
    weight, value = math.exp(-mean), 0
    while weight > PRUNE_BELOW or value < mean:
        out.append(weight)
        value += 1
        weight *= mean / value
    return out


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
    return quantiles(pmf, (share,))[0]


def quantiles(pmf: Pmf, shares: Sequence[float]) -> list[int]:
    """The quantiles of these ascending shares."""
    found: list[int] = []
    reached = 0.0
    for value in sorted(pmf):
        reached += pmf[value]
        while len(found) < len(shares) and reached >= shares[len(found)] - 1e-9:
            found.append(value)
    return found + [max(pmf)] * (len(shares) - len(found))


def mean(pmf: Pmf) -> float:
    """Expected value."""
    return sum(value * weight for value, weight in pmf.items())
