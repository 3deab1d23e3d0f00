"""The judge's doorway: bodies as ellipsoids in space, seen by rays from the sensor. No network was trained on it.

Independent of production and of the generators that train the network: those paint flat spots, this one casts rays.
A sensor hangs over a door line x = 0; people walk curved paths over it; each ray takes the temperature, or the depth,
of what it meets first; a lens blurs, the place disturbs (sun, warm floor, a swinging door leaf, draughts, drift), the
sensor adds noise, quantises and loses pixels. Truth: the moment a body's middle goes over the line and stays over.

Lengths in m, times in s, temperatures in kelvin above the floor; frames int16 centi-°C or mm; inward = rising x =
rising column.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
KINDS = ("single", "tailgating", "opposite", "side", "group", "turn", "linger")


@dataclass(frozen=True)
class Sensor:
    """A door array: pixels, half field angles (degrees, along the columns and the rows), noise and grain."""

    name: str
    rows: int
    cols: int
    half_cols_deg: float
    half_rows_deg: float
    noise: float
    grain: float
    unit: str
    blur_px: float


# Data sheets: AMG8833 60° square, 0.25 K steps; MLX90640 BAB 55°x35° (BAA 110°x75°), NETD 0.1 to 0.5 K by rate;
# VL53L5CX 45° square, some per cent of range. Blur: fields of neighbouring pixels overlap.
SENSORS = (
    Sensor("grideye", 8, 8, 30, 30, 25, 25, "centi_celsius", 0.5),
    Sensor("grideye", 8, 8, 30, 30, 18, 25, "centi_celsius", 0.6),
    Sensor("mlx_wide", 24, 32, 55, 37.5, 45, 1, "centi_celsius", 0.7),
    Sensor("mlx_narrow", 24, 32, 27.5, 17.5, 35, 1, "centi_celsius", 0.7),
    Sensor("tof", 8, 8, 22.5, 22.5, 15, 1, "mm", 0.3),
)


@dataclass(frozen=True)
class Crossing:
    """True crossing: when, which way, in which episode."""

    t_us: int
    inward: bool
    episode: int


@dataclass(frozen=True)
class Blob:
    """An ellipsoid of a body: offset ahead and aside, height of its middle, half axes, warmth, swing ahead."""

    ahead: float
    aside: float
    high: float
    half: tuple[float, float, float]
    kelvin: float
    swing: float = 0.0


@dataclass
class World:
    """Frames of one doorway with everything that is true about it."""

    frames: NDArray[np.int16]
    t_us: NDArray[np.int64]
    sensor: Sensor
    crossings: list[Crossing]
    episodes: list[tuple[str, float]]
    parameters: dict[str, float | str]
    fps: float = field(default=10.0)


def _rays(sensor: Sensor, tilt_deg: float) -> tuple[Array, NDArray[np.float64]]:
    """Directions (3, rays) of length one in depth, on a grid of about 24 by 24 or more, and the lens as a matrix."""
    fine = 1 if sensor.rows > 8 else 3
    high, wide = sensor.rows * fine, sensor.cols * fine
    tan_x = np.tan(np.radians(sensor.half_cols_deg)) * (2 * (np.arange(wide) + 0.5) / wide - 1)
    tan_y = np.tan(np.radians(sensor.half_rows_deg)) * (2 * (np.arange(high) + 0.5) / high - 1)
    y, x = np.meshgrid(tan_y, tan_x, indexing="ij")
    tilt = np.radians(tilt_deg)
    down = np.cos(tilt) - x * np.sin(tilt)
    ahead = x * np.cos(tilt) + np.sin(tilt)
    rays = np.stack([ahead / down, y / down, -np.ones_like(x)]).reshape(3, -1)

    def lens(pixels: int, samples: int) -> Array:
        centre = (np.arange(pixels) + 0.5) * samples / pixels - 0.5
        far = (np.arange(samples)[None] - centre[:, None]) / (sensor.blur_px * samples / pixels)
        weight = np.exp(-0.5 * far**2)
        return weight / weight.sum(axis=1, keepdims=True)

    return rays, np.kron(lens(sensor.rows, high), lens(sensor.cols, wide))


def _person(rng: np.random.Generator, warmth: float) -> list[Blob]:
    """Ellipsoids of one person, with clothes, perhaps a child, a bag or a trolley."""
    tall = rng.uniform(1.0, 1.45) if rng.random() < 0.1 else float(np.clip(rng.normal(1.7, 0.1), 1.5, 1.98))
    k = tall / 1.7
    coat = warmth * rng.uniform(0.45, 0.9)
    head = warmth * float(rng.choice([1.15, 1.0, 0.45, 0.6], p=[0.35, 0.35, 0.2, 0.1]))
    broad = rng.uniform(0.17, 0.25) * k
    blobs = [
        Blob(0.03, 0, 0.93 * tall, (0.1, 0.08, 0.12), head),
        Blob(0, 0, 0.66 * tall, (0.13 * k, broad, 0.3 * k), coat),
        Blob(0, 0.09, 0.25 * tall, (0.09, 0.08, 0.42 * k), coat * 0.6, 0.18 * k),
        Blob(0, -0.09, 0.25 * tall, (0.09, 0.08, 0.42 * k), coat * 0.6, -0.18 * k),
    ]
    arm = (0.07, 0.05, 0.26 * k)
    blobs += [Blob(0, s * (broad + 0.05), 0.6 * tall, arm, coat * 0.9, -s * 0.12 * k) for s in (-1, 1)]
    if rng.random() < 0.12:
        blobs.append(Blob(-0.05, rng.choice([-1, 1]) * 0.35, 0.45, (0.16, 0.1, 0.2), rng.uniform(-0.6, 0.3)))
    if rng.random() < 0.06:
        blobs.append(Blob(0.65, 0, 0.5, (0.42, 0.27, 0.45), rng.uniform(-1.0, 0.2)))
    return blobs


def _path(
    rng: np.random.Generator, t: Array, line_s: float, speed: float, across: float
) -> tuple[NDArray[np.intp], Array, Array]:
    """Frames, x and y of somebody who goes over the line at `line_s`; curved, with an uneven pace."""
    far = 3.0
    slow = rng.uniform(0.0, 0.35)
    clock = np.linspace(-25, 25, 5001)
    pace = abs(speed) * (1 - slow * np.exp(-0.5 * (clock / 0.7) ** 2)) * (1 + 0.08 * np.sin(clock * rng.uniform(1, 3)))
    x = np.concatenate(([0], np.cumsum((pace[1:] + pace[:-1]) / 2 * np.diff(clock))))
    x -= np.interp(0, clock, x)
    x_of = np.interp(t - line_s, clock, x)
    there = np.flatnonzero(np.abs(x_of) < far)
    x_of = x_of[there]
    bend_in, bend_out = rng.normal(0, 0.16, 2)
    y = across + np.where(x_of < 0, bend_in, bend_out) * x_of**2 * 0.5
    y += 0.03 * np.sin(2 * np.pi * 0.9 * (t[there] - line_s) + rng.uniform(0, 6.28))
    return there, np.sign(speed) * x_of, y


def _back(rng: np.random.Generator, t: Array, at_s: float, stay_s: float) -> tuple[NDArray[np.intp], Array, Array]:
    """Frames, x and y of somebody who comes near, stays and goes back."""
    side = float(rng.choice([-1, 1]))
    near, speed = rng.uniform(0.2, 1.0), rng.uniform(0.5, 1.3)
    since = np.abs(t - at_s)
    x = near + speed * np.sqrt(np.maximum(since - stay_s / 2, 0) ** 2 + 0.04) - 0.2 * speed
    there = np.flatnonzero(x < 3.0)
    wobble = 0.06 * np.sin(t[there] * rng.uniform(0.5, 2) + rng.uniform(0, 6))
    return there, side * (x[there] + wobble), rng.uniform(-0.3, 0.3) + wobble


def _plan(rng: np.random.Generator, kind: str, at_s: float, door: float) -> list[tuple[float, float, float]]:
    """(time at the line, signed speed, place across) of each walker of an episode."""
    speed = float(np.clip(rng.normal(1.1, 0.25), 0.5, 1.7)) * float(rng.choice([-1, 1]))
    free = door / 2 - 0.3
    across = float(rng.uniform(-free, free))
    if kind == "single":
        return [(at_s, speed, across)]
    if kind == "tailgating":
        gap = rng.uniform(0.6, 1.2)
        beside = float(np.clip(across + rng.normal(0, 0.08), -free, free))
        return [(at_s, speed, across), (at_s + gap / abs(speed), speed, beside)]
    if kind == "opposite":
        apart = rng.uniform(0.5, 2 * free + 0.1) if 2 * free > 0.4 else 0.5
        way = float(rng.choice([-1, 1]))
        other = -speed * rng.uniform(0.85, 1.15)
        return [(at_s, speed, way * apart / 2), (at_s + rng.normal(0, 0.25), other, -way * apart / 2)]
    if kind == "side":
        apart = rng.uniform(0.55, 0.8)
        return [(at_s, speed, -apart / 2), (at_s + rng.normal(0, 0.12), speed, apart / 2)]
    walkers = []
    for _ in range(int(rng.integers(3, 5))):
        walkers.append((at_s, speed * rng.uniform(0.95, 1.05), float(rng.uniform(-free, free))))
        at_s += rng.uniform(0.6, 1.2) / abs(speed)
    return walkers


class _Canvas:
    """What each ray meets first so far: depth below the sensor and warmth over the floor, (frames, rays)."""

    def __init__(self, n: int, rays: Array, height: float) -> None:
        self.rays, self.height = rays, height
        self.depth = np.full((n, rays.shape[1]), height)
        self.kelvin = np.zeros((n, rays.shape[1]))

    def put(self, there: NDArray[np.intp], middle: tuple[Array, Array, Array], blob: Blob) -> None:
        """Put an ellipsoid with the given middles (x, y, z) into the frames `there`."""
        half = np.array(blob.half)
        start = (np.stack([-middle[0], -middle[1], self.height - middle[2]], axis=1)) / half
        way = self.rays / half[:, None]
        a = (way**2).sum(axis=0)
        b = start @ way
        root = b**2 - a * ((start**2).sum(axis=1) - 1)[:, None]
        hit = root > 0
        depth = np.where(hit, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
        nearer = hit & (depth < self.depth[there]) & (depth > 0.02)
        self.depth[there] = np.where(nearer, depth, self.depth[there])
        # A grazed edge is seen against its own cooler rim.
        rim = np.sqrt(np.clip(root / a, 0, 1))
        self.kelvin[there] = np.where(nearer, blob.kelvin * (0.65 + 0.35 * rim), self.kelvin[there])


def _put_person(
    canvas: _Canvas,
    rng: np.random.Generator,
    blobs: list[Blob],
    t: Array,
    path: tuple[NDArray[np.intp], Array, Array],
    heading: float,
) -> None:
    there, x, y = path
    step = np.sin(2 * np.pi * rng.uniform(0.8, 1.0) * t[there] + rng.uniform(0, 6.28))
    for blob in blobs:
        canvas.put(
            there,
            (x + heading * (blob.ahead + blob.swing * step), y + heading * blob.aside, np.full(len(there), blob.high)),
            blob,
        )


def _leaf(canvas: _Canvas, rng: np.random.Generator, t: Array, times: list[float], door: float) -> None:
    """A door leaf that opens for each of the times: a row of upright ellipsoids turning about a hinge."""
    kelvin, way = rng.uniform(-2.5, 1.5), float(rng.choice([-1, 1]))
    hinge = float(rng.choice([-1, 1])) * (door / 2 + 0.05)
    opened = np.zeros(len(t))
    for at_s in times:
        opened = np.maximum(opened, np.clip(np.minimum((t - at_s + 2.2) / 0.9, (at_s + 3.0 - t) / 1.6), 0, 1))
    there = np.flatnonzero(opened > 0.02)
    angle = opened[there] * np.pi / 2
    line = way * rng.uniform(0.25, 0.5)
    for radius in np.arange(0.1, door, 0.12):
        x = line + way * radius * np.sin(angle)
        y = hinge - np.sign(hinge) * radius * np.cos(angle)
        canvas.put(there, (x, y, np.full(len(there), 1.0)), Blob(0, 0, 1.0, (0.06, 0.06, 1.0), kelvin))


def _thermal(
    rng: np.random.Generator, world: Sensor, kelvin: Array, t: Array, parameters: dict[str, float | str]
) -> Array:
    """Centi-°C (n, rows, cols) with the disturbances of the place and the noise of the sensor."""
    n, fps = len(t), len(t) / t[-1]
    rows, cols = world.rows, world.cols
    value = kelvin.reshape(n, rows, cols).copy()
    warm = np.zeros((rows, cols))
    fade = np.exp(-1 / (fps * 12))
    traced = np.empty_like(value)
    for i in range(n):
        warm = warm * fade + np.maximum(value[i], 0) * (1 - fade)
        traced[i] = warm
    value += 0.06 * traced
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, cols), indexing="ij")
    sun = 0.0
    if rng.random() < 0.3:
        sun = float(rng.uniform(0.5, 3.0))
        clouds = 1 / (1 + np.exp(-4 * np.sin(2 * np.pi * t / rng.uniform(15, 50) + rng.uniform(0, 6))))
        spot = np.exp(-(((x - rng.uniform(-1, 1)) / 0.4) ** 4) - ((y - rng.uniform(-1, 1)) / 0.5) ** 4)
        value += sun * clouds[:, None, None] * spot
    draught = np.cumsum(rng.normal(0, 1, (n, 2)), axis=0) / np.sqrt(fps) * 0.05
    value += draught[:, :1, None] * x + draught[:, 1:, None] * y
    value += 0.4 * np.sin(2 * np.pi * t / rng.uniform(60, 300) + rng.uniform(0, 6))[:, None, None]
    value += rng.normal(0, 0.25, (rows, cols)) + rng.uniform(16, 26)
    centi = 100 * value + rng.normal(0, world.noise, value.shape) + rng.normal(0, 6, (n, 1, 1))
    parameters["sun_k"] = round(sun, 2)
    return np.round(centi / world.grain) * world.grain


def make_walk(seed: int, sensor: Sensor, inward: bool) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """One person alone walks straight over the line at 8 s of 14 s, 10 frames a second, sensor at 3 m: frames, times."""
    rng = np.random.default_rng([seed, 7])
    t = np.arange(140) / 10
    rays, lens = _rays(sensor, 0.0)
    canvas = _Canvas(len(t), rays, 3.0)
    speed = rng.uniform(0.9, 1.4) * (1 if inward else -1)
    path = _path(rng, t, 8.0, speed, float(rng.uniform(-0.15, 0.15)))
    _put_person(canvas, rng, _person(rng, 10.0), t, path, 1.0 if inward else -1.0)
    seen = canvas.depth * 1000 if sensor.unit == "mm" else 2200 + 100 * canvas.kelvin
    value = seen @ lens.T + rng.normal(0, sensor.noise, (len(t), sensor.rows * sensor.cols))
    frames = np.round(value / sensor.grain) * sensor.grain
    return frames.reshape(-1, sensor.rows, sensor.cols).astype(np.int16), (t * 1e6).astype(np.int64)


def make_world(seed: int, kinds: tuple[str, ...], seconds: float = 90.0, every_s: float = 9.0) -> World:
    """One doorway for `seconds` with an episode of one of `kinds` about each `every_s`, all from the seed."""
    rng = np.random.default_rng([seed, 20_261_122])
    sensor = SENSORS[int(rng.integers(len(SENSORS)))]
    fps = 10.0 if sensor.name == "grideye" else float(rng.choice([8, 12, 15, 16]))
    # A wide lens is for low doors: on the door's frame; the others hang from the ceiling.
    lowest, highest = {"mlx_wide": (2.15, 2.6), "mlx_narrow": (3.0, 3.6)}.get(sensor.name, (2.7, 3.3))
    height = rng.uniform(lowest, highest)
    tilt, warmth, door = rng.normal(0, 2.0), rng.uniform(6.0, 13.0), rng.uniform(1.0, 1.5)
    parameters: dict[str, float | str] = {
        "sensor": sensor.name, "fps": fps, "height_m": round(float(height), 2), "tilt_deg": round(float(tilt), 1),
        "warmth_k": round(warmth, 1), "door_m": round(door, 2),
    }  # fmt: skip
    n = int(seconds * fps)
    t = np.arange(n) / fps
    rays, lens = _rays(sensor, tilt)
    canvas = _Canvas(n, rays, float(height))
    crossings: list[Crossing] = []
    episodes: list[tuple[str, float]] = []
    at_s = 6.0
    while at_s < seconds - 6 and kinds:
        kind = str(rng.choice(kinds))
        if kind in ("turn", "linger"):
            path = _back(rng, t, at_s, 0.3 if kind == "turn" else rng.uniform(3, 8))
            _put_person(canvas, rng, _person(rng, warmth), t, path, 1.0)
        else:
            for line_s, speed, across in _plan(rng, kind, at_s, door):
                path = _path(rng, t, line_s, speed, across)
                _put_person(canvas, rng, _person(rng, warmth * rng.uniform(0.85, 1.15)), t, path, float(np.sign(speed)))
                crossings.append(Crossing(int(line_s * 1e6), speed > 0, len(episodes)))
        episodes.append((kind, at_s))
        at_s += every_s * rng.uniform(0.7, 1.3)
    if rng.random() < 0.25:
        _leaf(canvas, rng, t, [at for _, at in episodes], door)
        parameters["door_leaf"] = "swings"
    if sensor.unit == "mm":
        near = (canvas.depth * 1000) @ lens.T
        value = near + rng.normal(0, 1, near.shape) * (sensor.noise + 0.01 * near)
        value = value.reshape(n, sensor.rows, sensor.cols)
    else:
        value = _thermal(rng, sensor, canvas.kelvin @ lens.T, t, parameters)
    frames = np.clip(np.round(value), 0, 32000).astype(np.int16)
    if rng.random() < 0.2:
        frames[:, rng.integers(sensor.rows), rng.integers(sensor.cols)] = -32768
    if sensor.unit == "mm":
        frames[rng.random(frames.shape) < 0.01] = -32768
    return World(frames, (t * 1e6).astype(np.int64), sensor, crossings, episodes, parameters, fps)
