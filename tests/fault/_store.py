"""A store as a process that can be killed: journal (FULL) and uplink; tells each committed seq on standard output.

``python -m tests.fault._store PORT FOLDER KEYS RATE_PER_S``; lines on standard input: ``add N`` (one transaction, one
timestamp), ``fill N`` (transactions of 5,000), ``go`` (connect), ``rate N`` (facts a second from now on).
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import threading
from pathlib import Path

from cloud_bridge.settings import UplinkSettings
from edge.core.ports import Commit
from tests.bench._store_process import fill, tell
from tests.e2e.bridge_wires import WiredStore, change, wired_store


def resident_kib() -> int:
    """Memory in use now (proc(5), statm: second field, pages)."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize() // 1024


async def steady(store: WiredStore, state: dict[str, float]) -> None:
    """Commit facts at the rate asked for; a seq is told only when it is on the disk."""
    while True:
        rate = state["rate"]
        if not rate:
            await asyncio.sleep(0.02)
            continue
        count = max(1, round(rate * 0.02))
        tell(committed=await store.add(count))
        await asyncio.sleep(count / rate)


async def obey(store: WiredStore, state: dict[str, float], lines: asyncio.Queue[str]) -> None:
    """Carry out what standard input says; its end is the end."""
    uplink: asyncio.Task[None] | None = None
    while line := await lines.get():
        word, _, number = line.strip().partition(" ")
        if word == "add":
            now = store.clock.now()
            rows = [(change(n, now.mono_us), now) for n in range(int(number))]
            tell(committed=await store.journal.append(Commit(rows), now))
        elif word == "fill":
            await fill(store, int(number))
            tell(committed=store.journal.last_seq)
        elif word == "rate":
            state["rate"] = float(number)
        elif word == "go" and uplink is None:
            tell(rss_kib=resident_kib())
            uplink = asyncio.create_task(store.uplink.run())
        elif word == "stat":
            box = store.uplink._box
            told = {"last": store.journal.last_seq, "acked": store.journal.acked_seq, "rss_kib": resident_kib()}
            tell(**told, delivered=box.delivered_seq, flying=box.in_flight, up=store.uplink.status.connected)


async def main(port: str, folder: str, keys: str, rate: str) -> None:
    settings = UplinkSettings(
        hosts=(f"mqtt://127.0.0.1:{port}",), client_id="campaign", platform_keys=json.loads(keys), rate_per_s=0.0,
        puback_timeout_s=10.0, backoff_most_s=0.5,
    )  # fmt: skip
    loop, lines = asyncio.get_running_loop(), asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, "")

    async with wired_store(Path(folder), settings, running=False) as store:
        threading.Thread(target=read, daemon=True).start()
        state = {"rate": float(rate)}
        tell(ready=store.journal.last_seq, epoch=store.journal.epoch)
        task = asyncio.create_task(steady(store, state))
        await obey(store, state, lines)
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
