"""The API keeps what its OpenAPI document says, for generated input and every role; the full survey is a command."""

from __future__ import annotations

from typing import Any

from tests.contract.api_schema import ROLES, survey
from tests.unit.api_support import Bench, run
from tests.unit.test_api_routes import PUBLIC, SHOPPERS


def test_no_server_error_and_no_schema_violation_for_any_role() -> None:
    findings = survey(examples=len(ROLES))
    assert findings.operations > 80
    assert findings.requests >= findings.operations * 3
    assert {200, 401, 403, 404, 422} <= findings.statuses.keys()
    assert findings.server_errors == []
    assert findings.schema_violations == []


def test_the_document_names_role_and_problem_of_every_operation() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            document: dict[str, Any] = (await client.get("/openapi.json")).json()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                assert "application/problem+json" in operation["responses"]["4XX"]["content"]
                assert operation.get("summary"), path
                assert operation.get("description"), f"{method} {path} says nothing of itself"
                open_to_all = path in PUBLIC | SHOPPERS and not (path == "/v1/session" and method != "post")
                assert ("security" in operation) == (not open_to_all), (method, path)
                assert ("x-role" in operation) == ("security" in operation)
        assert "HTTPValidationError" not in document["components"]["schemas"]

    run(test)
