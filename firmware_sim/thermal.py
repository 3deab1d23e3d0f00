"""What a small array sensor above a door sees: people as warm bodies with height, seen in perspective.

Geometry: the sensor hangs ``mount_m`` above the floor and looks straight down; x runs along the columns, y along the
rows, both in metres on the floor from the point below the sensor. A body is a stack of ellipses at their own heights;
what is nearer to the sensor looks larger and hides what is below it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from firmware_sim import sdp

Pixels = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Passer:
    """A person (or a trolley with a small ``heat_k``) at one instant.

    ``heading_rad`` 0 walks towards rising columns, π/2 towards rising rows. ``heat_k`` is what the warmest part shows
    above the background, 1.5 K for a winter coat to 6 K for bare skin.
    """

    x_m: float
    y_m: float
    heading_rad: float
    heat_k: float = 4.5
    height_m: float = 1.7
    width_m: float = 0.46


@dataclass(frozen=True, slots=True)
class Optics:
    """A sensor model; angles are full fields of view. ``quantum`` and noise are in K (thermal) or mm (depth)."""

    model: str
    rows: int
    cols: int
    unit: int
    rate_tenths_hz: int
    fov_x_deg: float
    fov_y_deg: float
    noise: float
    common_noise: float
    quantum: float
    chess: bool = False


# Panasonic AMG88xx: 60° × 60°, 0.25 K steps, 10 frames/s. Melexis MLX90640 BAB: 55° × 35°, two subpages in chess
# pattern, so each frame renews every second pixel. ST VL53L5CX: 45° × 45°, ranging error about 1 % of 2 m.
GRID_EYE: Final = Optics("DOOR-AMG", 8, 8, sdp.UNIT_CENTI_C, 100, 60.0, 60.0, 0.26, 0.13, 0.25)
MLX90640: Final = Optics("DOOR-MLX", 24, 32, sdp.UNIT_CENTI_C, 160, 55.0, 35.0, 0.55, 0.08, 0.01, chess=True)
VL53L5CX: Final = Optics("DOOR-TOF", 8, 8, sdp.UNIT_MM, 150, 45.0, 45.0, 18.0, 0.0, 1.0)

# Layers of a body, bottom up: height share, half width and half depth as shares of shoulder width, side offset, heat.
_LAYERS: Final = np.array(
    (
        # height  across  along  side   heat
        (0.25, 0.30, 0.30, 0.0, 0.40),  # legs
        (0.55, 0.40, 0.28, 0.0, 0.60),  # hips
        (0.62, 0.11, 0.16, 0.50, 0.75),  # swinging arms
        (0.62, 0.11, 0.16, -0.50, 0.75),
        (0.82, 0.50, 0.29, 0.0, 0.85),  # shoulders
        (0.94, 0.18, 0.23, 0.0, 1.00),  # head
    )
)
_STRIDE_M: Final = 1.4  # two steps
_SWING_M: Final = 0.22
_NOISE_STAYS: Final = 0.35
_DEPTH_CLEAR_MM: Final = 4000  # the time-of-flight sensor's range


class Scene:
    """Background and bodies of one door, rendered for one sensor. Repeats exactly for one seed and the same calls."""

    def __init__(self, optics: Optics, seed: int, *, mount_m: float = 2.2, ambient_c: float = 21.0) -> None:
        if mount_m <= 1.0:
            raise ValueError(f"mount_m is {mount_m}: a door sensor hangs more than 1 m above the floor")
        self.optics = optics
        self.mount_m = mount_m
        self._rng = np.random.default_rng(seed)
        v = mount_m * np.tan(np.radians(_angles(optics.rows, optics.fov_y_deg)))
        u = mount_m * np.tan(np.radians(_angles(optics.cols, optics.fov_x_deg)))
        self._v, self._u = np.meshgrid(v, u, indexing="ij")
        self._blur = (float(u[1] - u[0]) * 0.5, float(v[1] - v[0]) * 0.5)
        self._background = self._empty(ambient_c)
        self._common = 0.0
        self._noise: Pixels = np.zeros((optics.rows, optics.cols))
        self._fresh_noise = optics.noise * math.sqrt(1 - _NOISE_STAYS**2)
        self._last: Pixels | None = None
        self._odd = (np.indices((optics.rows, optics.cols)).sum(axis=0) % 2).astype(bool)
        self._n_frames = 0

    def _empty(self, ambient_c: float) -> Pixels:
        shape = (self.optics.rows, self.optics.cols)
        if self.optics.unit == sdp.UNIT_MM:
            return np.full(shape, self.mount_m * 1000.0)
        slope = self._rng.normal(0, 0.5, 2)  # a warm wall, a cold draught
        tilt: Pixels = slope[0] * self._u / self.mount_m + slope[1] * self._v / self.mount_m
        offsets = self._rng.normal(0, 0.3, shape)  # no two pixels agree
        return np.asarray(ambient_c + tilt + offsets, np.float64)

    def warm_patch(self, row: int, col: int, heat_k: float) -> None:
        """The sun on the floor: from now on, a patch of 2 × 2 pixels is warmer by ``heat_k``."""
        self._background[row : row + 2, col : col + 2] += heat_k

    def frame(self, people: Sequence[Passer], warmer_k: float = 0.0) -> npt.NDArray[np.int16]:
        """One frame, (rows, cols) in the sensor's unit (centi-°C or mm); ``warmer_k`` shifts the whole background."""
        optics, shape = self.optics, (self.optics.rows, self.optics.cols)
        if optics.unit == sdp.UNIT_MM:
            picture = self._depth(people) + self._rng.normal(0, optics.noise, shape)
            return np.clip(np.rint(picture), 0, _DEPTH_CLEAR_MM).astype(np.int16)
        self._common = 0.9 * self._common + 0.436 * optics.common_noise * float(self._rng.normal())
        picture = self._background + (warmer_k + self._common)
        base = picture.copy()
        for person in people:
            for cover, heat_k in self._layers(person):
                picture += cover * (base + heat_k - picture)
        # The pixels' amplifiers low-pass their noise: a share of it stays from frame to frame.
        self._noise = _NOISE_STAYS * self._noise + self._rng.normal(0, self._fresh_noise, shape)
        picture += self._noise
        if optics.chess and self._last is not None:
            picture = np.where(self._odd == bool(self._n_frames % 2), picture, self._last)
        self._last = picture
        self._n_frames += 1
        steps = np.rint(picture / optics.quantum) * (optics.quantum * 100)
        return np.rint(steps).astype(np.int16)

    def _layers(self, person: Passer) -> list[tuple[Pixels, float]]:
        """The share of each pixel that each layer of a body covers, bottom up, with its heat above the background."""
        ahead_x, ahead_y = math.cos(person.heading_rad), math.sin(person.heading_rad)
        phase = math.sin(2 * math.pi * (person.x_m * ahead_x + person.y_m * ahead_y) / _STRIDE_M)
        out = []
        for share, half_across, half_along, side, heat in _LAYERS:
            height_m = min(share * person.height_m, self.mount_m - 0.25)
            zoom = self.mount_m / (self.mount_m - height_m)
            swing_m = _SWING_M * phase * math.copysign(1.0, side) if side else 0.0
            x = (person.x_m + swing_m * ahead_x - side * person.width_m * ahead_y) * zoom
            y = (person.y_m + swing_m * ahead_y + side * person.width_m * ahead_x) * zoom
            du, dv = self._u - x, self._v - y
            forward, sideways = du * ahead_x + dv * ahead_y, dv * ahead_x - du * ahead_y
            a, b = half_along * person.width_m * zoom, half_across * person.width_m * zoom
            soft_a, soft_b = math.hypot(a, self._blur[0]), math.hypot(b, self._blur[1])
            cover = np.exp(-0.6 * ((forward / soft_a) ** 2 + (sideways / soft_b) ** 2) ** 1.5)
            out.append((cover * (a * b / (soft_a * soft_b)), heat * person.heat_k))
        return out

    def _depth(self, people: Sequence[Passer]) -> Pixels:
        """Distance to the nearest thing that fills at least a third of a pixel, mm."""
        picture = self._background.copy()
        for person in people:
            for (cover, _), layer in zip(self._layers(person), _LAYERS, strict=True):
                near_mm = 1000.0 * (self.mount_m - min(layer[0] * person.height_m, self.mount_m - 0.25))
                picture = np.where(cover > 0.33, np.minimum(picture, near_mm), picture)
        return picture


def _angles(n: int, fov_deg: float) -> Pixels:
    """Centres of ``n`` pixels that share a field of view evenly, degrees from the axis."""
    return np.asarray((np.arange(n) - (n - 1) / 2) * (fov_deg / n), np.float64)
