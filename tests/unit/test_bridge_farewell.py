"""A gateway that stops gives its platform time, as long as the platform goes on taking."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from edge.bridge import FAREWELL_LONGEST_S, FAREWELL_S, farewell
from tests.virtual_time import run_virtual


def left_after_s(acks_s: list[float], last_seq: int) -> tuple[float, int]:
    """How long it stayed, and how far the platform had come: one ack at each of these times."""

    async def scenario() -> tuple[float, int]:
        journal: Any = SimpleNamespace(acked_seq=0, last_seq=last_seq)
        loop = asyncio.get_running_loop()
        for seq, at_s in enumerate(acks_s, 1):
            loop.call_later(at_s, setattr, journal, "acked_seq", seq)
        await farewell(journal)
        return loop.time(), journal.acked_seq

    return run_virtual(scenario())


def test_it_leaves_as_soon_as_everything_is_taken() -> None:
    stayed_s, acked = left_after_s([0.2, 0.4], 2)
    assert acked == 2
    assert stayed_s < 0.6


def test_a_silent_platform_costs_three_seconds() -> None:
    stayed_s, _ = left_after_s([], 5)
    assert abs(stayed_s - FAREWELL_S) < 0.2


def test_a_slow_one_is_waited_for_while_it_goes_on_but_not_for_ever() -> None:
    stayed_s, acked = left_after_s([2.5, 5.0, 7.5], 3)
    assert (acked, stayed_s < 7.7) == (3, True)
    stayed_s, _ = left_after_s([2.0 * n for n in range(1, 20)], 100)
    assert abs(stayed_s - FAREWELL_LONGEST_S) < 0.2
