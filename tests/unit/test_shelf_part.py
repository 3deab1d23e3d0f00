"""The weight part: picks, put-backs, hands, strangers, faults, restarts, commands."""

import dataclasses
import json
import math

import numpy as np
import pytest

from edge.core.errors import CommandRejected
from edge.core.facts import ItemPicked, ItemPutBack
from edge.core.observation import NO_READING, SATURATED_HIGH, DeviceState, DeviceStatus
from edge.core.part import LaneLevel, LaneStep, PlaceHealth
from edge.core.ports import Command
from edge.core.shelf import Calibration, Shelves
from tests.unit.shelf_support import MASS_G, PER_G, ZERO, A, B, C, D, Rig, site

ONE = {"one": ((0,), (A,))}
MIXED = {"mixed": ((0,), (A, B, C))}


def moves(signals: list) -> list[tuple[str, int]]:
    """(gtin, ±quantity) of the facts."""
    return [
        (s.gtin, s.quantity if isinstance(s, ItemPutBack) else -s.quantity)
        for s in signals
        if isinstance(s, ItemPicked | ItemPutBack)
    ]


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_a_pick_and_a_put_back_whatever_the_batches(rows: int) -> None:
    rig = Rig(site(ONE), [2500.0])
    first = rig.run(5, rows=rows)
    assert [round(s.mean) for s in rig.of(LaneLevel, first)] == [10]
    assert [(s.shelf, s.healthy) for s in rig.of(PlaceHealth, first)] == [("sh", True)]
    rig.loads_g[0] -= 250.4
    said = rig.run(10, rows=rows)
    assert moves(said) == [(A, -1)]
    (step,) = rig.of(LaneStep, said)
    assert step.delta_g == pytest.approx(-250.4, abs=0.6)
    assert step.candidates[0][:2] == (A, -1)
    assert 0.97 < step.candidates[0][2] <= 1.0
    (fact,) = rig.of(ItemPicked, said)
    assert (fact.shelf, fact.lane, fact.net_g) == ("sh", "one", pytest.approx(250.4, abs=0.6))
    rig.loads_g[0] += 250.4
    assert moves(rig.run(10, rows=rows)) == [(A, 1)]
    assert rig.part.count("one") == 10


@pytest.mark.parametrize("rate_hz", [5.0, 10.0, 80.0])
def test_the_fact_comes_soon_after_the_hand_left(rate_hz: float) -> None:
    for change_g, limit_s in ((-250.0, 0.9), (250.0, 1.2)):
        rig = Rig(site(ONE), [2500.0])
        rig.run(6, rate_hz=rate_hz)
        left_us = rig.now_us
        rig.loads_g[0] += change_g
        (fact,) = [s for s in rig.run(4, rate_hz=rate_hz) if isinstance(s, ItemPicked | ItemPutBack)]
        slack_s = 0.0 if rate_hz >= 10 else 0.5
        assert (fact.at_us - left_us) / 1e6 <= limit_s + slack_s


def test_different_products_of_one_grab_become_a_step_each() -> None:
    rig = Rig(site(MIXED), [4000.0])
    rig.run(5)
    rig.loads_g[0] -= 250.0 + 2 * 97.0
    said = rig.run(5)
    assert sorted(moves(said)) == sorted([(A, -1), (C, -2)])
    steps = rig.of(LaneStep, said)
    assert sum(step.delta_g for step in steps) == pytest.approx(-444.0, abs=0.6)
    assert {step.candidates[0][0] for step in steps} == {A, C}


def test_a_hand_that_leans_is_no_item() -> None:
    rig = Rig(site(ONE), [2500.0])
    rig.run(5)
    rng = np.random.default_rng(8)

    def lean(t_s: float) -> list[float]:
        return [900.0 + 60.0 * math.sin(5 * t_s) + rng.normal(0, 15.0)]

    assert rig.run(6, force_g=lean) == []
    assert rig.run(6) == []
    rig.run(3, force_g=lean)
    rig.loads_g[0] -= 250.0  # taken while leaning
    rig.run(2, force_g=lean)
    assert moves(rig.run(4)) == [(A, -1)]
    assert rig.part.count("one") == 9


def test_a_steady_weight_that_is_no_item_waits_for_twenty_seconds_and_is_no_fact() -> None:
    rig = Rig(site(ONE), [2500.0])
    rig.run(5)
    rig.loads_g[0] += 411.0
    assert rig.run(15) == []
    said = rig.run(10)
    assert moves(said) == []
    (step,) = rig.of(LaneStep, said)
    assert sum(p for _, _, p in step.candidates) < 0.5, "an abstention"
    assert rig.part.count("one") == 10
    rig.loads_g[0] -= 250.0
    assert moves(rig.run(5)) == [(A, -1)]
    assert round(rig.of(LaneLevel)[-1].mean) == 9, "the stranger is not counted"
    rig.loads_g[0] -= 411.0
    assert moves(rig.run(5)) == []
    assert rig.part.count("one") == 9


def test_an_item_laid_on_the_wrong_lane_is_known_by_its_mass() -> None:
    rig = Rig(site({"one": ((0,), (A,)), "two": ((1,), (D,))}), [2500.0, 3000.0])
    rig.run(5)
    rig.loads_g[1] -= 603.5
    assert moves(rig.run(5)) == [(D, -1)]
    rig.loads_g[0] += 603.5
    said = rig.run(5)
    (fact,) = rig.of(ItemPutBack, said)
    assert (fact.gtin, fact.lane, fact.quantity) == (D, "one", 1)
    assert (rig.part.count("one"), rig.part.count("two")) == (10, 4)
    rig.loads_g[0] -= 603.5
    (fact,) = rig.of(ItemPicked, rig.run(5))
    assert (fact.gtin, fact.lane) == (D, "one")


def test_near_equal_unit_weights_are_not_guessed() -> None:
    rig = Rig(site(MIXED, {A: 250.0, B: 250.4, C: 97.0}), [4000.0])
    rig.run(5)
    rig.loads_g[0] -= 250.2
    said = rig.run(8)
    assert moves(said) == []
    (step,) = rig.of(LaneStep, said)
    assert {(g, n) for g, n, p in step.candidates if p > 0.3} == {(A, -1), (B, -1)}


def test_drift_and_temperature_are_followed_while_nobody_touches() -> None:
    rig = Rig(site({"one": ((0,), (C,))}), [970.0])
    rig.run(5)
    for _ in range(400):
        rig.loads_g[0] += 0.4  # 40 g in 13 minutes: more than a third of a unit
        assert moves(rig.run(2)) == []
    rig.loads_g[0] -= 97.0
    assert moves(rig.run(5)) == [(C, -1)]
    assert rig.part.count("one") == 9
    assert rig.of(LaneLevel)[-1].mean == pytest.approx(9.0, abs=0.1)


def test_junk_samples_and_vibration_are_no_events() -> None:
    rig = Rig(site(ONE), [2500.0])
    rig.run(5)
    rng = np.random.default_rng(5)

    def junk(counts: np.ndarray) -> np.ndarray:
        return counts * 2 if rng.random() < 0.02 else counts

    rig.counts_hook = junk
    assert rig.run(120) == []
    rig.loads_g[0] -= 250.0
    assert moves(rig.run(6)) == [(A, -1)]
    rig.counts_hook = lambda counts: counts
    assert rig.run(30, force_g=lambda t_s: [3.0 * math.sin(2 * math.pi * 13.3 * t_s)]) == []
    shaken = lambda t_s: [3.0 * math.sin(2 * math.pi * 13.3 * t_s)]  # noqa: E731
    rig.loads_g[0] -= 250.0
    assert moves(rig.run(8, force_g=shaken)) == [(A, -1)]


def test_a_pick_is_counted_while_a_compressor_shakes_all_lanes_and_this_one_most() -> None:
    rig = Rig(site({f"l{n}": ((n,), (gtin,)) for n, gtin in enumerate((A, B, D))}), [2500.0, 3300.0, 6000.0])
    rig.run(60)
    shaken = lambda t_s: [share * math.sin(2 * math.pi * 12.7 * t_s) for share in (13.0, 4.0, 4.0)]  # noqa: E731
    rig.loads_g[0] -= 250.0
    assert moves(rig.run(6, force_g=shaken)) == [(A, -1)]


def test_a_hand_that_trembles_as_hard_on_one_lane_is_no_rest() -> None:
    rig = Rig(site({f"l{n}": ((n,), (gtin,)) for n, gtin in enumerate((A, B, D))}), [2500.0, 3300.0, 6000.0])
    rig.run(60)
    leaning = lambda t_s: [250.0 + 9.0 * math.sin(2 * math.pi * 12.7 * t_s), 0.0, 0.0]  # noqa: E731
    assert moves(rig.run(6, force_g=leaning)) == []


def test_a_bump_while_a_compressor_beats_is_no_exchange_and_an_exchange_is_one() -> None:
    rig = Rig(site({"mixed": ((0,), (A, B))}, {A: 117.4, B: 110.2}), [1100.0])
    rig.run(60)
    shocks = iter(110.0 * (-0.7) ** n for n in range(12))
    rig.loads_g[0] += 7.2  # an alias of the beat rests there for a while
    assert moves(rig.run(20, force_g=lambda _: [next(shocks, 0.0)])) == []
    rig.loads_g[0] -= 7.2
    rig.run(60)
    out = iter([-110.2] * 3)
    rig.loads_g[0] += 7.2
    assert sorted(moves(rig.run(5, force_g=lambda _: [next(out, 0.0)]))) == sorted([(A, 1), (B, -1)])


def test_clipping_and_missing_cells_make_the_shelf_unknown_and_what_happened_meanwhile_is_told() -> None:
    for fault, word in ((SATURATED_HIGH, "saturated"), (NO_READING, "missing")):
        rig = Rig(site(ONE), [2500.0])
        rig.run(6)
        rig.counts_hook = lambda counts, fault=fault: np.full_like(counts, fault)
        said = rig.run(20)
        assert moves(said) == []
        (health,) = rig.of(PlaceHealth, said)
        assert not health.healthy
        assert word in health.cause
        rig.counts_hook = lambda counts: counts
        rig.loads_g[0] -= 500.0
        said = rig.run(10)
        assert moves(said) == [(A, -2)]
        assert [s.healthy for s in rig.of(PlaceHealth, said)] == [True]


def test_a_stuck_cell_is_found_and_a_world_without_noise_is_not_stuck() -> None:
    rig = Rig(site({"one": ((0,), (A,)), "two": ((1,), (B,))}), [2500.0, 3300.0])
    rig.run(10)

    def stick(counts: np.ndarray) -> np.ndarray:
        counts[:, 0] = 123_456 + ZERO
        return counts

    rig.counts_hook = stick
    assert any("stuck" in s.cause for s in rig.of(PlaceHealth, rig.run(60)))
    quiet = Rig(site(ONE), [2500.0], noise_g=0.0)
    assert [s.healthy for s in quiet.of(PlaceHealth, quiet.run(300))] == [True]
    quiet.loads_g[0] -= 250.0
    assert moves(quiet.run(5)) == [(A, -1)]


def test_uncalibrated_and_half_calibrated_cells_are_named() -> None:
    rig = Rig(site(ONE), [2500.0], calibrations={})
    (health,) = rig.of(PlaceHealth, rig.run(5))
    assert not health.healthy
    assert "cell 0 of mcu is not calibrated" in health.cause
    rig = Rig(site(ONE), [2500.0], calibrations={("mcu", 0): Calibration(ZERO, 0.0)})
    (health,) = rig.of(PlaceHealth, rig.run(5))
    assert "has a zero and no span" in health.cause
    assert moves(rig.signals) == []


def test_a_product_without_unit_mass_is_never_guessed() -> None:
    rig = Rig(site(ONE, {A: 0.0}), [2500.0])
    rig.run(5)
    rig.loads_g[0] -= 250.0
    said = rig.run(30)
    assert moves(said) == []
    assert rig.of(LaneStep, said)[0].candidates == ()
    assert rig.of(LaneLevel) == []


def test_silence_and_offline_make_the_shelf_unknown() -> None:
    rig = Rig(site(ONE), [2500.0])
    rig.run(5)
    deadline_us = rig.part.next_deadline_us()
    assert deadline_us == rig.now_us + 15_000_000
    rig.now_us = deadline_us
    (health,) = rig.part.tick(rig.instant())
    assert not health.healthy
    assert "no samples of mcu" in health.cause
    assert rig.part.next_deadline_us() is None, "nothing to wait for"
    assert [s.healthy for s in rig.of(PlaceHealth, rig.run(5))] == [True]
    offline = DeviceStatus("mcu", rig.now_us, DeviceState.OFFLINE, "link_lost")
    assert [s.healthy for s in rig.part.device_status(offline, rig.instant())] == [False]
    online = DeviceStatus("mcu", rig.now_us, DeviceState.ONLINE)
    assert [s.healthy for s in rig.part.device_status(online, rig.instant())] == [True]


def reborn(rig: Rig, *, internals: bool) -> Rig:
    """The same store after a restart of the gateway, state through JSON."""
    said = json.loads(json.dumps(rig.part.drain_said()))
    kept = json.loads(json.dumps(rig.part.internals()))
    fresh = Rig(rig.planogram, list(rig.loads_g), seed=99)
    fresh.now_us = rig.now_us
    fresh.part.restore(said, fresh.instant())
    if internals:
        fresh.part.restore_internals(kept)
    return fresh


@pytest.mark.parametrize("internals", [False, True])
def test_a_restart_says_nothing_new_and_finds_what_was_taken_meanwhile(internals: bool) -> None:
    rig = Rig(site(ONE), [2500.0])
    rig.run(5)
    rig.loads_g[0] -= 250.0
    rig.run(5)
    same = reborn(rig, internals=internals)
    same.now_us += 60_000_000
    assert moves(same.run(10)) == []
    assert same.part.count("one") == 9
    rig.run(5)
    rig.part._dirty["lane:one"] = rig.part._lanes["one"].said(2250.0, rig.now_us)
    less = reborn(rig, internals=internals)
    less.now_us += 60_000_000
    less.loads_g[0] -= 500.0
    assert moves(less.run(10)) == [(A, -2)]
    assert less.part.count("one") == 7


def test_foreign_internals_are_ignored() -> None:
    for content in (None, 7, {"lanes": {"one": [1]}}, {"lanes": {"other": [1.0, 2, 3.0, 4.0, [5.0, 6.0]]}}):
        part = Shelves(site(ONE), {})
        part.restore_internals(content)
        assert part.drain_said() == {}


def command(name: str, **args: object) -> Command:
    return Command("c1", name, args)


def test_tare_and_span_by_units_and_by_mass() -> None:
    rig = Rig(site({"one": ((0, 1), (A,))}), [0.0, 0.0], calibrations={})
    rig.run(5)
    rig.part.execute(command("tare_lane", lane="one"), rig.instant())
    rig.loads_g[:] = (700.0, 550.0)
    rig.run(5)
    with pytest.raises(CommandRejected, match="units = 0: expected a whole number"):
        rig.part.execute(command("span_lane", lane="one", units=0), rig.instant())
    rig.part.execute(command("span_lane", lane="one", units=5), rig.instant())
    rig.run(5)
    assert rig.part.count("one") == 5
    assert rig.part.calibrations()["mcu", 1].counts_per_g == pytest.approx(PER_G, rel=2e-3)
    said = rig.part.drain_said()
    assert {"cal:mcu:0", "cal:mcu:1"} <= said.keys()
    rig.part.execute(command("span_lane", lane="one", mass_g=1250.0), rig.instant())
    rig.run(5)
    rig.loads_g[0] -= 250.0
    assert moves(rig.run(5)) == [(A, -1)]
    assert rig.part.level_g("one") == pytest.approx(1000.0, abs=2.0)
    fresh = Rig(rig.planogram, list(rig.loads_g), calibrations={})
    fresh.part.restore(json.loads(json.dumps(said)), fresh.instant())
    fresh.run(5)
    assert fresh.part.count("one") == 4


def test_commands_that_cannot_be_carried_out() -> None:
    rig = Rig(site(ONE), [0.0], calibrations={})
    with pytest.raises(CommandRejected, match="lane = 'two': expected one of one"):
        rig.part.execute(command("tare_lane", lane="two"), rig.instant())
    with pytest.raises(CommandRejected, match="mcu sends no samples"):
        rig.part.execute(command("tare_lane", lane="one"), rig.instant())
    rig.run(5)
    with pytest.raises(CommandRejected, match="tare the empty lane first"):
        rig.part.execute(command("span_lane", lane="one", mass_g=500.0), rig.instant())
    rig.part.execute(command("tare_lane", lane="one"), rig.instant())
    rig.run(5)
    with pytest.raises(CommandRejected, match="counts between empty and loaded"):
        rig.part.execute(command("span_lane", lane="one", mass_g=500.0), rig.instant())
    with pytest.raises(CommandRejected, match="mass_g = None: expected a mass in grams"):
        rig.part.execute(command("span_lane", lane="one"), rig.instant())
    rig.run(5, force_g=lambda t_s: [300.0 * t_s])
    with pytest.raises(CommandRejected, match="moves"):
        rig.part.execute(command("tare_lane", lane="one"), rig.instant())
    assert rig.part.calibrations()["mcu", 0].counts_per_g == 0.0


def test_a_new_planogram_keeps_grams_and_decodes_by_the_new_list() -> None:
    rig = Rig(site(ONE), [2500.0])
    rig.run(5)
    rig.part.replan(site({"one": ((0,), (D,)), "more": ((1,), (B,))}), rig.instant())
    assert moves(rig.run(5)) == []
    rig.loads_g[0] -= MASS_G[D]
    assert moves(rig.run(5)) == [(D, -1)]
    rig.part.replan(site({"more": ((1,), (B,))}), rig.instant())
    assert rig.part.drain_said()["lane:one"] is None


def test_a_tray_that_comes_with_the_goods() -> None:
    planogram = site(ONE)
    lanes = tuple(dataclasses.replace(lane, containers_g=(180.0,)) for lane in planogram.lanes)
    rig = Rig(dataclasses.replace(planogram, lanes=lanes), [2500.0])
    rig.run(5)
    rig.loads_g[0] += 180.0
    said = rig.run(5)
    assert moves(said) == []
    assert len(rig.of(LaneStep, said)) == 1, "known at once, not after 20 s"
    assert rig.part.count("one") == 10
    rig.loads_g[0] += 6 * 250.0
    assert moves(rig.run(5)) == [(A, 6)]


def test_samples_of_nobody_and_empty_ones() -> None:
    rig = Rig(site(ONE), [2500.0])
    rig.part._by_device.clear()
    assert rig.run(3) == []
