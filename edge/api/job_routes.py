"""Jobs: progress as JSON and as server-sent events; discovery and tests are jobs."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from edge.api.joining import join
from edge.api.problems import Problem
from edge.api.sentences import told
from edge.api.services import Here, Key, Services, Technician, Viewer
from edge.api.words import requested_language
from edge.jobs import Job, Progress

router = APIRouter(tags=["jobs"])
LOOK_S = 0.2
QUIET_LOOKS = 75  # a comment every 15 s shows that the line is alive


class Look(BaseModel):
    """Networks to probe such as 192.168.1.0/24 (at most a /22 each); none: multicast DNS and local ports only."""

    networks: Annotated[list[Annotated[str, Field(max_length=43)]], Field(max_length=8)] = []
    seconds: Annotated[int, Field(ge=0, le=600, description="go on looking so long for what is switched on now")] = 0


def marked(here: Services, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the position that each candidate serves already, "" for what is new."""
    taken = {
        str(value): entry.id for entry in here.installation.entries().values() for value in entry.settings.values()
    }
    serials = {device.serial: name for name, device in here.health.devices.items() if device.serial}
    return [row | {"position": taken.get(row["moniker"]) or serials.get(row["identity"], "")} for row in found]


@router.post("/v1/discovery", status_code=202)
async def discover(here: Here, who: Technician, body: Look, key: Key = None) -> dict[str, Any]:
    """Look for devices: a job whose result are candidates, with those that are set up already marked.

    With `seconds` it waits for what joins meanwhile; its result grows, and left_s counts down.
    """

    async def work(tell: Progress) -> list[dict[str, Any]]:
        if body.seconds:
            look = functools.partial(here.discovery.look, tuple(body.networks), lambda share, step: None)
            return await join(look, body.seconds, tell, functools.partial(marked, here))
        return marked(here, await here.discovery.look(tuple(body.networks), tell))

    return here.jobs.start("discovery", ", ".join(body.networks), who.name, work, key=key or "").as_json()


@router.get("/v1/jobs")
async def jobs(here: Here, who: Viewer) -> list[dict[str, Any]]:
    """The last jobs, newest first."""
    del who
    return [job.as_json() for job in here.jobs.all()]


def _job(here: Here, job_id: str) -> Job:
    job = here.jobs.get(job_id)
    if job is None:
        raise Problem(404, "unknown_job", f"job = {job_id!r}: no such job", "See the list of jobs.")
    return job


@router.get("/v1/jobs/{job_id}")
async def job_of(here: Here, who: Viewer, job_id: str) -> dict[str, Any]:
    """One job."""
    del who
    return _job(here, job_id).as_json()


@router.delete("/v1/jobs/{job_id}")
async def cancel(here: Here, who: Technician, job_id: str) -> dict[str, Any]:
    """Stop a job."""
    job = _job(here, job_id)
    if not here.jobs.cancel(job_id):
        raise Problem(409, "job_over", f"job {job_id} is {job.state}", "Start a new one.")
    await here.access.audit.add(who.name, "cancel_job", job_id)
    return job.as_json()


@router.get("/v1/jobs/{job_id}/live", response_class=StreamingResponse)
async def live_job(here: Here, who: Viewer, job_id: str, request: Request) -> StreamingResponse:
    """A job's progress as server-sent events; the last event is of state done, failed or cancelled."""
    del who
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _progress(_job(here, job_id), requested_language(request.headers)),
        media_type="text/event-stream",
        headers=headers,
    )


def _spoken(job: Job, language: str) -> dict[str, Any]:
    """The job with its sentences in a language."""
    row = job.as_json()
    error = {name: told(text, language) if name != "cause" else text for name, text in (job.error or {}).items()}
    return row | {"step": told(job.step, language), "error": error or None}


async def _progress(job: Job, language: str) -> AsyncIterator[str]:
    version, quiet = -1, 0
    while True:
        if job.version != version:
            version, quiet = job.version, 0
            yield f"id: {version}\nevent: job\ndata: {json.dumps(_spoken(job, language), ensure_ascii=False)}\n\n"
        if job.state != "running":
            return
        quiet += 1
        if quiet % QUIET_LOOKS == 0:
            yield ": still here\n\n"
        await asyncio.sleep(LOOK_S)
