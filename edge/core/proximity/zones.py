"""Which zone: a hidden Markov model over the zones, fed by the time-windowed RSSI of each scanner.

Expected level of zone z at scanner s: power at 1 m − 10·n·log10(distance), the distance from the planogram (scanners,
and the shelves of the zone), never less than the zone's own extent. What takes all levels alike (a hand, a body, a
weak battery) is an offset that is estimated along. Fading is correlated, so the evidence is tempered: seconds count,
packets do not. The kernel removes duplicates, so samples are irregular: windows are of time.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from edge.core.instant import US_PER_S
from edge.core.site import Site

WINDOW_US: Final = 5 * US_PER_S // 2
STEP_US: Final = US_PER_S // 2
MAX_SAMPLES: Final = 64
EXPONENT: Final = 2.4  # ITU-R P.1238: 2 to 3 in shops
EXTENT_M: Final = 2.0
FLOOR_DBM: Final = -97.0
SD_DB: Final = 6.0  # of a window's level around the model's: shadowing, the place within the zone, the hand
OFFSET_SD_DB: Final = 6.0
DEFAULT_POWER_DBM: Final = -59.0
UNPLACED_DB: Final = 12.0  # how much weaker another zone's scanner hears, where no positions are known
STAY_S: Final = 40.0
TEMPER_PER_S: Final = 1.8
ENTER: Final = 0.75


@dataclass(slots=True)
class Track:
    """One beacon: samples by scanner, and the belief over zones (logarithms, best 0)."""

    samples: dict[str, deque[tuple[int, int]]] = field(default_factory=dict)
    belief: list[float] | None = None
    updated_us: int = 0
    power_dbm: float = DEFAULT_POWER_DBM


class ZoneModel:
    """Geometry of one site and the filter over it."""

    def __init__(self, site: Site) -> None:
        self.zone_of = {scanner.device: scanner.zone for scanner in site.scanners}
        centres = _centres(site)
        self.zones = (
            sorted(set(self.zone_of.values()) | set(centres)) if centres else sorted(set(self.zone_of.values()))
        )
        self.place = {s.device: (s.x_m, s.y_m) for s in site.scanners} if centres else {}
        self._loss_db: dict[str, list[float]] = {}
        for scanner in site.scanners:
            self._loss_db[scanner.device] = [self._loss(scanner.device, zone, centres) for zone in self.zones]

    def _loss(self, device: str, zone: str, centres: dict[str, tuple[float, float]]) -> float:
        if not centres or zone not in centres:
            return 15.0 if self.zone_of[device] == zone else 15.0 + UNPLACED_DB
        (x, y), (at_x, at_y) = centres[zone], self.place[device]
        metres = math.sqrt((x - at_x) ** 2 + (y - at_y) ** 2 + EXTENT_M**2)
        return 10.0 * EXPONENT * math.log10(max(1.0, metres))

    def hear(self, track: Track, device: str, rssi_dbm: int, now_us: int) -> bool:
        """Take one packet; whether the belief is due."""
        samples = track.samples.get(device)
        if samples is None:
            samples = track.samples[device] = deque(maxlen=MAX_SAMPLES)
        samples.append((now_us, rssi_dbm))
        return now_us - track.updated_us >= STEP_US

    def levels(self, track: Track, now_us: int) -> dict[str, float]:
        """Level of each scanner that heard it within the window: the upper third, since bodies only take away."""
        found: dict[str, float] = {}
        edge_us = now_us - WINDOW_US
        for device, samples in track.samples.items():
            while samples and samples[0][0] < edge_us:
                samples.popleft()
            if samples:
                ordered = sorted(rssi for _, rssi in samples)
                found[device] = float(ordered[(2 * len(ordered)) // 3])
        return found

    def update(self, track: Track, now_us: int) -> tuple[str, float] | None:
        """Let time pass and weigh what was heard: the likeliest zone and its probability; None if nothing is heard."""
        levels = self.levels(track, now_us)
        if not levels:
            return None
        scores = self._scores(track, levels)
        elapsed_s = min(2.0, max(0.0, (now_us - track.updated_us) / US_PER_S))
        weight = TEMPER_PER_S * elapsed_s
        if track.belief is None:
            belief, weight = [0.0] * len(scores), TEMPER_PER_S
        else:
            belief = _spread(track.belief, elapsed_s)
        posterior = [old + weight * score for old, score in zip(belief, scores, strict=True)]
        best = max(posterior)
        track.belief = [value - best for value in posterior]
        track.updated_us = now_us
        index = posterior.index(best)
        return self.zones[index], 1.0 / sum(math.exp(value) for value in track.belief)

    def _scores(self, track: Track, levels: dict[str, float]) -> list[float]:
        """Log-likelihood of each zone: residuals after the common offset, scanners that hear nothing included."""
        scores = []
        rows = [(self._loss_db[device], levels.get(device)) for device in self._loss_db]
        shrink = len(levels) + (SD_DB / OFFSET_SD_DB) ** 2
        power_dbm, log1p = track.power_dbm, math.log1p
        for index in range(len(self.zones)):
            heard: list[float] = []
            residuals: list[tuple[float, bool]] = []
            for loss_db, level in rows:
                want = max(FLOOR_DBM, power_dbm - loss_db[index])
                if level is None:
                    residuals.append((min(FLOOR_DBM, want) - want, False))
                else:
                    heard.append(level - want)
                    residuals.append((level - want, True))
            offset = sum(heard) / shrink
            score = -(offset**2) / (2 * OFFSET_SD_DB**2)
            for residual, was_heard in residuals:
                gap = residual - offset if was_heard else min(0.0, residual)
                z2 = (gap / SD_DB) ** 2
                score -= log1p(z2 / 4) * 2.5  # Student's t with 4 degrees: one odd scanner does not decide
            scores.append(score)
        return scores


def _spread(belief: list[float], elapsed_s: float) -> list[float]:
    """Who stays, stays; else any other zone is alike."""
    moved = 1.0 - math.exp(-elapsed_s / STAY_S)
    weights = [math.exp(value) for value in belief]
    total = sum(weights)
    share = moved / max(1, len(weights) - 1)
    return [math.log(w / total * (1.0 - moved) + (1.0 - w / total) * share + 1e-12) for w in weights]


def _centres(site: Site) -> dict[str, tuple[float, float]]:
    """Middle of each zone: of its scanners and shelves; empty where no positions were ever entered."""
    points: dict[str, list[tuple[float, float]]] = {}
    shelves: dict[str, list[tuple[float, float]]] = {}
    for scanner in site.scanners:
        points.setdefault(scanner.zone, []).append((scanner.x_m, scanner.y_m))
    for shelf in site.shelves:
        shelves.setdefault(shelf.zone, []).append((shelf.x_m, shelf.y_m))
    if len({point for many in points.values() for point in many}) < 2:
        return {}
    for zone, places in shelves.items():
        if len({*places}) > 1 or places[0] != (0.0, 0.0):
            points[zone] = [*points.get(zone, []), _middle(places)]
    return {zone: _middle(places) for zone, places in points.items()}


def _middle(places: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(x for x, _ in places) / len(places), sum(y for _, y in places) / len(places)
