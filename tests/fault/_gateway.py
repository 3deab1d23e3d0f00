"""The real gateway over a folder, with ways to torment it from inside.

``python -m tests.fault._gateway FOLDER``: prints ``ready PORT SECONDS``, then each committed seq. Standard input: ``hang
loop S``, ``hang writer S``, ``crash KIND`` (an abort in the middle of a driver's code), ``stop``.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

from edge.core.facts import ZoneHeat
from edge.main import Gateway
from edge.plan import read_plan


def prepare(folder: Path) -> Path:
    """Settings and planogram of a store whose devices are not there."""
    import json

    from firmware_sim.scenario import SCENARIOS

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.json").write_text(json.dumps(SCENARIOS["demo"](1, 1.0, 400, False).site))
    path = folder / "gateway.toml"
    path.write_text(
        '[gateway]\nplanogram = "site.json"\n[api]\nport = 0\ntls = false\n'
        '[[device]]\nid = "reader-1"\nkind = "rfid_llrp"\n[device.settings]\nmoniker = "tcp:127.0.0.1:9"\n'
    )
    return path


async def work(gateway: Gateway) -> None:
    """A fact now and then, so that there is something to lose and to write."""
    while True:
        now_us = gateway.clock.now_us()
        await gateway.runtime.tell(ZoneHeat(at_us=now_us, zone="z", start_us=0, end_us=1, visits=7, dwell_s=1.5))
        os.write(1, f"{gateway.journal.last_seq}\n".encode())
        await asyncio.sleep(0.01)


def hang_writer(gateway: Gateway, seconds: float) -> None:
    write = gateway._store.write

    def slow(batch) -> None:
        time.sleep(seconds)
        write(batch)

    gateway._store.write = slow  # type: ignore[method-assign]


def crash(kind: str) -> None:
    """Abort as a hung or broken native part would, with the driver's module on the stack."""
    code = compile("import os\nos.abort()", f"/devices/{kind}/driver.py", "exec")
    exec(code)


def obey(gateway: Gateway, loop: asyncio.AbstractEventLoop) -> None:
    for line in sys.stdin:
        match line.split():
            case ["hang", "loop", seconds]:
                loop.call_soon_threadsafe(time.sleep, float(seconds))
            case ["hang", "writer", seconds]:
                loop.call_soon_threadsafe(hang_writer, gateway, float(seconds))
            case ["crash", kind]:
                loop.call_soon_threadsafe(crash, kind)
            case ["stop"]:
                loop.call_soon_threadsafe(gateway.stop)


async def main(folder: str) -> None:
    began_s = time.monotonic()
    gateway = Gateway(read_plan(Path(folder) / "gateway.toml"))
    gateway.crashes.arm()
    threading.Thread(target=obey, args=(gateway, asyncio.get_running_loop()), daemon=True).start()
    working: list[asyncio.Task[None]] = []

    def ready(_: Gateway) -> None:
        os.write(1, f"ready {gateway.port} {time.monotonic() - began_s:.3f}\n".encode())
        working.append(asyncio.create_task(work(gateway)))

    await gateway.run(ready)
    working[0].cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
