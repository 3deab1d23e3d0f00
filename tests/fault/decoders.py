"""Decoders under noise: only values and Rejected come out, in time, with bounded buffers.

Half of the input is random, half is a valid message with bits flipped, bytes lost or doubled (the vectors of the
tests are the corpus), fed in random pieces.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cloud_bridge.contract.signed import parse_object
from cloud_bridge.ingest.reading import read_events
from devices.beacon_ble.adverts import parse_advert
from devices.rfid_llrp.framing import Framer
from devices.rfid_llrp.framing import Message as LlrpMessage
from devices.rfid_llrp.parameters import decode as llrp_decode
from devices.rfid_llrp.reports import ReportDecoder
from devices.rfid_r200.codec import Decoder as R200Decoder
from devices.rfid_r200.codec import Frame as R200Frame
from devices.rfid_r200.codec import read_notice
from devices.sdp.codec import Decoder as SdpDecoder
from devices.sdp.messages import read_body
from edge.core.identity import decode_epc
from tests.fault._campaign import NotHere, Outcome, Promise, Trial

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"
KEPT_FILES = 40
KEPT = Path(__file__).parent / "corpus"
OWN_VECTORS = {"rfid_llrp": "llrp", "rfid_r200": "r200", "sdp": "sdp", "adverts": "ble", "epc": "epc"}
LIMIT_S_PER_KIB = 1e-3
FRESH_SHARE = 0.2  # a lying length swallows what follows: each fifth input meets a new decoder
LONG_BYTES = 128
NOISE_FACTOR = 5  # this machine may do other things; the median is judged, not the worst


def llrp() -> Callable[[bytes], None]:
    framer, reports = Framer(), ReportDecoder()

    def feed(data: bytes) -> None:
        for item in framer.feed(data):
            if isinstance(item, LlrpMessage):
                llrp_decode(item)
                reports.decode([item.body])

    return feed


def r200() -> Callable[[bytes], None]:
    decoder = R200Decoder()

    def feed(data: bytes) -> None:
        for item in decoder.feed(data):
            if isinstance(item, R200Frame):
                read_notice(item)
        assert decoder.buffered_bytes <= 1 << 16

    return feed


def sdp() -> Callable[[bytes], None]:
    decoder = SdpDecoder()

    def feed(data: bytes) -> None:
        decoder.feed(data)
        if data:
            read_body(data[0], data[1:])

    return feed


def pure(function: Callable[[bytes], object]) -> Callable[[], Callable[[bytes], None]]:
    """A decoder without memory."""
    return lambda: lambda data: function(data) and None


FAMILIES: dict[str, Callable[[], Callable[[bytes], None]]] = {
    "rfid_llrp": llrp,
    "rfid_r200": r200,
    "sdp": sdp,
    "adverts": pure(lambda data: parse_advert(data[:255], "aa:bb:cc:dd:ee:ff")),
    "epc": pure(lambda data: decode_epc(data[:62])),
    "bridge signed": pure(parse_object),
    "ingest": pure(read_events),
}


def corpus(family: str) -> list[bytes]:
    """Every hex string of the family's vectors, as bytes, and what fuzzing has kept; of all where it has none."""
    found: list[bytes] = []

    def collect(value: object) -> None:
        if isinstance(value, dict):
            for item in value.values():
                collect(item)
        elif isinstance(value, list):
            for item in value:
                collect(item)
        elif isinstance(value, str) and len(value) >= 8:
            try:
                found.append(bytes.fromhex(value))
            except ValueError:
                found.append(value.encode())

    folder = VECTORS / OWN_VECTORS.get(family, "")
    for path in sorted(folder.rglob("*.json")):
        collect(json.loads(path.read_text(encoding="utf-8")))
    found += [path.read_bytes() for path in sorted((KEPT / family.replace(" ", "-")).glob("*"))]
    return found


def mutated(rng: random.Random, seeds: list[bytes]) -> bytes:
    if rng.random() < 0.3 or not seeds:
        return rng.randbytes(rng.randrange(1, 400))
    data = bytearray(b"".join(rng.choice(seeds) for _ in range(rng.randrange(1, 4))))
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(4) if data else 3:
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + rng.randrange(1, 8)]
            case 2:
                data[at:at] = data[at : at + rng.randrange(1, 16)]
            case _:
                data += rng.randbytes(4)
    return bytes(data)


def fuzz(trial: Trial) -> Outcome:
    """Every family gets `count` inputs."""
    rng, failed, figures = random.Random(trial.seed), 0, []
    for family, make in FAMILIES.items():
        feed, costs, seeds = make(), [], corpus(family)
        for number in range(trial.count):
            data = mutated(rng, seeds)
            if rng.random() < FRESH_SHARE:
                feed = make()
            began_s = time.perf_counter()
            try:
                feed(data)
            except Exception as error:
                failed += 1
                trial.say(f"{family}: input {number} {data.hex()}: {type(error).__name__}: {error}")
                feed = make()
            took_s = time.perf_counter() - began_s
            if len(data) >= LONG_BYTES:  # a call's own cost would drown that of a few bytes
                costs.append(took_s / (len(data) / 1024))
        median_s = sorted(costs)[len(costs) // 2]
        failed += median_s > LIMIT_S_PER_KIB * NOISE_FACTOR
        figures.append(f"{family} {median_s * 1e6:.0f} µs/KiB")
    return Outcome(trial.count * len(FAMILIES), failed, ", ".join(figures))


GUIDED = """
import atheris, sys
with atheris.instrument_imports(include=["devices", "cloud_bridge", "edge.core"]):
    from tests.fault import decoders
make = decoders.FAMILIES[sys.argv[1]]
def one(data):
    make()(data)
atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
atheris.Fuzz()
"""


def guided(trial: Trial) -> Outcome:
    """atheris (libFuzzer): `count` seconds a family, led by coverage; what reached new code stays in the corpus."""
    import importlib.util

    if importlib.util.find_spec("atheris") is None:
        raise NotHere("atheris is not installed (`pip install atheris`; it has no wheel for every machine)")
    failed, runs, figures = 0, 0, []
    script = trial.folder / "guided.py"
    script.write_text(GUIDED, encoding="utf-8")
    for family in FAMILIES:
        found, seeds = trial.folder / f"new-{family}", trial.folder / f"seeds-{family}"
        found.mkdir()
        seeds.mkdir()
        for number, data in enumerate(corpus(family)):
            (seeds / str(number)).write_bytes(data)
        options = [f"-max_total_time={trial.count}", f"-seed={trial.seed}", "-max_len=4096", "-timeout=5"]
        command = [
            sys.executable,
            str(script),
            family,
            *options,
            f"-artifact_prefix={trial.folder}/",
            str(found),
            str(seeds),
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        told = re.findall(r"#(\d+)\s", done.stderr)
        runs += int(told[-1]) if told else 0
        if done.returncode != 0:
            failed += 1
            trial.say(f"{family}: {done.stderr[-800:]}")
        kept = KEPT / family.replace(" ", "-")
        kept.mkdir(parents=True, exist_ok=True)
        for path in sorted(found.iterdir(), key=lambda path: path.stat().st_size)[:KEPT_FILES]:
            (kept / path.name[:16]).write_bytes(path.read_bytes())
        figures.append(f"{family} {len(list(found.iterdir()))} new")
    return Outcome(runs, failed, f"{trial.count} s a family; {', '.join(figures)}")


PROMISES = (
    Promise("fuzz", "decoders under noise: only Rejected, no exception, ≤ 1 ms/KB", (300, 20_000, 500_000), fuzz),
    Promise("guided", "decoders under coverage-guided noise (atheris; seconds)", (0, 10, 600), guided),
)
