"""Memory that is given back: the C library keeps what it once had, unless it is told not to.

A store's first inventory round allocates in a minute what is freed in the next. glibc would keep it for ever, and open
an arena for each thread; on a machine with 1 GiB that is what other services lack. Elsewhere (musl) nothing is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import sys
from typing import Final, cast

TRIM_EVERY_S: Final = 60.0
NOT_NEEDED: Final = ("pydantic.v1",)
"""FastAPI asks whether a model is one of pydantic 1, and does without where that is not there: 5 MiB."""
# mallopt(3), <malloc.h>
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_SETTINGS: Final = (
    (_M_ARENA_MAX, 1),  # three threads allocate little beside the loop
    (_M_MMAP_THRESHOLD, 512 << 10),  # a grown numpy column goes back when it is replaced; temporaries stay in the heap
    (_M_TRIM_THRESHOLD, 128 << 10),
    (_M_TOP_PAD, 64 << 10),
)


def be_frugal() -> None:
    """From now on: one arena, big pieces by mmap, the top given back; nothing imported that nobody here needs."""
    for name in NOT_NEEDED:
        cast("dict[str, object]", sys.modules).setdefault(name, None)
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for parameter, value in _SETTINGS:
            libc.mallopt(parameter, value)


def give_back() -> None:
    """Return free pages to the kernel. Takes some milliseconds: not on the loop."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


async def give_back_now_and_then() -> None:
    """Until cancelled. What the start has made stays: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    while True:
        await asyncio.to_thread(give_back)
        await asyncio.sleep(TRIM_EVERY_S)
