"""How far a told tag move can be trusted: learned where weight could tell, applied where it cannot.

Presence gives each belief a probability. How often such a move turns out to be none (the tag is back soon and no lane
had changed) depends on the store, its metal and its people; lanes label these moves for nothing.
"""

from __future__ import annotations

from bisect import bisect_right

from edge.core.fact import JsonValue

BANDS = (0.8, 0.95, 0.99)
PRIOR_MOVES = 15.0  # the told probability counts as so many labelled moves
MEMORY = 400.0  # labelled moves a band remembers
BELIEF_MIN, BELIEF_MAX = 0.5, 0.9995


class Trust:
    """Counts of true and false moves by band of the told probability."""

    def __init__(self) -> None:
        self._true = [0.0] * (len(BANDS) + 1)
        self._false = [0.0] * (len(BANDS) + 1)

    def label(self, probability: float, *, true: bool) -> None:
        """A move told with this probability turned out to be one, or none."""
        band = bisect_right(BANDS, probability)
        counts = self._true if true else self._false
        counts[band] += 1.0
        if self._true[band] + self._false[band] > MEMORY:
            self._true[band] *= 0.5
            self._false[band] *= 0.5

    def odds(self, probability: float) -> float:
        """Odds that a move told with this probability is none."""
        believed = min(max(probability, BELIEF_MIN), BELIEF_MAX)
        band = bisect_right(BANDS, probability)
        false = self._false[band] + PRIOR_MOVES * (1.0 - believed)
        return false / (self._true[band] + PRIOR_MOVES * believed)

    def as_json(self) -> JsonValue:
        """For the internals."""
        rows: list[JsonValue] = [[round(t, 2), round(f, 2)] for t, f in zip(self._true, self._false, strict=True)]
        return rows

    def restore(self, rows: JsonValue) -> None:
        """Back from `as_json`; foreign content is ignored."""
        for band, row in enumerate(rows if isinstance(rows, list) and len(rows) == len(BANDS) + 1 else ()):
            if isinstance(row, list) and len(row) == 2:
                self._true[band], self._false[band] = float(str(row[0])), float(str(row[1]))
