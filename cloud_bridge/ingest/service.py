"""The platform's HTTPS service: the query API and metrics behind a token, enrolment for gateways."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field

from cloud_bridge.ingest.authority import EnrolmentRefused
from cloud_bridge.ingest.enrolment import Enrolments
from cloud_bridge.ingest.public_names import PublicNames
from cloud_bridge.ingest.query import Place, Sight, make_app, store_is_lost
from cloud_bridge.ingest.store import PlatformStore, StoreLost

Pem = Annotated[str, Field(max_length=8_192)]


class EnrolIn(BaseModel):
    """The bundle's token and the gateway's signing request (PEM)."""

    token: Annotated[str, Field(max_length=200)]
    request: Pem


class RenewIn(BaseModel):
    """The present certificate, the request for the next key, base64 of the present key's signature over it."""

    certificate: Pem
    request: Pem
    signature: Annotated[str, Field(max_length=400)]


class Bearer:
    """Dependency: ``Authorization: Bearer …`` with the platform's token."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def __call__(self, authorization: Annotated[str, Header()] = "") -> None:
        """HTTPException 401 without the token."""
        if not hmac.compare_digest(authorization.encode(), f"Bearer {self._token}".encode()):
            raise HTTPException(401, "expected Authorization: Bearer with the platform's api.token")


def _signature(body: RenewIn) -> bytes:
    try:
        return base64.b64decode(body.signature, validate=True)
    except binascii.Error:
        raise HTTPException(422, "signature: expected base64") from None


def make_service(
    store: PlatformStore,
    sight: Sight,
    enrolments: Enrolments,
    names: PublicNames,
    token: str,
    places: Mapping[tuple[str, str], Place] | None = None,
) -> FastAPI:
    """One application: ``enrol``, ``renew`` and ``public-certificate`` for gateways, the rest for who has the token."""
    service = FastAPI(title="Smart-store reference platform", version="1.0", docs_url=None, redoc_url=None)

    @service.post("/v1/enrol", status_code=201)
    async def enrol(body: EnrolIn) -> dict[str, str]:
        """A certificate for a gateway with a bundle."""
        try:
            return enrolments.enrol(body.token, body.request.encode())
        except EnrolmentRefused as error:
            raise HTTPException(403, str(error)) from None

    @service.post("/v1/renew", status_code=201)
    async def renew(body: RenewIn) -> dict[str, str]:
        """A certificate for the next key of a gateway that has one."""
        try:
            return enrolments.renew(body.certificate, body.request.encode(), _signature(body))
        except EnrolmentRefused as error:
            raise HTTPException(403, str(error)) from None

    @service.post("/v1/public-certificate")
    async def public_certificate(body: RenewIn) -> dict[str, str]:
        """The publicly trusted chain for the shoppers' page of a gateway, "" while ACME has not brought it."""
        try:
            place = enrolments.who_asks(body.certificate, body.request.encode(), _signature(body))
            return {"chain": names.ask(*place, body.request.encode())}
        except EnrolmentRefused as error:
            raise HTTPException(403, str(error)) from None

    @service.get("/v1/certificates", dependencies=[Depends(Bearer(token))])
    async def certificates() -> list[dict[str, object]]:
        """Every certificate given out."""
        return enrolments.stores()

    queries = make_app(store, sight, places, [Depends(Bearer(token))])
    service.add_exception_handler(StoreLost, store_is_lost)
    service.mount("/", queries)
    return service
