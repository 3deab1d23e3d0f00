"""The bridge over real brokers: NATS and mosquitto, MQTT 5 and 3.1.1, kills, stalls, wrong answers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import threading
from pathlib import Path

import jsonschema_rs
import pytest

from cloud_bridge.contract.schema import event_schema, schema_for
from cloud_bridge.ingest.broker import BrokerError, nats_broker
from cloud_bridge.paho_client import PahoLinks
from cloud_bridge.settings import UplinkSettings
from tests.contract.asyncapi_parser import judge
from tests.e2e.bridge_wires import SilentServer, keys_of, make_broker, until, wired_platform, wired_store

BROKERS = ("mosquitto", "nats")


def settings(host: str, keys: dict[str, str], **changes: object) -> UplinkSettings:
    return UplinkSettings(hosts=(host,), client_id="store-s1", platform_keys=keys, **changes)


@pytest.mark.parametrize("kind", BROKERS)
def test_facts_reach_the_platform_and_are_acknowledged(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            make_broker(kind, tmp_path) as broker,
            wired_platform(tmp_path, (broker.address,)) as platform,
            wired_store(tmp_path, settings(broker.address, keys_of(platform))) as store,
        ):
            await store.add(1)
            await until(lambda: store.journal.acked_seq == 1)
            store.add(3_000)
            await until(lambda: store.journal.acked_seq == 3_001)
            assert platform.counters.events == 3_001
            assert platform.consumer is not None
            assert platform.consumer.missing() == 0
            rows = await platform.store.query("stock", tenant="t1", store="s1", gtin="")
            assert len(rows) == 400
            names = {thread.name for thread in threading.enumerate()}
            assert "mqtt" in names
            ports = store.uplink._ports.link_factory
            assert isinstance(ports, PahoLinks)
            assert [int(version) for version in ports.spoken.values()] == [5 if kind == "mosquitto" else 4]
        await until(lambda: not any(thread.name == "mqtt" for thread in threading.enumerate()), 5)

    asyncio.run(main())


@pytest.mark.parametrize("kind", BROKERS)
def test_a_killed_broker_loses_nothing(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        broker = make_broker(kind, tmp_path)
        await broker.start()
        try:
            async with (
                wired_platform(tmp_path, (broker.address,)) as platform,
                wired_store(tmp_path, settings(broker.address, keys_of(platform))) as store,
            ):
                for _ in range(3):
                    store.add(2_000)
                    await asyncio.sleep(0.05)
                    broker.kill()
                    await store.add(10)
                    broker = make_broker(kind, tmp_path, broker.port)
                    await broker.start()
                await until(lambda: store.journal.acked_seq == store.journal.last_seq == 6_030, 60)
                assert platform.counters.events == 6_030
        finally:
            await broker.stop()

    asyncio.run(main())


def test_a_stopped_broker_that_comes_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            make_broker("mosquitto", tmp_path) as broker,
            wired_platform(tmp_path, (broker.address,)) as platform,
            wired_store(tmp_path, settings(broker.address, keys_of(platform), puback_timeout_s=2.0)) as store,
        ):
            await store.add(5)
            await until(lambda: store.journal.acked_seq == 5)
            os.kill(broker.pid, signal.SIGSTOP)
            store.add(1_000)
            await until(lambda: not store.uplink.status.connected, 10)
            os.kill(broker.pid, signal.SIGCONT)
            await until(lambda: store.journal.acked_seq == 1_005)

    asyncio.run(main())


def test_the_right_cause_is_told(tmp_path: Path) -> None:
    async def cause(host: str) -> str:
        async with wired_store(tmp_path, settings(host, {}, connack_timeout_s=0.5)) as store:
            await until(lambda: bool(store.uplink.status.cause), 10)
            return store.uplink.status.cause

    async def main() -> None:
        silent = SilentServer()
        assert "no CONNACK within 0.5 s" in await cause(f"mqtt://127.0.0.1:{silent.port}")
        silent.close()
        refused = await cause(f"mqtt://127.0.0.1:{silent.port}")
        assert refused == f"127.0.0.1:{silent.port}: connection refused: nothing listens there"
        assert "nohost.invalid:1883: name not known" in await cause("mqtt://nohost.invalid:1883")

        async def http(reader, writer) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(http, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        assert f"127.0.0.1:{port}" in await cause(f"mqtt://127.0.0.1:{port}")
        server.close()

    asyncio.run(main())


@pytest.mark.skipif(not shutil.which("mosquitto_sub"), reason="mosquitto_sub is not installed")
def test_an_independent_client_reads_valid_facts(tmp_path: Path) -> None:
    async def main() -> None:
        async with make_broker("mosquitto", tmp_path) as broker:
            command = [
                "mosquitto_sub",
                "-p",
                str(broker.port),
                "-t",
                "smartstore/v1/#",
                "-v",
                "-q",
                "1",
                "-c",
                "-i",
                "r",
            ]
            subscribed = await asyncio.create_subprocess_exec(*command, "-E")  # ends at the SUBACK; the session stays
            assert await asyncio.wait_for(subscribed.wait(), 30) == 0
            chosen = settings(broker.address, {}, trust_puback=True)
            async with wired_store(tmp_path, chosen) as store:
                await store.add(300)
                await until(lambda: store.journal.acked_seq == 300)
            # The broker's PUBACK comes before the reader's own delivery: read until nothing more is due.
            reader = await asyncio.create_subprocess_exec(*command, "-W", "8", stdout=asyncio.subprocess.PIPE)
            text, _ = await reader.communicate()
        seqs: list[int] = []
        validators: dict[type, jsonschema_rs.Validator] = {}
        for line in text.decode().splitlines():
            topic, _, payload = line.partition(" ")
            if "/events/" not in topic:
                continue
            value = json.loads(payload)
            for event in value if isinstance(value, list) else [value]:
                fact_type = schema_for(event)
                assert fact_type is not None
                validator = validators.setdefault(fact_type, jsonschema_rs.validator_for(event_schema(fact_type)))
                assert list(map(str, validator.iter_errors(event))) == []
                seqs.append(int(event["seq"]))
        assert seqs == list(range(1, 301))
        told = judge(text.decode())
        assert told["faults"] == []
        assert told["messages"] >= 300
        assert {"birth", "connection"} < set(told["channels"])

    asyncio.run(main())


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with nats_broker(tmp_path / "a") as first:
            with pytest.raises(BrokerError, match="nats-server"):
                await nats_broker(tmp_path / "b", mqtt_port=first.port).start()

    asyncio.run(main())
