"""Facts in words, for who watches the demo: every type has something to say, and no field is invented."""

from __future__ import annotations

import pytest

import edge.core.facts  # noqa: F401 (registers the types)
from edge.core.fact import body_fields, fact_types, kind_of
from edge.demo.telling import row, sentence

TEA = {"04569951000003": "Green tea 500 ml"}


def test_a_sentence_names_product_and_place() -> None:
    picked = {"seq": 7, "type": "inventory.ItemPicked", "gtin": "04569951000003", "shelf": "shelf-2", "quantity": 2}
    assert sentence(picked, TEA) == "2 × Green tea 500 ml taken from shelf-2"
    people = {"seq": 8, "type": "footfall.Occupancy", "people": 13, "known": True, "low": 12, "high": 14}
    assert sentence(people, TEA) == "13 people inside (12 to 14)"
    assert sentence({**people, "known": False}, TEA) == "how many people are inside is not known"


def test_a_product_that_looks_like_a_placeholder_is_told_as_it_is() -> None:
    out = {"seq": 1, "type": "inventory.StockOut", "gtin": "1"}
    assert sentence(out, {"1": "{shelf}"}) == "{shelf} is out of stock"


@pytest.mark.parametrize("fact_type", list(fact_types().values()), ids=kind_of)
def test_every_type_fits_its_line(fact_type: type) -> None:
    fields = {name: ["x"] if name == "purposes" else f"<{name}>" for name in body_fields(fact_type)}
    seq, kind, told = row({"seq": 1, "type": kind_of(fact_type), **fields}, {})
    assert kind.plain == fact_type.__name__
    assert seq.plain == "1"
    assert told.plain
    assert told.no_wrap
    assert "{product}" not in told.plain
