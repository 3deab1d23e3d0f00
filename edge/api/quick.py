"""Hot reads: answered in front of FastAPI, from bytes that are rendered once; everything else goes on to its route.

A reader answers only the plain success of a documented route, for somebody who may read it. Whatever is not that (no
sign-in, a bad parameter, an unknown thing) it leaves to the route, so that a refusal is worded in one place. Route and
reader share `Rendered`, so both send the same bytes and headers; tests/unit/test_api_quick.py compares the two ways.

A room offers its readers as ``HOT``: a path (its last part may be ``*``) → `Hot`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import Headers as RequestHeaders
from starlette.datastructures import State
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.access import Person, Role
from edge.api.problems import Problem, problem_response
from edge.api.services import Services
from edge.api.words import requested_language

Headers = tuple[tuple[str, str], ...]
NO_CACHE: Final[Headers] = (("cache-control", "private, no-cache"),)  # kept, but asked for again with its ETag


class Rendered:
    """An answer as it is sent: made once, sent many times. Without an ETag it is never answered with 304."""

    __slots__ = ("_full", "_same", "body", "etag", "status")

    def __init__(self, body: bytes, etag: str = "", status: int = 200, more: Headers = NO_CACHE) -> None:
        self.body, self.etag, self.status = body, etag, status
        tagged = (("etag", etag), *more) if etag else more
        self._same = [(name.encode(), value.encode()) for name, value in tagged]
        length = (b"content-length", str(len(body)).encode())
        self._full = [length, (b"content-type", b"application/json"), *self._same]

    def matches(self, if_none_match: str) -> bool:
        """Whether the asker has this very answer (RFC 9110, 13.1.2: weak comparison)."""
        if not if_none_match or not self.etag or self.status != 200:
            return False
        if if_none_match == self.etag:
            return True
        tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
        return self.etag in tags or tags == ["*"]

    async def send(self, if_none_match: str, send: Send) -> None:
        """Send it, or 304 where the asker has it."""
        same = self.matches(if_none_match)
        status, headers, body = (304, self._same, b"") if same else (self.status, self._full, self.body)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def response(self, if_none_match: str | None) -> Response:
        """The same for a route."""
        same = self.matches(if_none_match or "")
        answer = Response(b"" if same else self.body, 304 if same else self.status)
        answer.raw_headers = list(self._same if same else self._full)
        return answer


def to_json(document: Any) -> bytes:
    """JSON as all of the API writes it."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def tag_of(body: bytes) -> str:
    """A strong ETag of these bytes (RFC 9110, 8.8.3)."""
    return f'"{hashlib.sha256(body).hexdigest()[:20]}"'


@dataclass(frozen=True, slots=True)
class Ask:
    """One GET as a reader sees it. path and query as they were sent (the path percent-decoded); state: the app's."""

    here: Services
    state: State
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    person: Person | None
    client: str


Reader = Callable[[Ask], Rendered | None]


@dataclass(frozen=True, slots=True)
class Hot:
    """A reader and the role that its route asks for; None: nobody needs to sign in.

    The reader gives None for what its route should answer, and may raise Problem.
    """

    reader: Reader
    role: Role | None = Role.VIEWER


class Quick:
    """ASGI middleware between the guard and the routes."""

    def __init__(self, app: ASGIApp, services: Services, state: State, table: Mapping[str, Hot]) -> None:
        self._app, self._services, self._state, self._table = app, services, state, dict(table)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        hot = self._hot(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if hot is None:
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        client = scope["client"][0] if scope.get("client") else ""
        person = scope.get("person")
        ask = Ask(self._services, self._state, scope["path"], scope["query_string"], headers, person, client)
        try:
            answer = hot.reader(ask)
        except Problem as problem:
            await problem_response(problem, requested_language(RequestHeaders(scope=scope)))(scope, receive, send)
            return
        if answer is None:
            await self._app(scope, receive, send)
            return
        await answer.send(headers.get(b"if-none-match", b"").decode("latin-1"), send)

    def _hot(self, scope: Scope) -> Hot | None:
        path: str = scope["path"]
        hot = self._table.get(path) or self._table.get(path.rpartition("/")[0] + "/*")
        if hot is None or hot.role is None:
            return hot
        person = scope.get("person")
        return hot if isinstance(person, Person) and person.role.may(hot.role) else None
