"""2.4 GHz in a store: who hears which advertisement, how strongly, and what gets lost.

RSSI = power at 1 m − 10·n·log10(d) + shadowing + the channel's fading + fast fading − bodies in the way. Shadowing has
a part that stays with the place and one that wanders (Ornstein–Uhlenbeck); indoor figures after ITU-R P.1238 (n about
2 to 3 in shops, 3 to 6 dB of shadowing). A scanner listens to one of three advertising channels at a time.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

Point = tuple[float, float]
Position = Callable[[int], Point]
"""Where something is at a time in µs, metres."""

JITTER_US: Final = 10_000
"""advDelay: 0-10 ms at random after each interval (Bluetooth Core 5.3, Vol 6 Part B, 4.4.2.2.1)."""
_CHANNELS: Final = 3
_BODY_M: Final = 0.25  # half a person's width
_SLOT_US: Final = 500_000  # people are looked at twice a second: they move 0.6 m meanwhile
_BODIES_MAX: Final = 3  # more people in the way shade no more: the waves go round


class Heard(NamedTuple):
    """One advertisement as a receiver hands it on; ``t_us`` is the running loop's clock."""

    t_us: int
    rssi_dbm: int
    address_type: int
    address: bytes
    ad: bytes


class Reception(NamedTuple):
    """One packet at one receiver: when, from which of its senders, how strong."""

    t_us: int
    sender: int
    rssi_dbm: int


@dataclass(frozen=True, slots=True)
class Sender:
    """What sends: ``name`` seeds its own clock, which all receivers share."""

    name: str
    interval_s: float = 0.2
    at_1m_dbm: float = -59.0


@dataclass(frozen=True, slots=True)
class BleProfile:
    """How hard the air is. ``duty`` is the share of time the receiver listens, ``loss`` what collisions cost."""

    exponent: float = 2.2
    static_sd_db: float = 1.5
    shadow_sd_db: float = 2.5
    shadow_tau_s: float = 8.0
    channel_sd_db: float = 1.0
    noise_sd_db: float = 2.0
    body_db: float = 0.0
    """What each person in the way takes (measured indoors: 4 to 10 dB)."""
    loss: float = 0.05
    sensitivity_dbm: float = -94.0
    duty: float = 1.0
    scan_interval_us: int = 60_000


class _Link:
    """One sender as one receiver hears it."""

    __slots__ = (
        "channel_db",
        "ends",
        "interval_us",
        "keep",
        "kick",
        "path_dbm",
        "rng",
        "schedule",
        "shadow_db",
        "static_db",
    )

    def __init__(self, sender: Sender, receiver: str, profile: BleProfile, seed: str) -> None:
        rng = self.rng = random.Random(f"{seed}:{receiver}:{sender.name}")
        self.schedule = random.Random(f"{seed}:{sender.name}")  # the same at all receivers: they hear the same packets
        self.interval_us = round(sender.interval_s * 1e6)
        self.static_db = rng.gauss(0.0, profile.static_sd_db)
        self.channel_db = [rng.gauss(0.0, profile.channel_sd_db) for _ in range(_CHANNELS)]
        self.shadow_db = rng.gauss(0.0, profile.shadow_sd_db)
        self.keep = math.exp(-sender.interval_s / profile.shadow_tau_s)
        self.ends: tuple[Point, Point] | None = None  # where path_dbm was worked out
        self.path_dbm = 0.0
        self.kick = profile.shadow_sd_db * math.sqrt(1.0 - self.keep**2)


class Ear:
    """A receiver. Windows of `receive` must follow each other; packets before a window are lost.

    Repeats exactly for one seed, however it is polled. ``bodies(t_us)`` are the places of people, who shade.
    """

    def __init__(
        self,
        name: str,
        senders: Iterable[Sender],
        seed: str,
        profile: BleProfile | None = None,
        bodies: Callable[[int], Iterable[Point]] | None = None,
    ) -> None:
        self.profile = profile or BleProfile()
        self._heard_share = self.profile.duty * (1.0 - self.profile.loss)
        self._senders = tuple(senders)
        self._bodies = bodies if self.profile.body_db else None
        self._slot = -1
        self._stood: list[Point] = []
        self._links = [_Link(sender, name, self.profile, seed) for sender in self._senders]
        self._next = [(int(link.schedule.random() * link.interval_us), i) for i, link in enumerate(self._links)]
        heapq.heapify(self._next)

    def receive(self, t0_us: int, t1_us: int, here: Point, places: Sequence[Position]) -> list[Reception]:
        """Packets received with t0 <= t < t1, in time order; ``places`` as the senders, ``here`` the receiver."""
        out = []
        profile, coming, links = self.profile, self._next, self._links
        noise_sd_db, interval_us = profile.noise_sd_db, profile.scan_interval_us
        while coming and coming[0][0] < t1_us:
            t_us, i = coming[0]
            link = links[i]
            heapq.heapreplace(coming, (t_us + link.interval_us + int(link.schedule.random() * JITTER_US), i))
            rng = link.rng
            link.shadow_db = link.shadow_db * link.keep + rng.gauss(0.0, link.kick)
            fading_db = link.static_db + link.shadow_db + link.channel_db[t_us // interval_us % _CHANNELS]
            fading_db += rng.gauss(0.0, noise_sd_db)
            luck = rng.random()
            if t_us < t0_us:
                continue
            there = places[i](t_us)
            if (there, here) != link.ends:
                link.ends = there, here
                metres = max(0.3, math.hypot(there[0] - here[0], there[1] - here[1]))
                link.path_dbm = self._senders[i].at_1m_dbm - 10.0 * profile.exponent * math.log10(metres)
            level = link.path_dbm + fading_db - profile.body_db * self._shading(t_us, there, here)
            if luck < self._chance(level):
                out.append(Reception(t_us, i, max(-127, min(20, round(level)))))
        return out

    def _shading(self, t_us: int, there: Point, here: Point) -> int:
        """People between two places, as they stood at the beginning of the slot."""
        if self._bodies is None:
            return 0
        slot = t_us // _SLOT_US
        if slot != self._slot:
            self._slot, self._stood = slot, list(self._bodies(slot * _SLOT_US))
        return shading(self._stood, there, here)

    def _chance(self, level_dbm: float) -> float:
        """Probability of reception: half at the sensitivity, nearly all 3 dB above it."""
        margin_db = level_dbm - self.profile.sensitivity_dbm
        if margin_db > 6.0:
            return self._heard_share
        return 0.0 if margin_db < -6.0 else self._heard_share / (1.0 + math.exp(-1.5 * margin_db))


def shading(bodies: Iterable[Point], there: Point, here: Point) -> int:
    """How many people stand in the line from ``there`` to ``here``; one who carries the sender does not count."""
    (x0, y0), (x1, y1) = there, here
    dx, dy = x1 - x0, y1 - y0
    length = math.hypot(dx, dy)
    if length == 0.0:
        return 0
    n = 0
    for x, y in bodies:
        along = ((x - x0) * dx + (y - y0) * dy) / length
        if 0.0 < along < length and abs((x - x0) * dy - (y - y0) * dx) < _BODY_M * length:
            n += along > 0.3 or math.hypot(x - x0, y - y0) >= 0.3
    return min(n, _BODIES_MAX)
