"""``smartstore tell``: what its words mean, and what it refuses."""

from __future__ import annotations

import pytest

from edge.cli.tell import arguments, as_text
from edge.core.plain import PlainError


def test_words_become_arguments() -> None:
    words = ["hold=h-1", "gtin=04569951000003", "quantity=2", "expires_min=0.5", "sellable=true", 'lines=[{"line": 1}]']
    assert arguments(words) == {
        "hold": "h-1",
        "gtin": "04569951000003",
        "quantity": 2,
        "expires_min": 0.5,
        "sellable": True,
        "lines": [{"line": 1}],
    }


def test_a_gtin_of_any_length_stays_text() -> None:
    assert arguments(["gtin=96385074"]) == {"gtin": "96385074"}
    assert arguments(["order=o=1"]) == {"order": "o=1"}


@pytest.mark.parametrize("word", ["quantity", "=3", ""])
def test_a_word_that_is_no_argument_is_named(word: str) -> None:
    with pytest.raises(PlainError) as caught:
        arguments([word])
    assert repr(word) in str(caught.value)


def test_lines_for_people() -> None:
    refused = {"status": "rejected", "reason": "not_enough_stock", "detail": "quantity = 6: expected at most 5"}
    assert as_text({"answer": dict(refused)}) == "answer  rejected (not_enough_stock)  quantity = 6: expected at most 5"
    stock = {"gtin": "04569951000003", "on_hand": 9, "held": 4, "available_to_promise": 5}
    assert as_text({"stock": dict(stock)}) == "stock   04569951000003  on hand 9, held 4, can be promised 5"
