"""The reference store of the store benchmark, as a process of its own: every device of it, at its honest pace.

16 LLRP readers on TCP at 400 reads/s, 25 shelf controllers of 8 cells at 10 samples/s, 5 beacon scanners at 100
adverts/s and 2 door arrays of 24x32 at 16 frames/s on ptys. 20,000 tags on 64 shelves; 200 lanes weigh 200 of the 512
products; now and then an item is taken: its lane loses its mass and its tag falls silent. Writes site.json and
devices.json into the folder of its first argument, prints one JSON line, and tells at the end how much it sent.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import struct
import sys
import time
import tty
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from firmware_sim import adverts, sdp
from firmware_sim.door_array import door_identity
from firmware_sim.thermal import MLX90640, Passer, Scene
from tests.bench._llrp_generator import RESPONSES, RO_ACCESS_REPORT, START_ROSPEC, STATUS_OK, greeting, message

KEEPALIVE = 62  # LLRP 1.1, 17.1.43
READERS, ANTENNAS, READS_HZ, TAGS_A_REPORT = 16, 4, 400, 50
TAGS, PRODUCTS = 20_000, 512
MCUS, CELLS, SAMPLES_HZ = 25, 8, 10
SCANNERS, BEACONS, ADVERTS_HZ = 5, 40, 100
DOORS, FRAMES_HZ, WALK_EVERY_S = 2, 16, 8.0
UNIT_G, UNIT_SD_G, PER_G, ZERO = 250.0, 1.5, 400.0, 10_000.0
TAKE_EVERY_S = 20.0  # 180 items an hour leave the weighed shelves
STRAY = 0.25
PREFIX = 4012345
UUID_CHAIN = UUID("6f1c6a54-2b1e-4c55-9d0a-0c9b7f2f5a10")
ROW = np.dtype(
    {
        "names": ["head", "length", "t13", "epc", "t1", "antenna", "t6", "rssi", "t4", "seen"],
        "formats": [">u2", ">u2", "u1", "S12", "u1", ">u2", "u1", "i1", "u1", ">u8"],
    }
)


def gtin(product: int) -> str:
    """GTIN-14 of an SGTIN with partition 5 and item reference 100 + product (GS1 General Specifications 7.9)."""
    digits = f"0{PREFIX}{100 + product:05d}"
    total = sum(int(d) * (3 if i % 2 == 0 else 1) for i, d in enumerate(digits))
    return digits + str(-total % 10)


def epc(product: int, serial: int) -> bytes:
    """SGTIN-96 (TDS 14.6.1), filter 1, partition 5. The last byte is odd, so numpy's S12 keeps it."""
    bits = (0x30 << 88) | (1 << 85) | (5 << 82) | (PREFIX << 58) | ((100 + product) << 38) | (2 * serial + 1)
    return bits.to_bytes(12, "big")


def place(product: int) -> tuple[int, int]:
    """(reader, port) whose antenna looks at a product's shelf: eight products a shelf."""
    shelf = product * READERS * ANTENNAS // PRODUCTS
    return shelf // ANTENNAS, shelf % ANTENNAS + 1


def site() -> dict[str, Any]:
    """The planogram. Products 8p … 8p+7 stand on shelf p; the first 25 shelves weigh each of theirs on a lane."""
    shelves = READERS * ANTENNAS
    each = PRODUCTS // shelves
    beacon = {"format": "ibeacon", "uuid": str(UUID_CHAIN), "major": 1}
    return {
        "store": {
            "id": "reference",
            "tenant": "bench",
            "name": "Reference store",
            "sgln": f"urn:epc:id:sgln:{PREFIX}.00001.0",
            "timezone": "Asia/Tokyo",
            "hours": [["00:00", "24:00"]] * 7,
        },
        "zones": [{"id": f"z{z}", "name": f"Zone {z}"} for z in range(SCANNERS)],
        "products": [
            {"gtin": gtin(p), "name": f"Product {p}", "unit_mass_g": UNIT_G, "mass_sd_g": UNIT_SD_G, "tagged": True}
            for p in range(PRODUCTS)
        ],
        "shelves": [
            {
                "id": f"s{n}",
                "zone": f"z{n * SCANNERS // shelves}",
                "products": [gtin(p) for p in range(n * each, (n + 1) * each)],
            }
            for n in range(shelves)
        ],
        "lanes": [
            {"id": f"l{m}-{c}", "shelf": f"s{m}", "cells": [{"device": f"mcu-{m}", "cell": c}], "gtins": [gtin(m * each + c)]}
            for m in range(MCUS)
            for c in range(CELLS)
        ],
        "readers": [
            {
                "device": f"reader-{r}",
                "antennas": [
                    {"port": a + 1, "role": "shelf", "shelf": f"s{r * ANTENNAS + a}"} for a in range(ANTENNAS)
                ],
            }
            for r in range(READERS)
        ],
        "scanners": [{"device": f"ble-{s}", "zone": f"z{s}"} for s in range(SCANNERS)],
        "beacons": [
            {"id": f"b{n}", "kind": "asset", "minor": n + 1, **beacon} for n in range(BEACONS)
        ],
        "doors": [{"device": f"door-{d}", "inward": "+x"} for d in range(DOORS)],
    }  # fmt: skip


class Tags:
    """Which tags answer, by reader and antenna. One taken from a lane falls silent."""

    def __init__(self) -> None:
        each = TAGS // PRODUCTS
        extra = TAGS - each * PRODUCTS
        self.units = [
            [epc(p, 1000 * p + n) for n in range(each + (p < extra))] for p in range(PRODUCTS)
        ]  # fmt: skip
        self._rng = np.random.default_rng(3)
        self._order: dict[int, np.ndarray[Any, Any]] = {}
        self._ports: dict[int, np.ndarray[Any, Any]] = {}
        self._at = dict.fromkeys(range(READERS), 0)
        for reader in range(READERS):
            self._gather(reader)

    def _gather(self, reader: int) -> None:
        mine = [(tag, place(p)[1]) for p in range(PRODUCTS) if place(p)[0] == reader for tag in self.units[p]]
        self._rng.shuffle(mine)  # an inventory round meets them in no order
        self._order[reader] = np.array([tag for tag, _ in mine], "S12")
        self._ports[reader] = np.array([port for _, port in mine])

    def take(self, product: int) -> None:
        """One unit leaves the store."""
        self.units[product].pop()
        self._gather(place(product)[0])

    def report(self, reader: int) -> bytes:
        """The next RO_ACCESS_REPORT of a reader: EPC-96, antenna, RSSI, last seen (LLRP 1.1, 17.2.7)."""
        pool = self._order[reader]
        index = (self._at[reader] + np.arange(TAGS_A_REPORT)) % len(pool)
        self._at[reader] = int(index[-1]) + 1
        stray = self._rng.random(TAGS_A_REPORT) < STRAY
        rows = np.zeros(TAGS_A_REPORT, ROW)
        rows["head"], rows["length"] = 240, ROW.itemsize
        rows["t13"], rows["t1"], rows["t6"], rows["t4"] = 0x80 | 13, 0x80 | 1, 0x80 | 6, 0x80 | 4
        rows["epc"] = pool[index]
        beside = self._rng.choice((1, ANTENNAS - 1), TAGS_A_REPORT)
        rows["antenna"] = (self._ports[reader][index] - 1 + stray * beside) % ANTENNAS + 1
        rows["rssi"] = np.clip(self._rng.normal(np.where(stray, -68, -57), 3), -100, -30)
        rows["seen"] = time.time_ns() // 1000 - np.arange(TAGS_A_REPORT)[::-1] * (1_000_000 // READS_HZ)
        return message(RO_ACCESS_REPORT, 1, rows.tobytes())


class Port:
    """The device's end of a pty that speaks SDP/1: answers GET_HELLO, acknowledges the rest, and sends."""

    def __init__(self, identity: sdp.Identity) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self._slave = slave  # held open, or the master reads EIO until the gateway comes
        self.path = os.ttyname(slave)
        os.set_blocking(self.master, False)
        self._identity, self._receiver = identity, sdp.Receiver()
        self._seq, self._began_s, self.dropped = itertools.count(), time.monotonic(), 0
        self.send(sdp.BOOT, identity.packed() + bytes((sdp.BY_POWER,)))
        asyncio.get_running_loop().add_reader(self.master, self._heard)

    def _heard(self) -> None:
        for payload in self._receiver.feed(os.read(self.master, 4096)):
            if payload.kind == sdp.GET_HELLO:
                self.send(sdp.HELLO, self._identity.packed())
            else:
                self.send(sdp.ACK, sdp.ack_body(payload.kind, payload.seq, sdp.DONE))

    def send(self, kind: int, body: bytes) -> None:
        """One frame, dropped (and counted) when nobody reads."""
        uptime_ms = int(1000 * (time.monotonic() - self._began_s))
        try:
            os.write(self.master, sdp.encode(kind, next(self._seq), uptime_ms, body))
        except BlockingIOError:
            self.dropped += 1


class Store:
    """All devices and how much they said."""

    def __init__(self) -> None:
        self.tags = Tags()
        self.loads_g = np.array(
            [[UNIT_G * len(self.tags.units[m * CELLS + c]) for c in range(CELLS)] for m in range(MCUS)]
        )
        self.sent = {"reads": 0, "samples": 0, "adverts": 0, "frames": 0, "taken": 0, "dropped": 0}
        self._rng = np.random.default_rng(5)

    async def reader(self, number: int) -> int:
        """Serve one LLRP reader; its TCP port."""

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(greeting())
            reporting: asyncio.Task[None] | None = None
            try:
                while True:
                    kind, length, message_id = struct.unpack(">HII", await reader.readexactly(10))
                    await reader.readexactly(length - 10)
                    if kind & 0x3FF in RESPONSES:
                        writer.write(message(RESPONSES[kind & 0x3FF], message_id, STATUS_OK))
                    if kind & 0x3FF == START_ROSPEC:
                        reporting = asyncio.create_task(self._report(number, writer))
            except (asyncio.IncompleteReadError, ConnectionError):
                if reporting:
                    reporting.cancel()

        server = await asyncio.start_server(client, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _report(self, number: int, writer: asyncio.StreamWriter) -> None:
        keepalive_s = time.monotonic()
        async for _ in paced(READS_HZ / TAGS_A_REPORT, number / READERS):
            writer.write(self.tags.report(number))
            self.sent["reads"] += TAGS_A_REPORT
            if time.monotonic() - keepalive_s > 5:
                keepalive_s = time.monotonic()
                writer.write(message(KEEPALIVE, 0, b""))
            await writer.drain()

    async def shelf(self, number: int, port: Port) -> None:
        """One controller: noise, and what was taken."""
        shown = self.loads_g[number].copy()
        async for _ in paced(SAMPLES_HZ, number / MCUS):
            shown += (self.loads_g[number] - shown) * 0.6  # the lane's settling
            counts = np.rint(ZERO + PER_G * (shown + self._rng.normal(0, 0.3, CELLS))).astype(int).tolist()
            port.send(sdp.DATA, sdp.data_body(counts, 2150))
            self.sent["samples"] += CELLS

    async def scanner(self, number: int, port: Port) -> None:
        """One scanner: every beacon, the near ones louder."""
        ads = [adverts.ibeacon(UUID_CHAIN, 1, n + 1) for n in range(BEACONS)]
        rng = random.Random(number)
        turn = itertools.cycle(range(BEACONS))
        async for _ in paced(ADVERTS_HZ, number / SCANNERS):
            n = next(turn)
            near = n * SCANNERS // BEACONS == number
            rssi = int(max(-100, min(-35, rng.gauss(-60 if near else -82, 4))))
            port.send(sdp.ADVERT, sdp.advert_body(rssi, 1, bytes((0xC4, 0x69, 0x95, 0x10, 1, n)), ads[n]))
            self.sent["adverts"] += 1

    async def door(self, number: int, port: Port) -> None:
        """One door array: somebody walks in every few seconds. The pictures are drawn beforehand."""
        scene = Scene(MLX90640, number)
        pictures = []
        for n in range(int(WALK_EVERY_S * FRAMES_HZ)):
            t_s = n / FRAMES_HZ
            people = [Passer(-2.0 + 1.1 * t_s, 0.1, 0.0)] if t_s < 4 else []
            pictures.append(
                sdp.frame_body(24, 32, sdp.UNIT_CENTI_C, scene.frame(people).astype(np.dtype("<i2")).tobytes())
            )
        turn = itertools.cycle(pictures)
        async for _ in paced(FRAMES_HZ, number / DOORS):
            port.send(sdp.FRAME, next(turn))
            self.sent["frames"] += 1

    async def shoppers(self) -> None:
        """Take an item from a lane every now and then."""
        for m, c in itertools.cycle(itertools.product(range(MCUS), range(CELLS))):
            await asyncio.sleep(TAKE_EVERY_S)
            self.loads_g[m][c] -= UNIT_G
            self.tags.take(m * CELLS + c)
            self.sent["taken"] += 1


async def paced(rate_hz: float, phase: float) -> Any:
    """Wake at a rate, not faster after a delay than the device's own queue would be."""
    loop = asyncio.get_running_loop()
    due_s = loop.time() + phase / rate_hz
    while True:
        await asyncio.sleep(max(0.0, due_s - loop.time()))
        yield None
        due_s = max(due_s + 1 / rate_hz, loop.time() - 1.0)


async def main(folder: Path) -> None:
    """Build the store, tell where it is, live until SIGTERM, tell what was sent."""
    store, ports, running = Store(), [], []
    devices: list[dict[str, Any]] = []
    for r in range(READERS):
        moniker = f"tcp:127.0.0.1:{await store.reader(r)}"
        devices.append({"id": f"reader-{r}", "kind": "rfid_llrp", "moniker": moniker})
    calibration = [{"cell": c, "offset_counts": ZERO, "counts_per_g": PER_G} for c in range(CELLS)]
    plan: list[tuple[str, str, int, sdp.Identity, Any]] = [
        ("mcu", "shelf_mcu", MCUS, sdp.Identity("SH", "SHELF-8", cells=CELLS, rate_tenths_hz=10 * SAMPLES_HZ), store.shelf),
        ("ble", "ble_scanner", SCANNERS, sdp.Identity("BL", "SCAN-1"), store.scanner),
        ("door", "door_array", DOORS, door_identity("DR", MLX90640), store.door),
    ]  # fmt: skip
    for name, kind, count, identity, play in plan:
        for n in range(count):
            port = Port(identity)
            ports.append(port)
            entry = {"id": f"{name}-{n}", "kind": kind, "moniker": f"serial:{port.path}"}
            devices.append(entry | ({"calibration": calibration} if kind == "shelf_mcu" else {}))
            running.append(asyncio.create_task(play(n, port)))
    running.append(asyncio.create_task(store.shoppers()))
    (folder / "site.json").write_text(json.dumps(site()), encoding="utf-8")
    (folder / "devices.json").write_text(json.dumps(devices), encoding="utf-8")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGUSR1, lambda: print(json.dumps(store.sent | {"dropped": sum(p.dropped for p in ports)}), flush=True)
    )
    print(json.dumps({"ready": True}), flush=True)
    await stop.wait()
    for task in running:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
