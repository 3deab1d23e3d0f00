"""Jobs: long work with progress that goes on when the browser goes away, and can be looked at again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from edge.core.errors import CommandRejected, GatewayError
from edge.core.plain import PlainError

KEPT = 100
RUNNING_LIMIT = 16


@dataclass(slots=True)
class Job:
    """One piece of work. state: running, done, failed, cancelled; progress 0–1; error: cause, detail, hint."""

    id: str
    kind: str
    target: str
    actor: str
    state: str = "running"
    progress: float = 0.0
    step: str = ""
    result: Any = None
    error: dict[str, str] | None = None
    version: int = 0
    log: list[str] = field(default_factory=list)
    left_s: int | None = None
    """Seconds until it ends by itself, where that is known."""

    def as_json(self) -> dict[str, Any]:
        """As the API shows it."""
        return {name: getattr(self, name) for name in self.__slots__}


class Progress(Protocol):
    """How a job tells how far it is."""

    def __call__(self, share: float, step: str, so_far: Any = None, left_s: int | None = None) -> None:
        """share: 0 to 1; step: in words; so_far: the result as far as it goes (None: as before)."""
        ...


Work = Callable[[Progress], Awaitable[Any]]


class JobsBusy(GatewayError):
    """Too much long work at once."""

    hint = "Wait until a job is done, or cancel one."


class Jobs:
    """Runs jobs on the loop and keeps the last `KEPT`."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._keys: dict[str, str] = {}
        self._count = 0

    def start(self, kind: str, target: str, actor: str, work: Work, *, key: str = "") -> Job:
        """Begin a job; the same key of the same person again is the same job while it is known. Raises JobsBusy."""
        once = f"{actor}/{kind}/{target}/{key}" if key else ""
        known = self._jobs.get(self._keys.get(once, ""))
        if known is not None:
            return known
        if len(self._tasks) >= RUNNING_LIMIT:
            raise JobsBusy(f"jobs: {len(self._tasks)} run already, expected at most {RUNNING_LIMIT}")
        self._count += 1
        job = self._jobs[f"job-{self._count}"] = Job(f"job-{self._count}", kind, target, actor)
        for old in [key for key, one in self._jobs.items() if one.state != "running"][: len(self._jobs) - KEPT]:
            del self._jobs[old]
        self._keys = {name: job_id for name, job_id in self._keys.items() if job_id in self._jobs}
        if once:
            self._keys[once] = job.id
        task = asyncio.create_task(self._run(job, work), name=job.id)
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._ended(job))
        return job

    async def _run(self, job: Job, work: Work) -> None:
        def progress(share: float, step: str, so_far: Any = None, left_s: int | None = None) -> None:
            job.progress, job.step, job.left_s = min(1.0, max(0.0, share)), step, left_s
            if so_far is not None:
                job.result = so_far
            job.log = [*job.log[-49:], step]
            self._note(job)

        try:
            job.result = await work(progress)
            job.state, job.progress, job.left_s = "done", 1.0, None
        except CommandRejected as error:
            job.state, job.error = "failed", {"cause": error.reason, "detail": error.detail, "hint": ""}
        except GatewayError as error:
            cause = type(error).__name__
            job.state, job.error = "failed", {"cause": cause, "detail": str(error), "hint": error.hint}
        except (PlainError, OSError) as error:
            job.state = "failed"
            job.error = {"cause": type(error).__name__, "detail": str(error), "hint": "Correct it and try again."}
        except asyncio.CancelledError:
            job.state = "cancelled"
        self._note(job)

    def _ended(self, job: Job) -> None:
        self._tasks.pop(job.id, None)
        if job.state == "running":  # cancelled before it took its first step
            job.state = "cancelled"
            self._note(job)

    def _note(self, job: Job) -> None:
        job.version += 1

    def get(self, job_id: str) -> Job | None:
        """A job by its id."""
        return self._jobs.get(job_id)

    def all(self) -> list[Job]:
        """Newest first."""
        return list(reversed(self._jobs.values()))

    def cancel(self, job_id: str) -> bool:
        """Stop a job; False where it does not run."""
        task = self._tasks.get(job_id)
        return task is not None and task.cancel()

    async def close(self) -> None:
        """Stop all of them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
