"""Who executes the journal's transactions: a thread of its own, or (in simulation) the caller."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")
Done = Callable[[BaseException | None], None]


class Writer(Protocol):
    """Executes jobs one after the other; `done` is called on the event loop."""

    def submit(self, job: Callable[[], None], done: Done) -> None:
        """Execute `job` off the loop, then call `done(None)` or `done(error)` on the loop."""
        ...

    def close(self) -> None:
        """Finish what was submitted and stop."""
        ...


class InlineWriter:
    """Executes at once, on the caller's stack: for virtual time, where a thread would make traces differ."""

    def submit(self, job: Callable[[], None], done: Done) -> None:
        try:
            job()
        except Exception as error:  # noqa: BLE001 (handed to `done`, which decides)
            asyncio.get_running_loop().call_soon(done, error)
        else:
            asyncio.get_running_loop().call_soon(done, None)

    def close(self) -> None:
        return None


class ThreadWriter:
    """The thread named `journal`: the only one that ever writes the file."""

    def __init__(self) -> None:
        # At most one transaction is under way (the log waits for `done`), so the queue cannot grow.
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], Done, asyncio.AbstractEventLoop] | None]
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None], done: Done) -> None:
        self._jobs.put((job, done, asyncio.get_running_loop()))

    def _work(self) -> None:
        while (task := self._jobs.get()) is not None:
            job, done, loop = task
            error: BaseException | None = None
            try:
                job()
            except Exception as caught:  # noqa: BLE001 (handed to `done`, which decides)
                error = caught
            if not loop.is_closed():
                loop.call_soon_threadsafe(done, error)

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join(timeout=10)
