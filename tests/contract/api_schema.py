"""Every operation of the API with generated input and every role, judged by its own OpenAPI document (schemathesis).

``python -m tests.contract.api_schema --examples 100`` is the full survey; `test_api_schema.py` runs a short one.
One JSON object on the last line: operations, requests, server_errors, schema_violations. A device that is not there
answers 502 to 504 with a problem; only 500, or an answer that is no problem, counts as a server error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from edge.access import Person, Role
from edge.api.app import bind, make_server
from edge.api.guard import COOKIE
from tests.unit.api_support import PIN, Bench, gateway

ROLES = (None, "viewer", "staff", "technician", "admin")
ENDLESS = ("/live",)
# What a schema cannot say: check digits, names of this store, two fields of which one must be given.
NOT_OURS = {"positive_data_acceptance", "not_a_server_error", "max_response_time"}


@dataclass
class Running:
    """A gateway in a thread of its own."""

    url: str
    bench: Bench
    loop: asyncio.AbstractEventLoop

    def prepare(self, role: str | None) -> dict[str, str]:
        """A little later, and the header with a token that is good now."""
        return asyncio.run_coroutine_threadsafe(self._prepare(role), self.loop).result(60)

    async def _prepare(self, role: str | None) -> dict[str, str]:
        self.bench.clock.advance(2.0)  # or the limits for shoppers would answer everything
        if role is None:
            return {}
        access = self.bench.services.access
        if access.who(self.bench.tokens[role]) is None:  # signed out, revoked or idle
            boss = Person("admin", Role.ADMIN)
            if role == "admin":
                await access.set_person(boss, "admin", Role.ADMIN, PIN)
                self.bench.tokens[role] = await access.sign_in("admin", PIN, "survey")
            else:
                self.bench.tokens[role] = await access.make_token(boss, role, Role(role))
        return {"Authorization": f"Bearer {self.bench.tokens[role]}"}


@contextlib.contextmanager
def running() -> Iterator[Running]:
    """Serve on loopback until left."""
    ready, stop, told = threading.Event(), threading.Event(), []

    async def serve() -> None:
        listener = bind("127.0.0.1", 0)
        async with gateway() as bench:
            server = make_server(bench.services)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await server.serving.wait()
            told.append(Running(f"http://127.0.0.1:{listener.getsockname()[1]}", bench, asyncio.get_running_loop()))
            ready.set()
            await asyncio.to_thread(stop.wait)
            server.should_exit = True
            await serving
        listener.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="gateway")
    thread.start()
    assert ready.wait(60)
    try:
        yield told[0]
    finally:
        stop.set()
        thread.join(60)


@dataclass
class Findings:
    """What the survey saw; rows are (method, path, role, status, what is wrong, example)."""

    operations: int = 0
    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    server_errors: list[tuple[Any, ...]] = field(default_factory=list)
    schema_violations: list[tuple[Any, ...]] = field(default_factory=list)


def survey(examples: int) -> Findings:
    """Ask every operation so many times, each time as one of the roles."""
    load_all_checks()
    checks = [check for check in CHECKS.get_all() if check.__name__ not in NOT_OURS]
    findings = Findings()
    with running() as gateway_:
        schema = schemathesis.openapi.from_url(f"{gateway_.url}/openapi.json")
        for found in schema.get_all_operations():
            operation = found.ok()
            if not operation.path.endswith(ENDLESS):
                findings.operations += 1
                _ask(gateway_, operation, checks, examples, findings)
    return findings


def _cases(operation: Any) -> st.SearchStrategy[Any]:
    """Input that the document allows, and input that it does not, where there is any."""
    good = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    takes_something = operation.body or operation.query or operation.path_parameters
    return good | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE) if takes_something else good


def _ask(gateway_: Running, operation: Any, checks: list[Any], examples: int, findings: Findings) -> None:
    turn = itertools.cycle(ROLES)  # each role, whatever is drawn

    @given(case=_cases(operation))
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def one(case: Any) -> None:
        role = next(turn)
        case.headers.pop(
            "Authorization", None
        )  # generated from the document's security schemes: the role's comes instead
        case.cookies.pop(COOKIE, None)
        answer = case.call(base_url=gateway_.url, headers=gateway_.prepare(role))
        assert answer.status_code != 401 or role is None or "wrong_pin" in answer.text, (role, operation.path)
        findings.requests += 1
        findings.statuses[answer.status_code] += 1
        row = (operation.method.upper(), operation.path, role, answer.status_code)
        is_problem = "problem+json" in " ".join(answer.headers.get("content-type", []))
        if answer.status_code == 500 or (answer.status_code > 500 and not is_problem):
            findings.server_errors.append((*row, answer.text[:300], case.as_curl_command()))
        try:
            case.validate_response(answer, checks=checks)
        except BaseExceptionGroup as group:
            findings.schema_violations += [
                (*row, str(fault)[:300], case.as_curl_command()) for fault in group.exceptions
            ]

    one()


def main(argv: list[str]) -> int:
    """The survey as a command; exit code 1 where something was found."""
    parser = argparse.ArgumentParser(prog="tests.contract.api_schema")
    parser.add_argument("--examples", type=int, default=100)
    findings = survey(parser.parse_args(argv).examples)
    for row in (*findings.server_errors, *findings.schema_violations):
        print(*row, sep="\n    ", file=sys.stderr)
    figures = {
        "operations": findings.operations,
        "requests": findings.requests,
        "statuses": dict(sorted(findings.statuses.items())),
        "server_errors": len(findings.server_errors),
        "schema_violations": len(findings.schema_violations),
    }
    print(json.dumps(figures))
    return 1 if findings.server_errors or findings.schema_violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
