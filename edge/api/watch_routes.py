"""What who watches from outside reads: Prometheus' metrics and the newest lines of the log."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from edge.api.services import Here, Technician, Viewer
from edge.logbook import KEPT_LINES
from edge.metrics import CONTENT_TYPE, exposition

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(here: Here, who: Viewer) -> Response:
    """Prometheus' text format; scrape it with an API token of the role viewer."""
    del who
    return Response(exposition(here.measures()), media_type=CONTENT_TYPE)


@router.get("/v1/logs")
async def logs(
    here: Here,
    who: Technician,
    after: Annotated[int, Query(ge=0, le=2**53 - 1, description="number of the last line that is known")] = 0,
    limit: Annotated[int, Query(ge=1, le=KEPT_LINES)] = 200,
) -> list[dict[str, Any]]:
    """The newest lines of the log since the start, oldest first; the whole log is in journald."""
    del who
    rows = here.logbook.rows(after)
    return rows[:limit] if after else rows[-limit:]
