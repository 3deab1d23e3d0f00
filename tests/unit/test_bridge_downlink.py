"""Commands and the twin in virtual time: forged, expired, repeated, reordered, oversized; restarts in between."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping

import pytest

from cloud_bridge.announcements import parse_rfc3339_us, rfc3339
from cloud_bridge.contract.signed import sign
from cloud_bridge.contract.topics import Topics
from cloud_bridge.downlink import Downlink, DownlinkPorts
from cloud_bridge.keys import Ed25519Signer
from cloud_bridge.settings import UplinkSettings
from cloud_bridge.twin import Twin, TwinPorts
from edge.core.errors import SettingsError
from edge.core.facts import CommandRefused, Updated
from edge.core.instant import US_PER_DAY, US_PER_S, Instant, TimeQuality
from edge.core.ports import Command, CommandResult
from edge.journal import InlineWriter, Journal, JournalSettings, Store
from tests.bridge_support import PLATFORM, PLATFORM_KEYS
from tests.virtual_time import run_virtual

TOPICS = Topics("t1", "s1")
START_US = 1_790_000_000_000_000
KEYS = UplinkSettings(platform_keys=PLATFORM_KEYS).keyring()
NEXT = Ed25519Signer(bytes(32))


class HandClock:
    boot = 1

    def __init__(self) -> None:
        self.wall_us, self.quality = START_US, TimeQuality.SYNCED

    def now(self) -> Instant:
        return Instant(self.wall_us - START_US, self.wall_us, self.quality)


class Gateway:
    """A downlink over a real journal; `again` is a restart with the same journal."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store or Store(None)
        self.journal = Journal(self.store, InlineWriter(), JournalSettings(), 1, print)
        self.clock = HandClock()
        self.carried: list[Command] = []
        self.said: list[tuple[str, dict]] = []
        self.facts: list = []
        self.answer: Callable[[Command], Awaitable[CommandResult]] = self.done
        keys = UplinkSettings(platform_keys=PLATFORM_KEYS).keyring()
        self.downlink = Downlink(
            TOPICS, DownlinkPorts(self.journal, self.clock, keys, self.handle, self.post, self.facts.append)
        )

    def again(self) -> Gateway:
        made = Gateway(self.store)
        made.clock = self.clock
        object.__setattr__(made.downlink._ports, "clock", self.clock)
        return made

    def post(self, suffix: str, payload: bytes, *, retain: bool = False) -> None:
        self.said.append((suffix, json.loads(payload)))

    async def handle(self, command: Command) -> CommandResult:
        self.carried.append(command)
        return await self.answer(command)

    async def done(self, command: Command) -> CommandResult:
        return CommandResult(command.id, "done", "carried out")

    async def give(self, *payloads: bytes) -> list[dict]:
        """Hand over and wait until all are answered; the answers."""
        before = len(self.said)
        for payload in payloads:
            self.downlink.received(payload)
        task = asyncio.create_task(self.downlink.run())
        await asyncio.sleep(100)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return [body for _, body in self.said[before:]]


def order(ident: str = "c1", seq: int = 1, name: str = "recount", **more: object) -> bytes:
    payload = {"id": ident, "name": name, "args": {"shelf": "a"}, "seq": seq, **more}
    return sign(TOPICS.of("command"), payload, PLATFORM, "p1")


def test_done_once_and_a_repeat_gets_the_same_answer_also_after_a_restart() -> None:
    async def main() -> None:
        gateway = Gateway()
        first = await gateway.give(order())
        assert first == [{"id": "c1", "status": "done", "reason": "", "detail": "carried out"}]
        assert await gateway.give(order(), order()) == first * 2
        later = gateway.again()
        assert await later.give(order()) == first
        assert len(gateway.carried) == 1
        assert later.carried == []
        assert gateway.carried[0] == Command("c1", "recount", {"shelf": "a"})

    run_virtual(main())


def test_answers_are_forgotten_after_seven_days_and_seq_is_not() -> None:
    async def main() -> None:
        gateway = Gateway()
        await gateway.give(order("c1", 1))
        gateway.clock.wall_us += 8 * US_PER_DAY
        await gateway.give(order("c2", 2))
        assert gateway.journal.get("command/c1") is None
        assert gateway.journal.keys("command-log/") == ["command-log/1"]
        assert (await gateway.give(order("c1", 1)))[0]["reason"] == "reordered"
        assert len(gateway.carried) == 2

    run_virtual(main())


@pytest.mark.parametrize(
    ("payload", "status", "reason"),
    [
        (order().replace(b'"shelf":"a"', b'"shelf":"b"'), "rejected", "signature"),
        (order(name="format_disk"), "rejected", "unknown"),
        (order(deadline=rfc3339(START_US - 1)), "expired", "deadline"),
        (order(not_before=rfc3339(START_US + 5_000_000)), "rejected", "early"),
        (order(deadline="soon"), "rejected", "arguments"),
        (order(deadline="2026-11-22T06:00:00"), "rejected", "arguments"),
        (order(args=[1]), "rejected", "arguments"),
        (order(seq=0), "rejected", "arguments"),
        (order(seq=True), "rejected", "arguments"),
        (order(expected_version=4), "rejected", "version"),
        (order(expected_version="x"), "rejected", "arguments"),
        (order(name="goods_sold", args={"lines": [{"gtin": "1", "Card_Number": "4111"}]}), "rejected", "arguments"),
        (sign(TOPICS.of("ack"), {"id": "c1", "name": "recount", "args": {}, "seq": 1}, PLATFORM, "p1"), "rejected", "signature"),
    ],
)  # fmt: skip
def test_refused_by_name_audited_and_answered(payload: bytes, status: str, reason: str) -> None:
    async def main() -> None:
        gateway = Gateway()
        (answer,) = await gateway.give(payload)
        assert (answer["id"], answer["status"], answer["reason"]) == ("c1", status, reason)
        assert [(f.command, f.reason) for f in gateway.facts if isinstance(f, CommandRefused)] == [("c1", reason)]
        assert gateway.carried == []
        good = await gateway.give(order("c9", 9))
        assert good[0]["status"] == "done", "the flow goes on"

    run_virtual(main())


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"{", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b" " * 300_000, "oversized"),
        (b'{"name":"recount"}', "arguments"),
        (json.dumps({"id": "x" * 500}).encode(), "arguments"),
    ],
)
def test_what_has_no_id_is_audited_and_not_answered(payload: bytes, reason: str) -> None:
    async def main() -> None:
        gateway = Gateway()
        assert await gateway.give(payload) == []
        assert gateway.downlink.refused == {reason: 1}

    run_virtual(main())


def test_a_forgery_cannot_spoil_the_id_of_a_true_command() -> None:
    async def main() -> None:
        gateway = Gateway()
        await gateway.give(order().replace(b'"shelf":"a"', b'"shelf":"b"'))
        assert (await gateway.give(order()))[0]["status"] == "done"

    run_virtual(main())


def test_order_is_kept_and_early_ones_may_come_again() -> None:
    async def main() -> None:
        gateway = Gateway()
        early = order("c1", 1, not_before=rfc3339(START_US + 60 * US_PER_S))
        assert (await gateway.give(early))[0]["reason"] == "early"
        gateway.clock.wall_us += 61 * US_PER_S
        assert (await gateway.give(early))[0]["status"] == "done"
        assert (await gateway.give(order("c5", 5), order("c4", 4)))[1]["reason"] == "reordered"
        assert (await gateway.again().give(order("c3", 3)))[0]["reason"] == "reordered"

    run_virtual(main())


def test_an_unset_clock_refuses_deadlines_only() -> None:
    async def main() -> None:
        gateway = Gateway()
        gateway.clock.quality = TimeQuality.UNSET
        timed = order("c1", 1, deadline=rfc3339(START_US + 5_000_000))
        assert (await gateway.give(timed))[0]["reason"] == "clock"
        assert (await gateway.give(order("c2", 2)))[0]["status"] == "done"

    run_virtual(main())


def test_versions_rise_with_each_command_done() -> None:
    async def main() -> None:
        gateway = Gateway()
        assert (await gateway.give(order("a", 1, expected_version=0)))[0]["status"] == "done"
        assert (await gateway.give(order("b", 2, expected_version=0)))[0]["reason"] == "version"
        assert (await gateway.again().give(order("c", 3, expected_version=1)))[0]["status"] == "done"

    run_virtual(main())


def test_a_handler_that_hangs_or_refuses() -> None:
    async def main() -> None:
        gateway = Gateway()

        async def hang(command: Command) -> CommandResult:
            await asyncio.sleep(10_000)
            raise AssertionError

        async def refuse(command: Command) -> CommandResult:
            return CommandResult(command.id, "rejected", "no such shelf", "shelf")

        gateway.answer = hang
        assert (await gateway.give(order()))[0]["reason"] == "timeout"
        gateway.answer = refuse
        assert (await gateway.give(order("c2", 2)))[0]["detail"] == "no such shelf"
        assert gateway.downlink.refused == {"shelf": 1}

    run_virtual(main())


def test_keys_rotate_and_stay_rotated() -> None:
    def signed(ident: str, seq: int, name: str = "recount", **args: object) -> bytes:
        payload = {"id": ident, "name": name, "args": args, "seq": seq}
        return sign(TOPICS.of("command"), payload, NEXT, "p2")

    async def main() -> None:
        gateway = Gateway()
        assert (await gateway.give(signed("a", 1)))[0]["reason"] == "signature"
        public = base64.b64encode(NEXT.public_key).decode()
        short = order("b", 1, name="rotate_key", args={"key": "p2", "public_key": "AAAA"})
        assert (await gateway.give(short))[0]["reason"] == "arguments"
        good = order("c", 2, name="rotate_key", args={"key": "p2", "public_key": public})
        assert (await gateway.give(good))[0]["status"] == "done"
        assert (await gateway.give(signed("d", 3)))[0]["status"] == "done"
        retire = signed("e", 4, "rotate_key", key="p3", public_key=public, retire="p1")
        assert (await gateway.give(retire))[0]["status"] == "done"
        later = gateway.again()
        assert (await later.give(order("f", 5)))[0]["reason"] == "signature"
        assert (await later.give(signed("g", 5)))[0]["status"] == "done"
        assert [command.name for command in gateway.carried] == ["recount"], "keys are the downlink's own business"

    run_virtual(main())


def test_a_flood_is_bounded() -> None:
    async def main() -> None:
        gateway = Gateway()
        for _ in range(1_100):
            gateway.downlink.received(b"{}")
        assert gateway.downlink.refused == {"overload": 100}

    run_virtual(main())


def test_times() -> None:
    assert parse_rfc3339_us("2026-11-22T06:00:00.5Z") == parse_rfc3339_us("2026-11-22T15:00:00.500000+09:00")
    assert rfc3339(parse_rfc3339_us("2026-11-22T06:00:00.000001Z")) == "2026-11-22T06:00:00.000001Z"


class FakeConfiguration:
    def __init__(self) -> None:
        self.config: Mapping = {"rate": 1}
        self.wrong = ""
        self.applied: list[Mapping] = []
        self.confirmed: list[Mapping] = []
        self.stricter = False

    def current(self) -> Mapping:
        return self.config

    async def apply(self, config: Mapping) -> None:
        if "unknown" in config:
            raise SettingsError("twin", "unknown", config["unknown"], "a known key")
        self.config = config
        self.applied.append(config)

    async def fault(self) -> str:
        await asyncio.sleep(5)
        return self.wrong

    async def confirm(self) -> None:
        self.confirmed.append(self.config)

    async def resume(self, config: Mapping) -> None:
        if self.stricter:
            raise SettingsError("twin", "rate", config["rate"], "less")
        self.config = config


class TwinGateway:
    def __init__(self, store: Store | None = None) -> None:
        self.store = store or Store(None)
        self.journal = Journal(self.store, InlineWriter(), JournalSettings(), 1, print)
        self.configuration = FakeConfiguration()
        self.reports: list[dict] = []
        self.facts: list = []
        ports = TwinPorts(self.journal, HandClock(), KEYS, self.configuration, self.post, self.facts.append)
        self.twin = Twin(TOPICS, ports)

    def post(self, suffix: str, payload: bytes, *, retain: bool = False) -> None:
        assert (suffix, retain) == ("twin/reported", True)
        self.reports.append(json.loads(payload))

    async def live(self, seconds: float, *payloads: bytes) -> None:
        task = asyncio.create_task(self.twin.run())
        await asyncio.sleep(0.1)
        for payload in payloads:
            self.twin.received(payload)
        await asyncio.sleep(seconds)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def desired(version: int, **config: object) -> bytes:
    return sign(TOPICS.of("twin/desired"), {"version": version, "config": config}, PLATFORM, "p1")


def test_twin_applies_reports_and_restores() -> None:
    async def main() -> None:
        gateway = TwinGateway()
        await gateway.live(20, desired(1, rate=5), desired(1, rate=5))
        assert gateway.configuration.config == {"rate": 5}
        assert gateway.reports[0] == {"version": 1, "status": "applied", "error": "", "desired": 1}
        later = TwinGateway(gateway.store)
        await later.live(1, desired(1, rate=5))
        assert later.configuration.config == {"rate": 5}
        assert later.reports[-1]["status"] == "applied"
        assert later.configuration.applied == [], "a restart does not put again what the journal keeps"
        assert [fact.ok for fact in gateway.facts if isinstance(fact, Updated)] == [True]
        assert gateway.configuration.confirmed == later.configuration.confirmed == [{"rate": 5}]

    run_virtual(main())


def test_twin_reverts_what_makes_the_gateway_ill() -> None:
    async def main() -> None:
        gateway = TwinGateway()
        await gateway.live(20, desired(1, rate=5))
        gateway.configuration.wrong = "uplink not connected"
        await gateway.live(20, desired(2, rate=0))
        assert gateway.configuration.config == {"rate": 5}
        assert gateway.reports[-1] == {
            "version": 1,
            "status": "reverted",
            "error": "uplink not connected",
            "desired": 2,
        }
        await gateway.live(20, desired(2, rate=0))
        assert gateway.configuration.applied.count({"rate": 0}) == 1, "the same failure is not tried again"
        assert {"rate": 0} not in gateway.configuration.confirmed, "what failed has proven nothing"

    run_virtual(main())


def test_a_release_that_became_stricter_starts_without_the_twin() -> None:
    async def main() -> None:
        gateway = TwinGateway()
        await gateway.live(20, desired(1, rate=5))
        later = TwinGateway(gateway.store)
        later.configuration.stricter = True
        await later.live(1)
        assert later.configuration.config == {"rate": 1}
        assert later.reports[-1]["status"] == "refused"
        assert "rate" in later.reports[-1]["error"]

    run_virtual(main())


def test_twin_reverts_after_a_crash_on_trial() -> None:
    async def main() -> None:
        gateway = TwinGateway()
        await gateway.live(2, desired(1, rate=0))  # ends within the five seconds of watching
        later = TwinGateway(gateway.store)
        await later.live(1)
        assert later.configuration.config == {"rate": 1}
        assert later.reports[-1]["status"] == "reverted"

    run_virtual(main())


def test_twin_refuses_by_name() -> None:
    async def main() -> None:
        gateway = TwinGateway()
        await gateway.live(20, desired(1, unknown=5), b"[]", desired(2).replace(b'"version":2', b'"version":3'))
        assert gateway.reports[-1]["status"] == "refused"
        assert "unknown" in gateway.reports[-1]["error"]
        assert [fact.reason for fact in gateway.facts] == ["not_json", "signature"]
        assert gateway.configuration.config == {"rate": 1}

    run_virtual(main())
