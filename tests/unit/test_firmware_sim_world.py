"""The virtual store: same seed, same world; goods and people are conserved; sensors sense what is there."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from epcpy import hex_to_tag_encodable
from epcpy.epc_schemes.sgtin import SGTIN, SGTINFilterValue

from firmware_sim.epc import check_digit, gtin14, sgtin96
from firmware_sim.people import Doorway
from firmware_sim.scenario import SCENARIOS, demo_store

S = 1_000_000


@pytest.mark.parametrize(
    ("gtin", "digits", "serial", "uri"),
    [
        ("80614141123458", 7, 6789, "urn:epc:tag:sgtin-96:1.0614141.812345.6789"),  # GS1 TDS 2.0, E.3
        ("04569951000012", 7, 0, "urn:epc:tag:sgtin-96:1.4569951.000001.0"),
    ],
)
def test_sgtin96_equals_the_published_example_and_a_foreign_decoder(gtin, digits, serial, uri):
    gtin = gtin[:13] + str(check_digit(gtin[:13]))
    epc = sgtin96(gtin, digits, serial)
    foreign = hex_to_tag_encodable(epc.hex())
    assert foreign.tag_uri(SGTIN.BinaryCodingScheme.SGTIN_96, SGTINFilterValue.POS_ITEM) == uri


def test_epc_refuses_what_cannot_be_encoded():
    good = gtin14("0456995100001")
    with pytest.raises(ValueError, match="check digit"):
        sgtin96(good[:13] + str((int(good[13]) + 1) % 10), 7, 1)
    with pytest.raises(ValueError, match="company prefix"):
        sgtin96(good, 13, 1)
    with pytest.raises(ValueError, match="serial"):
        sgtin96(good, 7, 1 << 38)
    with pytest.raises(ValueError, match="13 digits"):
        gtin14("12")


def _run(seed, step_us, seconds=40):
    world = demo_store(seed, 25.0).world
    columns = {reader.device: [] for reader in world.layout.readers}
    counts = []
    for t_us in range(0, seconds * S, step_us):
        for device, parts in columns.items():
            parts.append(world.reads_between(device, t_us, t_us + step_us))
        samples = [world.cell_samples_between(mcu.device, t_us, t_us + step_us)[1] for mcu in world.layout.mcus]
        counts.extend(columns.sum() for columns in samples)
    reads = {
        device: [np.concatenate([getattr(p, name) for p in parts]) for name in ("t_us", "tag", "port", "rssi_cdbm")]
        for device, parts in columns.items()
    }
    return world, reads, sum(counts)


def test_same_seed_gives_the_same_world_however_it_is_polled():
    world_a, reads_a, counts_a = _run(3, 250_000)
    world_b, reads_b, counts_b = _run(3, 1_000_000)
    assert json.dumps(world_a.truth()) == json.dumps(world_b.truth())
    assert counts_a == counts_b
    for device in reads_a:
        for a, b in zip(reads_a[device], reads_b[device], strict=True):
            assert np.array_equal(a, b)
    world_c, _, _ = _run(4, 1_000_000)
    assert world_c.truth() != world_a.truth()


def test_goods_are_conserved_and_the_store_settles():
    world = demo_store(11, 40.0).world
    start = Counter(item.place.kind for item in world.items)
    t_us = 0
    while not world.settled:
        t_us += S
        world.advance_to(t_us)
        assert t_us < 120 * S
    truth = world.truth()
    on_shelf = sum(row["count"] for row in truth["on_hand"])
    end = Counter(item.place.kind for item in world.items)
    assert on_shelf == end["shelf"]
    assert end["carried"] == end["backroom"] == 0
    assert sum(end.values()) - sum(start.values()) == truth["counts"].get("restock", 0)
    assert end["sold"] == truth["counts"]["sold"] > 0
    assert truth["crossings"]["door-1"]["in"] == truth["crossings"]["door-1"]["out"] > 0
    assert len(truth["on_hand"]) >= 50


def test_reads_show_the_shelf_a_tag_stands_on():
    world = demo_store(5, 40.0).world
    home = {item.index: item.place.shelf for item in world.items if item.place.kind == "shelf" and item.epc}
    antenna = {(r.device, a.port): a.shelf for r in world.layout.readers for a in r.antennas}
    at_home, elsewhere = Counter(), Counter()
    for reader in world.layout.readers:
        reads = world.reads_between(reader.device, 0, 10 * S)
        assert np.all(np.diff(reads.t_us) >= 0)
        assert reads.t_us[0] >= 0
        assert reads.t_us[-1] < 10 * S
        for tag, port in zip(reads.tag.tolist(), reads.port.tolist(), strict=True):
            (at_home if antenna[reader.device, port] == home.get(tag) else elsewhere)[tag] += 1
    rates = [at_home[tag] / 10 for tag in home]
    assert len(home) == 400
    assert 0.7 < np.mean(rates) < 0.95
    assert sum(elsewhere.values()) < 0.5 * sum(at_home.values())
    assert 300 < (sum(at_home.values()) + sum(elsewhere.values())) / 10 < 550


def test_a_dead_antenna_reads_nothing_and_a_mended_one_reads_again():
    world = demo_store(5, 1.0).world
    world.advance_to(5 * S)
    world.radio.set_alive(5 * S, "reader-1", 1, alive=False)
    assert 1 not in world.reads_between("reader-1", 5 * S, 15 * S).port
    world.radio.set_alive(15 * S, "reader-1", 1, alive=True)
    assert 1 in world.reads_between("reader-1", 15 * S, 20 * S).port


def test_a_removed_tag_is_not_read_and_its_mass_is_gone():
    world = demo_store(6, 1.0).world
    item = next(i for i in world.items if i.place.lane and i.epc)
    lane = world.layout.by_lane[item.place.lane]
    reader = next(r.device for r in world.layout.readers for a in r.antennas if a.shelf == item.place.shelf)
    world.advance_to(60 * S)
    before = world.cell_loads_g(lane.device, 60 * S)[lane.cells[0]]
    assert item.index in world.reads_between(reader, 40 * S, 60 * S).tag
    world.remove(item, "sold")
    after = world.cell_loads_g(lane.device, 60 * S)[lane.cells[0]]
    assert before - after == pytest.approx(item.mass_g)
    assert item.index not in world.reads_between(reader, 60 * S, 80 * S).tag
    world.put(item, item_shelf := lane.shelf, lane.id)
    assert item_shelf == item.place.shelf
    assert item.index in world.reads_between(reader, 80 * S, 100 * S).tag


def test_the_technicians_calibration_weighs_the_goods():
    world = demo_store(6, 1.0).world
    for mcu in world.layout.mcus:
        cells = world.cells[mcu.device]
        _, counts = world.cell_samples_between(mcu.device, 0, 5 * S)
        for entry in cells.calibration():
            cell = int(entry["cell"])
            goods = sum(
                item.mass_g
                for item in world.items
                if item.place.lane
                and world.layout.by_lane[item.place.lane].device == mcu.device
                and cell in world.layout.by_lane[item.place.lane].cells
            )
            net_g = (counts[:, cell].mean() - entry["offset_counts"]) / entry["counts_per_g"]
            assert net_g == pytest.approx(goods, rel=0.005, abs=2.5)


def test_broken_cells_show_what_the_protocol_says():
    world = demo_store(6, 1.0).world
    cells = world.cells["shelf-mcu-1"]
    cells.fail(0, "open")
    cells.fail(1, "saturated")
    cells.fail(2, "stuck", 4711)
    _, counts = world.cell_samples_between("shelf-mcu-1", 0, S)
    assert set(counts[:, 0]) == {-2_147_483_648}
    assert set(counts[:, 1]) == {8_388_607}
    assert set(counts[:, 2]) == {4711}
    cells.fail(2, None)
    _, counts = world.cell_samples_between("shelf-mcu-1", S, 2 * S)
    assert len(set(counts[:, 2])) > 1


def test_adverts_tell_zones_apart_and_both_scanners_hear_the_same_packet():
    world = demo_store(6, 1.0).world
    heard = {d: world.adverts_between(d, 0, 60 * S) for d in ("scanner-1", "scanner-2")}
    level = {d: np.mean([a.rssi_dbm for a in adverts if a.beacon.id == "zone-fashion"]) for d, adverts in heard.items()}
    assert level["scanner-1"] > level["scanner-2"] + 6
    times = [{a.t_us for a in adverts if a.beacon.id == "zone-fashion"} for adverts in heard.values()]
    assert len(times[0] & times[1]) > 40
    assert 15 < sum(map(len, heard.values())) / 60 < 22


def test_door_view_shows_a_crossing_in_the_direction_of_walk():
    world = demo_store(7, 40.0).world
    door = world.layout.doors[0]
    tracks = {}
    for t_us in range(0, 70 * S, 100_000):
        for person in world.door_view(door, t_us):
            tracks.setdefault(person.id, []).append(person.x_m)
    crossings = sum(1 for xs in tracks.values() for a, b in itertools.pairwise(xs) if (a < 0) != (b < 0))
    truth = world.truth()["crossings"]["door-1"]
    assert crossings == truth["in"] + truth["out"] > 4


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_every_scenario_lives_and_describes_itself_as_json(name):
    scenario = SCENARIOS[name](9, 120.0, 400, True)
    site = json.loads(json.dumps(scenario.site))
    gtins = {p["gtin"] for p in site["products"]}
    assert all(check_digit(g[:13]) == int(g[13]) for g in gtins)
    assert all(set(shelf["products"]) <= gtins for shelf in site["shelves"])
    assert {antenna["shelf"] for reader in site["readers"] for antenna in reader["antennas"]} == {
        shelf["id"] for shelf in site["shelves"]
    }
    scenario.world.advance_to(120 * S)
    assert json.loads(json.dumps(scenario.world.truth()))["t_us"] == 120 * S


def test_nobody_walks_into_somebody_in_a_doorway() -> None:
    doorway = Doorway()
    assert doorway.book(1_000_000, 0.0)
    assert not doorway.book(1_200_000, 0.1)  # 0.24 m behind
    assert not doorway.book(900_000, -0.3)
    assert doorway.book(1_000_000, 0.6)  # beside
    assert doorway.book(1_500_000, 0.1)  # behind
    assert not doorway.book(1_500_000, 0.1)


def test_everybody_who_came_leaves_however_crowded_the_door_is() -> None:
    scenario = SCENARIOS["saturday-rush"](3, 240.0, 400, True)
    world = scenario.world
    for _ in range(120):
        world.advance_to(world.now_us + 5_000_000)
    ways = {door: dict(n) for door, n in world.crossings.items()}
    assert all(n["in"] == n["out"] > 20 for n in ways.values()), ways
