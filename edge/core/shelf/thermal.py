"""How a lane's zero follows the temperature, learned while nobody touches it; needed for the time nobody watched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge.core.instant import US_PER_MIN

SAMPLE_US: Final = 10 * US_PER_MIN
MIN_CHANGE_K: Final = 0.2
PRIOR_SD_G_PER_K: Final = 0.5  # of one cell of 5–20 kg, after its own compensation
WALK_G2_PER_US: Final = 1.0 / 3.6e9  # the zero's own random walk, 1 g/√h


@dataclass(slots=True)
class Thermal:
    """A scalar Kalman filter on grams a kelvin; ``var`` is its variance, at_* the point it counts from."""

    g_per_k: float = 0.0
    var: float = PRIOR_SD_G_PER_K**2
    at_us: int = 0
    at_c: float | None = None
    at_drift_g: float = 0.0

    def rest(self, now_us: int, temperature_c: float | None, drift_g: float) -> None:
        """At rest, the zero has moved to `drift_g` (an arbitrary origin) at this temperature."""
        if temperature_c is None or now_us - self.at_us < SAMPLE_US:
            return
        if self.at_c is not None:
            change_k = temperature_c - self.at_c
            if abs(change_k) < MIN_CHANGE_K:
                return
            moved_g = drift_g - self.at_drift_g
            noise_g2 = WALK_G2_PER_US * (now_us - self.at_us) + 0.01
            gain = self.var * change_k / (change_k * change_k * self.var + noise_g2)
            self.g_per_k += gain * (moved_g - self.g_per_k * change_k)
            self.var *= 1.0 - gain * change_k
        self.at_us, self.at_c, self.at_drift_g = now_us, temperature_c, drift_g

    def shift(self, from_c: float | None, to_c: float | None) -> tuple[float, float]:
        """(grams, variance) that the zero is expected to have moved between two temperatures."""
        if from_c is None or to_c is None:
            return 0.0, 0.0
        change_k = to_c - from_c
        return self.g_per_k * change_k, self.var * change_k * change_k
