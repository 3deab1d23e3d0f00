"""How much faster than life the simulations run on the demo store, on one core (CPU time, this process only).

T1: the engine on a heap scheduler, world included. T2: the whole gateway on a virtual-time loop, devices, broker and
platform included, door inference as live (frame by frame, batched as they arrive).
"""

from __future__ import annotations

import asyncio
import time

from edge.core.instant import US_PER_S
from firmware_sim.scenario import SCENARIOS
from tests.sim.tier1 import Tier1
from tests.sim.tier2 import Tier2
from tests.virtual_time import run_virtual

T1_VIRTUAL_S = 3600
T2_VIRTUAL_S = 120
SHOPPING_S = 1800.0


def tier1(seed: int) -> tuple[float, float, str]:
    """(virtual seconds a CPU second, observations a virtual second, trace hash)."""
    started_s = time.process_time()
    tier = Tier1(SCENARIOS["demo"](seed, SHOPPING_S, 400, True))
    tier.run_until(T1_VIRTUAL_S * US_PER_S)
    factor = T1_VIRTUAL_S / (time.process_time() - started_s)
    return factor, tier.observations / T1_VIRTUAL_S, tier.trace_hash()


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
    factor1, per_s, trace = tier1(seed)
    return {
        "real_time_factor_t1": round(factor1, 1),
        "real_time_factor_t2": round(run_virtual(_tier2(seed)), 1),
        "observations_per_virtual_s": round(per_s, 1),
        "t1_virtual_s": T1_VIRTUAL_S,
        "t2_virtual_s": T2_VIRTUAL_S,
        "trace_hash": trace,
    }
