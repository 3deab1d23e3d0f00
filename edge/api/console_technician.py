"""The console's pages for technicians: devices, set-up, labels, health, network, audit, people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse

from edge.access import Role
from edge.api import setting_up
from edge.api import today as day_of
from edge.api.access_routes import people as people_rows
from edge.api.access_routes import tokens as token_rows
from edge.api.device_routes import device as device_document
from edge.api.device_routes import entry_of, places_of, plain
from edge.api.documents import device_rows, health_document
from edge.api.door_routes import door_of
from edge.api.etag import etag_of
from edge.api.hints import hint_for
from edge.api.label_routes import label_rows
from edge.api.network_routes import network_document
from edge.api.pages import render, shelf_name, teller_of
from edge.api.placement import rows_of
from edge.api.problems import Problem
from edge.api.rfid_routes import antennas_of
from edge.api.services import Admin, Here, Needs, Technician, Viewer
from edge.api.store_routes import tally_of, warnings, zone_of
from edge.api.words import LANGUAGES, requested_language, speaker
from edge.core.errors import InferenceError
from edge.core.observation import DeviceState
from edge.recordings import KINDS

router = APIRouter(dependencies=[Depends(Needs(Role.VIEWER))])
MOUNT_WALKS, GRID_EYE_DEG = 10, 30.0
AUDIT_PAGE = 100
LOG_LINES, JOBS_SHOWN = 30, 8


@router.get("/devices", response_class=HTMLResponse)
async def device_list(request: Request, here: Here) -> HTMLResponse:
    """Every device."""
    rows = [row | {"places": places_of(here, row["id"])} for row in device_rows(here)]
    rows.sort(key=lambda row: row["state"] == DeviceState.ONLINE.value)  # who needs somebody comes first
    return render(request, here, "devices", rows=rows)


@router.get("/devices/{device_id}", response_class=HTMLResponse)
async def one_device(request: Request, here: Here, who: Viewer, device_id: str) -> HTMLResponse:
    """One device and all that can be done with it."""
    if device_id not in here.installation.entries():
        raise Problem(404, "unknown_device", f"device = {device_id!r}: no such position", "See the list of devices.")
    tally = tally_of(request)
    tally.read(zone_of(here))
    teller = teller_of(request, here)
    events = [(stored.event_us, teller.fact(stored)) for stored in reversed(tally.by_device.get(device_id, ()))]
    row = await device_document(here, who, device_id, Response())
    link = next((name for name in ("link", "moniker", "adapter") if name in row["settings"]), "")
    more = {
        "lanes": setting_up.lanes_of(here, device_id),
        "place": rows_of(here.site, device_id, row["kind"]),
        "antennas": antennas_of(here, device_id),
        "blinks": row["kind"] in setting_up.BLINKS,
        "ready": setting_up.standing(here, device_id)["ready"],
        "site": here.site,
        "site_etag": etag_of(here.installation.site_document()),
        "etag": etag_of(plain(entry_of(here, device_id))),
        "recordable": row["kind"] in KINDS,
        "recordings": [tap for tap in here.recordings.rows() if tap["device"] == device_id],
    }
    return render(request, here, "device", row=row, events=events, link=link, **more)


@router.get("/devices/{device_id}/door", response_class=HTMLResponse)
async def door(request: Request, here: Here, who: Technician, device_id: str) -> HTMLResponse:
    """Installing a door sensor: heat view, mount check, walk test, recording."""
    del who
    door_of(here, device_id)
    aid = here.doors.aid(device_id)
    report = await here.doors.mount(device_id, GRID_EYE_DEG) if aid["walks"] >= MOUNT_WALKS else None
    inward = next((row.inward for row in here.site.doors if row.device == device_id), "+x")
    model, fault = None, ""
    try:
        model = await here.doors.model()
    except InferenceError as error:
        fault = f"{error} {error.hint}"
    more = {"walks": aid["walks"], "frames": aid["recorded_frames"], "report": report, "model": model, "fault": fault}
    return render(request, here, "door", id=device_id, inward=inward, **more)


@router.get("/devices/{device_id}/notice", response_class=HTMLResponse)
async def notice(request: Request, here: Here, who: Technician, device_id: str) -> HTMLResponse:
    """What hangs at the door while frames are kept, in both languages."""
    del who
    speakers = {language: speaker(language) for language in LANGUAGES}
    return render(request, here, "notice", id=door_of(here, device_id), speakers=speakers)


@router.get("/set-up", response_class=HTMLResponse)
async def set_up(request: Request, here: Here, who: Technician) -> HTMLResponse:
    """What is there, what is missing, what comes next; and looking for what is new."""
    rows = setting_up.standings(here)
    looking = next((job for job in here.jobs.all() if job.kind == "discovery" and job.state == "running"), None)
    more = {
        "kinds": here.installation.kinds(),
        "free": setting_up.free_names(here),
        "done": sum(row["ready"] for row in rows),
        "warnings": await warnings(here, who),
        "looking": looking.id if looking else "",
    }
    return render(request, here, "set_up", rows=rows, **more)


@router.get("/set-up/{device_id}", response_class=HTMLResponse)
async def set_up_device(request: Request, here: Here, who: Technician, device_id: str) -> HTMLResponse:
    """One device, step by step; how far it is the gateway knows, so any phone goes on where another stopped."""
    del who
    entry = entry_of(here, device_id)
    rows = setting_up.standings(here)
    row = next(row for row in rows if row["id"] == device_id)
    place = rows_of(here.site, device_id, entry.kind)
    following = next((one["id"] for one in rows if not one["ready"] and one["id"] != device_id), "")
    more = {
        "place": place,
        "site_etag": etag_of(here.installation.site_document()),
        "lanes": setting_up.lanes_of(here, device_id),
        "site": here.site,
        "following": following,
    }
    return render(request, here, "wizard", row=row, **more)


@router.get("/labels", response_class=HTMLResponse)
async def labels(request: Request, here: Here, who: Technician) -> HTMLResponse:
    """Labels with QR for gateway, devices, shelves, beacons and zones, to print."""
    del who
    base = str(request.base_url).rstrip("/")
    speak = speaker(requested_language(request.headers))
    teller = teller_of(request, here)
    zones = {zone.id: zone.name or zone.id for zone in here.site.zones}
    entries = here.installation.entries()
    sheets = {
        "gateway": [(here.site.store.name or here.site.store.id, here.site.store.id, f"{base}/sign-in")],
        "devices": [(name, teller.places(places_of(here, name)), _at(base, name)) for name in entries],
        "shelves": [
            (f"{speak('shelf')} {shelf_name(shelf.id)}", zones.get(shelf.zone, ""), f"{base}/recount/{shelf.id}")
            for shelf in here.site.shelves
        ],
        "beacons": [(row.id, zones.get(row.zone or "", row.kind), row.key) for row in here.site.beacons],
        "for_shoppers": [(row["name"], "", row["code"]) for row in label_rows(here, base) if row["kind"] == "zone"],
    }
    made = {title: [(name, sub, _qr(link)) for name, sub, link in sorted(rows)] for title, rows in sheets.items()}
    return render(request, here, "labels", sheets=made)


def _at(base: str, device_id: str) -> str:
    return f"{base}/devices/{device_id}"


def _qr(text: str) -> str:
    """A QR code as SVG; level M: labels get dirty."""
    import segno  # noqa: PLC0415 (only who prints pays for it)

    return str(segno.make(text, error="m", micro=False).svg_inline(border=2, omitsize=True))


@router.get("/record", response_class=HTMLResponse)
async def record(request: Request, here: Here, who: Technician) -> HTMLResponse:
    """The set-up record, to print or to save as PDF: what stands where, tested by whom, to be signed."""
    rows = setting_up.standings(here)
    tests = [row for row in here.access.audit.rows(limit=1000) if row["action"] in setting_up.RECORDED]
    answer = health_document(here)[1]
    warned = await warnings(here, who)
    version = etag_of(here.installation.site_document()).strip('"')[:12]
    more = {"tests": tests, "h": answer, "warned": warned, "planogram": version, "fingerprint": here.fingerprint}
    return render(request, here, "record", rows=rows, by=who.name, **more)


@router.get("/health-page", response_class=HTMLResponse)
async def health_page(request: Request, here: Here) -> HTMLResponse:
    """How the gateway is."""
    document = health_document(here)[1]
    trouble = day_of.devices_in_trouble(here)
    up_s = (here.runtime.clock_us() - here.started_us) // 1_000_000
    alarms = [(name, here.health.alarms.get(name, ""), hint_for(name)) for name in document["causes"]]
    lines = here.logbook.rows()[-LOG_LINES:]
    more = {"devices": device_rows(here), "jobs": here.jobs.all()[:JOBS_SHOWN], "lines": list(reversed(lines))}
    more["updates"] = await here.updates.state()
    return render(request, here, "health", h=document, trouble_rows=trouble, alarms=alarms, up_s=up_s, **more)


@router.get("/audit", response_class=HTMLResponse)
async def audit(
    request: Request, here: Here, who: Technician, before: Annotated[int, Query(ge=0, le=2**53)] = 0
) -> HTMLResponse:
    """Who changed what, a page at a time."""
    del who
    count, fault = here.access.audit.verify()
    rows = here.access.audit.rows(before, AUDIT_PAGE)
    older = rows[-1]["row"] if len(rows) == AUDIT_PAGE else 0
    return render(request, here, "audit", rows=rows, count=count, fault=fault, older=older)


@router.get("/network", response_class=HTMLResponse)
async def network(request: Request, here: Here, who: Technician) -> HTMLResponse:
    """How this gateway reaches its store, its platform and its time."""
    del who
    more = {"n": await network_document(here), "e": here.enrolment.state(), "uplink": here.uplink()} | {
        "quality": here.runtime.clock.now().quality.value
    }
    return render(request, here, "network", **more)


@router.get("/people", response_class=HTMLResponse)
async def people(request: Request, here: Here, who: Admin) -> HTMLResponse:
    """Who may do what."""
    return render(request, here, "people", rows=await people_rows(here, who), scripts=await token_rows(here, who))
