"""The loss campaign of the bridge: real mosquitto (default: no persistence), real processes, real kills.

Every row ends with the same question to the reference platform's database: is each committed seq there, once?
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloud_bridge.ingest.broker import Broker, mosquitto_broker
from cloud_bridge.ingest.platform import Platform
from tests.e2e.bridge_wires import keys_of, wired_platform

SETTLE_S = 120.0


@dataclass
class StoreProcess:
    """The killable store."""

    port: int
    folder: Path
    keys: str
    committed: int = 0
    most_rss_kib: int = 0
    heard: dict[str, Any] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None
    reader: asyncio.Task[None] | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self, rate: float = 0.0, go: bool = True) -> None:
        command = [sys.executable, "-m", "tests.fault._store", str(self.port), str(self.folder), self.keys, str(rate)]
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        self.heard = {}
        self.reader = asyncio.create_task(self._read(self.process))
        await self.wait("ready")
        if go:
            self.say("go")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if not line.endswith(b"\n"):
                break  # cut by the kill: never told
            told = json.loads(line)
            self.heard.update(told)
            self.committed = max(self.committed, told.get("committed", 0))
            self.most_rss_kib = max(self.most_rss_kib, told.get("rss_kib", 0))
            self.news.set()

    def say(self, line: str) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    async def wait(self, key: str) -> Any:
        while key not in self.heard:
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 300)
        return self.heard[key]

    async def stat(self) -> dict[str, Any]:
        self.heard.pop("delivered", None)
        self.say("stat")
        await self.wait("delivered")
        return self.heard

    async def kill(self) -> None:
        assert self.process is not None
        assert self.reader is not None
        self.process.kill()
        await self.process.wait()
        await self.reader


@dataclass
class Scene:
    """Broker, platform and store of one row."""

    folder: Path
    broker: Broker
    platform: Platform
    store: StoreProcess
    rng: random.Random

    async def restart_broker(self) -> None:
        self.broker.kill()
        self.broker = mosquitto_broker(self.folder / "mosquitto", port=self.broker.port)
        await self.broker.start()

    async def verdict(self) -> tuple[int, int, int]:
        """(committed, missing, twice) at the platform, once everything had its time."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + SETTLE_S + self.store.committed / 5_000
        while loop.time() < give_up_s:
            stat = await self.store.stat()
            if stat["acked"] >= stat["last"] >= self.store.committed:
                break
            await asyncio.sleep(0.2)
        last = (await self.store.stat())["last"]
        (row,) = self.platform.store._open.execute(  # type: ignore[attr-defined]
            "SELECT COUNT(*), COUNT(DISTINCT seq), MAX(seq) FROM event"
        )
        (streams,) = self.platform.store._open.execute("SELECT COUNT(*) FROM stream")  # type: ignore[attr-defined]
        return last, last - row[1], row[0] - row[1] + streams[0] - 1


@asynccontextmanager
async def scene(seed: int) -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = mosquitto_broker(folder / "mosquitto")
        await broker.start()
        async with wired_platform(folder, (broker.address,)) as platform:
            store = StoreProcess(broker.port, folder, json.dumps(keys_of(platform)))
            made = Scene(folder, broker, platform, store, random.Random(seed))
            try:
                yield made
            finally:
                if store.process is not None and store.process.returncode is None:
                    await store.kill()
                await made.broker.stop()


async def broker_kills(options: argparse.Namespace) -> dict[str, object]:
    """kill -9 when the broker has acknowledged facts that the platform may not have."""
    async with scene(1) as at:
        await at.store.start()
        exposed = 0
        for _ in range(options.kills):
            at.store.say(f"add {at.rng.randrange(1, 400)}")
            deadline_s = asyncio.get_running_loop().time() + 30
            while asyncio.get_running_loop().time() < deadline_s:
                stat = await at.store.stat()
                if stat["up"] and stat["last"] >= at.store.committed and not stat["flying"] and stat["delivered"]:
                    break
            exposed += max(0, stat["delivered"] - stat["acked"])
            await at.restart_broker()
        last, missing, twice = await at.verdict()
    alone = exposed // options.kills
    figure = f"{last} facts; at a kill the broker alone had {alone} on average; missing {missing}, twice {twice}"
    return _row("broker kill -9 after PUBACK: nothing missing, nothing twice", options.kills, missing + twice, figure)


async def gateway_kills(options: argparse.Namespace) -> dict[str, object]:
    """kill -9 of the store at random moments while it commits and sends."""
    async with scene(2) as at:
        for _ in range(options.kills):
            await at.store.start(rate=400)
            await asyncio.sleep(at.rng.uniform(0.02, 0.5))
            await at.store.kill()
        told = at.store.committed
        await at.store.start()
        last, missing, twice = await at.verdict()
    missing += max(0, told - last)
    figure = f"{last} facts, {told} told as committed; missing {missing}, twice {twice}"
    return _row("gateway kill -9: nothing acknowledged is lost", options.kills, missing + twice, figure)


async def stall(options: argparse.Namespace) -> dict[str, object]:
    """The broker is stopped (SIGSTOP): TCP stays open and silent."""
    async with scene(3) as at:
        await at.store.start(rate=200)
        await asyncio.sleep(2)
        os.kill(at.broker.pid, signal.SIGSTOP)
        await asyncio.sleep(options.stall_s)
        os.kill(at.broker.pid, signal.SIGCONT)
        await asyncio.sleep(2)
        at.store.say("rate 0")
        await asyncio.sleep(0.5)
        last, missing, twice = await at.verdict()
    figure = f"{last} facts at 200/s; missing {missing}, twice {twice}"
    return _row(f"silent stall of {options.stall_s:.0f} s: nothing missing, nothing twice", 1, missing + twice, figure)


async def burst(options: argparse.Namespace) -> dict[str, object]:
    """20,000 facts in one transaction with one timestamp."""
    async with scene(4) as at:
        await at.store.start()
        at.store.say("add 20000")
        await at.store.wait("committed")
        last, missing, twice = await at.verdict()
    return _row(
        "burst of 20,000 with equal timestamps", 1, missing + twice, f"missing {missing}, twice {twice} of {last}"
    )


async def outage(options: argparse.Namespace) -> dict[str, object]:
    """The backlog of a long outage at 10 facts a second, then the way is open."""
    count = round(options.outage_h * 3600 * 10)
    async with scene(5) as at:
        await at.store.start(go=False)
        at.store.say(f"fill {count}")
        await at.store.wait("committed")
        size_mib = sum(path.stat().st_size for path in at.folder.glob("s1.db*")) / 2**20
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        at.store.say("go")
        before_kib = at.store.most_rss_kib = await at.store.wait("rss_kib")
        last, missing, twice = await at.verdict()
        took_s = loop.time() - began_s
        grown_mib = (at.store.most_rss_kib - before_kib) / 1024
    figure = f"{last} facts, {size_mib:.0f} MiB, memory at most +{grown_mib:.1f} MiB, {last / took_s:.0f}/s; missing {missing}, twice {twice}"
    return _row(f"outage of {options.outage_h:g} h at 10/s: kept, drained, complete", 1, missing + twice, figure)


def _row(promise: str, tried: int, failed: int, figure: str) -> dict[str, object]:
    return {"promise": promise, "tried": tried, "failed": failed, "figure": figure}


ROWS: tuple[Callable[[argparse.Namespace], Awaitable[dict[str, object]]], ...] = (
    broker_kills,
    gateway_kills,
    stall,
    burst,
    outage,
)


def run(argv: list[str]) -> dict[str, object]:
    parser = argparse.ArgumentParser(prog="bridge")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--stall-s", type=float, default=30.0)
    parser.add_argument("--outage-h", type=float, default=72.0)
    parser.add_argument("--only", choices=[row.__name__ for row in ROWS])
    options = parser.parse_args(argv)
    chosen = [row for row in ROWS if options.only in (None, row.__name__)]
    rows = []
    for row in chosen:
        began_s = time.monotonic()
        made = asyncio.run(row(options))
        rows.append({**made, "name": row.__name__, "seconds": round(time.monotonic() - began_s, 1)})
    return {"rows": rows}
