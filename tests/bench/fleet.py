"""A fleet through the central side: 1,000 MQTT connections, a 3-node NATS JetStream cluster, PostgreSQL.

An outage drains in batches (`events_per_s`: until PostgreSQL has every fact), live mode sends one fact a message,
then each node is killed -9 in turn while all stores publish: `pause_s` is, over all connections and kills, the time
from the kill until the broker acknowledged a fact made at that moment.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
from pathlib import Path
from typing import Any

import asyncpg
import nats
from nats.js.api import StreamInfo

from cloud_bridge.ingest.central import SYNC_INTERVAL, Central, NatsNode
from cloud_bridge.ingest.jetstream import STREAM
from cloud_bridge.ingest.leaders import FOLLOWING, MESSAGES, leader_of
from tests.bench._fleet import Fleet, FleetStore

TENANTS = ("t1", "t2")
SESSIONS = "$MQTT_sess"


def run(argv: list[str]) -> dict[str, object]:
    parser = argparse.ArgumentParser(prog="fleet")
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--facts", type=int, default=200, help="facts a store in the outage")
    parser.add_argument("--live", type=int, default=3, help="facts a store in live mode")
    parser.add_argument("--workers", type=int, default=len(TENANTS), help="one a core of the machine measured")
    parser.add_argument("--sync", default=SYNC_INTERVAL, help="sync_interval of JetStream")
    parser.add_argument("--kills", type=int, default=3)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as a user of its own
        return asyncio.run(_measure(Path(folder), options))


async def _stored(database: asyncpg.Connection) -> int:
    return int(await database.fetchval("SELECT COALESCE(SUM(contiguous), 0) FROM stream") or 0)


async def _settle(database: asyncpg.Connection, central: Central, total: int, limit_s: float) -> float:
    """Seconds until PostgreSQL has so many facts; stops waiting at the limit."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while await _stored(database) < total and loop.time() - began_s < limit_s:
        assert not central.worker_faults(), central.worker_faults()
        await asyncio.sleep(0.1)
    return loop.time() - began_s


async def _measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    count = options.connections
    stores = [FleetStore(TENANTS[n % 2], f"s{n}", f"{n:08x}") for n in range(count)]
    async with Central(folder, options.workers, TENANTS, options.sync) as central:
        fleet = Fleet([node.port for node in central.nodes], stores)
        database = await _connect(central)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await asyncio.wait_for(fleet.start(per_s=200), 120)
        connected_s = loop.time() - began_s
        fleet.add(1)  # the first publish through each node waits for its streams' leaders
        await _settle(database, central, count, 60)
        fleet.add(options.facts)
        drained_s = await _settle(database, central, count * (1 + options.facts), 75)
        for store in stores:
            store.per_message = 1
        fleet.add(options.live)
        live_s = await _settle(database, central, count * (1 + options.facts + options.live), 40)
        for store in stores:
            store.pauses_s.clear()
        left = list(central.nodes)
        for _ in range(options.kills):
            node = await _next_victim(central, left)
            left.remove(node)
            await _kill(fleet, node)
        total = sum(store.made for store in stores)
        await _settle(database, central, total, 60)
        stored = await _stored(database)
        rows = int(await database.fetchval("SELECT COUNT(*) FROM event"))
        acked = sum(store.acked for store in stores)
        await database.close()
        await fleet.stop()
    pauses_s = [pause for store in stores for pause in store.pauses_s]
    return {
        "events_per_s": round(count * options.facts / drained_s),
        "connections": count,
        "facts_per_message": 100,
        "live_events_per_s": round(count * options.live / live_s),
        "missing": total - stored,
        "duplicates": rows - stored,
        "acked": acked,
        "pause_s": round(statistics.median(pauses_s), 3) if pauses_s else None,
        "pause_worst_s": round(max(pauses_s), 3) if pauses_s else None,
        "pauses": len(pauses_s),
        "connect_s": round(connected_s, 1),
        "facts": total,
        "sync_interval": options.sync,
        "workers": options.workers,
    }


async def _connect(central: Central) -> asyncpg.Connection:
    """Once a worker has made the tables."""
    database = await asyncpg.connect(central.database.address)
    async with asyncio.timeout(30):
        while not await database.fetchval("SELECT to_regclass('stream') IS NOT NULL"):
            assert not central.worker_faults(), central.worker_faults()
            await asyncio.sleep(0.1)
    return database


async def _next_victim(central: Central, left: list[NatsNode]) -> NatsNode:
    """Each node dies once; the one that leads the messages' stream last, so that both cases are measured.

    Waits until all streams have all their replicas up to date (the promise is about one node lost, not two), and until
    the workers have brought the streams' leaders together, as they do within seconds in operation.
    """
    connection = await nats.connect([node.client_address for node in central.nodes])
    manager = connection.jetstream(timeout=2)
    infos: list[StreamInfo] = []
    give_up_s = asyncio.get_running_loop().time() + 25
    while asyncio.get_running_loop().time() < give_up_s and not (infos and all(map(_is_whole, infos))):
        with contextlib.suppress(nats.errors.Error, TimeoutError):  # no leader of all leaders just now
            infos = [await manager.stream_info(name) for name in (STREAM, SESSIONS)]
            infos *= await _together(manager)
        await asyncio.sleep(0.2)
    await connection.close()
    leader = infos[0].cluster.leader if infos and infos[0].cluster is not None else ""
    return min(left, key=lambda node: node.name == leader)


async def _together(manager: Any) -> bool:
    leaders = {await leader_of(manager, stream) for stream in (MESSAGES, *FOLLOWING)}
    return len(leaders - {""}) == 1


def _is_whole(info: StreamInfo) -> bool:
    replicas = (info.cluster.replicas if info.cluster is not None else None) or []
    return len(replicas) == 2 and all(peer.current and not peer.offline for peer in replicas)


async def _kill(fleet: Fleet, node: NatsNode) -> None:
    """One node dies and comes back; the next one dies only when all stores and the cluster are well again."""
    node.kill()
    fleet.probe()
    give_up_s = asyncio.get_running_loop().time() + 25
    while fleet.probing and asyncio.get_running_loop().time() < give_up_s:
        await asyncio.sleep(0.02)
    await node.start()
    give_up_s = asyncio.get_running_loop().time() + 25
    while (fleet.unacked or fleet.n_open < len(fleet.stores)) and asyncio.get_running_loop().time() < give_up_s:
        await asyncio.sleep(0.1)
