"""Claiming, signing in, people, tokens of scripts, audit."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from edge.access import Role
from edge.api.guard import COOKIE
from edge.api.problems import Problem
from edge.api.services import Admin, Here, Services, Technician, Viewer

router = APIRouter()
Name = Annotated[str, Field(max_length=40)]
Pin = Annotated[str, Field(max_length=128)]


class PemResponse(Response):
    """A certificate (RFC 8555, 9.1), also as the OpenAPI document knows it."""

    media_type = "application/pem-certificate-chain"


class Claim(BaseModel):
    """The code of the label, and who becomes the first admin."""

    code: Annotated[str, Field(max_length=40)]
    name: Name
    pin: Pin


class SignIn(BaseModel):
    """Name and PIN."""

    name: Name
    pin: Pin


class PersonIn(BaseModel):
    """Role and PIN of somebody."""

    role: Role
    pin: Pin


class TokenIn(BaseModel):
    """A script and what it may do."""

    name: Name
    role: Role


def address_of(request: Request) -> str:
    """The caller's address."""
    return request.client.host if request.client else ""


def set_cookie(here: Services, response: Response, token: str) -> None:
    """The session as a cookie that scripts of the page cannot read and other sites cannot send."""
    response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=here.settings.https, path="/")


@router.post("/v1/claim", tags=["access"])
async def claim(here: Here, request: Request, response: Response, body: Claim) -> dict[str, str]:
    """Claim the gateway with the single-use code of its label; answers a session token and sets the cookie."""
    token = await here.access.claim(body.code, body.name, body.pin, address_of(request))
    set_cookie(here, response, token)
    return {"token": token, "name": body.name, "role": Role.ADMIN.value, "fingerprint": here.fingerprint}


@router.get("/v1/ca.pem", tags=["access"], response_class=PemResponse)
async def ca(here: Here) -> PemResponse:
    """The gateway's own CA, for who compares its SHA-256 with the label. Raises 404 without HTTPS."""
    if not here.ca_pem:
        raise Problem(404, "no_ca", "this gateway serves no HTTPS", "Ask it over HTTP on its own machine.")
    return PemResponse(here.ca_pem)


@router.post("/v1/session", tags=["access"])
async def sign_in(here: Here, request: Request, response: Response, body: SignIn) -> dict[str, str]:
    """Sign in; answers a session token (15 min idle, 8 h in all) and sets the cookie."""
    token = await here.access.sign_in(body.name, body.pin, address_of(request))
    set_cookie(here, response, token)
    person = here.access.who(token)
    return {"token": token, "name": body.name, "role": person.role.value if person else ""}


@router.get("/v1/session", tags=["access"])
async def session(who: Viewer) -> dict[str, Any]:
    """Who I am."""
    return {"name": who.name, "role": who.role.value, "script": who.script}


@router.delete("/v1/session", tags=["access"])
async def sign_out(here: Here, who: Viewer, request: Request, response: Response) -> dict[str, str]:
    """Sign out."""
    await here.access.sign_out(request.scope["token"])
    response.delete_cookie(COOKIE, path="/")
    return {"name": who.name}


@router.get("/v1/people", tags=["access"])
async def people(here: Here, who: Admin) -> list[dict[str, str]]:
    """Everybody with a PIN."""
    del who
    return [{"name": person.name, "role": person.role.value} for person in here.access.people()]


@router.put("/v1/people/{name}", tags=["access"])
async def set_person(here: Here, who: Admin, name: str, body: PersonIn) -> dict[str, str]:
    """Add somebody, or change role and PIN."""
    await here.access.set_person(who, name, body.role, body.pin)
    return {"name": name, "role": body.role.value}


@router.delete("/v1/people/{name}", tags=["access"])
async def remove_person(here: Here, who: Admin, name: str) -> dict[str, str]:
    """Take somebody out."""
    await here.access.remove_person(who, name)
    return {"name": name}


@router.get("/v1/tokens", tags=["access"])
async def tokens(here: Here, who: Admin) -> list[dict[str, str]]:
    """Scripts that have a token (the tokens themselves are kept as hashes only)."""
    del who
    return [{"name": script.name, "role": script.role.value} for script in here.access.tokens()]


@router.post("/v1/tokens", tags=["access"], status_code=201)
async def make_token(here: Here, who: Admin, body: TokenIn) -> dict[str, str]:
    """A token for one of the retailer's own scripts, shown this once: ``Authorization: Bearer …``."""
    token = await here.access.make_token(who, body.name, body.role)
    return {"name": body.name, "role": body.role.value, "token": token}


@router.delete("/v1/tokens/{name}", tags=["access"])
async def revoke_token(here: Here, who: Admin, name: str) -> dict[str, str]:
    """Take a script's token back."""
    await here.access.revoke_token(who, name)
    return {"name": name}


@router.get("/v1/audit", tags=["access"])
async def audit(
    here: Here,
    who: Technician,
    before: Annotated[int, Query(ge=0, le=2**53 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[dict[str, Any]]:
    """Who changed what, newest first; each row carries the hash of the row before."""
    del who
    return list(here.access.audit.rows(before, limit))


@router.get("/v1/audit/verify", tags=["access"])
async def verify_audit(here: Here, who: Technician) -> dict[str, Any]:
    """Check the whole chain."""
    del who
    rows, fault = here.access.audit.verify()
    return {"rows": rows, "intact": not fault, "fault": fault}
