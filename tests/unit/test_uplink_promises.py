"""Promises of the uplink that mutation testing found nobody looking at (`python -m tests.fault mutants`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace

import pytest

from cloud_bridge.uplink import LIVE_ROWS, POSTED_LIMIT, READ_ROWS, UplinkStatus
from edge.core.errors import UplinkError
from edge.core.fact import StoredFact
from edge.core.ports import Message
from edge.journal.store import Batch
from tests.bridge_support import MemoryBroker, MemoryLink, StoreEnd, make_store, until
from tests.unit.test_bridge_uplink import ROOT, Scene, play, word
from tests.virtual_time import run_virtual


def now_s() -> float:
    return asyncio.get_running_loop().time()


def alone(scene: Scene, **changes: object) -> None:
    """A store with a broker and no platform behind it."""

    async def main() -> None:
        broker = MemoryBroker()
        store = make_store(broker, **changes)  # type: ignore[arg-type]
        task = asyncio.create_task(store.uplink.run())
        try:
            await scene(broker, store, None)  # type: ignore[arg-type]
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    run_virtual(main())


def sent(broker: MemoryBroker, suffix: str) -> list[Message]:
    return [message for message in broker.log if message.topic == ROOT + suffix]


def seqs(broker: MemoryBroker) -> list[int]:
    """Every seq that arrived, as often as it did."""
    pieces = (json.loads(message.payload) for message in broker.log if "/events/" in message.topic)
    return [int(event["seq"]) for piece in pieces for event in (piece if isinstance(piece, list) else [piece])]


# --- what health shows ------------------------------------------------------------------------------------------------


def test_before_the_first_connection_nothing_is_claimed() -> None:
    status = UplinkStatus()
    assert (status.connected, status.host, status.cause, status.refused) == (False, "", "", {})
    assert (status.connects, status.facts_sent, status.messages_sent, status.acked_seq) == (0, 0, 0, 0)
    assert status.left_at_s < 0, "it never left"


def test_the_numbers_are_those_of_the_wire() -> None:
    async def scene(broker, store, platform) -> None:
        await asyncio.sleep(1)
        quiet = store.uplink.status.messages_sent
        assert quiet == len(broker.log) == store.links[0].tokens
        store.add(40)
        await asyncio.sleep(1)
        status = store.uplink.status
        assert (status.facts_sent, status.connects, status.host, status.connected) == (40, 1, "a:1883", True)
        assert status.messages_sent == store.links[0].tokens > quiet
        broker.refusing = True
        broker.kill()
        assert (status.connected, status.cause) == (False, "broker killed")
        await asyncio.sleep(1)
        assert status.cause == "refused"

    alone(scene)


def test_a_restarted_uplink_knows_what_the_platform_had() -> None:
    async def scene(broker, store, platform) -> None:
        store.add(5)
        await until(lambda: store.journal.acked_seq == 5)
        await store.journal.flush()
        again = make_store(MemoryBroker(), store=store.journal._store)
        assert again.uplink.status.acked_seq == 5
        assert again.uplink._box.live_from == 6

    play(scene)


# --- messages of the store --------------------------------------------------------------------------------------------


def test_a_result_leaves_at_once_and_beyond_a_thousand_the_oldest_goes() -> None:
    async def scene(broker, store, platform) -> None:
        await asyncio.sleep(5.3)  # everything has been said, it rests
        store.uplink.post("command-result", b"now")
        await asyncio.sleep(0.01)
        assert [(m.payload, m.retain) for m in sent(broker, "command-result")] == [(b"now", False)]
        store.uplink.post("twin/reported", b"kept", retain=True)
        await asyncio.sleep(0.01)
        assert [(m.payload, m.retain) for m in sent(broker, "twin/reported")] == [(b"kept", True)]
        broker.refusing = True
        broker.kill()
        for number in range(POSTED_LIMIT + 3):
            store.uplink.post("command-result", str(number).encode())
        broker.refusing = False
        await until(lambda: len(sent(broker, "command-result")) > 900)
        await asyncio.sleep(1)
        assert [m.payload for m in sent(broker, "command-result")][1:] == [
            str(number).encode() for number in range(3, POSTED_LIMIT + 3)
        ]

    alone(scene)


def test_an_old_greeting_never_follows_a_new_one() -> None:
    """Retained, it would tell everybody who asks later what was true before."""

    async def scene(broker, store, platform) -> None:
        broker.stalled = True
        await asyncio.sleep(0.05)
        store.add(7)
        store.uplink.post("command-result", b"r")
        await asyncio.sleep(0.05)
        broker.kill()
        broker.stalled = False
        await asyncio.sleep(3)
        assert [json.loads(m.payload)["last_seq"] for m in sent(broker, "birth")] == [7]
        assert [json.loads(m.payload)["online"] for m in sent(broker, "connection")] == [False, True]
        assert [m.payload for m in sent(broker, "command-result")] == [b"r"]

    alone(scene)


def test_a_wire_that_breaks_in_the_middle_of_a_burst_loses_nothing() -> None:
    """publish itself fails, in each lane once, and nobody calls `disconnected`."""

    class Breaking(MemoryLink):
        left = 0

        def publish(self, message: Message) -> int:
            if breaks_at and self.tokens == breaks_at[0]:
                breaks_at.pop(0)
                raise UplinkError("broken pipe")
            return super().publish(message)

    breaks_at = [1, 2, 5, 7, 9, 11, 30]

    async def scene(broker, store, platform) -> None:
        object.__setattr__(store.uplink._ports, "link_factory", lambda _: Breaking(broker))
        for number in range(5):
            store.view.set(f"stock/{number}", 0, {"on_hand": number})
            store.uplink.post("command-result", str(number).encode())
        store.add(3_000)
        for _ in range(20):
            await asyncio.sleep(0.5)
            store.add(200)
        await asyncio.sleep(20)
        assert breaks_at == []
        assert sorted(set(seqs(broker))) == list(range(1, 7_001))
        results = [int(m.payload) for m in sent(broker, "command-result")]
        assert list(dict.fromkeys(results)) == [0, 1, 2, 3, 4], "in order, whatever came twice"
        assert store.uplink.status.connects == 8
        assert all(ROOT + f"state/stock/{number}" in broker.retained for number in range(5))

    alone(scene)


def test_a_link_that_reports_its_end_while_it_is_written_to_is_left() -> None:
    class Ending(MemoryLink):
        def publish(self, message: Message) -> int:
            token = super().publish(message)
            if once and self.tokens == 4:
                once.clear()
                self.cut("reset by peer")
            return token

    once = [True]

    async def scene(broker, store, platform) -> None:
        object.__setattr__(store.uplink._ports, "link_factory", lambda _: Ending(broker))
        store.add(2_000)
        await asyncio.sleep(10)
        assert not once
        assert sorted(set(seqs(broker))) == list(range(1, 2_001))
        assert store.uplink.status.connects == 2

    alone(scene)


# --- settings in use --------------------------------------------------------------------------------------------------


def test_other_hosts_are_gone_to_at_once_and_the_old_connection_is_closed() -> None:
    async def scene(broker, store, platform) -> None:
        await asyncio.sleep(2.5)
        (old,) = store.links
        began_s = now_s()
        store.uplink.use(replace(store.settings, hosts=("mqtt://b:1884",)))
        assert store.uplink.settings.hosts == ("mqtt://b:1884",)
        assert not store.uplink.status.connected
        await until(lambda: store.uplink.status.host == "b:1884")
        assert now_s() - began_s < 0.5
        assert old not in broker.links
        assert len(broker.links) == 1

    alone(scene)


def test_a_rate_of_the_platform_stays_until_the_settings_name_another() -> None:
    async def scene(broker, store, platform) -> None:
        uplink = store.uplink
        await asyncio.sleep(1)
        broker.take(word("rate", events_per_s=500))
        await asyncio.sleep(1)
        uplink.use(replace(uplink.settings, state_delay_s=0.5))
        assert uplink._bucket._rate_per_s == 500
        uplink.use(replace(uplink.settings, rate_per_s=900.0))
        assert uplink._bucket._rate_per_s == 900

    alone(scene)


def test_a_cancelled_uplink_leaves_no_trace() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        store = make_store(broker)
        task = asyncio.create_task(store.uplink.run())
        await asyncio.sleep(1)
        assert store.view._listeners
        assert store.journal._listeners
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert broker.links == []
        assert store.view._listeners == []
        assert store.journal._listeners == []
        assert not store.uplink.status.connected

    run_virtual(main())


# --- connecting -------------------------------------------------------------------------------------------------------


def test_a_broker_that_refuses_is_asked_ever_more_seldom() -> None:
    async def scene(broker, store, platform) -> None:
        broker.refusing = True
        await asyncio.sleep(600)
        assert 20 < len(store.links) < 100

    alone(scene)


@pytest.mark.parametrize(("lasts_s", "patient"), [(4.5, True), (5.5, False)])
def test_only_a_connection_that_lasted_makes_the_pauses_short_again(lasts_s: float, patient: bool) -> None:
    async def scene(broker, store, platform) -> None:
        pauses_s = []
        for _ in range(12):
            await until(lambda: store.uplink.status.connected, 120)
            await asyncio.sleep(lasts_s)
            broker.kill()
            cut_s = now_s()
            await until(lambda: store.uplink.status.connected, 120)
            pauses_s.append(now_s() - cut_s)
        assert (max(pauses_s) > 2) is patient
        assert patient or max(pauses_s) < 0.4

    alone(scene)


def test_a_silent_host_costs_both_its_timeouts_and_no_more() -> None:
    async def main() -> None:
        store = make_store(MemoryBroker(silent=True), connect_timeout_s=3.0, connack_timeout_s=2.0)
        task = asyncio.create_task(store.uplink.run())
        took_s = await until(lambda: store.uplink.status.cause != "")
        assert took_s == pytest.approx(5.0, abs=0.02)
        assert store.uplink.status.cause == "a:1883: silent for 5.0 s, expected CONNACK and SUBACK"
        task.cancel()

    run_virtual(main())


def test_the_cause_names_every_host_that_was_tried() -> None:
    async def main() -> None:
        store = make_store(MemoryBroker(refusing=True), hosts=("mqtt://a:1", "mqtt://b:2"))
        task = asyncio.create_task(store.uplink.run())
        await until(lambda: store.uplink.status.cause != "")
        assert store.uplink.status.cause == "refused; refused"
        task.cancel()

    run_virtual(main())


# --- lanes ------------------------------------------------------------------------------------------------------------


def test_states_leave_at_once_after_a_connection_and_later_changes_after_their_delay() -> None:
    async def scene(broker, store, platform) -> None:
        store.view.set("stock/1", 0, {"on_hand": 1})
        await asyncio.sleep(0.05)
        assert len(sent(broker, "state/stock/1")) == 1
        for round_s in (0.7, 5.3):  # twice: an emptied lane begins its delay anew
            await asyncio.sleep(round_s)
            broker.log.clear()
            store.view.set("stock/1", 0, {"on_hand": 2})
            await asyncio.sleep(1.95)
            assert sent(broker, "state/stock/1") == []
            await asyncio.sleep(0.1)
            assert len(sent(broker, "state/stock/1")) == 1

    alone(scene, state_delay_s=2.0)


def test_a_burst_of_live_facts_leaves_at_once_in_pieces() -> None:
    """Not one piece for each acknowledgement; and a result that is posted meanwhile waits for one piece only."""

    async def scene(broker, store, platform) -> None:
        await asyncio.sleep(1)
        reads = spied(store)
        store.add(3 * LIVE_ROWS)
        await asyncio.sleep(0)
        await asyncio.sleep(0.0019)  # the broker's first acknowledgement needs twice as long
        assert store.uplink.status.facts_sent == 3 * LIVE_ROWS
        assert max(reads) <= 200

    alone(scene)


def spied(store: StoreEnd) -> list[int]:
    """How many rows each read of the log gave."""
    reads: list[int] = []
    read = store.journal.read

    def counting(*args: int, **rest: int) -> list[StoredFact]:
        rows = read(*args, **rest)  # type: ignore[arg-type]
        reads.append(len(rows))
        return rows

    store.journal.read = counting  # type: ignore[method-assign,assignment]
    return reads


def test_a_backlog_drains_in_pieces_of_a_thousand_as_fast_as_it_is_acknowledged() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        store = make_store(broker, rate_per_s=0.0)
        store.add(40_000)
        await asyncio.sleep(0.1)
        reads = spied(store)
        task = asyncio.create_task(store.uplink.run())
        took_s = await until(lambda: store.uplink._box.delivered_seq == 40_000)
        assert max(reads) == READ_ROWS == 1_000
        assert took_s < 1.0, "an acknowledgement makes room at once, no timer is waited for"
        task.cancel()

    run_virtual(main())


def test_a_slow_backlog_comes_evenly() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        store = make_store(broker, rate_per_s=500.0)
        store.add(4_000)
        await asyncio.sleep(0.1)
        task = asyncio.create_task(store.uplink.run())
        await asyncio.sleep(1)
        counts = []
        for _ in range(10):
            before = store.uplink.status.facts_sent
            await asyncio.sleep(0.5)
            counts.append(store.uplink.status.facts_sent - before)
        assert min(counts) >= 190, "a piece of 200 each 0.4 s"
        assert max(counts) <= 410
        task.cancel()

    run_virtual(main())


def test_a_full_window_is_waited_for_without_spinning() -> None:
    async def scene(broker, store, platform) -> None:
        await asyncio.sleep(1)
        broker.stalled = True
        store.add(30_000)
        store.view.set("stock/1", 0, {"on_hand": 1})
        await asyncio.sleep(1)
        steps = 0
        send_some = store.uplink._send_some

        def counted() -> bool:
            nonlocal steps
            steps += 1
            return send_some()

        store.uplink._send_some = counted
        await asyncio.sleep(5)
        assert steps < 20
        broker.stalled = False
        await until(lambda: store.uplink._box.delivered_seq == 30_000)

    alone(scene, rate_per_s=0.0)


# --- what the platform said -------------------------------------------------------------------------------------------


def test_the_same_replay_is_served_once_in_five_seconds_at_any_hour() -> None:
    async def scene(broker, store, platform) -> None:
        store.add(3)
        await asyncio.sleep(1_000)
        for wait_s, copies in ((1.0, 2), (3.0, 2), (2.0, 2), (0.1, 3)):
            broker.take(word("replay", epoch=store.journal.epoch, from_seq=1, to_seq=3))
            await asyncio.sleep(wait_s)
            assert seqs(broker).count(2) == copies

    alone(scene)


def test_trusting_the_broker_also_covers_facts_that_are_not_there_any_more() -> None:
    """A dropped row makes no message, so no PUBACK of it will ever come."""

    async def main() -> None:
        broker = MemoryBroker()
        store = make_store(broker, trust_puback=True, connect_every_s=60.0)
        store.add(5)
        await asyncio.sleep(0.1)
        store.journal._store.write(Batch(drop_seqs=[1, 2, 3, 4, 5]))
        task = asyncio.create_task(store.uplink.run())
        await asyncio.sleep(1)
        assert (store.journal.acked_seq, store.uplink.status.acked_seq) == (5, 5)
        assert not store.uplink.status.connected, "nothing is left to say: a metered link is left"
        task.cancel()

    run_virtual(main())


def test_a_metered_link_is_left_when_all_of_it_has_arrived_and_says_so() -> None:
    async def main() -> None:
        broker = MemoryBroker(delay_s=0.4)
        store = make_store(broker, trust_puback=True, connect_every_s=60.0)
        for number in range(30):
            store.view.set(f"stock/{number}", 0, {"on_hand": number})
        store.uplink.post("command-result", b"r")
        store.add(3)
        task = asyncio.create_task(store.uplink.run())
        await until(lambda: store.uplink.status.left_at_s > 0)
        assert store.uplink.status.left_at_s == pytest.approx(now_s(), abs=0.02)
        assert sum("/state/stock/" in topic for topic in broker.retained) == 30
        assert len(sent(broker, "command-result")) == 1
        assert seqs(broker) == [1, 2, 3]
        assert json.loads(broker.retained[ROOT + "connection"].payload)["online"] is False
        assert store.uplink._posted_by_token == {}, "everything was acknowledged before it left"
        broker.log.clear()
        await until(lambda: store.uplink.status.connected, 70)
        await asyncio.sleep(3)
        online = [json.loads(m.payload)["online"] for m in sent(broker, "connection")]
        assert online == [True, False], "the goodbye of last time is not said again"
        task.cancel()

    run_virtual(main())
