"""The load of the RFID benchmark, a process of its own: an LLRP reader that only greets, agrees, and then reports flat out.

Written from LLRP 1.1 (clauses 9, 14.2 and 17.2); it shares no code with the driver. Prints its port, serves one client: by itself, or as fast as a rate allows.
"""

from __future__ import annotations

import asyncio
import struct
import sys

import numpy as np

RESPONSES = {1: 11, 2: 12, 3: 13, 14: 4, 20: 30, 21: 31, 22: 32, 23: 33, 24: 34, 25: 35}
START_ROSPEC, RO_ACCESS_REPORT, EVENT = 22, 61, 63
STATUS_OK = struct.pack(">HHHH", 287, 8, 0, 0)


def message(kind: int, message_id: int, body: bytes) -> bytes:
    return struct.pack(">HII", 1 << 10 | kind, 10 + len(body), message_id) + body


def greeting() -> bytes:
    attempt = struct.pack(">HHH", 256, 6, 0)
    stamp = struct.pack(">HHQ", 128, 12, 0)
    return message(EVENT, 0, struct.pack(">HH", 246, 4 + len(stamp) + len(attempt)) + stamp + attempt)


TAG = np.dtype(
    {
        "names": ["head", "length", "t13", "epc", "t1", "antenna", "t6", "rssi", "t4", "seen"],
        "formats": [">u2", ">u2", "u1", "S12", "u1", ">u2", "u1", "i1", "u1", ">u8"],
    }
)
UTC_US = 1_700_000_000_000_000  # the reader's clock at the start: neither the gateway's nor true


def reports(n_tags: int, n_antennas: int, n_reads: int, tags_a_report: int, seed: int, hz: float = 1e6) -> np.ndarray:
    """RO_ACCESS_REPORTs of EPC-96, antenna, RSSI and last seen, as rows that are the bytes of a message each.

    Every tag once, in random order, then again in another; three of four reads at the tag's own antenna. Stamps rise
    with `hz` reads a second.
    """
    rng = np.random.default_rng(seed)
    n_reports = n_reads // tags_a_report
    n_reads = n_reports * tags_a_report
    tag = np.concatenate([rng.permutation(n_tags) for _ in range(-(-n_reads // n_tags))])[:n_reads]
    own = np.random.default_rng(7).integers(0, n_antennas, n_tags)[tag]  # the same shelves in every burst
    stray = rng.random(n_reads) < 0.25
    table = np.zeros(n_reads, TAG)
    table["head"], table["length"] = 240, TAG.itemsize
    table["t13"], table["t1"], table["t6"], table["t4"] = 0x80 | 13, 0x80 | 1, 0x80 | 6, 0x80 | 4
    table["epc"] = np.array([sgtin96(int(t)) for t in range(n_tags)], "S12")[tag]
    table["antenna"] = (own + stray * rng.choice((1, n_antennas - 1), n_reads)) % n_antennas + 1
    table["rssi"] = np.clip(rng.normal(np.where(stray, -70, -57), 3), -100, -30)
    table["seen"] = UTC_US + np.arange(n_reads) * 1e6 // hz
    wire = np.zeros(n_reports, [("word", ">u2"), ("length", ">u4"), ("id", ">u4"), ("tags", TAG, (tags_a_report,))])
    wire["word"], wire["length"], wire["id"] = 1 << 10 | RO_ACCESS_REPORT, wire.itemsize, 1
    wire["tags"] = table.reshape(n_reports, tags_a_report)
    return wire


def sgtin96(serial: int) -> bytes:
    """SGTIN-96 (GS1 TDS 14.5.1), partition 5: twenty products of one company; the last byte is never 0."""
    bits = (0x30 << 88) | (1 << 85) | (5 << 82) | (4012345 << 58) | ((100 + serial % 20) << 38) | (serial * 2 + 1)
    return bits.to_bytes(12, "big")


async def serve(n_tags: int, n_antennas: int, tags_a_report: int, hz: int, paced: int) -> None:
    """One client; flat out, or (paced = 1) at `hz` reads a second of real time. Stamps rise with `hz` either way."""
    burst_reads = min(max(n_tags, 20_000), 200_000)
    bursts = [reports(n_tags, n_antennas, burst_reads, tags_a_report, seed, hz) for seed in range(8)]
    burst_us = len(bursts[0]) * tags_a_report * 1_000_000 // hz
    done = asyncio.Event()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting())
        sending: asyncio.Task[None] | None = None
        try:
            while True:
                kind, length, message_id = struct.unpack(">HII", await reader.readexactly(10))
                await reader.readexactly(length - 10)
                if kind & 0x3FF in RESPONSES:
                    writer.write(message(RESPONSES[kind & 0x3FF], message_id, STATUS_OK))
                if kind & 0x3FF == START_ROSPEC:
                    sending = asyncio.create_task(report(writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            if sending:
                sending.cancel()
        done.set()

    async def report(writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        started_s, sent, number = loop.time(), 0, 0
        while True:
            burst = bursts[number % len(bursts)].copy()
            burst["tags"]["seen"] += np.uint64(number * burst_us)
            number += 1
            step = max(1, hz // 100 // tags_a_report) if paced else max(1, (1 << 18) // burst.itemsize)
            for at in range(0, len(burst), step):
                piece = burst[at : at + step]
                writer.write(piece.tobytes())
                sent += len(piece) * tags_a_report
                await writer.drain()
                ahead_s = started_s + sent / hz - loop.time()
                if paced and ahead_s > 0.002:
                    await asyncio.sleep(ahead_s)

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await done.wait()


if __name__ == "__main__":
    asyncio.run(serve(*map(int, sys.argv[1:6])))
