"""The store: planogram, catalogue, holds, recounts, reorder, exceptions, footfall, promotions, the day."""

from __future__ import annotations

import dataclasses
import json
import secrets
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, Field

from edge.access import Person
from edge.api import today as day_of
from edge.api.differences import differences
from edge.api.documents import stock_row
from edge.api.etag import check_match, etag_of
from edge.api.listing import SAME, IfNoneMatch, Paged, Row
from edge.api.problems import Problem
from edge.api.quick import Rendered, to_json
from edge.api.services import Here, Key, Services, Staff, Technician, Viewer, carry_out
from edge.api.tables import COLUMNS, parse_catalogue, to_csv
from edge.api.tally import Tally
from edge.core.gtin import gtin_fault, normalize_gtin
from edge.core.shelf import weight_warnings
from edge.core.site import Site, load_site

router = APIRouter()
Match = Annotated[str | None, Header(alias="If-Match", max_length=80)]
DryRun = Annotated[bool, Query(description="only show what would change, and the warnings")]
Word = Annotated[str, Field(max_length=80)]
Step = Annotated[str, Path(pattern="^(pick|collect|release)$")]
ShelfId = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,40}$")]
HoldId = Annotated[str, Path(min_length=1, max_length=80)]


class HoldIn(BaseModel):
    """A reservation."""

    hold: Word
    gtin: Annotated[str, Field(max_length=14)]
    quantity: Annotated[int, Field(ge=1, le=10_000)] = 1
    pickup: Word = "counter"
    expires_min: Annotated[float, Field(gt=0, le=43_200)] = 120
    order: Word = ""


class Recount(BaseModel):
    """What a person counted."""

    shelf: Word
    gtin: Annotated[str, Field(max_length=14)]
    quantity: Annotated[int, Field(ge=0, le=100_000)]


class ShelfCount(BaseModel):
    """A shelf as a person counted it: GTIN → pieces; `seen`: what was believed when the count was compared."""

    counts: Annotated[dict[str, Annotated[int, Field(ge=0, le=100_000)]], Field(min_length=1, max_length=200)]
    seen: Annotated[dict[str, int], Field(max_length=200)] = {}


class CsvResponse(Response):
    """A table, also as the OpenAPI document knows it."""

    media_type = "text/csv"


def zone_of(here: Services) -> ZoneInfo:
    """The store's time zone."""
    return ZoneInfo(here.site.store.timezone)


def tally_of(request: Request) -> Tally:
    """The counts of the day."""
    tally: Tally = request.app.state.tally
    return tally


# --- planogram and catalogue ------------------------------------------------------------------------------------------


def _warnings(site: Site) -> list[dict[str, Any]]:
    return [dataclasses.asdict(warning) for warning in weight_warnings(site)]


@router.get("/v1/planogram", tags=["planogram"], response_model=Row, responses=SAME)
async def planogram(here: Here, who: Viewer, if_none_match: IfNoneMatch = None) -> Response:
    """The whole planogram with the catalogue, as it can be loaded again. ETag for conflicting edits."""
    del who
    document = here.installation.site_document()
    return Rendered(to_json(document), etag_of(document)).response(if_none_match)


@router.put("/v1/planogram", tags=["planogram"])
async def put_planogram(
    here: Here,
    who: Technician,
    body: dict[str, Any],
    response: Response,
    dry_run: DryRun = False,
    if_match: Match = None,
) -> dict[str, Any]:
    """Check a planogram, show difference and warnings, and put it into effect unless it is a dry run."""
    async with here.editing:
        current = here.installation.site_document()
        check_match(if_match, current, body)
        site = load_site(body)
        changes = differences(current, body)
        answer = {"changes": changes, "warnings": _warnings(site), "applied": not dry_run}
        if not dry_run:
            becomes_another = site.store.id != here.site.store.id  # a gateway that had no store yet
            await here.installation.use_site(body, who.name, f"api-{secrets.token_hex(8)}")
            await here.access.audit.add(who.name, "set_planogram", site.store.id, f"{len(changes)} changes")
            if becomes_another:
                here.restart()
    response.headers["ETag"] = etag_of(here.installation.site_document())
    return answer


@router.get("/v1/planogram/warnings", tags=["planogram"])
async def warnings(here: Here, who: Viewer) -> list[dict[str, Any]]:
    """Products that the scales cannot tell apart, products without a mass."""
    del who
    return _warnings(here.site)


@router.get("/v1/catalogue", tags=["planogram"], response_model=list[Row], responses=SAME)
async def catalogue(here: Here, who: Viewer, page: Paged) -> Response:
    """Every product, by GTIN."""
    del who
    return page.of((dataclasses.asdict(product) for product in here.site.products), lambda row: str(row["gtin"]))


@router.get("/v1/catalogue.csv", tags=["planogram"], response_class=CsvResponse)
async def catalogue_csv(here: Here, who: Viewer) -> CsvResponse:
    """Every product as a table."""
    del who
    rows = [[getattr(product, name) for name in COLUMNS] for product in here.site.products]
    return _table("catalogue.csv", to_csv(COLUMNS, rows))


def _table(name: str, text: str) -> CsvResponse:
    return CsvResponse(text, headers={"Content-Disposition": f'attachment; filename="{name}"'})


CATALOGUE_BODY = {
    "requestBody": {
        "required": True,
        "content": {"text/csv": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "array"}}},
    }
}


@router.put("/v1/catalogue", tags=["planogram"], openapi_extra=CATALOGUE_BODY)
async def put_catalogue(
    here: Here, who: Technician, request: Request, dry_run: DryRun = False, key: Key = None
) -> dict[str, Any]:
    """Products as CSV or JSON: added and changed ones are shown with the warnings; unless a dry run, they count now."""
    rows = _products(request.headers.get("content-type", ""), await request.body())
    document = here.installation.site_document()
    known = {row["gtin"]: row for row in document["products"]}
    for row in rows:
        known[str(row.get("gtin"))] = known.get(str(row.get("gtin")), {}) | row
    wanted = document | {"products": list(known.values())}
    site = load_site(wanted)
    told = {row.get("gtin") for row in rows}
    answer = {"changes": differences(document, wanted), "warnings": _warnings(site), "applied": not dry_run}
    if not dry_run and rows:
        products: Any = [dataclasses.asdict(product) for product in site.products if product.gtin in told]
        await carry_out(here, who, "set_catalogue", {"products": products}, key)
    return answer


def _products(content_type: str, body: bytes) -> list[dict[str, Any]]:
    try:
        text = body.decode("utf-8")
        if content_type.startswith("text/csv"):
            return parse_catalogue(text)
        rows = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise Problem(422, "invalid_table", f"{error}: expected CSV or JSON in UTF-8", "Save it as UTF-8.") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Problem(422, "invalid_table", "expected a list of products", "Export the catalogue to see the form.")
    return rows


# --- holds, recounts, reorder, exceptions -----------------------------------------------------------------------------


@router.get("/v1/holds", tags=["stock"], response_model=list[Row], responses=SAME)
async def list_holds(here: Here, who: Viewer, page: Paged) -> Response:
    """Open holds and those closed within 7 days, by id."""
    return page.of(await holds(here, who), lambda row: str(row["id"]))


async def holds(here: Services, who: Person) -> list[dict[str, Any]]:
    """Open holds and those closed within 7 days."""
    del who
    now = here.runtime.clock.now()
    return [
        dataclasses.asdict(hold)
        | {"expires_us": now.wall_at(hold.expires_us), "changed_us": now.wall_at(hold.changed_us)}
        for hold in here.runtime.engine.parts.holds.holds()
    ]


@router.post("/v1/holds", tags=["stock"], status_code=201)
async def place_hold(here: Here, who: Staff, body: HoldIn, key: Key = None) -> dict[str, Any]:
    """Reserve stock."""
    return {"id": await carry_out(here, who, "place_hold", body.model_dump(), key), "hold": body.hold}


@router.post("/v1/holds/{hold}/{step}", tags=["stock"])
async def hold_step(
    here: Here,
    who: Staff,
    hold: HoldId,
    step: Annotated[str, Path(pattern="^(pick|collect|release)$")],
    key: Key = None,
) -> dict[str, Any]:
    """pick: the goods were fetched · collect: the customer has them · release: it was given up."""
    return {"id": await carry_out(here, who, f"{step}_hold", {"hold": hold}, key), "hold": hold}


@router.post("/v1/recounts", tags=["stock"], status_code=201)
async def recount(here: Here, who: Staff, body: Recount, key: Key = None) -> dict[str, Any]:
    """A person counted: that is the truth now, and sensors go on from there."""
    return {"id": await carry_out(here, who, "recount", body.model_dump(), key), "gtin": body.gtin}


@router.post("/v1/recounts/{shelf}", tags=["stock"], status_code=201)
async def recount_shelf(here: Here, who: Staff, shelf: ShelfId, body: ShelfCount, key: Key = None) -> dict[str, Any]:
    """A person counted a whole shelf. 409 where the stock moved since it was `seen`: then the count is too old."""
    if shelf not in {row.id for row in here.site.shelves}:
        raise Problem(404, "unknown_shelf", f"shelf = {shelf!r}: not on the planogram", "See the list of shelves.")
    if strange := sorted(body.counts.keys() - here.site.product_by_gtin.keys()):
        raise Problem(404, "unknown_product", f"counts.{strange[0]}: not in the catalogue", "Load the catalogue.")
    now = {gtin: on_shelf(here, shelf, gtin) for gtin in body.counts}
    if moved := sorted(gtin for gtin in body.seen.keys() & now.keys() if body.seen[gtin] != now[gtin]):
        names = ", ".join(here.site.product_by_gtin[gtin].name or gtin for gtin in moved)
        detail = f"{names}: the stock moved while it was counted"
        raise Problem(409, "stock_moved", detail, "Count these products again.", current=now, seen=body.seen)
    for gtin, quantity in sorted(body.counts.items()):
        args: dict[str, Any] = {"shelf": shelf, "gtin": gtin, "quantity": quantity}
        await carry_out(here, who, "recount", args, f"{key[:60]}-{gtin}" if key else None)
    changes = {gtin: quantity - (now[gtin] or 0) for gtin, quantity in body.counts.items() if quantity != now[gtin]}
    return {"shelf": shelf, "counted": len(body.counts), "changes": changes}


def on_shelf(here: Services, shelf: str, gtin: str) -> int | None:
    """What is believed to be there, None where nothing is known."""
    rows = stock_row(here, gtin).get("shelves", ())
    return next((row["on_hand"] for row in rows if row["shelf"] == shelf), None)


@router.get("/v1/stock/{gtin}/history", tags=["stock"])
async def history(here: Here, who: Viewer, request: Request, gtin: str) -> list[dict[str, Any]]:
    """The newest facts of one product, newest first."""
    del who
    if (fault := gtin_fault(gtin)) or normalize_gtin(gtin) not in here.site.product_by_gtin:
        raise Problem(404, "unknown_product", f"gtin = {gtin[:40]!r}: {fault or 'not in the catalogue'}")
    tally = tally_of(request)
    tally.read(zone_of(here))
    return day_of.history(tally, normalize_gtin(gtin))


@router.get("/v1/reorder", tags=["stock"], response_model=list[Row], responses=SAME)
async def reorder(here: Here, who: Viewer, page: Paged) -> Response:
    """Policy, demand, reorder point and open orders of each product that has a policy, by GTIN."""
    del who
    documents = (here.runtime.engine.parts.reorder.document(gtin) for gtin in here.site.product_by_gtin)
    return page.of((row for row in documents if row["policy"] is not None), lambda row: str(row["gtin"]))


@router.put("/v1/reorder/{gtin}", tags=["stock"])
async def set_policy(here: Here, who: Staff, gtin: str, body: dict[str, Any], key: Key = None) -> dict[str, Any]:
    """Set the reorder policy of a product (min_max, s_q, s_S, just_in_time, vendor_managed)."""
    await carry_out(here, who, "set_reorder_policy", body | {"gtin": gtin}, key)
    return here.runtime.engine.parts.reorder.document(normalize_gtin(gtin))


@router.get("/v1/exceptions", tags=["stock"], response_model=list[Row], responses=SAME)
async def exceptions(here: Here, who: Viewer, page: Paged) -> Response:
    """What a person should look at, oldest first."""
    del who
    return page.of(day_of.exceptions(here), lambda row: f"{row['since_us']:020d}-{row['id']}")


# --- the day ----------------------------------------------------------------------------------------------------------


@router.get("/v1/today", tags=["reports"])
async def today(here: Here, who: Viewer, request: Request) -> dict[str, Any]:
    """For the manager: what is out, what is about to be, what to fetch, what looks wrong, how many came."""
    del who
    return day_of.today(here, tally_of(request).read(zone_of(here)))


@router.get("/v1/footfall", tags=["reports"])
async def footfall(here: Here, who: Viewer, request: Request) -> dict[str, Any]:
    """Entrances and exits by quarter of an hour of the local day, people now, picks and conversion."""
    del who
    return day_of.footfall(here, tally_of(request).read(zone_of(here)))


@router.get("/v1/layout", tags=["reports"])
async def layout(here: Here, who: Viewer, request: Request) -> list[dict[str, Any]]:
    """Per shelf and product of today: picks, put-backs, misplaced; sales per product."""
    del who
    return day_of.layout(here, tally_of(request).read(zone_of(here)))


@router.get("/v1/layout.csv", tags=["reports"], response_class=CsvResponse)
async def layout_csv(here: Here, who: Viewer, request: Request) -> CsvResponse:
    """The layout report as a table."""
    del who
    rows = day_of.layout(here, tally_of(request).read(zone_of(here)))
    return _table("layout.csv", to_csv(day_of.LAYOUT, [[row[name] for name in day_of.LAYOUT] for row in rows]))


@router.get("/v1/promotions", tags=["promotions"], response_model=list[Row], responses=SAME)
async def promotions(here: Here, who: Viewer, page: Paged) -> Response:
    """Promotions, and which of them are true now (never one for an empty shelf), by id."""
    del who
    return page.of(day_of.promotions(here), lambda row: str(row["id"]))


@router.put("/v1/promotions", tags=["promotions"])
async def put_promotions(here: Here, who: Staff, body: list[dict[str, Any]], key: Key = None) -> dict[str, Any]:
    """Replace all promotions."""
    await carry_out(here, who, "set_promotions", {"promotions": list(body)}, key)
    return {"promotions": len(body)}


@router.get("/v1/search", tags=["stock"])
async def search(
    here: Here,
    who: Viewer,
    text: Annotated[str, Query(max_length=100)],
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[dict[str, Any]]:
    """Products by text or GTIN, best first, with what is in stock and can be promised."""
    del who
    return list(here.runtime.engine.parts.inventory.search(text, here.runtime.clock.now()))[:limit]
