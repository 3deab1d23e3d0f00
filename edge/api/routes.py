"""The machine-readable side: health, stock, devices, and the facts as they are committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from edge.access import Role
from edge.api.documents import known_gtin
from edge.api.feed import fact_document
from edge.api.hot import Pages
from edge.api.listing import SAME, IfNoneMatch, Row
from edge.api.services import Here, Needs, Services, Viewer

router = APIRouter()
reading = APIRouter(dependencies=[Depends(Needs(Role.VIEWER))])
KEEPALIVE_S = 15.0
GATHER_S = 0.02  # after a pause, what one thing causes goes out together at once
BUSY_S = 0.1  # while it goes on, ten writes a second for each listener: eyes see no difference, a hundred cost a tenth
SEQ_MAX = 2**53 - 1


async def pages_of(request: Request) -> Pages:
    """Dependency: the rendered answers of the app that serves this request."""
    pages: Pages = request.app.state.pages
    return pages


Rendering = Annotated[Pages, Depends(pages_of)]


@router.get("/health", tags=["health"], response_model=Row, responses={503: {"model": Row}})
async def health(pages: Rendering) -> Response:
    """How the gateway is: 200 while it does its work, 503 with the causes while it does not."""
    return pages.health().response(None)


@reading.get("/v1/devices", tags=["devices"], response_model=list[Row], responses=SAME)
async def devices(pages: Rendering, if_none_match: IfNoneMatch = None) -> Response:
    """Every device with its state, the cause and the next action; ages and counters are 0.1 s old at most."""
    return pages.devices().response(if_none_match)


@reading.get("/v1/stock", tags=["stock"], response_model=list[Row], responses=SAME)
async def stock(
    pages: Rendering,
    request: Request,
    text: Annotated[str, Query(description="part of a name or a GTIN", max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    after: Annotated[str, Query(description="GTIN of the last row of the page before", max_length=14)] = "",
    if_none_match: IfNoneMatch = None,
) -> Response:
    """What is on hand, per product, with confidence and reasons; the header Link names the next page."""
    return pages.stock(text, limit, after, request.scope["query_string"]).response(if_none_match)


@reading.get("/v1/stock/{gtin}", tags=["stock"], response_model=Row, responses=SAME)
async def stock_answer(here: Here, pages: Rendering, gtin: str, if_none_match: IfNoneMatch = None) -> Response:
    """One product: what is on hand where, how sure that is, and why."""
    return pages.product(known_gtin(here, gtin)).response(if_none_match)


@reading.get("/v1/facts", tags=["facts"])
async def facts(
    here: Here, after: Annotated[int, Query(ge=0, le=SEQ_MAX)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> list[dict[str, Any]]:
    """Committed facts after a seq, oldest first."""
    return [fact_document(stored) for stored in here.runtime.journal.read(after + 1, limit)]


@reading.get("/v1/facts/newest", tags=["facts"])
async def newest(here: Here, limit: Annotated[int, Query(ge=1, le=200)] = 24) -> list[dict[str, Any]]:
    """The newest committed facts, oldest of them first."""
    journal = here.runtime.journal
    return [fact_document(stored) for stored in journal.read(max(1, journal.last_seq - limit + 1), limit)]


@reading.get("/v1/facts/live", tags=["facts"], response_class=StreamingResponse)
async def live(
    here: Here,
    who: Viewer,
    request: Request,
    last_event_id: Annotated[int | None, Header(ge=0, le=SEQ_MAX)] = None,
    after: Annotated[int | None, Query(ge=0, le=SEQ_MAX, description="as Last-Event-ID, which goes before it")] = None,
) -> StreamingResponse:
    """Facts as server-sent events, from now on or from Last-Event-ID; each event's id is its seq."""
    del who
    after = last_event_id if last_event_id is not None else after
    after = here.runtime.journal.last_seq if after is None else after
    token = request.scope["token"]
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(here, after, token), media_type="text/event-stream", headers=headers)


async def _events(here: Services, after: int, token: str) -> AsyncIterator[bytes]:
    journal, loop = here.runtime.journal, asyncio.get_running_loop()
    committed = asyncio.Event()
    unsubscribe = journal.subscribe(lambda _: committed.set())
    feed, written_s = here.feed, 0.0
    try:
        yield b"retry: 2000\n\n"
        while True:
            committed.clear()
            lines, after = feed.after(after)
            if lines:
                written_s = loop.time()
                yield lines
            if journal.last_seq > after:
                continue
            try:
                await asyncio.wait_for(committed.wait(), KEEPALIVE_S)
                await asyncio.sleep(max(GATHER_S, written_s + BUSY_S - loop.time()))
            except TimeoutError:
                yield b": still here\n\n"
            if token and here.access.who(token, touch=False) is None:
                yield b"event: signed-out\ndata: {}\n\n"
                return
    finally:
        unsubscribe()


router.include_router(reading)
