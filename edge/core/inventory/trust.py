"""How far a told tag move can be trusted: learned where weight could tell, applied where it cannot.

Presence gives each belief a probability. How often such a move turns out to be none (the tag is back soon and no lane
had changed) depends on the store, its metal and its people; lanes label these moves for nothing.
"""

from __future__ import annotations

from bisect import bisect_right

from edge.core.fact import JsonValue
from edge.core.instant import US_PER_MIN, US_PER_S

BANDS = (0.8, 0.95, 0.99)
PRIOR_MOVES = 15.0  # the told probability counts as so many labelled moves
MEMORY = 400.0  # labelled moves a band remembers
MEMORY_MAX = 2 * MEMORY
BELIEF_MIN, BELIEF_MAX = 0.5, 0.9995
HALVING_US = 20 * US_PER_S  # fading of a radio path lasts 4-40 s: a move that lasts is true …
STUBBORN_HALVING_US = 5 * US_PER_MIN  # … but for a few, that something hides for good
STUBBORN_SHARE, STUBBORN_MIN, STUBBORN_MAX = 0.12, 0.02, 0.5  # of the false moves, before any was seen
LONG_US = US_PER_MIN
LONG_OF_SOON, LONG_OF_STUBBORN = 0.5 ** (LONG_US / HALVING_US), 0.5 ** (LONG_US / STUBBORN_HALVING_US)


class Trust:
    """Counts of true and false moves by band of the told probability, which counts as `prior` labelled moves."""

    def __init__(self, prior: float = PRIOR_MOVES) -> None:
        self._prior = prior
        self._true = [0.0] * (len(BANDS) + 1)
        self._false = [0.0] * (len(BANDS) + 1)
        self._ended = self._ended_late = 0.0

    def label(self, probability: float, *, true: bool, weight: float = 1.0) -> None:
        """A move told with this probability turned out to be one, or none; `weight` is how surely."""
        band = bisect_right(BANDS, probability)
        counts = self._true if true else self._false
        counts[band] += weight
        if self._true[band] + self._false[band] > MEMORY:
            self._true[band] *= 0.5
            self._false[band] *= 0.5

    def odds(self, probability: float) -> float:
        """Odds that a move told with this probability is none."""
        believed = min(max(probability, BELIEF_MIN), BELIEF_MAX)
        band = bisect_right(BANDS, probability)
        false = self._false[band] + self._prior * (1.0 - believed)
        return false / (self._true[band] + self._prior * believed)

    def ended(self, lasted_us: int) -> None:
        """A false move was over after this long."""
        self._ended += 1.0
        self._ended_late += lasted_us > LONG_US
        if self._ended > MEMORY:
            self._ended, self._ended_late = 0.5 * self._ended, 0.5 * self._ended_late

    @property
    def stubborn(self) -> float:
        """Share of the false moves that something hides for minutes, as learned of how long they lasted."""
        expected = STUBBORN_SHARE * LONG_OF_STUBBORN + (1.0 - STUBBORN_SHARE) * LONG_OF_SOON
        late = (self._ended_late + PRIOR_MOVES * expected) / (self._ended + PRIOR_MOVES)
        stubborn: float = (late - LONG_OF_SOON) / (LONG_OF_STUBBORN - LONG_OF_SOON)
        return min(max(stubborn, STUBBORN_MIN), STUBBORN_MAX)

    def as_json(self) -> JsonValue:
        """For the internals: [true, false] of each band, then the false moves that ended, and how many of them late."""
        counts = (*zip(self._true, self._false, strict=True), (self._ended, self._ended_late))
        return [[round(a, 2), round(b, 2)] for a, b in counts]

    def restore(self, rows: JsonValue) -> None:
        """Back from `as_json`; foreign content is ignored."""
        counts: list[tuple[float, float]] = []
        for row in rows if isinstance(rows, list) else ():
            match row:
                case [int() | float() as a, int() | float() as b] if 0 <= a <= MEMORY_MAX and 0 <= b <= MEMORY_MAX:
                    counts.append((float(a), float(b)))
        if len(counts) == len(BANDS) + 2:
            *bands, (self._ended, self._ended_late) = counts
            self._true, self._false = [a for a, _ in bands], [b for _, b in bands]
