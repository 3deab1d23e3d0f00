"""Inventory: tags and weight fused, counted once, doubted where they lack each other."""

from __future__ import annotations

import json

from edge.core.fact import JsonValue
from edge.core.facts import BackInStock, Discrepancy, OnHandChanged, StockOut, StockUnknown
from edge.core.inventory import Inventory
from edge.core.part import PlaceHealth, Signal
from tests.unit.stock_support import MUG, SALT, SHIRT, SOCKS, at, gtin, level, of, site, step, tag

GOWN = gtin(5)
GOWN_IS = {"gtin": GOWN, "name": "Gown", "unit_mass_g": 1500.0, "tagged": True}
PRODUCTS = [
    {"gtin": SHIRT, "unit_mass_g": 250.0, "tagged": True},
    {"gtin": SOCKS, "unit_mass_g": 80.0, "tagged": True},
    {"gtin": MUG, "unit_mass_g": 320.0},
    {"gtin": SALT},
]
SHELVES = [
    {"id": "a", "zone": "floor", "products": [SHIRT, SOCKS, MUG]},
    {"id": "b", "zone": "floor", "products": [SOCKS]},
]


def stocked(n_shirts: int = 8, n_socks: int = 0) -> Inventory:
    """A store whose tags have been read at the start, long ago."""
    inventory = Inventory(site())
    beliefs: list[Signal] = [tag(0, f"shirt{i}", SHIRT, "a") for i in range(n_shirts)]
    beliefs += [tag(0, f"socks{i}", SOCKS, "a") for i in range(n_socks)]
    inventory.handle_all(beliefs, at(0))
    run(inventory, 0, 600)
    return inventory


def run(inventory: Inventory, start_s: float, end_s: float) -> list[Signal]:
    """Tick as the engine would, from deadline to deadline."""
    out: list[Signal] = []
    clock_s = start_s
    while (deadline_us := inventory.next_deadline_us()) is not None and deadline_us <= end_s * 1e6:
        clock_s = max(clock_s + 0.001, deadline_us / 1e6)
        out += inventory.tick(at(clock_s))
    return out


def count(inventory: Inventory, gtin: str, shelf: str = "a") -> int:
    published = inventory.fusion.pair(shelf, gtin).published
    return published.on_hand if published else 0


def test_tags_alone_count_exactly() -> None:
    inventory = stocked(8)
    assert count(inventory, SHIRT) == 8
    document = inventory.stock_document(SHIRT, at(600))
    assert document["on_hand"] == 8
    assert document["shelves"][0]["confidence"] > 0.98  # type: ignore[index,call-overload]


def test_passing_doubts_of_many_tags_take_nothing_from_a_shelf_without_a_scale() -> None:
    inventory = Inventory(site())
    inventory.handle_all([tag(0, f"e{i}", SOCKS, "b") for i in range(12)], at(0))
    run(inventory, 0, 600)
    fading = [tag(600, f"e{i}", SOCKS, "b", 0.96) for i in range(11)] + [tag(600, "e11", SOCKS, "b", 0.6)]
    inventory.handle_all(fading, at(600))
    pair = inventory.fusion.pair("b", SOCKS)
    likely = inventory.fusion.distribution(pair, 600_000_000)
    assert likely[11] > likely[12] > 0.4 * likely[11]
    assert count(inventory, SOCKS, "b") == 12
    inventory.handle_all([tag(610, f"e{i}", SOCKS, "b", 0.2) for i in range(3)], at(610))
    assert count(inventory, SOCKS, "b") < 12  # that much doubt at once is believed


def test_arrivals_in_one_batch_are_one_fact() -> None:
    inventory = Inventory(site())
    out = inventory.handle_all([tag(0, f"e{i}", SHIRT, "a") for i in range(20)], at(0))
    assert len(of(out, OnHandChanged)) == 1


def test_weight_moves_the_number_at_once_and_the_tag_does_not_move_it_again() -> None:
    inventory = stocked(8)
    fast = of(inventory.handle(step(601, "a1", (SHIRT, -1, 0.99)), at(601)), OnHandChanged)
    assert [fact.on_hand for fact in fast] == [7]
    assert "weight" in fast[0].sources
    later = run(inventory, 601, 640)
    later += inventory.handle(tag(640, "shirt3", SHIRT, ""), at(640))
    later += run(inventory, 640, 1200)
    assert {fact.on_hand for fact in of(later, OnHandChanged)} <= {7}
    assert count(inventory, SHIRT) == 7


def test_a_tag_seen_elsewhere_before_its_lane_rests_is_counted_once() -> None:
    inventory = stocked(8)
    inventory.handle(tag(600, "shirt1", SHIRT, "b"), at(600))
    inventory.handle(step(602, "a1", (SHIRT, -1, 0.99)), at(602))
    run(inventory, 602, 1200)
    assert count(inventory, SHIRT) == 7
    assert count(inventory, SHIRT, "b") == 1


def test_a_tag_that_vanishes_without_a_step_is_doubted_then_believed() -> None:
    inventory = stocked(8)
    inventory.handle(tag(600, "shirt1", SHIRT, "", 0.9), at(600))
    assert count(inventory, SHIRT) == 8
    run(inventory, 600, 608)
    assert count(inventory, SHIRT) == 8
    run(inventory, 620, 1500)
    assert count(inventory, SHIRT) == 7


def test_a_false_flip_that_reverts_changes_nothing() -> None:
    inventory = stocked(8)
    out = inventory.handle(tag(600, "shirt1", SHIRT, "b", 0.9), at(600))
    out += run(inventory, 600, 620)
    out += inventory.handle(tag(620, "shirt1", SHIRT, "a", 0.95), at(620))
    out += run(inventory, 620, 1500)
    assert [fact for fact in of(out, OnHandChanged) if fact.shelf == "a" and fact.on_hand != 8] == []
    assert count(inventory, SHIRT, "b") == 0


def test_a_false_step_fades_when_no_tag_follows() -> None:
    inventory = stocked(8)
    inventory.handle(step(600, "a1", (SHIRT, -1, 0.9)), at(600))
    assert count(inventory, SHIRT) == 7
    run(inventory, 600, 900)
    assert count(inventory, SHIRT) == 8


def test_taken_and_put_back_before_the_tags_notice() -> None:
    inventory = stocked(8)
    inventory.handle(step(600, "a1", (SHIRT, -1, 0.99)), at(600))
    out = inventory.handle(step(640, "a1", (SHIRT, 1, 0.99)), at(640))
    out += run(inventory, 640, 1200)
    assert {fact.on_hand for fact in of(out, OnHandChanged)} == {8}


def test_swap_of_two_items_of_one_product() -> None:
    inventory = stocked(8)
    inventory.handle(step(600, "a1", (SHIRT, -1, 0.99)), at(600))
    inventory.handle(step(610, "a1", (SHIRT, 1, 0.99)), at(610))
    inventory.handle(tag(630, "shirt1", SHIRT, ""), at(630))
    assert count(inventory, SHIRT) == 8
    inventory.handle(tag(635, "other", SHIRT, "a"), at(635))
    run(inventory, 635, 1200)
    assert count(inventory, SHIRT) == 8


def test_the_tag_decides_between_products_of_a_mixed_lane() -> None:
    inventory = stocked(8, n_socks=6)
    inventory.handle(step(600, "a2", (MUG, -1, 0.55), (SOCKS, -1, 0.43)), at(600))
    inventory.handle(tag(630, "socks2", SOCKS, ""), at(630))
    run(inventory, 630, 1200)
    assert count(inventory, SOCKS) == 5
    assert inventory.fusion.pair("a", MUG).offset is None


def test_absolute_weight_shows_an_untagged_item_and_it_becomes_a_named_discrepancy() -> None:
    inventory = stocked(8)
    out = inventory.handle(level(600, 9.0), at(600))
    assert count(inventory, SHIRT) == 9
    out += run(inventory, 600, 900)
    told = of(out, Discrepancy)
    assert [(d.expected, d.seen, d.explanation) for d in told] == [(8, 9, "untagged")]
    assert [entry["kind"] for entry in inventory.exceptions()] == ["discrepancy"]
    out = inventory.handle(level(901, 8.0), at(901))
    assert of(out, Discrepancy)[0].resolved
    assert inventory.exceptions() == []


def test_untagged_goods_are_counted_by_absolute_weight() -> None:
    lanes = [{"id": "a1", "shelf": "a", "cells": [{"device": "m1", "cell": 0}], "gtins": [MUG]}]
    inventory = Inventory(site(lanes=lanes))
    inventory.handle(level(1, 12.05, product=MUG), at(1))
    assert count(inventory, MUG) == 12
    inventory.handle(step(20, "a1", (MUG, -2, 0.98)), at(20))
    assert count(inventory, MUG) == 10
    inventory.handle(level(20.5, 9.97, product=MUG), at(20.5))
    run(inventory, 21, 600)
    assert count(inventory, MUG) == 10


def test_a_silent_reader_changes_nothing_and_is_named_once() -> None:
    inventory = stocked(8)
    out = inventory.handle(PlaceHealth(600_000_000, "a", "rfid", False, "reader r1 is silent"), at(600))
    out += inventory.handle(PlaceHealth(601_000_000, "a", "rfid", False, "reader r1 is silent"), at(601))
    out += inventory.handle_all([tag(601, f"shirt{i}", SHIRT, None) for i in range(8)], at(601))
    out += run(inventory, 601, 2000)
    assert [(fact.cause, fact.known) for fact in of(out, StockUnknown)] == [("rfid: reader r1 is silent", False)]
    assert of(out, StockOut) == []
    assert count(inventory, SHIRT) == 8
    out = inventory.handle(PlaceHealth(2001_000_000, "a", "rfid", True), at(2001))
    assert [fact.known for fact in of(out, StockUnknown)] == [True]


def test_out_of_stock_and_back() -> None:
    inventory = Inventory(site())
    inventory.handle(tag(0, "e1", SOCKS, "b"), at(0))
    run(inventory, 0, 600)
    out = inventory.handle(tag(600, "e1", SOCKS, "", 0.99), at(600))
    out += run(inventory, 600, 1300)
    assert [fact.gtin for fact in of(out, StockOut)] == [SOCKS]
    out = inventory.handle(tag(1300, "e2", SOCKS, "b", 0.99), at(1300))
    assert [(fact.gtin, fact.on_hand) for fact in of(out, BackInStock)] == [(SOCKS, 1)]


def test_every_number_tells_why() -> None:
    inventory = stocked(8)
    inventory.handle(step(601, "a1", (SHIRT, -1, 0.99), delta_g=-250.2), at(601))
    document = inventory.stock_document(SHIRT, at(601))
    shelf = document["shelves"][0]  # type: ignore[index,call-overload]
    assert shelf["sources"] == ["rfid", "weight"]
    assert "-250.2 g" in shelf["why"][-1]["text"]
    assert shelf["why"][-1]["quantity"] == -1


def test_a_restart_says_nothing_false_and_goes_on() -> None:
    inventory = stocked(8)
    inventory.handle(step(601, "a1", (SHIRT, -1, 0.99)), at(601))  # its tag has not been missed yet
    said = inventory.drain_said()
    again = Inventory(site())
    again.restore(said, at(700))
    assert count(again, SHIRT) == 7
    out = again.handle_all([tag(701, f"shirt{i}", SHIRT, "a") for i in range(8)], at(701))
    out += again.handle(tag(730, "shirt3", SHIRT, ""), at(730))
    out += run(again, 730, 1500)
    assert {fact.on_hand for fact in of(out, OnHandChanged)} <= {7}
    assert count(again, SHIRT) == 7
    assert of(out, StockOut, BackInStock) == []


def test_what_a_known_stranger_weighs_is_not_counted_as_goods_of_the_lane() -> None:
    far = site(shelves=[*SHELVES, {"id": "d", "zone": "floor", "products": [GOWN]}], products=[*PRODUCTS, GOWN_IS])
    inventory = Inventory(far)
    inventory.handle_all([tag(0, f"shirt{i}", SHIRT, "a") for i in range(3)], at(0))
    run(inventory, 0, 600)
    inventory.handle(level(600, 3.0, 0.03), at(600))
    inventory.handle_all([step(601, "a1", (SHIRT, 6, 0.9), delta_g=1500.0), level(601, 9.0, 0.03)], at(601))
    assert count(inventory, SHIRT) == 9, "six shirts, as far as the scale knows"
    inventory.handle(tag(609, "gown", GOWN, "a"), at(609))
    assert count(inventory, SHIRT) == 3, "its tag says what the 1500 g were"
    assert count(inventory, GOWN) == 1


def test_a_tag_that_comes_home_after_a_long_false_stay_elsewhere_had_never_left() -> None:
    inventory = stocked(0, n_socks=5)
    inventory.handle(tag(601, "socks0", SOCKS, "b", 0.9), at(601))
    run(inventory, 601, 1500)
    inventory.handle(tag(1500, "socks0", SOCKS, "a", 0.9), at(1500))
    run(inventory, 1500, 1510)
    assert (count(inventory, SOCKS, "a"), count(inventory, SOCKS, "b")) == (5, 0)


def test_a_tag_first_placed_on_a_foreign_shelf_is_placed_at_home_without_a_scale() -> None:
    inventory = stocked(0, n_socks=5)
    inventory.handle(tag(601, "mug", SHIRT, "b"), at(601))
    run(inventory, 601, 800)
    assert count(inventory, SHIRT, "b") == 1
    inventory.handle(tag(800, "mug", SHIRT, "a"), at(800))
    assert (count(inventory, SHIRT, "a"), count(inventory, SHIRT, "b")) == (1, 0)


def after_hands() -> Inventory:
    """Eight shirts, and thirty steps that turned out to be hands."""
    inventory = stocked(8)
    for n in range(30):
        start_s = 1000.0 + 1000.0 * n
        inventory.handle(step(start_s, "a1", (SHIRT, 1, 0.7), delta_g=250.0), at(start_s))
        inventory.handle(step(start_s + 40, "a1", (SHIRT, -1, 0.7), delta_g=-250.0), at(start_s + 40))
        run(inventory, start_s + 40, start_s + 990)
    return inventory


def test_steps_told_like_those_that_were_hands_are_believed_less() -> None:
    inventory = after_hands()
    inventory.handle(step(40_000, "a1", (SHIRT, 1, 0.7), delta_g=250.0), at(40_000))
    assert count(inventory, SHIRT) == 8, "a hand again, most probably"
    inventory.handle(step(41_000, "a1", (SHIRT, 1, 0.995), delta_g=250.0), at(41_000))
    assert count(inventory, SHIRT) == 9


def test_learned_trust_outlives_a_restart_and_internals_of_an_older_release_are_taken() -> None:
    inventory = after_hands()
    said, kept = inventory.drain_said(), json.loads(json.dumps(inventory.internals()))

    def after_restart(internals: JsonValue) -> int:
        again = Inventory(site())
        again.restore(said, at(40_000))
        again.restore_internals(internals)
        again.handle_all([tag(40_001, f"shirt{i}", SHIRT, "a") for i in range(8)], at(40_001))
        again.handle(step(41_000, "a1", (SHIRT, 1, 0.7), delta_g=250.0), at(41_000))
        return count(again, SHIRT)

    assert after_restart(kept) == 8, "a hand again, most probably"
    assert after_restart({"offsets": kept["offsets"]}) == 9, "nothing was learned yet"
    foreign = {"tags": [[1, -1]] * 6, "put": [["a", 2]] * 6, "taken": 7}
    assert after_restart({"offsets": 3, "trust": foreign}) == 9
    assert after_restart([]) == 9


def test_a_lane_weighed_before_a_tag_left_says_nothing_against_its_leaving() -> None:
    inventory = stocked(8)
    inventory.handle(level(600, 8.0, 0.03), at(600))
    inventory.handle(tag(700, "shirt0", SHIRT, "", 0.99), at(700))
    run(inventory, 700, 1300)
    assert count(inventory, SHIRT) == 7
    inventory.handle(level(1300, 8.0, 0.03), at(1300))
    assert count(inventory, SHIRT) == 8, "weighed anew: the shirt lies there, its tag is what failed"


def test_a_tag_whose_leaving_the_scale_told_leaves_the_count_certain() -> None:
    inventory = stocked(8)
    inventory.handle(level(600, 8.0, 0.03), at(600))
    inventory.handle_all([step(700, "a1", (SHIRT, -1, 0.999), delta_g=-250.0), level(700, 7.0, 0.03)], at(700))
    inventory.handle(tag(730, "shirt0", SHIRT, "", 0.9), at(730))
    run(inventory, 730, 735)
    told = inventory.fusion.estimate(inventory.fusion.pair("a", SHIRT), at(735).mono_us)
    assert (told.on_hand, told.low, told.high) == (7, 7, 7)
    assert told.confidence > 0.99


def test_an_item_taken_while_its_tag_was_falsely_seen_elsewhere_is_gone() -> None:
    inventory = stocked(0, n_socks=5)
    inventory.handle(tag(601, "socks0", SOCKS, "b", 0.6), at(601))
    run(inventory, 601, 605)
    assert count(inventory, SOCKS) == 5, "no scale told it"
    inventory.handle(step(610, "a2", (SOCKS, -1, 0.995), delta_g=-80.0), at(610))
    inventory.handle(tag(640, "socks0", SOCKS, "", 0.97), at(640))
    run(inventory, 640, 650)
    assert (count(inventory, SOCKS, "a"), count(inventory, SOCKS, "b")) == (4, 0)
    told = inventory.fusion.estimate(inventory.fusion.pair("a", SOCKS), at(650).mono_us)
    assert told.confidence > 0.9
