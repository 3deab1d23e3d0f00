"""A process that writes a journal and tells each committed seq on a pipe that its tormentor holds.

``python -m tests.fault._journal PATH [quota_mib]``: first line ``open FIRST LAST EPOCH``, then one committed seq a line.
Standard input: ``stop`` ends it cleanly. Exit code 74 when the disk failed (as the gateway's).
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from edge.core.errors import JournalError
from edge.core.fact import Fact
from edge.core.facts import OnHandChanged, ZoneHeat
from edge.core.instant import Instant
from edge.core.ports import Commit
from edge.journal import Journal, JournalSettings, ThreadWriter
from edge.journal.log import open_store

FATAL_EXIT = 74  # as `edge.main`, whose import would triple the time to start
WALL_US = 1_790_000_000_000_000


def stock(at_us: int) -> Fact:
    """Urgent, never dropped."""
    return OnHandChanged(
        at_us=at_us, gtin="04012345000016", shelf="a", on_hand=3, low=2, high=4, confidence=0.9, sources=["rfid"],
        reason="read",
    )  # fmt: skip


def heat(at_us: int) -> Fact:
    """Telemetry that may be dropped."""
    return ZoneHeat(at_us=at_us, zone="z", start_us=0, end_us=1, visits=7, dwell_s=1.5)


def instant() -> Instant:
    mono_us = round(asyncio.get_running_loop().time() * 1e6)
    return Instant(mono_us, WALL_US + mono_us)


async def write(journal: Journal, fatal: asyncio.Event) -> None:
    """A busy store: urgent facts one by one and telemetry between them."""
    rng = random.Random()
    while not fatal.is_set():
        now = instant()
        facts = [(heat(now.mono_us), now)] * rng.randrange(4) + [(stock(now.mono_us), now)] * rng.randrange(2)
        if facts:
            journal.append(Commit(facts, {"last": now.mono_us}), now).add_done_callback(lambda f: f.exception())
        await asyncio.sleep(rng.uniform(0.0005, 0.004))


async def main(path: str, quota_mib: str = "64") -> int:
    settings = JournalSettings(path=path, quota_mib=int(quota_mib), urgent_delay_s=0.002)
    store, kept = open_store(settings)
    fatal, errors = asyncio.Event(), []

    def on_fatal(error: JournalError) -> None:
        errors.append(error)
        fatal.set()

    journal = Journal(store, ThreadWriter(), settings, kept.boot, on_fatal)
    os.write(1, f"open {journal.first_seq} {journal.last_seq} {journal.epoch}\n".encode())
    journal.subscribe(lambda seq: os.write(1, f"{seq}\n".encode()) and None)
    stop = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    writing = asyncio.create_task(write(journal, fatal))
    await asyncio.wait([stop, writing], return_when=asyncio.FIRST_COMPLETED)
    if errors:
        os.write(2, f"{errors[0]}\n".encode())
        os._exit(FATAL_EXIT)  # as the gateway: end at once, never retry
    writing.cancel()
    await journal.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
