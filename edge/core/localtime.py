"""Local time of the store: days, quarters of an hour and opening hours follow its IANA time zone, DST included."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

from edge.core.instant import US_PER_MIN, US_PER_S

QUARTER_US = 15 * US_PER_MIN


def local(wall_us: int, zone: tzinfo) -> datetime:
    """Wall time (µs, UTC) as an aware local datetime."""
    return datetime.fromtimestamp(wall_us / US_PER_S, zone)


def quarter_end_us(wall_us: int) -> int:
    """End of the quarter of an hour that contains wall time (every zone's offset is a multiple of 15 min)."""
    return (wall_us // QUARTER_US + 1) * QUARTER_US


def local_day(wall_us: int, zone: tzinfo) -> str:
    """The store's calendar day, "2026-03-29"."""
    return local(wall_us, zone).date().isoformat()


def next_midnight_us(wall_us: int, zone: tzinfo) -> int:
    """Wall time (µs, UTC) of the next local midnight; days last 23 to 25 hours around a DST change."""
    today = local(wall_us, zone)
    midnight = (today + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return int(midnight.timestamp()) * US_PER_S


def is_open(wall_us: int, zone: tzinfo, hours: tuple[tuple[str, str], ...]) -> bool:
    """Whether the store is open: hours[weekday] = ("HH:MM", "HH:MM"), Monday first; "24:00" is the day's end."""
    moment = local(wall_us, zone)
    opens, closes = hours[moment.weekday()]
    return opens <= moment.strftime("%H:%M") < closes
