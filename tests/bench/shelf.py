"""What 200 load cells cost: bytes on 25 real ports → drivers → weight part → facts, as a share of one core.

The controllers are a process of their own, so the CPU time of this one is the gateway's alone: event loop, serial
transport, SDP/1, inference. Each run checks that every pick was told, exactly once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
import tty

import numpy as np

from devices.driver import DriverContext
from devices.shelf_mcu.driver import ShelfMcuDriver, ShelfMcuSettings
from devices.transport import open_stream
from edge.core.facts import ItemPicked
from edge.core.instant import Instant
from edge.core.observation import CellSamples, Observation
from edge.core.shelf import Calibration, Shelves
from edge.core.site import Site, load_site
from tests.bench._shelf_feed import CELLS, PER_G, UNIT_G, ZERO, picks
from tests.worlds.shelf import gtin

PORTS = 25
SECONDS = 20.0


def site() -> Site:
    """200 one-cell lanes on 25 shelves."""
    products = [gtin(number) for number in range(CELLS)]
    return load_site(
        {
            "store": {
                "id": "bench",
                "tenant": "bench",
                "name": "Bench",
                "sgln": "urn:epc:id:sgln:4012345.00001.0",
                "timezone": "Asia/Tokyo",
                "hours": [["00:00", "24:00"]] * 7,
            },
            "zones": [{"id": "floor"}],
            "products": [{"gtin": g, "unit_mass_g": UNIT_G, "mass_sd_g": 1.5} for g in products],
            "shelves": [{"id": f"shelf-{p}", "zone": "floor", "products": products} for p in range(PORTS)],
            "lanes": [
                {
                    "id": f"lane-{p}-{cell}",
                    "shelf": f"shelf-{p}",
                    "cells": [{"device": f"mcu-{p}", "cell": cell}],
                    "gtins": [products[cell]],
                }
                for p in range(PORTS)
                for cell in range(CELLS)
            ],
        }
    )


def shelves() -> Shelves:
    """The part, calibrated."""
    cells = {(f"mcu-{p}", cell): Calibration(ZERO, PER_G) for p in range(PORTS) for cell in range(CELLS)}
    return Shelves(site(), cells)


async def through_ports(rate_hz: float) -> dict[str, float]:
    """One run over real ptys; core share, facts."""
    masters, slaves = zip(*(os.openpty() for _ in range(PORTS)), strict=True)
    for slave in slaves:
        tty.setraw(slave)
    words = [sys.executable, "-m", "tests.bench._shelf_feed", str(rate_hz), str(SECONDS), *map(str, masters)]
    feeder = await asyncio.create_subprocess_exec(
        *words, pass_fds=masters, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert feeder.stdout is not None
    assert feeder.stdin is not None
    await feeder.stdout.readline()
    part, told = shelves(), []

    def emit(observation: Observation) -> None:
        if isinstance(observation, CellSamples):
            signals = part.observe(observation, Instant(observation.mono_us, observation.mono_us))
            told.extend(signal for signal in signals if isinstance(signal, ItemPicked))

    def now_us() -> int:
        return time.monotonic_ns() // 1000

    contexts = [DriverContext(f"mcu-{p}", now_us, open_stream) for p in range(PORTS)]
    links = [ShelfMcuSettings(f"serial:{os.ttyname(slave)}") for slave in slaves]
    drivers = [ShelfMcuDriver(context, link) for context, link in zip(contexts, links, strict=True)]
    tasks = [asyncio.create_task(driver.run(emit)) for driver in drivers]
    await asyncio.sleep(0.5)
    feeder.stdin.write(b"\n")
    await asyncio.sleep(3.5)  # the shelves are weighed for the first time
    cpu_s, wall_s = time.process_time(), time.monotonic()
    await asyncio.sleep(SECONDS - 4.0)
    share = (time.process_time() - cpu_s) / (time.monotonic() - wall_s)
    await feeder.wait()
    await asyncio.sleep(0.3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for fd in (*masters, *slaves):
        os.close(fd)
    lost = sum(context.counters["frames_lost"] + context.counters["frames_rejected"] for context in contexts)
    return {"core_share": share, "facts": len(told), "expected": PORTS * picks(SECONDS), "frames_lost": lost}


def quiet_us(rows: int) -> float:
    """CPU µs of the part for one quiet observation of `rows` samples of 8 cells."""
    part, rng = shelves(), np.random.default_rng(1)
    counts = np.rint(ZERO + PER_G * (20 * UNIT_G + rng.normal(0, 0.3, (6000, CELLS)))).astype(np.int32)
    t_us = 1_000_000 + 100_000 * np.arange(6000)
    observations = [
        CellSamples("mcu-0", int(t_us[a + rows - 1]), t_us[a : a + rows], counts[a : a + rows], 21.0)
        for a in range(0, 6000 - rows + 1, rows)
    ]
    warm = len(observations) // 10
    for observation in observations[:warm]:
        part.observe(observation, Instant(observation.mono_us, observation.mono_us))
    cpu_s = time.process_time()
    for observation in observations[warm:]:
        part.observe(observation, Instant(observation.mono_us, observation.mono_us))
    return (time.process_time() - cpu_s) * 1e6 / (len(observations) - warm)


def run(argv: list[str]) -> dict[str, object]:
    """Both rates through 25 ports."""
    argparse.ArgumentParser(prog="python -m tests.bench shelf").parse_args(argv)
    slow, fast = asyncio.run(through_ports(10.0)), asyncio.run(through_ports(80.0))
    return {
        "core_share_10": round(slow["core_share"], 4),
        "core_share_80": round(fast["core_share"], 4),
        "ports": PORTS,
        "cells": PORTS * CELLS,
        "facts_10": int(slow["facts"]),
        "facts_80": int(fast["facts"]),
        "facts_expected": int(slow["expected"]),
        "frames_lost": int(slow["frames_lost"] + fast["frames_lost"]),
        "quiet_us_per_observation": round(quiet_us(1), 2),
        "quiet_us_per_observation_of_10_samples": round(quiet_us(10), 2),
    }
