"""Urgent fact → commit (FULL) → uplink → mosquitto → independent subscriber, at a steady rate.

The time runs from the fact's own engine time (`monous`, the machine's monotonic clock) to its bytes at the subscriber.
The peer, thingsboard-gateway, is measured beside it in an environment of its own, made where it is missing
(`_thingsboard`; ``--no-peer`` leaves it out). `bridge_thread_idle_percent` is the bridge's thread at 10 facts/s.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from cloud_bridge.ingest.broker import mosquitto_broker
from tests.bench._subscriber import Subscriber, percentile
from tests.bench._thingsboard import install, measure
from tests.bench.drain import heard, store_process

IDLE_HZ = 10.0


def run(argv: list[str]) -> dict[str, object]:
    parser = argparse.ArgumentParser(prog="latency")
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--idle-seconds", type=float, default=10.0, help="how long at 10 facts/s")
    parser.add_argument("--no-peer", action="store_true", help="leave thingsboard-gateway out")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Path(folder), options))


async def _run(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    rate, seconds = options.rate, options.seconds
    async with mosquitto_broker(folder / "mosquitto") as broker:
        ours = await asyncio.to_thread(_measure, folder, broker.port, rate, seconds)
    async with mosquitto_broker(folder / "idle") as broker:
        idle = await asyncio.to_thread(_measure, folder / "idle", broker.port, IDLE_HZ, options.idle_seconds)
    ours["bridge_thread_idle_percent"] = idle["bridge_thread_cpu_percent"]
    cause = "left out" if options.no_peer else await asyncio.to_thread(install)
    return {**ours, **await _peer(folder / "peer", rate, seconds, cause)}


async def _peer(folder: Path, rate: float, seconds: float, cause: str) -> dict[str, object]:
    """thingsboard-gateway beside ours, null with the cause where its environment could not be made."""
    names = ("p50_ms", "p99_ms", "facts", "heard")
    found: dict[str, object] = {}
    if not cause:
        async with mosquitto_broker(folder / "source") as source, mosquitto_broker(folder / "server") as server:
            try:
                found = await asyncio.to_thread(measure, folder, (source.port, server.port), rate, seconds)
            except (AssertionError, OSError) as fault:
                cause = f"it did not run: {' '.join(str(fault).split())[-300:]}"
    told = {f"thingsboard_{name}": found.get(name) for name in names}
    return {**told, "thingsboard_cause": cause} if cause else told


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
