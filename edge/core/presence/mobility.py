"""Mobility profiles of the field, as baselines and as selectable profiles: Intel RSP / EdgeX RFID inventory.

A tag stays at its location until another one's mean RSSI (last 20 reads) exceeds its own by an offset that begins at
T − m·holdoff and falls with the time since the tag was last read there: min(T, m·(t − last_read) + T − m·holdoff),
m in dB/ms (EdgeX app-rfid-llrp-inventory, "Tag Location Algorithm" and "Mobility Profile"). A tag that nobody has
read for `departed_s` has departed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.core.instant import US_PER_MS
from edge.core.presence.places import NOWHERE
from edge.core.presence.scorer import F32, WindowScorer
from edge.core.presence.tracks import Motion, Rows, Tracks, Verdicts

WINDOW_READS = 20


@dataclass(frozen=True, slots=True)
class MobilityProfile:
    """Slope (dB/ms), threshold (dB), holdoff (ms), and the silence after which a tag has departed (s)."""

    slope_db_ms: float
    threshold_db: float
    holdoff_ms: float
    departed_s: float = 30.0

    def offset_db(self, silence_ms: float) -> float:
        """How much stronger another location must be, after so long a silence at the present one."""
        return min(
            self.threshold_db, self.slope_db_ms * silence_ms + self.threshold_db - self.slope_db_ms * self.holdoff_ms
        )


ASSET_TRACKING = MobilityProfile(slope_db_ms=-0.008, threshold_db=6.0, holdoff_ms=0.0)
RETAIL_GARMENT = MobilityProfile(slope_db_ms=-0.0005, threshold_db=6.0, holdoff_ms=60_000.0, departed_s=60.0)
PROFILES = {"asset-tracking": ASSET_TRACKING, "retail-garment": RETAIL_GARMENT}


class MobilityLocator:
    """Places of tags by the profile, read by read; tags and places by number."""

    def __init__(self, profile: MobilityProfile) -> None:
        self.profile = profile
        self.place: dict[int, int] = {}
        self._levels: dict[int, dict[int, deque[float]]] = {}
        self._last_ms: dict[int, dict[int, float]] = {}
        self._seen_ms: dict[int, float] = {}

    def read(self, tag: int, place: int, rssi_dbm: float, at_ms: float) -> None:
        """One read of a tag at a place."""
        levels = self._levels.setdefault(tag, {})
        lasts = self._last_ms.setdefault(tag, {})
        if place not in levels:
            levels[place] = deque(maxlen=WINDOW_READS)
        levels[place].append(rssi_dbm)
        lasts[place] = self._seen_ms[tag] = at_ms
        current = self.place.get(tag)
        if current is None:
            self.place[tag] = place
        elif current != place:
            here, there = levels[current], levels[place]
            offset_db = self.profile.offset_db(at_ms - lasts[current])
            if sum(there) / len(there) > sum(here) / len(here) + offset_db:
                self.place[tag] = place

    def age(self, at_ms: float) -> list[int]:
        """Tags that have departed by now; they are forgotten."""
        limit_ms = at_ms - self.profile.departed_s * 1000
        gone = [tag for tag, seen_ms in self._seen_ms.items() if seen_ms < limit_ms]
        for tag in gone:
            del self._seen_ms[tag], self.place[tag], self._levels[tag], self._last_ms[tag]
        return gone


class MobilityTracks(Tracks):
    """The profile in the place of the filter, so that it can be switched on, replayed and compared in the same part.

    It has no notion of confidence: `CONFIDENCE` is the share of tag-seconds that it has right on the field world.
    """

    CONFIDENCE = 0.9

    def __init__(self, n_places: int, profile: MobilityProfile) -> None:
        super().__init__(n_places, WindowScorer(), Motion(believe_stray=0.8))
        self._locator = MobilityLocator(profile)
        self._touched: set[int] = set()

    def fold(self, rows: Rows, place: NDArray[np.int32], level_dbm: F32, reads: F32, now_us: int) -> None:
        """Read by read, as the profile is defined."""
        at_ms = now_us / US_PER_MS
        for row, where, level in zip(rows.tolist(), place.tolist(), level_dbm.tolist(), strict=True):
            self._locator.read(row, where, level, at_ms)
            self._touched.add(row)
        self.read_us[rows] = now_us

    def restless(self, n_rows: int, now_us: int) -> Rows:
        """As `due`: the profile knows no rest."""
        return self.due(n_rows, now_us, slice(None), 0)

    def due(self, n_rows: int, now_us: int, cohort: slice, rest_us: int) -> Rows:
        """Rows that were read or have been silent for too long."""
        self._touched.update(self._locator.age(now_us / US_PER_MS))
        due = np.array(sorted(self._touched), np.int64)
        self._touched.clear()
        return due

    def step(self, rows: Rows, now_us: int, blind: NDArray[np.bool_], log_activity: F32) -> Verdicts:
        """Where the profile has them; a tag of a blind place is left where it is by `accept`."""
        place = np.array([self._locator.place.get(row, NOWHERE) for row in rows.tolist()], np.int32)
        return Verdicts(rows, place, np.full(len(rows), self.CONFIDENCE, np.float32))
