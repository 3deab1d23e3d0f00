"""What a shopper may look up without consent: products by barcode, feeds of mirrors and signage, the page itself.

Each product carries a link to it online and, as ``qr``, the address of a picture of that link, so that what is not
here can be bought from here.
"""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from edge.api.desk import AtDesk, Desk, zone_name
from edge.api.problems import Problem
from edge.core.fact import JsonValue
from edge.core.gtin import gtin_of_code

router = APIRouter()
PAGES: Final = Path(__file__).parent / "shopper"
QR_KEPT: Final = 256
_FILES: Final = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "client.js": "text/javascript",
    "qr.js": "text/javascript",
    "words.js": "text/javascript",
    "manifest.json": "application/manifest+json",
    "icon.svg": "image/svg+xml",
}
_FOR_PAGES: Final = {
    "Cache-Control": "no-cache",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",  # to scan a barcode, where the person allows
}


def gtin_of(code: str) -> str:
    """14 digits of a GTIN or a GS1 Digital Link. Raises Problem naming what is wrong."""
    try:
        return gtin_of_code(code)
    except ValueError as fault:
        raise Problem(422, "invalid_gtin", f"code = {code[:60]!r}: {fault}", "Scan the code again.") from None


def product_row(desk: Desk, gtin: str, url: str = "") -> dict[str, Any]:
    """A product of the catalogue (14 digits), how many are here and where; ``url`` instead of the catalogue's link."""
    site = desk.here.site
    product = site.product_by_gtin[gtin]
    homes = [site.shelf_by_id[shelf] for shelf in site.homes_by_gtin.get(gtin, ())]
    shelves = [{"shelf": h.id, "zone": h.zone, "zone_name": zone_name(site, h.zone)} for h in homes]
    facts = {"gtin": gtin, "name": product.name, "price_minor": product.price_minor, "currency": product.currency}
    link = url or product.url
    qr = f"/v1/shopper/qr/{gtin}" if link else ""
    return facts | {"on_hand": desk.parts.promotions.on_hand(gtin), "url": link, "qr": qr, "shelves": shelves}


@router.get("/v1/shopper/product", tags=["shopper"])
async def product(desk: AtDesk, request: Request, code: Annotated[str, Query(max_length=400)]) -> dict[str, Any]:
    """A scanned barcode (GTIN) or GS1 Digital Link: the product, how many are here, and where to buy it online."""
    desk.limit(desk.ask, desk.client(request, ""))
    gtin = gtin_of(code)
    if gtin not in desk.here.site.product_by_gtin:
        raise Problem(404, "not_found", "this product is not sold here")
    return product_row(desk, gtin)


@lru_cache(QR_KEPT)
def _qr_svg(link: str) -> bytes:
    import segno  # noqa: PLC0415 (only who asks for a picture pays for it)

    picture = io.BytesIO()
    segno.make(link, error="m", micro=False).save(picture, kind="svg", border=2, omitsize=True, xmldecl=False)
    return picture.getvalue()


@router.get("/v1/shopper/qr/{gtin}", tags=["shopper"], response_class=Response)
async def qr(desk: AtDesk, request: Request, gtin: str) -> Response:
    """A QR code (SVG) of the product's link online, for mirrors and screens."""
    desk.limit(desk.ask, desk.client(request, ""))
    links = [url_of(rule) for rule in desk.parts.promotions.rules if isinstance(rule, dict) and rule["gtin"] == gtin]
    known = desk.here.site.product_by_gtin.get(gtin)
    link = next(filter(None, links), known.url if known else "")
    if not link.startswith("https://"):
        raise Problem(404, "not_found", "this product has no page online")
    return Response(_qr_svg(link), media_type="image/svg+xml", headers={"Cache-Control": "max-age=3600"})


# --- feeds of screens -------------------------------------------------------------------------------------------------


def url_of(rule: dict[str, JsonValue]) -> str:
    """The link that a rule sets, "" for the catalogue's."""
    return str(rule.get("url") or "")


def _goes_with(desk: Desk, rule: dict[str, JsonValue]) -> list[dict[str, Any]]:
    """What goes with the product of a rule and is here."""
    others = rule.get("with", [])
    known = [str(gtin) for gtin in others if gtin in desk.here.site.product_by_gtin] if isinstance(others, list) else []
    return [row for row in (product_row(desk, gtin) for gtin in known) if row["on_hand"] > 0]


def _rules(desk: Desk) -> list[dict[str, JsonValue]]:
    known = desk.here.site.product_by_gtin
    return [rule for rule in desk.parts.promotions.rules if isinstance(rule, dict) and rule["gtin"] in known]


@router.get("/v1/feeds/signage/{zone}", tags=["feeds"])
async def signage(desk: AtDesk, zone: str) -> list[dict[str, Any]]:
    """The playlist of a zone by the platform's rules: only what is in stock, each with what goes with it."""
    place = desk.zone("", zone)
    items = []
    for rule in _rules(desk):
        item = product_row(desk, str(rule["gtin"]), url_of(rule))
        if rule["zone"] == place and item["on_hand"] > 0:
            items.append(item | {"rule": rule["id"], "with": _goes_with(desk, rule)})
    return items


@router.get("/v1/feeds/mirror/{zone}", tags=["feeds"])
async def mirror(desk: AtDesk, zone: str) -> list[dict[str, Any]]:
    """What is before the mirror of a fitting room, first come first, each with what goes with it and is here now.

    ``on_hand`` counts what lies on the shelves: the piece in the fitting room is not among them.
    """
    place = desk.zone("", zone)
    items: dict[str, dict[str, Any]] = {}
    for gtin in desk.parts.presence.before_mirror(place):
        if gtin not in items and gtin in desk.here.site.product_by_gtin:
            rules = [rule for rule in _rules(desk) if rule["gtin"] == gtin]
            row = product_row(desk, gtin, next(filter(None, map(url_of, rules)), ""))
            with_it = {other["gtin"]: other for rule in rules for other in _goes_with(desk, rule)}
            items[gtin] = row | {"with": list(with_it.values())}
    return list(items.values())


# --- the page ---------------------------------------------------------------------------------------------------------


@router.get("/s/sw.js", include_in_schema=False)
async def service_worker() -> FileResponse:
    """The service worker: its scope is the page."""
    return FileResponse(PAGES / "sw.js", media_type="text/javascript", headers={"Cache-Control": "no-cache"})


@router.get("/s/files/{name}", include_in_schema=False)
async def file(name: str) -> FileResponse:
    """Style and scripts of the page."""
    if name not in _FILES:
        raise Problem(404, "not_found", "no such file")
    return FileResponse(PAGES / name, media_type=_FILES[name], headers={"Cache-Control": "no-cache"})


@router.get("/s/{zone}", include_in_schema=False)
async def page(zone: str) -> FileResponse:
    """What the QR code or NFC tag of a shelf opens; the page itself is the same everywhere."""
    del zone
    return FileResponse(PAGES / "page.html", media_type="text/html", headers=_FOR_PAGES)
