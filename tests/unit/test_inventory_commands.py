"""Inventory: commands that count or move goods, refused by name or carried out once."""

from __future__ import annotations

from typing import Any

import pytest

from edge.core.errors import CommandRejected
from edge.core.facts import (
    BackInStock,
    Discrepancy,
    GoodsReceived,
    GoodsReturned,
    ItemExitedUnpaid,
    ItemMisplaced,
    ItemSold,
    OnHandChanged,
    PhantomSuspected,
    StockOut,
)
from edge.core.inventory import Inventory
from edge.core.ports import Command
from tests.unit.stock_support import MUG, SALT, SHIRT, SOCKS, at, command, gtin, of, site, step, tag
from tests.unit.test_inventory_fusion import count, run, stocked


def test_recount_sets_the_number_and_says_what_it_was() -> None:
    inventory = stocked(8)
    out = inventory.execute(command("recount", shelf="a", gtin=SHIRT, quantity=9), at(600))
    assert count(inventory, SHIRT) == 9
    assert [(d.expected, d.seen, d.explanation) for d in of(out, Discrepancy)] == [(8, 9, "recount")]
    shelf: Any = inventory.stock_document(SHIRT, at(600))["shelves"]
    assert shelf[0]["last_verified_us"] == 600_000_000
    assert shelf[0]["untagged"] == 1


def test_recount_before_the_tag_is_missed_is_not_counted_twice() -> None:
    inventory = stocked(8)
    inventory.execute(command("recount", shelf="b", gtin=SOCKS, quantity=0), at(600))
    inventory.handle(tag(600, "s1", SOCKS, "b"), at(600))
    run(inventory, 600, 1200)
    inventory.execute(command("recount", shelf="b", gtin=SOCKS, quantity=0), at(1200))
    assert count(inventory, SOCKS, "b") == 0
    inventory.handle(tag(1230, "s1", SOCKS, "", 0.99), at(1230))
    run(inventory, 1230, 2000)
    assert count(inventory, SOCKS, "b") == 0


def test_till_lines_move_what_no_sensor_sees_once() -> None:
    inventory = Inventory(site())
    inventory.execute(command("recount", shelf="c", gtin=SALT, quantity=5), at(0))
    sale = command("goods_sold", receipt="T1-77", lines=[{"line": 1, "gtin": SALT, "quantity": 2}])
    out = inventory.execute(sale, at(1))
    assert [(s.gtin, s.quantity, s.receipt, s.line) for s in of(out, ItemSold)] == [(SALT, 2, "T1-77", 1)]
    assert count(inventory, SALT, "c") == 3
    assert inventory.execute(sale, at(2)) == []
    again = Command("another-id", sale.name, sale.args)
    assert inventory.execute(again, at(3)) == []
    assert count(inventory, SALT, "c") == 3


def test_a_sale_of_a_sensed_product_does_not_move_its_count() -> None:
    inventory = stocked(8)
    inventory.handle(step(601, "a1", (SHIRT, -1, 0.99)), at(601))
    inventory.execute(command("goods_sold", receipt="T1-1", lines=[{"line": 1, "gtin": SHIRT}]), at(650))
    assert count(inventory, SHIRT) == 7


def test_selling_the_last_one_is_out_of_stock_and_a_delivery_brings_it_back() -> None:
    inventory = Inventory(site())
    inventory.execute(command("recount", shelf="c", gtin=SALT, quantity=1), at(0))
    out = inventory.execute(command("goods_sold", receipt="T1-2", lines=[{"line": 1, "gtin": SALT}]), at(1))
    assert [fact.gtin for fact in of(out, StockOut)] == [SALT]
    lines = [{"gtin": SALT, "quantity": 12}]
    assert inventory.execute(command("goods_expected", delivery="D1", lines=lines), at(2)) == []
    out = inventory.execute(command("goods_expected", delivery="D1", lines=lines, arrived=True), at(3))
    assert [(g.quantity, g.expected, g.delivery) for g in of(out, GoodsReceived)] == [(12, 12, "D1")]
    assert [fact.on_hand for fact in of(out, BackInStock)] == [12]


def test_tags_that_were_never_here_are_the_announced_delivery() -> None:
    inventory = stocked(2)
    inventory.execute(command("goods_expected", delivery="D2", lines=[{"gtin": SHIRT, "quantity": 3}]), at(600))
    out = inventory.handle_all([tag(700, f"new{i}", SHIRT, "a") for i in range(2)], at(700))
    assert of(out, GoodsReceived) == []
    out = run(inventory, 700, 800)
    assert [(g.quantity, g.expected) for g in of(out, GoodsReceived)] == [(2, 3)]
    out = inventory.handle(tag(900, "new2", SHIRT, "a"), at(900))
    assert [(g.quantity, g.expected) for g in of(out, GoodsReceived)] == [(1, 3)]


def test_a_customers_return_is_a_fact_and_stock_where_it_can_be_sold() -> None:
    inventory = Inventory(site())
    inventory.execute(command("recount", shelf="c", gtin=SALT, quantity=5), at(0))
    out = inventory.execute(command("goods_returned", order="W-9", gtin=SALT, quantity=1, online=True), at(1))
    told = of(out, GoodsReturned)
    assert [(r.order, r.online, r.sellable) for r in told] == [("W-9", True, True)]
    assert count(inventory, SALT, "c") == 6
    inventory.execute(command("goods_returned", order="W-9", gtin=SALT, quantity=1, sellable=False), at(2))
    assert count(inventory, SALT, "c") == 6


UNKNOWN = gtin(99)


@pytest.mark.parametrize(
    ("name", "args", "reason", "words"),
    [
        ("recount", {"shelf": "z", "gtin": SHIRT, "quantity": 1}, "bad_argument", ["shelf", "'z'", "planogram"]),
        ("recount", {"shelf": "a", "gtin": SHIRT, "quantity": -1}, "bad_argument", ["quantity", "-1", "0 to"]),
        ("recount", {"shelf": "a", "gtin": SHIRT, "quantity": 1.5}, "bad_argument", ["quantity", "1.5", "whole"]),
        ("recount", {"shelf": "a", "gtin": SHIRT}, "bad_argument", ["quantity"]),
        ("recount", {"shelf": "a", "gtin": "123", "quantity": 1}, "bad_argument", ["gtin", "'123'", "digits"]),
        ("recount", {"shelf": "a", "gtin": UNKNOWN, "quantity": 1}, "unknown_gtin", [UNKNOWN, "catalogue"]),
        ("goods_sold", {"receipt": "r", "lines": []}, "bad_argument", ["lines", "1 to"]),
        ("goods_sold", {"receipt": "", "lines": [{"line": 1, "gtin": SALT}]}, "bad_argument", ["receipt"]),
        ("goods_sold", {"receipt": "r", "lines": [{"line": 1, "gtin": SALT, "quantity": 0}]}, "bad_argument", ["[0]"]),
        ("goods_sold", {"receipt": "r", "lines": [{"line": 1, "gtin": SALT, "x": 0}]}, "bad_argument", ["x"]),
        ("goods_expected", {"delivery": "d", "lines": [{"gtin": SALT, "quantity": 0}]}, "bad_argument", ["quantity"]),
        ("goods_returned", {"order": "o", "gtin": UNKNOWN}, "unknown_gtin", [UNKNOWN]),
        ("set_catalogue", {"products": []}, "bad_argument", ["products"]),
        ("set_catalogue", {"products": [{"gtin": SALT, "unit_mass_g": -1.0}]}, "bad_argument", ["unit_mass_g", "-1"]),
        ("set_catalogue", {"products": [{"gtin": SALT}], "replace": True}, "in_planogram", [SHIRT]),
    ],
)
def test_bad_arguments_are_refused_by_name_and_change_nothing(
    name: str, args: dict[str, Any], reason: str, words: list[str]
) -> None:
    inventory = stocked(3)
    inventory.drain_said()
    with pytest.raises(CommandRejected) as refusal:
        inventory.execute(command(name, **args), at(600))
    assert refusal.value.reason == reason
    for word in (name, *words):
        assert word in refusal.value.detail
    assert inventory.drain_said() == {}


@pytest.mark.parametrize(
    "line",
    [
        {"line": 1, "gtin": SALT, "card": "4111111111111111"},
        {"line": 1, "gtin": SALT, "pan": "x"},
        {"line": 1, "gtin": SALT, "note": "paid with 4111 1111 1111 1111"},
        {"line": 1, "gtin": SALT, "track2": ";4111111111111111=29121"},
    ],
)
def test_card_data_is_refused_and_not_repeated(line: dict[str, Any]) -> None:
    inventory = Inventory(site())
    with pytest.raises(CommandRejected) as refusal:
        inventory.execute(command("goods_sold", receipt="T1", lines=[line]), at(0))
    assert refusal.value.reason == "card_data"
    assert "4111" not in refusal.value.detail


def test_a_receipt_that_is_a_card_number_is_refused_and_a_gtin_is_not_taken_for_one() -> None:
    inventory = Inventory(site())
    with pytest.raises(CommandRejected, match="card_data"):
        inventory.execute(command("goods_sold", receipt="5500000000000004", lines=[{"line": 1, "gtin": SALT}]), at(0))
    inventory.execute(command("goods_sold", receipt="2026112200451", lines=[{"line": 1, "gtin": SALT}]), at(0))


def test_an_unknown_gtin_is_a_named_exception_and_the_other_lines_count() -> None:
    inventory = Inventory(site())
    inventory.execute(command("recount", shelf="c", gtin=SALT, quantity=5), at(0))
    lines = [{"line": 1, "gtin": UNKNOWN}, {"line": 2, "gtin": SALT}]
    out = inventory.execute(command("goods_sold", receipt="T1-3", lines=lines), at(1))
    assert [s.gtin for s in of(out, ItemSold)] == [SALT]
    assert [d.explanation for d in of(out, Discrepancy)] == ["unknown_gtin"]
    entries = inventory.exceptions()
    assert [entry["kind"] for entry in entries] == ["unknown_gtin"]
    assert UNKNOWN in str(entries[0]["text"])
    with pytest.raises(CommandRejected, match="unknown_gtin"):
        inventory.execute(command("goods_sold", receipt="T1-4", lines=[{"line": 1, "gtin": UNKNOWN}]), at(2))
    inventory.execute(command("set_catalogue", products=[{"gtin": UNKNOWN, "name": "New"}]), at(3))
    assert inventory.exceptions() == []


def test_catalogue_changes_are_searchable_and_survive_a_restart() -> None:
    inventory = Inventory(site())
    rows = [{"gtin": SALT, "name": "Sea salt", "price_minor": 398, "currency": "JPY"}]
    inventory.execute(command("set_catalogue", products=rows), at(0))
    said = inventory.drain_said()
    again = Inventory(site())
    again.restore(said, at(1))
    assert again.site.product_by_gtin[SALT].price_minor == 398
    assert [row["gtin"] for row in again.search("sea", at(1))] == [SALT]


@pytest.mark.parametrize(
    ("text", "found"),
    [("shirt", [SHIRT]), ("WHITE", [SHIRT]), ("マグ", [MUG]), ("ｍｕｇ", [MUG]), (SOCKS[-6:], [SOCKS]), ("", [])],
)
def test_search_by_gtin_or_text(text: str, found: list[str]) -> None:
    inventory = stocked(3)
    assert [row["gtin"] for row in inventory.search(text, at(600))] == found


def test_a_misplaced_item_is_in_the_inbox_until_it_is_home() -> None:
    inventory = Inventory(site())
    fact = ItemMisplaced(at_us=1, epc="e1", gtin=MUG, shelf="b", home_shelf="a", confidence=0.9)
    inventory.handle(fact, at(1))
    assert [entry["kind"] for entry in inventory.exceptions()] == ["misplaced"]
    resolved = ItemMisplaced(at_us=1, epc="e1", gtin=MUG, shelf="a", home_shelf="a", confidence=0.9, resolved=True)
    inventory.handle(resolved, at(2))
    assert inventory.exceptions() == []


def test_what_left_unpaid_and_what_does_not_sell_is_in_the_inbox() -> None:
    inventory = Inventory(site())
    inventory.handle(ItemExitedUnpaid(at_us=1, epc="e1", gtin=SHIRT, exit="door", confidence=0.9), at(1))
    phantom = PhantomSuspected(at_us=2, gtin=SALT, on_hand=4, quiet_hours=70.0, expected_sales=9.0, probability=0.95)
    inventory.handle(phantom, at(2))
    assert [entry["kind"] for entry in inventory.exceptions()] == ["shrink", "phantom"]
    inventory.execute(command("recount", shelf="c", gtin=SALT, quantity=0), at(3))
    assert [entry["kind"] for entry in inventory.exceptions()] == ["shrink"]


def test_a_planogram_change_under_goods_is_named_and_changes_no_count() -> None:
    inventory = stocked(3)
    shelves = [{"id": "a", "zone": "floor", "products": [SOCKS, MUG]}, {"id": "b", "zone": "floor"}]
    lanes = [{"id": "a2", "shelf": "a", "cells": [{"device": "m1", "cell": 1}], "gtins": [SOCKS, MUG]}]
    out = inventory.replan(site(shelves=shelves, lanes=lanes), at(600))
    assert of(out, OnHandChanged, StockOut) == []
    assert [entry["kind"] for entry in inventory.exceptions()] == ["orphaned"]
    assert count(inventory, SHIRT) == 3
    inventory.replan(site(), at(601))
    assert inventory.exceptions() == []
