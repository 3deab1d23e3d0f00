"""Record and replay: a device's raw link to a file, and what another planogram or profile would have made of it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from edge.api.device_routes import DeviceId, entry_of
from edge.api.problems import Problem
from edge.api.services import Here, Key, Services, Technician, Viewer
from edge.core.site import load_site
from edge.recordings import REPLAYED, forget, replay

router = APIRouter(tags=["recordings"])
Name = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,40}\.[0-9]{1,6}\.tap$")]
FILE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}


class Record(BaseModel):
    """How long."""

    seconds: Annotated[float, Field(gt=0, le=600)] = 30.0


class Replay(BaseModel):
    """What to compare with: another planogram (none: the one in effect) and a profile."""

    planogram: dict[str, Any] | None = None
    profile: Annotated[str, Field(max_length=40)] = "learned"


@router.post("/v1/devices/{device_id}/record", status_code=202)
async def record(here: Here, who: Technician, device_id: DeviceId, body: Record, key: Key = None) -> dict[str, Any]:
    """Record the raw bytes of a reader's or scale's link, which starts anew: a job whose result names the recording."""
    kind = entry_of(here, device_id).kind
    here.recordings.new(device_id, kind)  # a refusal is told at once

    async def work(tell: Any) -> dict[str, Any]:
        return await here.recordings.record(device_id, kind, body.seconds, tell)

    await here.access.audit.add(who.name, "record_device", device_id, f"{body.seconds:g} s")
    return here.jobs.start("record", device_id, who.name, work, key=key or "").as_json()


@router.get("/v1/recordings")
async def recordings(here: Here, who: Viewer) -> list[dict[str, Any]]:
    """Recordings that are kept, oldest first."""
    del who
    return here.recordings.rows()


def _path(here: Services, name: str) -> Any:
    path = here.recordings.path(name)
    if path is None:
        raise Problem(404, "unknown_recording", f"recording = {name!r}: not kept", "See the list of recordings.")
    return path


@router.get("/v1/recordings/{name}", response_class=Response, responses=FILE)
async def recording(here: Here, who: Technician, name: Name) -> FileResponse:
    """A recording's bytes (magic SSTAP); `replay:FILE` as a device's link plays it."""
    del who
    return FileResponse(_path(here, name), media_type="application/octet-stream", filename=name)


@router.delete("/v1/recordings/{name}")
async def remove(here: Here, who: Technician, name: Name) -> dict[str, str]:
    """Delete a recording."""
    forget(_path(here, name))
    await here.access.audit.add(who.name, "forget_recording", name)
    return {"name": name}


@router.post("/v1/recordings/{name}/replay", status_code=202)
async def compare(here: Here, who: Technician, name: Name, body: Replay, key: Key = None) -> dict[str, Any]:
    """Run a reader's recording through another planogram or profile: a job with what would have changed."""
    path, device = _path(here, name), name.split(".")[0]
    entry = here.installation.entries().get(device)
    if entry is not None and entry.kind not in REPLAYED:
        detail = f"{name} is of a {entry.kind}: expected one of {', '.join(REPLAYED)}"
        raise Problem(422, "not_replayed", detail, "Play it as the link of a device: replay:FILE.")
    now = here.installation.site_document()
    other = body.planogram or now
    load_site(other)

    async def work(tell: Any) -> dict[str, Any]:
        tell(0.1, "replaying")
        return await replay(path, now, other, body.profile)

    return here.jobs.start("replay", name, who.name, work, key=key or "").as_json()
