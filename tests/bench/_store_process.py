"""A store as a process of its own: journal (FULL) and uplink, nothing else. Speaks JSON lines on standard output.

``python -m tests.bench._store_process drain PORT FOLDER N LIVE_HZ`` · ``… latency PORT FOLDER RATE SECONDS``
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
import threading
import time
from pathlib import Path

from cloud_bridge.settings import UplinkSettings
from edge.core.ports import Commit
from tests.e2e.bridge_wires import WiredStore, change, wired_store

FILL_ROWS = 5_000


def tell(**values: object) -> None:
    print(json.dumps(values), flush=True)


async def fill(store: WiredStore, count: int) -> None:
    """Commit `count` facts before anything is sent."""
    for start in range(0, count, FILL_ROWS):
        now = store.clock.now()
        rows = [(change(n, now.mono_us), now) for n in range(start, min(count, start + FILL_ROWS))]
        await store.journal.append(Commit(rows), now)


async def drain(store: WiredStore, count: int, live_hz: float) -> None:
    await fill(store, count)
    (synchronous,) = store.journal._store._db.execute("PRAGMA synchronous").fetchone()
    tell(filled=count, synchronous={1: "NORMAL", 2: "FULL"}.get(synchronous, synchronous))
    await asyncio.to_thread(sys.stdin.readline)
    cpu_s, began_s = time.process_time(), time.monotonic()
    task = asyncio.create_task(store.uplink.run())
    while store.journal.acked_seq < count:
        await asyncio.sleep(1 / live_hz)
        store.add(1)
    took_s, used_s = time.monotonic() - began_s, time.process_time() - cpu_s
    sent = store.uplink.status.facts_sent
    tell(drained_s=took_s, cpu_s=used_s, sent=sent, messages=store.uplink.status.messages_sent)
    while store.journal.acked_seq < store.journal.last_seq:
        await asyncio.sleep(0.01)
    rss_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tell(last_seq=store.journal.last_seq, rss_mib=rss_kib / 1024)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def bridge_thread_s() -> float:
    """CPU time of the thread named `mqtt` so far (Linux: /proc/<pid>/task/<tid>/schedstat, first field in ns)."""
    ids = [thread.native_id for thread in threading.enumerate() if thread.name == "mqtt"]
    return sum(int(Path(f"/proc/self/task/{number}/schedstat").read_text().split()[0]) for number in ids) / 1e9


async def latency(store: WiredStore, rate: float, seconds: float) -> None:
    task = asyncio.create_task(store.uplink.run())
    while not store.uplink.status.connected:
        await asyncio.sleep(0.01)
    loop = asyncio.get_running_loop()
    cpu_s, thread_s, began_s, made = time.process_time(), bridge_thread_s(), loop.time(), 0
    while made < rate * seconds:
        store.add(1)
        made += 1
        await asyncio.sleep(max(0.0, began_s + made / rate - loop.time()))
    took_s, used_s = loop.time() - began_s, time.process_time() - cpu_s
    thread_percent = 100 * (bridge_thread_s() - thread_s) / took_s
    while store.journal.acked_seq < made:
        await asyncio.sleep(0.01)
    tell(last_seq=made, rate_per_s=made / took_s, cpu_percent=100 * used_s / took_s, thread_percent=thread_percent)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def main(mode: str, port: str, folder: str, first: str, second: str) -> None:
    settings = UplinkSettings(
        hosts=(f"mqtt://127.0.0.1:{port}",), client_id="bench-store", trust_puback=True, rate_per_s=0.0
    )
    async with wired_store(Path(folder), settings, running=False) as store:
        if mode == "drain":
            await drain(store, int(first), float(second))
        else:
            await latency(store, float(first), float(second))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
