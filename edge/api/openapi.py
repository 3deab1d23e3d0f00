"""The OpenAPI document, true: problems as they are sent, who may ask what, and nothing that FastAPI only supposes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from edge.access import Role
from edge.api.guard import COOKIE
from edge.api.services import Needs

PROBLEM: Final = {
    "title": "Problem",
    "description": "RFC 9457. cause: for machines; detail and hint: for people. A cause may bring further members, "
    "such as both versions of a conflicting edit (current, yours, etag) or retry_after_s.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "cause", "hint"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "cause": {"type": "string"},
        "hint": {"type": "string"},
    },
}
_REF: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_REFUSED: Final = {"description": "refused; the problem names cause, detail and next action", "content": _REF}
_UNABLE: Final = {"description": "a device or the disk cannot do it now", "content": _REF}
UNABLE: Final = ("502", "503", "504", "507")  # see problems.STATUS_OF
SCHEMES: Final = {
    "token": {"type": "http", "scheme": "bearer", "description": "a script's token, or that of a session"},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "the console's session"},
}


def describe(app: FastAPI) -> None:
    """Make `/openapi.json` say what is so. The document is made when it is first asked for."""
    supposed: Callable[[], dict[str, Any]] = app.openapi
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(_true(supposed(), roles_of(app)))
        return made

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to change the document


def _true(document: dict[str, Any], roles: dict[tuple[str, str], Role]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for supposed in ("HTTPValidationError", "ValidationError"):
        schemas.pop(supposed, None)
    schemas["Problem"] = PROBLEM
    components["securitySchemes"] = SCHEMES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            role = roles.get((method.upper(), path))
            answers: dict[str, Any] = operation["responses"]
            answers.pop("422", None)
            answers["4XX"] = _REFUSED
            for status in UNABLE:
                answers.setdefault(status, _UNABLE)
            if role is not None:
                operation["security"] = [{name: []} for name in SCHEMES]
                operation["x-role"] = role.value
    return document


def roles_of(app: FastAPI) -> dict[tuple[str, str], Role]:
    """(method, path) → the role that the route asks for."""
    found: dict[tuple[str, str], Role] = {}
    for route in routes_of(app):
        asked = [inner.call.role for inner in _walk(route.dependant) if isinstance(inner.call, Needs)]
        if asked:
            role = max(asked, key=list(Role).index)
            found |= {(method, route.path): role for method in route.methods or ()}
    return found


def routes_of(app: FastAPI) -> Iterator[APIRoute]:
    """Every route, also those of included routers."""
    waiting: list[Any] = [*app.router.routes]
    while waiting:
        route = waiting.pop()
        inner = getattr(route, "original_router", None)
        if inner is not None:
            waiting += inner.routes
        elif isinstance(route, APIRoute):
            yield route


def _walk(dependant: Dependant) -> Iterator[Dependant]:
    for inner in dependant.dependencies:
        yield inner
        yield from _walk(inner)
