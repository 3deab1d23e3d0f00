"""A window of time in which devices join: looking again and again, telling what was found and how long is left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from edge.jobs import Progress

AGAIN_S = 2.0  # a pause between two looks
Row = dict[str, Any]
Look = Callable[[], Awaitable[list[Row]]]


async def join(look: Look, seconds: int, tell: Progress, mark: Callable[[list[Row]], list[Row]]) -> list[Row]:
    """Look for so long; what was seen once stays. `mark` adds what the rows mean to this gateway.

    Raises what `look` raises.
    """
    known: dict[str, Row] = {}

    async def again() -> None:
        while True:
            known.update({str(row["moniker"]): row for row in await look()})
            await asyncio.sleep(AGAIN_S)

    looking = asyncio.create_task(again())
    try:
        for left_s in range(seconds, 0, -1):
            rows = mark(list(known.values()))
            tell(1 - left_s / seconds, f"waiting {left_s} s for new devices, {len(rows)} found", rows, left_s)
            await asyncio.wait([looking], timeout=1.0)
            if looking.done():
                looking.result()  # it never ends by itself
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
    return mark(list(known.values()))
