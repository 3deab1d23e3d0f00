"""What a frame costs at a door, one thread: the network alone, and the whole way from raw frame to crossing.

Frames come one by one, as they do live, from one of the judge's worlds of that sensor, with people in them.
p50_us_8x8 and p50_us_24x32: pooling of the frame to the network's field and one inference. pipeline_p50_us: everything
that happens to a 24x32 frame (checks, bad pixels, pooling, resampling, background, inference, peaks).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.intake import GRID, pool
from models.runner import FootfallRunner
from models.window import WINDOW_STEPS
from tests.worlds.door import SENSORS, World, make_world

ROUNDS = 3000
WARM_UP = 200


def microseconds(work: Callable[[int], object], rounds: int) -> NDArray[np.float64]:
    """Time of each call after the warm-up, in µs."""
    taken = np.empty(rounds + WARM_UP)
    for i in range(rounds + WARM_UP):
        began = time.perf_counter_ns()
        work(i)
        taken[i] = (time.perf_counter_ns() - began) / 1e3
    return taken[WARM_UP:]


def world_of(name: str) -> World:
    """The first world of a sensor of that name."""
    return next(
        world for seed in range(1000) if (world := make_world(seed, ("single", "tailgating"))).sensor.name == name
    )


def run(argv: list[str]) -> dict[str, object]:
    """Measure; `argv` may give another number of rounds."""
    rounds = int(argv[0]) if argv else ROUNDS
    runner = FootfallRunner()
    network = runner.network
    out: dict[str, object] = {}
    pipeline: dict[str, NDArray[np.float64]] = {}
    for name, label in (("grideye", "8x8"), ("mlx_narrow", "24x32")):
        world = world_of(name)
        ring = np.zeros((WINDOW_STEPS, GRID, GRID), np.float32)
        raw = [frame[None].astype(np.float32) for frame in world.frames]

        def infer(i: int, ring: NDArray[np.float32] = ring, raw: list[NDArray[np.float32]] = raw) -> object:
            ring[:-1] = ring[1:]
            ring[-1] = pool(raw[i % len(raw)])[0] / 300 - 7
            return network.evidence(ring)

        taken = microseconds(infer, rounds)
        out[f"p50_us_{label}"] = round(float(np.percentile(taken, 50)), 1)
        out[f"p99_us_{label}"] = round(float(np.percentile(taken, 99)), 1)
        door = runner.door((world.sensor.rows, world.sensor.cols))
        step_us = int(1e6 / world.fps)

        def count(i: int, door=door, world=world, step_us=step_us) -> object:
            at = i % len(world.frames)
            return door.push(world.frames[at : at + 1], np.array([i * step_us], np.int64))

        pipeline[label] = microseconds(count, rounds)
        out[f"pipeline_p50_us_{label}"] = round(float(np.percentile(pipeline[label], 50)), 1)
    slow = pipeline["24x32"]
    out["pipeline_p50_us"] = round(float(np.percentile(slow, 50)), 1)
    out["pipeline_p99_us"] = round(float(np.percentile(slow, 99)), 1)
    out["frames_per_s_block_8x8"] = round(block_rate(runner))
    out["sensors"] = sorted({sensor.name for sensor in SENSORS})
    out["model"] = network.manifest.version
    return out


def block_rate(runner: FootfallRunner) -> float:
    """Frames a second when a recording is counted in large blocks, as simulation does."""
    world = world_of("grideye")
    frames = np.concatenate([world.frames] * 10)
    t_us = np.arange(len(frames), dtype=np.int64) * 100_000
    door = runner.door((8, 8))
    began = time.process_time()
    door.push(frames, t_us)
    return len(frames) / (time.process_time() - began)
