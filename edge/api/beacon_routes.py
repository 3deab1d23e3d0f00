"""Beacons of the store: what a technician writes into each (the provisioning plan), and taking it over."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from edge.api.problems import Problem
from edge.api.services import Here, Services, Technician
from edge.beacon_keys import EXPONENTS, BeaconKeyRefused, identity_of
from edge.core.beacon_plan import Row, plan_of

router = APIRouter(tags=["devices"])
Chain = Annotated[str, Query(max_length=36, description="the chain's UUID, one for all stores")]
Major = Annotated[int, Query(description="the store's number within the chain")]


def _plan(here: Services, uuid: str, major: int) -> list[Row]:
    try:
        return plan_of(here.site, uuid, major)
    except ValueError as fault:
        raise Problem(422, "invalid_plan", f"uuid = {uuid!r}, major = {major}: {fault}", "Use the chain's.") from None


def _row(row: Row, base: str) -> dict[str, Any]:
    namespace, instance = row.eddystone_uid
    shown: dict[str, Any] = {"id": row.id, "zone": row.zone, "uuid": row.uuid, "major": row.major, "minor": row.minor}
    shown |= {"is_new": row.is_new, "faults": list(row.faults), "ibeacon": row.ibeacon, "url": f"{base}/s/{row.zone}"}
    return shown | {"eddystone_uid": {"namespace": namespace, "instance": instance}}


@router.get("/v1/beacons/plan")
async def plan(here: Here, who: Technician, request: Request, uuid: Chain, major: Major) -> list[dict[str, Any]]:
    """A row for each zone: what is to be written into its beacon, and what is wrong with those that are set."""
    del who
    base = str(request.base_url).rstrip("/")
    return [_row(row, base) for row in _plan(here, uuid, major)]


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


# --- keys of beacons that hide (Eddystone-EID) ------------------------------------------------------------------------


class KeyIn(BaseModel):
    """What a beacon tells at the end of a key exchange; or a key that was agreed on otherwise."""

    exponent: Annotated[int, Field(ge=0, le=15)] = 10
    time_s: Annotated[int, Field(ge=0, lt=2**32)] = 0
    beacon_public_key: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    eid: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{16}$")] | None = None
    key: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{32}$")] | None = None


def _beacon(here: Services, beacon: str) -> dict[str, Any]:
    """The beacon's row of the planogram. Raises Problem 404."""
    rows = here.installation.site_document().get("beacons", [])
    found: dict[str, Any] | None = next((row for row in rows if row["id"] == beacon), None)
    if found is None:
        raise Problem(404, "unknown_beacon", f"beacon = {beacon!r}: not in the planogram", "Take it into the plan.")
    return found


@router.get("/v1/beacons/keys")
async def keys(here: Here, who: Technician) -> list[dict[str, Any]]:
    """Which beacons have a key here, how often their identifiers change, and since when. A key itself is never told."""
    del who
    return here.installation.beacon_keys.rows()


@router.post("/v1/beacons/{beacon}/key-exchange")
async def begin_exchange(here: Here, who: Technician, beacon: str) -> dict[str, Any]:
    """Begin a key exchange: write `public_key` and an exponent into the beacon's EID slot, then PUT what it tells.

    Nobody sees the key that both have at the end. An exchange is open for 15 minutes.
    """
    _beacon(here, beacon)
    public = here.installation.beacon_keys.begin(beacon)
    await here.access.audit.add(who.name, "begin_beacon_key", beacon)
    return {"beacon": beacon, "public_key": public.hex(), "exponent_min": EXPONENTS[0], "exponent_max": EXPONENTS[1]}


@router.put("/v1/beacons/{beacon}/key")
async def take_key(here: Here, who: Technician, beacon: str, body: KeyIn) -> dict[str, Any]:
    """Take a beacon's key, in place of the one before, by the exchange that was begun (`beacon_public_key`, `eid`), or
    as it is (`key`). From now on its identifiers are resolved; the answer does not have the key."""
    vault = here.installation.beacon_keys
    async with here.editing:
        _beacon(here, beacon)
        known = any(row["beacon"] == beacon for row in vault.rows())
        try:
            if body.beacon_public_key is not None and body.eid is not None and body.key is None:
                public, eid = bytes.fromhex(body.beacon_public_key), bytes.fromhex(body.eid)
                await vault.finish(beacon, public, body.exponent, body.time_s, eid)
            elif body.key is not None and body.beacon_public_key is None and body.eid is None:
                await vault.put(beacon, bytes.fromhex(body.key), body.exponent, body.time_s)
            else:
                raise BeaconKeyRefused("body: expected beacon_public_key and eid, or key alone")
        except BeaconKeyRefused as refusal:
            raise Problem(422, "beacon_key", str(refusal), refusal.hint) from None
        await _rename(here, who.name, beacon, identity_of(beacon))
    await here.access.audit.add(who.name, "rotate_beacon_key" if known else "add_beacon_key", beacon)
    return next(row for row in vault.rows() if row["beacon"] == beacon)


@router.delete("/v1/beacons/{beacon}/key", status_code=204)
async def forget_key(here: Here, who: Technician, beacon: str) -> None:
    """Forget a beacon's key: its identifiers are a stranger's from now on."""
    async with here.editing:
        _beacon(here, beacon)
        if not await here.installation.beacon_keys.forget(beacon):
            raise Problem(404, "no_key", f"beacon = {beacon!r}: it has no key here")
        await _rename(here, who.name, beacon, "")
    await here.access.audit.add(who.name, "forget_beacon_key", beacon)


async def _rename(here: Services, actor: str, beacon: str, identity: str) -> None:
    """Under what the planogram expects to hear it."""
    document = here.installation.site_document()
    rows = [row | {"identity": identity} if row["id"] == beacon else row for row in document["beacons"]]
    if rows != document["beacons"]:
        await here.installation.use_site(document | {"beacons": rows}, actor, f"api-{secrets.token_hex(8)}")
