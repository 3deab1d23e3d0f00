"""A weighing platform with its indicator: filter, stability, zero, tare, over- and underload.

After EN 45501 (non-automatic weighing instruments): indication in divisions, zero setting within ±2 % of Max, overload
beyond Max + 9 d, stable when the indication has kept within one division for a while.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

_STEP_US: Final = 50_000  # the indicator's own measuring rate, 20/s
_STABLE_STEPS: Final = 10
_FILTER: Final = 0.35  # share of the new value that one step takes over
_CATCH_UP_STEPS: Final = 200


class Range(Enum):
    """Where the load is."""

    INSIDE = "inside"
    OVER = "over"
    UNDER = "under"


@dataclass(frozen=True, slots=True)
class PlatformTraits:
    """Capacity and scale interval in g; ``noise_g`` is one reading's, before the filter."""

    capacity_g: float = 6000.0
    division_g: float = 1.0
    noise_g: float = 0.1


@dataclass(frozen=True, slots=True)
class Indication:
    """What the display would show: ``gross_g`` and ``net_g`` are multiples of the division."""

    gross_g: float
    net_g: float
    tare_g: float
    stable: bool
    range: Range


class Platform:
    """Weighs ``load_g(t_us)``; time is the caller's and must not go back. Repeats exactly for one seed and instants."""

    def __init__(self, load_g: Callable[[int], float], traits: PlatformTraits, seed: int) -> None:
        self.traits = traits
        self.vibration_g = 0.0  # a fault: a door slams, a compressor runs
        self._load_g = load_g
        self._rng = random.Random(seed)
        self._filtered_g: float | None = None
        self._recent: deque[float] = deque(maxlen=_STABLE_STEPS)
        self._step = 0
        self._zero_g = 0.0
        self._tare_g = 0.0

    def read(self, t_us: int) -> Indication:
        """The indication at ``t_us``."""
        step = t_us // _STEP_US
        if self._filtered_g is None or step - self._step > _CATCH_UP_STEPS:
            self._filtered_g = self._load_g(t_us)
            self._step = step - _STABLE_STEPS
        while self._step < step:
            self._step += 1
            noise_g = (self.traits.noise_g + self.vibration_g) * self._rng.gauss(0, 1)
            self._filtered_g += _FILTER * (self._load_g(self._step * _STEP_US) + noise_g - self._filtered_g)
            self._recent.append(self._filtered_g)
        return self._indication(self._filtered_g)

    def _indication(self, filtered_g: float) -> Indication:
        d = self.traits.division_g
        spread_g = max(self._recent) - min(self._recent) if self._recent else 0.0
        stable = len(self._recent) == _STABLE_STEPS and spread_g <= d
        gross_g = filtered_g - self._zero_g
        where = Range.OVER if gross_g > self.traits.capacity_g + 9 * d else Range.INSIDE
        where = Range.UNDER if gross_g < -20 * d else where
        rounded_g = round(gross_g / d) * d
        return Indication(rounded_g, round((gross_g - self._tare_g) / d) * d, self._tare_g, stable, where)

    def zero(self, t_us: int) -> Range:
        """Set zero here and clear the tare; not INSIDE tells on which side the load is too far from zero."""
        self.read(t_us)
        wanted_g = self._filtered_g or 0.0
        if abs(wanted_g) > 0.02 * self.traits.capacity_g:
            return Range.OVER if wanted_g > 0 else Range.UNDER
        self._zero_g = wanted_g
        self._tare_g = 0.0
        return Range.INSIDE

    def tare(self, t_us: int) -> Range:
        """Take the present gross weight as tare; not INSIDE when there is nothing to tare or too much."""
        now = self.read(t_us)
        if now.range is not Range.INSIDE:
            return now.range
        if now.gross_g < 0:
            return Range.UNDER
        self._tare_g = now.gross_g
        return Range.INSIDE

    def preset_tare(self, tare_g: float) -> bool:
        """A tare by number, rounded to the division; False when it lies outside 0 … capacity."""
        if not 0 <= tare_g <= self.traits.capacity_g:
            return False
        self._tare_g = round(tare_g / self.traits.division_g) * self.traits.division_g
        return True
