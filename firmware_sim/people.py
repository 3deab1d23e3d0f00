"""People as moving bodies: where each of them is at any time of the last seconds."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

HISTORY_US = 15_000_000
"""Positions can be asked for this far back (roles sample behind the world's own time)."""


@dataclass(frozen=True, slots=True)
class Leg:
    """A straight walk from (x0, y0) at t0 to (x1, y1) at t1."""

    t0_us: int
    x0_m: float
    y0_m: float
    t1_us: int
    x1_m: float
    y1_m: float

    def at(self, t_us: int) -> tuple[float, float]:
        """Position, clamped to the ends."""
        if t_us >= self.t1_us:
            return self.x1_m, self.y1_m
        share = max(0.0, (t_us - self.t0_us) / max(1, self.t1_us - self.t0_us))  # a leg of no length takes no time
        return self.x0_m + share * (self.x1_m - self.x0_m), self.y0_m + share * (self.y1_m - self.y0_m)


@dataclass(frozen=True, slots=True)
class PersonView:
    """A person as a sensor may see them: position and velocity in store coordinates."""

    id: int
    kind: str
    x_m: float
    y_m: float
    vx_mps: float
    vy_mps: float
    height_m: float
    shoulder_m: float
    surface_c: float


APART_M = 0.55
"""Between the middles of two bodies in a doorway: shoulders are 0.40 to 0.55 m wide."""
PACE_MPS = 1.2


class Doorway:
    """Who is in the middle of a doorway when: bodies do not go through each other."""

    def __init__(self) -> None:
        self._booked: deque[tuple[int, float]] = deque(maxlen=64)

    def book(self, at_us: int, y_m: float) -> bool:
        """Be there at `at_us`, unless somebody else would be in the way; then False, to be asked again later."""
        for other_us, other_m in self._booked:
            if math.hypot(other_m - y_m, PACE_MPS * (other_us - at_us) / 1e6) < APART_M:
                return False
        self._booked.append((at_us, y_m))
        return True


class Person:
    """A body on its way; `kind` is "shopper" or "staff"."""

    __slots__ = ("_legs", "born_us", "gone_us", "height_m", "id", "kind", "shoulder_m", "speed_mps", "surface_c")

    def __init__(self, person_id: int, kind: str, t_us: int, at_m: tuple[float, float]) -> None:
        self.id = person_id
        self.kind = kind
        self.born_us = t_us
        self.gone_us: int | None = None
        self.height_m = 1.65
        self.shoulder_m = 0.45
        self.surface_c = 29.0
        self.speed_mps = 1.2
        self._legs: deque[Leg] = deque([Leg(t_us, *at_m, t_us, *at_m)])

    def walk_to(self, t_us: int, x_m: float, y_m: float) -> int:
        """Start walking at `t_us`; returns how long the way takes, in µs."""
        x0, y0 = self.position(t_us)
        takes = max(1, round(math.hypot(x_m - x0, y_m - y0) / self.speed_mps * 1e6))
        self._legs.append(Leg(t_us, x0, y0, t_us + takes, x_m, y_m))
        while len(self._legs) > 1 and self._legs[0].t1_us < t_us - HISTORY_US and self._legs[1].t0_us < t_us:
            self._legs.popleft()
        return takes

    def _leg(self, t_us: int) -> Leg:
        for leg in reversed(self._legs):
            if leg.t0_us <= t_us:
                return leg
        return self._legs[0]

    def position(self, t_us: int) -> tuple[float, float]:
        """(x, y) in metres."""
        return self._leg(t_us).at(t_us)

    def present(self, t_us: int) -> bool:
        """Whether the person was in or before the store at `t_us`."""
        return self.born_us <= t_us and (self.gone_us is None or t_us < self.gone_us)

    def view(self, t_us: int) -> PersonView:
        """The person's state at `t_us`."""
        leg = self._leg(t_us)
        x, y = leg.at(t_us)
        vx = vy = 0.0
        if leg.t0_us <= t_us < leg.t1_us:
            seconds = (leg.t1_us - leg.t0_us) / 1e6
            vx, vy = (leg.x1_m - leg.x0_m) / seconds, (leg.y1_m - leg.y0_m) / seconds
        return PersonView(self.id, self.kind, x, y, vx, vy, self.height_m, self.shoulder_m, self.surface_c)
