"""Care and heat of zones: silence, moved beacons, clones, k-anonymity; readings under own names only."""

from __future__ import annotations

from typing import Any

from edge.core.facts import Degraded, Offline, Online, SpoofingSuspected, ZoneEntered, ZoneHeat
from edge.core.instant import US_PER_MIN, US_PER_S, Instant
from edge.core.observation import Advert, SensorReading
from edge.core.part import Signal
from edge.core.proximity import Proximity
from edge.core.site import load_site
from tests.unit.test_settings import site

WALL_US = 1_790_000_200 * US_PER_S
SCANNERS = [{"device": f"e-{i}", "zone": f"z-{i}", "x_m": 20.0 * i, "y_m": 0.0} for i in range(3)]
ZONES = [{"id": "front"}, *({"id": f"z-{i}"} for i in range(3))]


def at(seconds: float) -> Instant:
    return Instant(int(seconds * US_PER_S), WALL_US + int(seconds * US_PER_S))


def part(*beacons: dict[str, Any], **options: bool) -> Proximity:
    rows = [{"uuid": "u", "major": 1, "minor": i} | beacon for i, beacon in enumerate(beacons)]
    return Proximity(load_site(site(zones=ZONES, scanners=SCANNERS, beacons=rows)), **options)


def play(proximity: Proximity, levels: dict[int, int], seconds: range, minor: int = 0) -> list[Signal]:
    """Twice a second: minor is heard by scanner i at levels[i] dBm."""
    signals: list[Signal] = []
    for half in range(2 * seconds.start, 2 * seconds.stop):
        for scanner, dbm in levels.items():
            advert = Advert(f"e-{scanner}", 0, f"ibeacon:u:1:{minor}", dbm, -59)
            signals += proximity.heard(advert, at(half / 2))
        due_us = proximity.next_deadline_us()
        if due_us is not None and due_us <= at(half / 2).mono_us:
            signals += proximity.tick(at(half / 2))
    return signals


def of(signals: list[Signal], kind: type) -> list[Any]:
    return [signal for signal in signals if isinstance(signal, kind)]


def test_a_clone_heard_in_two_places_is_suspected_once() -> None:
    proximity = part({"id": "b", "kind": "zone", "zone": "z-0"})
    assert of(play(proximity, {0: -62, 1: -90, 2: -96}, range(60)), SpoofingSuspected) == []
    suspicions = of(play(proximity, {0: -62, 2: -60}, range(60, 120)), SpoofingSuspected)
    assert [(s.thing, s.places) for s in suspicions] == [("b", ["e-0", "e-2"])]


def test_silence_and_return_of_a_zone_beacon_are_told_and_survive_a_restart() -> None:
    proximity = part({"id": "b", "kind": "zone", "zone": "z-0"})
    play(proximity, {0: -60}, range(10))
    assert of(proximity.tick(at(16 * 60)), Offline)[0].cause == "silent"
    assert proximity.tick(at(17 * 60)) == []
    second = part({"id": "b", "kind": "zone", "zone": "z-0"})
    second.restore(proximity.drain_said(), at(18 * 60))
    assert [s.device for s in of(play(second, {0: -60}, range(1100, 1110)), Online)] == ["b"]


def test_a_zone_beacon_that_was_carried_off_is_told() -> None:
    proximity = part({"id": "b", "kind": "zone", "zone": "z-0"})
    assert of(play(proximity, {0: -62, 1: -92}, range(30)), Degraded) == []
    moved = of(play(proximity, {0: -95, 2: -62}, range(30, 700)), Degraded)
    assert [(fact.device, fact.cause) for fact in moved] == [("b", "moved")]
    assert of(play(proximity, {0: -62, 1: -92}, range(700, 730)), Online)


def heat(count: int) -> ZoneHeat:
    proximity = part(*({"id": f"a-{i}", "kind": "asset"} for i in range(count)))
    for minor in range(count):
        play(proximity, {0: -62, 1: -90}, range(10), minor)
    cells = of(proximity.tick(at(801)), ZoneHeat)
    assert {cell.zone for cell in cells} == {"z-0", "z-1", "z-2"}
    return next(cell for cell in cells if cell.zone == "z-0")


def test_cells_of_fewer_than_five_are_unknown() -> None:
    assert heat(5).visits == 5
    assert (heat(4).visits, heat(4).dwell_s) == (None, None)


def test_badges_are_followed_only_where_agreed() -> None:
    assert play(part({"id": "m", "kind": "badge"}), {0: -60}, range(20)) == []
    assert of(play(part({"id": "m", "kind": "badge"}, badges=True), {0: -60}, range(20)), ZoneEntered)


def test_readings_are_told_under_own_names_only() -> None:
    proximity = part({"id": "b", "kind": "zone", "zone": "z-0"})

    def told(subject: str, quantity: str, value: float) -> list[tuple[str, str, float]]:
        readings = proximity.reading(SensorReading("e-0", 0, subject, quantity, value))
        return [(r.subject, r.quantity, r.value) for r in readings]

    assert told("ibeacon:u:1:0", "battery_mv", 2100.0) == [("b", "battery_mv", 2100.0), ("b", "battery_percent", 10.0)]
    assert told("bthome:AA:BB:CC:DD:EE:FF", "temperature_c", 20.0) == []
    assert told("ibeacon:u:1:0", "uptime_s", 5.0) == []
    assert told("shelf-mcu-1", "temperature_c", 20.0) == [("shelf-mcu-1", "temperature_c", 20.0)]


def test_zone_of_a_beacon_and_a_new_plan() -> None:
    proximity = part({"id": "b", "kind": "zone", "zone": "z-0"}, {"id": "a", "kind": "asset"})
    assert proximity.zone_of("ibeacon:u:1:0") == "z-0"
    assert proximity.zone_of("ibeacon:u:1:1") is None
    play(proximity, {0: -60}, range(10), minor=1)
    left = proximity.replan(load_site(site(zones=ZONES, scanners=SCANNERS, beacons=[])), at(20 * US_PER_MIN / US_PER_S))
    assert [type(signal).__name__ for signal in left] == ["ZoneLeft", "ZoneVisit"]
    assert proximity.drain_said()["a"] is None
