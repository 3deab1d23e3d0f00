"""Reorder: one trigger for each cycle, whatever restarts and replays; policies and their reasons."""

from __future__ import annotations

from typing import Any

import pytest

from edge.core.errors import CommandRejected
from edge.core.facts import (
    GoodsReceived,
    ItemSold,
    OnHandChanged,
    PhantomSuspected,
    ReorderCleared,
    ReorderTriggered,
)
from edge.core.part import Signal
from edge.core.reorder import Reorder
from tests.unit.stock_support import SALT, at, command, gtin, of, site


def counted(on_hand: int, confidence: float = 0.99, shelf: str = "c") -> OnHandChanged:
    return OnHandChanged(
        at_us=0,
        gtin=SALT,
        shelf=shelf,
        on_hand=on_hand,
        low=on_hand,
        high=on_hand,
        confidence=confidence,
        sources=["weight"],
        reason="weight",
    )


def min_max(**changes: Any) -> Reorder:
    reorder = Reorder(site())
    args: dict[str, Any] = {"gtin": SALT, "policy": "min_max", "minimum": 4, "maximum": 20, "pack": 6}
    reorder.execute(command("set_reorder_policy", **(args | changes)), at(0))
    return reorder


def triggers(signals: list[Signal]) -> list[ReorderTriggered]:
    return of(signals, ReorderTriggered)


def test_one_trigger_in_whole_packs_with_its_reason() -> None:
    reorder = min_max()
    assert triggers(reorder.handle(counted(5), at(1))) == []
    told = triggers(reorder.handle(counted(4), at(2)))
    assert [(t.quantity, t.policy, t.reorder_point, t.on_hand) for t in told] == [(18, "min_max", 4, 4)]
    assert "4 on hand" in told[0].why
    assert "minimum" in told[0].why
    for second, on_hand in enumerate((3, 4, 5, 2, 0), start=3):
        assert triggers(reorder.handle(counted(on_hand), at(second))) == []
    document = reorder.document(SALT)
    assert (document["on_order"], document["reorder_point"]) == (18, 4)


def test_goods_that_arrive_end_the_cycle_and_the_next_one_has_a_new_key() -> None:
    reorder = min_max()
    first = triggers(reorder.handle(counted(4), at(1)))[0]
    receipt = GoodsReceived(at_us=0, gtin=SALT, quantity=18, delivery="D1")
    cleared = of(reorder.handle(receipt, at(2)), ReorderCleared)
    assert [fact.idempotency_key for fact in cleared] == [first.idempotency_key]
    assert triggers(reorder.handle(counted(22), at(3))) == []
    second = triggers(reorder.handle(counted(3), at(4)))
    assert len(second) == 1
    assert second[0].idempotency_key != first.idempotency_key


def test_a_part_delivery_keeps_the_rest_on_order() -> None:
    reorder = min_max()
    reorder.handle(counted(4), at(1))
    out = reorder.handle(GoodsReceived(at_us=0, gtin=SALT, quantity=10, delivery="D1"), at(2))
    assert of(out, ReorderCleared) == []
    assert reorder.document(SALT)["on_order"] == 8


def test_an_uncertain_low_count_must_last() -> None:
    reorder = min_max()
    assert triggers(reorder.handle(counted(4, confidence=0.6), at(10))) == []
    assert triggers(reorder.handle(counted(5, confidence=0.6), at(20))) == []
    assert triggers(reorder.handle(counted(4, confidence=0.6), at(30))) == []
    assert triggers(reorder.tick(at(89))) == []
    assert len(triggers(reorder.tick(at(90)))) == 1


def test_a_restart_and_a_replay_trigger_nothing_again() -> None:
    reorder = min_max()
    first = triggers(reorder.handle(counted(4), at(1)))
    again = Reorder(site())
    again.restore(reorder.drain_said(), at(2))
    assert triggers(again.handle(counted(4), at(3))) == []
    assert triggers(again.handle(counted(2), at(4))) == []
    # received at the back door: not on the shelf yet, and all the same no reason to order again
    assert triggers(again.handle(GoodsReceived(at_us=0, gtin=SALT, quantity=18, delivery="D1"), at(5))) == []
    assert triggers(again.handle(counted(1), at(6))) == []
    assert triggers(again.handle(counted(19), at(7))) == []
    second = triggers(again.handle(counted(1), at(8)))
    assert len({t.idempotency_key for t in first + second}) == 2


def test_an_order_that_never_comes_is_given_up_and_the_need_told_again() -> None:
    reorder = min_max(lead_time_h=24.0)
    reorder.handle(counted(4), at(1))
    day_s = 86_400
    assert triggers(reorder.tick(at(2.9 * day_s))) == []
    out = reorder.tick(at(3 * day_s + 2))
    assert [fact.reason for fact in of(out, ReorderCleared)] == ["overdue: nothing arrived"]
    out += reorder.handle(counted(4), at(3 * day_s + 3))
    assert len(triggers(out)) == 1


def test_goods_put_on_the_shelf_without_a_receipt_end_the_cycle_too() -> None:
    reorder = min_max()
    reorder.handle(counted(4), at(1))
    assert of(reorder.handle(counted(12), at(2)), ReorderCleared) == []
    assert len(of(reorder.handle(counted(22), at(3)), ReorderCleared)) == 1


def test_a_vendors_signal_is_told_once_until_the_need_is_gone() -> None:
    reorder = min_max(policy="vendor_managed", vendor="Salt Ltd")
    assert len(triggers(reorder.handle(counted(4), at(1)))) == 1
    assert triggers(reorder.handle(counted(3), at(2))) == []
    assert of(reorder.handle(counted(5), at(3)), ReorderCleared) == []
    assert triggers(reorder.handle(counted(4), at(4))) == []
    assert len(of(reorder.handle(counted(20), at(5)), ReorderCleared)) == 1
    assert len(triggers(reorder.handle(counted(2), at(6)))) == 1


@pytest.mark.parametrize("policy", ["s_q", "s_s", "just_in_time"])
def test_learned_policies_order_more_often_the_more_is_sold(policy: str) -> None:
    points = []
    for sold_a_day in (2, 12):
        reorder = Reorder(site())
        args = {"gtin": SALT, "policy": policy, "quantity": 10, "lead_time_h": 48.0}
        reorder.execute(command("set_reorder_policy", **args), at(0))
        reorder.handle(counted(10_000), at(0))
        for day in range(40):
            sale = ItemSold(at_us=0, gtin=SALT, quantity=sold_a_day, receipt=f"r{day}", line=1)
            reorder.handle(sale, at(day * 86_400 + 50_000))
        document = reorder.document(SALT)
        assert float(str(document["demand_per_day"])) == pytest.approx(sold_a_day, rel=0.15)
        points.append(int(str(document["reorder_point"])))
    assert 4 <= points[0] < 20
    assert 24 <= points[1] < 80
    assert points[0] < points[1]


def test_days_without_stock_do_not_lower_the_demand() -> None:
    reorder = Reorder(site())
    args = {"gtin": SALT, "policy": "s_q", "quantity": 10, "lead_time_h": 24.0}
    reorder.execute(command("set_reorder_policy", **args), at(0))
    for day in range(60):
        start_s = day * 86_400
        if day % 2:
            reorder.handle(counted(0), at(start_s))
        else:
            reorder.handle(counted(50), at(start_s))
            reorder.handle(ItemSold(at_us=0, gtin=SALT, quantity=6, receipt=f"r{day}", line=1), at(start_s + 60))
    reorder.tick(at(60 * 86_400))
    assert float(str(reorder.document(SALT)["demand_per_day"])) == pytest.approx(6.0, rel=0.2)


def sold_daily(reorder: Reorder, days: int, quantity: int = 5) -> None:
    for day in range(days):
        sale = ItemSold(at_us=0, gtin=SALT, quantity=quantity, receipt=f"r{day}", line=1)
        reorder.handle_all([sale, booked(200 - day)], at(day * 86_400 + 40_000))


def booked(on_hand: int) -> OnHandChanged:
    return OnHandChanged(
        at_us=0,
        gtin=SALT,
        shelf="c",
        on_hand=on_hand,
        low=on_hand,
        high=on_hand,
        confidence=0.9,
        sources=["books"],
        reason="till",
    )


def phantoms(reorder: Reorder, first_day: int, last_day: int) -> list[PhantomSuspected]:
    out: list[Signal] = []
    for day in range(first_day, last_day):
        out += reorder.tick(at(day * 86_400 + 86_399))
    return of(out, PhantomSuspected)


def test_book_stock_that_should_have_sold_and_does_not_move_is_suspected_once() -> None:
    reorder = min_max(minimum=1, maximum=2, pack=1)
    sold_daily(reorder, 30)
    told = phantoms(reorder, 30, 60)
    assert [(fact.gtin, fact.on_hand) for fact in told] == [(SALT, 171)]
    assert told[0].expected_sales > 4
    assert told[0].probability >= 0.9


def test_goods_that_sensors_see_and_slow_sellers_are_no_phantoms() -> None:
    seen = min_max(minimum=1, maximum=2, pack=1)
    sold_daily(seen, 30)
    seen.handle(counted(171), at(30 * 86_400))
    assert phantoms(seen, 30, 60) == []
    slow = min_max(minimum=1, maximum=2, pack=1)
    slow.handle(booked(10), at(0))
    assert phantoms(slow, 0, 4) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"maximum": 4}, ["maximum", "4", "more than"]),
        ({"policy": "magic"}, ["policy", "magic", "s_q"]),
        ({"pack": 0}, ["pack", "0"]),
        ({"lead_time_h": -1.0}, ["lead_time_h", "-1"]),
        ({"target": 1.0}, ["target", "1.0"]),
        ({"policy": "s_q"}, ["quantity", "0"]),
        ({"gtin": "12"}, ["gtin", "12"]),
        ({"gtin": gtin(99)}, [gtin(99)]),
    ],
)
def test_bad_policies_are_refused_by_name(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(CommandRejected) as refusal:
        min_max(**changes)
    for word in ("set_reorder_policy", *words):
        assert word in refusal.value.detail
