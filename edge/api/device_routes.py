"""Devices: set up, identify, test, replace, retire; lanes: tare and span."""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated, Any, cast

from fastapi import APIRouter, Header, Path, Response
from pydantic import BaseModel, Field

from edge.api.documents import device_row
from edge.api.etag import check_match, etag_of
from edge.api.hiding import HIDDEN, with_secrets, without_hidden, without_keys
from edge.api.listing import SAME, IfNoneMatch, Paged, Row, whole
from edge.api.placement import Place, placed, rows_of
from edge.api.problems import Problem
from edge.api.services import Here, Key, Services, Technician, Viewer, carry_out
from edge.core.errors import DeviceRefused, LinkLost
from edge.core.fact import kind_of
from edge.core.observation import DeviceState
from edge.settings import DeviceEntry

router = APIRouter(tags=["devices"])
DeviceId = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,40}$")]
LaneId = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,40}$")]
Match = Annotated[str | None, Header(alias="If-Match", max_length=80)]
Scalar = str | int | float | bool | list[str] | list[int] | list[float] | None
STEP_S = 0.25


class DeviceIn(BaseModel):
    """Kind and settings of a position; GET /v1/kinds says which settings a kind takes."""

    kind: Annotated[str, Field(max_length=40)]
    settings: dict[str, Any] = {}


class Identify(BaseModel):
    """How long to blink; 0 stops."""

    seconds: Annotated[int, Field(ge=0, le=255)] = 10


class Test(BaseModel):
    """How long to watch the device."""

    seconds: Annotated[float, Field(gt=0, le=120)] = 10.0


class Span(BaseModel):
    """What lies on the lane: a mass, or a number of its product's units."""

    mass_g: Annotated[float | None, Field(gt=0, le=1_000_000)] = None
    units: Annotated[int | None, Field(ge=1, le=10_000)] = None


def entry_of(here: Services, device_id: str) -> DeviceEntry:
    """The position. Raises Problem 404."""
    entry = here.installation.entries().get(device_id)
    if entry is None:
        raise Problem(404, "unknown_device", f"device = {device_id!r}: no such position", "See the list of devices.")
    return entry


def plain(entry: DeviceEntry) -> dict[str, Any]:
    """A position's configuration as JSON, its secrets hidden."""
    return {"id": entry.id, "kind": entry.kind, "settings": without_keys(entry.settings)}


def _given(device_id: str, kind: str, settings: dict[str, Any], before: dict[str, Any]) -> DeviceEntry:
    """A position as somebody sends it: what is hidden stays as it was. Raises Problem 422."""
    found = with_secrets(settings, before)
    _, missing = without_hidden(found)
    if missing:
        detail = f"device = {device_id!r}: {missing} values are {HIDDEN!r}: expected the secrets themselves"
        raise Problem(422, "secret_missing", detail, "Only secrets that are kept here can stay hidden.")
    return DeviceEntry(device_id, kind, found)


@router.get("/v1/kinds", response_model=list[Row], responses=SAME)
async def kinds(here: Here, who: Viewer, if_none_match: IfNoneMatch = None) -> Response:
    """Kinds of devices that can be set up, with their settings."""
    del who
    return whole(here.installation.kinds(), if_none_match)


@router.get("/v1/devices/{device_id}")
async def device(here: Here, who: Viewer, device_id: DeviceId, response: Response) -> dict[str, Any]:
    """One device: how it is, its configuration (with ETag) and where it stands on the planogram."""
    del who
    entry = entry_of(here, device_id)
    response.headers["ETag"] = etag_of(plain(entry))
    return device_row(here, device_id) | {"settings": plain(entry)["settings"], "places": places_of(here, device_id)}


def places_of(here: Services, device_id: str) -> list[str]:
    """Shelves, zones and doors that this device serves."""
    site = here.site
    shelves = [
        antenna.shelf or antenna.zone for row in site.readers if row.device == device_id for antenna in row.antennas
    ]
    shelves += [lane.shelf for lane in site.lanes if any(cell.device == device_id for cell in lane.cells)]
    shelves += [scanner.zone for scanner in site.scanners if scanner.device == device_id]
    shelves += ["door" for door in site.doors if door.device == device_id]
    return list(dict.fromkeys(shelves))


@router.put("/v1/devices/{device_id}")
async def put_device(
    here: Here, who: Technician, device_id: DeviceId, body: DeviceIn, response: Response, if_match: Match = None
) -> dict[str, Any]:
    """Set a position up, or change it; its driver starts anew. 409 with both versions if somebody else was first."""
    async with here.editing:
        current = here.installation.entries().get(device_id)
        wanted = _given(device_id, body.kind, body.settings, current.settings if current else {})
        check_match(if_match, plain(current) if current else None, plain(wanted))
        await here.installation.put(wanted)
    await here.access.audit.add(who.name, "change_device" if current else "add_device", device_id, body.kind)
    response.headers["ETag"] = etag_of(plain(wanted))
    return device_row(here, device_id) | {"settings": plain(wanted)["settings"], "places": places_of(here, device_id)}


@router.get("/v1/devices/{device_id}/place")
async def place_of(here: Here, who: Viewer, device_id: DeviceId, response: Response) -> dict[str, Any]:
    """Where the device stands: what its kind can be given (antennas, cells, zone, inward), with what is set now.

    The ETag is the planogram's, of which a place is a part.
    """
    del who
    response.headers["ETag"] = etag_of(here.installation.site_document())
    return rows_of(here.site, device_id, entry_of(here, device_id).kind)


@router.put("/v1/devices/{device_id}/place")
async def put_place(
    here: Here, who: Technician, device_id: DeviceId, body: Place, response: Response, if_match: Match = None
) -> dict[str, Any]:
    """Place the device on the planogram, at once; the planogram's own checks name what does not fit."""
    entry = entry_of(here, device_id)
    async with here.editing:
        current = here.installation.site_document()
        wanted = placed(current, device_id, body)
        check_match(if_match, current, wanted)
        fields = set(rows_of(here.site, device_id, entry.kind))
        foreign = sorted(body.model_dump(exclude_none=True).keys() - fields)
        if foreign:
            detail = f"{', '.join(foreign)}: a {entry.kind} is placed by {', '.join(sorted(fields)) or 'nothing'}"
            raise Problem(422, "other_place", detail, "GET this address to see what the device takes.")
        await here.installation.use_site(wanted, who.name, f"api-{secrets.token_hex(8)}")
    await here.access.audit.add(who.name, "place_device", device_id, ", ".join(places_of(here, device_id)))
    response.headers["ETag"] = etag_of(here.installation.site_document())
    return {"id": device_id, "places": places_of(here, device_id), **rows_of(here.site, device_id, entry.kind)}


@router.post("/v1/devices/{device_id}/replace")
async def replace(
    here: Here, who: Technician, device_id: DeviceId, body: DeviceIn, response: Response, if_match: Match = None
) -> dict[str, Any]:
    """New hardware at the same position: place, lanes, calibration history and planogram stay, the link may change."""
    entry = entry_of(here, device_id)
    if body.kind != entry.kind:
        detail = f"kind = {body.kind!r}: expected {entry.kind!r}, the kind of this position"
        raise Problem(422, "other_kind", detail, "Retire this position and set up a new one.")
    async with here.editing:
        entry = entry_of(here, device_id)
        wanted = _given(device_id, entry.kind, entry.settings | body.settings, entry.settings)
        check_match(if_match, plain(entry), plain(wanted))
        await here.installation.put(wanted)
    response.headers["ETag"] = etag_of(plain(wanted))
    old = here.health.devices[device_id].serial
    await here.access.audit.add(who.name, "replace_device", device_id, f"was {old}" if old else "")
    return device_row(here, device_id) | {"replaced_serial": old, "places": places_of(here, device_id)}


@router.delete("/v1/devices/{device_id}")
async def retire(here: Here, who: Technician, device_id: DeviceId) -> dict[str, str]:
    """Take a position out of service; its history stays."""
    async with here.editing:
        entry_of(here, device_id)
        await here.installation.retire(device_id)
    await here.access.audit.add(who.name, "retire_device", device_id)
    return {"id": device_id}


@router.post("/v1/devices/{device_id}/identify")
async def identify(here: Here, who: Technician, device_id: DeviceId, body: Identify) -> dict[str, Any]:
    """Let the device blink or beep, so that a person sees which one it is."""
    entry_of(here, device_id)
    driver = here.installation.driver(device_id)
    if driver is None:
        raise LinkLost(device_id, "it is not connected now")
    blink = getattr(driver, "identify", None)
    if blink is None:
        raise DeviceRefused(device_id, "this kind of device has no light and no sound")
    await asyncio.wait_for(cast("Any", blink)(body.seconds), 10)
    await here.access.audit.add(who.name, "identify_device", device_id)
    return {"id": device_id, "seconds": body.seconds}


@router.post("/v1/devices/{device_id}/test", status_code=202)
async def watch(here: Here, who: Technician, device_id: DeviceId, body: Test, key: Key = None) -> dict[str, Any]:
    """Watch the device while a person uses it (push the shelf, take one, walk through): a job with what was heard."""
    entry_of(here, device_id)

    async def work(tell: Any) -> dict[str, Any]:
        result = await _watch(here, device_id, body.seconds, tell)
        if result["passed"]:
            await here.access.audit.add(who.name, "test_device", device_id, f"{len(result['events'])} events")
        return result

    return here.jobs.start("test", device_id, who.name, work, key=key or "").as_json()


async def _watch(here: Services, device_id: str, seconds: float, tell: Any) -> dict[str, Any]:
    began_us, first_seq = here.runtime.clock_us(), here.runtime.journal.last_seq
    before = dict(here.health.devices[device_id].counters)
    places = set(places_of(here, device_id))
    seen: list[str] = []
    loop = asyncio.get_running_loop()
    until_s = loop.time() + seconds
    while (left_s := until_s - loop.time()) > 0:
        await asyncio.sleep(min(STEP_S, left_s))
        for stored in here.runtime.journal.read(first_seq + 1, 500):
            first_seq, fields = stored.seq, stored.fields
            if (
                fields.get("device") == device_id
                or fields.get("shelf") in places
                or ("door" in places and "people" in fields)
            ):
                seen.append(kind_of(stored.type))
        tell(1 - left_s / seconds, f"{len(seen)} events: {seen[-1]}" if seen else "use the device now")
    health = here.health.devices.get(device_id)
    if health is None:
        raise LinkLost(device_id, "it was retired while it was tested")
    heard = health.last_seen_us is not None and health.last_seen_us >= began_us
    if health.state is DeviceState.OFFLINE:
        raise LinkLost(device_id, health.detail or health.cause)
    grown = {
        name: count - before.get(name, 0) for name, count in health.counters.items() if count != before.get(name, 0)
    }
    return {"passed": heard, "heard": heard, "state": health.state.value, "events": seen[-50:], "counters": grown}


# --- lanes ------------------------------------------------------------------------------------------------------------


@router.get("/v1/lanes", response_model=list[Row], responses=SAME)
async def lanes(here: Here, who: Viewer, page: Paged) -> Response:
    """Every weighed lane with its shelf, cells and products, by id."""
    del who
    rows = (
        {
            "id": lane.id,
            "shelf": lane.shelf,
            "cells": [{"device": cell.device, "cell": cell.cell} for cell in lane.cells],
            "gtins": list(lane.gtins),
        }
        for lane in here.site.lanes
    )
    return page.of(rows, lambda row: str(row["id"]))


def _connected(here: Services, lane_id: str) -> None:
    """Counts from before a cable came off are no measure. Raises LinkLost naming the device."""
    for cell in next((lane.cells for lane in here.site.lanes if lane.id == lane_id), ()):
        device = here.health.devices.get(cell.device)
        if device is not None and device.state is DeviceState.OFFLINE:
            raise LinkLost(cell.device, device.detail or device.cause)


@router.post("/v1/lanes/{lane_id}/tare")
async def tare(here: Here, who: Technician, lane_id: LaneId, key: Key = None) -> dict[str, str]:
    """Set the zero of an empty lane."""
    _connected(here, lane_id)
    return {"id": await carry_out(here, who, "tare_lane", {"lane": lane_id}, key), "lane": lane_id}


@router.post("/v1/lanes/{lane_id}/span")
async def span(here: Here, who: Technician, lane_id: LaneId, body: Span, key: Key = None) -> dict[str, str]:
    """Set the scale of a lane with a known mass, or a number of units, on it."""
    if (body.mass_g is None) == (body.units is None):
        raise Problem(422, "invalid_input", "mass_g, units: expected one of the two", "Name the mass or the units.")
    _connected(here, lane_id)
    args: dict[str, Any] = {"lane": lane_id, "mass_g": body.mass_g, "units": body.units}
    chosen = {name: value for name, value in args.items() if value is not None}
    return {"id": await carry_out(here, who, "span_lane", chosen, key), "lane": lane_id}
