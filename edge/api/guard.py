"""The guard in front of every route: Host, Origin, size, who asks, and whether the gateway is claimed at all."""

from __future__ import annotations

import ipaddress
import socket
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, State
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.access import Person, Role
from edge.api.problems import Problem, problem_response
from edge.api.services import Services
from edge.api.words import requested_language

BODY_LIMIT = 1 << 20
LARGE = frozenset({"/v1/planogram", "/v1/configuration"})  # whole documents, from technicians only
LARGE_LIMIT = 8 << 20
HOSTS_KEPT = 32  # headers found good are not taken apart again
COOKIE = "smartstore-session"
FOR_MACHINES = ("/v1/", "/metrics")  # these are answered by a status, never sent to a page
UNCLAIMED = frozenset({"/claim", "/v1/claim", "/v1/ca.pem", "/health", "/language"})
PUBLIC = UNCLAIMED | {"/sign-in", "/openapi.json"}
UNTOUCHED = ("/v1/facts/live", "/health")  # a page left open does not keep somebody signed in
FOR_SHOPPERS = ("/s/", "/v1/offers", "/v1/shopper/")
NOT_FOR_SHOPPERS = ("/v1/offers/redeem", "/v1/offers/reconcile", "/v1/offers/why")  # tills use the store's own network
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL = Person("local", Role.ADMIN)
SECURITY_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
        b"form-action 'self'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
PERMISSIONS = b"permissions-policy"
NO_SENSORS = [(PERMISSIONS, b"camera=(), microphone=(), geolocation=()")]


class Guard:
    """ASGI middleware. Sets ``scope["person"]`` and ``scope["token"]``. ``state``: the app's, behind it."""

    def __init__(self, app: ASGIApp, services: Services, state: State | None = None) -> None:
        self._app, self._services, self.state = app, services, state or State()
        self._hosts: set[str] = set()
        own = socket.gethostname().lower()
        self._public = services.settings.public_name.lower()
        self._names = {"localhost", own, f"{own}.local", *(name.lower() for name in services.settings.names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        guarded = _with_headers(send)
        refusal = self._refusal(scope, headers)
        if refusal is None:
            self._identify(scope, headers)
            refusal = self._unclaimed(scope) or _too_large(scope, headers)
        if refusal is not None:
            if refusal.status == 303:
                await _redirect(guarded, refusal.detail)
            else:
                language = requested_language(Headers(scope=scope))
                await problem_response(refusal, language)(scope, receive, guarded)
            return
        await self._app(scope, _limited(receive, _limit(scope)), guarded)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Problem | None:
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._known(host):
            hint = "Use the gateway's address, or add the name to [api] names."
            return Problem(421, "foreign_host", f"Host = {host[:100]!r}: not a name of this gateway", hint)
        if self._public and _name_of(host) == self._public and not _for_shoppers(scope["path"]):
            return Problem(404, "not_found", "there is nothing for shoppers here")
        if scope["method"] not in SAFE:
            origin = headers.get(b"origin", b"").decode("latin-1")
            foreign = headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin")
            if foreign or (origin and urlsplit(origin).netloc.lower() != host.lower()):
                return Problem(403, "cross_origin", f"Origin = {origin[:100]!r}: another site may not do this")
        return None

    def _known(self, host: str) -> bool:
        """Addresses cannot be rebound; names must be ours (against DNS rebinding)."""
        if host in self._hosts:
            return True
        name = _name_of(host)
        if name not in self._names and (not self._public or name != self._public):
            try:
                ipaddress.ip_address(name)
            except ValueError:
                return False
        if len(self._hosts) < HOSTS_KEPT:
            self._hosts.add(host)
        return True

    def _identify(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        scope["token"], scope["person"] = "", None
        if self._services.settings.open:
            scope["person"] = LOCAL
            return
        bearer = headers.get(b"authorization", b"").decode("latin-1")
        if bearer[:7].lower() == "bearer ":
            scope["token"] = bearer[7:].strip()
        else:
            scope["token"] = _cookie(headers.get(b"cookie", b"").decode("latin-1"))
        if scope["token"]:
            touch = scope["path"] not in UNTOUCHED
            scope["person"] = self._services.access.who(scope["token"], touch=touch)

    def _unclaimed(self, scope: Scope) -> Problem | None:
        path = scope["path"]
        if (
            self._services.settings.open
            or self._services.access.claimed
            or path in UNCLAIMED
            or path.startswith("/static/")
        ):
            return self._signed_out(scope)
        if scope["method"] in SAFE and not path.startswith(FOR_MACHINES):
            return Problem(303, "unclaimed", "/claim")
        return Problem(403, "unclaimed", "this gateway has no owner yet", "Claim it with the code on its label.")

    def _signed_out(self, scope: Scope) -> Problem | None:
        """Pages send who is not signed in to the sign-in; the API answers 401 by itself."""
        path = scope["path"]
        public = path in PUBLIC or path.startswith(("/static/", "/s/", *FOR_MACHINES))
        if scope["person"] is None and scope["method"] in SAFE and not public:
            return Problem(303, "not_signed_in", f"/sign-in?next={quote(path)}")
        return None


def _name_of(host: str) -> str:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return name.strip("[]").rstrip(".").lower()


def _for_shoppers(path: str) -> bool:
    return path.startswith(FOR_SHOPPERS) and not path.startswith(NOT_FOR_SHOPPERS)


def _cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _with_headers(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message["headers"]
            policy = not any(name.lower() == PERMISSIONS for name, _ in headers)  # a page may ask for the camera
            message["headers"] = [*headers, *SECURITY_HEADERS, *(NO_SENSORS if policy else ())]
        await send(message)

    return guarded


def _limit(scope: Scope) -> int:
    """Bytes that this body may have."""
    person = scope["person"]
    large = scope["path"] in LARGE and person is not None and person.role.may(Role.TECHNICIAN)
    return LARGE_LIMIT if large else BODY_LIMIT


def _too_large(scope: Scope, headers: dict[bytes, bytes]) -> Problem | None:
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) <= _limit(scope):
        return None
    return Problem(413, "too_large", f"a body of {length[:20].decode('latin-1')} bytes: at most {_limit(scope)}")


def _limited(receive: Receive, limit: int) -> Receive:
    """A body without a declared length is counted as it comes."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise HTTPException(413, f"the body has more than {limit} bytes")
        return message

    return limited


async def _redirect(send: Send, place: str) -> None:
    headers: list[Any] = [(b"location", place.encode()), (b"cache-control", b"no-store"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
