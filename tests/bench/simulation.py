"""How much faster than life the simulations run on the demo store, on one core (CPU time, this process only).

T1: the engine on a heap scheduler, world included; half an hour of shoppers and half an hour closed, with as many
restockers as keep the shelves full, since the demo store is specified by its load (about 400 reads/s) and one restocker
lets it run empty. The door's crossings come from the world: no door frames are inferred in T1. T2: the whole gateway on
a virtual-time loop, devices, broker and platform included, door inference as live (frame by frame, batched as they
arrive).
"""

from __future__ import annotations

import asyncio
import time

from edge.core.instant import US_PER_S
from firmware_sim.scenario import demo_store
from tests.sim.tier1 import Tier1
from tests.sim.tier2 import Tier2
from tests.virtual_time import run_virtual

T1_VIRTUAL_S = 3600
T2_VIRTUAL_S = 120
SHOPPING_S = 1800.0
RESTOCKERS = 4


def tier1(seed: int) -> dict[str, object]:
    """Virtual seconds a CPU second, over all and for each half; what one virtual second carried; the trace's hash."""
    started_s = time.process_time()
    tier = Tier1(demo_store(seed, SHOPPING_S, 400, True, restockers=RESTOCKERS))
    tier.run_until(int(SHOPPING_S) * US_PER_S)
    closed_s = time.process_time()
    tier.run_until(T1_VIRTUAL_S * US_PER_S)
    ended_s = time.process_time()
    carried = {f"{name}_per_virtual_s": round(n / T1_VIRTUAL_S, 1) for name, n in sorted(tier.carried.items())}
    return {
        "real_time_factor_t1": round(T1_VIRTUAL_S / (ended_s - started_s), 1),
        "real_time_factor_t1_open": round(SHOPPING_S / (closed_s - started_s), 1),
        "real_time_factor_t1_closed": round((T1_VIRTUAL_S - SHOPPING_S) / (ended_s - closed_s), 1),
        "observations_per_virtual_s": round(tier.observations / T1_VIRTUAL_S, 1),
        **carried,
        "on_hand_at_the_end": sum(tier.scenario.world.on_hand().values()),
        "t1_mismatches": len(tier.mismatches()),
        "trace_hash": tier.trace_hash(),
    }


async def _tier2(seed: int) -> float:
    tier = Tier2("demo", seed, SHOPPING_S)
    await tier.platform.open()
    asyncio.get_running_loop().call_later(5, tier.open_shop)
    started_s = time.process_time()
    await tier.run(T2_VIRTUAL_S)
    return T2_VIRTUAL_S / (time.process_time() - started_s)


def run(argv: list[str]) -> dict[str, object]:
    """`--seed N` (default 7)."""
    seed = int(argv[argv.index("--seed") + 1]) if "--seed" in argv else 7
    first = tier1(seed)
    return {
        **first,
        "real_time_factor_t2": round(run_virtual(_tier2(seed)), 1),
        "t1_virtual_s": T1_VIRTUAL_S,
        "t2_virtual_s": T2_VIRTUAL_S,
    }
