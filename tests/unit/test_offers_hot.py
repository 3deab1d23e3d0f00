"""Answers that are given again: the same bytes as the route's, and never what is no longer so."""

from __future__ import annotations

import dataclasses
from typing import Any

import httpx

from edge.api.desk import hot_offers
from edge.api.guard import Guard
from edge.api.quick import Ask
from edge.core.instant import TimeQuality
from edge.core.ports import Command
from tests.unit.api_support import TEA, Bench, run
from tests.unit.test_offers_api import BEACON, STORE, ask, consent, prepare, stock


def is_hot(bench: Bench, phone: httpx.AsyncClient) -> bool:
    """Whether the hot read would answer this phone now."""
    app = bench.app
    while not hasattr(app, "state"):
        app = app._app
    sent = str(httpx.QueryParams({"beacon": BEACON}))
    headers = {b"x-consent": phone.headers.get("X-Consent", "").encode()}
    return (
        hot_offers(Ask(bench.services, app.state, "/v1/offers", sent.encode(), headers, None, "127.0.0.1")) is not None
    )


def why_not(answer: httpx.Response) -> list[str]:
    rows: list[str] = answer.json()["promotions"][0]["why_not"]
    return rows


def test_the_hot_read_sends_what_the_route_sends() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench)
        plain = Guard(bench.app._app._app, bench.services)  # the same without hot reads
        transport = httpx.ASGITransport(app=plain)
        async with bench.client(None) as phone:
            await consent(phone)
            first = await ask(phone)
            assert is_hot(bench, phone)
            hot = await ask(phone)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1", headers={"X-Consent": phone.headers["X-Consent"]}
            ) as other:
                cold = await ask(other)
                cold_same = await ask(other, **{"If-None-Match": first.headers["ETag"]})
            hot_same = await ask(phone, **{"If-None-Match": first.headers["ETag"]})
            assert (hot.content, sorted(hot.headers.items())) == (cold.content, sorted(cold.headers.items()))
            assert (hot_same.status_code, hot_same.content) == (304, b"")
            assert sorted(hot_same.headers.items()) == sorted(cold_same.headers.items())

    run(main, site=STORE)


def test_a_redemption_ends_only_that_persons_answer() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench)
        async with bench.client(None) as phone, bench.client(None) as other, bench.client("staff") as till:
            for one in (phone, other):
                await consent(one)
            token = (await ask(phone)).json()["offers"][0]["token"]
            await ask(other)
            body = {"token": token, "till": "till-1", "reference": "r-1"}
            assert (await till.post("/v1/offers/redeem", json=body)).status_code == 200
            assert not is_hot(bench, phone)
            assert is_hot(bench, other)
            assert (await ask(phone)).json()["offers"] == []

    run(main, site=STORE)


def test_stock_clock_plan_and_promotions_end_an_answer() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench)
        runtime = bench.services.runtime

        async def promotions() -> None:
            row = {"id": "p-2", "zone": "z-1", "gtins": [TEA]}
            assert (await runtime.execute(Command("c", "set_promotions", {"promotions": [row]}))).status == "done"

        async def empty() -> None:
            stock(bench, 0)

        async def unset() -> None:
            known = bench.clock.now
            bench.clock.now = lambda: dataclasses.replace(known(), quality=TimeQuality.UNSET)  # type: ignore[method-assign]

        async with bench.client(None) as phone:
            await consent(phone)
            for change in (empty, promotions, unset):
                await ask(phone)
                assert is_hot(bench, phone), change.__name__
                await change()
                assert not is_hot(bench, phone), change.__name__
            assert why_not(await ask(phone))[0].startswith("clock:")

    run(main, site=STORE)


def test_time_alone_ends_an_answer() -> None:
    """An expiry and the end of the gap between two offers come without anything else happening."""

    async def main(bench: Bench) -> None:
        now = bench.clock.now()
        await prepare(bench, valid_min=1.5, min_gap_min=10.0, cap_person_day=0)
        async with bench.client(None) as phone:
            await consent(phone)
            first = (await ask(phone)).json()["offers"][0]
            assert is_hot(bench, phone)
            bench.clock.advance((first["expires_us"] - now.wall_us) / 1e6)
            assert not is_hot(bench, phone)
            gone = await ask(phone)
            assert gone.json()["offers"] == []
            assert why_not(gone) == ["gap: expected 10 min between two offers"]
            bench.clock.advance(10 * 60)
            assert (await ask(phone)).json()["offers"][0]["offer"] != first["offer"]

    run(main, site=STORE)


def test_a_reached_cap_ends_the_others_answers() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench, cap_day=1)
        async with bench.client(None) as nobody, bench.client(None) as phone:
            assert why_not(await ask(nobody)) == []
            assert is_hot(bench, nobody)
            await consent(phone)
            assert (await ask(phone)).json()["offers"]
            assert not is_hot(bench, nobody)
            assert why_not(await ask(nobody)) == ["cap day: 1 of 1"]

    run(main, site=STORE)


def test_the_hot_read_is_limited_too() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench)
        async with bench.client(None) as phone:
            await consent(phone)
            etag = (await ask(phone)).headers["ETag"]
            answers: list[Any] = [(await ask(phone, **{"If-None-Match": etag})).status_code for _ in range(60)]
            assert set(answers) == {304, 429}

    run(main, site=STORE)
