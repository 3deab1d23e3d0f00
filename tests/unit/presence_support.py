"""A small store and a plain stream of reads for the presence tests."""

from __future__ import annotations

import numpy as np

from edge.core.gtin import check_digit
from edge.core.instant import US_PER_S, Instant
from edge.core.observation import TagReads
from edge.core.part import Signal
from edge.core.presence import Presence
from edge.core.site import Site, load_site

HOURS = [["08:00", "20:00"]] * 7


def gtin(number: int) -> str:
    body = f"0401234{number:06d}"
    return f"{body}{check_digit(body)}"


def epc(product: int, serial: int) -> bytes:
    """An EPC of 12 bytes that `identity` understands (tests of GS1 decoding live elsewhere)."""
    return b"\x30" + product.to_bytes(4, "big") + serial.to_bytes(7, "big")


def identity(raw: bytes) -> tuple[str, str]:
    if len(raw) != 12 or raw[0] != 0x30:
        return "", ""
    product, serial = int.from_bytes(raw[1:5], "big"), int.from_bytes(raw[5:], "big")
    return gtin(product), f"urn:epc:id:sgtin:0401234.{product:06d}.{serial}"


def store(n_shelves: int = 8, extra: tuple[dict[str, object], ...] = (), products_a_shelf: int = 2) -> Site:
    """Shelves s0 … with one antenna each on reader-1 (at most 4 a reader); `extra` antennas on reader-x."""
    products = [{"gtin": gtin(n), "name": f"product {n}", "tagged": True} for n in range(n_shelves * products_a_shelf)]
    readers = []
    for first in range(0, n_shelves, 4):
        ports = range(first, min(first + 4, n_shelves))
        antennas = [{"port": shelf - first + 1, "shelf": f"s{shelf}"} for shelf in ports]
        readers.append({"device": f"reader-{first // 4 + 1}", "antennas": antennas})
    if extra:
        readers.append({"device": "reader-x", "antennas": list(extra)})
    return load_site(
        {
            "store": {
                "id": "s1",
                "tenant": "t1",
                "name": "Test",
                "sgln": "urn:epc:id:sgln:4012345.00001.0",
                "timezone": "Europe/Berlin",
                "hours": HOURS,
            },
            "zones": [{"id": "floor"}, {"id": "door"}, {"id": "fit"}, {"id": "till"}, {"id": "store-room"}],
            "products": products,
            "shelves": [
                {
                    "id": f"s{shelf}",
                    "zone": "floor",
                    "products": [gtin(shelf * products_a_shelf + n) for n in range(products_a_shelf)],
                }
                for shelf in range(n_shelves)
            ],
            "readers": readers,
        }
    )


class Stage:
    """Puts tags in front of antennas and runs the part second by second; collects its signals."""

    def __init__(self, part: Presence, seed: int = 1, read_rate: float = 0.7, start_us: int = 0) -> None:
        self.part, self.rate = part, read_rate
        self.rng = np.random.default_rng(seed)
        self.at: dict[bytes, tuple[str, int] | None] = {}
        self.offset: dict[bytes, float] = {}
        self.muted: set[str] = set()
        self.now_us = start_us
        self.signals: list[Signal] = []

    @property
    def now(self) -> Instant:
        return Instant(self.now_us, 1_700_000_000_000_000 + self.now_us)

    def put(self, tag: bytes, place: tuple[str, int] | None) -> None:
        """(device, port), or None for out of sight."""
        self.at[tag] = place
        self.offset.setdefault(tag, float(self.rng.normal(0, 2)))

    def run(self, seconds: float) -> list[Signal]:
        """Run on; returns the signals of this stretch."""
        before = len(self.signals)
        for _ in range(round(seconds)):
            self.now_us += US_PER_S
            self._read()
            self.signals += self.part.tick(self.now)
        return self.signals[before:]

    def _read(self) -> None:
        by_device: dict[str, list[tuple[bytes, int, float]]] = {}
        for tag, place in self.at.items():
            if place is None or place[0] in self.muted or self.rng.random() > self.rate:
                continue
            level = -58 + self.offset[tag] + self.rng.normal(0, 1.5)
            by_device.setdefault(place[0], []).append((tag, place[1], level))
        for device, rows in by_device.items():
            self.signals += self.part.observe(reads(device, rows, self.now_us), self.now)


def reads(device: str, rows: list[tuple[bytes, int, float]], now_us: int) -> TagReads:
    n = len(rows)
    return TagReads(
        device,
        now_us,
        np.frombuffer(b"".join(tag for tag, _, _ in rows), np.uint8).reshape(n, -1),
        np.array([port for _, port, _ in rows], np.uint16),
        np.array([round(100 * level) for _, _, level in rows], np.int16),
        np.full(n, now_us, np.int64),
        np.ones(n, np.uint16),
    )
