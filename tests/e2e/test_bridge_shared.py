"""Two platforms in one group of an MQTT 5 shared subscription, over one PostgreSQL: facts of a store reach both."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from cloud_bridge.contract.topics import Topics
from cloud_bridge.ingest.central import Postgres
from cloud_bridge.ingest.platform import Platform, PlatformSettings
from cloud_bridge.settings import UplinkSettings
from edge.core.errors import UplinkError
from edge.core.ports import Message
from tests.e2e.bridge_wires import WiredStore, keys_of, make_broker, until, wired_platform, wired_store
from tests.postgres_support import postgres_folder


@contextlib.asynccontextmanager
async def group_member(folder: Path, broker: str, postgres: str, name: str) -> AsyncIterator[Platform]:
    names = {"client_id": f"platform-{name}", "shared_group": "ingest", "postgres": postgres}
    async with wired_platform(folder, (broker,), **names) as platform:
        yield platform


@dataclass(frozen=True)
class Pair:
    """A broker, a database and two workers of one group."""

    broker: str
    database: str
    one: Platform
    two: Platform


@contextlib.asynccontextmanager
async def pair(tmp_path: Path, folder: Path) -> AsyncIterator[Pair]:
    async with (
        make_broker("mosquitto", tmp_path) as broker,
        Postgres(folder / "pg") as database,
        group_member(tmp_path, broker.address, database.address, "a") as one,
        group_member(tmp_path, broker.address, database.address, "b") as two,
    ):
        yield Pair(broker.address, database.address, one, two)


async def live(store: WiredStore, count: int) -> None:
    """Facts of a working day: a few at a time, so that each leaves in a message of its own."""
    for _ in range(count):
        await store.add(1)
        await asyncio.sleep(0.002)


async def check(database: str, expected: dict[str, int]) -> None:
    """Every fact of every store once, and nothing promised that is not there."""
    db = await asyncpg.connect(database)
    rows = await db.fetch(
        "SELECT s.store, s.contiguous, s.above, s.refused, COUNT(*) AS events, MAX(e.seq) AS last "
        "FROM stream s JOIN event e ON e.stream = s.id GROUP BY s.id"
    )
    told = {row["store"]: (row["contiguous"], row["events"], row["last"], row["above"], row["refused"]) for row in rows}
    await db.close()
    assert told == {store: (count, count, count, "[]", "") for store, count in expected.items()}


def test_two_workers_share_the_facts_of_each_store(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            make_broker("mosquitto", tmp_path) as broker,
            Postgres(folder / "pg") as database,
            group_member(tmp_path, broker.address, database.address, "a") as one,
        ):
            chosen = UplinkSettings(hosts=(broker.address,), platform_keys=keys_of(one), state_delay_s=0.05)
            async with (
                wired_store(tmp_path, chosen, name="s1") as first,
                wired_store(tmp_path, chosen, name="s2", tenant="t2") as second,
            ):
                async with group_member(tmp_path, broker.address, database.address, "b") as two:
                    first.view.set("stock/04012345000016", 1, {"on_hand": 1})
                    await asyncio.gather(live(first, 200), live(second, 200))
                    await until(lambda: (first.journal.acked_seq, second.journal.acked_seq) == (200, 200), 30)
                    shares = [platform.counters.events for platform in (one, two)]
                    assert sum(shares) >= 400
                    assert min(shares) > 100, f"the broker gives each worker a share: {shares}"
                    for platform in (one, two):
                        assert platform.consumer is not None
                        assert {s.key.store: s.online for s in platform.consumer.streams.values()} == {
                            "s1": True,
                            "s2": True,
                        }, "who is there is told to every worker"
                    pulled = asyncio.create_task(live(first, 300))
                    await asyncio.sleep(0.2)
                # The second worker is gone, with what the broker had handed to it and it had not written.
                await pulled
                first.add(3_000)
                await until(lambda: first.journal.acked_seq == 3_500, 60)
                await check(database.address, {"s1": 3_500, "s2": 200})
                assert [
                    row["document"] for row in await one.store.query("states", tenant="t1", store="s1", name="stock/%")
                ]

    with postgres_folder() as folder:
        asyncio.run(main())


def test_a_message_that_a_worker_lost_is_asked_for_again(tmp_path: Path) -> None:
    """One worker is deaf for a while: it takes its share from the broker, and nobody has it."""

    async def main() -> None:
        async with pair(tmp_path, folder) as group:
            one, two = group.one, group.two
            chosen = UplinkSettings(hosts=(group.broker,), platform_keys=keys_of(one))
            async with wired_store(tmp_path, chosen, name="s1") as store:
                await until(lambda: store.uplink.status.connected, 10)
                hears, lost = two.received, []

                def deaf(message) -> None:
                    (lost.append if "/events/" in message.topic else hears)(message)

                two.received = deaf  # type: ignore[method-assign]
                await live(store, 100)
                await until(lambda: one.counters.events + len(lost) >= 100, 20)
                two.received = hears  # type: ignore[method-assign]
                assert len(lost) > 10
                await store.add(1)  # what is lost at the very end shows with the next fact
                await until(lambda: store.journal.acked_seq == 101, 30)
                assert one.counters.replays_asked + two.counters.replays_asked > 0
                await check(group.database, {"s1": 101})

    with postgres_folder() as folder:
        asyncio.run(main())


def test_a_clone_is_found_though_each_half_reaches_another_worker(tmp_path: Path) -> None:
    async def main() -> None:
        async with pair(tmp_path, folder) as group:
            one, two = group.one, group.two
            both = [platform.consumer for platform in (one, two)]
            assert all(both)
            event = {"specversion": "1.0", "type": "io.smartstore.device.Offline.v1", "time": "2026-11-22T05:00:00Z"}
            for place, (consumer, boot) in enumerate(zip(both, (5, 6), strict=True)):
                rows = [
                    event | {"epoch": "e", "seq": str(seq), "id": f"e-{seq}", "boot": str(boot), "data": {}}
                    for seq in range(1 + place, 20, 2)
                ]
                consumer.received(_message(rows))
                await consumer.flush()
            await both[0].flush()
            both[0].received(_message([event | {"epoch": "e", "seq": "30", "id": "e-30", "boot": "5", "data": {}}]))
            await asyncio.gather(*(consumer.flush() for consumer in both))
            assert "boots 5 and 6 alternate" in both[1].streams[next(iter(both[1].streams))].refused
            (row,) = await one.store.query("refusals")
            assert (row["store"], "alternate" in row["reason"]) == ("s1", True)

    with postgres_folder() as folder:
        asyncio.run(main())


def _message(rows: list[dict]) -> Message:
    return Message(Topics("t1", "s1").of("events/device"), json.dumps(rows).encode())


def test_a_group_without_a_meeting_place_is_refused() -> None:
    with pytest.raises(UplinkError, match=r"shared_group = 'g'.*expected postgres"):
        PlatformSettings(("mqtt://127.0.0.1:1",), shared_group="g")


def test_a_broker_that_knows_no_shared_subscriptions_is_told(tmp_path: Path) -> None:
    """NATS speaks MQTT 3.1.1: there ``$share/…`` would be a topic like any other, and nothing would ever come."""

    async def main() -> None:
        async with make_broker("nats", tmp_path) as broker, Postgres(folder / "pg") as database:
            fields = {"key_file": str(tmp_path / "k"), "shared_group": "g", "postgres": database.address}
            platform = Platform(PlatformSettings((broker.address,), **fields))
            task = asyncio.create_task(platform.run())
            await until(lambda: bool(platform.cause), 15)
            assert "does not speak MQTT 5" in platform.cause
            assert not platform.ready.is_set()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    with postgres_folder() as folder:
        asyncio.run(main())
