"""The filter's parts: the network against its definition, the prior of the recursion, mobility profiles, replay."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.facts import TagArrived, TagMoved
from edge.core.instant import US_PER_S
from edge.core.part import facts_of
from edge.core.presence import Presence, load_profile
from edge.core.presence.mobility import ASSET_TRACKING, RETAIL_GARMENT, MobilityLocator
from edge.core.presence.own import Own
from edge.core.presence.profiles import load_weights
from edge.core.presence.scorer import BLIND, F_SLOT, F_TAG
from edge.core.presence.tracks import K, Motion, Tracks
from edge.replay import Setting, compare
from tests.unit.presence_support import Stage, epc, identity, reads, store


def test_the_network_is_the_formula_of_its_docstring_and_treats_slots_alike():
    scorer = load_weights()
    w, u, rng = scorer.weights, scorer.units, np.random.default_rng(1)
    slots, tags = rng.normal(size=(F_SLOT, K, 9)).astype("f4"), rng.normal(size=(F_TAG + 1, 9)).astype("f4")
    memory = rng.uniform(-1, 1, (u, K, 9)).astype("f4")
    slots[BLIND], tags[-1] = rng.random((K, 9)) < 0.3, 1
    got, kept = scorer.score(slots, tags, memory.copy())
    for n in range(9):
        old = memory[:, :, n]
        one = np.maximum(w.slot_1 @ slots[:, :, n] + (w.tag_1 @ tags[:, n])[:, None], 0)
        gates = w.gate_new[:, :-1] @ one + (w.gate_pool @ old.max(axis=1) + w.gate_new[:, -1])[:, None]
        update, reset = np.split(1 / (1 + np.exp(-gates[: 2 * u] - w.gate_memory[: 2 * u] @ old)), 2)
        candidate = np.tanh(gates[2 * u :] + reset * (w.gate_memory[2 * u :] @ old))
        new = np.where(slots[BLIND, :, n] > 0, old, (1 - update) * old + update * candidate)
        np.testing.assert_allclose(kept[:, :, n], new, rtol=1e-3, atol=1e-4)
        two = np.maximum(w.slot_2 @ new + (w.pool_2 @ new.max(axis=1) + w.tag_2 @ tags[:, n])[:, None], 0)
        absent = np.maximum(w.absent_pool @ two.max(axis=1) + w.absent_tag @ tags[:, n], 0)
        np.testing.assert_allclose(got[:K, n], (w.slot_out @ two)[0], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(got[K, n], w.absent_out[0, :-1] @ absent + w.absent_out[0, -1], rtol=1e-3, atol=1e-3)
    order = rng.permutation(K)
    turned, kept_turned = scorer.score(np.ascontiguousarray(slots[:, order]), tags, memory[:, order].copy())
    np.testing.assert_allclose(turned, got[[*order, K]], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(kept_turned, kept[:, order], rtol=1e-3, atol=1e-4)


class Blank:
    """A scorer that knows nothing."""

    units = 0
    rested = np.zeros(0, np.float32)

    def score(self, slots, tags, memory):
        return np.zeros((slots.shape[1] + 1, slots.shape[2]), np.float32), memory


class Counting:
    """A scorer that counts in its memory how often it was asked of a slot in which something can be heard."""

    units = 1
    rested = np.full(1, 100, np.float32)

    def score(self, slots, tags, memory):
        return np.zeros((slots.shape[1] + 1, slots.shape[2]), np.float32), memory + 1 - slots[BLIND]


def test_the_memory_belongs_to_the_place_not_to_the_slot():
    tracks = Tracks(9, Counting(), Motion())
    tracks.grow(1)
    row, blind, quiet = np.array([0]), np.zeros(10, bool), np.zeros(10, np.float32)
    tracks.begin(row, 0)

    def second(at: int, place: int) -> None:
        tracks.fold(row, np.array([place], np.int32), np.full(1, -60, "f4"), np.ones(1, "f4"), at * US_PER_S)
        tracks.step(row, at * US_PER_S, blind, quiet)

    def remembered() -> dict[int, float]:
        pairs = zip(tracks.slot_place[0].tolist(), tracks.memory[0, 0].tolist(), strict=True)
        return {place: count for place, count in pairs if place >= 0}

    second(1, 0)
    second(2, 1)
    assert remembered() == {0: 2, 1: 1}
    blind[0] = True
    second(3, 1)
    assert remembered() == {0: 2, 1: 2}  # who cannot be heard says nothing
    for at, place in enumerate(range(2, 2 + K), start=100):  # the seventh and the eighth place take the oldest slots
        second(at, place)
    assert remembered()[K + 1] == 1
    before, number = remembered(), np.array([-1, -1, -1, 0, 1, 2, 3, 4, 5, -1], np.int32)
    tracks.renumber(number, 6)
    assert remembered() == {int(number[place]): count for place, count in before.items() if number[place] >= 0}
    gone = tracks.slot_place[0] < 0
    assert gone.any()
    assert not tracks.memory[0, 0][gone].any()
    tracks.assume(0, 3, 200 * US_PER_S)
    assert tracks.memory[0, 0, 0] == 100


def test_without_evidence_belief_spreads_at_the_rates_of_motion():
    motion = Motion(move_hz=1 / 100, leave_hz=1 / 200, enter_hz=0.0)
    tracks = Tracks(3, Blank(), motion)
    tracks.grow(1)
    tracks.begin(np.array([0]), 0)
    tracks.assume(0, 1, 0)
    tracks.slot_place[0, 1] = 2
    blind, quiet = np.zeros(4, bool), np.zeros(4, np.float32)
    for second in range(1, 11):
        tracks.step(np.array([0]), second * US_PER_S, blind, quiet)
    here, there, absent = tracks.alpha[0, 0], tracks.alpha[0, 1], tracks.alpha[0, K]
    assert here + there + absent == pytest.approx(1, abs=1e-5)
    assert absent == pytest.approx(1 - np.exp(-11 / 200), rel=0.1)  # the first step counts from a second before
    assert there == pytest.approx(11 / 100, rel=0.2)  # the rate is that of each place, the old one is stayed at


def test_a_shelf_without_the_product_is_a_rarer_goal():
    motion = Motion(move_hz=1 / 100, leave_hz=0.0, enter_hz=0.0, stray=0.25)
    tracks = Tracks(3, Blank(), motion)
    tracks.homes = np.array([[1, 1, -1, 0]], np.int8)  # at home at places 0 and 1
    tracks.grow(1)
    tracks.begin(np.array([0]), 0)
    tracks.assume(0, 0, 0)
    tracks.slot_place[0, 1:3] = 1, 2
    tracks.step(np.array([0]), US_PER_S, np.zeros(4, bool), np.zeros(4, np.float32))
    home, stray = tracks.alpha[0, 1], tracks.alpha[0, 2]
    assert stray == pytest.approx(0.25 * home, rel=1e-3)


def test_who_was_read_elsewhere_before_the_silence_is_remembered_through_it():
    own, row, one = Own(), np.array([0]), np.ones(1, np.float32)
    own.grow(1)

    def away(here: float, anywhere: float, seconds: int) -> float:
        read = (one * here, one * 0, one * anywhere)
        for _ in range(seconds):
            features = own.step(row, one, np.array([True]), read, one * (1 if anywhere == 0 else -1))
        return float(features[4, 0])

    assert away(1.0, 1.0, 30) < 0.01
    assert away(0.0, 1.0, 6) > 0.8  # carried past other shelves
    assert away(0.0, 0.0, 60) > 0.8  # and then silent
    assert away(1.0, 1.2, 30) == pytest.approx(1 / 6, abs=0.02)  # a neighbour reads it now and then


def test_a_mobility_profile_moves_a_tag_by_its_offset():
    assert ASSET_TRACKING.offset_db(0) == 6
    assert ASSET_TRACKING.offset_db(1000) == pytest.approx(-2)
    assert RETAIL_GARMENT.offset_db(60_000) == 6
    assert RETAIL_GARMENT.offset_db(72_000) == pytest.approx(0)
    locator = MobilityLocator(ASSET_TRACKING)
    locator.read(1, 0, -60, 0)
    locator.read(1, 1, -55, 0)  # 5 dB stronger: not enough at once
    assert locator.place[1] == 0
    locator.read(1, 1, -55, 300)  # after 0.3 s the offset is 3.6 dB
    assert locator.place[1] == 1
    assert locator.age(30_301) == [1]
    assert locator.place == {}


@pytest.mark.parametrize("name", ["window", "asset-tracking", "retail-garment"])
def test_every_baseline_profile_can_be_switched_on(name):
    stage = Stage(Presence(store(4), identity, load_profile(name)))
    for n in range(12):
        stage.put(epc(0, n), ("reader-1", 1))
    assert {f.shelf for f in facts_of(stage.run(30)) if isinstance(f, TagArrived)} == {"s0"}
    stage.put(epc(0, 0), ("reader-1", 2))
    moved = [f for f in facts_of(stage.run(100)) if isinstance(f, TagMoved)]
    assert [(f.epc, f.shelf) for f in moved] == [(identity(epc(0, 0))[1], "s1")]


def test_replay_shows_what_another_profile_would_have_changed():
    rng = np.random.default_rng(2)
    batches = []
    for second in range(1, 121):
        rows = []
        for n in range(10):
            if rng.random() < 0.7:
                rows.append((epc(0, n), 1, -58 + rng.normal()))
            if rng.random() < 0.2:
                rows.append((epc(0, n), 2, -60 + 6 * rng.normal()))  # now and then stronger than its own
        batches.append(reads("reader-1", rows, second * US_PER_S))
    site = store(4)
    last, best = (Setting(site, load_profile(name)) for name in ("asset-tracking", "learned"))
    seen = compare(batches, identity, last, best)
    assert (seen.tags, seen.reads, seen.seconds) == (10, sum(map(len, batches)), 119.0)
    before, after = seen.facts["inventory.TagMoved"]
    assert before > 5 * max(after, 1)
    assert seen.differences
    assert all(row.before != row.after or row.disagreed_s > 0 for row in seen.differences)
    same = compare(batches, identity, best, best)
    assert same.differences == []
    assert all(old == new for old, new in same.facts.values())
