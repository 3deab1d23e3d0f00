"""Decoders under noise: only values and Rejected come out, in time, with bounded buffers.

Half of the input is random, half is a valid message with bits flipped, bytes lost or doubled (the vectors of the
tests are the corpus), fed in random pieces.
"""

from __future__ import annotations

import json
import random
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
from tests.fault._campaign import Outcome, Promise, Trial

VECTORS = Path(__file__).parents[1] / "vectors"
LIMIT_S_PER_KIB = 1e-3
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


def corpus() -> list[bytes]:
    """Every hex string of the vectors, as bytes."""
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

    for path in sorted(VECTORS.rglob("*.json")):
        collect(json.loads(path.read_text(encoding="utf-8")))
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
    rng, seeds, failed, figures = random.Random(trial.seed), corpus(), 0, []
    for family, make in FAMILIES.items():
        feed, costs = make(), []
        for number in range(trial.count):
            data = mutated(rng, seeds)
            began_s = time.perf_counter()
            try:
                feed(data)
            except Exception as error:
                failed += 1
                trial.say(f"{family}: input {number} {data.hex()}: {type(error).__name__}: {error}")
                feed = make()
            costs.append((time.perf_counter() - began_s) / max(1.0, len(data) / 1024))
        median_s = sorted(costs)[len(costs) // 2]
        failed += median_s > LIMIT_S_PER_KIB * NOISE_FACTOR
        figures.append(f"{family} {median_s * 1e6:.0f} µs/KiB")
    return Outcome(trial.count * len(FAMILIES), failed, ", ".join(figures))


PROMISES = (
    Promise("fuzz", "decoders under noise: only Rejected, no exception, ≤ 1 ms/KB", (300, 20_000, 500_000), fuzz),
)
