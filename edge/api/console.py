"""The console's pages for everybody: signing in, the store, its stock, its day. Rendered here, without internet."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from edge.access import Role
from edge.api import console_technician
from edge.api import today as day_of
from edge.api.documents import stock_of, stock_row
from edge.api.floor import BAR_H, floor_of, narrow_floor_of, product_bars
from edge.api.heat import heat_of
from edge.api.pages import render, teller_of
from edge.api.plots import bars, inside
from edge.api.problems import Problem
from edge.api.services import Here, Needs, Services, Staff, Viewer
from edge.api.store_routes import holds, tally_of, zone_of
from edge.api.words import COOKIE, LANGUAGES, keys, requested_language, speaker

router = APIRouter(include_in_schema=False)
pages = APIRouter(dependencies=[Depends(Needs(Role.VIEWER))])
DRAWING = {"bar_h": BAR_H, "product_bars": product_bars}
SHOWN = ("out", "low", "unknown")
FULL = 8  # a bar of the map is full at so many, or at the most that any product has


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
    return render(request, here, "claim", fingerprint=here.fingerprint)


@router.get("/sign-in", response_class=HTMLResponse)
async def sign_in(request: Request, here: Here) -> Response:
    """Sign in."""
    if request.scope["person"] is not None:
        return RedirectResponse("/", 303)
    return render(request, here, "sign-in")


# --- the store -------------------------------------------------------------------------------------------------------


@pages.get("/", response_class=HTMLResponse)
async def today(request: Request, here: Here) -> HTMLResponse:
    """For the manager."""
    day = tally_of(request).read(zone_of(here))
    document = day_of.footfall(here, day)
    plot = bars(document["quarters"], document["quarter"])
    return render(request, here, "today", day=day_of.today(here, day), plot=plot)


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
    speak = speaker(requested_language(request.headers))
    fact_words = {key[5:]: speak(key) for key in keys() if key.startswith("fact_")} | {"shelf": speak("shelf")}
    day = day_of.footfall(here, tally_of(request).read(zone_of(here)))
    states = {name: device.state.value for name, device in here.health.devices.items()}
    shelves = _shelves(here)
    counts = [product["n"] or 0 for row in shelves.values() for product in row["products"]]
    floors = [("roomy-floor", floor_of(here.site)), ("narrow", narrow_floor_of(here.site))]
    more = {"floors": floors, "shelves": shelves, "states": states, "people": day["people"], "day": day}
    return render(request, here, "store", fact_words=fact_words, full=max([FULL, *counts]), **more, **DRAWING)


@pages.get("/stock", response_class=HTMLResponse)
async def stock(
    request: Request,
    here: Here,
    text: Annotated[str, Query(max_length=100)] = "",
    show: Annotated[str, Query(max_length=10)] = "",
) -> HTMLResponse:
    """Every product, or those that match."""
    part = here.runtime.engine.parts.inventory
    found = [str(row["gtin"]) for row in part.search(text, here.runtime.clock.now())] if text.strip() else None
    gtins = sorted(here.site.product_by_gtin) if found is None else found
    rows = [stock_row(here, gtin) for gtin in gtins]
    standing = {row["gtin"]: _standing(here, row) for row in rows}
    numbers = {name: sum(one == name for one in standing.values()) for name in SHOWN}
    rows = [row for row in rows if show not in SHOWN or standing[row["gtin"]] == show]
    more = {"homes": here.site.homes_by_gtin, "numbers": numbers, "show": show, "standing": standing}
    return render(request, here, "stock", rows=rows, text=text, **more)


def _standing(here: Services, row: dict[str, Any]) -> str:
    """out, low, unknown or "" (there is enough)."""
    count = row.get("on_hand")
    if count is None:
        return "unknown"
    return "out" if count == 0 else "low" if count <= day_of.low_at(here, row["gtin"]) else ""


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
    teller = teller_of(request, here)
    past = [(fact["time_us"], teller.fact(fact)) for fact in day_of.history(tally, row["gtin"])]
    homes = here.site.homes_by_gtin.get(row["gtin"], ())
    return render(request, here, "product", row=row, product=details, holds=own, past=past, homes=homes)


@pages.get("/recount", response_class=HTMLResponse)
async def recount_choice(request: Request, here: Here, who: Staff) -> HTMLResponse:
    """Which shelf to count."""
    del who
    return render(request, here, "recount", shelves=_shelves(here), shelf=None, rows=[], compared=False)


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
    return render(request, here, "recount", shelves=known, shelf=shelf, rows=rows, compared=bool(counts))


@pages.get("/exceptions", response_class=HTMLResponse)
async def exceptions(request: Request, here: Here) -> HTMLResponse:
    """The inbox."""
    return render(request, here, "exceptions", rows=list(reversed(day_of.exceptions(here))))


@pages.get("/footfall", response_class=HTMLResponse)
async def footfall(request: Request, here: Here) -> HTMLResponse:
    """The day in quarters of an hour."""
    document = day_of.footfall(here, tally_of(request).read(zone_of(here)))
    plots = {"plot": bars(document["quarters"], document["quarter"]), "inside": inside(document)}
    return render(request, here, "footfall", f=document, **plots)


@pages.get("/layout", response_class=HTMLResponse)
async def layout(request: Request, here: Here) -> HTMLResponse:
    """Shelf by shelf."""
    rows = day_of.layout(here, tally_of(request).read(zone_of(here)))
    most = max((row["picks"] for row in rows), default=0)
    floors = (("roomy-floor", floor_of(here.site)), ("narrow", narrow_floor_of(here.site)))
    heats = [(width, heat_of(floor, rows)) for width, floor in floors]
    return render(request, here, "layout", rows=sorted(rows, key=lambda row: -row["picks"]), most=most, heats=heats)


@pages.get("/promotions", response_class=HTMLResponse)
async def promotions(request: Request, here: Here) -> HTMLResponse:
    """What is offered where."""
    zones = {zone.id: zone.name or zone.id for zone in here.site.zones}
    return render(request, here, "promotions", rows=day_of.promotions(here), zones=zones)


@pages.get("/more", response_class=HTMLResponse)
async def more(request: Request, here: Here) -> HTMLResponse:
    """The rest of the menu, on a phone."""
    return render(request, here, "more")


pages.include_router(console_technician.router)
router.include_router(pages)
