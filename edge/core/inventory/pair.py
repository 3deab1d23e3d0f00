"""One (shelf, product): what is believed to stand there, and why.

count = tags believed here + open steps of the shelf + offset. The offset is what tags do not account for: untagged
items, tags that died, tags that lie. For goods without tags the offset is the whole count; None means never counted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from edge.core.fact import JsonValue
from edge.core.inventory.ledger import Step
from edge.core.inventory.pmf import (
    CERTAIN,
    Pmf,
    blended,
    convolve,
    counted,
    mode,
    normalized,
    not_negative,
    quantiles,
    weighted,
)
from edge.core.inventory.trust import HALVING_US, STUBBORN_HALVING_US, STUBBORN_SHARE

TAG_RESIDUAL = 0.0005  # chance that a long-settled tag belief is wrong all the same
LUMPED_BELOW = 0.1  # rarer doubts are summed into one Poisson number
UNKNOWN_UP_TO = 60  # a shelf never counted may hold any number up to this
UNKNOWN: Pmf = dict.fromkeys(range(UNKNOWN_UP_TO + 1), 1.0 / (UNKNOWN_UP_TO + 1))
LEVEL_TAIL = 0.03  # an absolute weight is off (foreign item, drift, hand) this often
LEVEL_SD_FLOOR = 0.04  # items; no lane is better than this in a store
FOREIGN_SPAN = 20.0  # items that a foreign object may look like
SETTLED_ODDS = 1e-3
STRANGERS_MOST = 4
MOVED_MOST = 3
WHY_KEPT = 6
CENTRAL = 0.951  # a number so probable is the whole interval: what lies below it and what lies above are under 5 %
NEARLY_EQUAL = 0.9
TAGS_SHARE = 0.4  # of the likeliest number's probability: from here on the tags' own, greater number is published


@dataclass(frozen=True, slots=True)
class Why:
    """One piece of evidence, for people (`text`) and machines."""

    at_us: int
    source: str
    text: str
    quantity: int = 0
    probability: float = 1.0

    def as_json(self) -> JsonValue:
        """As it is published."""
        return {
            "at_us": self.at_us,
            "source": self.source,
            "text": self.text,
            "quantity": self.quantity,
            "probability": round(self.probability, 4),
        }


@dataclass(slots=True)
class Tag:
    """A tag: where it is believed to be, and the odds that it never left `origin` ("" for none)."""

    gtin: str
    shelf: str
    since_us: int
    origin: str = ""
    odds: float = 0.0
    odds_us: int = 0
    stubborn: float = STUBBORN_SHARE  # of such false beliefs, the share that lasts for minutes
    left: Step | None = None  # the weight step that vouched for its leaving `left_shelf`
    left_shelf: str = ""
    left_us: int = 0
    told: float = 1.0  # probability of the belief that it left
    weighed: bool = False  # a weight step vouched for its coming here
    is_new: bool = False  # first seen here, and nothing but its tag spoke for that

    def odds_at(self, now_us: int) -> float:
        """Odds now that the belief is wrong: they fade while the belief stays."""
        return odds_of((self,), now_us)[0]


def odds_of(tags: Iterable[Tag], now_us: int) -> list[float]:
    """`Tag.odds_at` of several tags: most of what fusion computes is this."""
    found = []
    for tag in tags:
        odds, age_us = tag.odds, now_us - tag.odds_us
        if age_us > 0:
            stubborn = tag.stubborn
            odds *= (1.0 - stubborn) * 0.5 ** (age_us / HALVING_US) + stubborn * 0.5 ** (age_us / STUBBORN_HALVING_US)
        found.append(odds)
    return found


@dataclass(frozen=True, slots=True)
class Level:
    """Absolute weight of one lane in items."""

    at_us: int
    mean: float
    sd: float


@dataclass(frozen=True, slots=True)
class Strangers:
    """What tagged goods of elsewhere may add to an absolute weight: (items of the lane's own, probability) in `loads`.

    `known` is False where the mass of one of them is not known, or they are too many to think through.
    """

    loads: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    known: bool = True

    @staticmethod
    def of(masses_in_items: Sequence[float], n_lanes: int) -> Strangers:
        """Each lies on any of the shelf's lanes alike, or beside them. Masses (items of the lane's own); 0: unknown."""
        if not all(masses_in_items) or len(masses_in_items) > STRANGERS_MOST:
            return Strangers(known=False)
        here = 1.0 / (n_lanes + 1)
        loads = [(0.0, 1.0)]
        for mass in masses_in_items:
            loads = [(load + on * mass, p * (here if on else 1.0 - here)) for load, p in loads for on in (0, 1)]
        return Strangers(tuple(loads))


NO_STRANGERS = Strangers()


@dataclass(frozen=True, slots=True)
class Estimate:
    """The believed count: most probable number, central 90 % and the probability of the number."""

    on_hand: int
    low: int
    high: int
    confidence: float

    def spread(self, at: int, reach: int = 0) -> Pmf:
        """A distribution about `at` that says the same: what is not the number's own stands evenly between low and
        high, `reach` to each side at least."""
        below, above = max(reach, self.on_hand - self.low), max(reach, self.high - self.on_hand)
        others = [*range(at - below, at), *range(at + 1, at + above + 1)]
        weights = dict.fromkeys(others, max(1e-3, 1.0 - self.confidence) / max(1, len(others)))
        return normalized({**weights, at: max(self.confidence, 1e-3)})


@dataclass(slots=True)
class Pair:
    """State of one (shelf, product). soft: tags believed here with doubt; ghosts: tags perhaps still here.

    is_hearsay: a restart knows it from what facts said alone; its tags' doubts are forgotten until they are read again.
    """

    shelf: str
    gtin: str
    offset: Pmf | None
    sure: int = 0
    soft: dict[str, Tag] = field(default_factory=dict)
    ghosts: dict[str, Tag] = field(default_factory=dict)
    levels: dict[str, Level] = field(default_factory=dict)
    published: Estimate | None = None
    published_us: int = 0
    sources: list[str] = field(default_factory=list)
    reason: str = ""
    untagged: int = 0
    as_of_us: int = 0
    verified_us: int | None = None
    disagrees_us: int | None = None
    recheck_us: int = 0
    told: bool = False
    is_hearsay: bool = False
    why: deque[Why] = field(default_factory=lambda: deque(maxlen=WHY_KEPT))

    @property
    def tags(self) -> int:
        """Tags believed to be here."""
        return self.sure + len(self.soft)

    @property
    def counted(self) -> bool:
        """Whether anything was ever known about this pair."""
        return self.offset is not None or self.tags > 0 or bool(self.levels)

    @property
    def warm(self) -> bool:
        """Whether time alone changes the estimate."""
        return bool(self.soft or self.ghosts)

    def absorb(self, sign: int) -> None:
        """A tag change without a step is what the offset had been standing for, where there is one of that kind."""
        if self.offset is None or len(self.offset) == 1 == (0 in self.offset):
            return
        out: Pmf = {}
        for value, weight in self.offset.items():
            moved = value - sign if value * sign > 0 else value
            out[moved] = out.get(moved, 0.0) + weight
        self.offset = out

    def move(self, quantity: int) -> None:
        """The offset by so many items, never below none; what was never counted begins at none."""
        offset = self.offset if self.offset is not None else CERTAIN
        out: Pmf = {}
        for value, weight in offset.items():
            moved = max(0, value + quantity)
            out[moved] = out.get(moved, 0.0) + weight
        self.offset = out

    def settle(self, now_us: int) -> None:
        """Drop doubts that have faded."""
        for held in (self.soft, self.ghosts):
            odds = odds_of(held.values(), now_us)
            if not odds or min(odds) >= SETTLED_ODDS:
                continue
            for epc in [epc for epc, one in zip(held, odds, strict=True) if one < SETTLED_ODDS]:
                del held[epc]
                self.sure += held is self.soft

    def tag_pmf(self, now_us: int) -> Pmf:
        """Distribution of the tagged items here, by what the tags say."""
        certain, fewer, more = self.sure, TAG_RESIDUAL * self.sure, 0.0
        doubtful: list[float] = []
        for odds in odds_of(self.soft.values(), now_us):
            here = 1.0 / (1.0 + odds)
            if here >= 1.0 - LUMPED_BELOW:
                certain += 1
                fewer += 1.0 - here
            else:
                doubtful.append(here)
        for odds in odds_of(self.ghosts.values(), now_us):
            here = odds / (1.0 + odds)
            if here <= LUMPED_BELOW:
                more += here
            else:
                doubtful.append(here)
        return counted(certain, fewer, more, doubtful)

    def pmf(self, now_us: int, steps: Pmf, n_lanes: int, strangers: Strangers) -> Pmf:
        """Distribution of the count; `steps` is what the shelf's open steps add, `strangers` may press on its lanes."""
        offset = self.offset
        if offset is None:
            offset = UNKNOWN if self.tags == 0 else CERTAIN
        out = not_negative(convolve(convolve(self.tag_pmf(now_us), steps), offset))
        if not n_lanes or len(self.levels) < n_lanes:
            return out
        return self._with_levels(out, self._since_levels(strangers))

    def _since_levels(self, strangers: Strangers) -> Strangers:
        """Tags that moved since the lanes were weighed; that no step was told of them counts with the tags already."""
        at_us = min(level.at_us for level in self.levels.values())
        left = sum(tag.since_us > at_us and tag.left is None for tag in self.ghosts.values())
        came = sum(tag.since_us > at_us and not tag.weighed for tag in self.soft.values())
        shifts = range(-min(came, MOVED_MOST), min(left, MOVED_MOST) + 1)
        if len(shifts) == 1:
            return strangers
        share = 1.0 / len(shifts)
        loads = tuple((load + shift, p * share) for load, p in strangers.loads for shift in shifts)
        return Strangers(loads, strangers.known)

    def _with_levels(self, out: Pmf, strangers: Strangers) -> Pmf:
        mean = sum(level.mean for level in self.levels.values())
        sd = max(LEVEL_SD_FLOOR, math.sqrt(sum(level.sd**2 for level in self.levels.values())))
        tail = LEVEL_TAIL if strangers.known else 0.5
        peak = max(0, round(mean))
        # the own estimate never rules out what the scale says outright
        near = range(max(0, peak - 2), peak + 3)
        out = blended(out, dict.fromkeys(near, 1.0 / len(near)), 0.01)
        density = (1.0 - tail) / (sd * math.sqrt(2.0 * math.pi))
        foreign, exp = tail / FOREIGN_SPAN, math.exp

        def likelihood(n: int) -> float:
            fits = 0.0
            for more, share in strangers.loads:
                fits += share * exp(-0.5 * ((n + more - mean) / sd) ** 2)
            return density * fits + foreign

        return weighted(out, likelihood)


def estimate(pmf: Pmf, pair: Pair, *, tags_alone: bool) -> Estimate:
    """The numbers to publish. Of two nearly equal ones the one already published stays: it must not flicker.

    Where only tags speak, fewer than they say must be far likelier: fading raises the small doubts of many tags
    together, they add up to "one of them is gone", and nearly all of them pass.
    """
    if len(pmf) == 1:
        ((on_hand, confidence),) = pmf.items()
        return Estimate(on_hand, on_hand, on_hand, confidence)
    on_hand, favoured, least_share = mode(pmf), pair.published.on_hand if pair.published else None, NEARLY_EQUAL
    if tags_alone and on_hand < pair.tags:
        favoured, least_share = pair.tags, TAGS_SHARE
    if favoured is not None and favoured != on_hand and pmf.get(favoured, 0.0) >= least_share * pmf[on_hand]:
        on_hand = favoured
    confidence = pmf.get(on_hand, 0.0)
    if confidence > CENTRAL:
        return Estimate(on_hand, on_hand, on_hand, confidence)
    low, high = quantiles(pmf, (0.05, 0.95))
    return Estimate(on_hand, min(low, on_hand), max(high, on_hand), confidence)
