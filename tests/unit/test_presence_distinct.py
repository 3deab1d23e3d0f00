"""Distinct values of columns, against numpy's own `unique`."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.core.presence.distinct import distinct, distinct_at


@given(st.lists(st.integers(-3, 20), max_size=60))
def test_distinct_values_are_numpys(values: list[int]) -> None:
    column = np.array(values, np.int32)
    unique, first = np.unique(column, return_index=True)
    found, at = distinct_at(column)
    assert found.tolist() == distinct(column).tolist() == unique.tolist()
    assert at.tolist() == first.tolist()


def test_keys_of_sixteen_bytes_are_sorted_as_numpy_does() -> None:
    keys = np.random.default_rng(3).integers(0, 3, (200, 2)).astype(np.uint64).view("V16").ravel()
    assert distinct(keys).tobytes() == np.unique(keys).tobytes()
