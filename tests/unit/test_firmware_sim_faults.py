"""Bad wires: each fault does what it says, and the same seed does it again."""

import asyncio

import pytest

from firmware_sim.faults import GOOD, ROUGH, FaultPlan, FaultSwitch, FaultyStream, faulty
from firmware_sim.stream import memory_pipe

DATA = bytes(range(256)) * 40


async def _through(plan, seed="7", chunk=64):
    """DATA written through a faulty stream in chunks: the pieces that arrive, and the counters."""
    ours, theirs = memory_pipe()
    switch = FaultSwitch(plan)
    stream = FaultyStream(theirs, switch, seed)
    pieces = []

    async def receive():
        while piece := await stream.read(4096):
            pieces.append(piece)

    receiver = asyncio.create_task(receive())
    for at in range(0, len(DATA), chunk):
        try:
            await ours.write(DATA[at : at + chunk])
        except BrokenPipeError:
            break
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await ours.close()
    await receiver
    return pieces, switch.counters


def test_a_good_wire_changes_nothing():
    pieces, counters = asyncio.run(_through(GOOD))
    assert b"".join(pieces) == DATA
    assert not counters


def test_splitting_keeps_all_bytes_in_order():
    pieces, counters = asyncio.run(_through(FaultPlan(split=1.0)))
    assert b"".join(pieces) == DATA
    assert len(pieces) > 2 * len(DATA) / 64
    assert counters["split"] == len(DATA) // 64


def test_drops_flips_and_duplicates_happen_at_their_rates():
    pieces, counters = asyncio.run(_through(FaultPlan(drop=0.01)))
    lost = len(DATA) - len(b"".join(pieces))
    assert lost == counters["drop"]
    assert 0.005 * len(DATA) < lost < 0.02 * len(DATA)
    pieces, counters = asyncio.run(_through(FaultPlan(flip=0.01)))
    wrong = [bin(a ^ b).count("1") for a, b in zip(b"".join(pieces), DATA, strict=True) if a != b]
    assert set(wrong) == {1}
    assert len(wrong) == counters["flip"]
    assert 0.005 * len(DATA) < len(wrong) < 0.02 * len(DATA)
    pieces, counters = asyncio.run(_through(FaultPlan(duplicate=0.2)))
    assert len(b"".join(pieces)) == len(DATA) + 64 * counters["duplicate"]


def test_a_cut_link_ends_both_ways():
    async def story():
        ours, theirs = memory_pipe()
        stream = FaultyStream(theirs, FaultSwitch(FaultPlan(disconnect=1.0)), "1")
        await ours.write(b"x")
        assert await stream.read(10) == b""
        with pytest.raises(ConnectionError):
            await stream.write(b"y")
        assert await ours.read(10) == b""

    asyncio.run(story())


def test_a_stall_delays_and_loses_nothing():
    async def story():
        ours, theirs = memory_pipe()
        stream = FaultyStream(theirs, FaultSwitch(FaultPlan(stall=1.0, stall_s=(0.05, 0.06))), "1")
        loop = asyncio.get_running_loop()
        start = loop.time()
        await stream.write(b"late")
        assert await ours.read(10) == b"late"
        assert 0.04 < loop.time() - start < 1.0

    asyncio.run(story())


def test_the_same_seed_gives_the_same_faults_and_another_others():
    first, _ = asyncio.run(_through(FaultPlan(split=0.5, drop=0.01, flip=0.01, duplicate=0.05), "a"))
    again, _ = asyncio.run(_through(FaultPlan(split=0.5, drop=0.01, flip=0.01, duplicate=0.05), "a"))
    other, _ = asyncio.run(_through(FaultPlan(split=0.5, drop=0.01, flip=0.01, duplicate=0.05), "b"))
    assert first == again
    assert first != other


def test_a_switch_heals_the_wires_of_a_role():
    async def story():
        async def echo(stream):
            while data := await stream.read(100):
                await stream.write(data)

        switch = FaultSwitch(FaultPlan(drop=1.0))
        ours, theirs = memory_pipe()
        task = asyncio.create_task(faulty(echo, switch, "1")(theirs))
        await ours.write(b"lost")
        await asyncio.sleep(0.01)
        switch.off()
        await ours.write(b"heard")
        assert await ours.read(100) == b"heard"
        await ours.close()
        await task
        assert switch.counters["drop"] == 4

    asyncio.run(story())


@pytest.mark.parametrize("wrong", [{"drop": 1.5}, {"split": -0.1}, {"stall_s": (2.0, 1.0)}])
def test_a_plan_with_impossible_chances_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        FaultPlan(**wrong)
    assert ROUGH.drop > 0
