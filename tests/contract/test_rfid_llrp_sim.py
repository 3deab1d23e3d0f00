"""The LLRP driver against the simulated reader (written apart, from the same standard): memory links and real TCP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from devices.driver import DriverContext
from devices.registry import driver_info
from devices.rfid_llrp.driver import LlrpDriver
from devices.rfid_llrp.link import LlrpLink
from devices.rfid_llrp.plan import OUR_ROSPEC
from devices.rfid_llrp.playback import recorded_reads
from devices.rfid_llrp.settings import Duty, Settings
from devices.transport import Tap, open_stream
from devices.transport.stream import ByteStream
from edge.core.errors import DeviceError, DeviceMisbehaved, DeviceRefused, DeviceTimeout, LinkLost
from edge.core.observation import AntennaStatus, DeviceIdentity, DeviceState, DeviceStatus, TagReads
from firmware_sim.llrp_caps import Identity
from firmware_sim.llrp_reader import LlrpReader, ReaderOptions
from firmware_sim.radio import Reads
from firmware_sim.stream import TcpStream, memory_pipe, serve_tcp
from tests.virtual_time import run_virtual

UTC_US = 1_700_000_000_000_000
EPOCH_US = 5_000_000  # the engine's clock is neither the reader's nor zero


class Tags:
    """Ten tags: tag i is read by antenna 1 + i % 2 every 100 ms, 10 ms after the other."""

    def __init__(self, width: int = 12) -> None:
        self.epcs = np.arange(10 * width, dtype=np.uint8).reshape(10, width)

    def reads_between(self, t0_us: int, t1_us: int) -> Reads:
        rows = [
            (base + 10_000 * tag, tag, 1 + tag % 2, -5000 - 100 * tag)
            for base in range(t0_us // 100_000 * 100_000, t1_us, 100_000)
            for tag in range(10)
        ]
        rows = [row for row in rows if t0_us <= row[0] < t1_us]
        columns = zip(*rows, strict=True) if rows else ([], [], [], [])
        return Reads(*(np.array(column, np.int64) for column in columns))


class OurEnd:
    """A simulator's stream as ours: the end of the stream is LinkLost."""

    def __init__(self, stream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int = 65536) -> bytes:
        data = await self._stream.read(max_bytes)
        if not data:
            raise LinkLost("sim", "closed by the peer")
        return data

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.write(data)
        except ConnectionError as error:
            raise LinkLost("sim", str(error)) from error

    async def close(self) -> None:
        await self._stream.close()


class Scene:
    """A simulated reader and our driver on a memory link, in virtual or real time."""

    def __init__(self, options: ReaderOptions | None = None, width: int = 12) -> None:
        loop = asyncio.get_running_loop()
        self.started_s = loop.time()
        self.reader = LlrpReader(
            Tags(width), (1, 2), lambda: self.now_us(), lambda: UTC_US + self.now_us(), options or ReaderOptions()
        )
        self.seen: list[object] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.open = True
        self.context = DriverContext(
            "reader-1", lambda: EPOCH_US + self.now_us(), self.connect, store_open=lambda: self.open
        )

    def now_us(self) -> int:
        return round((asyncio.get_running_loop().time() - self.started_s) * 1e6)

    async def connect(self, moniker: str) -> ByteStream:
        ours, theirs = memory_pipe()
        self.tasks.append(asyncio.create_task(self.reader.serve(theirs)))
        return OurEnd(ours)

    async def run(self, seconds: float, settings: Settings | None = None) -> None:
        """Let the driver work; what ends it comes out."""
        driver = LlrpDriver(self.context, settings or Settings("sim:reader-1"))
        try:
            async with asyncio.timeout(seconds):
                await driver.run(self.seen.append)
        except TimeoutError as error:
            if isinstance(error, DeviceTimeout):
                raise

    def all(self, kind):
        return [item for item in self.seen if isinstance(item, kind)]

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def played(play: Callable[[Scene], Awaitable[None]], options: ReaderOptions | None = None, width: int = 12) -> Scene:
    async def main() -> Scene:
        scene = Scene(options, width)
        try:
            await play(scene)
        finally:
            await scene.end()
        return scene

    return run_virtual(main())


def test_set_up_identity_antennas_reads():
    scene = played(lambda scene: scene.run(5))
    [identity] = scene.all(DeviceIdentity)
    assert (identity.serial, identity.firmware) == ("0016251125d6", "5.14.0.240")
    assert identity.model == "Impinj 2001002"
    assert [(status.antenna, status.connected) for status in scene.all(AntennaStatus)] == [(1, True), (2, True)]
    assert [status.state for status in scene.all(DeviceStatus)] == [DeviceState.ONLINE]
    batches = scene.all(TagReads)
    kinds = [type(item) for item in scene.seen]
    assert kinds.index(DeviceIdentity) < kinds.index(DeviceStatus) < kinds.index(TagReads)
    assert {row.tobytes() for batch in batches for row in batch.epc} == {row.tobytes() for row in Tags().epcs}
    for batch in batches:
        assert batch.epc.shape == (len(batch), 12)
        tags = batch.epc[:, 0] // 12
        assert (batch.antenna == 1 + tags % 2).all()
        assert (batch.rssi_cdbm == -5000 - 100 * tags.astype(int)).all(), "fine RSSI of Impinj's extension"
        assert (batch.seen_us <= batch.mono_us).all()
        assert (batch.mono_us - batch.seen_us < 400_000).all()
    assert sum(int(batch.count.sum()) for batch in batches) >= 4.5 * 100  # 100 reads/s


def test_reads_come_within_the_batch_time():
    scene = played(lambda scene: scene.run(5, Settings("sim:r", batch_ms=250)))
    gaps_us = np.diff([batch.mono_us for batch in scene.all(TagReads)])[:-1]  # the last one is cut off by the end
    assert gaps_us.min() >= 200_000
    assert gaps_us.max() <= 500_000  # the reader itself reports every 100 ms


@pytest.mark.parametrize("skew_us", [-86_400_000_000, 3_600_000_000, 12_345])
def test_reader_clock_skew_is_mapped(skew_us):
    scene = played(lambda scene: scene.run(5), ReaderOptions(utc_skew_us=skew_us))
    for batch in scene.all(TagReads)[1:]:
        true_us = batch.seen_us - EPOCH_US
        error_us = true_us % 10_000  # the tags are read at multiples of 10 ms of the scene
        assert np.minimum(error_us, 10_000 - error_us).max() <= 1_000 or (batch.mono_us - batch.seen_us).max() < 220_000


def test_unchanged_fields_and_wide_epcs():
    scene = played(lambda scene: scene.run(3), ReaderOptions(omit_unchanged=True), width=16)
    batches = scene.all(TagReads)
    assert batches
    for batch in batches:
        tags = batch.epc[:, 0] // 16
        assert batch.epc.shape[1] == 16
        assert (batch.antenna == 1 + tags % 2).all()
        assert (batch.rssi_cdbm == -5000 - 100 * tags.astype(int)).all()


def test_keepalive_keeps_the_link_for_a_quiet_night():
    async def play(scene: Scene) -> None:
        await scene.run(1200, Settings("sim:r", closed_hours=Duty(on_s=0)))

    async def closed(scene: Scene) -> None:
        scene.open = False
        await play(scene)

    scene = played(closed)
    assert [(status.state, status.cause) for status in scene.all(DeviceStatus)] == [(DeviceState.DEGRADED, "duty_off")]
    assert scene.all(TagReads) == []


def test_schedule_by_opening_hours():
    async def play(scene: Scene) -> None:
        async def close_later() -> None:
            await asyncio.sleep(30)
            scene.open = False
            await asyncio.sleep(60)
            scene.open = True

        closing = asyncio.create_task(close_later())
        await scene.run(120, Settings("sim:r", closed_hours=Duty(on_s=2, off_s=18)))
        await closing

    scene = played(play)
    seen_s = np.concatenate([(batch.seen_us - EPOCH_US) / 1e6 for batch in scene.all(TagReads)])
    open_rate = ((seen_s > 5) & (seen_s < 30)).sum() / 25
    night_rate = ((seen_s > 41) & (seen_s < 81)).sum() / 40
    again_rate = ((seen_s > 102) & (seen_s < 118)).sum() / 16
    assert open_rate == pytest.approx(again_rate, rel=0.1)
    assert night_rate == pytest.approx(open_rate / 10, rel=0.3)


def test_long_rests_are_told():
    """What a resting reader does not see has not gone: presence hears of each rest of 30 s and more."""
    scene = played(lambda scene: scene.run(130, Settings("sim:r", open_hours=Duty(on_s=10, off_s=50))))
    states = [(status.mono_us - EPOCH_US, status.state, status.cause) for status in scene.all(DeviceStatus)]
    causes = [cause for _, _, cause in states]
    assert causes[:5] == ["", "duty_off", "", "duty_off", ""]
    off_us = [at_us for at_us, _, cause in states if cause]
    assert np.diff(off_us) == pytest.approx(60e6, abs=2e6)
    short = played(lambda scene: scene.run(60, Settings("sim:r", open_hours=Duty(on_s=2, off_s=3))))
    assert [status.cause for status in short.all(DeviceStatus)] == [""]


def test_silence_is_link_lost_after_15_s():
    async def play(scene: Scene) -> None:
        running = asyncio.create_task(scene.run(60))
        await asyncio.sleep(5)
        for task in scene.tasks:  # the reader freezes: its socket stays open, nothing comes
            task.cancel()
        scene.reader.serve = None
        before_s = asyncio.get_running_loop().time()
        with pytest.raises(LinkLost):
            await running
        assert asyncio.get_running_loop().time() - before_s <= 15.1

    played(play)


class Mute:
    """A peer that accepts and says nothing, or what it is given."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)
        self.written = b""

    async def read(self, max_bytes: int = 65536) -> bytes:
        if self._chunks:
            return self._chunks.pop(0)
        await asyncio.sleep(1e6)
        raise AssertionError

    async def write(self, data: bytes) -> None:
        self.written += data

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("chunks", "error", "words"),
    [
        ((), DeviceTimeout, "is this an LLRP reader"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), DeviceMisbehaved, "cannot be followed"),
        ((bytes.fromhex("043f0000000a00000001"),), DeviceMisbehaved, "begins with READER_EVENT_NOTIFICATION"),
    ],
)
def test_no_llrp_reader_there(chunks, error, words):
    async def play(scene: Scene) -> None:
        async def connect(moniker: str) -> ByteStream:
            return Mute(*chunks)

        context = DriverContext("reader-1", lambda: 0, connect)
        with pytest.raises(error, match=words):
            await LlrpDriver(context, Settings("tcp:x:1")).run(scene.seen.append)

    played(play)


def test_lying_length_counts_as_silence():
    """A header that claims half a megabyte swallows what follows, keepalives too: after 15 s that is no reader."""

    async def play(scene: Scene) -> None:
        loop = asyncio.get_running_loop()

        class Liar(Mute):
            async def read(self, max_bytes: int = 65536) -> bytes:
                await asyncio.sleep(1)
                return bytes.fromhex("043d0007a12000000001") + bytes(1000)

        async def connect(moniker: str) -> ByteStream:
            return Liar()

        context = DriverContext("reader-1", lambda: 0, connect)
        link = LlrpLink(context, await connect(""))
        before_s = loop.time()
        with pytest.raises(LinkLost, match="silent for 15 s"):
            await link.receive()
        assert loop.time() - before_s <= 15.1

    played(play)


def test_second_client_is_refused_with_a_hint():
    async def play(scene: Scene) -> None:
        first = asyncio.create_task(scene.run(20))
        await asyncio.sleep(2)
        with pytest.raises(DeviceRefused, match="another client is connected; LLRP readers take one"):
            await scene.run(5)
        await asyncio.sleep(1)
        first.cancel()
        assert scene.context.counters["other_clients"] == 1

    played(play)


@pytest.mark.parametrize("request_type", [1, 3, 20, 24, 22])
def test_error_answers_reach_the_technician(request_type):
    async def play(scene: Scene) -> None:
        with pytest.raises(DeviceRefused, match=r"R_DeviceError \(401\) “radio is on fire”.*power-cycle the reader"):
            await scene.run(5)

    played(play, ReaderOptions(refuse={request_type: "radio is on fire"}))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings("sim:r", antennas=(3,)), "antennas = 3: expected a port from 1 to 2"),
        (Settings("sim:r", tx_power_dbm=5.0), "tx_power_dbm = 5.0: expected 10 to"),
        (Settings("sim:r", mode=77), "mode = 77: expected one of"),
        (
            Settings("sim:r", identity="00:16:25:00:00:01"),
            "reader 0016251125d6 answers at sim:r; expected 001625000001",
        ),
    ],
)
def test_settings_that_do_not_fit_the_reader_are_named(settings, words):
    async def play(scene: Scene) -> None:
        with pytest.raises(DeviceRefused) as caught:
            await scene.run(5, settings)
        assert words in str(caught.value)

    played(play)


def test_transmit_power_by_antenna_reaches_the_reader():
    settings = Settings("sim:r", tx_power_dbm=20.0, tx_power_by_antenna_dbm={"2": 27.3}, mode=1002, session=2)
    scene = played(lambda scene: scene.run(3, settings))
    assert scene.all(TagReads)
    assert scene.context.counters["tags_in"] > 100


def test_antenna_event_exception_and_recovery():
    async def play(scene: Scene) -> None:
        running = asyncio.create_task(scene.run(100))
        await asyncio.sleep(3)
        scene.reader.set_antenna(2, False)
        scene.reader.complain("antenna 2 overheats")
        await running

    scene = played(play)
    assert [(s.antenna, s.connected) for s in scene.all(AntennaStatus)] == [(1, True), (2, True), (2, False)]
    states = [(status.state, status.cause, status.detail) for status in scene.all(DeviceStatus)]
    assert states == [
        (DeviceState.ONLINE, "", ""),
        (DeviceState.DEGRADED, "reader_exception", "antenna 2 overheats"),
        (DeviceState.ONLINE, "", ""),
    ]


def test_driver_starts_again_on_a_reader_that_kept_its_plan():
    async def play(scene: Scene) -> None:
        for _ in range(3):
            await scene.run(2)
            await asyncio.sleep(0.2)

    scene = played(play)
    assert [status.state for status in scene.all(DeviceStatus)] == [DeviceState.ONLINE] * 3


def test_plan_that_the_reader_stopped_is_started_again():
    async def play(scene: Scene) -> None:
        running = asyncio.create_task(scene.run(40))
        await asyncio.sleep(12)
        stop_rospec = scene.reader.inventory.requests[23]
        stop_rospec(OUR_ROSPEC.to_bytes(4, "big"))
        await running

    scene = played(play)
    seen_s = np.array([batch.mono_us - EPOCH_US for batch in scene.all(TagReads)]) / 1e6
    assert not ((seen_s > 13) & (seen_s < 19)).any(), "it did stop"
    assert ((seen_s > 25) & (seen_s < 39)).sum() > 50
    assert scene.context.counters["plans_restarted"] == 1


def test_over_tls_as_readers_offer_it_on_port_5085(tmp_path):
    import ssl

    from tests.unit.test_transport import make_certificate

    pin = make_certificate(tmp_path)

    async def main() -> list[object]:
        scene = Scene()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

        async def connected(reader, writer) -> None:
            await scene.reader.serve(TcpStream(reader, writer))

        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        context = DriverContext("reader-1", scene.context.now_us, open_stream)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await LlrpDriver(context, Settings(f"tls:127.0.0.1:{port}?pin={pin}")).run(scene.seen.append)
        server.close()
        return scene.seen

    seen = asyncio.run(asyncio.wait_for(main(), 30))
    assert sum(len(item) for item in seen if isinstance(item, TagReads)) > 20


def test_reader_that_takes_one_plan_only_and_has_a_foreign_one():
    from devices.rfid_llrp.capabilities import Capabilities
    from devices.rfid_llrp.plan import rospec

    async def play(scene: Scene) -> None:
        link = LlrpLink(scene.context, await scene.connect("sim:r"))
        await link.greet()
        foreign = rospec(Settings("sim:r"), Capabilities(), Duty())
        foreign = type(foreign)(foreign.name, {**foreign.fields, "ROSpecID": 1}, foreign.children)
        await link.request("ADD_ROSPEC", {}, foreign)
        await link.close_politely()
        await asyncio.sleep(1)
        with pytest.raises(DeviceRefused, match="ADD_ROSPEC"):
            await scene.run(3)
        await asyncio.sleep(1)
        await scene.run(3, Settings("sim:r", take_over=True))
        assert scene.all(TagReads)

    played(play, ReaderOptions(identity=Identity(max_rospecs=1)))


def test_over_real_tcp_with_a_tap_and_its_replay(tmp_path):
    tap = tmp_path / "reader.tap"

    async def main() -> tuple[list[object], list[object]]:
        scene = Scene()
        server, port = await serve_tcp(scene.reader.serve)
        context = DriverContext("reader-1", scene.context.now_us, open_stream)
        live: list[object] = []
        info = driver_info("rfid_llrp")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await info.open(context, Settings(f"tcp:127.0.0.1:{port}?tap={tap}")).run(live.append)
        server.close()
        replayed: list[object] = []
        with pytest.raises(LinkLost, match="end of the recording"):
            await info.open(context, Settings(f"replay:{tap}?speed=0")).run(replayed.append)
        return live, replayed

    live, replayed = asyncio.run(asyncio.wait_for(main(), 30))
    reads = [sum(len(item) for item in seen if isinstance(item, TagReads)) for seen in (live, replayed)]
    assert reads[0] > 50
    assert 0 < reads[1] <= reads[0] + 20


def test_tcp_link_that_moved_or_closed_is_link_lost():
    async def main() -> None:
        scene = Scene()
        server, port = await serve_tcp(scene.reader.serve)
        server.close()
        context = DriverContext("reader-1", scene.context.now_us, open_stream)
        with pytest.raises(LinkLost, match=f"port {port}"):
            await LlrpDriver(context, Settings(f"tcp:127.0.0.1:{port}")).run(scene.seen.append)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_recorded_reads_are_those_of_the_live_driver(tmp_path):
    tap = tmp_path / "reader.tap"

    async def play(scene: Scene) -> None:
        context = scene.context

        async def tapped(moniker: str) -> ByteStream:
            return Tap(await scene.connect(moniker), tap, moniker)

        scene.context = DriverContext(context.device_id, context.now_us, tapped)
        await scene.run(10)

    live = played(play).all(TagReads)
    again = list(recorded_reads(tap, "reader-1"))

    def rows(batches: list[TagReads]) -> list[tuple[bytes, int, int, int]]:
        return [
            (epc.tobytes(), int(antenna), int(rssi), int(count))
            for batch in batches
            for epc, antenna, rssi, count in zip(batch.epc, batch.antenna, batch.rssi_cdbm, batch.count, strict=True)
        ]

    assert rows(again)[: len(rows(live))] == rows(live)
    assert len(rows(again)) - len(rows(live)) <= 40, "what came while the driver said good-bye"
    assert len(rows(live)) > 400
    times_us = [batch.mono_us for batch in again]
    assert times_us == sorted(times_us)
    assert all((batch.seen_us <= batch.mono_us).all() for batch in again)


class Hostile:
    """A link that cuts the stream anywhere, and flips, doubles, loses or invents bytes: one trouble in so many reads."""

    def __init__(self, stream, rng: random.Random, one_in: int) -> None:
        self._stream, self._rng, self._one_in = stream, rng, one_in
        self._rest = b""

    async def read(self, max_bytes: int = 65536) -> bytes:
        data = self._rest or await self._stream.read(max_bytes)
        cut = self._rng.randrange(1, len(data) + 1)
        data, self._rest = data[:cut], data[cut:]
        if self._one_in and self._rng.randrange(self._one_in) == 0:
            at = self._rng.randrange(len(data))
            replaced = self._rng.choice((bytes((data[at] ^ 1 << self._rng.randrange(8),)), data[at : at + 1] * 2, b""))
            data = data[:at] + replaced + data[at + 1 :] or b"\xff"
        return data

    async def write(self, data: bytes) -> None:
        await self._stream.write(data)

    async def close(self) -> None:
        await self._stream.close()


@pytest.mark.parametrize("seed", range(12))
def test_hostile_link_ends_in_named_errors_only_and_the_next_try_works(seed):
    rng = random.Random(seed)
    ends: list[str] = []

    async def play(scene: Scene) -> None:
        context = scene.context

        async def hostile(moniker: str) -> ByteStream:
            return Hostile(await scene.connect(moniker), rng, 0 if len(ends) >= 8 else 60)

        scene.context = DriverContext(context.device_id, context.now_us, hostile, context.counters)
        while len(ends) < 8:
            try:
                await scene.run(10)
                ends.append("")
            except DeviceError as error:
                ends.append(type(error).__name__)
            await asyncio.sleep(30)  # until the reader has given up its client
        scene.seen.clear()
        await scene.run(5)
        assert {row.tobytes() for batch in scene.all(TagReads) for row in batch.epc} == {
            row.tobytes() for row in Tags().epcs
        }

    played(play)
    assert set(ends) - {""}, "the link was hostile enough to break it"
