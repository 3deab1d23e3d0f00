"""The judge's world of BLE zones: neither production nor the simulator is used, and nothing here is tuned to either.

A sales floor of zones in a grid, at least one scanner for two zones (here one a zone, off its middle); carried assets
walk from zone to zone and rest within the middle half of one. The wave's way: log-distance with an exponent per link (walls, racks), shadowing
that stays with place (a random field of 2 m grain) and one that wanders, Ricean fast fading per packet, each of three
channels its own, a body that covers half the sky, interference bursts that swallow packets, scanners that hear with
their own bias. Truth is the zone in which the asset is at each moment.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True)
class World:
    """Parameters of one world, drawn within ranges by `draw`."""

    columns: int = 3
    rows: int = 2
    pitch_m: float = 7.0
    assets: int = 10
    seconds: float = 900.0
    exponent: float = 2.3
    exponent_sd: float = 0.15
    place_sd_db: float = 3.0
    wander_sd_db: float = 2.0
    wander_s: float = 6.0
    rice_k: float = 1.0
    channel_sd_db: float = 1.5
    scanner_sd_db: float = 1.5
    asset_sd_db: float = 3.0
    body_db: float = 7.0
    people: int = 12
    person_db: float = 4.0
    interval_s: float = 0.25
    loss: float = 0.3
    burst_share: float = 0.05
    sensitivity_dbm: float = -93.0
    rest_s: float = 60.0
    speed_m_s: float = 1.3
    packet_sd_db: float = 5.0


class Packet(NamedTuple):
    """One advertisement at one scanner."""

    t_s: float
    asset: int
    scanner: int
    rssi_dbm: int


def draw(seed: int, kind: str = "field") -> World:
    """A world of this seed.

    ``field``: what differs from packet to packet rules (three channels, Rayleigh to weakly Ricean fading, the tag's
    aerial: together 6 to 9 dB, as Faragher and Harle measured it, IEEE JSAC 33(11), 2015), the way's exponent is that
    of ITU-R P.1238-11 for shops and offices (2.6 to 3.2), bodies take little because scanners hang above them.
    ``shadowed``: what stays with the place rules instead (2 to 4 dB, the lower half of P.1238's 3 to 6 dB), low
    exponents, bodies of 3 to 8 dB: nobody can know such shadows beforehand, so that no method without a site survey
    gets far beyond nine tenths. It is told beside the other, never in its place.
    """
    rng = np.random.default_rng([seed, 77])
    if kind == "shadowed":
        return _shadowed(rng)
    return World(
        columns=int(rng.integers(2, 4)), rows=int(rng.integers(2, 4)), pitch_m=float(rng.uniform(9.0, 13.0)),
        exponent=float(rng.uniform(2.6, 3.2)), place_sd_db=float(rng.uniform(0.5, 1.2)), rice_k=float(rng.uniform(0.0, 0.3)),
        body_db=float(rng.uniform(1.5, 3.5)), packet_sd_db=float(rng.uniform(4.0, 6.0)), interval_s=float(rng.uniform(0.12, 0.2)), loss=float(rng.uniform(0.3, 0.5)),
        rest_s=float(rng.uniform(70, 120)), people=int(rng.integers(8, 20)), channel_sd_db=float(rng.uniform(2.5, 4.0)),
        scanner_sd_db=1.0, wander_sd_db=1.5,
    )  # fmt: skip


def _shadowed(rng: np.random.Generator) -> World:
    return World(
        columns=int(rng.integers(2, 4)), rows=int(rng.integers(2, 4)), pitch_m=float(rng.uniform(7.0, 12.0)),
        exponent=float(rng.uniform(2.0, 3.0)), place_sd_db=float(rng.uniform(2.0, 4.0)), rice_k=float(rng.uniform(0.5, 3.0)),
        body_db=float(rng.uniform(3.0, 8.0)), packet_sd_db=float(rng.uniform(1.0, 3.0)), interval_s=float(rng.uniform(0.1, 0.3)), loss=float(rng.uniform(0.2, 0.5)),
        rest_s=float(rng.uniform(40, 120)), people=int(rng.integers(6, 16)), channel_sd_db=float(rng.uniform(1.0, 3.0)),
    )  # fmt: skip


class Floor:
    """One played world: `scanners` (x, y), `zone_at`, `packets` and `truth`."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = np.random.default_rng([seed, 78])
        self.zones = [f"z-{c}-{r}" for r in range(world.rows) for c in range(world.columns)]
        middle = [
            ((c + 0.5) * world.pitch_m, (r + 0.5) * world.pitch_m)
            for r in range(world.rows)
            for c in range(world.columns)
        ]
        off = self.rng.normal(0, 0.12 * world.pitch_m, (len(middle), 2))
        self.scanners = [(x + float(dx), y + float(dy)) for (x, y), (dx, dy) in zip(middle, off, strict=True)]
        self.middles = middle
        n, links = len(middle), (world.assets, len(middle))
        self.exponent = self.rng.normal(world.exponent, world.exponent_sd, n)
        self.bias = self.rng.normal(0, world.scanner_sd_db, n)
        self.asset_db = self.rng.normal(0, world.asset_sd_db, world.assets)
        self.channels = self.rng.normal(0, world.channel_sd_db, (*links, 3))
        self.grid = self.rng.normal(
            0,
            world.place_sd_db,
            (n, int(world.columns * world.pitch_m / 2) + 2, int(world.rows * world.pitch_m / 2) + 2),
        )
        self.paths = [self._walk() for _ in range(world.assets)]
        self.people = [self._walk(rest_s=20) for _ in range(world.people)]

    def _walk(self, rest_s: float | None = None) -> list[tuple[float, float, float]]:
        """(t, x, y) corners of a walk; in between straight at the walking speed."""
        world, rng = self.world, self.rng

        def spot() -> tuple[float, float]:
            x, y = self.middles[int(rng.integers(len(self.middles)))]
            reach = 0.25 * world.pitch_m
            return float(x + rng.uniform(-reach, reach)), float(y + rng.uniform(-reach, reach))

        t, (x, y) = 0.0, spot()
        path = [(t, x, y)]
        while t < world.seconds:
            t += float(rng.exponential(rest_s or world.rest_s)) + 8.0
            path.append((t, x, y))
            there = spot()
            t += math.hypot(there[0] - x, there[1] - y) / world.speed_m_s
            x, y = there
            path.append((t, x, y))
        return path

    @staticmethod
    def at(path: list[tuple[float, float, float]], t: float) -> tuple[float, float, float]:
        """(x, y, heading) at a time."""
        for (t0, x0, y0), (t1, x1, y1) in itertools.pairwise(path):
            if t <= t1:
                f = (t - t0) / (t1 - t0) if t1 > t0 else 0.0
                return x0 + f * (x1 - x0), y0 + f * (y1 - y0), math.atan2(y1 - y0, x1 - x0) + 0.7 * math.floor(t / 9)
        return path[-1][1], path[-1][2], 0.0

    def zone_at(self, asset: int, t: float) -> str:
        """Where the asset is."""
        x, y, _ = self.at(self.paths[asset], t)
        column = min(self.world.columns - 1, max(0, int(x / self.world.pitch_m)))
        row = min(self.world.rows - 1, max(0, int(y / self.world.pitch_m)))
        return self.zones[row * self.world.columns + column]

    def depth_m(self, asset: int, t: float) -> float:
        """How far the asset is from the nearest border between two zones."""
        x, y, _ = self.at(self.paths[asset], t)
        pitch = self.world.pitch_m
        borders = [abs(x - k * pitch) for k in range(1, self.world.columns)]
        return min(borders + [abs(y - k * pitch) for k in range(1, self.world.rows)])

    def packets(self) -> Iterator[Packet]:
        """Everything that scanners hear, in time order."""
        world, rng = self.world, self.rng
        n = len(self.scanners)
        wander = rng.normal(0, world.wander_sd_db, (world.assets, n))
        keep = math.exp(-world.interval_s / world.wander_s)
        kick = world.wander_sd_db * math.sqrt(1 - keep**2)
        scanners = np.array(self.scanners)
        due = sorted((float(rng.uniform(0, world.interval_s)), a) for a in range(world.assets))
        rounds = int(world.seconds / world.interval_s)
        for step in range(rounds):
            t0 = step * world.interval_s
            quiet = rng.random(n) < world.burst_share
            crowd = np.array([self.at(p, t0)[:2] for p in self.people]).reshape(-1, 2)
            for phase, asset in due:
                t = t0 + phase
                wander[asset] = wander[asset] * keep + rng.normal(0, kick, n)
                x, y, heading = self.at(self.paths[asset], t)
                level = self._levels(asset, (x, y, heading), scanners, crowd) + wander[asset]
                s = math.sqrt(1 / (2 * (world.rice_k + 1)))
                direct = math.sqrt(world.rice_k / (world.rice_k + 1))
                amplitude = np.hypot(direct + rng.normal(0, s, n), rng.normal(0, s, n))
                level = (
                    level + 20 * np.log10(np.maximum(amplitude, 0.05)) + self.channels[asset, :, int(rng.integers(3))]
                )
                level = level + rng.normal(0, world.packet_sd_db, n)  # the aerial turns, other packets fall into it
                heard = (level > world.sensitivity_dbm) & (rng.random(n) > world.loss) & ~quiet
                for scanner in np.flatnonzero(heard):
                    yield Packet(t, asset, int(scanner), round(float(level[scanner])))

    def _levels(
        self, asset: int, place: tuple[float, float, float], scanners: np.ndarray, crowd: np.ndarray
    ) -> np.ndarray:
        world = self.world
        x, y, heading = place
        dx, dy = scanners[:, 0] - x, scanners[:, 1] - y
        metres = np.sqrt(dx**2 + dy**2 + 1.8**2)  # scanners hang 1.8 m above
        level = -59.0 + self.asset_db[asset] + self.bias - 10 * self.exponent * np.log10(metres)
        level = level + self.grid[:, int(x / 2), int(y / 2)]
        behind = np.cos(np.arctan2(dy, dx) - heading) < -0.2
        level = level - world.body_db * behind
        if len(crowd):
            along = ((crowd[:, None, 0] - x) * dx + (crowd[:, None, 1] - y) * dy) / (metres**2)
            aside = np.abs((crowd[:, None, 0] - x) * dy - (crowd[:, None, 1] - y) * dx) / metres
            level = level - world.person_db * np.minimum(2, ((along > 0.05) & (along < 0.95) & (aside < 0.3)).sum(0))
        return level

    def site(self) -> dict[str, Any]:
        """The planogram that a technician would have entered: zones, scanners with positions, assets."""
        store = {
            "id": "judge",
            "tenant": "t",
            "name": "Judge",
            "sgln": "urn:epc:id:sgln:4012345.00001.0",
            "timezone": "Europe/Berlin",
            "hours": [["00:00", "24:00"]] * 7,
        }
        scanners = [
            {"device": f"s-{i}", "zone": z, "x_m": x, "y_m": y}
            for i, (z, (x, y)) in enumerate(zip(self.zones, self.scanners, strict=True))
        ]
        beacons = [
            {"id": f"a-{i}", "kind": "asset", "uuid": "u", "major": 1, "minor": i} for i in range(self.world.assets)
        ]
        return {"store": store, "zones": [{"id": z} for z in self.zones], "scanners": scanners, "beacons": beacons}


def play(seed: int, seconds: float, kind: str = "field") -> Floor:
    """A floor of this seed."""
    return Floor(replace(draw(seed, kind), seconds=seconds), seed)


def parameters(world: World) -> dict[str, Any]:
    """For the report."""
    return asdict(world)
