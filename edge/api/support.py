"""The support bundle and the configuration that sets up a swapped gateway: everything but secrets."""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

from fastapi import APIRouter, Response

from edge.api.device_routes import plain
from edge.api.documents import device_rows, health_document
from edge.api.services import Here, Services, Technician
from edge.settings import DeviceEntry

router = APIRouter(tags=["support"])
FACTS = 1_000
_SECRET = re.compile(r"pass|secret|token|pin$|key$|credential", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")


def without_secrets(value: Any) -> Any:
    """The same document with the values of secret keys, and logins in addresses, taken out."""
    if isinstance(value, dict):
        return {key: "…" if _SECRET.search(str(key)) else without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    return _LOGIN.sub("", value) if isinstance(value, str) else value


@router.get("/v1/configuration")
async def configuration(here: Here, who: Technician) -> dict[str, Any]:
    """Devices and planogram, as a swapped gateway takes them."""
    del who
    return _configuration(here)


def _configuration(here: Services) -> dict[str, Any]:
    entries = [plain(entry) for entry in here.installation.entries().values()]
    return {"version": 1, "devices": entries, "planogram": here.installation.site_document()}


@router.put("/v1/configuration")
async def load_configuration(here: Here, who: Technician, body: dict[str, Any]) -> dict[str, Any]:
    """Set this gateway up like the one that the configuration was exported from."""
    from edge.core.plain import PlainError, build  # noqa: PLC0415 (rare)

    rows = body.get("devices", [])
    if body.get("version") != 1 or not isinstance(rows, list) or not isinstance(body.get("planogram"), dict):
        raise PlainError("configuration", sorted(body), "version = 1, devices and planogram, as they are exported")
    entries = [build(DeviceEntry, row, f"devices[{index}]") for index, row in enumerate(rows)]
    await here.installation.use_site(body["planogram"], who.name, f"config-{here.runtime.clock_us()}")
    for entry in entries:
        await here.installation.put(entry)
    await here.access.audit.add(who.name, "load_configuration", "", f"{len(entries)} devices")
    return {"devices": len(entries)}


@router.get("/v1/support-bundle", response_class=Response, responses={200: {"content": {"application/zip": {}}}})
async def bundle(here: Here, who: Technician) -> Response:
    """Health, devices, configuration without secrets, the newest facts, logs and the audit, as one zip file."""
    last = here.runtime.journal.last_seq
    files = {
        "health.json": health_document(here)[1],
        "devices.json": device_rows(here),
        "configuration.json": without_secrets(_configuration(here)),
        "jobs.json": [job.as_json() for job in here.jobs.all()],
        "logs.json": without_secrets(here.logbook.rows()),
        "audit.json": here.access.audit.rows(limit=500),
        "facts.json": [event.decode() for event in (here.feed.after(max(0, last - FACTS))[0],)],
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, document in files.items():
            archive.writestr(name, json.dumps(document, ensure_ascii=False, indent=1))
    await here.access.audit.add(who.name, "support_bundle")
    headers = {"Content-Disposition": 'attachment; filename="support-bundle.zip"'}
    return Response(out.getvalue(), headers=headers, media_type="application/zip")
