"""The support bundle and the configuration that sets up a swapped gateway: everything but secrets."""

from __future__ import annotations

import io
import json
import zipfile

from fastapi import APIRouter, Response

from edge.api.configuration_routes import configuration_of
from edge.api.documents import device_rows, health_document
from edge.api.hiding import without_secrets
from edge.api.services import Here, Technician

router = APIRouter(tags=["support"])
FACTS = 1_000


@router.get("/v1/support-bundle", response_class=Response, responses={200: {"content": {"application/zip": {}}}})
async def bundle(here: Here, who: Technician) -> Response:
    """Health, devices, configuration without secrets, the newest facts, logs and the audit, as one zip file."""
    last = here.runtime.journal.last_seq
    files = {
        "health.json": health_document(here)[1],
        "devices.json": device_rows(here),
        "configuration.json": without_secrets(configuration_of(here)),
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
