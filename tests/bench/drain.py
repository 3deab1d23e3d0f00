"""Journal (FULL) → uplink → mosquitto → an independent subscriber that checks every seq, rate unlimited.

A backlog of 500,000 facts drains while live urgent facts go on; `events_per_s` counts what the subscriber received
from the first to the last backlog event, `cpu_us_per_event` is the CPU time of the whole store process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from cloud_bridge.ingest.broker import mosquitto_broker
from tests.bench._subscriber import Subscriber, percentile

LIVE_HZ = 20.0


def heard(stream: IO[str]) -> dict[str, Any]:
    """The next JSON line of a store process."""
    line = stream.readline()
    assert line, "the store process ended early"
    return json.loads(line)


def store_process(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.bench._store_process", *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run(argv: list[str]) -> dict[str, object]:
    parser = argparse.ArgumentParser(prog="drain")
    parser.add_argument("--facts", type=int, default=500_000)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Path(folder), options.facts))


async def _run(folder: Path, count: int) -> dict[str, object]:
    async with mosquitto_broker(folder / "mosquitto") as broker:
        return await asyncio.to_thread(_measure, folder, broker.port, count)


def _measure(folder: Path, port: int, count: int) -> dict[str, object]:
    subscriber = Subscriber(port, "smartstore/v1/+/+/events/+")
    subscriber.late_from = count + 1
    with store_process("drain", port, folder, count, LIVE_HZ) as store:
        assert store.stdin is not None
        assert store.stdout is not None
        filled = heard(store.stdout)
        began_s = time.monotonic()
        store.stdin.write("go\n")
        store.stdin.flush()
        subscriber.read_until(count, 280)
        took_s = time.monotonic() - began_s
        drained, ended = heard(store.stdout), heard(store.stdout)
        subscriber.read_until(ended["last_seq"], 20)
        store.wait(20)
    late_s = [late_us / 1e6 for _, late_us in subscriber.late_us]
    return {
        "events_per_s": round(count / took_s),
        "cpu_us_per_event": round(drained["cpu_s"] * 1e6 / drained["sent"], 2),
        "synchronous": filled["synchronous"],
        "facts": count,
        "backlog_500k_s": round(took_s * 500_000 / count, 2),
        "live_facts": len(late_s),
        "live_late_p99_s": round(percentile(late_s, 0.99), 3),
        "facts_per_message": round(subscriber.received / subscriber.messages, 1),
        "missing": subscriber.missing(ended["last_seq"]),
        "doubled": subscriber.doubled,
        "rss_mib": round(ended["rss_mib"], 1),
    }
