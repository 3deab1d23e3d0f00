"""How RFID is, for people and for monitoring: antennas against their own history, unknown tags, reads left out."""

from __future__ import annotations

import asyncio

import numpy as np

from edge.core.instant import US_PER_S, Instant
from edge.core.observation import AntennaStatus, DeviceState, DeviceStatus, TagReads
from edge.core.presence import Presence
from edge.metrics import exposition, rfid_samples
from tests.unit.api_support import SITE, TEA, gateway
from tests.unit.presence_support import epc, identity, reads, store
from tests.unit.test_metrics import parsed

READERS = [{"device": "reader-1", "antennas": [{"port": 1, "shelf": "shelf-1"}, {"port": 2, "shelf": "shelf-2"}]}]


def at(second: int) -> Instant:
    return Instant(second * US_PER_S, second * US_PER_S)


def sgtin96(serial: int) -> bytes:
    """An SGTIN-96 (GS1 TDS 14.5.1) of the tea."""
    company, item = 4569951, int(TEA[0] + TEA[8:13])
    return ((0x30 << 88) | (1 << 85) | (5 << 82) | (company << 58) | (item << 38) | serial).to_bytes(12, "big")


def batch(tags: list[bytes], port: int, at_us: int) -> TagReads:
    n = len(tags)
    table = np.frombuffer(b"".join(tags), np.uint8).reshape(n, -1)
    ports, levels = np.full(n, port, np.uint16), np.full(n, -5500, np.int16)
    return TagReads("reader-1", at_us, table, ports, levels, np.full(n, at_us), np.ones(n, np.uint16))


def test_an_antenna_that_reads_far_less_than_it_used_to_is_told_from_one_that_is_silent_or_disconnected():
    part = Presence(store(4), identity)
    for second in range(1, 181):
        rows = [(epc(0, n), port, -55.0) for port in (1, 2, 3) for n in range(20 * port, 20 * port + 20)]
        if second > 150:  # one tag in ten is left to antenna 1, none to antenna 2
            rows = [row for row in rows if row[1] == 3 or (row[1] == 1 and row[0][-1] % 10 == 0)]
        part.observe(reads("reader-1", rows, second * US_PER_S), at(second))
        part.tick(at(second))
    part.antenna_status(AntennaStatus("reader-1", 180 * US_PER_S, 3, False), at(180))
    rows = {row["port"]: row for row in part.antenna_rows()}
    assert {port: row["state"] for port, row in rows.items()} == {
        1: "quiet",
        2: "silent",
        3: "disconnected",
        4: "unheard",
    }
    assert rows[1]["reads_per_s"] < 0.25 * rows[1]["usual_reads_per_s"]
    part.reader_status("reader-1", False, at(181))
    assert {row["state"] for row in part.antenna_rows()} == {"reader down"}
    values = parsed(exposition(rfid_samples(part.status())))
    assert values["smartstore_antenna_ok", 'device="reader-1",port="1",place="s0"'] == 0
    assert values["smartstore_antenna_usual_reads_per_second", 'device="reader-1",port="4",place="s3"'] == 0
    assert values["smartstore_rfid_reads_total", ""] == part.counts.reads > 0


def test_api_page_and_metrics_show_antennas_and_unknown_tags():
    async def main() -> None:
        async with gateway(site=SITE | {"readers": READERS}) as bench:
            runtime, clock = bench.services.runtime, bench.clock
            runtime.engine.handle(DeviceStatus("reader-1", clock.now_us, DeviceState.ONLINE), runtime.clock.now())
            for second in range(1, 8):  # antennas are looked at in every third judgement
                clock.now_us += US_PER_S
                tags = [sgtin96(n) for n in range(5)] + [b"\xee" * 11 + bytes((second,))]
                runtime.engine.handle(batch(tags, 1, clock.now_us), runtime.clock.now())
                runtime.engine.tick(runtime.clock.now())
            async with bench.client("viewer") as client:
                told = (await client.get("/v1/rfid")).json()
                metrics = parsed((await client.get("/metrics")).text)
            async with bench.client("technician") as client:
                link = {"kind": "rfid_llrp", "settings": {"moniker": "tcp:127.0.0.1:1"}}
                assert (await client.put("/v1/devices/reader-1", json=link)).status_code == 200
                page = (await client.get("/devices/reader-1", headers={"Accept": "text/html"})).text
        assert [(row["port"], row["place"], row["state"]) for row in told["antennas"]] == [
            (1, "shelf-1", "ok"),
            (2, "shelf-2", "unheard"),
        ]
        assert told["antennas"][0]["reads_per_s"] > 0
        assert told["tags"]["present"] == 5
        assert told["strangers"]["total"] == 7
        assert told["strangers"]["last"][-1] == {"epc": f"urn:epc:raw:96.x{'EE' * 11}07", "place": "shelf-1"}
        assert metrics["smartstore_rfid_unknown_tags_total", ""] == 7
        assert metrics["smartstore_antenna_ok", 'device="reader-1",port="2",place="shelf-2"'] == 0
        assert "Antennas" in page
        assert "Never heard" in page

    asyncio.run(main())
