"""A technician at a door sensor: heat view, mount check by ten walks, walk test, recording with a notice and an end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from edge.api.device_routes import DeviceId, entry_of
from edge.api.problems import Problem
from edge.api.services import Here, Services, Technician, Viewer
from edge.core.errors import GatewayError

router = APIRouter(tags=["footfall"])
KIND = "door_array"
LOOKS_PER_S = 8.0
LONGEST_LOOK_S = 600.0
WALK_S, TEST_S, RECORDING_S = 8.0, 60.0, 60.0
Inward = Literal["+x", "-x", "+y", "-y"]
NPZ: dict[int | str, dict[str, Any]] = {200: {"content": {"application/x-npz": {}}}}


class Walk(BaseModel):
    """How long one walk takes: the doorway is empty at first, then one person walks in."""

    seconds: Annotated[float, Field(ge=3, le=30)] = WALK_S


class WalkTest(BaseModel):
    """How long people walk in and out."""

    seconds: Annotated[float, Field(ge=5, le=600)] = TEST_S


class Pressed(BaseModel):
    """Somebody walks through the door now."""

    direction: Literal["in", "out"]


class Turned(BaseModel):
    """The way in: x = column, y = row of the sensor."""

    inward: Inward


class Recording(BaseModel):
    """How long to record; a notice must hang at the door that says so."""

    seconds: Annotated[float, Field(gt=0, le=600)] = RECORDING_S
    notice_shown: bool = False


def door_of(here: Services, device_id: str) -> str:
    """The door sensor. Raises Problem 404, 409 for another kind of device."""
    entry = entry_of(here, device_id)
    if entry.kind != KIND:
        raise Problem(409, "no_door_sensor", f"device = {device_id!r}: a {entry.kind}: expected a {KIND}")
    return device_id


@router.get("/v1/footfall/model")
async def model(here: Here, who: Technician) -> dict[str, str]:
    """The model that counts: name, version, sha256, licence, and why it is not the newest one."""
    del who
    return await here.doors.model()


@router.get("/v1/doors")
async def doors(here: Here, who: Viewer) -> list[dict[str, Any]]:
    """Doors of the planogram with the way in, and what a technician has gathered there."""
    del who
    rows = here.site.doors
    return [{"device": row.device, "inward": row.inward, **here.doors.aid(row.device)} for row in rows]


@router.get("/v1/doors/{device_id}/heat/live", response_class=StreamingResponse)
async def heat(here: Here, who: Technician, request: Request, device_id: DeviceId) -> StreamingResponse:
    """What the sensor sees, as server-sent events of 8x8 or 24x32 pixels, for ten minutes at most; nothing is kept."""
    door_of(here, device_id)
    await here.access.audit.add(who.name, "look_at_heat", device_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    events = heat_events(here, device_id, request.scope["token"])
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def heat_events(here: Services, device_id: str, token: str) -> AsyncIterator[str]:
    """`heat` events until the sign-in or the time ends, or the sensor falls silent (`fault`)."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + LONGEST_LOOK_S
    try:
        async with contextlib.aclosing(here.doors.heat(device_id)) as views:
            async for view in views:
                if loop.time() > until_s or (token and here.access.who(token, touch=False) is None):
                    return
                yield f"event: heat\ndata: {json.dumps(view, separators=(',', ':'))}\n\n"
                await asyncio.sleep(1 / LOOKS_PER_S)
    except GatewayError as error:
        yield f"event: fault\ndata: {json.dumps({'detail': str(error), 'hint': error.hint})}\n\n"


@router.post("/v1/doors/{device_id}/walks", status_code=202)
async def walk(here: Here, who: Technician, device_id: DeviceId, body: Walk) -> dict[str, Any]:
    """Gather one walk inwards (a job); ten of them tell the way in and how the sensor hangs."""
    door_of(here, device_id)

    async def work(tell: Any) -> dict[str, int]:
        return await here.doors.walk(device_id, body.seconds, tell)

    return here.jobs.start("walk", device_id, who.name, work).as_json()


@router.delete("/v1/doors/{device_id}/walks")
async def forget_walks(here: Here, who: Technician, device_id: DeviceId) -> dict[str, str]:
    """Forget the walks and begin anew."""
    del who
    here.doors.forget_walks(door_of(here, device_id))
    return {"device": device_id}


@router.get("/v1/doors/{device_id}/mount")
async def mount(
    here: Here, who: Technician, device_id: DeviceId, half_field_deg: Annotated[float, Query(gt=5, lt=80)] = 30.0
) -> dict[str, Any]:
    """What ten walks tell: the way in, skew, width of the field, height, and what to change.

    half_field_deg: half the sensor's field along the way (Grid-EYE 30, VL53L5CX 22.5, MLX90640 27.5 or 55).
    """
    del who
    return await here.doors.mount(door_of(here, device_id), half_field_deg)


@router.put("/v1/doors/{device_id}/inward")
async def turn(here: Here, who: Technician, device_id: DeviceId, body: Turned) -> dict[str, Any]:
    """Set the way in on the planogram; counting goes on with it at once, and the walks are forgotten."""
    door_of(here, device_id)
    document = here.installation.site_document()
    document["doors"] = [row for row in document["doors"] if row["device"] != device_id]
    document["doors"].append({"device": device_id, "inward": body.inward})
    await here.installation.use_site(document, who.name, f"api-{secrets.token_hex(8)}")
    await here.access.audit.add(who.name, "set_inward", device_id, body.inward)
    here.doors.forget_walks(device_id)
    return {"device": device_id, "inward": body.inward}


@router.post("/v1/doors/{device_id}/walk-test", status_code=202)
async def walk_test(here: Here, who: Technician, device_id: DeviceId, body: WalkTest) -> dict[str, Any]:
    """Count for a while (a job) while somebody presses at each passage; the score is right / (right+missed+false)."""
    door_of(here, device_id)

    async def work(tell: Any) -> dict[str, Any]:
        result = await here.doors.walk_test(device_id, body.seconds, tell)
        detail = f"{result['right']} right, {result['missed']} missed, {result['false']} false"
        await here.access.audit.add(who.name, "walk_test", device_id, detail)
        return result

    return here.jobs.start("walk_test", device_id, who.name, work).as_json()


@router.post("/v1/doors/{device_id}/walk-test/walked")
async def walked(here: Here, who: Technician, device_id: DeviceId, body: Pressed) -> dict[str, int]:
    """Somebody walks through now."""
    del who
    return {"walked": here.doors.pressed(door_of(here, device_id), body.direction)}


@router.post("/v1/doors/{device_id}/recording", status_code=202)
async def record(here: Here, who: Technician, device_id: DeviceId, body: Recording) -> dict[str, Any]:
    """Record frames in memory (a job), only with a notice at the door and for at most ten minutes; audited."""
    door_of(here, device_id)
    if not body.notice_shown:
        detail = "notice_shown = False: expected a visible notice at the door before frames are kept"
        raise Problem(422, "no_notice", detail, "Print the notice, hang it at the door, then say so.")
    await here.access.audit.add(who.name, "record_door", device_id, f"{body.seconds:.0f} s, notice shown")

    async def work(tell: Any) -> dict[str, int]:
        return await here.doors.record(device_id, body.seconds, body.notice_shown, tell)

    return here.jobs.start("recording", device_id, who.name, work).as_json()


@router.get("/v1/doors/{device_id}/recording", response_class=Response, responses=NPZ)
async def take_recording(here: Here, who: Technician, device_id: DeviceId) -> Response:
    """The recording as .npz (centi_celsius or mm, t_us); the gateway forgets it with this download."""
    data = await here.doors.take_recording(door_of(here, device_id))
    await here.access.audit.add(who.name, "take_recording", device_id, f"{len(data)} bytes")
    headers = {"Content-Disposition": f'attachment; filename="{device_id}.npz"', "Cache-Control": "no-store"}
    return Response(data, headers=headers, media_type="application/x-npz")


@router.delete("/v1/doors/{device_id}/recording")
async def forget_recording(here: Here, who: Technician, device_id: DeviceId) -> dict[str, str]:
    """Throw the recording away."""
    here.doors.forget_recording(door_of(here, device_id))
    await here.access.audit.add(who.name, "forget_recording", device_id)
    return {"device": device_id}
