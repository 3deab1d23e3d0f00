"""The machine's clock: the only place that reads wall time.

Engine time continues CLOCK_BOOTTIME from the last instant that the journal saved, so it never falls, also over a
restart; wall time has a floor (build time, last saved time, last verified signature of an update), and the kernel
itself (adjtimex) tells its quality
without asking any daemon.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge.core.instant import US_PER_S, Instant, TimeQuality

BUILD_TIME_US = 1_760_000_000 * US_PER_S  # 2025-10-09: no gateway runs before this code was written
_STA_UNSYNC = 0x0040  # <sys/timex.h>
_TIME_ERROR = 5  # adjtimex(2): clock not synchronized


class _Timex(ctypes.Structure):
    """struct timex of Linux, as far as the status word; the rest is room (adjtimex(2))."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_byte * 256),
    )


def kernel_says_synced() -> bool:
    """Whether the kernel's clock is disciplined by NTP now (adjtimex(2)); False where it cannot be asked."""
    try:
        timex = _Timex()
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return False
    return state not in (-1, _TIME_ERROR) and not timex.status & _STA_UNSYNC


@dataclass(frozen=True, slots=True)
class Sources:
    """Where times come from; tests and fault campaigns turn them."""

    boottime_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    realtime_ns: Callable[[], int] = time.time_ns
    synced: Callable[[], bool] = kernel_says_synced


class SystemClock:
    """`edge.core.ports.Clock` over this machine."""

    def __init__(self, boot: int, saved: Instant | None, sources: Sources | None = None, *, signed_us: int = 0) -> None:
        """saved: the last instant in the journal; engine time goes on from there, by real time where that is known.

        signed_us: wall time of the newest signature that was verified (updates), 0 for none: it cannot be earlier.
        """
        self._sources = sources or Sources()
        self._boot = boot
        self._was_synced = False
        self._floor_us = max(BUILD_TIME_US, saved.wall_us if saved else 0, signed_us)
        self._quality_checked_ns = -(10**12)
        self._synced = False
        self._base_us = 0
        if saved is not None:
            self._base_us = saved.mono_us + 1 + self._downtime_us(saved)
        self._start_us = self._sources.boottime_ns() // 1000

    def _downtime_us(self, saved: Instant) -> int:
        if saved.quality not in (TimeQuality.SYNCED, TimeQuality.HOLDOVER) or not self._sources.synced():
            return 0
        return max(0, self._sources.realtime_ns() // 1000 - saved.wall_us)

    @property
    def boot(self) -> int:
        return self._boot

    def now(self) -> Instant:
        """This moment; the kernel is asked for the quality at most once a second."""
        boottime_ns = self._sources.boottime_ns()
        if boottime_ns - self._quality_checked_ns > 10**9:
            self._quality_checked_ns = boottime_ns
            self._synced = self._sources.synced()
            self._was_synced = self._was_synced or self._synced
        mono_us = self._base_us + boottime_ns // 1000 - self._start_us
        wall_us = self._sources.realtime_ns() // 1000
        return Instant(mono_us, max(wall_us, self._floor_us), self._quality(wall_us))

    def now_us(self) -> int:
        """Engine time alone: what drivers stamp with."""
        return self._base_us + self._sources.boottime_ns() // 1000 - self._start_us

    def _quality(self, wall_us: int) -> TimeQuality:
        if self._synced:
            return TimeQuality.SYNCED
        if self._was_synced:
            return TimeQuality.HOLDOVER
        return TimeQuality.RESTORED if wall_us >= self._floor_us else TimeQuality.UNSET
