"""Sets of integers as ranges, against a plain set."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.intervals import IntervalSet

steps = st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(-2, 12)), max_size=40)


@given(steps)
def test_like_a_plain_set(changes: list[tuple[bool, int, int]]) -> None:
    ours, plain = IntervalSet(), set()
    for adding, low, width in changes:
        span = set(range(low, low + width + 1))
        if adding:
            ours.add(low, low + width)
            plain |= span
        else:
            ours.remove(low, low + width)
            plain -= span
        assert [n for low, high in ours for n in range(low, high + 1)] == sorted(plain)
        assert ours.count == len(plain)
        assert bool(ours) == bool(plain)
        pairs = list(ours)
        assert all(a[1] + 1 < b[0] for a, b in itertools.pairwise(pairs)), "adjacent ranges melt"
        missing = [n for low, high in ours.gaps(5, 40) for n in range(low, high + 1)]
        assert missing == [n for n in range(5, 41) if n not in plain]
        edge = 10
        while edge in plain:
            edge += 1
        assert ours.edge(10) == edge - 1
        assert (7 in ours) == (7 in plain)


def test_appending_in_order_keeps_one_range() -> None:
    ours = IntervalSet()
    for number in range(1, 100_000):
        ours.add(number, number)
    assert list(ours) == [(1, 99_999)]
    assert len(ours) == 1
    assert (ours.first, ours.last) == (1, 99_999)
