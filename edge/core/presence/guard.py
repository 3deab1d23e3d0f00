"""Tags that were restored after a start need more than others to change their place, until they were heard again.

Their readers may not be up yet, and what was said before the restart is known better than what the first reads say.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.instant import US_PER_S

GUARD_US = 5 * 60 * US_PER_S
GUARD_HEARD_US = 10 * US_PER_S
GUARD_SURE = 0.99  # what a restored tag needs to move …
GUARD_GONE, GUARD_SILENCE_US = 0.9, 120 * US_PER_S  # … and to depart


def guard(
    needed: NDArray[np.floating[Any]],
    until_us: NDArray[np.int64],
    read_us: NDArray[np.int64],
    nowhere: NDArray[np.bool_],
    now_us: int,
) -> None:
    """Raise the probabilities `needed` (n,) of the tags guarded until `until_us`; nowhere: those that would depart."""
    guarded = until_us > now_us
    if not np.count_nonzero(guarded):
        return
    # Who was still heard some seconds after the restart is known as well as before it.
    guarded &= read_us < until_us - GUARD_US + GUARD_HEARD_US
    needed[guarded] = GUARD_SURE
    needed[guarded & nowhere] = GUARD_GONE
    needed[guarded & nowhere & (now_us - read_us < GUARD_SILENCE_US)] = np.inf
