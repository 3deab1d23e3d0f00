"""Urgent fact → commit (FULL) → uplink → mosquitto → independent subscriber, at a steady rate.

The time runs from the fact's own engine time (`monous`, the machine's monotonic clock) to its bytes at the subscriber.
The peer, thingsboard-gateway, is measured beside it where it is installed (`_thingsboard`).
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from cloud_bridge.ingest.broker import mosquitto_broker
from tests.bench._subscriber import Subscriber, percentile
from tests.bench._thingsboard import installed, measure
from tests.bench.drain import heard, store_process


def run(argv: list[str]) -> dict[str, object]:
    parser = argparse.ArgumentParser(prog="latency")
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Path(folder), options.rate, options.seconds))


async def _run(folder: Path, rate: float, seconds: float) -> dict[str, object]:
    async with mosquitto_broker(folder / "mosquitto") as broker:
        ours = await asyncio.to_thread(_measure, folder, broker.port, rate, seconds)
    return {**ours, **await _peer(folder / "peer", rate, seconds)}


async def _peer(folder: Path, rate: float, seconds: float) -> dict[str, object]:
    """thingsboard-gateway beside ours, null where its environment was not made (see `_thingsboard`)."""
    names = ("p50_ms", "p99_ms", "facts", "heard")
    if installed() is None:
        return {f"thingsboard_{name}": None for name in names}
    async with mosquitto_broker(folder / "source") as source, mosquitto_broker(folder / "server") as server:
        found = await asyncio.to_thread(measure, folder, (source.port, server.port), rate, seconds)
    return {f"thingsboard_{name}": found[name] for name in names}


def _measure(folder: Path, port: int, rate: float, seconds: float) -> dict[str, object]:
    subscriber = Subscriber(port, "smartstore/v1/+/+/events/+")
    subscriber.late_from = 1
    count = int(rate * seconds)
    with store_process("latency", port, folder, rate, seconds) as store:
        assert store.stdout is not None
        subscriber.read_until(count, seconds + 60)
        ended = heard(store.stdout)
        store.wait(20)
    late_ms = [late_us / 1e3 for _, late_us in subscriber.late_us]
    return {
        "rate_per_s": round(ended["rate_per_s"], 1),
        "p50_ms": round(percentile(late_ms, 0.5), 2),
        "p99_ms": round(percentile(late_ms, 0.99), 2),
        "worst_ms": round(max(late_ms), 2),
        "facts": count,
        "missing": subscriber.missing(count),
        "doubled": subscriber.doubled,
        "store_cpu_percent": round(ended["cpu_percent"], 1),
        "bridge_thread_cpu_percent": round(ended["thread_percent"], 2),
    }
