"""What the journal writes to the card: 9.8 telemetry and 0.2 urgent facts/s at random times, everything on.

Measured at the block device of a private loop-mounted ext4 (root), because /proc/self/io under-counts. Cursor, engine
state, retention after acknowledgement and audit rows are on. The time is compressed: the same commits at the same
grouping, `--speed` times faster (the lanes' delays shrink with it), so that an hour takes minutes; the file system's
own commit interval cannot shrink, so less speed means a little more metadata: `--speed 1` is the slow truth.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import tempfile
from pathlib import Path

from edge.core.facts import Audited
from edge.core.instant import Instant
from edge.core.ports import Commit
from edge.journal import Journal, JournalSettings, ThreadWriter
from edge.journal.log import open_store
from tests.fault._journal import heat, stock
from tests.fault._torment import ext4

TELEMETRY_PER_S, URGENT_PER_S, AUDIT_PER_S, ACK_EVERY_S = 9.8, 0.2, 1 / 300, 5.0
SECTOR_BYTES = 512
"""Unit of /sys/block/*/stat, whatever the device's own sector is (Documentation/block/stat.rst)."""


def device_of(point: Path) -> Path:
    """The statistics of the loop device under a mount point."""
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        device, mounted, *_ = line.split()
        if mounted == str(point):
            return Path("/sys/block") / Path(device).name / "stat"
    raise RuntimeError(f"{point} is not mounted")


def written_bytes(stat: Path, point: Path) -> int:
    """Bytes written to the device so far, with all that the file system still holds back."""
    handle = os.open(point, os.O_RDONLY)
    ctypes.CDLL(None).syncfs(handle)
    os.close(handle)
    return int(stat.read_text(encoding="ascii").split()[6]) * SECTOR_BYTES


async def live(path: Path, seconds: float, speed: float, seed: int) -> int:
    """A store's journal for so many (compressed) seconds; how many facts there were."""
    settings = JournalSettings(
        path=str(path), telemetry_delay_s=5.0 / speed, urgent_delay_s=0.01 / speed, keep_acked_rows=2_000
    )
    store, kept = open_store(settings)
    journal = Journal(store, ThreadWriter(), settings, kept.boot, _fatal)
    loop, rng = asyncio.get_running_loop(), random.Random(seed)
    total = TELEMETRY_PER_S + URGENT_PER_S + AUDIT_PER_S
    began_s, t_s, acked_s, made = loop.time(), 0.0, 0.0, 0
    while t_s < seconds:
        t_s += rng.expovariate(total)
        await asyncio.sleep(max(0.0, began_s + t_s / speed - loop.time()))
        now = Instant(int(t_s * 1e6), 1_790_000_000_000_000 + int(t_s * 1e6))
        draw = rng.random() * total
        if draw < TELEMETRY_PER_S:
            journal.append(Commit([(heat(now.mono_us), now)]), now)
        elif draw < TELEMETRY_PER_S + URGENT_PER_S:
            said = {f"inventory/{rng.randrange(400)}": {"on_hand": rng.randrange(30), "since_us": now.mono_us}}
            journal.append(Commit([(stock(now.mono_us), now)], said), now)
        else:
            audited = Audited(at_us=now.mono_us, actor="staff-3", action="recount", target="shelf-4", row=made)
            journal.append(Commit([(audited, now)]), now)
        made += 1
        if t_s - acked_s >= ACK_EVERY_S:
            acked_s = t_s
            journal.ack(journal.last_seq)
    await journal.flush()
    await journal.close()
    return made


def _fatal(error: Exception) -> None:
    raise AssertionError(error)


def run(argv: list[str]) -> dict[str, object]:
    """`--seconds N` of store time (default 1800), `--speed N` (default 30), `--seed N`. Raises NotHere without root."""
    seconds = float(argv[argv.index("--seconds") + 1]) if "--seconds" in argv else 1800.0
    speed = float(argv[argv.index("--speed") + 1]) if "--speed" in argv else 30.0
    seed = int(argv[argv.index("--seed") + 1]) if "--seed" in argv else 7
    with tempfile.TemporaryDirectory(prefix="writes-") as name, ext4(Path(name), 256) as (point, _):
        stat = device_of(point)
        asyncio.run(live(point / "journal.db", 60, speed, seed))  # files and WAL have their size
        before = written_bytes(stat, point)
        made = asyncio.run(live(point / "journal.db", seconds, speed, seed))
        written = written_bytes(stat, point) - before
    return {
        "gb_per_day": round(written / seconds * 86400 / 1e9, 3),
        "bytes_per_event": round(written / made),
        "events": made,
        "written_mib": round(written / 2**20, 2),
        "store_s": seconds,
        "speed": speed,
    }
