"""The reference consumer: order, duplicates, gaps, boots that alternate, garbage; its stores and its questions."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_bridge.contract.envelope import EnvelopeRenderer
from cloud_bridge.contract.epcis import Places
from cloud_bridge.contract.signed import is_genuine, parse_object
from cloud_bridge.ingest.consumer import PLATFORM_EPOCH, WAITING_LIMIT, Consumer
from cloud_bridge.ingest.query import LiveSight, Place, Sight, StoredSight, distance_km, make_app, prometheus
from cloud_bridge.ingest.reading import EventRow, gap_ranges, read_events
from cloud_bridge.ingest.sequencing import BIRTHS_KEPT, Stream, StreamKey
from cloud_bridge.ingest.store import MIGRATIONS, Arrivals, PlatformStore, SqliteStore
from cloud_bridge.settings import UplinkSettings
from edge.core import facts
from edge.core.fact import Fact, StoredFact, pack
from edge.core.instant import TimeQuality
from edge.core.ports import Message
from tests.bridge_support import PLATFORM, PLATFORM_KEYS
from tests.postgres_support import postgres_folder
from tests.virtual_time import run_virtual

KEY = StreamKey("t1", "s1", "e1")
ROOT = "smartstore/v1/t1/s1/"
GTIN = "04012345000016"


@settings(max_examples=200, deadline=None)
@given(st.permutations(range(1, 30)), st.lists(st.integers(1, 29), max_size=20))
def test_any_order_with_duplicates_ends_complete(order: list[int], again: list[int]) -> None:
    stream = Stream(KEY)
    sent = order + again
    random.Random(1).shuffle(sent)
    fresh = [seq for seq in sent if stream.accept(seq, 1, 0.0)]
    assert sorted(fresh) == list(range(1, 30))
    assert stream.contiguous == 29
    assert not stream.above


def test_gap_facts_count_as_received() -> None:
    stream = Stream(KEY)
    assert stream.accept(1, 1, 0.0)
    assert stream.accept(10, 1, 0.0)
    assert stream.cover([(2, 5), (6, 9), (4, 5)]) == 8
    assert stream.contiguous == 10


def test_two_boots_that_alternate_are_refused() -> None:
    stream = Stream(KEY)
    assert all(stream.accept(seq, 5, 0.0) for seq in range(1, 10))
    assert all(stream.accept(seq, 6, 0.0) for seq in range(10, 20))
    assert stream.accept(3, 5, 0.0) is False
    assert stream.refused == "", "a replay of an older boot is no crime"
    assert stream.accept(20, 5, 0.0) is False
    assert stream.refused == "boots 5 and 6 alternate in one epoch (seq 20)"
    assert stream.accept(21, 6, 0.0) is False, "nothing of this epoch is believed any more"


def test_the_same_seq_from_two_boots_is_refused() -> None:
    stream = Stream(KEY)
    assert stream.accept(1, 5, 0.0)
    assert stream.accept(1, 6, 0.0) is False
    assert "alternate" in stream.refused


def test_two_processes_in_one_boot_are_refused() -> None:
    stream = Stream(KEY)
    for _ in range(3):
        assert stream.born(5, "a", 0, 0.0)
    assert stream.refused == ""
    assert not stream.born(5, "b", 0, 0.0)
    assert stream.refused == "two processes in boot 5 of one epoch"


def test_a_boot_that_falls_back_is_refused_by_its_events() -> None:
    stream = Stream(KEY)
    stream.accept(1, 7, 0.0)
    assert not stream.born(6, "x", 1, 0.0)
    assert stream.refused == "", "a birth may be late"
    assert stream.accept(2, 6, 0.0) is False
    assert "boots 6 and 7 alternate" in stream.refused


def test_a_boot_older_than_any_broker_keeps_a_birth_is_refused() -> None:
    stream = Stream(KEY)
    for boot in range(10, 10 + BIRTHS_KEPT):
        stream.born(boot, f"p{boot}", 0, 0.0)
    stream.born(3, "restored", 0, 0.0)
    assert stream.refused == f"boot 3 came after boot {9 + BIRTHS_KEPT} in one epoch"


def test_a_birth_that_comes_late_changes_nothing() -> None:
    stream = Stream(KEY)
    assert stream.born(5, "a", 10, 0.0, "10:00")
    assert stream.born(6, "b", 20, 0.0, "10:05")
    stream.connected(6, online=False)
    stream.announced((1, 20), 20, 0.0)
    for late in ((5, "a", 10, "10:00"), (5, "a", 12, "10:01"), (6, "b", 20, "10:05"), (6, "b", 19, "10:04")):
        assert not stream.born(late[0], late[1], late[2], 1.0, late[3])
        assert (stream.online, stream.backlog, stream.promised, stream.refused) == (False, (1, 20), 20, "")
    stream.connected(5, online=True)
    assert stream.online is False, "the word of a boot that is over"
    assert stream.born(6, "b", 20, 1.0, "10:06"), "a new connection of the same process"
    assert (stream.online, stream.backlog) == (True, None)


HONEST = [(boot, f"p{boot}", 10 * boot + n, f"{boot}:{n}") for boot in range(1, 6) for n in range(3)]


@settings(max_examples=200, deadline=None)
@given(st.permutations(HONEST), st.lists(st.sampled_from(HONEST), max_size=10), st.integers(0, 14))
def test_births_in_any_order_and_number_accuse_nobody_but_two_in_a_boot(
    order: list[tuple[int, str, int, str]], again: list[tuple[int, str, int, str]], victim: int
) -> None:
    stream = Stream(KEY)
    for boot, instance, last, time in order + again:
        stream.born(boot, instance, last, 0.0, time)
    assert stream.refused == ""
    assert (stream.online, stream.promised) == (True, 52)
    cloned = Stream(KEY)
    boot, _, last, time = HONEST[victim]
    for row in (*order[:7], (boot, "clone", last, time), *order[7:]):
        cloned.born(row[0], row[1], row[2], 0.0, row[3])
    assert cloned.refused == f"two processes in boot {boot} of one epoch"


def test_a_late_will_leaves_a_store_that_goes_on_talking() -> None:
    stream = Stream(KEY)
    stream.born(1, "a", 0, 0.0, "10:00")
    stream.connected(1, online=False)
    assert stream.accept(3, 1, 0.0)
    assert stream.online is True
    stream.connected(1, online=False)
    assert not stream.accept(3, 1, 1.0)
    assert stream.online is False, "what is delivered again says nothing of now"
    assert stream.to_ask(9.0) is None


def test_gaps_are_asked_for_in_time_and_not_too_often() -> None:
    stream = Stream(KEY, online=True)
    stream.accept(1, 1, 0.0)
    stream.accept(5, 1, 0.0)
    asked = [(t, got) for t in range(60) if (got := stream.to_ask(float(t)))]
    assert [t for t, _ in asked] == [2, 7, 17, 37]
    assert {got for _, got in asked} == {(2, 4)}
    stream.announced((1, 4), 5, 60.0)
    assert stream.to_ask(65.0) is None, "an announced backlog is no gap until it is done"
    assert stream.to_ask(100.0) is None
    assert stream.to_ask(103.0) == (2, 4), "unless it stands still"
    stream.online = False
    assert stream.to_ask(200.0) is None


def test_scattered_holes_are_asked_for_at_once() -> None:
    stream = Stream(KEY, online=True)
    for seq in (*range(2, 100, 2), 600):
        stream.accept(seq, 1, 0.0)
    assert stream.to_ask(0.0) is None
    assert stream.to_ask(2.0) == (1, 599)
    for seq in (*range(1, 100), *range(601, 900), 1_000):
        stream.accept(seq, 1, 3.0)
    assert stream.to_ask(3.0) is None
    assert stream.to_ask(5.0) == (100, 599), "900 to 999 lies further than a message away"


def test_a_promised_tail_is_a_gap() -> None:
    stream = Stream(KEY)
    stream.born(1, "a", 3, 0.0)
    assert stream.to_ask(0.0) is None
    assert stream.to_ask(3.0) == (1, 3)


def rendered(*rows: Fact, start: int = 1, epoch: str = "e1", boot: int = 1) -> bytes:
    way = EnvelopeRenderer(Places("urn:epc:id:sgln:4012345.00001.0", {}), "Asia/Tokyo", epoch)
    made = []
    for seq, fact in enumerate(rows, start):
        made.append(way.event(StoredFact(seq, boot, 1, 1, 1, TimeQuality.SYNCED, fact.CODE, pack(fact))))
    return f"[{','.join(made)}]".encode()


def on_hand(count: int, shelf: str = "a") -> Fact:
    return facts.OnHandChanged(
        at_us=1, gtin=GTIN, shelf=shelf, on_hand=count, low=0, high=9, confidence=0.9, sources=[], reason="x"
    )


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"7", "no CloudEvents"),
        (b'{"specversion":"1.0","type":"io.smartstore.x.Y.v2","data":{}}', "none of this contract"),
        (b'{"specversion":"1.0","type":"io.smartstore.x.Y.v1","data":{}}', "missing or malformed"),
        (rendered(on_hand(1)).replace(b"e1-1", b"e1-2"), "expected epoch-seq"),
        (b"[" + b",".join([b"1"] * 201) + b"]", "201 events"),
        (b" " * (1 << 20) + b"1", "expected at most"),
    ],
)
def test_garbage_is_named(payload: bytes, reason: str) -> None:
    rows, faults = read_events(payload)
    assert rows == []
    assert reason in faults[0]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_exception(payload: bytes) -> None:
    rows, faults = read_events(payload)
    assert rows == []
    assert faults or payload.strip() == b"[]"


def test_malformed_gap_ranges_are_left_out() -> None:
    row = EventRow(
        1, 1, "e", "system.Gap", "", "", "", 0, {"missing": [[1, 2], [3], "x", [5, 4], [0, 1], [True, 2], [7, 7]]}
    )
    assert gap_ranges(row) == [(1, 2), (7, 7)]


class Desk:
    """A consumer with an ear for what it says."""

    def __init__(self, store: PlatformStore | None = None) -> None:
        self.store = store or SqliteStore(None)
        self.said: list[Message] = []
        self.consumer = Consumer(self.store, PLATFORM, "p1", self.said.append)

    def give(self, suffix: str, payload: bytes) -> None:
        self.consumer.received(Message(ROOT + suffix, payload))

    def acks(self) -> list[int]:
        return [json.loads(m.payload)["acked_seq"] for m in self.said if m.topic.endswith("/ack")]


def test_acknowledged_is_what_is_durable_and_signed() -> None:
    async def main() -> None:
        desk = Desk()
        await desk.consumer.open()
        desk.give("events/inventory", rendered(on_hand(1), on_hand(2)))
        assert desk.said == []
        await desk.consumer.flush()
        body = parse_object(desk.said[0].payload)
        ring = UplinkSettings(platform_keys=PLATFORM_KEYS).keyring()
        assert body is not None
        assert is_genuine(ROOT + "ack", body, ring)
        assert desk.acks() == [2]
        desk.give("events/inventory", rendered(on_hand(1), on_hand(2)))
        await desk.consumer.flush()
        assert desk.acks() == [2, 2], "who sends twice is told again"
        assert desk.consumer.counters.duplicates == 2

    run_virtual(main())


def test_a_failed_write_is_never_acknowledged() -> None:
    class Broken(SqliteStore):
        async def write(self, arrivals: Arrivals) -> None:
            raise OSError("disk")

    async def main() -> None:
        desk = Desk(Broken(None))
        await desk.consumer.open()
        desk.give("events/inventory", rendered(on_hand(1)))
        with pytest.raises(OSError, match="disk"):
            await desk.consumer.flush()
        await desk.consumer.flush()
        assert desk.said == []

    run_virtual(main())


def test_progress_survives_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        first = Desk(SqliteStore(tmp_path / "p.db"))
        await first.consumer.open()
        first.give("events/inventory", rendered(on_hand(3), start=1))
        first.give("events/inventory", rendered(on_hand(5), start=3))
        await first.consumer.flush()
        await first.store.close()
        second = Desk(SqliteStore(tmp_path / "p.db"))
        await second.consumer.open()
        second.give("events/inventory", rendered(on_hand(4), start=2))
        second.give("events/inventory", rendered(on_hand(5), start=3))
        await second.consumer.flush()
        assert second.acks() == [3]
        assert second.consumer.counters.duplicates == 1
        (row,) = await second.store.query("stock", tenant="t1", store="s1", gtin="")
        assert row["on_hand"] == 5, "a replayed older count does not overwrite a newer one"
        await second.store.close()

    asyncio.run(main())


def test_a_restarted_platform_asks_a_store_that_says_no_birth(tmp_path: Path) -> None:
    async def main() -> None:
        first = Desk(SqliteStore(tmp_path / "p.db"))
        await first.consumer.open()
        first.give("birth", b'{"epoch":"e0","boot":9,"instance":"z","last_seq":0}')
        first.give("birth", b'{"epoch":"e1","boot":1,"instance":"a","last_seq":4,"time":"10:00"}')
        first.give("events/inventory", rendered(on_hand(3), start=1))
        await first.consumer.flush()
        await first.store.close()
        second = Desk(SqliteStore(tmp_path / "p.db"))
        await second.consumer.open()
        second.consumer.ask_for_gaps()
        await asyncio.sleep(2.1)
        second.consumer.ask_for_gaps()
        assert [json.loads(m.payload)["to_seq"] for m in second.said] == [4], "what was promised before"
        second.give("state/gateway", b'{"as_of_seq":0,"last_seq":9,"backlog":{"from_seq":2,"to_seq":9}}')
        assert second.consumer.streams[KEY].backlog == (2, 9), "of the newest epoch"
        second.give("birth", b'{"epoch":"e1","boot":1,"instance":"b","last_seq":4}')
        await second.consumer.flush()
        (row,) = await second.store.query("refusals")
        assert row["reason"] == "two processes in boot 1 of one epoch", "the first one's birth is remembered"
        await second.store.close()

    run_virtual(main())


def test_a_file_of_the_first_release_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        old = sqlite3.connect(tmp_path / "p.db")
        old.executescript(MIGRATIONS[0])
        old.execute("PRAGMA user_version = 1")
        old.execute("INSERT INTO stream VALUES (1, 't1', 's1', 'e1', 7, '[[9,9]]', '[[1,1,9]]', '')")
        old.commit()
        old.close()
        store = SqliteStore(tmp_path / "p.db")
        (stream,) = await store.open()
        assert (stream.contiguous, stream.births, stream.online, stream.promised) == (7, {}, None, 0)
        await store.close()

    asyncio.run(main())


def test_a_refused_journal_is_recorded_and_not_acknowledged() -> None:
    async def main() -> None:
        desk = Desk()
        await desk.consumer.open()
        desk.give("events/inventory", rendered(on_hand(1), start=1, boot=5))
        desk.give("events/inventory", rendered(on_hand(1), start=2, boot=6))
        desk.give("events/inventory", rendered(on_hand(1), start=3, boot=5))
        await desk.consumer.flush()
        assert desk.acks() == []
        (row,) = await desk.store.query("refusals")
        assert "boots 5 and 6 alternate" in row["reason"]
        assert desk.consumer.counters.refused_streams == 1
        told = await desk.store.query("facts", tenant="t1", store="s1")
        assert {"fact": "security.SplitBrain", "count": 1} in told
        assert {key.epoch for key in desk.consumer.streams} == {"e1", PLATFORM_EPOCH}
        desk.give("events/inventory", rendered(on_hand(1), epoch="e2"))
        await desk.consumer.flush()
        assert desk.acks() == [1], "a new epoch is a new beginning"

    run_virtual(main())


def test_memory_is_bounded_when_the_database_is_slow() -> None:
    async def main() -> None:
        desk = Desk()
        await desk.consumer.open()
        for batch in range(WAITING_LIMIT // 200 + 3):
            desk.give("events/inventory", rendered(*([on_hand(1)] * 200), start=1 + 200 * batch))
        assert desk.consumer._pending.n_events <= WAITING_LIMIT
        assert desk.consumer.counters.overload == 600

    run_virtual(main())


async def questions(store: PlatformStore, stored: bool) -> None:
    """The same answers from every store, with its workers in this process or (stored) elsewhere."""
    desk = Desk(store)
    await desk.consumer.open()
    quarter = facts.Crossings(at_us=1, door="d", start_us=0, end_us=900, entered=7, left=5)
    desk.give(
        "events/inventory", rendered(on_hand(3, "a"), on_hand(0, "b"), facts.StockOut(at_us=1, gtin=GTIN), quarter)
    )
    desk.consumer.received(Message("smartstore/v1/t1/s2/events/x", rendered(on_hand(4), epoch="e9")))
    desk.give("state/stock/" + GTIN, b'{"as_of_seq":3,"on_hand":3,"available_to_promise":2}')
    desk.give("state/device/d1", b'{"as_of_seq":3}')
    desk.give("birth", b'{"epoch":"e1","boot":1,"last_seq":4}')
    desk.consumer.received(Message("smartstore/v1/t1/s2/birth", b'{"epoch":"e9","boot":1,"last_seq":3}'))
    await desk.consumer.flush()
    desk.give("state/device/d1", b"")
    desk.consumer.received(Message("smartstore/v1/t1/s2/connection", b'{"online":false,"boot":1,"time":"x"}'))
    await desk.consumer.flush()
    assert sorted(desk.acks()) == [1, 4]
    places = {("t1", "s1"): Place(35.68, 139.76), ("t1", "s2"): Place(34.69, 135.50)}
    consumer = desk.consumer
    await store.tell_totals("ingest-0", {**consumer.counters.totals(), "events": 0})
    await store.tell_totals("ingest-0", consumer.counters.totals())
    sight: Sight = StoredSight(store) if stored else LiveSight(consumer)
    app = make_app(store, sight, places)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://p") as web:
        near = {"tenant": "t1", "latitude": 34.7, "longitude": 135.5}
        rows = (await web.get(f"/v1/who-has/{GTIN}", params=near)).json()
        assert [(row["store"], row["on_hand"], row["available"]) for row in rows] == [("s2", 4, None), ("s1", 3, 2)]
        assert rows[0]["distance_km"] < 2 < 390 < rows[1]["distance_km"] < 410
        assert len((await web.get("/v1/stock", params={"tenant": "t1", "store": "s1"})).json()) == 2
        assert (await web.get(f"/v1/promise/s1/{GTIN}", params={"tenant": "t1"})).json()["available_to_promise"] == 2
        assert (await web.get(f"/v1/promise/s9/{GTIN}", params={"tenant": "t1"})).status_code == 404
        outs = (await web.get("/v1/stock-outs", params={"tenant": "t1"})).json()
        assert [(row["store"], row["gtin"]) for row in outs] == [("s1", GTIN)]
        period = {"tenant": "t1", "from_us": 0, "to_us": 1000}
        assert (await web.get("/v1/footfall", params=period)).json()[0]["entered"] == 7
        stores = (await web.get("/v1/stores", params={"tenant": "t1"})).json()
        assert [(row["store"], row["complete_to"], row["missing"]) for row in stores] == [("s1", 4, 0), ("s2", 1, 2)]
        assert [(row["promised"], row["online"]) for row in stores] == [(4, True), (3, False)]
        assert (await web.get("/v1/stock", params={"tenant": "T 1"})).status_code == 422
        assert (await web.get("/v1/who-has/123", params={"tenant": "t1"})).status_code == 422
        text = (await web.get("/metrics")).text
        label = '{worker="ingest-0"}' if stored else ""
        assert f"# TYPE smartstore_events_total counter\nsmartstore_events_total{label} 5\n" in text
        for gauge in ("stores 2", "stores_online 1", "stores_refused 0", "events_missing 2"):
            assert f"smartstore_{gauge}\n" in text
    assert text == prometheus(await sight.totals(), await sight.streams())
    assert [row["name"] for row in await store.query("states", tenant="t1", store="", name="%")] == ["stock/" + GTIN]
    assert {row["fact"]: row["count"] for row in await store.query("facts", tenant="t1", store="s1")} == {
        "footfall.Crossings": 1,
        "inventory.OnHandChanged": 2,
        "inventory.StockOut": 1,
    }
    await store.close()


SIGHTS = pytest.mark.parametrize("stored", [False, True], ids=["workers here", "workers elsewhere"])


@SIGHTS
def test_questions_to_sqlite(stored: bool) -> None:
    asyncio.run(questions(SqliteStore(None), stored))


@SIGHTS
def test_questions_to_postgresql(stored: bool) -> None:
    from cloud_bridge.ingest.central import Postgres
    from cloud_bridge.ingest.postgres import PostgresStore

    async def main() -> None:
        async with Postgres(folder / "pg") as server:
            await questions(PostgresStore(server.address), stored)
            again = PostgresStore(server.address, ["t1"])
            streams = {stream.key.store: stream for stream in await again.open()}
            assert streams["s1"].contiguous == 4
            assert streams["s1"].boots == {1: (1, 4)}
            behind = Desk(again)  # knows nothing of what is written, as a second worker would
            behind.give("events/inventory", rendered(on_hand(3, "a"), *([on_hand(1)] * 9)))
            await behind.consumer.flush()
            told = await again.query("facts", tenant="t1", store="s1")
            assert sum(row["count"] for row in told) == 10, "what was there already is there once"
            app = make_app(again, StoredSight(again))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://p") as web:
                assert (await web.get("/v1/stores")).status_code == 200
                await server.stop()
                for path in ("/metrics", "/v1/stock?tenant=t1"):
                    answer = await web.get(path)
                    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
                    assert "PostgreSQL" in answer.json()["detail"]
            await again.close()

    with postgres_folder() as folder:
        asyncio.run(main())


def test_distance() -> None:
    tokyo, osaka = Place(35.6812, 139.7671), Place(34.7025, 135.4959)
    assert distance_km(tokyo, osaka) == pytest.approx(403, abs=2)
    assert distance_km(tokyo, tokyo) == 0.0
