"""The structured log: after the commit, without flooding, nothing about shoppers."""

from __future__ import annotations

import json

from edge.core.facts import ConsentGiven, Offline, Online, SignedIn, StockOut
from edge.core.instant import US_PER_MIN, US_PER_S, Instant, TimeQuality
from edge.logbook import KEPT_LINES, Level, Logbook


class Desk:
    """A logbook, its clock and what it wrote."""

    def __init__(self) -> None:
        self.now_us = 0
        self.lines: list[tuple[dict[str, object], Level]] = []
        self.book = Logbook(self._now, lambda line, level: self.lines.append((json.loads(line), level)))

    def _now(self) -> Instant:
        return Instant(self.now_us, 1_790_000_000 * US_PER_S + self.now_us, TimeQuality.SYNCED)

    def events(self) -> list[object]:
        return [row["event"] for row, _ in self.lines]


def test_facts_of_devices_security_and_system_are_written_after_their_commit_and_no_others() -> None:
    desk = Desk()
    told = [
        Offline(at_us=1, device="reader-1", cause="link_lost", detail="10.0.0.7:5084: refused"),
        ConsentGiven(at_us=1, subject_id="p-1", purposes=["offers"], receipt="r-1", notice_version="1"),
        StockOut(at_us=1, gtin="04569951000003"),
    ]
    desk.book.await_commit(3, told)
    desk.book.committed(2)
    assert desk.lines == []
    desk.book.committed(3)
    ((row, level),) = desk.lines
    assert level is Level.WARNING
    assert row["event"] == "device.Offline"
    assert (row["subject"], row["cause"], row["time"]) == ("reader-1", "link_lost", "2026-09-21T14:13:20.000+00:00")


def test_a_flapping_device_is_held_back_and_counted_and_does_not_silence_the_others() -> None:
    desk = Desk()
    for number in range(100):
        desk.now_us = number * US_PER_S // 10
        desk.book.await_commit(number, [Online(at_us=0, device="reader-1")])
        desk.book.committed(number)
    desk.book.note(Level.INFO, "device.Online", "reader-2")
    assert len(desk.lines) == 6
    desk.now_us += US_PER_MIN
    desk.book.note(Level.INFO, "device.Online", "reader-1")
    assert desk.lines[-1][0]["held_back"] == 95


def test_all_together_stay_below_one_line_a_second_after_a_burst() -> None:
    desk = Desk()
    for number in range(5_000):
        desk.now_us = number * US_PER_S // 100
        desk.book.note(Level.INFO, "thing", f"t-{number}")
    assert len(desk.lines) == 200 + 49
    assert len(desk.book.rows()) == 249 < KEPT_LINES
    assert desk.book.rows(after=240, limit=3) == [row for row, _ in desk.lines[240:243]]


def test_alarms_and_the_connection_are_told_when_they_change() -> None:
    desk = Desk()
    desk.book.watch({"safe_mode": "three crashes"}, "connected", "")
    desk.book.watch({"safe_mode": "three crashes"}, "connected", "")
    desk.book.watch({}, "disconnected", "no CONNACK within 5 s")
    assert desk.events() == ["alarm.raised", "uplink.connected", "alarm.cleared", "uplink.disconnected"]
    assert desk.lines[-1] == (desk.lines[-1][0] | {"detail": "no CONNACK within 5 s"}, Level.WARNING)


def test_a_missing_connection_is_told_with_its_cause_once_per_cause_and_not_before_there_is_one() -> None:
    desk = Desk()
    desk.book.watch({}, "disconnected", "")
    assert desk.lines == []
    refused, unknown = "b:1883: connection refused", "b:1883: name not known"
    for cause in (refused, refused, unknown, unknown, refused):
        desk.book.watch({}, "disconnected", cause)
    assert [row["detail"] for row, _ in desk.lines] == [refused, unknown, refused]
    desk.book.watch({}, "connected", "")
    desk.book.watch({}, "disconnected", refused)
    assert desk.events()[-2:] == ["uplink.connected", "uplink.disconnected"]
    assert desk.lines[-1][0]["detail"] == refused


def test_a_failed_sign_in_is_a_warning() -> None:
    desk = Desk()
    desk.book.await_commit(1, [SignedIn(at_us=0, actor="mallory", role="", ok=False, address="192.0.2.7")])
    desk.book.committed(1)
    assert desk.lines[0][1] is Level.WARNING
