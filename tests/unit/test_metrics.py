"""Prometheus' text format, read back by an independent parser of its grammar."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path

import pytest

from edge.core.observation import DeviceIdentity, DeviceState, DeviceStatus
from edge.health import Alarm, DeviceHealth
from edge.metrics import HELP, Sample, device_samples, exposition
from tests.unit.api_support import gateway

ROOT = Path(__file__).parents[2]
READ = """import json, sys
from prometheus_client.parser import text_string_to_metric_families
found = {f.name: (f.type, f.documentation, [*{s.name for s in f.samples}])
         for f in text_string_to_metric_families(sys.stdin.read())}
print(json.dumps(found))"""
LINE = re.compile(r'^([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[\d.e+-]+|NaN)$')


def parsed(page: str) -> dict[tuple[str, str], float]:
    """(name, labels) → value. Fails on what the format does not allow: a type twice, a line that is none."""
    kinds: dict[str, str] = {}
    values: dict[tuple[str, str], float] = {}
    assert page.endswith("\n")
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds, line
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = LINE.match(line)
            assert match, line
            assert match[1] in kinds, f"{line}: no type before it"
            assert (match[1], match[2] or "") not in values, f"{line}: twice"
            values[match[1], match[2] or ""] = float(match[3])
    return values


def by_its_makers(page: str) -> None:
    """The page as Prometheus' own client library reads it (`make peers` installs it apart from us)."""
    reader = ROOT / ".venv/peers/readers/bin/python"
    if not reader.exists():
        pytest.skip("prometheus_client is not here (`make peers`)")
    read = subprocess.run([str(reader), "-c", READ], input=page, capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr
    families = json.loads(read.stdout)
    assert len(families) > 25
    for name, (kind, words, samples) in families.items():
        assert kind in ("counter", "gauge"), name
        assert len(words) > 4, name
        assert samples == [f"{name}_total" if kind == "counter" else name], name


def test_each_number_of_the_gateway_itself_is_explained() -> None:
    async def main() -> list[Sample]:
        async with gateway() as bench:
            bench.services.health.count("observations_dropped")
            return list(bench.services.measures())

    for sample in asyncio.run(main()):
        short = sample.name.removeprefix("smartstore_").removesuffix("_total")
        assert (sample.name.endswith("_total")) is (sample.kind == "counter"), sample
        explained = sample.help == HELP.get(short) or sample.labels or sample.name.startswith("process_")
        assert explained, f"{sample.name}: add it to HELP of edge/metrics.py"


def test_what_a_driver_holds_just_now_is_no_counter() -> None:
    device = DeviceHealth("shelf_mcu", DeviceState.ONLINE, counters={"bytes_buffered": 3, "bytes_in": 9})
    kinds = {sample.name: sample.kind for sample in device_samples({"m-1": device}, 0)}
    assert kinds["smartstore_device_bytes_buffered"] == "gauge"
    assert kinds["smartstore_device_bytes_in_total"] == "counter"


def test_labels_are_escaped_and_samples_of_one_name_stand_together() -> None:
    page = exposition(
        [
            Sample("a_total", "counter", "A.", 1, (("device", 'say "hi"\\\n'),)),
            Sample("b", "gauge", "B.", 0.5),
            Sample("a_total", "counter", "A.", 2, (("device", "y"),)),
        ]
    )
    assert parsed(page) == {
        ("a_total", 'device="say \\"hi\\"\\\\\\n"'): 1.0,
        ("a_total", 'device="y"'): 2.0,
        ("b", ""): 0.5,
    }


def test_a_device_shows_exactly_one_state() -> None:
    device = DeviceHealth("rfid_llrp", DeviceState.DEGRADED, last_seen_us=5_000_000, counters={"tags in": 7})
    values = parsed(exposition(device_samples({"r-1": device}, 7_000_000)))
    states = {labels: v for (name, labels), v in values.items() if name == "smartstore_device_state"}
    assert sum(states.values()) == 1
    assert states['device="r-1",kind="rfid_llrp",state="degraded"'] == 1
    assert values["smartstore_device_silent_seconds", 'device="r-1",kind="rfid_llrp"'] == 2
    assert values["smartstore_device_tags_in_total", 'device="r-1",kind="rfid_llrp"'] == 7


def test_the_page_needs_a_viewer_and_shows_the_gateway() -> None:
    async def main() -> None:
        async with gateway() as bench:
            bench.services.runtime.emit(DeviceIdentity("mcu-1", 1, "SH-1", "SHELF-8", "1.0.0"))
            bench.services.runtime.emit(DeviceStatus("mcu-1", 1, DeviceState.ONLINE, "", ""))
            bench.services.runtime.step()
            await bench.services.runtime.journal.flush()
            async with bench.client(None) as nobody:
                assert (await nobody.get("/metrics")).status_code == 401
            async with bench.client("viewer") as viewer:
                answer = await viewer.get("/metrics")
                assert (await viewer.get("/v1/logs")).status_code == 403
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            values = parsed(answer.text)
            assert values["smartstore_journal_last_seq", ""] == bench.services.runtime.journal.last_seq > 0
            assert values["smartstore_uplink_connected", ""] == 1
            assert values["smartstore_uplink_connects_total", ""] == 3
            assert {values["smartstore_alarm", f'alarm="{name}"'] for name in Alarm} == {0}
            by_its_makers(answer.text)
            assert values["process_resident_memory_bytes", ""] > 10e6
            async with bench.client("technician") as technician:
                rows = (await technician.get("/v1/logs")).json()
            assert "device.Online" in [row["event"] for row in rows]

    asyncio.run(main())
