"""A reader that rests by its schedule: its tags have not gone."""

from __future__ import annotations

import numpy as np
import pytest

from edge.core.fact import Fact
from edge.core.facts import StockUnknown, TagDeparted
from edge.core.gtin import check_digit
from edge.core.identity import encode_sgtin96
from edge.core.instant import US_PER_MIN, US_PER_S, Instant
from edge.core.observation import RESTING, DeviceState, DeviceStatus, TagReads
from edge.store_engine import make_engine
from tests.unit.presence_support import gtin, store

N = 20


def after_the_status(status: DeviceStatus) -> list[Fact]:
    """Facts of the hour after 20 tags were read for 10 minutes on one shelf, then not any more."""
    engine = make_engine(store())
    product = gtin(0)
    assert int(product[-1]) == check_digit(product[:-1])
    epcs = np.frombuffer(b"".join(encode_sgtin96(product, n, 1, 7) for n in range(N)), np.uint8).reshape(N, 12)

    def at(t_us: int) -> Instant:
        return Instant(t_us, t_us)

    for t_us in range(0, 10 * US_PER_MIN, US_PER_S):
        ones = np.ones(N, np.uint16)
        reads = TagReads("reader-1", t_us, epcs, ones, np.full(N, -5500, np.int16), np.full(N, t_us), ones)
        engine.handle(reads, at(t_us))
        engine.tick(at(t_us))
    facts = engine.handle(status, at(10 * US_PER_MIN))
    for t_us in range(10 * US_PER_MIN, 70 * US_PER_MIN, US_PER_S):
        facts += engine.tick(at(t_us))
    return facts


@pytest.mark.parametrize(
    ("state", "cause", "unknown"),
    [
        (DeviceState.DEGRADED, RESTING, True),
        (DeviceState.OFFLINE, "LinkLost", True),
        (DeviceState.DEGRADED, "reader_exception", False),
    ],
)
def test_stock_of_a_resting_reader_is_unknown_and_has_not_departed(state, cause, unknown):
    facts = after_the_status(DeviceStatus("reader-1", 10 * US_PER_MIN, state, cause, ""))
    at_once = [fact for fact in facts if fact.at_us <= 10 * US_PER_MIN + 5 * US_PER_S]
    assert any(isinstance(fact, StockUnknown) for fact in at_once) is unknown
    assert not any(isinstance(fact, TagDeparted) for fact in facts)
