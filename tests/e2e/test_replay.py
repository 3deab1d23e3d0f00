"""``smartstore sim reader`` alone, a tap of its link, and ``smartstore replay`` of it through other settings."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devices.driver import DriverContext
from devices.rfid_llrp.driver import LlrpDriver
from devices.rfid_llrp.settings import Settings
from devices.transport import open_stream
from edge.core.identity import decode_epc
from edge.core.observation import TagReads

SMARTSTORE = Path(sys.executable).with_name("smartstore")
STORE = {"id": "s", "tenant": "t", "name": "", "sgln": "urn:epc:id:sgln:4012345.00001.0", "timezone": "UTC"}


def smartstore(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SMARTSTORE, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


async def record(moniker: str, seconds: float) -> list[TagReads]:
    seen: list[object] = []
    context = DriverContext("reader-1", lambda: time.monotonic_ns() // 1000, open_stream)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await LlrpDriver(context, Settings(moniker)).run(seen.append)
    return [item for item in seen if isinstance(item, TagReads)]


def planogram(gtins: list[str], ports: tuple[int, ...]) -> dict[str, object]:
    return {
        "store": {**STORE, "hours": [["00:00", "24:00"]] * 7},
        "zones": [{"id": "floor"}],
        "products": [{"gtin": gtin, "tagged": True} for gtin in gtins],
        "shelves": [{"id": f"s{port}", "zone": "floor"} for port in ports],
        "readers": [{"device": "reader-1", "antennas": [{"port": port, "shelf": f"s{port}"} for port in ports]}],
    }


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """(folder with reader.tap, now.json and half.json, reads seen live)."""
    folder = tmp_path_factory.mktemp("replay")
    command = [SMARTSTORE, "sim", "reader", "--port", "0", "--tags", "60", "--seed", "3", "--radio", "field"]
    simulator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        ready = json.loads(simulator.stdout.readline())
        assert (ready["tags"], ready["antennas"]) == (60, 4)
        live = asyncio.run(record(f"{ready['moniker']}?tap={folder / 'reader.tap'}", 8))
    finally:
        simulator.terminate()
        simulator.wait(10)
        simulator.stdout.close()
    gtins = sorted({decode_epc(epc.tobytes()).gtin for reads in live for epc in reads.epc})
    assert all(gtins), "the simulator's tags are SGTINs"
    for name, ports in (("now.json", (1, 2, 3, 4)), ("half.json", (1, 2))):
        (folder / name).write_text(json.dumps(planogram(gtins, ports)))
    return folder, sum(map(len, live))


def test_replay_through_another_profile_and_fewer_antennas(recording):
    folder, live_reads = recording
    arguments = ("replay", folder / "reader.tap", "--device", "reader-1", "--planogram", folder / "now.json")
    done = smartstore(*arguments, "--profile", "asset-tracking", "--json")
    assert done.returncode == 0, done.stderr
    compared = json.loads(done.stdout)
    assert live_reads <= compared["reads"] <= live_reads + 300, "and what came while the driver said good-bye"
    assert compared["tags"] >= 50
    assert compared["facts"]["inventory.TagArrived"][0] >= 50
    assert smartstore(*arguments, "--profile", "learned", "--json").stdout.count('"disagreed_s"') == 0
    table = smartstore(*arguments, "--other", folder / "half.json")
    assert table.returncode == 0, table.stderr
    assert "inventory.TagArrived" in table.stdout
    assert "nowhere" in table.stdout, "tags of the antennas that are taken away"


def test_replay_of_a_recording_alone(recording):
    folder, _ = recording
    done = smartstore("replay", folder / "reader.tap", "--profile", "asset-tracking")
    assert done.returncode == 0, done.stderr
    assert "inventory.TagArrived" in done.stdout
    assert "antenna-1" in done.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--profile": "best"}, "expected learned, window, asset-tracking or retail-garment"),
        ({"--device": "reader-9"}, "expected one of the readers reader-1"),
        ({"FILE": "now.json"}, "expected a link recording of version 1, as the moniker option tap= writes it"),
        (
            {"FILE": "none.tap"},
            "none.tap': expected a tap made with the moniker option tap= (No such file or directory)",
        ),
    ],
)
def test_what_is_wrong_is_named(recording, change, words):
    folder, _ = recording
    options = {"--device": "reader-1", "--planogram": folder / "now.json", "--profile": "learned"} | change
    file = folder / options.pop("FILE", "reader.tap")
    done = smartstore("replay", file, *(part for option in options.items() for part in option))
    assert done.returncode != 0
    said = " ".join((done.stderr + done.stdout).replace("│", " ").split())
    assert words in said
    assert "Traceback" not in said
