"""Tier 1: thousands of store seconds in one: truth, determinism, restart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.core.facts import OnHandChanged, StockUnknown, TagDeparted
from edge.core.instant import US_PER_S
from edge.core.observation import DeviceState, DeviceStatus
from edge.store_engine import make_engine
from firmware_sim.scenario import SCENARIOS, demo_store
from tests.bench.simulation import RESTOCKERS
from tests.sim.demo_calibration import calibrations
from tests.sim.tier1 import Tier1, instant, run_tier1

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", [1, 2])
def test_on_hand_equals_the_world_after_quiescence(seed: int) -> None:
    tier = run_tier1("demo", seed, 60)
    assert tier.mismatches() == []
    assert len(tier.scenario.world.on_hand()) >= 50


def test_the_measured_store_carries_the_load_it_is_specified_by() -> None:
    """What `bench simulation` runs: about 400 reads/s also after ten minutes of shoppers (one restocker: 160)."""
    tier = Tier1(demo_store(7, 600.0, 400, True, restockers=RESTOCKERS))
    tier.run_until(540 * US_PER_S)
    before = tier.carried["reads"]
    tier.run_until(600 * US_PER_S)
    assert 340 <= (tier.carried["reads"] - before) / 60 <= 520
    assert 340 <= sum(tier.scenario.world.on_hand().values()) <= 520


def test_the_same_seed_gives_the_same_trace_under_any_hash_seed() -> None:
    code = "from tests.sim.tier1 import run_tier1; print(run_tier1('demo', 5, 20, 30_000_000).trace_hash())"
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }  # fmt: skip
    assert len(hashes) == 1
    assert run_tier1("demo", 6, 20, 30_000_000).trace_hash() not in hashes


def test_a_silent_reader_makes_stock_unknown_and_no_tag_depart() -> None:
    tier = Tier1(SCENARIOS["demo"](3, 5, 400, True))
    tier.run_until(60 * US_PER_S)
    departed = sum(isinstance(fact, TagDeparted) for _, fact in tier.facts)
    tier.down.add("reader-1")
    tier.feed(DeviceStatus("reader-1", tier.now_us, DeviceState.OFFLINE, "LinkLost"))
    tier.run_until(300 * US_PER_S)
    assert sum(isinstance(fact, TagDeparted) for _, fact in tier.facts) == departed
    unknown = {fact.shelf for _, fact in tier.facts if isinstance(fact, StockUnknown) and not fact.known}
    assert unknown == {a.shelf for r in tier.site.readers if r.device == "reader-1" for a in r.antennas}
    tier.down.clear()
    tier.feed(DeviceStatus("reader-1", tier.now_us, DeviceState.ONLINE))
    tier.run_until(420 * US_PER_S)
    assert tier.mismatches() == []


def test_a_crash_restores_what_facts_have_said_and_says_nothing_false() -> None:
    tier = Tier1(SCENARIOS["demo"](4, 30, 400, True))
    tier.run_until(90 * US_PER_S)
    before = tier.on_hand()
    n_facts = len(tier.facts)
    tier.engine = make_engine(tier.site, calibrations(tier.scenario.world))
    tier.engine.restore(tier.said, {}, instant(tier.now_us))  # type: ignore[arg-type]
    documents = tier.engine.all_documents(instant(tier.now_us))
    totals: dict[str, int] = {}
    for (_, gtin), count in before.items():
        totals[gtin] = totals.get(gtin, 0) + count
    for gtin, total in totals.items():
        document = documents[f"stock/{gtin}"]
        assert isinstance(document, dict)
        assert document["on_hand"] == total
    tier.run_until(300 * US_PER_S)
    assert tier.mismatches() == []
    false = [fact for _, fact in tier.facts[n_facts:] if isinstance(fact, TagDeparted)]
    assert false == []


@pytest.mark.parametrize("seed", [4, 5])
def test_a_crash_promises_nothing_that_facts_did_not_say(seed: int) -> None:
    """Bounds and confidence are those of the last fact of each shelf, in the middle of a rush; no more can be promised."""
    tier = Tier1(SCENARIOS["saturday-rush"](seed, 60, 400, True))
    tier.run_until(75 * US_PER_S)
    said = {(fact.gtin, fact.shelf): fact for _, fact in tier.facts if isinstance(fact, OnHandChanged)}
    before = tier.engine.all_documents(instant(tier.now_us))
    tier.engine = make_engine(tier.site, calibrations(tier.scenario.world))
    tier.engine.restore(tier.said, {}, instant(tier.now_us))  # type: ignore[arg-type]
    after, doubtful = tier.engine.all_documents(instant(tier.now_us)), 0
    for (gtin, shelf), fact in said.items():
        document = after[f"stock/{gtin}"]
        (mine,) = (row for row in document["shelves"] if row["shelf"] == shelf)  # type: ignore[index,call-overload]
        assert mine["on_hand"] == fact.on_hand
        if mine["tags"] == fact.on_hand:
            assert (mine["low"], mine["high"], mine["confidence"]) == (fact.low, fact.high, fact.confidence)
            doubtful += fact.low < fact.high
    assert doubtful > 10
    more = [
        key
        for key, document in before.items()
        if key.startswith("stock/") and after[key]["available_to_promise"] > document["available_to_promise"]  # type: ignore[index,call-overload,operator]
    ]
    assert len(more) == 0, more


def test_a_crash_while_tags_are_still_uncertain_leaves_no_lasting_doubt() -> None:
    tier = Tier1(SCENARIOS["demo"](9, 3, 400, True))
    for restart_s in (3, 6, 9):
        tier.run_until(restart_s * US_PER_S)
        tier.engine = make_engine(tier.site, calibrations(tier.scenario.world))
        tier.engine.restore(tier.said, {}, instant(tier.now_us))  # type: ignore[arg-type]
        for device in tier.devices():
            tier.feed(DeviceStatus(device, tier.now_us, DeviceState.ONLINE))
    tier.run_until(200 * US_PER_S)
    assert tier.mismatches() == []
