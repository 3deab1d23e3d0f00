"""Stock fusion on the judge's world: a short run in every `make test`, with its negative controls."""

from __future__ import annotations

import dataclasses

from tests.accuracy.fusion import judge
from tests.worlds.stock import Parameters

SHORT = Parameters(shelves=6, hours=0.75, unweighed_every=100)


def test_settled_counts_beat_tags_alone_on_the_judges_world() -> None:
    tallies = judge(11, SHORT)["tallies"]
    assert tallies["settled"].share >= 0.98
    assert tallies["settled"].share > tallies["tags_only"].share
    assert tallies["settled"].share > tallies["weight_only"].share


def test_without_sensor_errors_nearly_every_settled_count_is_right() -> None:
    perfect = dataclasses.replace(
        SHORT,
        flips_per_tag_hour=0.0,
        missed_steps=0.0,
        leans_per_lane_hour=0.001,
        dead_tags=0.0,
        junk_mass_share=0.0,
        elsewhere_share=0.0,
    )
    tallies = [judge(seed, perfect)["tallies"]["settled"] for seed in (12, 13, 14)]
    total = sum(tally.total for tally in tallies)
    assert total > 3000
    assert sum(tally.right for tally in tallies) / total >= 0.998


def test_confidence_falls_when_sensors_fail_more_often() -> None:
    bad = dataclasses.replace(SHORT, flips_per_tag_hour=6.0, missed_steps=0.1)
    good_samples, bad_samples = judge(13, SHORT)["samples"], judge(13, bad)["samples"]
    mean = [sum(c for c, _ in samples) / len(samples) for samples in (good_samples, bad_samples)]
    assert mean[1] < mean[0]
