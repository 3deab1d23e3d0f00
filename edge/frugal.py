"""Memory that is given back: the C library keeps what it once had, unless it is told not to.

A store's first inventory round allocates in a minute what is freed in the next. glibc would keep it for ever, and open
an arena for each thread; on a machine with 1 GiB that is what other services lack. Elsewhere (musl) nothing is done.

Likewise the code of libraries: a start touches all of ONNX runtime's kernels, OpenSSL and the rest, a running gateway a
third of that. Its pages are unmapped now and then; what is called comes back from the page cache with the next call
(a fault of some microseconds), the rest is the first that the kernel drops when somebody needs memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

TRIM_EVERY_S: Final = 60.0
STARTED_S: Final = 5.0
"""By then the devices are connected, and the first frames have loaded the model."""
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

# madvise(2), <asm-generic/mman-common.h>; proc_pid_smaps(5)
_MADV_DONTNEED: Final = 4
_MAPPING: Final = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)$|^Anonymous: +(\d+) kB$", re.MULTILINE
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
    """Return free pages, and pages of code, to the kernel. Takes some milliseconds: not on the loop."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.malloc_trim(0)
        for start, size in code_mappings(Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace")):
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)


def code_mappings(smaps: str) -> Iterator[tuple[int, int]]:
    """(address, bytes) of the code in an smaps text that is its file's and nothing else.

    Pages that this process has written (relocations, a debugger's breakpoints) count as anonymous: they are in no file,
    and a mapping with such a page is left alone.
    """
    start, end, is_code = 0, 0, False
    for found in _MAPPING.finditer(smaps):
        low, high, rights, path, anonymous_kib = found.groups()
        if low is not None:
            start, end, is_code = int(low, 16), int(high, 16), rights == "r-xp" and path.startswith("/")
        elif is_code and anonymous_kib == "0":
            yield start, end - start


async def give_back_now_and_then() -> None:
    """Until cancelled. What the start has made stays: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    await asyncio.sleep(STARTED_S)
    while True:
        await asyncio.to_thread(give_back)
        await asyncio.sleep(TRIM_EVERY_S)
