"""The tag table against a plain dict, on random, colliding and odd EPCs."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.presence.table import MAX_PROBES, TagTable


def columns(epcs: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(epcs), np.uint8).reshape(len(epcs), -1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 8, 12, 15, 16, 26]),
            st.lists(st.integers(0, 40), min_size=1, max_size=60),
            st.booleans(),
        ),
        max_size=8,
    )
)
def test_it_is_a_dict_from_epc_to_row(batches):
    table, model = TagTable(first_rows=4), {}
    for width, numbers, drop in batches:
        epcs = [number.to_bytes(width, "big") for number in numbers]
        rows = table.add(columns(epcs)).tolist()
        for epc, row in zip(epcs, rows, strict=True):
            assert model.setdefault(epc, row) == row
            assert table.epc(row) == epc
        assert len(set(model.values())) == len(model) == len(table)
        if drop:
            gone = list(model)[::2]
            table.drop(np.array([model.pop(epc) for epc in gone]))
            assert all((table.find(columns([epc])) == -1).all() for epc in gone)
        for epc, row in model.items():
            assert table.find(columns([epc])).tolist() == [row]


def test_epcs_of_different_widths_are_different_tags():
    table = TagTable()
    rows = {int(table.add(columns([b"\x30" + bytes(width - 1)]))[0]) for width in (8, 12, 14, 15, 16, 20)}
    assert len(rows) == 6


def test_a_large_stock_is_found_again():
    rng = np.random.default_rng(1)
    epcs = rng.integers(0, 256, (100_000, 12), dtype=np.uint8)
    table = TagTable()
    rows = np.concatenate([table.add(part) for part in np.array_split(epcs, 7)])
    assert len(np.unique(rows)) == 100_000
    assert (table.find(epcs) == rows).all()
    assert (table.find(rng.integers(0, 256, (1000, 12), dtype=np.uint8)) == -1).all()


def test_it_never_holds_more_than_it_may_and_counts_what_it_refuses():
    table = TagTable(max_rows=100, first_rows=10)
    epcs = np.arange(300, dtype=">u4").view(np.uint8).reshape(300, 4)
    rows = table.add(epcs)
    assert len(table) == 100
    assert (rows >= 0).sum() == 100
    assert table.refused == 200
    table.drop(np.flatnonzero(np.arange(100) < 40))
    assert (table.add(epcs) >= 0).sum() == 100


def test_crafted_collisions_cost_bounded_work_and_are_refused():
    table = TagTable()
    table._slots = lambda keys: np.zeros(len(keys), np.int64)  # the worst an adversary could craft
    epcs = np.arange(1000, dtype=">u4").view(np.uint8).reshape(1000, 4)
    rows = table.add(epcs)
    assert (rows >= 0).sum() <= MAX_PROBES
    assert table.refused >= 1000 - MAX_PROBES
    known = rows >= 0
    assert (table.find(epcs)[known] == rows[known]).all()
