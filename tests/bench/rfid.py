"""RFID from the wire to presence: a real TCP connection, the real driver, the presence part with the learned profile.

The generator is a process of its own and is not counted. Engine time advances with the reads, at the nominal rate of the
row (300,000 reads/s at 20,000 tags, 210,000 at 200,000), so that each tag is judged as often as it would be at that
rate; flat out, the machine may be faster. Rates are reads a second of CPU time of this process: one core.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
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
    """Feeds the part as the runtime does and counts; begins to measure after `warm` reads."""

    def __init__(self, nominal_hz: int, warm: int, measured: int) -> None:
        self.part = Presence(site(), identity, load_profile("learned"))
        self.nominal_hz, self.warm, self.measured = nominal_hz, warm, measured
        self.reads = 0
        self.signals = 0
        self.started: tuple[float, float, int] | None = None
        self.reads_per_s = self.wall_reads_per_s = 0.0

    def now_us(self) -> int:
        return self.reads * US_PER_S // self.nominal_hz

    def emit(self, observation: Observation) -> None:
        if not isinstance(observation, TagReads):
            return
        self.reads += len(observation)
        now_us = self.now_us()
        now = Instant(now_us, now_us)
        observation.seen_us[:] = now_us  # the generator's stamps are constant; engine time is nominal
        self.part.observe(observation, now)
        deadline_us = self.part.next_deadline_us()
        if deadline_us is not None and deadline_us <= now_us:
            self.signals += len(self.part.tick(now))
        self._measure()

    def _measure(self) -> None:
        clocks = time.process_time(), time.perf_counter()
        if self.started is None:
            if self.reads >= self.warm:
                self.started = (*clocks, self.reads)
            return
        done = self.reads - self.started[2]
        if done >= self.measured:
            self.reads_per_s = done / (clocks[0] - self.started[0])
            self.wall_reads_per_s = done / (clocks[1] - self.started[1])
            raise Full


async def wire_to_presence(n_tags: int, tags_a_report: int, nominal_hz: int, measured: int) -> Meter:
    command = [sys.executable, "-m", "tests.bench._llrp_generator", str(n_tags), str(ANTENNAS), str(tags_a_report)]
    generator = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert generator.stdout is not None
        port = int(generator.stdout.readline())
        meter = Meter(nominal_hz, warm=max(16 * n_tags, measured // 4), measured=measured)
        context = DriverContext("r", meter.now_us, open_stream)
        settings = Settings(moniker=f"tcp:127.0.0.1:{port}", tags_a_report=tags_a_report)
        with contextlib.suppress(Full):
            await LlrpDriver(context, settings).run(meter.emit)
        assert not meter.part.counts.unplanned
        return meter
    finally:
        generator.kill()
        generator.wait()
        generator.stdout.close()


def bodies(n_tags: int, n_reads: int, tags_a_report: int) -> list[bytes]:
    """Report bodies without their headers, as the framer gives them."""
    wire = reports(n_tags, ANTENNAS, n_reads, tags_a_report, 1)
    cut, at = [], 0
    while at < len(wire):
        length = int.from_bytes(wire[at + 2 : at + 6], "big")
        cut.append(wire[at + 10 : at + length])
        at += length
    return cut


def codec_rate(tags_a_report: int = 50) -> float:
    """Tags a CPU second of the codec alone, batches of 1,000 reports."""
    prepared = bodies(20_000, 200_000, tags_a_report)
    decoder = ReportDecoder()
    started_s, tags = time.process_time(), 0
    for _ in range(5):
        for at in range(0, len(prepared), 1000):
            tags += decoder.decode(prepared[at : at + 1000]).n
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
    """Tags a CPU second that sllurp decodes, None where no interpreter has it (`SMARTSTORE_SLLURP_PYTHON` names one)."""
    script = Path(__file__).with_name("_sllurp_decode.py")
    candidates = [os.environ.get("SMARTSTORE_SLLURP_PYTHON"), str(ROOT / ".venv-sllurp" / "bin" / "python")]
    for python in candidates:
        if python and Path(python).exists():
            sample = reports(2_000, ANTENNAS, 20_000, 50, 1)
            return float(subprocess.run([python, script], input=sample, capture_output=True, check=True).stdout)
    return None


def run(argv: list[str]) -> dict[str, object]:
    """The keys of issue 3, and wall-clock rates beside those by CPU time."""
    np.seterr(all="raise", under="ignore")
    small = asyncio.run(wire_to_presence(20_000, 50, 300_000, 1_500_000))
    single = asyncio.run(wire_to_presence(20_000, 1, 100_000, 300_000))
    large = asyncio.run(wire_to_presence(200_000, 50, 210_000, 1_050_000))
    sllurp = sllurp_rate()
    return {
        "reads_per_s": round(small.reads_per_s),
        "reads_per_s_1_tag": round(single.reads_per_s),
        "reads_per_s_200k": round(large.reads_per_s),
        "codec_tags_per_s": round(codec_rate()),
        "sllurp_tags_per_s": sllurp and round(sllurp),
        "mobility_profile_reads_per_s": round(mobility_rate()),
        "wall_reads_per_s": round(small.wall_reads_per_s),
        "wall_reads_per_s_200k": round(large.wall_reads_per_s),
        "batch_ms": 250,
        "signals": {"20k": small.signals, "200k": large.signals},
    }
