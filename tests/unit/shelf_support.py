"""A small shelf for tests: lanes on one controller, loads set by hand, samples with seeded noise."""

import numpy as np

from edge.core.instant import Instant
from edge.core.observation import CellSamples
from edge.core.part import Signal
from edge.core.shelf import Calibration, Shelves
from edge.core.site import Site, load_site
from tests.worlds.shelf import gtin

A, B, C, D = (gtin(n) for n in (1, 2, 3, 4))
MASS_G = {A: 250.0, B: 330.0, C: 97.0, D: 600.0}
ZERO, PER_G = 10_000.0, 400.0


def site(lanes: dict[str, tuple[tuple[int, ...], tuple[str, ...]]], mass_g: dict[str, float] | None = None) -> Site:
    """A store of one shelf; lanes: id → (cells, gtins)."""
    masses = MASS_G if mass_g is None else mass_g
    return load_site(
        {
            "store": {
                "id": "s",
                "tenant": "t",
                "name": "n",
                "sgln": "urn:epc:id:sgln:4012345.00001.0",
                "timezone": "Asia/Tokyo",
                "hours": [["09:00", "21:00"]] * 7,
            },
            "zones": [{"id": "z"}],
            "products": [{"gtin": g, "unit_mass_g": m, "mass_sd_g": 0.004 * m} for g, m in masses.items()],
            "shelves": [{"id": "sh", "zone": "z", "products": list(masses)}],
            "lanes": [
                {
                    "id": name,
                    "shelf": "sh",
                    "cells": [{"device": "mcu", "cell": c} for c in cells],
                    "gtins": list(gtins),
                }
                for name, (cells, gtins) in lanes.items()
            ],
        }
    )


class Rig:
    """Cells with loads, and the part under test. Time starts at 1 s."""

    def __init__(self, planogram: Site, loads_g: list[float], *, noise_g: float = 0.3, seed: int = 3, **kw) -> None:
        self.planogram = planogram
        self.loads_g = np.array(loads_g, float)
        self.noise_g = noise_g
        self.rng = np.random.default_rng(seed)
        self.now_us = 1_000_000
        self.calibrations = {("mcu", cell): Calibration(ZERO, PER_G) for cell in range(len(loads_g))}
        self.part = Shelves(planogram, kw.pop("calibrations", self.calibrations), **kw)
        self.signals: list[Signal] = []
        self.counts_hook = lambda counts: counts

    def instant(self) -> Instant:
        return Instant(self.now_us, self.now_us)

    def run(self, seconds: float, *, rate_hz: float = 10.0, rows: int = 1, force_g=None) -> list[Signal]:
        """Let time pass; force_g(t_s) → (cells,) is a hand's. Gives the signals of this stretch."""
        said: list[Signal] = []
        n_all = round(seconds * rate_hz)
        for start in range(0, n_all, rows):
            n = min(rows, n_all - start)
            t_us = self.now_us + (np.arange(1, n + 1) * 1e6 / rate_hz).astype(np.int64)
            grams = self.loads_g + self.rng.normal(0, self.noise_g, (n, len(self.loads_g)))
            if force_g is not None:
                grams = grams + np.array([force_g((start + i) / rate_hz) for i in range(n)])
            counts = self.counts_hook(np.rint(ZERO + PER_G * grams).astype(np.int32))
            self.now_us = int(t_us[-1])
            said += self.part.observe(CellSamples("mcu", self.now_us, t_us, counts, 21.0), self.instant())
            said += self.part.tick(self.instant())
        self.signals += said
        return said

    def of(self, kind: type, signals: list[Signal] | None = None) -> list:
        return [s for s in (self.signals if signals is None else signals) if isinstance(s, kind)]
