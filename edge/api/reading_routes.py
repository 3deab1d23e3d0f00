"""What a device measures now, for somebody who stands in front of it: push, and the number must rise."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from edge.api.device_routes import DeviceId, entry_of
from edge.api.services import Here, Services, Technician

router = APIRouter(tags=["devices"])
LOOKS_PER_S = 4.0
LONGEST_S = 600.0
TOTALS = ("tags_in", "adverts", "frames")
"""Counters whose growth tells that a device hears something, the first that it has."""


def readings_of(here: Services, device_id: str) -> dict[str, Any]:
    """Lanes with settled grams and units, cells with noise and faults, what the device counted so far, its state."""
    shelves, device = here.runtime.engine.parts.shelves, here.health.devices[device_id]
    lanes = [lane for lane in here.site.lanes if any(cell.device == device_id for cell in lane.cells)]
    total = next((name for name in TOTALS if name in device.counters), "")
    return {
        "state": device.state.value,
        "lanes": [
            {"lane": lane.id, "level_g": shelves.level_g(lane.id), "units": shelves.count(lane.id)} for lane in lanes
        ],
        "cells": [dataclasses.asdict(cell) for cell in shelves.cells(device_id)],
        "counted": total,
        "total": device.counters.get(total, 0),
    }


@router.get("/v1/devices/{device_id}/readings")
async def readings(here: Here, who: Technician, device_id: DeviceId) -> dict[str, Any]:
    """What the device measures now: grams and units of its lanes, noise and faults of its cells, what it counted."""
    del who
    entry_of(here, device_id)
    return readings_of(here, device_id)


@router.get("/v1/devices/{device_id}/readings/live", response_class=StreamingResponse)
async def live_readings(here: Here, who: Technician, device_id: DeviceId, request: Request) -> StreamingResponse:
    """The same four times a second as server-sent events, for ten minutes at most."""
    del who
    entry_of(here, device_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_live(here, device_id, request), media_type="text/event-stream", headers=headers)


async def _live(here: Services, device_id: str, request: Request) -> AsyncIterator[str]:
    token, loop = request.scope["token"], asyncio.get_running_loop()
    until_s = loop.time() + LONGEST_S
    while loop.time() < until_s and device_id in here.health.devices:
        if token and here.access.who(token, touch=False) is None:
            return
        yield f"event: readings\ndata: {json.dumps(readings_of(here, device_id), ensure_ascii=False)}\n\n"
        await asyncio.sleep(1 / LOOKS_PER_S)
