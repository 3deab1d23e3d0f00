"""Memory over virtual time: a whole gateway (tier 2) with shoppers, bad wires now and then, a broker that dies.

What Python has allocated in the gateway's own files is measured (tracemalloc), not the process: simulator, broker and
platform live in the same one and keep what they like. What is bounded, and takes longer than this run to reach its bound,
is not waited for: sold items are forgotten after minutes instead of 90 days (`[retention]`), so that as many are
forgotten as come, and the cache of 2,048 identities is emptied before each look. What is left must not grow at all: kept
100 bytes a fact would be some 700 KiB an hour (the sabotage "100 bytes of each fact" tries that).
"""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from pathlib import Path

from edge.core.identity import decode_epc
from edge.core.retention import Retention
from firmware_sim.faults import GOOD, ROUGH, FaultSwitch, FaultyStream
from firmware_sim.stream import ByteStream
from tests.fault._campaign import Outcome, Promise, Trial
from tests.sim.tier2 import Tier2
from tests.virtual_time import run_virtual

ROOT = Path(__file__).parents[2]
ROOMS = ("edge", "devices", "cloud_bridge", "models")
PLATFORM = "cloud_bridge/ingest"  # the other end of the bridge
QUICKLY = Retention(sold_tag_days=300 / 86_400, departed_tag_days=300 / 86_400)
WARM_SHARE = 0.5  # what is filled once (windows, caches, the newest thousand lines) is full by then
SLOPE_KIB_PER_H = 256.0
LOOKS = 40


def _ours_kib() -> float:
    decode_epc.cache_clear()
    gc.collect()
    filters = [tracemalloc.Filter(True, f"{ROOT}/{room}/*") for room in ROOMS]
    filters.append(tracemalloc.Filter(False, f"{ROOT}/{PLATFORM}/*"))
    kept = tracemalloc.take_snapshot().filter_traces(filters)
    return sum(row.size for row in kept.statistics("filename")) / 1024


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares: the second number's rise by the first."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


async def _live(seed: int, seconds: float) -> tuple[list[tuple[float, float]], int]:
    """(virtual hours, KiB) at regular looks, and how many facts were committed."""
    switch, rng = FaultSwitch(GOOD), random.Random(seed)

    def wrap(device: str, stream: ByteStream) -> ByteStream:
        return FaultyStream(stream, switch, f"{seed}:{device}")

    tier = Tier2("demo", seed, seconds, wrap)
    tier.engine.parts.presence.retention = QUICKLY
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
    return points, tier.journal.last_seq


def memory(trial: Trial) -> Outcome:
    """`count` virtual minutes."""
    tracemalloc.start()
    try:
        points, facts = run_virtual(_live(trial.seed, trial.count * 60.0))
    finally:
        tracemalloc.stop()
    late = points[int(len(points) * WARM_SHARE) :]
    rises = slope(late)
    hours = trial.count / 60
    figure = f"{hours:g} virtual h, {facts} facts: {late[0][1]:.0f} → {late[-1][1]:.0f} KiB, {rises:+.0f} KiB an hour"
    return Outcome(trial.count, int(rises > SLOPE_KIB_PER_H), figure)


PROMISES = (Promise("memory", "memory slope of a living gateway (minutes, T2)", (0, 60, 1440), memory),)
