"""Errors as problem+json (RFC 9457), with a machine-readable cause and the next action for a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from edge.access import AccessDenied
from edge.api.sentences import in_japanese, told
from edge.api.words import requested_language
from edge.core.errors import (
    DeviceMisbehaved,
    DeviceRefused,
    DeviceTimeout,
    GatewayError,
    JournalFull,
    LinkLost,
    SettingsError,
    SiteError,
)
from edge.core.plain import PlainError
from edge.jobs import JobsBusy
from edge.network import NetworkRefused, NetworkUnmanaged
from edge.recordings import RecordingRefused

DENIED = {
    "wrong_pin": 401,
    "wrong_code": 403,
    "throttled": 429,
    "weak_pin": 422,
    "name": 422,
    "role": 422,
    "unknown_person": 404,
    "unknown_token": 404,
    "signature": 422,
    "bundle_expired": 422,
}
STATUS_OF: dict[type[GatewayError], tuple[int, str]] = {
    SiteError: (422, "invalid_planogram"),
    SettingsError: (422, "invalid_settings"),
    LinkLost: (503, "link_lost"),
    DeviceTimeout: (504, "device_timeout"),
    DeviceRefused: (409, "device_refused"),
    DeviceMisbehaved: (502, "device_misbehaved"),
    JobsBusy: (429, "jobs_busy"),
    RecordingRefused: (409, "recording_refused"),
    JournalFull: (507, "journal_full"),
    NetworkUnmanaged: (409, "network_unmanaged"),
    NetworkRefused: (409, "network_refused"),
}


class Problem(Exception):
    """A refusal: HTTP status, cause (machine-readable), title and detail for people, hint for the next action.

    `more` are further members of the document (RFC 9457, 3.2), for example both versions of a conflicting edit.
    """

    def __init__(self, status: int, cause: str, detail: str, hint: str = "", **more: Any) -> None:
        self.status, self.cause, self.detail, self.hint, self.more = status, cause, detail, hint, more
        super().__init__(f"{status} {cause}: {detail}")


def problem_response(problem: Problem, language: str = "en") -> JSONResponse:
    """The problem as application/problem+json; title, detail and hint in the language (RFC 9457, 3.1.3)."""
    title = problem.cause.replace("_", " ")
    body = {
        "type": f"https://smartstore.example/problems/{problem.cause}",
        "title": told(title, language),
        "status": problem.status,
        "detail": _detail(problem.detail, title, language),
        "cause": problem.cause,
        "hint": told(problem.hint, language),
        **problem.more,
    }
    headers = {"Content-Language": language}
    if "retry_after_s" in problem.more:
        headers["Retry-After"] = str(int(problem.more["retry_after_s"]))
    return JSONResponse(body, problem.status, headers, media_type="application/problem+json")


def _detail(detail: str, title: str, language: str) -> str:
    """What has no Japanese (a device's own words, say) stands behind what happened."""
    if language != "ja" or not detail:
        return detail
    what = in_japanese(title)
    return in_japanese(detail) or (f"{what}（{detail}）" if what else detail)


Page = Callable[[Request, Problem, str], Response]


def for_a_person(request: Request) -> bool:
    """Whether a browser asked for a page, not a script for the API."""
    wants = "text/html" in request.headers.get("accept", "")
    return wants and request.method == "GET" and not request.url.path.startswith(("/v1/", "/s/", "/metrics"))


def install(app: FastAPI, page: Page | None = None) -> None:
    """Make every error of the app a problem; `page` shows one (and its title) to who asked for a page."""

    def answer(request: Request, problem: Problem) -> Response:
        language = requested_language(request.headers)
        if page is not None and for_a_person(request):
            return page(request, problem, told(problem.cause.replace("_", " "), language))
        return problem_response(problem, language)

    @app.exception_handler(Problem)
    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return answer(request, error)

    @app.exception_handler(AccessDenied)
    async def on_denied(request: Request, error: Exception) -> Response:
        assert isinstance(error, AccessDenied)
        status = DENIED.get(error.cause, 409)
        more = {"retry_after_s": error.retry_after_s} if error.retry_after_s else {}
        return answer(request, Problem(status, error.cause, error.detail, error.next_action, **more))

    @app.exception_handler(GatewayError)
    async def on_gateway(request: Request, error: Exception) -> Response:
        assert isinstance(error, GatewayError)
        cause = STATUS_OF.get(type(error), (409, "refused"))
        return answer(request, Problem(cause[0], cause[1], str(error), error.hint))

    @app.exception_handler(PlainError)
    async def on_plain(request: Request, error: Exception) -> Response:
        return answer(request, Problem(422, "invalid_input", str(error), "Correct the named field."))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        cause = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(error.status_code, "refused")
        return answer(
            request, Problem(error.status_code, cause, f"{request.method} {request.url.path}: {error.detail}")
        )

    @app.exception_handler(RequestValidationError)
    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = [
            f"{'.'.join(map(str, fault['loc']))} = {jsonable_encoder(fault.get('input'))!r}: {fault['msg']}"
            for fault in error.errors()
        ]
        return answer(request, Problem(422, "invalid_input", "; ".join(faults), "Correct the named fields."))
