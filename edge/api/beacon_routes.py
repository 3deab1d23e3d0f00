"""Beacons of the store: what a technician writes into each (the provisioning plan), and taking it over."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from edge.api.problems import Problem
from edge.api.services import Here, Services, Technician
from edge.core.beacon_plan import Row, plan_of

router = APIRouter(tags=["devices"])
Chain = Annotated[str, Query(max_length=36, description="the chain's UUID, one for all stores")]
Major = Annotated[int, Query(description="the store's number within the chain")]


def _plan(here: Services, uuid: str, major: int) -> list[Row]:
    try:
        return plan_of(here.site, uuid, major)
    except ValueError as fault:
        raise Problem(422, "invalid_plan", f"uuid = {uuid!r}, major = {major}: {fault}", "Use the chain's.") from None


def _row(row: Row, base: str, *, rotating: bool) -> dict[str, Any]:
    namespace, instance = row.eddystone_uid
    shown: dict[str, Any] = {"id": row.id, "zone": row.zone, "uuid": row.uuid, "major": row.major, "minor": row.minor}
    shown |= {"is_new": row.is_new, "faults": list(row.faults), "ibeacon": row.ibeacon, "url": f"{base}/s/{row.zone}"}
    shown["eddystone_uid"] = {"namespace": namespace, "instance": instance}
    if rotating:
        shown["eid"] = {"identity": f"eid:{row.id}", "key": secrets.token_hex(16), "exponent": 10, "time_s": 0}
    return shown


@router.get("/v1/beacons/plan")
async def plan(
    here: Here, who: Technician, request: Request, uuid: Chain, major: Major, rotating: bool = False
) -> list[dict[str, Any]]:
    """A row for each zone: what is to be written into its beacon, and what is wrong with those that are set.

    rotating: each row also gets a fresh Eddystone-EID key, shown this once: write it into the beacon and, as it is,
    into `eid_keys` of the scanners; the planogram names the beacon by its `identity`.
    """
    del who
    base = str(request.base_url).rstrip("/")
    return [_row(row, base, rotating=rotating) for row in _plan(here, uuid, major)]


@router.post("/v1/beacons/plan")
async def adopt(here: Here, who: Technician, uuid: Chain, major: Major) -> dict[str, Any]:
    """Take the proposed beacons into the planogram; those that are set already stay as they are."""
    async with here.editing:
        new = [row for row in _plan(here, uuid, major) if row.is_new]
        document = here.installation.site_document()
        fields = ("id", "zone", "uuid", "major", "minor")
        rows = [{"kind": "zone"} | {name: getattr(row, name) for name in fields} for row in new]
        if rows:
            changed = {**document, "beacons": [*document.get("beacons", []), *rows]}
            await here.installation.use_site(changed, who.name, f"api-{secrets.token_hex(8)}")
            await here.access.audit.add(who.name, "plan_beacons", here.site.store.id, f"{len(rows)} beacons")
    return {"added": [row.id for row in new]}
