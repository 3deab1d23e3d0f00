"""The console's pages, rendered on the gateway: no internet, no build step, Japanese and English."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates

from edge.access import Role
from edge.api import today as day_of
from edge.api.access_routes import people as people_rows
from edge.api.access_routes import tokens as token_rows
from edge.api.device_routes import device as device_document
from edge.api.device_routes import places_of
from edge.api.documents import device_row, device_rows, health_document, stock_of, stock_row
from edge.api.door_routes import door_of
from edge.api.etag import etag_of
from edge.api.floor import floor_of
from edge.api.placement import rows_of
from edge.api.plots import bars
from edge.api.problems import Problem
from edge.api.services import Admin, Here, Needs, Services, Staff, Technician, Viewer
from edge.api.store_routes import holds, tally_of, warnings, zone_of
from edge.api.words import COOKIE, LANGUAGES, keys, language_of, speaker
from edge.core.errors import InferenceError
from edge.core.observation import DeviceState

HERE = Path(__file__).parent
router = APIRouter(include_in_schema=False)
pages = APIRouter(dependencies=[Depends(Needs(Role.VIEWER))])
templates = Jinja2Templates(HERE / "templates")
NAV = (
    ("today", "/", Role.VIEWER),
    ("store", "/store", Role.VIEWER),
    ("stock", "/stock", Role.VIEWER),
    ("exceptions", "/exceptions", Role.VIEWER),
    ("footfall", "/footfall", Role.VIEWER),
    ("layout", "/layout", Role.VIEWER),
    ("promotions", "/promotions", Role.VIEWER),
    ("devices", "/devices", Role.VIEWER),
    ("set_up", "/set-up", Role.TECHNICIAN),
    ("health", "/health-page", Role.VIEWER),
    ("audit", "/audit", Role.TECHNICIAN),
    ("people", "/people", Role.ADMIN),
)
TABS = 4  # of them on a phone's bar; the rest is under "more"
MOUNT_WALKS, GRID_EYE_DEG = 10, 30.0
RECORDED = ("add_device", "replace_device", "tare_lane", "span_lane", "walk_test", "set_inward", "place_device")
JAPANESE_DAYS = "月火水木金土日"


def _version() -> str:
    """Changes when a static file does, so that browsers may keep them for ever."""
    digest = hashlib.sha256()
    for name in ("console.css", "console.js", "door.js", "icons.svg"):
        digest.update((HERE / "static" / name).read_bytes())
    return digest.hexdigest()[:10]


STATIC_VERSION = _version()


@dataclass(frozen=True, slots=True)
class Clockface:
    """Times as people of this store read them."""

    zone: ZoneInfo
    language: str

    def at(self, wall_us: int) -> datetime:
        """Local time."""
        return datetime.fromtimestamp(wall_us / 1e6, UTC).astimezone(self.zone)

    def time(self, wall_us: int) -> str:
        """14:05"""
        return f"{self.at(wall_us):%H:%M}"

    def seconds(self, wall_us: int) -> str:
        """14:05:09"""
        return f"{self.at(wall_us):%H:%M:%S}"

    def stamp(self, wall_us: int) -> str:
        """2026-03-14 14:05"""
        return f"{self.at(wall_us):%Y-%m-%d %H:%M}"

    def day(self, wall_us: int) -> str:
        """Saturday, 14 March · 3月14日（土）"""
        at = self.at(wall_us)
        if self.language == "ja":
            return f"{at.month}月{at.day}日（{JAPANESE_DAYS[at.weekday()]}）"
        return f"{at:%A}, {at.day} {at:%B}"


def _language(request: Request) -> str:
    return language_of(request.cookies.get(COOKIE, ""), request.headers.get("accept-language", ""))


def _render(request: Request, here: Services, page: str, **more: Any) -> HTMLResponse:
    language = _language(request)
    person = request.scope.get("person")
    context = {
        "say": speaker(language),
        "language": language,
        "page": page,
        "person": person,
        "nav": [(key, path) for key, path, role in NAV if person is not None and person.role.may(role)],
        "tabs": TABS,
        "open": here.settings.open,
        "store": here.site.store,
        "v": STATIC_VERSION,
        "clock": Clockface(ZoneInfo(here.site.store.timezone), language),
        "now_us": here.runtime.clock.now().wall_us,
        "exceptions_n": len(here.runtime.engine.parts.inventory.exceptions()),
        "here_path": request.url.path,
        "may": person.role.may if person is not None else (lambda role: False),
        "Role": Role,
        "shelf_name": _shelf_name,
        **more,
    }
    headers = {"Cache-Control": "no-store"}
    return templates.TemplateResponse(request, f"{page}.html", context, headers=headers)


def _shelf_name(shelf: str) -> str:
    return shelf.removeprefix("shelf-")


# --- doors -----------------------------------------------------------------------------------------------------------


@router.get("/language")
async def language(to: str = "en", back: Annotated[str, Query(max_length=200)] = "/") -> RedirectResponse:
    """Choose a language, and back to where one was."""
    place = back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/"
    response = RedirectResponse(place, 303)
    response.set_cookie(COOKIE, to if to in LANGUAGES else "en", max_age=31_536_000, samesite="lax", path="/")
    return response


@router.get("/claim", response_class=HTMLResponse)
async def claim(request: Request, here: Here) -> Response:
    """Claim the gateway."""
    if here.settings.open or here.access.claimed:
        return RedirectResponse("/", 303)
    return _render(request, here, "claim", fingerprint=here.fingerprint)


@router.get("/sign-in", response_class=HTMLResponse)
async def sign_in(request: Request, here: Here) -> Response:
    """Sign in."""
    if request.scope["person"] is not None:
        return RedirectResponse("/", 303)
    return _render(request, here, "sign-in")


# --- the store -------------------------------------------------------------------------------------------------------


@pages.get("/", response_class=HTMLResponse)
async def today(request: Request, here: Here) -> HTMLResponse:
    """For the manager."""
    day = tally_of(request).read(zone_of(here))
    quarters = day_of.footfall(here, day)["quarters"]
    return _render(request, here, "today", day=day_of.today(here, day), plot=bars(quarters))


def _unknown(here: Services) -> set[Any]:
    """Shelves whose stock cannot be known now."""
    inbox = here.runtime.engine.parts.inventory.exceptions()
    return {entry["shelf"] for entry in inbox if entry["kind"] == "stock_unknown"}


def _shelves(here: Services) -> dict[str, dict[str, Any]]:
    """Per shelf: products with their counts, the sum, whether it can be known, and the worst state."""
    unknown = _unknown(here)
    rows: dict[str, dict[str, Any]] = {
        shelf.id: {"id": shelf.id, "zone": shelf.zone, "products": [], "known": shelf.id not in unknown}
        for shelf in here.site.shelves
    }
    for gtin in here.site.product_by_gtin:
        document = stock_row(here, gtin)
        counts = {row["shelf"]: row["on_hand"] for row in document.get("shelves", ())}
        guests = (shelf for shelf, count in counts.items() if count)  # what strayed here and went again is no news
        for shelf in dict.fromkeys((*here.site.homes_by_gtin.get(gtin, ()), *guests)):
            if shelf in rows:
                rows[shelf]["products"].append({"gtin": gtin, "name": document["name"], "n": counts.get(shelf)})
    for row in rows.values():
        row["sum"] = sum(product["n"] or 0 for product in row["products"])
    return rows


@pages.get("/store", response_class=HTMLResponse)
async def store(request: Request, here: Here) -> HTMLResponse:
    """The live map."""
    speak = speaker(_language(request))
    fact_words = {key[5:]: speak(key) for key in keys() if key.startswith("fact_")} | {"shelf": speak("shelf")}
    tally_of(request).read(zone_of(here))
    states = {name: device.state.value for name, device in here.health.devices.items()}
    people = here.runtime.engine.parts.footfall.people
    more = {"floor": floor_of(here.site), "shelves": _shelves(here), "states": states, "people": people}
    return _render(request, here, "store", fact_words=fact_words, **more)


@pages.get("/stock", response_class=HTMLResponse)
async def stock(request: Request, here: Here, text: Annotated[str, Query(max_length=100)] = "") -> HTMLResponse:
    """Every product, or those that match."""
    part = here.runtime.engine.parts.inventory
    found = [str(row["gtin"]) for row in part.search(text, here.runtime.clock.now())] if text.strip() else None
    gtins = sorted(here.site.product_by_gtin) if found is None else found
    rows = [stock_row(here, gtin) for gtin in gtins]
    return _render(request, here, "stock", rows=rows, text=text, homes=here.site.homes_by_gtin)


@pages.get("/stock/{gtin}", response_class=HTMLResponse)
async def product(request: Request, here: Here, who: Viewer, gtin: str) -> HTMLResponse:
    """One product: why this number, holds, history."""
    row = stock_of(here, gtin)
    tally = tally_of(request)
    tally.read(zone_of(here))
    own = [
        hold for hold in await holds(here, who) if hold["gtin"] == row["gtin"] and hold["state"] in ("placed", "picked")
    ]
    details = here.site.product_by_gtin[row["gtin"]]
    now = here.runtime.clock.now()
    row["shelves"] = [  # copies: the document belongs to the view
        shelf | {"why_rows": [why | {"wall_us": now.wall_at(int(why["at_us"]))} for why in reversed(shelf["why"])]}
        for shelf in row.get("shelves", ())
    ]
    past = day_of.history(tally, row["gtin"])
    homes = here.site.homes_by_gtin.get(row["gtin"], ())
    return _render(request, here, "product", row=row, product=details, holds=own, past=past, homes=homes)


@pages.get("/recount", response_class=HTMLResponse)
async def recount_choice(request: Request, here: Here, who: Staff) -> HTMLResponse:
    """Which shelf to count."""
    del who
    return _render(request, here, "recount", shelves=_shelves(here), shelf=None, rows=[], compared=False)


@pages.get("/recount/{shelf}", response_class=HTMLResponse)
async def recount(request: Request, here: Here, who: Staff, shelf: str) -> HTMLResponse:
    """Count a shelf by hand (what is believed stays hidden), see the difference, confirm."""
    del who
    known = _shelves(here)
    if shelf not in known:
        raise Problem(404, "unknown_shelf", f"shelf = {shelf!r}: not on the planogram", "See the list of shelves.")
    counts = {gtin: int(text) for gtin, text in request.query_params.items() if text.isdecimal() and len(text) <= 6}
    rows = [
        product | {"counted": counts.get(product["gtin"]), "seen": product["n"]} for product in known[shelf]["products"]
    ]
    return _render(request, here, "recount", shelves=known, shelf=shelf, rows=rows, compared=bool(counts))


@pages.get("/exceptions", response_class=HTMLResponse)
async def exceptions(request: Request, here: Here) -> HTMLResponse:
    """The inbox."""
    return _render(request, here, "exceptions", rows=list(reversed(day_of.exceptions(here))))


@pages.get("/footfall", response_class=HTMLResponse)
async def footfall(request: Request, here: Here) -> HTMLResponse:
    """The day in quarters of an hour."""
    document = day_of.footfall(here, tally_of(request).read(zone_of(here)))
    return _render(request, here, "footfall", f=document, plot=bars(document["quarters"]))


@pages.get("/layout", response_class=HTMLResponse)
async def layout(request: Request, here: Here) -> HTMLResponse:
    """Shelf by shelf."""
    rows = day_of.layout(here, tally_of(request).read(zone_of(here)))
    most = max((row["picks"] for row in rows), default=0)
    return _render(request, here, "layout", rows=sorted(rows, key=lambda row: -row["picks"]), most=most)


@pages.get("/promotions", response_class=HTMLResponse)
async def promotions(request: Request, here: Here) -> HTMLResponse:
    """What is offered where."""
    zones = {zone.id: zone.name or zone.id for zone in here.site.zones}
    return _render(request, here, "promotions", rows=day_of.promotions(here), zones=zones)


# --- the technician --------------------------------------------------------------------------------------------------


@pages.get("/devices", response_class=HTMLResponse)
async def device_list(request: Request, here: Here) -> HTMLResponse:
    """Every device."""
    rows = [row | {"places": places_of(here, row["id"])} for row in device_rows(here)]
    return _render(request, here, "devices", rows=rows)


@pages.get("/devices/{device_id}", response_class=HTMLResponse)
async def one_device(request: Request, here: Here, who: Viewer, device_id: str) -> HTMLResponse:
    """One device and all that can be done with it."""
    if device_id not in here.installation.entries():
        raise Problem(404, "unknown_device", f"device = {device_id!r}: no such position", "See the list of devices.")
    tally = tally_of(request)
    tally.read(zone_of(here))
    events = list(reversed(tally.by_device.get(device_id, ())))
    row = await device_document(here, who, device_id, Response())
    own = [lane for lane in here.site.lanes if any(cell.device == device_id for cell in lane.cells)]
    link = next((name for name in ("link", "moniker", "adapter") if name in row["settings"]), "")
    place = rows_of(here.site, device_id, row["kind"])
    return _render(request, here, "device", row=row, lanes=own, events=events, link=link, place=place, site=here.site)


@pages.get("/devices/{device_id}/door", response_class=HTMLResponse)
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
    return _render(request, here, "door", id=device_id, inward=inward, **more)


@pages.get("/devices/{device_id}/notice", response_class=HTMLResponse)
async def notice(request: Request, here: Here, who: Technician, device_id: str) -> HTMLResponse:
    """What hangs at the door while frames are kept, in both languages."""
    del who
    speakers = {language: speaker(language) for language in LANGUAGES}
    return _render(request, here, "notice", id=door_of(here, device_id), speakers=speakers)


@pages.get("/set-up", response_class=HTMLResponse)
async def set_up(request: Request, here: Here, who: Technician) -> HTMLResponse:
    """The wizard: what is there, what is missing, what comes next."""
    rows = [_steps(here, device_id) for device_id in sorted(here.installation.entries())]
    kinds = here.installation.kinds()
    done = sum(row["ready"] for row in rows)
    warned = await warnings(here, who)
    return _render(request, here, "set_up", rows=rows, kinds=kinds, done=done, warnings=warned)


def _steps(here: Services, device_id: str) -> dict[str, Any]:
    row = device_row(here, device_id)
    places = places_of(here, device_id)
    lanes = [lane.shelf for lane in here.site.lanes if any(cell.device == device_id for cell in lane.cells)]
    unknown = _unknown(here)
    steps = [("connected", row["state"] != DeviceState.OFFLINE), ("placed_step", bool(places))]
    if lanes:
        steps.append(("calibrated", not unknown & set(lanes)))
    return row | {"places": places, "steps": steps, "ready": all(done for _, done in steps)}


@pages.get("/labels", response_class=HTMLResponse)
async def labels(request: Request, here: Here, who: Technician) -> HTMLResponse:
    """Labels with QR for gateway, devices, shelves and beacons, to print."""
    del who
    base = str(request.base_url).rstrip("/")
    speak = speaker(_language(request))
    zones = {zone.id: zone.name or zone.id for zone in here.site.zones}
    entries = here.installation.entries()
    sheets = {
        "gateway": [(here.site.store.name or here.site.store.id, here.site.store.id, f"{base}/sign-in")],
        "devices": [(name, ", ".join(map(_shelf_name, places_of(here, name))), _at(base, name)) for name in entries],
        "shelves": [
            (f"{speak('shelf')} {_shelf_name(shelf.id)}", zones.get(shelf.zone, ""), f"{base}/recount/{shelf.id}")
            for shelf in here.site.shelves
        ],
        "beacons": [(row.id, zones.get(row.zone or "", row.kind), row.key) for row in here.site.beacons],
    }
    made = {title: [(name, sub, _qr(link)) for name, sub, link in sorted(rows)] for title, rows in sheets.items()}
    return _render(request, here, "labels", sheets=made)


def _at(base: str, device_id: str) -> str:
    return f"{base}/devices/{device_id}"


def _qr(text: str) -> str:
    """A QR code as SVG; level M: labels get dirty."""
    import segno  # noqa: PLC0415 (only who prints pays for it)

    return str(segno.make(text, error="m", micro=False).svg_inline(border=2, omitsize=True))


@pages.get("/record", response_class=HTMLResponse)
async def record(request: Request, here: Here, who: Technician) -> HTMLResponse:
    """The set-up record, to print or to save as PDF: what stands where, tested by whom, to be signed."""
    rows = [_steps(here, device_id) for device_id in sorted(here.installation.entries())]
    tests = [row for row in here.access.audit.rows(limit=1000) if row["action"] in RECORDED]
    answer = health_document(here)[1]
    warned = await warnings(here, who)
    version = etag_of(here.installation.site_document()).strip('"')[:12]
    more = {"tests": tests, "h": answer, "warned": warned, "planogram": version, "fingerprint": here.fingerprint}
    return _render(request, here, "record", rows=rows, by=who.name, **more)


@pages.get("/health-page", response_class=HTMLResponse)
async def health_page(request: Request, here: Here) -> HTMLResponse:
    """How the gateway is."""
    document = health_document(here)[1]
    trouble = day_of.devices_in_trouble(here)
    up_s = (here.runtime.clock_us() - here.started_us) // 1_000_000
    return _render(request, here, "health", h=document, trouble=trouble, up_s=up_s)


@pages.get("/audit", response_class=HTMLResponse)
async def audit(request: Request, here: Here, who: Technician) -> HTMLResponse:
    """Who changed what."""
    del who
    count, fault = here.access.audit.verify()
    return _render(request, here, "audit", rows=here.access.audit.rows(limit=200), count=count, fault=fault)


@pages.get("/people", response_class=HTMLResponse)
async def people(request: Request, here: Here, who: Admin) -> HTMLResponse:
    """Who may do what."""
    return _render(request, here, "people", rows=await people_rows(here, who), scripts=await token_rows(here, who))


@pages.get("/more", response_class=HTMLResponse)
async def more(request: Request, here: Here) -> HTMLResponse:
    """The rest of the menu, on a phone."""
    return _render(request, here, "more")


router.include_router(pages)
