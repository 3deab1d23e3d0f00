"""Errors as problem+json (RFC 9457), with a machine-readable cause and the next action for a person."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from edge.access import AccessDenied
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
}


class Problem(Exception):
    """A refusal: HTTP status, cause (machine-readable), title and detail for people, hint for the next action.

    `more` are further members of the document (RFC 9457, 3.2), for example both versions of a conflicting edit.
    """

    def __init__(self, status: int, cause: str, detail: str, hint: str = "", **more: Any) -> None:
        self.status, self.cause, self.detail, self.hint, self.more = status, cause, detail, hint, more
        super().__init__(f"{status} {cause}: {detail}")


def problem_response(problem: Problem) -> JSONResponse:
    """The problem as application/problem+json."""
    body = {
        "type": f"https://smartstore.example/problems/{problem.cause}",
        "title": problem.cause.replace("_", " "),
        "status": problem.status,
        "detail": problem.detail,
        "cause": problem.cause,
        "hint": problem.hint,
        **problem.more,
    }
    headers = {"Retry-After": str(int(problem.more["retry_after_s"]))} if "retry_after_s" in problem.more else None
    return JSONResponse(body, problem.status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Make every error of the app a problem."""

    @app.exception_handler(Problem)
    async def on_problem(request: Request, error: Exception) -> JSONResponse:
        del request
        assert isinstance(error, Problem)
        return problem_response(error)

    @app.exception_handler(AccessDenied)
    async def on_denied(request: Request, error: Exception) -> JSONResponse:
        del request
        assert isinstance(error, AccessDenied)
        status = DENIED.get(error.cause, 409)
        more = {"retry_after_s": error.retry_after_s} if error.retry_after_s else {}
        return problem_response(Problem(status, error.cause, error.detail, error.next_action, **more))

    @app.exception_handler(GatewayError)
    async def on_gateway(request: Request, error: Exception) -> JSONResponse:
        del request
        assert isinstance(error, GatewayError)
        cause = STATUS_OF.get(type(error), (409, "refused"))
        return problem_response(Problem(cause[0], cause[1], str(error), error.hint))

    @app.exception_handler(PlainError)
    async def on_plain(request: Request, error: Exception) -> JSONResponse:
        del request
        return problem_response(Problem(422, "invalid_input", str(error), "Correct the named field."))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        cause = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(error.status_code, "refused")
        return problem_response(
            Problem(error.status_code, cause, f"{request.method} {request.url.path}: {error.detail}")
        )

    @app.exception_handler(RequestValidationError)
    async def on_validation(request: Request, error: Exception) -> JSONResponse:
        del request
        assert isinstance(error, RequestValidationError)
        faults = [
            f"{'.'.join(map(str, fault['loc']))} = {jsonable_encoder(fault.get('input'))!r}: {fault['msg']}"
            for fault in error.errors()
        ]
        return problem_response(Problem(422, "invalid_input", "; ".join(faults), "Correct the named fields."))
