"""Offers over HTTP: 90 % unchanged (ETag) and 10 % new ones (which commit first), one server process, one core.

The server is uvicorn with the whole app over a journal on disk with its own writer thread; phones are keep-alive
connections of this process that each ask for their own consent. Only the client's waiting is measured, after the first
two requests, which load modules.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from edge.api.app import bind
from tests.bench._subscriber import percentile

PHONES = 16
CONSENTS = 4_000


def run(argv: list[str]) -> dict[str, object]:
    parser = argparse.ArgumentParser(prog="offers")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args(argv)
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        listener = bind("127.0.0.1", 0)
        listener.listen(PHONES)  # phones may knock while the server is still on its way to the door
        process = context.Process(target=_serve, args=(far, listener, folder), daemon=True)
        process.start()
        try:
            receipts, _ = near.recv()
            figures = asyncio.run(_ask(listener.getsockname()[1], receipts, options.seconds))
            near.send("stop")
            cpu_s, _ = near.recv()
        finally:
            process.terminate()
            process.join(10)
            listener.close()
    asked = int(figures["requests"])
    return {
        "requests_per_s": round(asked / figures["wall_s"], 1),
        "requests_per_cpu_s": round(asked / cpu_s, 1),
        "p99_ms": round(percentile(figures["same"], 0.99), 2),
        "p50_ms": round(percentile(figures["same"], 0.5), 2),
        "p99_new_ms": round(percentile(figures["new"], 0.99), 2),
        "requests": asked,
        "new": len(figures["new"]),
        "failed": figures["failed"],
    }


def _serve(pipe: Any, listener: socket.socket, folder: str) -> None:
    asyncio.run(_server(pipe, listener, Path(folder)))


async def _server(pipe: Any, listener: socket.socket, folder: Path) -> None:
    import uvicorn

    from edge.api import desk as desks
    from edge.api.shopper_limits import Rate
    from edge.core.facts import OnHandChanged
    from edge.core.instant import Instant, TimeQuality
    from edge.core.ports import Command
    from edge.journal import Store
    from tests.unit.api_support import SITE, TEA, gateway

    desks.ASK = desks.CONSENT = Rate(1e9, 1e9)
    zones = [{"id": f"z-{i}"} for i in range(1, 21)]
    async with gateway(threaded=True, store=Store(folder / "journal.db"), site=SITE | {"zones": zones}) as bench:
        start_us = bench.clock.now_us - time.monotonic_ns() // 1000
        # Time passes as in a store: answers end with the minute, offers with their hour.
        bench.clock.now = lambda: Instant(  # type: ignore[method-assign]
            start_us + time.monotonic_ns() // 1000, time.time_ns() // 1000, TimeQuality.SYNCED
        )
        runtime = bench.services.runtime
        stocked = OnHandChanged(
            at_us=0, gtin=TEA, shelf="shelf-1", on_hand=9, low=0, high=9, confidence=1.0, sources=[], reason=""
        )
        runtime.engine.parts.promotions.stock(stocked)
        rows = [{"id": f"p-{z['id']}", "zone": z["id"], "gtins": [TEA], "title": "Tea"} for z in zones]
        await runtime.execute(Command("c", "set_promotions", {"promotions": rows}))
        app: Any = bench.app
        while not hasattr(app, "state"):
            app = app._app
        desk = app.state.desk = desks.Desk(bench.services)
        now = bench.clock.now()
        receipts = [desk.offers.consents.give(["offers"], "1", [], now.wall_us)[0] for _ in range(CONSENTS)]
        server = uvicorn.Server(uvicorn.Config(bench.app, log_level="error", access_log=False, lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        begun_s = time.process_time()
        pipe.send((receipts, os.getpid()))
        while not pipe.poll():
            await asyncio.sleep(0.1)
        pipe.recv()
        pipe.send((time.process_time() - begun_s, 0))
        server.should_exit = True
        await serving


async def _ask(port: int, receipts: list[str], seconds: float) -> dict[str, Any]:
    same: list[float] = []
    new: list[float] = []
    fresh = iter((receipt, zone) for zone in range(1, 21) for receipt in receipts)
    failed = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):  # the first request of a process loads modules; a store's gateway has been asked before
        await _get(reader, writer, "/v1/offers?zone=z-1", *next(fresh)[:1], "")
    writer.close()
    ends_s = time.monotonic() + seconds
    began_s = time.monotonic()

    async def phone(number: int) -> None:
        nonlocal failed
        rng = random.Random(number)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        known: list[tuple[str, int, str]] = []
        while time.monotonic() < ends_s:
            is_new = not known or rng.random() < 0.1
            receipt, zone, etag = (*next(fresh), "") if is_new else rng.choice(known)
            asked_s = time.perf_counter()
            status, headers, body = await _get(reader, writer, f"/v1/offers?zone=z-{zone}", receipt, etag)
            took_ms = (time.perf_counter() - asked_s) * 1e3
            (new if is_new else same).append(took_ms)
            if is_new and status == 200 and json.loads(body)["offers"]:
                known.append((receipt, zone, headers["etag"]))
            elif status != 304:
                failed += 1
        writer.close()

    await asyncio.gather(*(phone(number) for number in range(PHONES)))
    wall_s = time.monotonic() - began_s
    return {"same": same, "new": new, "failed": failed, "requests": len(same) + len(new), "wall_s": wall_s}


async def _get(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, receipt: str, etag: str
) -> tuple[int, dict[str, str], bytes]:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", f"X-Consent: {receipt}"]
    if etag:
        lines.append(f"If-None-Match: {etag}")
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(head[0].split()[1]), headers, body
