"""Enrolment: which platform this gateway belongs to, and how it joins one with a signed bundle."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from edge.access.bundle import MAX_BYTES
from edge.api.services import Admin, Here, Technician

router = APIRouter()
Text = Annotated[str, Field(min_length=1, max_length=MAX_BYTES, description="JSON, or the line of a QR code")]


class BundleIn(BaseModel):
    """A bundle as the platform made it."""

    bundle: Text


class EnrolIn(BundleIn):
    """With the fingerprint of the platform's key, as a person compared it; needless for a key trusted already."""

    fingerprint: Annotated[str, Field(max_length=80)] = ""


@router.get("/v1/enrolment", tags=["access"])
async def enrolment(here: Here, who: Technician) -> dict[str, Any]:
    """Whether this gateway belongs to a platform, as which store, until when its certificate lasts, what is wrong."""
    del who
    return here.enrolment.state()


@router.post("/v1/enrolment/check", tags=["access"])
async def check(here: Here, who: Admin, body: BundleIn) -> dict[str, Any]:
    """What a bundle says and the fingerprint to compare; changes nothing."""
    del who
    return here.enrolment.check(body.bundle)


@router.post("/v1/enrolment", tags=["access"])
async def enrol(here: Here, who: Admin, body: EnrolIn) -> dict[str, Any]:
    """Join the platform: a key is made here, the platform signs its certificate, and the link begins at once."""
    return await here.enrolment.enrol(body.bundle, body.fingerprint, who.name)


@router.post("/v1/enrolment/renew", tags=["access"])
async def renew(here: Here, who: Admin) -> dict[str, Any]:
    """Renew the certificate now, with a new key; it renews itself at two thirds of its life."""
    return await here.enrolment.renew(who.name)
