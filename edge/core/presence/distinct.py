"""The distinct values of a column, sorted. numpy's own `unique` imports masked arrays with its first call: 1.2 MiB."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


def distinct(values: NDArray[Scalar]) -> NDArray[Scalar]:
    """(n,) → the different ones, ascending."""
    ascending = np.sort(values)
    return ascending[_first(ascending)]


def distinct_at(values: NDArray[Scalar]) -> tuple[NDArray[Scalar], NDArray[np.intp]]:
    """(n,) → the different ones, ascending, and the index of each one's first occurrence."""
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    first = _first(ascending)
    return ascending[first], order[first]


def _first(ascending: NDArray[Scalar]) -> NDArray[np.bool_]:
    first = np.ones(len(ascending), bool)
    first[1:] = ascending[1:] != ascending[:-1]
    return first
