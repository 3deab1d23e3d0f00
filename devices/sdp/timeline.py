"""What seq and uptime of a device tell: lost frames, reboots, and when a sample was really taken. Pure."""

from __future__ import annotations

from typing import Final

US_PER_MS: Final = 1_000
WRAP_MS: Final = 2**32  # uptime is a u32
CLOCK_PPM: Final = 200  # an MCU's crystal or RC-trimmed oscillator against ours, generously
SLACK_MS: Final = 5_000  # what a frame may have waited in buffers
REORDERED_MS: Final = 2_000  # a scanner stamps an advert when it was heard: a later frame may show an earlier uptime


class Timeline:
    """Follows one device over its frames. ``lost_frames`` and ``reboots`` count from the first frame on."""

    __slots__ = ("_arrived_us", "_offset_us", "_seq", "_uptime_ms", "lost_frames", "reboots")

    def __init__(self) -> None:
        self.lost_frames = 0
        self.reboots = 0
        self._seq = -1
        self._uptime_ms = 0
        self._arrived_us = 0
        self._offset_us = 0

    def take(self, seq: int, uptime_ms: int, arrived_us: int) -> int:
        """Engine time (µs) at which the frame was made, never after `arrived_us`.

        The offset between both clocks is the smallest seen: a frame can be late, never early. It may rise by
        `CLOCK_PPM`, so that a slow crystal is followed.
        """
        offset_us = arrived_us - uptime_ms * US_PER_MS
        if self._seq < 0:
            self._offset_us = offset_us
        else:
            elapsed_us = arrived_us - self._arrived_us
            ahead_ms = (uptime_ms - self._uptime_ms) % WRAP_MS
            back_ms = self._uptime_ms - uptime_ms
            if 0 < back_ms <= REORDERED_MS and 0 < (seq - self._seq) & 0xFFFF < 0x100:
                self._count_gap(seq)
                self._seq = seq
                return min(arrived_us, uptime_ms * US_PER_MS + self._offset_us)
            if back_ms > 0 and ahead_ms * US_PER_MS > elapsed_us + SLACK_MS * US_PER_MS:
                self._rebooted(offset_us)
            else:
                self._count_gap(seq)
                if uptime_ms < self._uptime_ms:  # wrapped after 49.7 days
                    self._offset_us += WRAP_MS * US_PER_MS
                self._offset_us = min(offset_us, self._offset_us + elapsed_us * CLOCK_PPM // 1_000_000)
        self._seq, self._uptime_ms, self._arrived_us = seq, uptime_ms, arrived_us
        return uptime_ms * US_PER_MS + self._offset_us

    def _count_gap(self, seq: int) -> None:
        gap = (seq - self._seq - 1) & 0xFFFF
        self.lost_frames += gap if gap < 0x8000 else 0  # else: a frame that came twice

    def repeats(self, seq: int, uptime_ms: int) -> bool:
        """Whether this is the last frame once more (a link that doubles)."""
        return seq == self._seq and uptime_ms == self._uptime_ms

    def _rebooted(self, offset_us: int) -> None:
        self.reboots += 1
        self._offset_us = offset_us
