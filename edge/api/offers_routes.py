"""Shoppers' phones and tills: consent, check-in, offers by beacon (ETag, SSE), redemption, reasons.

Shoppers need no sign-in: a consent receipt is all that a phone has, and it names nobody. Tills are staff.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from edge.api.desk import AtDesk, Desk, address_of, asked_of, hot_offers
from edge.api.problems import Problem
from edge.api.quick import Hot
from edge.api.services import Here, Staff
from edge.offers import OfferRefusal
from edge.offers.service import Reported

router = APIRouter()
HOT: Final[Mapping[str, Hot]] = {"/v1/offers": Hot(hot_offers, None)}
LIVE_EVERY_S: Final = 2.0
LIVE_MAX: Final = 200
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


def _refused(refusal: OfferRefusal) -> Problem:
    status = {"no_consent": 404, "full": 503, "redeemed": 409, "expired": 410, "clock": 503}.get(refusal.reason, 422)
    return Problem(status, refusal.reason, refusal.detail, "")


# --- consent ----------------------------------------------------------------------------------------------------------


@router.post("/v1/shopper/consent", tags=["shopper"], status_code=201)
async def give(here: Here, desk: AtDesk, request: Request, body: ConsentIn) -> dict[str, str]:
    """Consent; the receipt is the phone's alone and the only way to withdraw."""
    desk.limit(desk.consent, address_of(request))
    try:
        now = here.runtime.clock.now()
        return await desk.offers.give_consent(body.purposes, body.notice_version, body.segments, now)
    except OfferRefusal as refusal:
        raise _refused(refusal) from None


@router.delete("/v1/shopper/consent", tags=["shopper"], status_code=204)
async def withdraw(here: Here, desk: AtDesk, request: Request, receipt: Receipt) -> None:
    """Withdraw: the key behind the pseudonyms is deleted at once."""
    desk.limit(desk.ask, desk.client(request, receipt))
    try:
        await desk.offers.withdraw(receipt, here.runtime.clock.now())
    except OfferRefusal as refusal:
        raise _refused(refusal) from None


@router.post("/v1/shopper/check-in", tags=["shopper"])
async def check_in(here: Here, desk: AtDesk, request: Request, body: CheckInIn, receipt: Receipt) -> dict[str, Any]:
    """A consenting customer is here.

    Who agreed to "zones" gets `advertise`: what the app may advertise until then (Eddystone-EID, its clock Unix time).
    """
    desk.limit(desk.ask, desk.client(request, receipt))
    zone = desk.zone(body.beacon, body.zone) if body.beacon or body.zone else ""
    try:
        subject, advertise = await desk.offers.check_in(receipt, body.method, zone, here.runtime.clock.now())
    except OfferRefusal as refusal:
        raise _refused(refusal) from None
    told: dict[str, Any] = {"subject_id": subject}
    if advertise is not None:
        shown = {"format": "eddystone-eid", "key": advertise.key.hex(), "exponent": advertise.exponent}
        told["advertise"] = shown | {"until_us": advertise.until_us}
    return told


# --- offers -----------------------------------------------------------------------------------------------------------


@router.get("/v1/offers", tags=["shopper"])
async def offers(
    desk: AtDesk,
    request: Request,
    *,
    beacon: Annotated[str, Query(max_length=200)] = "",
    zone: Annotated[str, Query(max_length=80)] = "",
    receipt: Receipt = "",
    if_none_match: Annotated[str, Header(max_length=200)] = "",
) -> Response:
    """Offers of the place that a beacon (or a code at the shelf) marks; 304 while nothing changed."""
    desk.limit(desk.ask, desk.client(request, receipt))
    place = desk.zone(beacon, zone)
    sent = dict(request.scope["headers"]).get(b"x-consent", b"")
    answer = await desk.answer(asked_of(request.scope["query_string"], sent), place, receipt)
    return answer.response(if_none_match)


@router.get("/v1/offers/live", tags=["shopper"], response_class=StreamingResponse)
async def live(
    desk: AtDesk,
    request: Request,
    *,
    beacon: Annotated[str, Query(max_length=200)] = "",
    zone: Annotated[str, Query(max_length=80)] = "",
    receipt: Receipt = "",
) -> StreamingResponse:
    """The same as server-sent events: one at once, one whenever it changes."""
    desk.limit(desk.ask, desk.client(request, receipt))
    place = desk.zone(beacon, zone)
    if desk.live >= LIVE_MAX:
        raise Problem(503, "too_many", f"{desk.live} listeners: expected below {LIVE_MAX}", "Ask without listening.")
    stream = _live(desk, place, receipt)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _live(desk: Desk, zone: str, receipt: str) -> AsyncIterator[str]:
    desk.live += 1
    last = ""
    try:
        while True:
            text = json.dumps(await desk.document(zone, receipt), ensure_ascii=False)
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
        for v in desk.offers.explain(desk.zone("", zone), "", here.runtime.clock.now())
    ]
