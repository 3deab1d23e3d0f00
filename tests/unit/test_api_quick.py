"""Hot reads: the way in front of the routes answers exactly like the routes, and never with what is no longer so."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx
import pytest

from edge.access import Role
from edge.api.guard import Guard
from edge.api.hot import HOT
from edge.api.problems import Problem
from edge.api.quick import Ask, Hot, Quick, Rendered
from edge.core.observation import DeviceState, DeviceStatus
from edge.core.ports import Command
from edge.settings import ApiSettings
from tests.unit.api_support import RICE, TEA, Bench, run

PATHS = (
    "/health",
    "/health?x=1",
    "/health/",
    "/v1/devices",
    "/v1/devices?x=1",
    "/v1/stock",
    "/v1/stock?text=tea",
    "/v1/stock?text=&limit=1",
    "/v1/stock?limit=1&text=",
    f"/v1/stock?limit=1&after={TEA}",
    "/v1/stock?limit=0",
    "/v1/stock?limit=x",
    "/v1/stock?text=%E3%81%8A",
    "/v1/stock?text=%FF",
    f"/v1/stock?text={'x' * 101}",
    f"/v1/stock/{TEA}",
    f"/v1/stock/{TEA}?x=1",
    f"/v1/stock/{TEA[1:]}",  # 13 digits: the same product
    f"/v1/stock/{TEA}/",
    f"/v1/stock/{TEA}/history",
    f"/v1/stock/%30{TEA[1:]}",
    "/v1/stock/12345678901234",
    "/v1/stock/99999999999999999",
    "/v1/stock/",
    "/v1/stock/x%2Fy",
)


def both(bench: Bench) -> tuple[Any, Any]:
    """The app as it is, and the same without the hot reads."""
    quick: Quick = bench.app._app
    return bench.app, Guard(quick._app, bench.services)


async def ask(bench: Bench, app: Any, role: str | None, path: str, method: str = "GET", **headers: str) -> Any:
    if role:
        headers["Authorization"] = f"Bearer {bench.tokens[role]}"
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        answer = await client.request(method, path)
    return answer.status_code, sorted(answer.headers.multi_items()), answer.content


async def same(bench: Bench, role: str | None, path: str, method: str = "GET", **headers: str) -> Any:
    """Ask both ways, the hot one before and after the other (which may fill what is kept); the answer."""
    hot, cold = both(bench)
    first = await ask(bench, hot, role, path, method, **headers)
    second = await ask(bench, cold, role, path, method, **headers)
    assert first == second == await ask(bench, hot, role, path, method, **headers), (role, path, method, headers)
    return first


def on_hand(bench: Bench, gtin: str, count: int) -> None:
    """What a commit of a changed count makes of the view."""
    view, journal = bench.services.runtime.view, bench.services.runtime.journal
    view.await_commit(journal.last_seq, {f"stock/{gtin}": {"gtin": gtin, "on_hand": count, "why": ["茶"]}})
    view.committed(journal.last_seq)


def test_both_ways_answer_the_same_for_every_role_and_every_way_to_ask() -> None:
    async def test(bench: Bench) -> None:
        on_hand(bench, TEA, 3)
        for path, role in itertools.product(PATHS, (None, *(role.value for role in Role))):
            status, headers, _ = await same(bench, role, path)
            etag = dict(headers).get("etag", '"x"')
            if role is None and path.startswith("/v1/"):
                assert status in (401, 307, 404), (path, status)  # 307: without the slash at the end
            else:
                assert status in (200, 303, 307, 404, 422), (path, role, status)
            for tags in (etag, f"W/{etag}", f'"a", {etag}', "*", '"other"', ""):
                again, _, body = await same(bench, role, path, **{"If-None-Match": tags})
                if status == 200 and "etag" in dict(headers):
                    assert again == (200 if tags in ('"other"', "") else 304)
                    assert bool(body) == (again == 200)
        for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            for path in ("/v1/stock", f"/v1/stock/{TEA}", "/v1/devices", "/health"):
                await same(bench, "viewer", path, method)

    run(test)


def test_both_ways_refuse_foreign_names_wrong_tokens_and_whoever_comes_before_the_claim() -> None:
    async def claimed(bench: Bench) -> None:
        for path in ("/v1/stock", "/v1/devices", "/health", f"/v1/stock/{TEA}"):
            assert (await same(bench, "admin", path, Host="evil.example"))[0] == 421
            status = (await same(bench, None, path, Authorization="Bearer wrong"))[0]
            assert status == (200 if path == "/health" else 401)
            await same(bench, None, path, Cookie="smartstore-session=wrong")
            await same(bench, "viewer", path, Cookie="smartstore-session=wrong")

    async def unclaimed(bench: Bench) -> None:
        for path in ("/v1/stock", "/v1/devices", f"/v1/stock/{TEA}"):
            assert (await same(bench, None, path))[0] == 403
        assert (await same(bench, None, "/health"))[0] == 200

    run(claimed)
    run(unclaimed, claimed=False)
    run(lambda bench: same(bench, None, "/v1/stock"), claimed=False, settings=ApiSettings(open=True))


def test_a_session_that_is_over_and_a_token_that_was_revoked_are_told_so_at_once() -> None:
    async def test(bench: Bench) -> None:
        access = bench.services.access
        assert (await same(bench, "admin", "/v1/stock"))[0] == 200
        bench.clock.advance(14 * 60)
        assert (await same(bench, "admin", "/v1/stock"))[0] == 200  # a hot read prolongs a session like any other
        bench.clock.advance(14 * 60)
        assert (await same(bench, "admin", "/v1/stock"))[0] == 200
        bench.clock.advance(16 * 60)
        assert (await same(bench, "admin", "/v1/stock"))[0] == 401
        boss = access.people()[0]
        assert (await same(bench, "viewer", "/v1/stock"))[0] == 200
        await access.revoke_token(boss, "viewer")
        assert (await same(bench, "viewer", "/v1/stock"))[0] == 401

    run(test)


def test_what_changed_is_seen_at_once() -> None:
    async def test(bench: Bench) -> None:
        here = bench.services

        async def read(path: str) -> Any:
            return json.loads((await same(bench, "viewer", path))[2])

        assert (await read(f"/v1/stock/{TEA}"))["on_hand"] is None
        tags = set()
        for count in (3, 2, 3):
            on_hand(bench, TEA, count)
            answer = await same(bench, "viewer", f"/v1/stock/{TEA}")
            assert json.loads(answer[2])["on_hand"] == count
            assert [row["on_hand"] for row in await read("/v1/stock?text=tea")] == [count]
            assert {row["gtin"]: row["on_hand"] for row in await read("/v1/stock")} == {TEA: count, RICE: None}
            tags.add(dict(answer[1])["etag"])
        renamed = {"gtin": RICE, "name": "Tea crackers", "unit_mass_g": 118.0}
        await here.runtime.execute(Command("c-1", "set_catalogue", {"products": [renamed]}))
        assert (await read(f"/v1/stock/{RICE}"))["name"] == "Tea crackers"
        assert len(await read("/v1/stock?text=tea")) == 2
        here.health.alarms["journal_full"] = "x"
        assert (await read("/health"))["causes"] == ["journal_full"]
        for state, cause in ((DeviceState.ONLINE, ""), (DeviceState.OFFLINE, "LinkLost")):
            here.runtime.emit(DeviceStatus("mcu-1", bench.clock.now_us, state, cause))
            rows = await read("/v1/devices")
            assert [(row["id"], row["state"]) for row in rows] == [("mcu-1", state.value)]

    run(test)


def test_ages_and_counters_of_devices_are_a_tenth_of_a_second_old_at_most() -> None:
    async def test(bench: Bench) -> None:
        here = bench.services
        here.runtime.emit(DeviceStatus("mcu-1", bench.clock.now_us, DeviceState.ONLINE))
        here.health.devices["mcu-1"].last_seen_us = bench.clock.now_us

        async def age() -> float:
            return json.loads((await same(bench, "viewer", "/v1/devices"))[2])[0]["last_seen_s"]

        assert await age() == 0.0
        for tenths in range(1, 20):
            bench.clock.advance(0.1)
            assert await age() == round(tenths / 10, 1)

    run(test)


def test_what_is_kept_is_bounded() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("viewer") as client:
            for number in range(100):
                await client.get(f"/v1/stock?text={number}")
        pages = bench.app._app._app.state.pages
        assert len(pages._lists) <= 16
        assert len(pages._queries) <= 16

    run(test)


def test_a_reader_may_refuse_or_leave_it_to_the_route() -> None:
    async def test(bench: Bench) -> None:
        asked: list[Ask] = []

        def reader(ask: Ask) -> Rendered | None:
            asked.append(ask)
            if b"x-refuse" in ask.headers:
                raise Problem(429, "too_many", "too many requests: expected fewer", retry_after_s=2)
            return Rendered(b"[]", '"t"') if b"x-quick" in ask.headers else None

        table = {"/v1/lanes": Hot(reader, Role.STAFF), "/v1/offers": Hot(reader, None)}
        quick: Quick = bench.app._app
        app = Guard(Quick(quick._app, bench.services, quick._state, table), bench.services)
        refused = await ask(bench, app, "staff", "/v1/lanes", **{"X-Refuse": "1"})
        assert refused[0] == 429
        assert dict(refused[1])["retry-after"] == "2"
        assert dict(refused[1])["content-type"] == "application/problem+json"
        assert (await ask(bench, app, "staff", "/v1/lanes", **{"X-Quick": "1"}))[2] == b"[]"
        assert len(asked) == 2
        assert json.loads((await ask(bench, app, "viewer", "/v1/lanes", **{"X-Quick": "1"}))[2])[0]["id"] == "lane-1"
        assert len(asked) == 2  # the reader was not asked for too small a role
        assert json.loads((await ask(bench, app, "staff", "/v1/lanes"))[2])[0]["id"] == "lane-1"
        assert (await ask(bench, app, None, "/v1/offers?zone=z-1", **{"X-Quick": "1"}))[2] == b"[]"
        assert (asked[-1].path, asked[-1].query, asked[-1].person) == ("/v1/offers", b"zone=z-1", None)

    run(test)


@pytest.mark.parametrize("path", sorted(HOT))
def test_every_hot_read_is_a_documented_route_and_its_role_is_that_of_the_route(path: str) -> None:
    from tests.unit.test_api_routes import all_routes, needed

    async def test(bench: Bench) -> None:
        found = {}
        for method, documented, route in all_routes(bench):
            if method == "GET":
                found[documented.rpartition("{")[0] + "*" if documented.endswith("}") else documented] = route
        assert path in found
        assert needed(found[path]) is HOT[path].role
        document = (await (bench.client("viewer")).get("/openapi.json")).json()
        described = document["paths"][found[path].path]["get"]["responses"]
        assert "200" in described
        assert ("304" in described) == (path != "/health")

    run(test)


def test_the_listener_sends_without_waiting() -> None:
    import socket

    from edge.api.app import bind

    listener = bind("127.0.0.1", 0)
    try:
        assert listener.proto == socket.IPPROTO_TCP  # asyncio sets TCP_NODELAY only then
    finally:
        listener.close()
