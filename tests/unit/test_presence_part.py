"""The presence part on a small store: arriving, moving, leaving, and readers that fail."""

from __future__ import annotations

import json
from collections import Counter

from edge.core.facts import ItemMisplaced, TagArrived, TagDeparted, TagMoved
from edge.core.instant import US_PER_S
from edge.core.observation import AntennaStatus
from edge.core.part import PlaceHealth, TagBelief, facts_of
from edge.core.presence import Presence, load_profile
from tests.unit.presence_support import Stage, epc, identity, reads, store


def full_stage(part: Presence, tags_a_shelf: int = 50) -> Stage:
    stage = Stage(part)
    for shelf in range(8):
        for n in range(tags_a_shelf):
            stage.put(epc(shelf * 2 + n % 2, n), (f"reader-{shelf // 4 + 1}", shelf % 4 + 1))
    return stage


def test_every_tag_arrives_once_at_its_shelf_and_nothing_else_is_said():
    stage = full_stage(Presence(store(), identity, load_profile()))
    facts = list(facts_of(stage.run(120)))
    assert {type(fact) for fact in facts} == {TagArrived}
    assert Counter(fact.shelf for fact in facts) == {f"s{shelf}": 50 for shelf in range(8)}
    assert all(fact.epc.startswith("urn:epc:id:sgtin:") and fact.gtin for fact in facts)


def test_a_tag_carried_out_departs_and_one_put_elsewhere_moves():
    stage = full_stage(Presence(store(), identity, load_profile()))
    stage.run(60)
    stage.put(epc(0, 0), None)
    stage.put(epc(2, 2), ("reader-2", 3))
    signals = stage.run(60)
    facts = list(facts_of(signals))
    assert [(f.epc, f.shelf, f.reason) for f in facts if isinstance(f, TagDeparted)] == [
        (identity(epc(0, 0))[1], "s0", "left")
    ]
    assert [(f.from_shelf, f.shelf) for f in facts if isinstance(f, TagMoved)] == [("s1", "s6")]
    misplaced = [f for f in facts if isinstance(f, ItemMisplaced)]
    assert [(f.shelf, f.home_shelf, f.resolved) for f in misplaced] == [("s6", "s1", False)]
    assert len(facts) == 3
    last = {s.epc: s.shelf for s in signals if isinstance(s, TagBelief)}
    assert last[identity(epc(0, 0))[1]] == ""
    assert last[identity(epc(2, 2))[1]] == "s6"


def test_a_reader_that_is_down_makes_nothing_depart():
    part = Presence(store(), identity, load_profile())
    stage = full_stage(part)
    stage.run(60)
    stage.muted = {"reader-1"}
    signals = part.reader_status("reader-1", up=False, now=stage.now) + stage.run(600)
    assert not list(facts_of(signals))
    assert {s.shelf for s in signals if isinstance(s, PlaceHealth) and not s.healthy} == {"s0", "s1", "s2", "s3"}
    assert sum(isinstance(s, TagBelief) and s.shelf is None for s in signals) == 200
    stage.muted = set()
    back = part.reader_status("reader-1", up=True, now=stage.now) + stage.run(60)
    assert not list(facts_of(back))
    assert {s.shelf for s in back if isinstance(s, PlaceHealth) and s.healthy} == {"s0", "s1", "s2", "s3"}


def test_a_reader_that_falls_silent_without_a_word_makes_nothing_depart():
    part = Presence(store(), identity, load_profile())
    stage = full_stage(part)
    stage.run(60)
    stage.muted = {"reader-2"}
    signals = stage.run(300)
    assert not list(facts_of(signals))
    down = [s for s in signals if isinstance(s, PlaceHealth)]
    assert {(s.shelf, s.healthy, s.cause) for s in down} == {(f"s{n}", False, "silent") for n in range(4, 8)}
    stage.muted = set()
    assert not list(facts_of(stage.run(60)))


def test_a_restart_restores_places_and_times_without_a_word():
    part = Presence(store(), identity, load_profile())
    stage = full_stage(part)
    stage.run(60)
    said = part.drain_said()
    assert len(said) == 400
    assert part.drain_said() == {}
    again = Presence(store(), identity, load_profile())
    again.restore(said, stage.now)
    assert again.drain_said() == {}
    stage.part = again
    assert not list(facts_of(stage.run(300)))
    stage.put(epc(0, 0), None)
    gone = list(facts_of(stage.run(60)))
    assert [type(f) for f in gone] == [TagDeparted]
    changed = again.drain_said()
    assert list(changed) == [epc(0, 0).hex()]


def test_internals_bring_back_what_was_learned_and_foreign_ones_are_ignored():
    part = Presence(store(), identity, load_profile())
    stage = full_stage(part, 10)
    stage.run(200)
    said, internals = part.drain_said(), json.loads(json.dumps(part.internals()))
    again = Presence(store(), identity, load_profile())
    again.restore(said, stage.now)
    again.restore_internals(internals)
    for foreign in (
        None,
        [],
        {"version": 99},
        {**internals, "stat": "AAAA"},
        {**internals, "tags": 5},
        {**internals, "memory": "AAAA"},
    ):
        again.restore_internals(foreign)
    assert [a["usual_reads_per_s"] for a in again.status()["antennas"]] == [
        a["usual_reads_per_s"] for a in part.status()["antennas"]
    ]
    for learned in ("own", "stat", "memory"):  # also what is usual of each tag itself
        assert json.loads(json.dumps(again.internals()))[learned] == internals[learned]
    stage.part = again
    assert not list(facts_of(stage.run(120)))


def test_a_restart_while_the_reader_is_silent_keeps_everything_until_it_is_heard():
    part = Presence(store(), identity, load_profile())
    stage = full_stage(part, 10)
    stage.run(60)
    again = Presence(store(), identity, load_profile())
    again.restore(part.drain_said(), stage.now)
    stage.part, stage.muted = again, {"reader-1", "reader-2"}
    signals = stage.run(3600)
    assert not list(facts_of(signals))
    assert {s.cause for s in signals if isinstance(s, PlaceHealth)} == {"unheard"}
    stage.muted = set()
    assert not list(facts_of(stage.run(120)))


def test_a_disconnected_antenna_makes_its_shelf_unknown_and_only_its_own():
    part = Presence(store(), identity, load_profile())
    stage = full_stage(part, 10)
    stage.run(60)
    told = part.antenna_status(AntennaStatus("reader-1", stage.now_us, 2, connected=False), stage.now)
    health = [s for s in told if isinstance(s, PlaceHealth)]
    assert [(s.shelf, s.healthy, s.cause) for s in health] == [("s1", False, "disconnected")]
    assert sum(isinstance(s, TagBelief) and s.shelf is None for s in told) == 10
    assert part.status()["antennas"][1]["state"] == "disconnected"


def test_a_new_planogram_keeps_tags_and_names_those_whose_place_is_no_more():
    part = Presence(store(8), identity, load_profile())
    stage = full_stage(part, 10)
    stage.run(60)
    signals = part.replan(store(6), stage.now)
    lost = [f for f in facts_of(signals) if isinstance(f, TagDeparted)]
    assert {(f.shelf, f.reason) for f in lost} == {("s6", "replanned"), ("s7", "replanned")}
    assert len(lost) == 20
    for shelf in (6, 7):
        for n in range(10):
            stage.put(epc(shelf * 2 + n % 2, n), None)
    assert not list(facts_of(stage.run(120)))


def test_reads_held_back_for_minutes_or_from_unplanned_antennas_say_nothing():
    part = Presence(store(), identity, load_profile())
    stage = Stage(part, start_us=600 * US_PER_S)
    part.observe(reads("reader-1", [(epc(0, 1), 1, -50.0)], 60 * US_PER_S), stage.now)
    part.observe(reads("reader-1", [(epc(0, 2), 9, -50.0)], stage.now_us), stage.now)
    part.observe(reads("reader-9", [(epc(0, 3), 1, -50.0)], stage.now_us), stage.now)
    assert not list(facts_of(stage.run(5)))
    counted = part.status()["reads"]
    assert (counted["reads"], counted["stale"], counted["unplanned"]) == (3, 1, 2)
