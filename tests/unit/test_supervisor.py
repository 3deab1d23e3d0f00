"""Drivers are restarted for ever, one for one, with a growing back-off; whatever they do stays with them."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable

import pytest

from devices.driver import Emit
from edge.core.errors import LinkLost
from edge.core.observation import DeviceState, DeviceStatus, Observation
from edge.core.plain import PlainError
from edge.supervisor import MAX_BACKOFF_S, Supervised, Supervisor
from tests.virtual_time import run_virtual


class Scripted:
    """A driver that lives for a while and then fails as told."""

    def __init__(self, life_s: float, failure: Callable[[], BaseException] | None) -> None:
        self.life_s, self.failure = life_s, failure

    async def run(self, emit: Emit) -> None:
        emit(DeviceStatus("d", 0, DeviceState.ONLINE))
        await asyncio.sleep(self.life_s)
        if self.failure is not None:
            raise self.failure()


def supervise(run_s: float, make: Callable[[], Scripted]) -> tuple[Supervisor, list[tuple[float, Observation]]]:
    seen: list[tuple[float, Observation]] = []
    supervisors: list[Supervisor] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        supervisor = Supervisor(lambda o: seen.append((loop.time(), o)), lambda: 0, random.Random(1))
        supervisors.append(supervisor)
        async with asyncio.TaskGroup() as group:
            supervisor.start(group, Supervised("d", make))
            await asyncio.sleep(run_s)
            await supervisor.stop_all()

    run_virtual(scenario())
    return supervisors[0], seen


def test_back_off_grows_to_its_bound_and_never_gives_up() -> None:
    _, seen = supervise(3600, lambda: Scripted(0, lambda: LinkLost("d", "no cable")))
    starts = [at for at, o in seen if isinstance(o, DeviceStatus) and o.state is DeviceState.ONLINE]
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert gaps[0] <= 0.5
    assert max(gaps) <= MAX_BACKOFF_S
    assert min(gaps[-20:]) >= MAX_BACKOFF_S / 2
    assert len(starts) > 3600 / MAX_BACKOFF_S


def test_a_long_run_resets_the_back_off() -> None:
    _, seen = supervise(600, lambda: Scripted(30, lambda: LinkLost("d", "no cable")))
    starts = [at for at, o in seen if isinstance(o, DeviceStatus) and o.state is DeviceState.ONLINE]
    assert max(later - earlier for earlier, later in itertools.pairwise(starts)) <= 30.5


@pytest.mark.parametrize(
    ("failure", "cause", "words"),
    [
        (lambda: LinkLost("d", "no cable"), "LinkLost", "no cable. Check the cable"),
        (lambda: KeyError("x"), "crashed", "KeyError: 'x'"),
        (lambda: PlainError("profile", "acme", "a model"), "settings", "profile = 'acme': expected a model"),
        (None, "ended", "should run until it fails"),
    ],
)
def test_every_end_is_put_into_words(failure: Callable[[], BaseException] | None, cause: str, words: str) -> None:
    supervisor, seen = supervise(1, lambda: Scripted(0.1, failure))
    offline = next(o for _, o in seen if isinstance(o, DeviceStatus) and o.state is DeviceState.OFFLINE)
    assert (offline.cause, words in offline.detail) == (cause, True)
    assert bool(supervisor.crashes) == (cause == "crashed")


def test_a_crash_stays_with_its_driver() -> None:
    alive: list[float] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        supervisor = Supervisor(lambda _: None, lambda: 0, random.Random(1))

        class Steady(Scripted):
            async def run(self, emit: Emit) -> None:
                while True:
                    alive.append(loop.time())
                    await asyncio.sleep(1)

        async with asyncio.TaskGroup() as group:
            supervisor.start(group, Supervised("bad", lambda: Scripted(0, lambda: ZeroDivisionError("boom"))))
            supervisor.start(group, Supervised("good", lambda: Steady(0, None)))
            await asyncio.sleep(10.5)
            await supervisor.stop_all()

    run_virtual(scenario())
    assert len(alive) == 11


def test_in_safe_mode_drivers_wait_and_the_culprit_stays_in_quarantine() -> None:
    seen: list[tuple[str, str]] = []

    async def scenario() -> None:
        supervisor = Supervisor(
            lambda o: seen.append((o.device_id, o.cause)) if isinstance(o, DeviceStatus) else None,
            lambda: 0, random.Random(1),
        )  # fmt: skip
        supervisor.hold("3 crashes", ["bad"])
        async with asyncio.TaskGroup() as group:
            for name in ("bad", "good"):
                supervisor.start(group, Supervised(name, lambda: Scripted(1e6, None)))
            await asyncio.sleep(5)
            assert not supervisor.drivers
            supervisor.release()
            await asyncio.sleep(5)
            assert list(supervisor.drivers) == ["good"]
            await supervisor.stop("bad")  # a technician sets it up anew
            supervisor.start(group, Supervised("bad", lambda: Scripted(1e6, None)))
            await asyncio.sleep(5)
            assert set(supervisor.drivers) == {"good", "bad"}
            await supervisor.stop_all()

    run_virtual(scenario())
    assert {("bad", "safe_mode"), ("good", "safe_mode"), ("bad", "quarantined")} <= set(seen)
