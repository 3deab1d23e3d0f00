"""Door crossings on the judge's worlds (tests/worlds/door.py), which no network was trained on.

A crossing is right if one counted crossing lies within 1 s of it in its direction, one to one. Shares are
right / (right + missed + false), so that counting too much costs as much as counting too little; a false crossing is
charged to the episode nearest in time. The two-zone counter and a classical tracker stand in the same table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from models.runner import FootfallRunner
from tests.worlds.door import KINDS, World, make_world
from tests.worlds.door_baselines import contrast_of, tracker, two_zone

WORLDS = 70
REACH_US = 1_000_000
WALKS = tuple(kind for kind in KINDS if kind not in ("turn", "linger"))
Found = list[tuple[int, bool, float]]
"""(time in µs, inward, confidence) of each counted crossing."""


def by_model(world: World, runner: FootfallRunner) -> Found:
    """What the product counts."""
    size = (world.sensor.rows, world.sensor.cols)
    counter = runner.door(size, world.sensor.unit, "+x")
    found = counter.push(world.frames, world.t_us) + counter.flush()
    return [(crossing.t_us, crossing.direction == "in", crossing.confidence) for crossing in found]


def by_baseline(world: World, method: Callable[..., list[tuple[int, bool]]]) -> Found:
    """What a baseline counts."""
    contrast = contrast_of(world.frames, world.sensor.unit)
    return [(int(world.t_us[frame]), inward, 1.0) for frame, inward in method(contrast)]


def judge(world: World, found: Found) -> tuple[Counter[tuple[str, str]], list[tuple[float, bool]]]:
    """Tally {(kind, hit | missed | false): n} and (confidence, was right) of each counted crossing."""
    tally: Counter[tuple[str, str]] = Counter()
    taken: set[int] = set()
    for crossing in sorted(world.crossings, key=lambda one: one.t_us):
        near = [
            (abs(t_us - crossing.t_us), i)
            for i, (t_us, inward, _) in enumerate(found)
            if i not in taken and inward == crossing.inward and abs(t_us - crossing.t_us) <= REACH_US
        ]
        kind = world.episodes[crossing.episode][0]
        if near:
            # The earliest free one in reach: with one reach for all, that is a largest one-to-one matching.
            taken.add(min(i for _, i in near))
            tally[kind, "hit"] += 1
        else:
            tally[kind, "missed"] += 1
    for i, (t_us, _, _) in enumerate(found):
        if i not in taken:
            at = min(world.episodes, key=lambda one: abs(one[1] - t_us / 1e6)) if world.episodes else ("empty", 0.0)
            tally[at[0], "false"] += 1
    return tally, [(confidence, i in taken) for i, (_, _, confidence) in enumerate(found)]


def share(tally: Counter[tuple[str, str]], kinds: tuple[str, ...] = KINDS) -> float:
    """Right / (right + missed + false) over the kinds."""
    counts = [sum(tally[kind, what] for kind in kinds) for what in ("hit", "missed", "false")]
    return round(counts[0] / max(sum(counts), 1), 4)


def of_true(tally: Counter[tuple[str, str]]) -> float:
    """Right / true: what a metric that forgives false crossings would say."""
    counts = [sum(n for (_, what), n in tally.items() if what == wanted) for wanted in ("hit", "missed")]
    return round(counts[0] / max(sum(counts), 1), 4)


def calibration(told: list[tuple[float, bool]]) -> dict[str, Any]:
    """Expected calibration error (10 bins), Brier score and that of the base rate, share of predictions below 0.95.

    bins: (said, was right, n) of tenths from 0 to 1; reliability: the same of ten equal parts of the predictions, which
    shows more where nearly all are sure.
    """
    confidence = np.array([one[0] for one in told])
    right = np.array([one[1] for one in told], float)
    bins = np.minimum((confidence * 10).astype(int), 9)
    rows = [
        (round(confidence[bins == k].mean(), 3), round(right[bins == k].mean(), 3), int((bins == k).sum()))
        for k in range(10)
        if (bins == k).any()
    ]
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, 10) if len(part)]
    return {
        "ece": round(sum(n * abs(said - was) for said, was, n in rows) / len(told), 4),
        "brier": round(float(((confidence - right) ** 2).mean()), 4),
        "brier_base_rate": round(float(right.mean() * (1 - right.mean())), 4),
        "below_095": round(float((confidence < 0.95).mean()), 3),
        "bins": rows,
        "reliability": [
            (round(float(confidence[part].mean()), 3), round(float(right[part].mean()), 3), len(part)) for part in parts
        ],
    }


def controls(seed: int, runner: FootfallRunner) -> dict[str, float]:
    """Empty worlds have no events; a film run backwards swaps in and out; frames in random order give nonsense."""
    empty = sum(len(by_model(make_world(seed * 1000 + 900 + k, ()), runner)) for k in range(10))
    backwards: Counter[tuple[str, str]] = Counter()
    shuffled: Counter[tuple[str, str]] = Counter()
    for k in range(10):
        world = make_world(seed * 1000 + 800 + k, ("single", "tailgating"))
        end_us = int(world.t_us[-1])
        rng = np.random.default_rng(k)
        world.frames = np.ascontiguousarray(world.frames[::-1])
        found = [(end_us - t_us, not inward, c) for t_us, inward, c in by_model(world, runner)]
        backwards += judge(world, sorted(found))[0]
        world.frames = world.frames[rng.permutation(len(world.frames))]
        shuffled += judge(world, by_model(world, runner))[0]
    return {"empty_events": empty, "reversed_right": share(backwards), "shuffled_right": share(shuffled)}


def run(seed: int, argv: list[str]) -> dict[str, Any]:
    """Score the product and the baselines over the worlds of a seed; `argv` may give another number of worlds."""
    runner = FootfallRunner()
    methods: dict[str, Callable[[World], Found]] = {
        "model": lambda world: by_model(world, runner),
        "two_zone": lambda world: by_baseline(world, two_zone),
        "tracker": lambda world: by_baseline(world, tracker),
    }
    tallies: dict[str, Counter[tuple[str, str]]] = {name: Counter() for name in methods}
    by_sensor: dict[str, Counter[tuple[str, str]]] = {}
    told: list[tuple[float, bool]] = []
    worlds = [make_world(seed * 1000 + k, KINDS) for k in range(int(argv[0]) if argv else WORLDS)]
    for world in worlds:
        for name, method in methods.items():
            tally, confidences = judge(world, method(world))
            tallies[name] += tally
            if name == "model":
                by_sensor.setdefault(world.sensor.name, Counter()).update(tally)
                told += confidences
    model = tallies["model"]
    return {
        "right_share": share(model),
        "recall": of_true(model),
        "tailgating_right": share(model, ("tailgating",)),
        "opposite_right": share(model, ("opposite",)),
        "by_kind": {kind: share(model, (kind,)) for kind in WALKS},
        "false_turn_linger": model["turn", "false"] + model["linger", "false"],
        "by_sensor": {name: share(tally) for name, tally in sorted(by_sensor.items())},
        "baseline_tailgating": share(tallies["two_zone"], ("tailgating",)),
        "baseline_opposite": share(tallies["two_zone"], ("opposite",)),
        "baselines": {name: share(tallies[name]) for name in ("two_zone", "tracker")},
        "baselines_by_kind": {
            name: {kind: share(tallies[name], (kind,)) for kind in WALKS} for name in ("two_zone", "tracker")
        },
        **controls(seed, runner),
        "confidence": calibration(told),
        "world": {
            "worlds": len(worlds), "crossings": sum(len(world.crossings) for world in worlds),
            "seconds_each": 90, "reach_s": REACH_US / 1e6,
            "sensors": dict(Counter(world.sensor.name for world in worlds)),
            "example": worlds[0].parameters if worlds else {},
        },
        "seed": seed,
    }  # fmt: skip
