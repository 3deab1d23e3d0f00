"""The remote scanner role, and the radio that decides what it hears."""

import asyncio
import math
import statistics
from dataclasses import replace
from itertools import pairwise
from uuid import UUID

from firmware_sim import adverts, sdp
from firmware_sim.ble_air import BleProfile, Ear, Heard, Point, Reception, Sender, shading
from firmware_sim.ble_scanner import BleScanner
from firmware_sim.stream import memory_pipe
from tests.unit.firmware_sim_support import Host
from tests.virtual_time import run_virtual

STORE = UUID("f7826da6-4fa2-4e98-8024-bc5b71e0893e")
QUIET = BleProfile(static_sd_db=0, shadow_sd_db=0, channel_sd_db=0, noise_sd_db=0, loss=0)
IDENTITY = sdp.Identity("BS-000003", "SCAN-1")


def hear(ear: Ear, seconds: float, *places: Point, step_s: float = 0.05) -> list[Reception]:
    steps = [round(i * step_s * 1e6) for i in range(round(seconds / step_s) + 1)]
    positions = [lambda _t, place=place: place for place in places]
    return [r for t0, t1 in pairwise(steps) for r in ear.receive(t0, t1, (0.0, 0.0), positions)]


def test_adverts_on_the_wire_are_what_the_ear_heard() -> None:
    said = [
        Heard(0, -71, 1, bytes.fromhex("c1a2b3d4e5f6"), adverts.ibeacon(STORE, 101, 7)),
        Heard(0, -50, 1, b"\x55" * 6, adverts.FLAGS + adverts.structure(0xFF, b"\x4c\x00\x10\x05\x01\x18")),
    ]

    def ear(t0_us: int, t1_us: int) -> list[Heard]:
        return [h._replace(t_us=t1_us - 3000) for h in said] if t0_us < 2_000_000 <= t1_us else []

    async def main() -> None:
        ours, theirs = memory_pipe()
        scanner = BleScanner(IDENTITY, ear, seed=1)
        serving = asyncio.ensure_future(scanner.serve(theirs))
        host = Host(ours)
        await host.next(sdp.BOOT)
        frames = await host.collect(5.0)
        assert [f.kind for f in frames] == [sdp.ADVERT]  # the phone stayed outside
        assert frames[0].body == sdp.advert_body(-71, 1, bytes.fromhex("c1a2b3d4e5f6"), said[0].ad)
        assert 1690 <= frames[0].uptime_ms <= 1800  # booted after 0.25 s, heard just before 2 s
        assert scanner.counters["filtered"] == 1
        assert await host.ask(sdp.SET_RATE, 1, b"\x64\x00") == sdp.NOT_SUPPORTED
        await host.close()
        await serving

    run_virtual(main())


def test_rssi_falls_with_the_logarithm_of_the_distance() -> None:
    for distance_m in (1.0, 4.0, 16.0):
        got = {r.rssi_dbm for r in hear(Ear("a", [Sender("b")], "1", QUIET), 10, (distance_m, 0.0))}
        assert got == {round(-59 - 22 * math.log10(distance_m))}


def test_intervals_carry_the_advertising_delay_and_two_receivers_hear_the_same_packets() -> None:
    senders = [Sender("one"), Sender("two", 0.5)]
    places = (1.0, 0.0), (0.0, 1.0)
    one = hear(Ear("near", senders, "7", QUIET), 60, *places)
    two = hear(Ear("other", senders, "7", QUIET), 60, *places, step_s=0.5)
    assert one == two
    gaps = [b - a for a, b in pairwise([r.t_us for r in one if r.sender == 0])]
    assert min(gaps) >= 200_000
    assert max(gaps) < 210_000
    assert abs(statistics.fmean(gaps) - 205_000) < 1_000


def test_far_senders_fade_out_and_a_lazy_scanner_misses() -> None:
    far = hear(Ear("a", [Sender("b")], "1"), 60, (60.0, 0.0))
    near = hear(Ear("a", [Sender("b")], "1"), 60, (5.0, 0.0))
    lazy = hear(Ear("a", [Sender("b")], "1", BleProfile(duty=0.3)), 60, (5.0, 0.0))
    assert len(far) < 0.6 * len(near)
    assert 0.9 * 60 / 0.205 < len(near) <= 60 / 0.2
    assert 0.2 < len(lazy) / len(near) < 0.4


def test_people_in_the_way_shade() -> None:
    line = (4.0, 0.0), (0.0, 0.0)
    assert shading([(2.0, 0.2)], *line) == 1
    assert shading([(2.0, 0.3), (4.1, 0.1), (5.0, 0.0), (-1.0, 0.0)], *line) == 0  # beside, carrying, behind
    assert shading([(1.0 + i / 4, 0.0) for i in range(8)], *line) == 3
    assert shading([(0.0, 0.0)], (1.0, 1.0), (1.0, 1.0)) == 0
    shaded = Ear("a", [Sender("b")], "1", replace(QUIET, body_db=4.0), lambda _t: [(2.0, 0.0), (3.0, 0.1)])
    free = Ear("a", [Sender("b")], "1", QUIET)
    difference = {r.rssi_dbm for r in hear(free, 5, line[0])}.pop() - {
        r.rssi_dbm for r in hear(shaded, 5, line[0])
    }.pop()
    assert difference == 8


def test_shadowing_wanders_slowly_and_fast_fading_does_not() -> None:
    slow = BleProfile(static_sd_db=0, shadow_sd_db=4, channel_sd_db=0, noise_sd_db=0)
    rssi = [r.rssi_dbm for r in hear(Ear("a", [Sender("b")], "5", slow), 1200, (3.0, 0.0))]
    assert 2.5 < statistics.stdev(rssi) < 5.5
    assert statistics.correlation(rssi[:-1], rssi[1:]) > 0.9
    fast = BleProfile(static_sd_db=0, shadow_sd_db=0, channel_sd_db=0, noise_sd_db=4)
    rssi = [r.rssi_dbm for r in hear(Ear("a", [Sender("b")], "5", fast), 1200, (3.0, 0.0))]
    assert abs(statistics.correlation(rssi[:-1], rssi[1:])) < 0.1


def test_seeds_repeat_and_differ() -> None:
    def trace(seed: str) -> list[Reception]:
        return hear(Ear("a", [Sender("b")], seed), 20, (3.0, 0.0))

    assert trace("1") == trace("1") != trace("2")
