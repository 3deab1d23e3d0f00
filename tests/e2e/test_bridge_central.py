"""The central side as processes: three NATS nodes, PostgreSQL, a JetStream worker; a node dies, nothing is lost."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import asyncpg
import nats
import pytest

from cloud_bridge.ingest.central import Central
from cloud_bridge.ingest.leaders import FOLLOWING, MESSAGES, leader_of
from cloud_bridge.ingest.platform import load_signer
from cloud_bridge.settings import UplinkSettings
from tests.bench._fleet import Fleet, FleetStore
from tests.bench.fleet import TENANTS, _connect, _settle
from tests.e2e.bridge_wires import until, wired_store
from tests.postgres_support import postgres_folder


async def _leaders_meet(central: Central) -> None:
    """The workers bring the leaders of NATS's MQTT streams to one node."""
    connection = await nats.connect([node.client_address for node in central.nodes])
    manager = connection.jetstream(timeout=2)
    while len({await leader_of(manager, stream) for stream in (MESSAGES, *FOLLOWING)} - {""}) != 1:
        await asyncio.sleep(0.1)
    await connection.close()


@pytest.mark.slow
def test_a_small_fleet_and_a_real_store_through_a_dying_cluster(tmp_path: Path) -> None:
    async def main() -> None:
        stores = [FleetStore(TENANTS[n % 2], f"s{n}", f"{n:08x}") for n in range(20)]
        async with Central(folder / "central", 2, TENANTS) as central:
            fleet = Fleet([node.port for node in central.nodes], stores, stall_s=4.0)
            database: asyncpg.Connection = await _connect(central)
            await asyncio.wait_for(fleet.start(per_s=100), 60)
            public = load_signer(central.key_file).public_key
            keys = {"platform-1": base64.b64encode(public).decode()}
            hosts = tuple(node.address for node in central.nodes)
            settings = UplinkSettings(hosts=hosts, client_id="real", platform_keys=keys, puback_timeout_s=5.0)
            async with wired_store(tmp_path, settings, name="real", tenant="t1") as real:
                fleet.add(50)
                real.add(500)
                await until(lambda: real.journal.acked_seq == 500, 60)
                await asyncio.wait_for(_leaders_meet(central), 60)
                central.nodes[0].kill()
                fleet.add(50)
                real.add(500)
                await until(lambda: real.journal.acked_seq == 1_000, 90)
            total = 20 * 100 + 1_000
            await _settle(database, central, total, 60)
            assert int(await database.fetchval("SELECT SUM(contiguous) FROM stream")) == total
            assert int(await database.fetchval("SELECT COUNT(*) FROM event")) == total
            await until(lambda: fleet.unacked == 0, 60)
            await database.close()
            await central.database.stop()
            fleet.add(10)
            await central.database.start()
            await until(lambda: fleet.unacked == 0, 90)
            assert central.worker_faults() == [], "workers wait for the database"
            await fleet.stop()

    with postgres_folder() as folder:
        asyncio.run(main())
