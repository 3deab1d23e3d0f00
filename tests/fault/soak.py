"""Memory over virtual time: a whole gateway (tier 2) with shoppers, bad wires now and then, a broker that dies.

What Python has allocated in our own files is measured (tracemalloc), not the process: simulator, broker and platform
live in the same one and keep what they like.
"""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from pathlib import Path

from firmware_sim.faults import GOOD, ROUGH, FaultSwitch, FaultyStream
from firmware_sim.stream import ByteStream
from tests.fault._campaign import Outcome, Promise, Trial
from tests.sim.tier2 import Tier2
from tests.virtual_time import run_virtual

ROOT = Path(__file__).parents[2]
ROOMS = ("edge", "devices", "cloud_bridge", "models")
WARM_SHARE = 0.5  # what is filled once (windows, caches, the newest thousand lines) is full by then
SLOPE_KIB_PER_H = 256.0
LOOKS = 40


def _ours_kib() -> float:
    gc.collect()
    filters = [tracemalloc.Filter(True, f"{ROOT}/{room}/*") for room in ROOMS]
    kept = tracemalloc.take_snapshot().filter_traces(filters)
    return sum(row.size for row in kept.statistics("filename")) / 1024


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares: the second number's rise by the first."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


async def _live(seed: int, seconds: float) -> list[tuple[float, float]]:
    """(virtual hours, KiB) at regular looks."""
    switch, rng = FaultSwitch(GOOD), random.Random(seed)

    def wrap(device: str, stream: ByteStream) -> ByteStream:
        return FaultyStream(stream, switch, f"{seed}:{device}")

    tier = Tier2("demo", seed, seconds, wrap)
    await tier.platform.open()
    loop = asyncio.get_running_loop()
    loop.call_later(8, tier.open_shop)
    points: list[tuple[float, float]] = []

    async def look() -> None:
        while True:
            await asyncio.sleep(seconds / LOOKS)
            tier.broker.log.clear()  # the played broker remembers everything
            switch.plan = ROUGH if rng.random() < 0.2 else GOOD
            if rng.random() < 0.1:
                tier.broker.kill()
            points.append((loop.time() / 3600, _ours_kib()))

    looking = asyncio.create_task(look())
    await tier.run(seconds)
    looking.cancel()
    return points


def memory(trial: Trial) -> Outcome:
    """`count` virtual minutes."""
    tracemalloc.start()
    try:
        points = run_virtual(_live(trial.seed, trial.count * 60.0))
    finally:
        tracemalloc.stop()
    late = points[int(len(points) * WARM_SHARE) :]
    rises = slope(late)
    limit = SLOPE_KIB_PER_H if trial.count >= 240 else 4 * SLOPE_KIB_PER_H  # an hour alone says less than a day
    figure = f"{trial.count / 60:g} virtual h: {late[0][1]:.0f} → {late[-1][1]:.0f} KiB, {rises:+.0f} KiB an hour"
    return Outcome(trial.count, int(rises > limit), figure)


PROMISES = (Promise("memory", "memory slope of a living gateway (minutes, T2)", (0, 60, 1440), memory),)
