"""Tier 2: the whole gateway in virtual time: complete at the platform, deterministic, stubborn under faults."""

from __future__ import annotations

import asyncio
from collections import Counter

from cloud_bridge.announcements import rfc3339
from cloud_bridge.contract.signed import sign
from edge.core.fact import kind_of
from edge.core.observation import DeviceState
from edge.core.ports import Message
from firmware_sim.faults import ROUGH, FaultSwitch, FaultyStream
from firmware_sim.stream import ByteStream
from tests.bridge_support import PLATFORM
from tests.sim.tier2 import Tier2
from tests.virtual_time import run_virtual


async def play(seed: int, seconds: float, shopping_s: float) -> Tier2:
    tier = Tier2("demo", seed, shopping_s)
    await tier.platform.open()
    asyncio.get_running_loop().call_later(8, tier.open_shop)
    await tier.run(seconds)
    return tier


def test_the_platform_knows_what_the_store_knows() -> None:
    async def scenario() -> None:
        tier = await play(11, 110, 20)
        assert {device.state for device in tier.health.devices.values()} == {DeviceState.ONLINE}
        assert tier.journal.acked_seq == tier.journal.last_seq > 400
        assert await tier.platform.seqs() == list(range(1, tier.journal.last_seq + 1))
        stock, truth = await tier.platform_stock(), tier.scenario.world.on_hand()
        wrong = {p: (truth.get(p, 0), stock.get(p, 0)) for p in stock.keys() | truth.keys()
                 if truth.get(p, 0) != stock.get(p, 0)}  # fmt: skip
        assert wrong == {}
        facts = tier.journal.read(1, 1_000_000)
        counted = sum(kind_of(row.type) == "footfall.Occupancy" for row in facts)  # one for each crossing
        walked = sum(sum(door.values()) for door in tier.scenario.world.crossings.values())
        assert walked >= 5
        assert abs(counted - walked) <= max(1, round(0.05 * walked)), (counted, walked)
        for device in tier.health.devices.values():
            assert not any(name.endswith("rejected") and count for name, count in device.counters.items())

    run_virtual(scenario())


def test_the_same_seed_gives_the_same_trace() -> None:
    async def trace() -> str:
        return (await play(12, 25, 10)).trace_hash()

    assert run_virtual(trace()) == run_virtual(trace())


def test_rough_wires_and_a_dying_broker_lose_nothing() -> None:
    """Bytes flip and vanish, links break, the broker dies twice; once that stops, everything is as it should be."""
    switch = FaultSwitch(ROUGH)
    connections: Counter[str] = Counter()

    def wrap(device: str, stream: ByteStream) -> ByteStream:
        connections[device] += 1
        return FaultyStream(stream, switch, f"13:{device}:{connections[device]}")

    async def scenario() -> None:
        tier = Tier2("demo", 13, 20, wrap)
        await tier.platform.open()
        loop = asyncio.get_running_loop()
        loop.call_later(8, tier.open_shop)
        loop.call_later(15, tier.broker.kill)
        loop.call_later(22, tier.broker.kill)
        loop.call_later(40, switch.off)
        await tier.run(140)
        assert switch.counters["flip"] > 0
        assert switch.counters["disconnect"] > 0
        assert tier.unaccounted() == {}
        assert tier.overfull() == {}
        assert tier.uplink.status.connects >= 3
        assert {device.state for device in tier.health.devices.values()} == {DeviceState.ONLINE}
        assert tier.journal.acked_seq == tier.journal.last_seq
        assert await tier.platform.seqs() == list(range(1, tier.journal.last_seq + 1))
        stock, truth = await tier.platform_stock(), tier.scenario.world.on_hand()
        tagged = {p.gtin for p in tier.site.products if p.tagged}
        wrong = {pair: (truth.get(pair, 0), stock.get(pair, 0)) for pair in stock.keys() | truth.keys()
                 if pair[1] in tagged and truth.get(pair, 0) != stock.get(pair, 0)}  # fmt: skip
        assert len(wrong) <= 0.04 * len(truth), wrong  # a step on a broken wire is a sensing error

    run_virtual(scenario())


def test_a_hold_placed_over_mqtt_lowers_what_can_be_promised_until_it_expires() -> None:
    async def scenario() -> None:
        tier = Tier2("demo", 14, 5)
        await tier.platform.open()
        topic = f"smartstore/v1/{tier.site.store.tenant}/{tier.site.store.id}/command"
        promised: list[int] = []
        gtin = next(p.gtin for p in tier.site.products if p.tagged)

        def stock() -> int:
            document = tier.runtime.view.documents()[f"stock/{gtin}"][1]
            assert isinstance(document, dict)
            return int(str(document["available_to_promise"]))

        async def office() -> None:
            await asyncio.sleep(60)
            promised.append(stock())
            now = tier.clock.now().wall_us
            order = {"hold": "h-1", "gtin": gtin, "quantity": 2, "pickup": "counter", "expires_min": 2}
            command = {"id": "c-1", "name": "place_hold", "args": order, "not_before": rfc3339(now - 1_000_000),
                       "deadline": rfc3339(now + 30_000_000), "seq": 1}  # fmt: skip
            tier.broker.take(Message(topic, sign(topic, command, PLATFORM, "p1")))
            await asyncio.sleep(2)
            promised.append(stock())
            await asyncio.sleep(150)
            promised.append(stock())

        visit = asyncio.create_task(office())
        await tier.run(230)
        await visit
        assert promised == [promised[0], promised[0] - 2, promised[0]]
        kinds = [kind_of(stored.type) for stored in tier.journal.read(1, 100_000)]
        assert kinds.count("hold.HoldPlaced") == kinds.count("hold.HoldExpired") == 1
        results = [m for m in tier.broker.log if m.topic.endswith("command-result")]
        assert any(b'"done"' in m.payload for m in results)

    run_virtual(scenario())
