"""When and for whom a promotion holds: local hours, quiet hours over midnight, caps, gap, budget, segments."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from edge.core.errors import CommandRejected
from edge.core.instant import US_PER_MIN, US_PER_S, Instant
from edge.core.ports import Command
from edge.core.promotion import Promotions
from edge.core.site import load_site
from tests.unit.test_settings import STORE, site
from tests.unit.test_small_parts import on_hand, promotions

BERLIN = ZoneInfo("Europe/Berlin")


class Book:
    """A ledger that says what it is told to say."""

    def __init__(self, counts: tuple[int, int, int] = (0, 0, 0), last_us: int | None = None, spent: int = 0) -> None:
        self._counts, self._last_us, self._spent = counts, last_us, spent

    def shown(self, promotion: str, person: str, day: str) -> tuple[int, int, int]:
        return self._counts

    def last_us(self, person: str) -> int | None:
        return self._last_us

    def spent_minor(self, promotion: str) -> int:
        return self._spent


def reasons(when: str, book: Book | None = None, segments: frozenset[str] = frozenset(), **changes: Any) -> list[str]:
    part = Promotions(load_site(site(store=STORE | {"timezone": "Europe/Berlin"})))
    part.stock(on_hand(3))
    part.execute(Command("1", "set_promotions", promotions(**changes)), Instant(0, 0))
    wall_us = int(datetime.fromisoformat(when).replace(tzinfo=BERLIN).timestamp()) * US_PER_S
    verdict = part.explain("front", Instant(100 * US_PER_MIN, wall_us), book or Book(), "me", segments)[0]
    return [reason.partition(":")[0] for reason in verdict.why_not]


@pytest.mark.parametrize(
    ("when", "changes", "expected"),
    [
        ("2026-03-29T12:00", {}, []),
        ("2026-03-29T09:30", {"hours": ["10:00", "20:00"]}, ["hours"]),  # the day of the clock change
        ("2026-03-29T10:00", {"hours": ["10:00", "20:00"]}, []),
        ("2026-10-25T09:59", {"hours": ["10:00", "20:00"]}, ["hours"]),
        ("2026-11-22T12:00", {"days": [0, 1, 2, 3, 4]}, ["hours"]),  # a Sunday
        ("2026-11-22T23:30", {"quiet": ["22:00", "08:00"]}, ["quiet"]),
        ("2026-11-22T07:59", {"quiet": ["22:00", "08:00"]}, ["quiet"]),
        ("2026-11-22T08:00", {"quiet": ["22:00", "08:00"]}, []),
        ("2026-11-22T08:00", {"ends_us": 5}, ["time"]),
        ("2026-11-22T08:00", {"starts_us": 2**61}, ["time"]),
        ("2026-11-22T08:00", {"segment": "members"}, ["segment"]),
        ("2026-11-22T08:00", {"stock_floor": 4}, ["stock"]),
    ],
)
def test_when(when: str, changes: dict[str, Any], expected: list[str]) -> None:
    assert reasons(when, **changes) == expected


@pytest.mark.parametrize(
    ("book", "changes", "expected"),
    [
        (Book((1, 0, 0)), {}, ["cap person"]),
        (Book((0, 7, 0)), {"cap_day": 7}, ["cap day"]),
        (Book((0, 0, 9)), {"cap_total": 9}, ["cap offer"]),
        (Book((0, 6, 8)), {"cap_day": 7, "cap_total": 9}, []),
        (Book(last_us=95 * US_PER_MIN), {"min_gap_min": 10}, ["gap"]),
        (Book(last_us=80 * US_PER_MIN), {"min_gap_min": 10}, []),
        (Book(spent=60), {"value_minor": 50, "budget_minor": 100}, ["budget"]),
        (Book(spent=50), {"value_minor": 50, "budget_minor": 100}, []),
    ],
)
def test_for_whom(book: Book, changes: dict[str, Any], expected: list[str]) -> None:
    assert reasons("2026-11-22T12:00", book, **changes) == expected


def test_segments_open_what_is_meant_for_them() -> None:
    assert reasons("2026-11-22T12:00", segments=frozenset({"members"}), segment="members") == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"hours": ["9", "10:00"]}, "HH:MM"), ({"cap_day": -1}, "0 or more"), ({"valid_min": 0.0}, "minutes up to a day")],
)
def test_wrong_rules_are_refused_by_name(changes: dict[str, Any], words: str) -> None:
    part = Promotions(load_site(site()))
    with pytest.raises(CommandRejected, match=words):
        part.execute(Command("1", "set_promotions", promotions(**changes)), Instant(0, 0))


def test_the_mirrored_document_follows_stock_time_and_plan() -> None:
    part = Promotions(load_site(site(store=STORE | {"timezone": "Europe/Berlin"})))
    part.stock(on_hand(3))

    def at(clock: str) -> Instant:
        wall_us = int(datetime.fromisoformat(f"2026-11-22T{clock}").replace(tzinfo=BERLIN).timestamp()) * US_PER_S
        return Instant(wall_us, wall_us)

    def shown(clock: str) -> list[Any]:
        document: Any = part.document("front", at(clock))
        return [(row["promotion"], row["on_hand"]) for row in document["promotions"]]

    assert part.next_deadline_us() is None
    part.execute(Command("1", "set_promotions", promotions(hours=["10:00", "20:00"])), at("09:58:30"))
    (name,) = (promotion.id for promotion in part.promotions())
    assert (part.drain_changed(), shown("09:58:30")) == ({"front"}, [])
    assert part.next_deadline_us() == at("09:59:00").mono_us
    part.tick(at("09:59:00"))
    assert part.drain_changed() == set()
    part.tick(at("10:00:00"))
    assert (part.drain_changed(), shown("10:00:00")) == ({"front"}, [(name, 3)])
    part.stock(on_hand(2))
    assert (part.drain_changed(), shown("10:00:01")) == ({"front"}, [(name, 2)])
    part.execute(Command("2", "set_promotions", promotions(segment="members")), at("10:01:00"))
    assert shown("10:01:00") == []  # what some may have is nobody else's to read
    part.execute(Command("3", "set_promotions", {"promotions": []}), at("10:02:00"))
    assert (part.drain_changed(), part.next_deadline_us()) == ({"front"}, None)
    assert part.document("nowhere", at("10:02:00")) is None
