"""Simulated days: tier 1 (engine, 24 h a seed) and tier 2 (whole gateway, 10 min a seed, faults), with shrinking."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator

from edge.core.facts import OnHandChanged
from edge.core.instant import US_PER_S
from edge.core.observation import DeviceState, DeviceStatus
from firmware_sim.faults import GOOD, ROUGH, FaultPlan, FaultSwitch, FaultyStream
from firmware_sim.scenario import SCENARIOS
from firmware_sim.stream import ByteStream
from tests.fault._campaign import Outcome, Promise, Trial
from tests.sim.tier1 import Tier1
from tests.sim.tier2 import Tier2
from tests.virtual_time import run_virtual

DAY_S = 24 * 3600
READS_PER_S = 20  # few, so that a day costs minutes; the rate is judged by the benchmarks
TOLERATED = 0.04
"""Share of (shelf, product) pairs that may be wrong: a hand on the plate while a wire was down is a sensing error."""


def day(seed: int, seconds: float) -> str:
    """One store day at tier 1; "" when every invariant held, else what did not."""
    rng = random.Random(seed)
    shopping_s = min(seconds / 2, 1800.0)
    tier = Tier1(SCENARIOS["demo"](seed, shopping_s, READS_PER_S, True))
    end_us = int(seconds * US_PER_S)
    for _ in range(int(seconds // 7200) + 1):
        device = rng.choice(tier.devices())
        at_us = rng.randrange(0, max(1, end_us - 600 * US_PER_S))
        tier.at(at_us, lambda d=device: _go(tier, d))
        tier.at(at_us + rng.randrange(1, 60) * US_PER_S, lambda d=device: _come(tier, d))
    tier.run_until(end_us + 180 * US_PER_S)
    return _broken(tier)


def _go(tier: Tier1, device: str) -> None:
    tier.down.add(device)
    tier.feed(DeviceStatus(device, tier.now_us, DeviceState.OFFLINE, "LinkLost"))


def _come(tier: Tier1, device: str) -> None:
    tier.down.discard(device)
    tier.feed(DeviceStatus(device, tier.now_us, DeviceState.ONLINE))


def _broken(tier: Tier1) -> str:
    order = [at_us for at_us, _ in tier.facts]
    if order != sorted(order):
        return "facts out of order"
    for _, fact in tier.facts:
        if isinstance(fact, OnHandChanged) and not (
            0 <= fact.low <= fact.on_hand <= fact.high and 0 <= fact.confidence <= 1
        ):
            return f"impossible count: {fact}"
    wrong, pairs = tier.mismatches(), len(tier.scenario.world.on_hand())
    return f"{len(wrong)} of {pairs} counts wrong: {wrong[:3]}" if len(wrong) > TOLERATED * pairs else ""


def _each(trial: Trial, done: int, tried: Callable[[int], str]) -> Iterator[tuple[int, str]]:
    """(seed, fault) of every seed that is still to be tried, in their order, on all cores."""
    seeds = range(trial.seed + done, trial.seed + trial.count)
    if len(seeds) < 2:
        yield from ((seed, tried(seed)) for seed in seeds)
        return
    with multiprocessing.get_context("spawn").Pool(os.cpu_count() or 1) as pool:
        yield from zip(seeds, pool.imap(tried, seeds), strict=True)


def days(trial: Trial) -> Outcome:
    """Seeds one after the other; what is done is saved, so that a long run can be interrupted."""
    seconds = DAY_S if trial.scale != "quick" else 240
    done, failed = trial.saved.get("done", 0), trial.saved.get("failed", 0)
    words = ""
    for seed, fault in _each(trial, done, functools.partial(day, seconds=seconds)):
        if fault:
            failed += 1
            shortest = shrink(seed, seconds)
            words = f"; seed {seed} fails from {shortest:.0f} s: {fault}"
            trial.say(words)
        done += 1
        trial.save({"done": done, "failed": failed})
    return Outcome(trial.count, failed, f"{trial.count} × {seconds / 3600:g} h{words}")


def shrink(seed: int, seconds: float) -> float:
    """The shortest run of this seed (by halving) that still fails."""
    while seconds > 60 and day(seed, seconds / 2):
        seconds /= 2
    return seconds


FORMS = {
    "garbage": FaultPlan(flip=0.05, drop=0.02),
    "silence": FaultPlan(stall=1.0, stall_s=(60.0, 60.0)),
    "unplugged": FaultPlan(disconnect=1.0),
    "rough": ROUGH,
}


async def _suffer(seed: int, seconds: float, plan: FaultPlan, heal_s: float) -> tuple[str, str]:
    """A whole gateway whose wires are bad until `heal_s`, whose broker dies twice: (what is wrong, trace)."""
    switch, connections = FaultSwitch(GOOD), Counter[str]()

    def wrap(device: str, stream: ByteStream) -> ByteStream:
        connections[device] += 1
        return FaultyStream(stream, switch, f"{seed}:{device}:{connections[device]}")

    tier = Tier2("demo", seed, min(heal_s, 60.0), wrap)
    await tier.platform.open()
    loop, rng = asyncio.get_running_loop(), random.Random(seed)
    loop.call_later(8, tier.open_shop)
    loop.call_later(15, setattr, switch, "plan", plan)
    for _ in range(2):
        loop.call_later(rng.uniform(10, heal_s), tier.broker.kill)
    loop.call_later(heal_s, switch.off)
    late: list[str] = []
    loop.call_later(
        heal_s + 60, lambda: late.extend(n for n, d in tier.health.devices.items() if d.state is DeviceState.OFFLINE)
    )
    loop.call_later(heal_s, _send_again, tier)
    await tier.run(seconds)
    seqs = await tier.platform.seqs()
    faults = [f"{name} still offline 60 s after the faults ended" for name in late]
    if seqs != list(range(1, tier.journal.last_seq + 1)):
        faults.append(f"the platform has {len(seqs)} of {tier.journal.last_seq} facts")
    if tier.journal.acked_seq != tier.journal.last_seq:
        faults.append(f"acknowledged {tier.journal.acked_seq} of {tier.journal.last_seq}")
    if lost := tier.unaccounted():
        faults.append(f"bytes that went nowhere: {lost}")
    if grown := tier.overfull():
        faults.append(f"queues that grew: {grown}")
    return "; ".join(faults), tier.trace_hash()


def _send_again(tier: Tier2) -> None:
    """What a broker does that lost its memory of acknowledgements: the last events once more."""
    for message in [m for m in tier.broker.log if "/events/" in m.topic][-50:]:
        tier.broker.take(message)


def _gateway(seed: int, seconds: float, heal_s: float) -> str:
    """One seed, every tenth twice: "" or what was wrong."""
    name = list(FORMS)[seed % len(FORMS)]
    fault, trace = run_virtual(_suffer(seed, seconds, FORMS[name], heal_s))
    if not fault and seed % 10 == 0 and run_virtual(_suffer(seed, seconds, FORMS[name], heal_s))[1] != trace:
        fault = "another trace for the same seed"
    return f"{name}: {fault}" if fault else ""


def _shortest(seed: int, heal_s: float) -> float:
    """The shortest time of bad wires (by halving) with which this seed still fails."""
    while heal_s > 20 and _gateway(seed, heal_s / 2 + 110, heal_s / 2):
        heal_s /= 2
    return heal_s


def gateways(trial: Trial) -> Outcome:
    """Each seed another form of bad wires, and every tenth seed twice: the trace must be the same."""
    seconds = 600.0 if trial.scale != "quick" else 100.0
    heal_s = seconds - 110 if trial.scale != "quick" else 25.0
    done, failed = trial.saved.get("done", 0), trial.saved.get("failed", 0)
    words = ""
    for seed, fault in _each(trial, done, functools.partial(_gateway, seconds=seconds, heal_s=heal_s)):
        if fault:
            failed += 1
            shortest_s = _shortest(seed, heal_s)
            words = f"; seed {seed} fails with {shortest_s:.0f} s of bad wires: {fault}"
            trial.say(words)
        done += 1
        trial.save({"done": done, "failed": failed})
    return Outcome(trial.count, failed, f"{trial.count} × {seconds / 60:g} min, forms {', '.join(FORMS)}{words}")


PROMISES = (
    Promise("days", "simulated days, engine (T1): invariants hold, counts come right", (1, 20, 1000), days),
    Promise(
        "gateways",
        "simulated gateways (T2) with bad wires: converge, nothing lost, same trace",
        (1, 20, 1000),
        gateways,
    ),
)
