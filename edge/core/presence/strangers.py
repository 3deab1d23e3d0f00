"""Unknown tags: counted and shown, never tracked, bounded in memory and in the facts they may cause."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.core.facts import TagUnknown
from edge.core.instant import US_PER_S

MAX_REMEMBERED = 1 << 15
FACTS_BURST = 20
FACT_EVERY_US = 10 * US_PER_S


class Strangers:
    """Tags that are no item of the catalogue, by row of the tag table."""

    def __init__(self) -> None:
        self.total = 0  # first sights; one that was forgotten in between counts again
        self.told = 0
        self.rows: set[int] = set()
        self.last: list[tuple[str, str]] = []  # (EPC, place) of the last few, for people
        self._tokens = float(FACTS_BURST)
        self._refilled_us: int | None = None

    def meet(self, row: int, epc: str, place: str, at_us: int) -> TagUnknown | None:
        """A stranger's first sight; a fact unless there were too many lately."""
        self.rows.add(row)
        self.total += 1
        self.last = [*self.last[-9:], (epc, place)]
        if self._refilled_us is not None:
            self._tokens = min(FACTS_BURST, self._tokens + (at_us - self._refilled_us) / FACT_EVERY_US)
        self._refilled_us = at_us
        if self._tokens < 1:
            return None
        self._tokens -= 1
        self.told = self.total
        return TagUnknown(at_us=at_us, epc=epc, place=place, total=self.total)

    def surplus(self, seen_us: NDArray[np.int64]) -> list[int]:
        """Rows to forget now, longest unseen first (seen_us by row): half of the room, once it is full."""
        if len(self.rows) < MAX_REMEMBERED:
            return []
        rows = sorted(self.rows, key=lambda row: (int(seen_us[row]), row))[: MAX_REMEMBERED // 2]
        self.rows.difference_update(rows)
        return rows
