"""Instants: integer microseconds, and how far the wall clock can be trusted.

A Raspberry Pi has no battery-backed clock, so elapsed time is always taken from ``mono_us``, the engine's own
clock: it never falls, not even over a restart (`edge.clock` continues it from the last saved value). ``wall_us``
is for people and for the platform, and ``quality`` says what it is worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

US_PER_MS = 1_000
US_PER_S = 1_000_000
US_PER_MIN = 60 * US_PER_S
US_PER_HOUR = 60 * US_PER_MIN
US_PER_DAY = 24 * US_PER_HOUR


class TimeQuality(StrEnum):
    """What the wall clock is worth."""

    SYNCED = "synced"  # disciplined by NTP now
    HOLDOVER = "holdover"  # was disciplined during this boot
    RESTORED = "restored"  # last saved time, carried on
    UNSET = "unset"  # nothing is known; wall_us is a floor


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment: engine time, wall time (µs since 1970, UTC) and the quality of the latter."""

    mono_us: int
    wall_us: int
    quality: TimeQuality = TimeQuality.SYNCED

    def wall_at(self, mono_us: int) -> int:
        """Wall time (µs) of an earlier or later engine time, by this instant's relation of the two clocks."""
        return self.wall_us + (mono_us - self.mono_us)
