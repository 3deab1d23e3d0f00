"""The uplink in virtual time, with the reference consumer at the other end of an in-memory broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import jsonschema
import pytest

from cloud_bridge.contract.messages import MESSAGES
from cloud_bridge.contract.signed import sign
from cloud_bridge.outbox import RESEND_LIMIT, Outbox
from cloud_bridge.pacing import Backoff, TokenBucket
from cloud_bridge.settings import UplinkSettings, endpoint
from edge.core.facts import CommandRefused, Gap
from edge.core.plain import PlainError
from edge.core.ports import Message
from tests.bridge_support import PLATFORM, MemoryBroker, PlatformEnd, StoreEnd, make_store, until
from tests.virtual_time import run_virtual

Scene = Callable[[MemoryBroker, StoreEnd, PlatformEnd], Awaitable[None]]
ROOT = "smartstore/v1/t1/s1/"


def play(scene: Scene, seed: int = 1, **changes: object) -> None:
    """Run a scene with store, broker and platform."""

    async def main() -> None:
        broker = MemoryBroker()
        store, platform = make_store(broker, seed, **changes), PlatformEnd(broker)
        await platform.open()
        tasks = [asyncio.create_task(store.uplink.run()), asyncio.create_task(platform.consumer.run())]
        try:
            await scene(broker, store, platform)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    run_virtual(main())


def word(suffix: str, **payload: object) -> Message:
    return Message(ROOT + suffix, sign(ROOT + suffix, payload, PLATFORM, "p1"))


def test_everything_arrives_and_is_acknowledged() -> None:
    async def scene(broker, store, platform) -> None:
        store.add(1)
        await until(lambda: store.journal.acked_seq == 1)
        store.add(2_500)
        await until(lambda: store.journal.acked_seq == 2_501)
        assert await platform.seqs() == list(range(1, 2_502))
        assert platform.consumer.counters.duplicates == 0
        assert platform.consumer.missing() == 0
        assert store.links[0].most_unacked <= store.settings.window

    play(scene)


def test_live_facts_overtake_the_backlog_and_the_backlog_is_announced() -> None:
    async def offline_first() -> None:
        broker = MemoryBroker()
        store, platform = make_store(broker), PlatformEnd(broker)
        await platform.open()
        store.add(20_000)
        await asyncio.sleep(0.1)
        tasks = [asyncio.create_task(store.uplink.run()), asyncio.create_task(platform.consumer.run())]
        await asyncio.sleep(0.1)
        began_s = asyncio.get_running_loop().time()
        gateway = json.loads(broker.retained[ROOT + "state/gateway"].payload)
        assert gateway["backlog"] == {"from_seq": 1, "to_seq": 20_000}
        late_s = []
        for _ in range(10):
            store.add(1)
            seq = 20_001 + len(late_s)
            stream = next(iter(platform.consumer.streams.values()))
            late_s.append(await until(lambda seq=seq, stream=stream: seq in stream.above))
            await asyncio.sleep(0.5)
        assert max(late_s) < 0.1
        assert platform.consumer.counters.replays_asked == 0, "an announced backlog is no gap"
        await until(lambda: store.journal.acked_seq == 20_010)
        took_s = asyncio.get_running_loop().time() - began_s
        assert 8 < took_s < 12, "20,000 facts at 2,000 a second, one second's worth at once"
        await asyncio.sleep(1)
        assert json.loads(broker.retained[ROOT + "state/gateway"].payload)["backlog"] is None
        assert platform.consumer.counters.duplicates == 0
        for task in tasks:
            task.cancel()

    run_virtual(offline_first())


def test_rate_is_obeyed_and_signed() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        store, platform = make_store(broker), PlatformEnd(broker)
        await platform.open()
        broker.retained[ROOT + "rate"] = word("rate", events_per_s=500)
        store.add(5_000)
        await asyncio.sleep(0.1)
        tasks = [asyncio.create_task(store.uplink.run()), asyncio.create_task(platform.consumer.run())]
        took_s = await until(lambda: store.journal.acked_seq >= 5_000)
        assert 5 < took_s < 8, "2,000 at once, then 500 a second"
        broker.take(word("rate", events_per_s=0))
        forged = json.loads(word("rate", events_per_s=1).payload)
        broker.take(Message(ROOT + "rate", json.dumps({**forged, "events_per_s": 2}).encode()))
        await asyncio.sleep(0.1)
        assert store.uplink._bucket.available(0) == float("inf")
        assert store.uplink.status.refused == {"rate:signature": 1}
        for task in tasks:
            task.cancel()

    run_virtual(main())


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_whatever_the_broker_does(seed: int) -> None:
    async def scene(broker: MemoryBroker, store: StoreEnd, platform: PlatformEnd) -> None:
        rng = random.Random(seed)
        for _ in range(30):
            store.add(rng.choice((1, 3, 40, 700)), urgent=rng.random() < 0.5)
            await asyncio.sleep(rng.random() * 2)
            fault = rng.randrange(6)
            if fault == 0:
                broker.kill()
            elif fault == 1:
                broker.lose_next = rng.randrange(1, 5)  # acknowledged by the broker, never delivered
            elif fault == 2:
                broker.stalled = True
                await asyncio.sleep(rng.choice((1, 30)))
                broker.stalled = False
            elif fault == 3:
                broker.refusing = True
                broker.kill()
                await asyncio.sleep(5)
                broker.refusing = False
        broker.lose_next = 0
        await until(lambda: store.journal.acked_seq == store.journal.last_seq, 180)
        assert await platform.seqs() == list(range(1, store.journal.last_seq + 1))

    play(scene, seed)


def test_a_lost_tail_is_found_without_later_facts() -> None:
    async def scene(broker, store, platform) -> None:
        store.add(5)
        await until(lambda: store.journal.acked_seq == 5)
        broker.lose_next = 1
        store.add(1)
        await asyncio.sleep(1)
        broker.kill()
        await until(lambda: store.journal.acked_seq == 6)

    play(scene)


def test_a_gap_in_the_middle_is_replayed() -> None:
    async def scene(broker, store, platform) -> None:
        store.add(1)
        await until(lambda: store.journal.acked_seq == 1)
        broker.lose_next = 1
        store.add(1)
        await asyncio.sleep(0.5)
        store.add(1)
        took_s = await until(lambda: store.journal.acked_seq == 3)
        assert 1.5 < took_s < 4
        assert platform.consumer.counters.replays_asked == 1
        assert await platform.seqs() == [1, 2, 3]

    play(scene)


def test_a_replay_is_byte_identical() -> None:
    async def scene(broker, store, platform) -> None:
        platform.muted = True
        store.add(3)
        await asyncio.sleep(1)
        broker.take(word("replay", epoch=store.journal.epoch, from_seq=1, to_seq=3))
        await asyncio.sleep(1)
        sent = [m.payload for m in broker.log if "/events/" in m.topic]
        assert len(sent) == 2
        assert sent[0] == sent[1]
        broker.take(word("replay", epoch=store.journal.epoch, from_seq=1, to_seq=3))
        await asyncio.sleep(1)
        assert len([m for m in broker.log if "/events/" in m.topic]) == 2, "the same replay is not sent twice in 5 s"

    play(scene)


def test_a_long_replay_is_announced_as_a_backlog_too() -> None:
    async def scene(broker, store, platform) -> None:
        platform.muted = True
        store.add(3_000)
        await until(lambda: store.uplink._box.delivered_seq == 3_000)
        assert json.loads(broker.retained[ROOT + "state/gateway"].payload)["backlog"] is None
        store.uplink.use(replace(store.settings, rate_per_s=500.0))
        broker.take(word("replay", epoch=store.journal.epoch, from_seq=1, to_seq=3_000))
        await asyncio.sleep(0.5)
        told = json.loads(broker.retained[ROOT + "state/gateway"].payload)["backlog"]
        assert told is not None, "else the platform takes what is under way for a gap and asks again"
        assert told["to_seq"] == 3_000

    play(scene)


def test_replay_of_rows_that_are_gone_is_one_gap_fact() -> None:
    async def scene(broker, store, platform) -> None:
        store.add(10)
        await until(lambda: store.journal.acked_seq == 10)
        store.add(1)
        await until(lambda: store.journal.acked_seq == 11)
        assert store.journal.first_seq > 5
        for _ in range(2):
            broker.take(word("replay", epoch=store.journal.epoch, from_seq=2, to_seq=5))
            await asyncio.sleep(6)
        gaps = [fact for fact in store.recorded if isinstance(fact, Gap)]
        assert [(gap.missing, gap.count, gap.reason) for gap in gaps] == [([[2, 5]], 4, "acknowledged")]

    play(scene)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ack:future", word("ack", epoch="E", acked_seq=99)),
        ("ack:epoch", word("ack", epoch="other", acked_seq=1)),
        ("ack:signature", Message(ROOT + "ack", b'{"epoch":"E","acked_seq":1,"key":"p1","signature":"AAAA"}')),
        ("ack:not_json", Message(ROOT + "ack", b"\xff\x00")),
        ("ack:not_json", Message(ROOT + "ack", b"[1]")),
        ("ack:oversized", Message(ROOT + "ack", b" " * 5_000)),
        ("ack:arguments", word("ack", epoch="E", acked_seq=True)),
        ("ack:arguments", word("ack", epoch="E", acked_seq=-1)),
        ("replay:future", word("replay", epoch="E", from_seq=1, to_seq=99)),
        ("replay:arguments", word("replay", epoch="E", from_seq=2, to_seq=1)),
        ("rate:arguments", word("rate", events_per_s=-1)),
        ("rate:arguments", word("rate", events_per_s=True)),
        ("rate:signature", Message(ROOT + "rate", word("ack", events_per_s=5).payload)),
    ],
)
def test_what_the_platform_may_not_say_is_refused_by_name(name: str, message: Message) -> None:
    async def scene(broker, store, platform) -> None:
        platform.muted = True
        store.journal._store.epoch = "E"
        store.add(3)
        await asyncio.sleep(0.5)
        broker.take(message)
        broker.take(message)
        await asyncio.sleep(0.5)
        assert store.uplink.status.refused == {name: 2}
        audited = [fact for fact in store.recorded if isinstance(fact, CommandRefused)]
        assert [f"{fact.name}:{fact.reason}" for fact in audited] == [name], "audited once a minute, counted each time"
        assert store.journal.acked_seq == 0
        broker.take(word("ack", epoch="E", acked_seq=2))
        await asyncio.sleep(0.5)
        assert store.journal.acked_seq == 2, "the flow goes on"

    play(scene)


def test_a_stalled_platform_that_speaks_gets_the_rest_again() -> None:
    async def scene(broker, store, platform) -> None:
        platform.muted = True
        store.add(3)
        await asyncio.sleep(1)
        before = len([m for m in broker.log if "/events/" in m.topic])
        for _ in range(8):
            broker.take(word("ack", epoch=store.journal.epoch, acked_seq=1))
            await asyncio.sleep(6)
        after = [m for m in broker.log if "/events/" in m.topic]
        assert len(after) == before + 1
        events = json.loads(after[-1].payload)
        assert [event["seq"] for event in events] == ["2", "3"]

    play(scene)


def test_trust_puback_stands_in_for_a_platform_that_never_acknowledges() -> None:
    async def scene(broker, store, platform) -> None:
        platform.muted = True
        store.add(500)
        await until(lambda: store.journal.acked_seq == 500, 5)

    play(scene, trust_puback=True)


def test_without_it_puback_moves_nothing() -> None:
    async def scene(broker, store, platform) -> None:
        platform.muted = True
        store.add(500)
        await asyncio.sleep(20)
        assert store.journal.acked_seq == 0

    play(scene)


def test_announcements_are_as_published_and_the_will_follows() -> None:
    schemas = {kind.name: kind.schema for kind in MESSAGES}

    async def scene(broker, store, platform) -> None:
        store.view.set("stock/04012345000016", 1, {"on_hand": 3, "available_to_promise": 2})
        store.view.set("device/d1", 1, {"state": "online"})
        store.add(1)
        await asyncio.sleep(1)
        kept = {topic.removeprefix(ROOT): json.loads(m.payload) for topic, m in broker.retained.items()}
        jsonschema.validate(kept["birth"], schemas["birth"])
        jsonschema.validate(kept["connection"], schemas["connection"])
        jsonschema.validate(kept["state/gateway"], schemas["state-gateway"])
        assert kept["state/stock/04012345000016"] == {"as_of_seq": 1, "on_hand": 3, "available_to_promise": 2}
        assert kept["connection"]["online"] is True
        store.view.set("device/d1", 2, None)
        await asyncio.sleep(1)
        assert ROOT + "state/device/d1" not in broker.retained
        broker.refusing = True
        broker.kill()
        await asyncio.sleep(0.1)
        will = json.loads(broker.retained[ROOT + "connection"].payload)
        assert (will["online"], will["boot"]) == (False, kept["connection"]["boot"])
        rows = await platform.store.query("states", tenant="t1", store="s1", name="stock/%")
        assert json.loads(rows[0]["document"])["available_to_promise"] == 2

    play(scene)


def test_state_changes_ride_together() -> None:
    async def scene(broker, store, platform) -> None:
        await asyncio.sleep(1)
        before = len(broker.log)
        for number in range(100):
            store.view.set("stock/04012345000016", number, {"on_hand": number})
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        sent = [m for m in broker.log[before:] if "state/stock" in m.topic]
        assert len(sent) <= 5
        assert json.loads(sent[-1].payload)["on_hand"] == 99

    play(scene)


def test_posted_results_survive_a_lost_connection() -> None:
    async def scene(broker, store, platform) -> None:
        await asyncio.sleep(1)
        broker.stalled = True
        store.uplink.post("command-result", b'{"id":"c1"}')
        await asyncio.sleep(0.5)
        broker.kill()
        store.uplink.post("command-result", b'{"id":"c2"}')
        broker.stalled = False
        await asyncio.sleep(5)
        results = [m.payload for m in broker.log if m.topic.endswith("command-result")]
        assert results == [b'{"id":"c1"}', b'{"id":"c2"}']

    play(scene)


def test_hosts_are_tried_in_turn_and_a_silent_one_costs_little() -> None:
    async def main() -> None:
        broker, dead = MemoryBroker(), MemoryBroker(silent=True)
        store, platform = make_store(broker, hosts=("mqtt://dead:1", "mqtt://good:2")), PlatformEnd(broker)
        await platform.open()
        ports = store.uplink._ports
        tried: list[str] = []

        def factory(host):
            tried.append(host.host)
            return (dead if host.host == "dead" else broker).link(host)

        object.__setattr__(ports, "link_factory", factory)
        store.add(1)
        tasks = [asyncio.create_task(store.uplink.run()), asyncio.create_task(platform.consumer.run())]
        took_s = await until(lambda: store.journal.acked_seq == 1)
        assert took_s < 8
        assert tried == ["dead", "good"]
        assert store.uplink.status.host == "good:2"
        for task in tasks:
            task.cancel()

    run_virtual(main())


def test_a_broker_that_takes_and_never_acknowledges_is_left() -> None:
    async def scene(broker, store, platform) -> None:
        await asyncio.sleep(1)
        broker.stalled = True
        store.add(1)
        await until(lambda: "no PUBACK" in store.uplink.status.cause, 30)
        broker.stalled = False
        await until(lambda: store.journal.acked_seq == 1)

    play(scene)


def test_a_metered_link_is_up_only_as_long_as_needed() -> None:
    async def scene(broker, store, platform) -> None:
        up = []
        for _ in range(600):
            store.add(1)
            await asyncio.sleep(1)
            up.append(store.uplink.status.connected)
        assert sum(up) < 30
        assert 9 <= store.uplink.status.connects <= 12
        await until(lambda: store.journal.acked_seq >= 540, 70)
        assert json.loads(broker.retained[ROOT + "connection"].payload)["online"] is False

    play(scene, connect_every_s=60.0)


def test_the_same_seed_gives_the_same_trace() -> None:
    def trace(seed: int) -> list[tuple[str, int]]:
        seen: list[tuple[str, int]] = []

        async def scene(broker, store, platform) -> None:
            for _ in range(10):
                store.add(30)
                await asyncio.sleep(0.3)
                broker.kill()
            await until(lambda: store.journal.acked_seq == 300)
            loop_us = round(asyncio.get_running_loop().time() * 1e6)
            seen.extend((m.topic, len(m.payload)) for m in broker.log)
            seen.append(("end", loop_us))

        play(scene, seed)
        return seen

    assert trace(3) == trace(3)
    assert trace(3) != trace(4)


def test_outbox_believes_the_broker_beyond_the_resend_limit() -> None:
    box = Outbox(0)
    box.resume(0)
    box.sent(1, RESEND_LIMIT + 10, [1])
    box.acknowledged([1])
    box.resume(RESEND_LIMIT + 20)
    assert list(box.backlog) == [(RESEND_LIMIT + 11, RESEND_LIMIT + 20)]
    box.send_again(1, 5)
    assert next(iter(box.backlog)) == (1, 5)
    box.platform_has(RESEND_LIMIT + 15)
    assert list(box.backlog) == [(RESEND_LIMIT + 16, RESEND_LIMIT + 20)]


def test_bucket_and_backoff() -> None:
    bucket = TokenBucket(1_000, 0.0)
    bucket.take(1_000)
    assert bucket.available(0.1) == pytest.approx(100)
    assert bucket.wait_s(300) == pytest.approx(0.2)
    assert bucket.available(100.0) == 1_000
    pauses = [Backoff(0.25, 30, random.Random(seed)) for seed in range(50)]
    rounds = [[backoff.next_s() for backoff in pauses] for _ in range(12)]
    assert max(rounds[0]) <= 0.25
    assert 20 < max(rounds[-1]) <= 30
    assert min(rounds[-1]) < 5, "full jitter"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"hosts": ("broker",)}, "hosts[0]"),
        ({"hosts": ("http://x",)}, "hosts[0]"),
        ({"protocol": "4"}, "protocol"),
        ({"window": 500}, "window"),
        ({"rate_per_s": -1.0}, "rate_per_s"),
        ({"platform_keys": {"p": "AAAA"}}, "platform_keys.p"),
    ],
)
def test_wrong_settings_name_the_key(changes, key) -> None:
    with pytest.raises(PlainError) as caught:
        UplinkSettings(**changes)
    assert caught.value.key == key


def test_endpoints() -> None:
    assert (endpoint("mqtts://a").port, endpoint("wss://a").port) == (8883, 443)
    assert endpoint("mqtts://a").secure
    assert not endpoint("ws://a:80").secure
