"""Antennas with a personality: fitting room, exit, till; sold tags, returns, misplaced items, strangers, ageing."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.facts import (
    FittingRoomDwell,
    ItemExitedUnpaid,
    ItemMisplaced,
    TagArrived,
    TagDeparted,
    TagMoved,
    TagUnknown,
)
from edge.core.instant import US_PER_DAY, US_PER_S
from edge.core.part import TagBelief, facts_of
from edge.core.presence import Presence, load_profile
from edge.core.presence.strangers import FACTS_BURST, MAX_REMEMBERED
from tests.unit.presence_support import Stage, epc, gtin, identity, reads, store

EXIT, FITTING, TILL, BACK = (("reader-x", port) for port in (1, 2, 3, 4))
EXTRA = (
    {"port": 1, "role": "exit", "zone": "door"},
    {"port": 2, "role": "fitting", "zone": "fit"},
    {"port": 3, "role": "pos", "zone": "till"},
    {"port": 4, "role": "back", "zone": "store-room"},
)
S0, S1 = ("reader-1", 1), ("reader-1", 2)
TAG = epc(0, 1)
URI = identity(TAG)[1]


@pytest.fixture
def stage() -> Stage:
    stage = Stage(Presence(store(4, EXTRA), identity, load_profile()))
    for shelf in range(4):
        for n in range(12):
            stage.put(epc(shelf * 2 + n % 2, n), ("reader-1", shelf + 1))
    stage.put(TAG, S0)
    stage.run(90)
    return stage


def named(signals, kind):
    return [fact for fact in facts_of(signals) if isinstance(fact, kind)]


def test_an_item_that_passes_the_exit_unpaid_is_told_at_once_and_then_departs(stage):
    stage.put(TAG, EXIT)
    signals = stage.run(15)
    assert [(f.epc, f.exit) for f in named(signals, ItemExitedUnpaid)] == [(URI, "door")]
    stage.put(TAG, None)
    assert [(f.epc, f.reason) for f in named(stage.run(60), TagDeparted)] == [(URI, "exit")]


def test_a_sold_item_departs_at_the_till_and_passes_the_exit_in_peace(stage):
    stage.put(TAG, TILL)
    stage.run(20)
    sold = stage.part.sold(gtin(0), 1, stage.now, epcs=[TAG])
    assert [(f.epc, f.reason, f.shelf) for f in named(sold, TagDeparted)] == [(URI, "sold", "till")]
    assert [s.shelf for s in sold if isinstance(s, TagBelief)] == [""]
    stage.put(TAG, EXIT)
    signals = stage.run(20)
    stage.put(TAG, None)
    assert not list(facts_of(signals + stage.run(60)))


def test_a_till_that_knows_the_product_only_takes_the_item_that_lies_there(stage):
    stage.put(TAG, TILL)
    stage.run(30)
    assert [f.epc for f in named(stage.part.sold(gtin(0), 1, stage.now), TagDeparted)] == [URI]


def test_a_sale_without_a_tag_at_the_till_excuses_one_item_at_the_exit_and_no_second(stage):
    assert stage.part.sold(gtin(0), 1, stage.now) == []
    other = epc(0, 0)
    stage.put(TAG, EXIT)
    first = stage.run(20)
    assert [(f.epc, f.reason) for f in named(first, TagDeparted)] == [(URI, "sold")]
    assert not named(first, ItemExitedUnpaid)
    stage.put(other, EXIT)
    assert [f.epc for f in named(stage.run(20), ItemExitedUnpaid)] == [identity(other)[1]]


def test_a_sold_item_back_on_a_shelf_is_a_return_and_may_be_stolen_again(stage):
    stage.put(TAG, TILL)
    stage.run(30)
    stage.part.sold(gtin(0), 1, stage.now, epcs=[TAG])
    stage.put(TAG, None)
    stage.run(700)
    stage.put(TAG, S0)
    assert [(f.epc, f.shelf) for f in named(stage.run(40), TagArrived)] == [(URI, "s0")]
    assert stage.part.drain_said()[TAG.hex()][2] == "returned"
    stage.put(TAG, EXIT)
    assert named(stage.run(20), ItemExitedUnpaid)


def test_the_fitting_room_tells_how_long_an_item_was_there(stage):
    stage.put(TAG, FITTING)
    stage.run(120)
    stage.put(TAG, S0)
    dwells = named(stage.run(60), FittingRoomDwell)
    assert [(f.epc, f.zone) for f in dwells] == [(URI, "fit")]
    assert 90 <= dwells[0].dwell_s <= 150


def test_back_room_goods_arrive_there_and_move_to_the_shelf(stage):
    tag = epc(0, 99)
    stage.put(tag, BACK)
    assert [f.shelf for f in named(stage.run(40), TagArrived)] == ["store-room"]
    stage.put(tag, S0)
    assert [(f.from_shelf, f.shelf) for f in named(stage.run(60), TagMoved)] == [("store-room", "s0")]


def test_a_misplaced_item_is_told_once_and_resolved_when_it_is_put_right(stage):
    stage.put(TAG, S1)
    signals = stage.run(60)
    assert [(f.shelf, f.home_shelf, f.resolved) for f in named(signals, ItemMisplaced)] == [("s1", "s0", False)]
    assert not named(stage.run(120), ItemMisplaced)
    stage.put(TAG, S0)
    assert [f.resolved for f in named(stage.run(60), ItemMisplaced)] == [True]


def test_strangers_are_counted_and_shown_and_never_tracked(stage):
    foreign = b"\xe2" + bytes(11)
    stage.put(foreign, S0)
    facts = list(facts_of(stage.run(60)))
    assert [(type(f), f.epc, f.place, f.total) for f in facts] == [(TagUnknown, foreign.hex(), "s0", 1)]


def test_a_million_strangers_in_an_hour_stay_within_bounds():
    part = Presence(store(4), identity, load_profile())
    stage = Stage(part)
    rng = np.random.default_rng(3)
    told = 0
    for _ in range(400):  # the rate of 10^6 an hour, for as long as it takes to fill the room twice
        stage.now_us += US_PER_S
        rows = [(rng.bytes(12), 1, -60.0) for _row in range(278)]
        stage.part.observe(reads("reader-1", rows, stage.now_us), stage.now)
        told += len(named(part.tick(stage.now), TagUnknown))
    assert part.status()["strangers"]["total"] >= 400 * 278 - 2
    assert FACTS_BURST <= told <= FACTS_BURST + 400 / 10 + 1
    assert part.status()["tags"]["rows"] <= 4 * MAX_REMEMBERED
    assert len(part.status()["strangers"]["last"]) == 10


def test_departed_tags_are_forgotten_after_a_day_and_their_rows_used_again(stage):
    stage.put(TAG, None)
    stage.run(90)
    assert stage.part.drain_said()[TAG.hex()][2] == "departed"
    stage.now_us += US_PER_DAY
    stage.run(20)
    assert stage.part.drain_said()[TAG.hex()] is None
