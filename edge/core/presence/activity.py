"""Antenna health: each antenna's read rate against its own history, and which places can be believed now.

A place is blind when none of its antennas can be heard: its reader is down, the antenna is disconnected, has not been
heard since the start, or a well-read antenna fell silent at once. Blind places freeze what is known of their tags:
a silent reader never makes a tag depart. An antenna with few tags may fall silent because they were taken.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from edge.core.instant import US_PER_S
from edge.core.presence.places import Places

SHORT_S = 4.0
LONG_S = 600.0
SILENT_READS = 20.0  # so many reads must be missing …
SILENT_MIN_US = 2 * US_PER_S  # … for at least so long …
SILENT_MIN_TAGS = 5  # … at a place with at least so many tags: fewer may simply have been taken
READER_MIN_TAGS = 3  # a whole reader that falls silent needs fewer
QUIET_SHARE = 0.25


class AntennaState(StrEnum):
    """What can be said of an antenna."""

    OK = "ok"
    QUIET = "quiet"  # far below its own history
    SILENT = "silent"  # well read before, nothing now
    UNHEARD = "unheard"  # nothing since the start
    DISCONNECTED = "disconnected"
    READER_DOWN = "reader down"


class Activity:
    """Read rates (reads/s) of antennas and places; `blind` and `log_activity` are (places + 1,), the last a dummy."""

    def __init__(self, places: Places) -> None:
        n = len(places.antennas)
        self._places = places
        self.short = np.zeros(n)
        self.long = np.zeros(n)
        self.heard_s = np.zeros(n)  # how much history `long` has
        self.last_read_us = np.full(n, -1, np.int64)
        self.connected = np.ones(n, bool)
        self.reader_up = np.ones(n, bool)
        self.silent = np.zeros(n, bool)
        self._count = np.zeros(n)
        self._updated_us: int | None = None
        self._device = np.array([list(places.by_device).index(a.device) for a in places.antennas], np.int64)
        self.blind = np.ones(len(places) + 1, bool)
        self.blind[-1] = False
        self.log_activity = np.zeros(len(places) + 1, np.float32)

    def count(self, antennas: NDArray[np.int32], weights: NDArray[np.uint16] | None, now_us: int) -> None:
        """Reads at known antennas, as they come."""
        counted = np.bincount(antennas, weights, minlength=len(self._count))
        self._count += counted
        self.last_read_us[counted > 0] = now_us

    def set_reader(self, device: str, up: bool) -> None:
        """A reader is up or down."""
        self.reader_up[self._places.by_device.get(device, [])] = up

    def set_antenna(self, device: str, port: int, connected: bool) -> None:
        """A reader says that an antenna was connected or disconnected; unknown ports are ignored."""
        for index in self._places.by_device.get(device, []):
            if self._places.antennas[index].port == port:
                self.connected[index] = connected

    def update(self, now_us: int, tags_at: NDArray[np.int64]) -> None:
        """Follow the rates up to now; tags_at (places,) tells the tags at each place. Next comes `find_blind`."""
        elapsed_s = 0.0 if self._updated_us is None else (now_us - self._updated_us) / US_PER_S
        self._updated_us = now_us
        if elapsed_s <= 0 or not len(self.short):
            return
        rate = self._count / elapsed_s
        self._count[:] = 0
        self.short += (rate - self.short) * (1 - np.exp(-elapsed_s / SHORT_S))
        self._find_silent(now_us, tags_at)
        learning = (self.last_read_us >= 0) & ~self.silent & self.reader_up & self.connected
        self.heard_s[learning] = np.minimum(self.heard_s[learning] + elapsed_s, LONG_S)
        gain = np.where(learning, elapsed_s / np.maximum(self.heard_s, elapsed_s), 0.0)
        self.long += (rate - self.long) * np.minimum(gain, 1.0)

    def _find_silent(self, now_us: int, tags_at: NDArray[np.int64]) -> None:
        silence_us = now_us - self.last_read_us
        missed = self.long * silence_us / US_PER_S
        late = (self.last_read_us >= 0) & (missed >= SILENT_READS) & (silence_us >= SILENT_MIN_US)
        tags = tags_at[self._places.place_of_antenna]
        n_devices = int(self._device.max(initial=-1)) + 1
        alive = np.bincount(self._device, ~late & (self.last_read_us >= 0), n_devices) > 0
        device_tags = np.bincount(self._device, tags, n_devices)
        whole_reader = ~alive[self._device] & (device_tags[self._device] >= READER_MIN_TAGS)
        self.silent = late & ((tags >= SILENT_MIN_TAGS) | whole_reader)

    def find_blind(self) -> None:
        """Bring `blind` and `log_activity` up to date."""
        n = len(self._places)
        if not n:
            return  # a store without readers
        place = self._places.place_of_antenna
        works = self.reader_up & self.connected & ~self.silent & (self.last_read_us >= 0)
        self.blind[:n] = np.bincount(place, works, n) == 0
        short, long = np.bincount(place, self.short, n), np.bincount(place, self.long, n)
        self.log_activity[:n] = np.log(np.minimum(np.maximum((short + 0.1) / (long + 0.1), 0.02), 8.0))

    def state(self, antenna: int) -> AntennaState:
        """The state of one antenna."""
        if not self.reader_up[antenna]:
            return AntennaState.READER_DOWN
        if not self.connected[antenna]:
            return AntennaState.DISCONNECTED
        if self.last_read_us[antenna] < 0:
            return AntennaState.UNHEARD
        if self.silent[antenna]:
            return AntennaState.SILENT
        quiet = self.heard_s[antenna] > 60 and self.short[antenna] < QUIET_SHARE * self.long[antenna]
        return AntennaState.QUIET if quiet else AntennaState.OK

    def cause(self, place: int) -> str:
        """Why a place is blind: the state of its first antenna."""
        return self.state(int(np.flatnonzero(self._places.place_of_antenna == place)[0])).value
