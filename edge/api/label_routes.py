"""What stands on printed labels, as data: for label printers and for the console's own sheets."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from edge.api.device_routes import places_of
from edge.api.services import Here, Services, Technician

router = APIRouter(tags=["devices"])


def label_rows(here: Services, base: str) -> list[dict[str, str]]:
    """kind, id, name, where, and what its QR code says (`base`: the gateway's address; beacons: their key).

    The code of a zone is for shoppers: it opens their page.
    """
    # Shoppers' phones trust the name that the platform's certificate carries, not the gateway's own.
    shop = f"https://{here.settings.public_name}" if here.settings.public_name else base
    store, zones = here.site.store, {zone.id: zone.name or zone.id for zone in here.site.zones}

    def row(kind: str, of: str, name: str, where: str, code: str) -> dict[str, str]:
        return {"kind": kind, "id": of, "name": name, "where": where, "code": code}

    rows = [row("gateway", store.id, store.name or store.id, "", f"{base}/sign-in")]
    rows += [
        row("device", name, name, ", ".join(places_of(here, name)), f"{base}/devices/{name}")
        for name in sorted(here.installation.entries())
    ]
    rows += [
        row("shelf", shelf.id, shelf.id, zones.get(shelf.zone, ""), f"{base}/recount/{shelf.id}")
        for shelf in sorted(here.site.shelves, key=lambda shelf: shelf.id)
    ]
    rows += [
        row("beacon", beacon.id, beacon.id, zones.get(beacon.zone or "", beacon.kind), beacon.key)
        for beacon in sorted(here.site.beacons, key=lambda beacon: beacon.id)
    ]
    rows += [
        row("zone", zone.id, zone.name or zone.id, "", f"{shop}/s/{zone.id}")
        for zone in sorted(here.site.zones, key=lambda zone: zone.id)
    ]
    return rows


@router.get("/v1/labels")
async def labels(here: Here, who: Technician, request: Request) -> list[dict[str, Any]]:
    """Labels of gateway, devices, shelves, beacons and zones: what is written on each and what its QR code says."""
    del who
    return list(label_rows(here, str(request.base_url).rstrip("/")))
