"""The radio's statistics are those that its profiles promise."""

import numpy as np
import pytest

from firmware_sim.layout import Antenna, Reader
from firmware_sim.radio import FIELD, MILD, RadioField
from firmware_sim.scenario import saturday_rush, tag_store

S = 1_000_000


def _row(profile, seed, shelves=6, tags=40):
    """A row of shelves, one reader and antenna each; tag i stands on shelf i // tags."""
    readers = tuple(Reader(f"r{i}", (Antenna(1, "shelf", 1.2 * i, 0.45, f"s{i}"),)) for i in range(shelves))
    field = RadioField(readers, profile, seed)
    rng = np.random.default_rng(seed)
    for tag in range(shelves * tags):
        shelf = tag // tags
        field.place(0, tag, (1.2 * shelf + rng.uniform(-0.45, 0.45), rng.uniform(0, 0.15)), f"s{shelf}", 0.0)
    return field, shelves, tags


def _rates(profile, seed, seconds=300):
    """Read rates (tags, antennas) and mean levels where read."""
    field, shelves, tags = _row(profile, seed)
    counts = np.zeros((shelves * tags, shelves))
    levels = np.zeros((shelves * tags, shelves))
    for i in range(shelves):
        reads = field.reads_between(f"r{i}", 0, seconds * S)
        np.add.at(counts[:, i], reads.tag, 1)
        np.add.at(levels[:, i], reads.tag, reads.rssi_cdbm / 100)
    home = np.arange(shelves * tags) // tags
    with np.errstate(invalid="ignore"):
        return counts / seconds, levels / counts, home


@pytest.mark.parametrize("seed", [1, 2])
def test_the_mild_world_reads_most_tags_most_of_the_time(seed):
    rates, levels, home = _rates(MILD, seed)
    at_home = rates[np.arange(home.size), home]
    assert np.percentile(at_home, 2) > 0.5
    assert np.median(at_home) < 0.96
    rates[np.arange(home.size), home] = 0
    assert np.all(rates.max(axis=1) < at_home)
    neighbour = np.where(rates > 0.02, levels, np.nan)
    drop = levels[np.arange(home.size), home][:, None] - neighbour
    assert 8 < np.nanmedian(drop) < 20


@pytest.mark.parametrize("seed", [1, 2])
def test_the_field_world_is_as_hard_as_it_says(seed):
    rates, _, home = _rates(FIELD, seed)
    at_home = rates[np.arange(home.size), home]
    low, high = np.percentile(at_home, (5, 95))
    assert 0.15 < low < 0.5
    assert 0.85 < high < 1.0
    rates[np.arange(home.size), home] = 0
    neighbours = (rates > 0.03).sum(axis=1)
    assert 1 <= np.median(neighbours) <= 3
    cross = rates.sum(axis=1) / (rates.sum(axis=1) + at_home)
    assert 0.1 < np.median(cross) < 0.4


def test_fading_is_correlated_over_seconds():
    field, _, tags = _row(FIELD, 3)
    reads = field.reads_between("r0", 0, 600 * S)
    seen = np.zeros((tags, 600))
    mine = reads.tag < tags
    seen[reads.tag[mine], reads.t_us[mine] // S] = 1
    seen = seen[(seen.mean(axis=1) > 0.3) & (seen.mean(axis=1) < 0.9)]
    assert len(seen) > 5
    centred = seen - seen.mean(axis=1, keepdims=True)
    variance = (centred**2).mean()
    lag = {k: (centred[:, k:] * centred[:, :-k]).mean() / variance for k in (1, 60)}
    assert lag[1] > 0.08
    assert lag[60] < lag[1] / 2


def test_a_crowd_of_tags_shares_the_slots():
    scenario = tag_store(1, 5_000, 1, MILD)
    reads = scenario.world.reads_between("reader-1", 0, 20 * S)
    assert 500 < reads.t_us.size / 20 < 720
    assert np.unique(reads.tag).size > 3_000


def test_people_block_in_the_field_and_a_liquid_detunes():
    field, _, tags = _row(FIELD, 4)
    before = field.reads_between("r2", 0, 60 * S).t_us.size
    field.block(60 * S, "s2", 1)
    blocked = field.reads_between("r2", 60 * S, 120 * S).t_us.size
    field.block(120 * S, "s2", -1)
    after = field.reads_between("r2", 120 * S, 180 * S).t_us.size
    assert blocked < 0.6 * before
    assert after > 0.8 * before
    for tag in range(2 * tags, 3 * tags):
        field.place(180 * S, tag, (2.4, 0.1), "s2", 6.0)
    assert field.reads_between("r2", 181 * S, 241 * S).t_us.size < 0.8 * after


def test_a_tag_that_walks_past_is_seen_on_the_way():
    field, shelves, _ = _row(MILD, 5)
    walker = 10_000
    heard = set()
    for step in range(shelves):
        field.place(step * 5 * S, walker, (1.2 * step, 0.8), None, 0.0)
        for i in range(shelves):
            reads = field.reads_between(f"r{i}", step * 5 * S, (step + 1) * 5 * S)
            if (reads.tag == walker).any():
                heard.add(i)
    assert len(heard) >= 4
    field.remove(shelves * 5 * S, walker)
    assert not any(
        (field.reads_between(f"r{i}", shelves * 5 * S, shelves * 5 * S + 10 * S).tag == walker).any()
        for i in range(shelves)
    )


def test_a_rush_has_every_mishap():
    world = saturday_rush(2, 2400.0).world
    seen_misplaced = 0
    for t_s in range(0, 2700, 60):
        world.advance_to(t_s * S)
        seen_misplaced = max(seen_misplaced, len(world.misplaced()))
    counts = world.truth()["counts"]
    for kind in ("pick", "put_back", "misplace", "stolen", "sold", "restock", "cell_fault", "antenna_fault"):
        assert counts.get(kind, 0) > 0, kind
    assert seen_misplaced > 2
    assert sum(world.on_hand().values()) > 200
    assert all(world.radio.connected(r.device) == {1: True, 2: True} for r in world.layout.readers)
