"""When counts are looked at again for the time alone."""

from __future__ import annotations

from edge.core.instant import US_PER_S
from edge.core.inventory.fading import LEFT, Fading, fades_within_us
from edge.core.inventory.pair import Pair, Tag


def doubtful(odds: float) -> Pair:
    return Pair("s-1", "g", None, soft={"e": Tag("g", "s-1", 0, odds=odds)})


def looks(pair: Pair, seconds: int) -> list[int]:
    fading, pairs = Fading(), {("s-1", "g"): pair}
    fading.touch(pair)
    return [second for second in range(0, seconds, 5) if fading.due(pairs, second * US_PER_S)]


def test_doubts_are_looked_at_as_often_as_they_change() -> None:
    found = looks(doubtful(0.1), 900)
    gaps = [after - before for before, after in zip([0, *found], found, strict=False)]
    assert gaps[0] <= 15
    assert gaps == sorted(gaps)
    assert gaps[-1] >= 60
    for before, after in zip([0, *found], found, strict=False):
        kept = doubtful(0.1).soft["e"].odds_at(after * US_PER_S) / doubtful(0.1).soft["e"].odds_at(before * US_PER_S)
        assert kept > LEFT**2.2  # the look comes with the next tick of five seconds


def test_what_is_left_of_a_doubt_is_never_less_than_thought() -> None:
    for age_s in (0, 5, 30, 90, 400):
        tag = doubtful(0.2).soft["e"]
        age_us = age_s * US_PER_S
        later_us = age_us + fades_within_us(0.5, age_us)
        assert tag.odds_at(later_us) >= 0.5 * tag.odds_at(age_us) * (1 - 1e-6)


def test_a_faded_doubt_is_dropped_and_a_withheld_change_comes_up_once() -> None:
    pair = doubtful(2e-3)
    assert looks(pair, 600)
    assert (pair.sure, pair.soft) == (1, {})
    fading, pairs = Fading(), {("s-1", "g"): pair}
    fading.touch(pair)
    assert len(fading) == 0
    fading.withhold(pair, 30 * US_PER_S)
    assert fading.due(pairs, 29 * US_PER_S) == []
    assert fading.due(pairs, 30 * US_PER_S) == [("s-1", "g")]
    assert fading.due(pairs, 31 * US_PER_S) == []
