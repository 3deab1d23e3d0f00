"""Holds: placed, picked, collected, released, expired; and what may still be promised."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.errors import CommandRejected
from edge.core.facts import HoldCollected, HoldExpired, HoldPicked, HoldPlaced, HoldReleased, OnHandChanged
from edge.core.holds import Holds, State
from edge.core.inventory import Inventory
from tests.unit.stock_support import SALT, SHIRT, at, command, gtin, of, site, step, tag
from tests.unit.test_inventory_fusion import count, run, stocked


def shop(quantity: int = 10) -> tuple[Inventory, Holds]:
    """A store with salt that a person counted."""
    inventory = Inventory(site())
    holds = Holds(inventory)
    inventory.execute(command("recount", shelf="c", gtin=SALT, quantity=quantity), at(0))
    return inventory, holds


def test_a_hold_lowers_what_can_be_promised_until_it_is_picked() -> None:
    inventory, holds = shop(10)
    out = holds.execute(command("place_hold", hold="h1", gtin=SALT, quantity=3, pickup="locker"), at(1))
    placed = of(out, HoldPlaced)[0]
    assert (placed.quantity, placed.pickup) == (3, "locker")
    assert holds.available_to_promise(SALT, at(1).mono_us) == 7
    assert inventory.stock_document(SALT, at(1))["available_to_promise"] == 7
    out = holds.execute(command("pick_hold", hold="h1"), at(2))
    assert of(out, HoldPicked)
    assert [fact.on_hand for fact in of(out, OnHandChanged)] == [7]
    assert holds.available_to_promise(SALT, at(2).mono_us) == 7
    assert of(holds.execute(command("collect_hold", hold="h1"), at(3)), HoldCollected)
    assert holds.available_to_promise(SALT, at(3).mono_us) == 7


def test_expiry_is_told_at_its_time_and_frees_the_goods() -> None:
    _, holds = shop(10)
    holds.execute(command("place_hold", hold="h1", gtin=SALT, quantity=4, expires_min=30), at(0))
    assert holds.next_deadline_us() == 30 * 60 * 1_000_000
    assert holds.tick(at(1799)) == []
    out = of(holds.tick(at(1800)), HoldExpired)
    assert [(fact.hold, fact.quantity, fact.picked) for fact in out] == [("h1", 4, False)]
    assert holds.available_to_promise(SALT, at(1800).mono_us) == 10
    assert of(holds.tick(at(1801)), HoldExpired) == []


def test_a_picked_hold_that_is_released_asks_to_put_the_goods_back() -> None:
    inventory, holds = shop(10)
    holds.execute(command("place_hold", hold="h1", gtin=SALT, quantity=2), at(1))
    holds.execute(command("pick_hold", hold="h1"), at(2))
    out = of(holds.execute(command("release_hold", hold="h1", reason="customer"), at(3)), HoldReleased)
    assert [(fact.picked, fact.reason) for fact in out] == [(True, "customer")]
    assert [entry["kind"] for entry in inventory.exceptions()] == ["put_back"]


def test_picking_what_the_shelf_has_told_already_is_not_counted_twice() -> None:
    inventory = stocked(8)
    holds = Holds(inventory)
    holds.execute(command("place_hold", hold="h1", gtin=SHIRT, quantity=2), at(600))
    inventory.handle(step(610, "a1", (SHIRT, -2, 0.99)), at(610))
    holds.execute(command("pick_hold", hold="h1"), at(620))
    assert count(inventory, SHIRT) == 6
    inventory.handle_all([tag(640, "shirt1", SHIRT, ""), tag(640, "shirt2", SHIRT, "")], at(640))
    run(inventory, 640, 1500)
    assert count(inventory, SHIRT) == 6


def test_weight_and_tags_that_follow_a_pick_are_the_same_goods() -> None:
    inventory = stocked(8)
    holds = Holds(inventory)
    holds.execute(command("place_hold", hold="h1", gtin=SHIRT, quantity=2), at(600))
    holds.execute(command("pick_hold", hold="h1"), at(605))
    assert count(inventory, SHIRT) == 6
    inventory.handle(step(610, "a1", (SHIRT, -2, 0.99)), at(610))
    assert count(inventory, SHIRT) == 6
    inventory.handle_all([tag(640, "shirt1", SHIRT, ""), tag(640, "shirt2", SHIRT, "")], at(640))
    run(inventory, 640, 1500)
    assert count(inventory, SHIRT) == 6


@pytest.mark.parametrize(
    ("name", "args", "reason", "words"),
    [
        ("place_hold", {"hold": "h", "gtin": SALT, "quantity": 11}, "not_enough_stock", ["quantity", "11", "10"]),
        ("place_hold", {"hold": "h", "gtin": SALT, "quantity": 0}, "bad_argument", ["quantity", "0"]),
        ("place_hold", {"hold": "h", "gtin": gtin(99)}, "unknown_gtin", [gtin(99)]),
        ("place_hold", {"hold": "h", "gtin": SALT, "pickup": "drone"}, "bad_argument", ["pickup", "drone", "locker"]),
        ("place_hold", {"hold": "h", "gtin": SALT, "expires_min": 0}, "bad_argument", ["expires_min"]),
        ("place_hold", {"hold": "", "gtin": SALT}, "bad_argument", ["hold"]),
        ("place_hold", {"hold": "old", "gtin": SALT}, "known_hold", ["old"]),
        ("pick_hold", {"hold": "none"}, "unknown_hold", ["none"]),
        ("collect_hold", {"hold": "old"}, "wrong_state", ["old", "placed", "picked"]),
    ],
)
def test_refusals_name_the_hold_and_change_nothing(
    name: str, args: dict[str, Any], reason: str, words: list[str]
) -> None:
    _, holds = shop(11)
    holds.execute(command("place_hold", hold="old", gtin=SALT, quantity=1), at(0))
    holds.drain_said()
    with pytest.raises(CommandRejected) as refusal:
        holds.execute(command(name, **args), at(1))
    assert refusal.value.reason == reason
    for word in (name, *words):
        assert word in refusal.value.detail
    assert holds.drain_said() == {}


def test_the_same_command_twice_is_one_hold() -> None:
    _, holds = shop(10)
    place = command("place_hold", hold="h1", gtin=SALT, quantity=3)
    assert holds.execute(place, at(1))
    assert holds.execute(place, at(2)) == []
    assert holds.available_to_promise(SALT, at(2).mono_us) == 7


def test_a_restart_keeps_holds_and_lets_them_expire() -> None:
    inventory, holds = shop(10)
    holds.execute(command("place_hold", hold="h1", gtin=SALT, quantity=3, expires_min=10), at(1))
    holds.execute(command("place_hold", hold="h2", gtin=SALT, quantity=2, expires_min=600), at(1))
    holds.execute(command("pick_hold", hold="h2"), at(2))
    said_stock, said = inventory.drain_said(), holds.drain_said()
    inventory = Inventory(site())
    inventory.restore(said_stock, at(3600))
    holds = Holds(inventory)
    holds.restore(said, at(3600))
    assert [hold.state for hold in holds.holds()] == [State.PLACED, State.PICKED]
    assert count(inventory, SALT, "c") == 8
    assert [fact.hold for fact in of(holds.tick(at(3600)), HoldExpired)] == ["h1"]


@settings(max_examples=60, deadline=None)
@given(
    on_hand=st.integers(0, 12),
    buffer=st.integers(0, 2),
    moves=st.lists(
        st.tuples(st.sampled_from(["place", "pick", "collect", "release", "sell"]), st.integers(0, 5)), max_size=25
    ),
)
def test_never_more_is_promised_than_is_there(on_hand: int, buffer: int, moves: list[tuple[str, int]]) -> None:
    inventory, _ = shop(on_hand)
    holds = Holds(inventory, buffer=buffer)
    held: dict[str, int] = {}
    for second, (move, number) in enumerate(moves, start=1):
        now = at(second)
        before = holds.available_to_promise(SALT, now.mono_us)
        try:
            if move == "place":
                holds.execute(command("place_hold", hold=f"h{second}", gtin=SALT, quantity=number), now)
                held[f"h{second}"] = number
                assert number <= before
            elif move == "sell":
                lines = [{"line": 1, "gtin": SALT, "quantity": 1}]
                inventory.execute(command("goods_sold", receipt=f"r{second}", lines=lines), now)
            else:
                chosen = sorted(held)[number % len(held)] if held else "none"
                holds.execute(command(f"{move}_hold", hold=chosen), now)
                if move != "collect":
                    held.pop(chosen)
                if move == "pick":  # what was picked has left the shelf: nothing else may be promised for it
                    assert holds.available_to_promise(SALT, now.mono_us) <= before
        except CommandRejected:
            assert holds.available_to_promise(SALT, now.mono_us) == before
        p10 = inventory.at_least(SALT, now.mono_us)
        expected = max(0, p10 - sum(held.values()) - buffer)
        assert holds.available_to_promise(SALT, now.mono_us) == expected
