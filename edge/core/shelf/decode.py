"""What a change of weight was: Bayesian decoding over (product, quantity), with "nothing" and "something else".

A settled change of a lane's weight is compared with every combination of items that a hand may have moved: units of
one product, small mixtures, swaps, and items whose own mass is known because this lane or another one has weighed them.
The answer is a posterior: nothing is rounded to the nearest product, nothing filtered by what was believed before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations_with_replacement
from typing import Final

import numpy as np
from numpy.typing import NDArray

Items = tuple[tuple[str, int], ...]
"""What came (+) or went (-): (gtin, quantity) pairs; () is nothing."""

FOREIGN: Final = ""
"""The gtin of an object that is no known product."""

MASS_SD_SHARE: Final = 0.003
"""Unit masses spread at least this much; a planogram that says 0 g means "nobody measured it"."""
LOT_SHARE: Final = 0.004
"""A lot may differ from the catalogue's unit mass by this share (1 sd), for all its units alike."""
LOT_SHARE_MIXED: Final = 0.001
SPAN_SHARE: Final = 5e-4
"""Non-linearity and hysteresis of a class C3 cell (OIML R 60), of the moved load."""
NOTHING_SHARE: Final = 0.03
"""A change of a few percent of the lightest unit is no item: creep, a re-seated neighbour, dust."""

PRIOR_NOTHING: Final = 1.0
PRIOR_ELSE_ADDED: Final = 0.06  # hands lean and things are laid down far more often than weight vanishes unexplained
PRIOR_ELSE_TAKEN: Final = 0.03
ELSE_SCALE_G: Final = 1500.0  # mean of a hand's force and of what people lay down
PRIOR_SWAP: Final = 0.02
PRIOR_GUEST: Final = 0.30
PRIOR_TOGETHER: Final = 0.01  # a stranger goes or comes while own products do
PRIOR_TIDY: Final = 0.7  # staff clear out strangers, then restock
TIDY_UNITS: Final = 2
LEG_UNITS: Final = 3  # between two moments of a burst no more than this moves
PRIOR_PASSED: Final = 0.5  # a level held for a moment on the way was the goods' own, not a hand's
REACH_SHARE: Final = 0.7  # of the lighter thing: ten samples a second may miss the very bottom
_TAKEN = (0.62, 0.20, 0.08, 0.035, 0.02)
_TAKEN_DECAY = 0.6  # each further unit in one go
_ADDED = (0.62, 0.12, 0.05, 0.04, 0.04, 0.04, 0.03, 0.03)
_ADDED_TAIL = 0.008  # a restock brings any number
_SAME_TAKEN, _SAME_ADDED = 0.55, 0.85  # several in one go are of one product, the rest of any mixture
SINGLE_MAX: Final = 80
MIXED_SINGLE_MAX: Final = 30
_COMBINED_MAX: Final = {2: 6, 3: 5, 4: 4, 5: 4, 6: 3}  # items of several products in one go, by number of products


def is_exchange(items: Items) -> bool:
    """Whether something went and something came."""
    return any(quantity > 0 for _, quantity in items) and any(quantity < 0 for _, quantity in items)


class Verdict(Enum):
    """What the posterior says most of all."""

    NOTHING = "nothing"
    ITEMS = "items"
    ELSE = "else"


@dataclass(frozen=True, slots=True)
class Unit:
    """A product as the lane sees it: mass of one unit and its spread (g)."""

    gtin: str
    mass_g: float
    sd_g: float


@dataclass(frozen=True, slots=True)
class Weighed:
    """Particular things whose mass was measured, coming (quantities > 0, mass_g > 0) or going; gtin may be FOREIGN."""

    items: Items
    mass_g: float
    sd_g: float
    prior: float = PRIOR_GUEST
    tidy: bool = False  # all strangers at once, as before a restock


@dataclass(frozen=True, slots=True)
class Decoded:
    """The posterior: ranked (items, probability), best first and merged; what is left is split over the other two."""

    ranked: tuple[tuple[Items, float], ...]
    p_nothing: float
    p_else: float

    @property
    def verdict(self) -> Verdict:
        """The largest of the three: some items, nothing, something else."""
        p_items = 1.0 - self.p_nothing - self.p_else
        if self.p_nothing >= max(p_items, self.p_else):
            return Verdict.NOTHING
        return Verdict.ITEMS if p_items >= self.p_else else Verdict.ELSE

    @property
    def best(self) -> tuple[Items, float]:
        """The most probable items; ((), 0.0) when there are none."""
        return self.ranked[0] if self.ranked else ((), 0.0)

    def marginal(self, gtin: str) -> list[tuple[int, float]]:
        """(quantity, probability) of one product over all combinations, best first."""
        total: dict[int, float] = {}
        for items, probability in self.ranked:
            for name, quantity in items:
                if name == gtin:
                    total[quantity] = total.get(quantity, 0.0) + probability
        return sorted(total.items(), key=lambda entry: -entry[1])


def _quantity_prior(total: int, way: int) -> float:
    known = _TAKEN if way < 0 else _ADDED
    if total <= len(known):
        return known[total - 1]
    return max(1e-6, _TAKEN[-1] * _TAKEN_DECAY ** (total - len(_TAKEN))) if way < 0 else _ADDED_TAIL


def _combinations(n_units: int, way: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """(count of each unit, prior) of one direction, at least two different products in each."""
    most = _COMBINED_MAX.get(n_units, 2)
    mixture = 1.0 - (_SAME_TAKEN if way < 0 else _SAME_ADDED)
    for total in range(2, most + 1):
        mixed = [c for c in combinations_with_replacement(range(n_units), total) if len(set(c)) > 1]
        for chosen in mixed:
            count = tuple(way * chosen.count(i) for i in range(n_units))
            yield count, mixture * _quantity_prior(total, way) / len(mixed)


def _singles(n_units: int, way: int) -> Iterator[tuple[tuple[int, ...], float]]:
    most = SINGLE_MAX if n_units == 1 else MIXED_SINGLE_MAX
    for i in range(n_units):
        for quantity in range(1, most + 1):
            count = tuple(way * quantity if j == i else 0 for j in range(n_units))
            same = 1.0 if n_units == 1 or quantity == 1 else _SAME_TAKEN if way < 0 else _SAME_ADDED
            yield count, _quantity_prior(quantity, way) * same / n_units


class Decoder:
    """The hypotheses of one lane, laid out once as columns; `decode` weighs them against one change."""

    __slots__ = (
        "_counts",
        "_legs",
        "_log_prior",
        "_lot",
        "_mean_g",
        "_names",
        "_nothing_sd_g",
        "_restocks",
        "_var_g2",
        "units",
    )

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units = tuple(units)
        n = len(units)
        rows = [row for way in (1, -1) for row in (*_singles(n, way), *_combinations(n, way))] + self._swaps(n)
        self._counts = np.array([count for count, _ in rows], float).reshape(len(rows), n)
        self._log_prior = np.log([prior for _, prior in rows])
        self._names: dict[int, Items] = {}
        mass_g = np.array([unit.mass_g for unit in units])
        sd_g = np.array([max(unit.sd_g, MASS_SD_SHARE * unit.mass_g) for unit in units])
        self._restocks = self._counts.sum(axis=1) >= TIDY_UNITS
        self._legs = np.abs(self._counts).sum(axis=1) <= LEG_UNITS
        self._lot = LOT_SHARE if len(units) == 1 else LOT_SHARE_MIXED
        self._mean_g = self._counts @ mass_g
        self._var_g2 = np.abs(self._counts) @ sd_g**2 + (self._counts * self._lot) ** 2 @ mass_g**2
        lightest_g = min((unit.mass_g for unit in units), default=20.0)
        self._nothing_sd_g = min(2.0, max(0.3, NOTHING_SHARE * lightest_g))

    @staticmethod
    def _swaps(n_units: int) -> list[tuple[tuple[int, ...], float]]:
        pairs = [(i, j) for i in range(n_units) for j in range(n_units) if i != j]
        return [(tuple((k == i) - (k == j) for k in range(n_units)), PRIOR_SWAP / len(pairs)) for i, j in pairs]

    def _named(self, index: int) -> Items:
        """One row in words, made when first asked for: all of them would be 16 kB a lane, and few are ever needed."""
        named = self._names.get(index)
        if named is None:
            counts = self._counts[index].tolist()
            named = tuple((unit.gtin, int(n)) for unit, n in zip(self.units, counts, strict=True) if n)
            self._names[index] = named
        return named

    def decode(
        self,
        delta_g: float,
        var_g2: float,
        weighed: Sequence[Weighed] = (),
        passed: Sequence[tuple[float, float]] = (),
        reach_g: float = math.inf,
    ) -> Decoded:
        """The posterior of a settled change of `delta_g` whose measurement has the variance `var_g2` (g²).

        Each of `weighed` may have come or gone alone, or with units of the lane's own products. `passed` are levels
        held for a moment on the way, as (change so far in g, variance in g²): several picks in quick succession.
        `reach_g` is how far the weight went meanwhile: one thing cannot be exchanged for another without going as far
        as the lighter of them weighs. The beat of a compressor with the samples rests at a few grams, like a swap.
        """
        noise_g2 = var_g2 + (SPAN_SHARE * delta_g) ** 2
        found: list[tuple[float, Items]] = []
        self._compare(found, delta_g, noise_g2, None)
        for thing in weighed:
            off_g, thing_g2 = delta_g - thing.mass_g, noise_g2 + thing.sd_g**2
            found.append((_log_density(off_g, thing_g2, thing.prior), thing.items))
            self._compare(found, off_g, thing_g2, thing)
        if passed:
            found += self._by_way_of([*passed, (delta_g, var_g2)])
        if reach_g < math.inf:
            found = [(log, items) for log, items in found if self._is_in_reach(items, reach_g)]
        nothing = _log_density(delta_g, self._nothing_sd_g**2 + var_g2, PRIOR_NOTHING)
        prior_else = PRIOR_ELSE_ADDED if delta_g > 0 else PRIOR_ELSE_TAKEN
        other = math.log(prior_else / ELSE_SCALE_G * math.sqrt(2.0 * math.pi)) - abs(delta_g) / ELSE_SCALE_G
        peak = max(nothing, other, max((log for log, _ in found), default=nothing))
        merged: dict[Items, float] = {}
        for log, items in found:
            merged[items] = merged.get(items, 0.0) + math.exp(log - peak)
        p_nothing, p_else = math.exp(nothing - peak), math.exp(other - peak)
        total = sum(merged.values()) + p_nothing + p_else
        ranked = sorted(((items, p / total) for items, p in merged.items()), key=lambda entry: -entry[1])
        return Decoded(tuple(ranked[:12]), p_nothing / total, p_else / total)

    def _is_in_reach(self, items: Items, reach_g: float) -> bool:
        if not is_exchange(items):
            return True
        moved = {gtin for gtin, _ in items}
        lightest_g = min((unit.mass_g for unit in self.units if unit.gtin in moved), default=0.0)
        return lightest_g * REACH_SHARE <= reach_g

    def _compare(
        self,
        found: list[tuple[float, Items]],
        delta_g: float,
        noise_g2: float,
        thing: Weighed | None,
        among: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add the own products' better explanations of `delta_g`, together with a thing that came or went as well."""
        if not len(self._counts):
            return
        var = self._var_g2 + noise_g2
        score = self._log_prior - 0.5 * (np.log(var) + (delta_g - self._mean_g) ** 2 / var)
        shift = 0.0
        extra: Items = ()
        if thing is not None:
            extra, shift = thing.items, math.log(thing.prior * (PRIOR_TIDY if thing.tidy else PRIOR_TOGETHER))
            among = self._restocks if thing.tidy else None
        if among is not None:
            score = np.where(among, score, -math.inf)
        peak = float(score.max())
        better = np.flatnonzero(score > max(peak - 10.0, -1e6)).tolist()
        found.extend((float(score[index]) + shift, _together(self._named(index), extra)) for index in better)

    def _by_way_of(self, levels: Sequence[tuple[float, float]]) -> list[tuple[float, Items]]:
        """Explanations of the last level through some of those before it, relative to going there directly.

        A forward pass: at each level the better explanations of all that has come so far, by what they add up to.
        A level left out was a hand's, and could have been anywhere.
        """
        left_out = math.log((1.0 - PRIOR_PASSED) / ELSE_SCALE_G * math.sqrt(2.0 * math.pi))
        so_far: list[dict[Items, float]] = [{(): 0.0}]
        points = [(0.0, 0.0), *levels]
        last = len(points) - 1
        for j in range(1, last + 1):
            here: dict[Items, float] = {}
            for i in range(j):
                if i == 0 and j == last:
                    continue  # that is the direct way
                cost = left_out * (j - i - 1) + (math.log(PRIOR_PASSED) if j < last else 0.0)
                part = self._one_leg(points[j][0] - points[i][0], points[i][1] + points[j][1])
                for before, log in so_far[i].items():
                    for items, leg in part:
                        both = _together(before, items)
                        here[both] = _log_add(here.get(both), log + leg + cost)
            best = sorted(here.items(), key=lambda entry: -entry[1])[:12]
            so_far.append(dict(best))
        return [(log - left_out * len(levels[:-1]), items) for items, log in so_far[last].items()]

    def _one_leg(self, delta_g: float, noise_g2: float) -> list[tuple[Items, float]]:
        found: list[tuple[float, Items]] = []
        self._compare(found, delta_g, noise_g2 + (SPAN_SHARE * delta_g) ** 2, None, self._legs)
        found.append((_log_density(delta_g, self._nothing_sd_g**2 + noise_g2, PRIOR_NOTHING), ()))
        return [(items, log) for log, items in sorted(found, key=lambda entry: -entry[0])[:6]]


def _log_add(first: float | None, second: float) -> float:
    return second if first is None else max(first, second) + math.log1p(math.exp(-abs(first - second)))


def _together(items: Items, extra: Items) -> Items:
    if not extra:
        return items
    total = dict(items)
    for gtin, quantity in extra:
        total[gtin] = total.get(gtin, 0) + quantity
    return tuple((gtin, quantity) for gtin, quantity in total.items() if quantity)


def _log_density(off_g: float, var_g2: float, prior: float) -> float:
    """Like `score`: without the factor 1/sqrt(2π) that all normal densities share."""
    return math.log(prior) - 0.5 * (math.log(var_g2) + off_g * off_g / var_g2)


def near_equal(first: Unit, second: Unit, noise_sd_g: float) -> float:
    """How many standard deviations apart two unit masses are for one weighing (4 and more can be told apart)."""
    spread_g2 = max(first.sd_g, MASS_SD_SHARE * first.mass_g) ** 2
    other_g2 = max(second.sd_g, MASS_SD_SHARE * second.mass_g) ** 2
    return abs(first.mass_g - second.mass_g) / math.sqrt(max(spread_g2, other_g2) + noise_sd_g**2)
