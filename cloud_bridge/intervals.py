"""Sets of integers as disjoint inclusive ranges: what is to be sent, what has arrived, what is missing."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator


class IntervalSet:
    """Ascending, disjoint, non-adjacent inclusive ranges. Adding next to the last range costs O(1)."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for low, high in ranges:
            self.add(low, high)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __len__(self) -> int:
        """How many ranges."""
        return len(self._starts)

    def __contains__(self, value: int) -> bool:
        place = bisect.bisect_right(self._starts, value) - 1
        return place >= 0 and value <= self._ends[place]

    @property
    def count(self) -> int:
        """How many integers."""
        return sum(self._ends) - sum(self._starts) + len(self._starts)

    @property
    def first(self) -> int:
        """The smallest. IndexError when empty."""
        return self._starts[0]

    @property
    def last(self) -> int:
        """The largest. IndexError when empty."""
        return self._ends[-1]

    def add(self, low: int, high: int) -> None:
        """Take in low … high; nothing when high < low."""
        if high < low:
            return
        if self._ends and low == self._ends[-1] + 1:
            self._ends[-1] = high
            return
        left = bisect.bisect_left(self._ends, low - 1)
        right = bisect.bisect_right(self._starts, high + 1)
        if left < right:
            low, high = min(low, self._starts[left]), max(high, self._ends[right - 1])
        self._starts[left:right] = [low]
        self._ends[left:right] = [high]

    def remove(self, low: int, high: int) -> None:
        """Leave out low … high."""
        if high < low:
            return
        left = bisect.bisect_left(self._ends, low)
        right = bisect.bisect_right(self._starts, high)
        if left >= right:
            return
        kept = []
        if self._starts[left] < low:
            kept.append((self._starts[left], low - 1))
        if self._ends[right - 1] > high:
            kept.append((high + 1, self._ends[right - 1]))
        self._starts[left:right] = [start for start, _ in kept]
        self._ends[left:right] = [end for _, end in kept]

    def clear(self) -> None:
        """Leave out everything."""
        self._starts.clear()
        self._ends.clear()

    def gaps(self, low: int, high: int) -> list[tuple[int, int]]:
        """The ranges of low … high that are not in the set."""
        found = []
        place = bisect.bisect_left(self._ends, low)
        while low <= high:
            if place >= len(self._starts) or self._starts[place] > high:
                found.append((low, high))
                break
            if self._starts[place] > low:
                found.append((low, self._starts[place] - 1))
            low = self._ends[place] + 1
            place += 1
        return found

    def edge(self, start: int) -> int:
        """The last of the run that begins at `start`; start - 1 when `start` is not in the set."""
        place = bisect.bisect_right(self._starts, start) - 1
        return self._ends[place] if place >= 0 and start <= self._ends[place] else start - 1
