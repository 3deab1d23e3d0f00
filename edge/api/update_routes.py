"""Updates for technicians: what runs from which slot, what happened last, and a look at the repository now."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from edge.api.problems import Problem
from edge.api.services import Here, Technician

router = APIRouter(tags=["updates"])


@router.get("/v1/updates")
async def updates(here: Here, who: Technician) -> dict[str, Any]:
    """The running version and its slot, a release on trial, what is wanted and signed, and the last result."""
    del who
    return {"version": here.version, **await here.updates.state()}


@router.post("/v1/updates/look", status_code=202)
async def look(here: Here, who: Technician) -> dict[str, Any]:
    """Ask the publisher's repository now instead of within the hour; what is wanted is then carried out."""
    if not here.updates.on:
        raise Problem(
            409,
            "no_repository",
            "updates.url is empty: expected the address of the publisher's repository",
            "Name it under [updates] in the settings of the gateway.",
        )
    await here.access.audit.add(who.name, "look_for_updates", "updates", "")
    await here.updates.look()
    return {"looking": True}
