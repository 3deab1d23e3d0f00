"""Fleet, footfall, proximity, promotions and health: each says a change once, and survives a restart."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from edge.core.conversion import Conversions
from edge.core.errors import CommandRejected
from edge.core.fact import Fact, body_fields, fact_types, kind_of, pack, unpack
from edge.core.facts import (
    Conversion,
    Crossings,
    DoorOpened,
    ItemPicked,
    ItemPutBack,
    ItemSold,
    LowBattery,
    Occupancy,
    Offline,
    OnHandChanged,
    Online,
    Replaced,
    ShelfConversion,
    ZoneEntered,
    ZoneLeft,
)
from edge.core.fleet import Fleet
from edge.core.footfall import Footfall
from edge.core.instant import US_PER_MIN, US_PER_S, Instant
from edge.core.localtime import is_open, local_day, next_midnight_us
from edge.core.observation import (
    Advert,
    DeviceIdentity,
    DeviceState,
    DeviceStatus,
    DoorCrossing,
    SensorReading,
)
from edge.core.ports import Command
from edge.core.promotion import Promotions
from edge.core.proximity import Proximity
from edge.core.site import load_site
from edge.health import Health, Notifier
from tests.unit.test_settings import GTIN, site

START_US = 1_790_000_200 * US_PER_S  # a quarter of an hour ends 800 s later


def at(seconds: float) -> Instant:
    return Instant(int(seconds * US_PER_S), START_US + int(seconds * US_PER_S))


def kinds(signals: list[Any]) -> list[str]:
    return [type(signal).__name__ for signal in signals]


def test_every_fact_round_trips_and_has_its_own_code() -> None:
    for code, fact_type in fact_types().items():
        assert code == fact_type.CODE
        assert kind_of(fact_type).count(".") == 1
        assert fact_type.__doc__
        assert "at_us" not in body_fields(fact_type)
    stored = pack(LowBattery(at_us=5, device="b", percent=9.5))
    assert unpack(LowBattery.CODE, stored) == {"device": "b", "percent": 9.5}
    assert unpack(LowBattery.CODE, b'["b"]') == {"device": "b"}  # a row of a release that had fewer fields


def test_fleet_says_each_change_once() -> None:
    fleet = Fleet()
    assert kinds(fleet.identity(DeviceIdentity("r", 0, "S1", "M", "1"))) == []
    assert kinds(fleet.status(DeviceStatus("r", 0, DeviceState.ONLINE))) == ["Online"]
    assert fleet.status(DeviceStatus("r", 1, DeviceState.ONLINE)) == []
    lost = fleet.status(DeviceStatus("r", 2, DeviceState.OFFLINE, "LinkLost", "no cable"))
    assert lost == [Offline(at_us=2, device="r", cause="LinkLost", detail="no cable")]
    assert kinds(fleet.identity(DeviceIdentity("r", 3, "S2", "M", "1"))) == ["Replaced"]
    second = Fleet()
    second.restore(fleet.drain_said(), at(0))
    assert fleet.drain_said() == {}
    assert second.identity(DeviceIdentity("r", 4, "S3", "M", "1")) == [
        Replaced(at_us=4, device="r", old_serial="S2", new_serial="S3")
    ]
    assert second.status(DeviceStatus("r", 5, DeviceState.ONLINE)) == [
        Online(at_us=5, device="r", serial="S3", firmware="1")
    ]


def test_batteries_contacts_and_surroundings() -> None:
    fleet = Fleet()
    low = [
        fleet.reading(SensorReading("e", i, "b-1", "battery_percent", v)) for i, v in enumerate((50, 14, 13, 20, 90, 5))
    ]
    assert [kinds(signals) for signals in low] == [[], ["LowBattery"], [], [], [], ["LowBattery"]]
    contact = [fleet.reading(SensorReading("e", i, "c", "door_open", v)) for i, v in enumerate((0, 1, 1, 0))]
    assert [[s.opened for s in signals if isinstance(s, DoorOpened)] for signals in contact] == [
        [False],
        [True],
        [],
        [False],
    ]
    warm = [fleet.reading(SensorReading("e", i * US_PER_MIN, "t", "temperature_c", 20.0)) for i in range(31)]
    assert sum(len(signals) for signals in warm) == 3


def crossing(direction: str, seconds: float) -> DoorCrossing:
    return DoorCrossing("door-1", int(seconds * US_PER_S), direction, 0.9, int(seconds * US_PER_S))


def test_footfall_counts_quarters_and_never_calls_a_missing_sensor_zero() -> None:
    part = Footfall(load_site(site()))
    part.status(DeviceStatus("door-1", 0, DeviceState.ONLINE), at(0))
    for second in (1, 2, 3):
        assert isinstance(part.crossed(crossing("in", second), at(second))[-1], Occupancy)
    part.crossed(crossing("out", 4), at(4))
    part.picked(6)
    assert part.people == 2
    signals = part.tick(at(800))
    door = next(s for s in signals if isinstance(s, Crossings))
    assert (door.entered, door.left, door.known, door.coverage) == (3, 1, False, 0.8889)  # it began within the quarter
    assert next(s for s in signals if isinstance(s, Conversion)).ratio is None
    part.crossed(crossing("in", 805), at(805))
    part.picked(2)
    signals = part.tick(at(1700))
    assert next(s for s in signals if isinstance(s, Crossings)).known
    assert next(s for s in signals if isinstance(s, Conversion)).ratio == 2.0
    part.status(DeviceStatus("door-1", 0, DeviceState.OFFLINE, "LinkLost"), at(1800))
    assert part.people is None
    part.status(DeviceStatus("door-1", 0, DeviceState.ONLINE), at(1890))
    assert part.people == 3
    door = next(s for s in part.tick(at(2600)) if isinstance(s, Crossings))
    assert (door.entered, door.known, door.coverage) == (0, False, 0.9)


def test_footfall_goes_on_after_a_restart() -> None:
    first = Footfall(load_site(site()))
    first.status(DeviceStatus("door-1", 0, DeviceState.ONLINE), at(0))
    first.crossed(crossing("in", 1), at(1))
    second = Footfall(load_site(site()))
    second.restore(first.drain_said(), at(2))
    second.status(DeviceStatus("door-1", 0, DeviceState.ONLINE), at(2))
    second.crossed(crossing("in", 3), at(3))
    assert second.people == 2
    assert second.next_deadline_us() == first.next_deadline_us()


def test_footfall_follows_a_planogram_with_another_door() -> None:
    part = Footfall(load_site(site()))
    part.status(DeviceStatus("door-1", 0, DeviceState.ONLINE), at(0))
    part.crossed(crossing("in", 1), at(1))
    part.replan(load_site(site(doors=[{"device": "door-1"}, {"device": "door-2"}])), at(2))
    assert part.people is None  # the new door has not been heard
    part.status(DeviceStatus("door-2", 0, DeviceState.ONLINE), at(3))
    assert (part.people, part.quarter()) == (1, {"door-1": (1, 0), "door-2": (0, 0)})
    part.replan(load_site(site(doors=[])), at(4))
    assert part.quarter() == {}
    assert part.crossed(crossing("in", 5), at(5)) == []


def test_what_happens_at_a_shelf_is_told_once_a_quarter_and_survives_a_restart() -> None:
    first = Conversions(load_site(site()))
    picked = ItemPicked(at_us=0, gtin=GTIN, shelf="shelf-1", quantity=3, confidence=0.9)
    first.follow(picked, at(1))
    first.follow(ItemPutBack(at_us=0, gtin=GTIN, shelf="shelf-1", quantity=1, confidence=0.9), at(2))
    second = Conversions(load_site(site()))
    second.restore(first.drain_said(), at(3))
    second.follow(ItemSold(at_us=0, gtin=GTIN, quantity=2, receipt="r", line=1), at(4))
    second.follow(ItemSold(at_us=0, gtin="04012345000099", quantity=9, receipt="r", line=2), at(4))  # nobody's
    assert second.next_deadline_us() == 800 * US_PER_S
    assert second.tick(at(799)) == []
    (told,) = second.tick(at(800))
    assert isinstance(told, ShelfConversion)
    assert (told.shelf, told.picks, told.put_backs, told.sales, told.dwell_s) == ("shelf-1", 3, 1, 2, None)
    assert told.end_us - told.start_us == 15 * US_PER_MIN
    assert second.drain_said() == {"now": None}
    assert (second.tick(at(9000)), second.next_deadline_us()) == ([], None)


def test_days_follow_the_time_zone_over_daylight_saving() -> None:
    berlin = load_site(site(store=site()["store"] | {"timezone": "Europe/Berlin"})).store
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(berlin.timezone)
    spring = 1_774_738_800 * US_PER_S  # 2026-03-29 00:00 in Berlin
    assert local_day(spring, zone) == "2026-03-29"
    assert next_midnight_us(spring, zone) - spring == 23 * 3600 * US_PER_S
    autumn = 1_792_879_200 * US_PER_S  # 2026-10-25 00:00 in Berlin
    assert next_midnight_us(autumn, zone) - autumn == 25 * 3600 * US_PER_S
    assert not is_open(spring, zone, berlin.hours)
    assert is_open(spring + 12 * 3600 * US_PER_S, zone, berlin.hours)


def proximity() -> Proximity:
    zones = [{"id": "front"}, {"id": "back"}]
    scanners = [{"device": "ear-1", "zone": "front"}, {"device": "ear-2", "zone": "back"}]
    return Proximity(load_site(site(zones=zones, scanners=scanners)))


def hear(part: Proximity, seconds: float, front_dbm: int, back_dbm: int) -> list[Any]:
    beacon = load_site(site()).beacons[0].key
    signals = part.heard(Advert("ear-1", 0, beacon, front_dbm), at(seconds))
    signals += part.heard(Advert("ear-2", 0, beacon, back_dbm), at(seconds))
    return signals + part.tick(at(seconds + 0.2))


def test_an_asset_enters_moves_and_leaves_without_flapping() -> None:
    part = proximity()
    facts: list[Fact] = []
    for second in range(60):
        facts += [s for s in hear(part, second, -60, -75) if isinstance(s, Fact)]
    for second in range(60, 120):
        wobble = 2 if second % 2 else -2
        facts += [s for s in hear(part, second, -68 + wobble, -68 - wobble) if isinstance(s, Fact)]
    for second in range(120, 140):
        facts += [s for s in hear(part, second, -80, -60) if isinstance(s, Fact)]
    entered = [(fact.zone, fact.from_zone) for fact in facts if isinstance(fact, ZoneEntered)]
    assert entered == [("front", ""), ("back", "front")]
    assert part.next_deadline_us() <= 159 * US_PER_S  # never late; where it was early it looks again
    assert part.tick(at(158)) == []
    assert part.next_deadline_us() == 159 * US_PER_S
    left = [s for s in part.tick(at(159)) if isinstance(s, ZoneLeft)]
    assert [fact.zone for fact in left] == ["back"]


def test_a_strange_beacon_leaves_no_trace() -> None:
    part = proximity()
    assert part.heard(Advert("ear-1", 0, "ibeacon:someone:1:1", -40), at(0)) == []
    assert part.drain_said() == {}
    assert part.next_deadline_us() is None


def promotions(**changes: Any) -> dict[str, Any]:
    return {"promotions": [{"id": "p", "zone": "front", "gtins": [GTIN]} | changes]}


def on_hand(count: int) -> OnHandChanged:
    return OnHandChanged(
        at_us=0, gtin=GTIN, shelf="shelf-1", on_hand=count, low=count, high=count, confidence=1.0, sources=[], reason=""
    )


def test_no_offer_for_an_empty_shelf() -> None:
    part = Promotions(load_site(site()))
    part.execute(Command("1", "set_promotions", promotions()), at(0))
    assert part.eligible("front", at(0)) == []
    part.stock(on_hand(1))
    assert [gtin for _, gtin in part.eligible("front", at(0))] == [GTIN]
    part.stock(on_hand(0))
    assert part.eligible("front", at(0)) == []
    second = Promotions(load_site(site()))
    second.restore(part.drain_said(), at(0))
    second.stock(on_hand(2))
    assert len(second.eligible("front", at(0))) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"zone": "x"}, "a zone of the planogram"), ({"gtins": ["1"]}, "a GTIN of the catalogue"), ({"price": 1}, "keys")],
)
def test_wrong_promotions_are_refused_by_name(changes: dict[str, Any], words: str) -> None:
    part = Promotions(load_site(site()))
    with pytest.raises(CommandRejected, match=words):
        part.execute(Command("1", "set_promotions", promotions(**changes)), at(0))


def test_the_watchdog_knows_who_is_late() -> None:
    clock = [0]
    health = Health(lambda: clock[0])
    health.expect_beat("loop", 10)
    health.expect_beat("writer", 20)
    clock[0] = 15 * US_PER_S
    assert health.stale() == ["loop"]
    health.beat("loop")
    assert health.stale() == []
    health.forget_beat("writer")
    clock[0] = 100 * US_PER_S
    assert health.stale() == ["loop"]


def test_notifications_arrive_as_datagrams(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        Notifier(str(tmp_path / "notify"))("READY=1")
        assert systemd.recv(100) == b"READY=1"
    Notifier(str(tmp_path / "gone"))("READY=1")
    Notifier("")("READY=1")
