"""The machine-readable side: health, stock, devices, and the facts as they are committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from edge.access import Role
from edge.api.feed import fact_document
from edge.api.hints import hint_for
from edge.api.problems import Problem
from edge.api.services import Here, Needs, Services, Viewer
from edge.core.gtin import gtin_fault, normalize_gtin
from edge.core.observation import DeviceState

router = APIRouter()
reading = APIRouter(dependencies=[Depends(Needs(Role.VIEWER))])
KEEPALIVE_S = 15.0
GATHER_S = 0.02
SEQ_MAX = 2**53 - 1


@router.get("/health", tags=["health"])
async def health(here: Here) -> JSONResponse:
    """How the gateway is: 200 while it does its work, 503 with the causes while it does not."""
    record, journal = here.health, here.runtime.journal
    stale = record.stale()
    causes = [f"heartbeat:{name}" for name in stale] + sorted(record.alarms)
    body = {
        "status": "failing" if stale else ("degraded" if causes else "ok"),
        "causes": causes,
        "summary": record.status(),
        "version": here.version,
        "boot": here.runtime.clock.boot,
        "epoch": journal.epoch,
        "last_seq": journal.last_seq,
        "acked_seq": journal.acked_seq,
        "pending_facts": journal.pending,
        "time_quality": here.runtime.clock.now().quality.value,
        "counters": dict(sorted(record.counters.items())),
        "claimed": here.settings.open or here.access.claimed,
        "uplink": here.uplink(),
    }
    return JSONResponse(body, 503 if stale else 200)


@reading.get("/v1/devices", tags=["devices"])
async def devices(here: Here) -> list[dict[str, Any]]:
    """Every device with its state, the cause and the next action."""
    return [device_row(here, device_id) for device_id in sorted(here.health.devices)]


def device_row(here: Services, device_id: str) -> dict[str, Any]:
    """How one device is."""
    device, now_us = here.health.devices[device_id], here.runtime.clock_us()
    troubled = device.state is not DeviceState.ONLINE
    return {
        "id": device_id,
        "kind": device.kind,
        "state": device.state.value,
        "cause": device.cause if troubled else "",
        "detail": device.detail if troubled else "",
        "hint": hint_for(device.cause) if troubled else "",
        "last_seen_s": None if device.last_seen_us is None else round((now_us - device.last_seen_us) / 1e6, 1),
        "serial": device.serial,
        "model": device.model,
        "firmware": device.firmware,
        "restarts": device.restarts,
        "counters": dict(device.counters),
    }


def stock_row(here: Services, gtin: str) -> dict[str, Any]:
    """What is published of one product, with what the catalogue says of it."""
    as_of_seq, document = here.runtime.view.documents().get(f"stock/{gtin}", (0, None))
    product = here.site.product_by_gtin[gtin]
    row: dict[str, Any] = dict(document) if isinstance(document, dict) else {"gtin": gtin, "on_hand": None}
    more = {"name": product.name, "category": product.category, "as_of_seq": as_of_seq}
    if (product.price_minor or product.currency) and "price_minor" not in row:
        more |= {"price_minor": product.price_minor, "currency": product.currency}
    return row | more


@reading.get("/v1/stock", tags=["stock"])
async def stock(
    here: Here,
    response: Response,
    text: Annotated[str, Query(description="part of a name or a GTIN", max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    after: Annotated[str, Query(description="GTIN of the last row of the page before", max_length=14)] = "",
) -> list[dict[str, Any]]:
    """What is on hand, per product, with confidence and reasons."""
    needle = text.casefold()
    wanted = sorted(
        gtin
        for gtin, product in here.site.product_by_gtin.items()
        if gtin > after and (needle in product.name.casefold() or needle in gtin)
    )
    if len(wanted) > limit:
        query = urlencode({"text": text, "limit": limit, "after": wanted[limit - 1]})
        response.headers["Link"] = f'</v1/stock?{query}>; rel="next"'
    return [stock_row(here, gtin) for gtin in wanted[:limit]]


@reading.get("/v1/stock/{gtin}", tags=["stock"])
async def stock_answer(here: Here, gtin: str) -> JSONResponse:
    """One product: what is on hand where, how sure that is, and why."""
    return JSONResponse(await stock_of(here, gtin))  # plain JSON already: validating it again costs more than all else


async def stock_of(here: Here, gtin: str) -> dict[str, Any]:
    """One product: what is on hand where, how sure that is, and why."""
    if fault := gtin_fault(gtin):
        raise Problem(422, "invalid_gtin", f"gtin = {gtin!r}: {fault}", "Scan the code again.")
    if normalize_gtin(gtin) not in here.site.product_by_gtin:
        raise Problem(404, "unknown_product", f"gtin = {gtin!r}: not in the catalogue", "Load the catalogue.")
    return stock_row(here, normalize_gtin(gtin))


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
    here: Here, who: Viewer, request: Request, last_event_id: Annotated[int | None, Header(ge=0, le=SEQ_MAX)] = None
) -> StreamingResponse:
    """Facts as server-sent events, from now on or from Last-Event-ID; each event's id is its seq."""
    del who
    after = here.runtime.journal.last_seq if last_event_id is None else last_event_id
    token = request.scope["token"]
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(here, after, token), media_type="text/event-stream", headers=headers)


async def _events(here: Services, after: int, token: str) -> AsyncIterator[bytes]:
    journal = here.runtime.journal
    committed = asyncio.Event()
    unsubscribe = journal.subscribe(lambda _: committed.set())
    feed = here.feed
    try:
        yield b"retry: 2000\n\n"
        while True:
            committed.clear()
            lines, after = feed.after(after)
            if lines:
                yield lines
            if journal.last_seq > after:
                continue
            try:
                await asyncio.wait_for(committed.wait(), KEEPALIVE_S)
                await asyncio.sleep(GATHER_S)  # a burst of commits becomes one write for each listener
            except TimeoutError:
                yield b": still here\n\n"
            if token and here.access.who(token, touch=False) is None:
                yield b"event: signed-out\ndata: {}\n\n"
                return
    finally:
        unsubscribe()


router.include_router(reading)
