"""Shoppers' phones and tills: consent, check-in, offers by beacon (ETag, SSE), redemption, products, signage, the page.

Shoppers need no sign-in: a consent receipt is all that a phone has, and it names nobody. Tills are staff.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from edge.api.problems import Problem
from edge.api.services import Here, Services, Staff
from edge.api.shopper_limits import Limits, Rate
from edge.core.gtin import gtin_fault, normalize_gtin
from edge.core.instant import US_PER_S
from edge.offers import OfferRefusal, Offers
from edge.offers.service import Reported

router = APIRouter()
PAGES: Final = Path(__file__).parent / "shopper"
ASK: Final = Rate(10.0, 40.0)
CONSENT: Final = Rate(2.0, 30.0)  # an address behind which many phones are may still consent
LIVE_EVERY_S: Final = 2.0
LIVE_MAX: Final = 200
FRESH_US: Final = 2 * US_PER_S  # an answer is given again for so long, unless stock, promotions or redemptions change
ANSWERS_MAX: Final = 20_000
_DIGITAL_LINK: Final = re.compile(r"(?:https?://[^/]+)?/?(?:.*/)?01/(\d{8,14})(?:[/?].*)?\Z")  # GS1 Digital Link 1.2
_FILES: Final = {"page.css": "text/css", "page.js": "text/javascript", "client.js": "text/javascript"}


class Desk:
    """Offers and limits of one app, made at the first request: the journal must be open by then."""

    def __init__(self, here: Services) -> None:
        parts = here.runtime.engine.parts
        self.offers = Offers(here.runtime, lambda: parts.promotions, lambda: here.site)
        self.parts = parts
        self.ask, self.consent = Limits(ASK), Limits(CONSENT)
        self.live = 0
        self._answers: dict[tuple[str, str, str], tuple[bytes, str, tuple[int, int], int]] = {}

    def _stamp(self) -> tuple[int, int]:
        return self.parts.promotions.version, self.offers.version

    def keep(self, key: tuple[str, str, str], body: bytes, etag: str, until_us: int) -> None:
        """Remember an answer to (receipt, beacon, zone) until an engine time or a change."""
        if len(self._answers) >= ANSWERS_MAX:
            self._answers.clear()
        self._answers[key] = (body, etag, self._stamp(), until_us)

    def answer(self, key: tuple[str, str, str], now_us: int) -> tuple[bytes, str] | None:
        """The remembered answer while it is true."""
        found = self._answers.get(key)
        if found is None or found[2] != self._stamp() or now_us >= found[3]:
            return None
        return found[0], found[1]


async def desk_of(request: Request, here: Here) -> Desk:
    """The desk of the app that serves this request; carries out the platform's erasures on the way."""
    desk = getattr(request.app.state, "desk", None)
    if desk is None:
        desk = request.app.state.desk = Desk(here)
    if desk.parts.promotions.erasures:
        await desk.offers.erase_asked(here.runtime.clock.now())
    found: Desk = desk
    return found


AtDesk = Annotated[Desk, Depends(desk_of)]
Receipt = Annotated[str, Header(alias="X-Consent", max_length=64)]
Text = Annotated[str, Field(min_length=1, max_length=80)]


class ConsentIn(BaseModel):
    """What the person agreed to, under which notice."""

    purposes: Annotated[list[Text], Field(max_length=5)]
    notice_version: Text
    segments: Annotated[list[Text], Field(max_length=5)] = []


class CheckInIn(BaseModel):
    """How and where."""

    method: Text
    beacon: Annotated[str, Field(max_length=200)] = ""
    zone: Annotated[str, Field(max_length=80)] = ""


class RedeemIn(BaseModel):
    """An offer at a till; the reference is the till's own receipt."""

    token: Annotated[str, Field(max_length=2000)]
    till: Text
    reference: Text


class Offline(BaseModel):
    """One redemption of a till that was cut off."""

    token: Annotated[str, Field(max_length=2000)]
    reference: Text


class ReconcileIn(BaseModel):
    """What a till did while it was cut off."""

    till: Text
    redemptions: Annotated[list[Offline], Field(max_length=1000)]


def _limit(limits: Limits, here: Services, client: str) -> None:
    if not limits.allow(client, here.runtime.clock.now().mono_us):
        raise Problem(429, "too_many", "too many requests: expected fewer", "Wait a few seconds.")


def _client(request: Request, desk: Desk, receipt: str) -> str:
    """Who counts as one: a living consent, else the address (in memory only)."""
    consent = desk.offers.consents.of(receipt)
    return consent.handle if consent else (request.client.host if request.client else "")


def _zone(here: Services, desk: Desk, beacon: str, zone: str) -> str:
    """The zone of an own beacon or of a code at the shelf. An unknown one is not found, whatever it is."""
    known = desk.parts.proximity.zone_of(beacon) if beacon else zone
    if known and any(one.id == known for one in here.site.zones):
        return known
    raise Problem(404, "not_found", "nothing is known of this place")


def _refused(refusal: OfferRefusal) -> Problem:
    status = {"no_consent": 404, "full": 503, "redeemed": 409, "expired": 410, "clock": 503}.get(refusal.reason, 422)
    return Problem(status, refusal.reason, refusal.detail, "")


# --- consent ----------------------------------------------------------------------------------------------------------


@router.post("/v1/shopper/consent", tags=["shopper"], status_code=201)
async def give(here: Here, desk: AtDesk, request: Request, body: ConsentIn) -> dict[str, str]:
    """Consent; the receipt is the phone's alone and the only way to withdraw."""
    _limit(desk.consent, here, request.client.host if request.client else "")
    try:
        now = here.runtime.clock.now()
        return await desk.offers.give_consent(body.purposes, body.notice_version, body.segments, now)
    except OfferRefusal as refusal:
        raise _refused(refusal) from None


@router.delete("/v1/shopper/consent", tags=["shopper"], status_code=204)
async def withdraw(here: Here, desk: AtDesk, request: Request, receipt: Receipt) -> None:
    """Withdraw: the key behind the pseudonyms is deleted at once."""
    _limit(desk.ask, here, _client(request, desk, receipt))
    try:
        await desk.offers.withdraw(receipt, here.runtime.clock.now())
    except OfferRefusal as refusal:
        raise _refused(refusal) from None


@router.post("/v1/shopper/check-in", tags=["shopper"])
async def check_in(here: Here, desk: AtDesk, request: Request, body: CheckInIn, receipt: Receipt) -> dict[str, str]:
    """A consenting customer is here."""
    _limit(desk.ask, here, _client(request, desk, receipt))
    zone = _zone(here, desk, body.beacon, body.zone) if body.beacon or body.zone else ""
    try:
        return {"subject_id": await desk.offers.check_in(receipt, body.method, zone, here.runtime.clock.now())}
    except OfferRefusal as refusal:
        raise _refused(refusal) from None


# --- offers -----------------------------------------------------------------------------------------------------------


async def _document(here: Services, desk: Desk, zone: str, receipt: str) -> dict[str, Any]:
    now = here.runtime.clock.now()
    open_offers = await desk.offers.offers(zone, receipt, now)
    mine = {(entry.promotion, entry.gtin) for entry in open_offers}
    verdicts = desk.offers.explain(zone, receipt, now)
    rows = []
    for verdict in verdicts:
        promotion = verdict.promotion
        held = (promotion.id, verdict.gtin) in mine
        product = here.site.product_by_gtin.get(verdict.gtin)
        if product is not None:
            titles = {"": promotion.title, **promotion.titles}
            row = {"promotion": promotion.id, "gtin": verdict.gtin, "name": product.name, "titles": titles}
            rows.append(row | {"url": product.url, "why_not": [] if held else list(verdict.why_not)})
    offers = [
        {"offer": e.nonce, "promotion": e.promotion, "gtin": e.gtin, "expires_us": e.expires_us, "token": e.token}
        for e in open_offers
    ]
    return {"zone": zone, "offers": offers, "promotions": rows}


def _reply(body: bytes, etag: str, if_none_match: str) -> Response:
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "X-Consent"}
    if if_none_match == etag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


class QuickRoute(APIRoute):
    """Answers a phone that asks again without going through validation: nine of ten ask for what has not changed."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The way of the request."""
        slow = super().get_route_handler()

        async def handle(request: Request) -> Response:
            desk: Desk | None = getattr(request.app.state, "desk", None)
            if desk is not None and not desk.parts.promotions.erasures:
                headers, query = request.headers, request.query_params
                receipt = headers.get("x-consent", "")
                here: Services = request.app.state.services
                key = (receipt, query.get("beacon", ""), query.get("zone", ""))
                known = desk.answer(key, here.runtime.clock.now().mono_us)
                if known is not None:
                    _limit(desk.ask, here, _client(request, desk, receipt))
                    return _reply(known[0], known[1], headers.get("if-none-match", ""))
            return await slow(request)

        return handle


quick = APIRouter(route_class=QuickRoute)


@quick.get("/v1/offers", tags=["shopper"])
async def offers(
    here: Here,
    desk: AtDesk,
    request: Request,
    *,
    beacon: Annotated[str, Query(max_length=200)] = "",
    zone: Annotated[str, Query(max_length=80)] = "",
    receipt: Receipt = "",
    if_none_match: Annotated[str, Header(max_length=200)] = "",
) -> Response:
    """Offers of the place that a beacon (or a code at the shelf) marks; 304 while nothing changed."""
    _limit(desk.ask, here, _client(request, desk, receipt))
    place = _zone(here, desk, beacon, zone)
    document = await _document(here, desk, place, receipt)
    body = json.dumps(document, ensure_ascii=False).encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    now = here.runtime.clock.now()
    ends_us = min((row["expires_us"] - now.wall_us for row in document["offers"]), default=FRESH_US)
    desk.keep((receipt, beacon, zone), body, etag, now.mono_us + min(FRESH_US, ends_us))
    return _reply(body, etag, if_none_match)


router.include_router(quick)


@router.get("/v1/offers/live", tags=["shopper"], response_class=StreamingResponse)
async def live(
    here: Here,
    desk: AtDesk,
    request: Request,
    *,
    beacon: Annotated[str, Query(max_length=200)] = "",
    zone: Annotated[str, Query(max_length=80)] = "",
    receipt: Receipt = "",
) -> StreamingResponse:
    """The same as server-sent events: one at once, one whenever it changes."""
    _limit(desk.ask, here, _client(request, desk, receipt))
    place = _zone(here, desk, beacon, zone)
    if desk.live >= LIVE_MAX:
        raise Problem(503, "too_many", f"{desk.live} listeners: expected below {LIVE_MAX}", "Ask without listening.")
    stream = _live(here, desk, place, receipt)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _live(here: Services, desk: Desk, zone: str, receipt: str) -> AsyncIterator[str]:
    desk.live += 1
    last = ""
    try:
        while True:
            text = json.dumps(await _document(here, desk, zone, receipt), ensure_ascii=False)
            yield f"event: offers\ndata: {text}\n\n" if text != last else ": still here\n\n"
            last = text
            await asyncio.sleep(LIVE_EVERY_S)
    finally:
        desk.live -= 1


@router.get("/v1/offers/key", tags=["till"])
async def key(desk: AtDesk) -> dict[str, str]:
    """What offers are checked with when the gateway cannot be reached."""
    return {"algorithm": "Ed25519", "public_key": base64.b64encode(desk.offers.public_key).decode()}


@router.post("/v1/offers/redeem", tags=["till"])
async def redeem(here: Here, desk: AtDesk, who: Staff, body: RedeemIn) -> dict[str, Any]:
    """Redeem once; the same till and reference again get the same answer."""
    del who
    try:
        entry = await desk.offers.redeem(body.token, body.till, body.reference, here.runtime.clock.now())
    except OfferRefusal as refusal:
        raise _refused(refusal) from None
    return {"offer": entry.nonce, "promotion": entry.promotion, "gtin": entry.gtin, "value_minor": entry.value_minor}


@router.post("/v1/offers/reconcile", tags=["till"])
async def reconcile(here: Here, desk: AtDesk, who: Staff, body: ReconcileIn) -> list[dict[str, str]]:
    """What a till redeemed while it was cut off: booked, known, double, unknown or forged, one by one."""
    del who
    rows = [Reported(row.token, row.reference) for row in body.redemptions]
    return await desk.offers.reconcile(body.till, rows, here.runtime.clock.now())


@router.get("/v1/offers/why", tags=["till"])
async def why(here: Here, desk: AtDesk, who: Staff, zone: Annotated[str, Query(max_length=80)]) -> list[dict[str, Any]]:
    """Every promotion of a zone with its reasons for and against."""
    del who
    return [
        {"promotion": v.promotion.id, "gtin": v.gtin, "why": list(v.why), "why_not": list(v.why_not)}
        for v in desk.offers.explain(_zone(here, desk, "", zone), "", here.runtime.clock.now())
    ]


# --- products, mirrors, signage ---------------------------------------------------------------------------------------


def _product(here: Services, desk: Desk, gtin: str) -> dict[str, Any]:
    product = here.site.product_by_gtin[gtin]
    shelves = [
        {"shelf": shelf, "zone": here.site.shelf_by_id[shelf].zone} for shelf in here.site.homes_by_gtin.get(gtin, ())
    ]
    facts = {"gtin": gtin, "name": product.name, "price_minor": product.price_minor, "currency": product.currency}
    return facts | {"on_hand": desk.parts.promotions.on_hand(gtin), "url": product.url, "shelves": shelves}


@router.get("/v1/shopper/product", tags=["shopper"])
async def product(
    here: Here, desk: AtDesk, request: Request, code: Annotated[str, Query(max_length=400)]
) -> dict[str, Any]:
    """A scanned barcode (GTIN) or GS1 Digital Link: the product, how many are here, and where to buy it online."""
    _limit(desk.ask, here, _client(request, desk, ""))
    link = _DIGITAL_LINK.match(code)
    digits = link.group(1) if link else code.strip()
    if fault := gtin_fault(digits):
        raise Problem(422, "invalid_gtin", f"code = {code[:60]!r}: {fault}", "Scan the code again.")
    if normalize_gtin(digits) not in here.site.product_by_gtin:
        raise Problem(404, "not_found", "this product is not sold here")
    return _product(here, desk, normalize_gtin(digits))


@router.get("/v1/feeds/signage/{zone}", tags=["feeds"])
async def signage(here: Here, desk: AtDesk, zone: str) -> list[dict[str, Any]]:
    """The playlist of a zone by the platform's rules: only what is in stock, each with what goes with it."""
    place = _zone(here, desk, "", zone)
    items = []
    for rule in desk.parts.promotions.rules:
        if not isinstance(rule, dict) or rule["zone"] != place or rule["gtin"] not in here.site.product_by_gtin:
            continue
        item = _product(here, desk, str(rule["gtin"]))
        others = rule.get("with", [])
        known = [str(g) for g in others if g in here.site.product_by_gtin] if isinstance(others, list) else []
        with_it = [_product(here, desk, gtin) for gtin in known]
        if item["on_hand"] > 0:
            item["url"] = rule.get("url") or item["url"]
            items.append(item | {"rule": rule["id"], "with": [other for other in with_it if other["on_hand"] > 0]})
    return items


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
    return FileResponse(PAGES / name, media_type=_FILES[name], headers={"Cache-Control": "max-age=3600"})


@router.get("/s/{zone}", include_in_schema=False)
async def page(zone: str) -> FileResponse:
    """What the QR code or NFC tag of a shelf opens; the page itself is the same everywhere."""
    del zone
    return FileResponse(PAGES / "page.html", media_type="text/html", headers={"Cache-Control": "no-cache"})
