"""RFID from the wire to presence: a real TCP connection, the real driver, the presence part with the learned profile.

What is counted: all CPU time of this process (one core) from the socket to judged tags: asyncio, framing, decoding, the
reader's clock, the tag table, the filter. What is not: the generator, a process of its own, and what follows presence
(inventory, journal). The accuracy run uses the same part, profile and calls. Reads are batched for 250 ms at most: up
to 100 ms in the driver, 140 ms in presence.

Flat out, engine time advances with the reads at the nominal rate of the row (300,000 reads/s at 20,000 tags, 210,000 at
200,000), so that each tag is judged as often as it would be at that rate; the machine may be faster. The row `paced`
needs no such argument: the generator sends 300,000 reads/s of real time and engine time is real.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from devices.driver import DriverContext
from devices.rfid_llrp.driver import LlrpDriver
from devices.rfid_llrp.reports import ReportDecoder
from devices.rfid_llrp.settings import Settings
from devices.transport import open_stream
from edge.core.identity import decode_epc
from edge.core.instant import US_PER_S, Instant
from edge.core.observation import Observation, TagReads
from edge.core.presence import Presence, load_profile
from edge.core.presence.mobility import ASSET_TRACKING, MobilityLocator
from edge.core.site import Site, load_site
from tests.bench._llrp_generator import reports

ROOT = Path(__file__).resolve().parents[2]
SLLURP_PYTHON = ROOT / ".venv" / "peers" / "sllurp" / "bin" / "python"  # GPL-3: only ever a process of its own
ANTENNAS = 32  # of one reader, with hubs


class Full(Exception):
    """Enough has been measured."""


def identity(epc: bytes) -> tuple[str, str]:
    decoded = decode_epc(epc)
    return decoded.gtin, decoded.uri


def site() -> Site:
    gtins = sorted({decode_epc(bytes.fromhex(f"{_sgtin(serial):024x}")).gtin for serial in range(20)})
    store = {"id": "s", "tenant": "t", "name": "", "sgln": "urn:epc:id:sgln:4012345.00001.0", "timezone": "UTC"}
    return load_site(
        {
            "store": {**store, "hours": [["00:00", "24:00"]] * 7},
            "zones": [{"id": "floor"}],
            "products": [{"gtin": gtin} for gtin in gtins],
            "shelves": [{"id": f"s{n}", "zone": "floor"} for n in range(ANTENNAS)],
            "readers": [{"device": "r", "antennas": [{"port": n + 1, "shelf": f"s{n}"} for n in range(ANTENNAS)]}],
        }
    )


def _sgtin(serial: int) -> int:
    return (0x30 << 88) | (1 << 85) | (5 << 82) | (4012345 << 58) | ((100 + serial % 20) << 38) | (serial * 2 + 1)


class Meter:
    """Feeds the part as the runtime does and counts; begins to measure after `warm` reads.

    hz: nominal rate at which engine time advances with the reads, None for real time.
    """

    def __init__(self, hz: int | None, warm: int, measured: int) -> None:
        self.part = Presence(site(), identity, load_profile("learned"))
        self.hz, self.warm, self.measured = hz, warm, measured
        self.reads = self.signals = 0
        self.started: tuple[float, float, int] | None = None
        self.reads_per_s = self.wall_reads_per_s = self.cpu_share = 0.0
        self.waits_ms: list[float] = []  # from the oldest stamp of a batch until presence took it
        self._oldest_us: int | None = None
        self._began_s = time.monotonic()

    def now_us(self) -> int:
        if self.hz is None:
            return int((time.monotonic() - self._began_s) * US_PER_S)
        return self.reads * US_PER_S // self.hz

    def emit(self, observation: Observation) -> None:
        if not isinstance(observation, TagReads):
            return
        self.reads += len(observation)
        now_us = self.now_us()
        self._tick_until(now_us)
        if self._oldest_us is None:
            self._oldest_us = int(observation.seen_us.min())
        self.part.observe(observation, Instant(now_us, now_us))
        self._measure()

    async def keep_time(self) -> None:
        """Tick in real time, as the runtime's timer does."""
        while True:
            due_us = self.part.next_deadline_us()
            await asyncio.sleep(0.02 if due_us is None else max(0.0, min(0.02, (due_us - self.now_us()) / US_PER_S)))
            self._tick_until(self.now_us())

    def _tick_until(self, now_us: int) -> None:
        """A timer ticks at the deadline, not when the next reads come."""
        due_us = self.part.next_deadline_us()
        if due_us is None or due_us > now_us:
            return
        at_us = max(due_us, now_us if self.hz is None else 0)
        taken = self.part.counts.reads
        self.signals += len(self.part.tick(Instant(at_us, at_us)))
        if self._oldest_us is not None and self.part.counts.reads != taken:
            self.waits_ms.append((at_us - self._oldest_us) / 1000)
            self._oldest_us = None

    @property
    def tags_in_stock(self) -> int:
        """How many tags presence follows: a rate over tags that it did not take would be none."""
        tags = self.part.status()["tags"]
        assert isinstance(tags, dict)
        return int(str(tags["rows"]))

    def _measure(self) -> None:
        clocks = time.process_time(), time.perf_counter()
        if self.started is None:
            if self.reads >= self.warm:
                self.started = (*clocks, self.reads)
                self.waits_ms.clear()
            return
        done = self.reads - self.started[2]
        if done >= self.measured:
            cpu_s, wall_s = clocks[0] - self.started[0], clocks[1] - self.started[1]
            self.reads_per_s, self.wall_reads_per_s, self.cpu_share = done / cpu_s, done / wall_s, cpu_s / wall_s
            raise Full


async def wire_to_presence(n_tags: int, tags_a_report: int, hz: int, measured: int, *, paced: bool = False) -> Meter:
    arguments = [n_tags, ANTENNAS, tags_a_report, hz, int(paced)]
    command = [sys.executable, "-m", "tests.bench._llrp_generator", *map(str, arguments)]
    generator = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert generator.stdout is not None
        port = int(generator.stdout.readline())
        meter = Meter(None if paced else hz, warm=max(16 * n_tags, measured // 4), measured=measured)
        context = DriverContext("r", meter.now_us, open_stream)
        settings = Settings(moniker=f"tcp:127.0.0.1:{port}", tags_a_report=tags_a_report)
        timer = asyncio.create_task(meter.keep_time()) if paced else None
        with contextlib.suppress(Full):
            await LlrpDriver(context, settings).run(meter.emit)
        if timer is not None:
            timer.cancel()
        counts = meter.part.counts
        assert not counts.unplanned
        assert not counts.stale
        return meter
    finally:
        generator.kill()
        generator.wait()
        generator.stdout.close()


def bodies(n_tags: int, n_reads: int, tags_a_report: int) -> list[bytes]:
    """Report bodies without their headers, as the framer gives them."""
    return [report.tobytes()[10:] for report in reports(n_tags, ANTENNAS, n_reads, tags_a_report, 1)]


def codec_rate(tags_a_report: int = 50) -> float:
    """Tags a CPU second of the codec alone, batches of 300 reports, as the driver makes them."""
    prepared = bodies(20_000, 200_000, tags_a_report)
    decoder = ReportDecoder()
    started_s, tags = time.process_time(), 0
    for _ in range(5):
        for at in range(0, len(prepared), 300):
            tags += decoder.decode(prepared[at : at + 300]).n
    return tags / (time.process_time() - started_s)


def mobility_rate(n_reads: int = 200_000) -> float:
    """Reads a CPU second of the mobility profile alone, already decoded."""
    tags = ReportDecoder().decode(bodies(20_000, n_reads, 50))
    numbers: dict[bytes, int] = {}
    epcs = [numbers.setdefault(epc.tobytes(), len(numbers)) for epc in tags.epcs[0][1]]
    antennas, levels = tags.columns["antenna"].tolist(), tags.columns["peak_rssi_dbm"].tolist()
    locator = MobilityLocator(ASSET_TRACKING)
    started_s = time.process_time()
    for index, (epc, antenna, level) in enumerate(zip(epcs, antennas, levels, strict=True)):
        locator.read(epc, antenna, level, index / 300)
    return n_reads / (time.process_time() - started_s)


def sllurp_rate() -> float | None:
    """Tags a CPU second that sllurp decodes, None where it is not installed (`make peers`)."""
    if not SLLURP_PYTHON.exists():
        return None
    script = Path(__file__).with_name("_sllurp_decode.py")
    sample = reports(20_000, ANTENNAS, 20_000, 50, 1).tobytes()
    return float(subprocess.run([SLLURP_PYTHON, script], input=sample, capture_output=True, check=True).stdout)


def run(argv: list[str]) -> dict[str, object]:
    """Reads a CPU second at what stock, and wall-clock rates beside those by CPU time."""
    np.seterr(all="raise", under="ignore")
    small = asyncio.run(wire_to_presence(20_000, 50, 300_000, 1_500_000))
    paced = asyncio.run(wire_to_presence(20_000, 50, 300_000, 1_200_000, paced=True))
    single = asyncio.run(wire_to_presence(20_000, 1, 100_000, 300_000))
    large = asyncio.run(wire_to_presence(200_000, 50, 210_000, 1_050_000))
    sllurp = sllurp_rate()
    return {
        "reads_per_s": round(small.reads_per_s),
        "reads_per_s_1_tag": round(single.reads_per_s),
        "reads_per_s_200k": round(large.reads_per_s),
        "tags_in_stock": small.tags_in_stock,
        "tags_in_stock_200k": large.tags_in_stock,
        "codec_tags_per_s": round(codec_rate()),
        "sllurp_tags_per_s": sllurp and round(sllurp),
        "mobility_profile_reads_per_s": round(mobility_rate()),
        "wall_reads_per_s": round(small.wall_reads_per_s),
        "wall_reads_per_s_200k": round(large.wall_reads_per_s),
        "paced": {
            "reads_per_s": round(paced.wall_reads_per_s),
            "core_share": round(paced.cpu_share, 3),
            "reads_per_core_s": round(paced.reads_per_s),
            "wait_ms_p50": round(float(np.median(paced.waits_ms))),
            "wait_ms_max": round(max(paced.waits_ms)),
        },
        "signals": {"20k": small.signals, "200k": large.signals},
    }
