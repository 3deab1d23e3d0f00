"""Every route with every role; bad input; conflicts; the guard in front of all of them."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from typing import Any

import pytest
from fastapi.routing import APIRoute

from edge.access import Role
from edge.api import routes
from edge.api.guard import BODY_LIMIT, COOKIE
from edge.api.routes import _events
from edge.api.services import Needs
from edge.api.words import LANGUAGES, keys, speaker
from edge.settings import ApiSettings
from tests.unit.api_support import PIN, RICE, SITE, TEA, Bench, run

CONCRETE = {
    "beacon": "beacon-1",
    "gtin": TEA,
    "device_id": "mcu-9",
    "lane_id": "lane-1",
    "job_id": "job-9",
    "hold": "h-9",
    "step": "pick",
    "name": "nobody",
    "zone": "z-1",
    "shelf": "shelf-1",
}
PUBLIC = {"/health", "/v1/ca.pem", "/v1/claim", "/v1/session", "/claim", "/sign-in", "/language"}
# A shopper has no account: a consent receipt is asked, and it names nobody.
SHOPPERS = {"/v1/shopper/consent", "/v1/shopper/check-in", "/v1/shopper/product", "/v1/offers", "/v1/offers/live"}
SHOPPERS |= {
    "/v1/offers/key",
    "/v1/feeds/signage/{zone}",
    "/v1/feeds/mirror/{zone}",
    "/v1/shopper/qr/{gtin}",
    "/s/{zone}",
    "/s/sw.js",
    "/s/files/{name}",
}
STREAMS = {"/v1/facts/live", "/v1/jobs/{job_id}/live", "/v1/devices/{device_id}/readings/live"}


def needed(route: Any) -> Role | None:
    """The largest role among a route's dependencies."""
    roles = [d.call.role for d in _walk(route.dependant) if isinstance(d.call, Needs)]
    return max(roles, key=list(Role).index, default=None)


def _walk(dependant: Any) -> Any:
    for inner in dependant.dependencies:
        yield inner
        yield from _walk(inner)


def all_routes(bench: Bench) -> list[tuple[str, str, Any]]:
    app = bench.app._app._app
    found, waiting = [], [*app.router.routes]
    while waiting:
        route = waiting.pop()
        inner = getattr(route, "original_router", None)
        if inner is not None:
            waiting += inner.routes
        elif isinstance(route, APIRoute):
            found += [(method, route.path, route) for method in sorted(route.methods)]
    return found


def test_every_route_refuses_smaller_roles_and_nobody_and_has_no_server_error_for_the_right_one() -> None:
    async def test(bench: Bench) -> None:
        rows = all_routes(bench)
        assert len(rows) > 70
        refused = allowed = 0
        for method, path, route in rows:
            role = needed(route)
            if path in SHOPPERS or (path in PUBLIC and method != "DELETE"):
                continue
            assert role is not None, f"{method} {path} asks for no role"
            concrete = path.format(**CONCRETE)
            for who in (None, *Role):
                if who is not None and who.may(role) and path in STREAMS:
                    continue  # endless; see test_the_live_stream
                async with bench.client(who.value if who else None) as client:
                    answer = await client.request(method, concrete, json={} if method in ("POST", "PUT") else None)
                if who is None:
                    assert answer.status_code in (401, 303), (method, path)
                elif not who.may(role):
                    refused += 1
                    assert answer.status_code == 403, (method, path, who)
                    assert answer.json()["cause"] == "role"
                else:
                    allowed += 1
                    assert answer.status_code < 500, (method, path, who, answer.text[:300])
                    assert answer.status_code not in (401, 403), (method, path, who, answer.text[:300])
                    if path == "/v1/session":  # signed out: back in
                        token = await bench.services.access.sign_in("admin", PIN, "x")
                        bench.tokens["admin"] = token
        assert refused > 60
        assert allowed > 120

    run(test)


def test_an_unclaimed_gateway_serves_only_claim_and_health() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client(None) as client:
            for method, path, _ in all_routes(bench):
                answer = await client.request(method, path.format(**CONCRETE), json={} if method != "GET" else None)
                if path in ("/health", "/claim", "/language", "/v1/claim", "/v1/ca.pem"):
                    assert answer.status_code in (200, 303, 404, 422), path
                elif path.startswith(("/v1/", "/metrics")):
                    assert (answer.status_code, answer.json()["cause"]) == (403, "unclaimed"), path
                else:
                    assert answer.headers["location"] == "/claim", path
            assert (await client.get("/health")).json()["claimed"] is False

    run(test, claimed=False)


def test_claim_then_sign_in_out_through_the_api_with_the_cookie() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client(None) as client:
            wrong = await client.post("/v1/claim", json={"code": "AAAAA-AAAAA", "name": "Yuki", "pin": PIN})
            assert (wrong.status_code, wrong.json()["cause"]) == (403, "wrong_code")
            code = bench.services.access.claim_code
            answer = await client.post("/v1/claim", json={"code": code, "name": "Yuki", "pin": PIN})
            assert answer.status_code == 200
            cookie = answer.headers["set-cookie"]
            assert COOKIE in cookie
            assert "HttpOnly" in cookie
            assert "samesite=strict" in cookie.lower()
            assert (await client.get("/v1/session")).json()["role"] == "admin"
            assert (await client.get("/")).status_code == 200
            await client.delete("/v1/session")
            assert (await client.get("/v1/session")).status_code == 401
            assert (await client.get("/")).headers["location"].startswith("/sign-in")
            for _ in range(6):
                last = await client.post("/v1/session", json={"name": "Yuki", "pin": "wrong pin"})
            assert last.status_code == 429
            assert int(last.headers["retry-after"]) >= 1

    run(test, claimed=False)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "[::1]:8443"}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "shop-gw.lan"}, 200),
    ],
)
def test_only_names_of_this_gateway_are_answered(headers: dict[str, str], status: int) -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            assert (await client.get("/v1/session", headers=headers)).status_code == status

    run(test, settings=ApiSettings(names=("shop-gw.lan",)))


def test_another_site_cannot_act_and_bodies_have_a_limit() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            hold = {"hold": "h", "gtin": TEA}
            for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
                answer = await client.post("/v1/holds", json=hold, headers=headers)
                assert (answer.status_code, answer.json()["cause"]) == (403, "cross_origin")
            same = await client.post("/v1/holds", json=hold, headers={"Origin": "http://127.0.0.1"})
            assert same.json()["cause"] == "not_enough_stock"
            huge = await client.put("/v1/catalogue", content=b"x" * (BODY_LIMIT + 1))
            assert (huge.status_code, huge.json()["cause"]) == (413, "too_large")

            async def drip() -> Any:
                for _ in range(20):
                    yield b"x" * 100_000

            assert (await client.put("/v1/catalogue", content=drip())).status_code == 413

    run(test)


def test_pages_and_answers_carry_the_security_headers_and_pages_have_no_inline_code() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client() as client:
            for path in (
                "/",
                "/store",
                "/stock",
                "/devices",
                "/set-up",
                "/health-page",
                "/audit",
                "/people",
                "/health",
            ):
                answer = await client.get(path)
                assert "default-src 'self'" in answer.headers["content-security-policy"], path
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert "<script>" not in answer.text
                assert " style=" not in answer.text
                assert " onclick" not in answer.text
            page = await client.get("/stock")
            assert "Rice crackers &lt;b&gt;" in page.text
            assert "Rice crackers <b>" not in page.text

    run(test)


def test_a_recount_shows_in_stock_with_its_why_and_a_hold_lowers_what_can_be_promised() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("staff") as client:
            body = {"shelf": "shelf-1", "gtin": TEA, "quantity": 5}
            assert (await client.post("/v1/recounts", json=body)).status_code == 201
            key = {"Idempotency-Key": "once"}
            hold = {"hold": "h-1", "gtin": TEA, "quantity": 2}
            first = await client.post("/v1/holds", json=hold, headers=key)
            again = await client.post("/v1/holds", json=hold, headers=key)
            assert (first.status_code, again.status_code) == (201, 201)
            stock = (await client.get(f"/v1/stock/{TEA}")).json()
            assert (stock["on_hand"], stock["available_to_promise"], stock["held"]) == (5, 3, 2)
            assert "counted by staff: 5" in stock["shelves"][0]["why"][-1]["text"]
            twice = await client.post("/v1/holds", json=hold)
            assert (twice.status_code, twice.json()["cause"]) == (409, "known_hold")
            assert (await client.post("/v1/holds/h-1/collect")).status_code == 409
            assert (await client.post("/v1/holds/h-1/pick")).status_code == 200
            assert (await client.post("/v1/holds/h-1/collect")).status_code == 200
            assert (await client.post("/v1/holds/h-7/pick")).status_code == 404
            today = (await client.get("/v1/today")).json()
            assert today["fetch"] == []
        actions = [row["action"] for row in bench.services.access.audit.rows()]
        assert actions[:2] == ["collect_hold", "pick_hold"]
        assert bench.services.access.audit.verify()[1] == ""

    run(test)


def test_two_technicians_on_the_same_planogram_get_409_with_both_versions() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("technician") as client:
            read = await client.get("/v1/planogram")
            tag = {"If-Match": read.headers["etag"]}
            mine, theirs = read.json(), read.json()
            mine["shelves"][0]["x_m"], theirs["shelves"][0]["x_m"] = 7.0, 8.0
            dry = await client.put("/v1/planogram?dry_run=true", json=mine, headers=tag)
            change = {"section": "shelves", "entry": "shelf-1", "change": "changed", "fields": {"x_m": [1.0, 7.0]}}
            assert dry.json()["changes"] == [change]
            assert (await client.get("/v1/planogram")).json()["shelves"][0]["x_m"] == 1.0
            assert (await client.put("/v1/planogram", json=mine, headers=tag)).json()["applied"] is True
            late = await client.put("/v1/planogram", json=theirs, headers=tag)
            assert (late.status_code, late.json()["cause"]) == (409, "edit_conflict")
            assert late.json()["current"]["shelves"][0]["x_m"] == 7.0
            assert late.json()["yours"]["shelves"][0]["x_m"] == 8.0
            broken = read.json() | {"shelves": [{"id": "S 1", "zone": "z-1"}]}
            answer = await client.put("/v1/planogram", json=broken)
            assert answer.status_code == 422
            assert "S 1" in answer.json()["detail"]

    run(test)


def test_a_catalogue_names_line_column_value_and_expectation_and_round_trips() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("technician") as client:
            csv = {"Content-Type": "text/csv"}
            bad = "gtin,name,unit_mass_g\n4569951000003,Tea,520\n4569951000004,Bad,heavy\n"
            answer = await client.put("/v1/catalogue", content=bad, headers=csv)
            assert answer.status_code == 422
            assert answer.json()["faults"] == [
                "line 3, column gtin: '4569951000004': expected check digit 3, found 4",
                "line 3, column unit_mass_g: 'heavy': expected a number such as 250",
            ]
            for content in (b"\xff\xfe", b"", b"a,b\n1,2\n", b'gtin\n"'):
                assert (await client.put("/v1/catalogue", content=content, headers=csv)).status_code == 422
            exported = (await client.get("/v1/catalogue.csv")).text
            same = await client.put("/v1/catalogue", content=exported.encode(), headers=csv)
            assert same.json()["changes"] == []
            new = exported.replace("Green tea", "=HYPERLINK()").encode()
            assert len((await client.put("/v1/catalogue", content=new, headers=csv)).json()["changes"]) == 1
            assert "'=HYPERLINK()" in (await client.get("/v1/catalogue.csv")).text  # no formula for a spreadsheet
            close = [{"gtin": RICE, "unit_mass_g": 521.0}]
            lanes = SITE["lanes"][0] | {"gtins": [TEA, RICE]}
            document = (await client.get("/v1/planogram")).json() | {"lanes": [lanes]}
            await client.put("/v1/planogram", json=document)
            warned = (await client.put("/v1/catalogue?dry_run=1", json=close)).json()["warnings"]
            assert [row["kind"] for row in warned] == ["near_equal"]

    run(test)


def test_devices_are_set_up_replaced_tested_and_retired_and_unplugging_is_named() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("technician") as client:
            bad = await client.put("/v1/devices/mcu-1", json={"kind": "shelf_mcu", "settings": {"lnk": "x"}})
            assert bad.status_code == 422
            assert "lnk" in bad.json()["detail"]
            body = {"kind": "shelf_mcu", "settings": {"link": "tcp:127.0.0.1:9"}}
            made = await client.put("/v1/devices/mcu-1", json=body)
            assert made.json()["places"] == ["shelf-1"]
            stale = await client.put("/v1/devices/mcu-1", json=body, headers={"If-Match": '"old"'})
            assert stale.status_code == 409
            assert (await client.post("/v1/devices/mcu-1/identify", json={})).json()["cause"] == "link_lost"
            tare = await client.post("/v1/lanes/lane-1/tare")
            assert (tare.status_code, tare.json()["cause"]) == (503, "link_lost")
            other = await client.post("/v1/devices/mcu-1/replace", json={"kind": "rfid_llrp"})
            assert other.json()["cause"] == "other_kind"
            link = {"link": "tcp:127.0.0.1:10"}
            replaced = await client.post("/v1/devices/mcu-1/replace", json={"kind": "shelf_mcu", "settings": link})
            assert replaced.status_code == 200
            assert (await client.get("/v1/devices/mcu-1")).json()["settings"]["link"] == "tcp:127.0.0.1:10"
            job = (await client.post("/v1/devices/mcu-1/test", json={"seconds": 0.3})).json()
            await asyncio.sleep(0.6)
            done = (await client.get(f"/v1/jobs/{job['id']}")).json()
            assert (done["state"], done["error"]["cause"]) == ("failed", "LinkLost")
            assert (await client.delete("/v1/devices/mcu-1")).status_code == 200
            assert (await client.get("/v1/devices/mcu-1")).status_code == 404

    run(test)


def test_discovery_is_a_job_and_says_what_is_no_network() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("technician") as client:
            job = (await client.post("/v1/discovery", json={})).json()
            await asyncio.sleep(0.05)
            assert (await client.get(f"/v1/jobs/{job['id']}")).json()["state"] == "done"
            stream = await client.get(f"/v1/jobs/{job['id']}/live")
            assert json.loads(stream.text.split("data: ")[-1])["state"] == "done"
            assert (await client.delete(f"/v1/jobs/{job['id']}")).status_code == 409

    run(test)


def test_the_live_stream_goes_on_from_last_event_id_and_ends_with_the_session() -> None:
    async def test(bench: Bench) -> None:
        here = bench.services
        here.runtime.health.count("x")
        token = await here.access.sign_in("admin", PIN, "x")
        last = here.runtime.journal.last_seq
        events = _events(here, last - 2, token)
        assert await anext(events) == b"retry: 2000\n\n"
        chunk = (await anext(events)).decode()
        assert [int(line[4:]) for line in chunk.splitlines() if line.startswith("id: ")] == [last - 1, last]
        await here.access.sign_out(token)
        await here.access.audit.add("x", "wake")
        rest = [part async for part in events]
        assert rest[-1].startswith(b"event: signed-out")

    assert routes.KEEPALIVE_S <= 15
    run(test)


def test_the_support_bundle_has_no_secret() -> None:
    async def test(bench: Bench) -> None:
        async with bench.client("technician") as client:
            secret = {"kind": "rfid_llrp", "settings": {"moniker": "tcp:user:hunter2@127.0.0.1:9"}}
            await client.put("/v1/devices/reader-9", json=secret)
            bundle = zipfile.ZipFile(io.BytesIO((await client.get("/v1/support-bundle")).content))
            text = "".join(bundle.read(name).decode() for name in bundle.namelist())
        assert "health.json" in bundle.namelist()
        for token in bench.tokens.values():
            assert token not in text
        assert "$argon2id" not in text

    run(test)


def test_every_word_is_there_in_both_languages_and_every_word_of_the_pages_is_known() -> None:
    for key in keys():
        for language in LANGUAGES:
            assert speaker(language)(key) if "{" not in speaker(language)(key) else True
    assert len({speaker(language)("today") for language in LANGUAGES}) == 2


def test_the_console_fits_in_60_kb_compressed() -> None:
    import gzip
    from pathlib import Path

    folder = Path(routes.__file__).parent / "static"
    sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in folder.iterdir()}
    assert sum(sizes.values()) <= 60_000, sizes
