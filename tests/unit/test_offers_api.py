"""Phones and tills over the API: consent, offers with ETag, single redemption, reports of tills that were cut off."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from typing import Any

import httpx
import numpy as np
import pytest

from edge.api.desk import keep_promises
from edge.core.facts import ConsentWithdrawn, ItemPicked, OfferRedeemed, OfferRefused, OfferShown, OnHandChanged
from edge.core.identity import encode_sgtin96
from edge.core.instant import TimeQuality
from edge.core.observation import TagReads
from edge.core.ports import Command
from edge.offers import OfferSigner, Token, read_token
from tests.unit.api_support import RICE, SITE, TEA, Bench, run

UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
BEACON = f"ibeacon:{UUID}:1:1"
STORE = SITE | {"beacons": [{"id": "b-1", "kind": "zone", "uuid": UUID, "major": 1, "minor": 1, "zone": "z-1"}]}
PROMOTION = {"id": "p-1", "zone": "z-1", "gtins": [TEA], "titles": {"ja": "お茶", "en": "Tea"}, "value_minor": 50}


def stock(bench: Bench, on_hand: int) -> None:
    fact = OnHandChanged(
        at_us=0, gtin=TEA, shelf="shelf-1", on_hand=on_hand, low=0, high=9, confidence=1.0, sources=[], reason=""
    )
    bench.services.runtime.engine.parts.promotions.stock(fact)


async def prepare(bench: Bench, **changes: Any) -> None:
    stock(bench, 3)
    command = Command("c-1", "set_promotions", {"promotions": [PROMOTION | changes]})
    assert (await bench.services.runtime.execute(command)).status == "done"


def one_read(reader: str, epc: bytes, now_us: int) -> TagReads:
    return TagReads(
        device_id=reader,
        mono_us=now_us,
        epc=np.frombuffer(epc, np.uint8).reshape(1, -1),
        antenna=np.ones(1, np.uint16),
        rssi_cdbm=np.full(1, -5500, np.int16),
        seen_us=np.full(1, now_us, np.int64),
        count=np.full(1, 3, np.uint16),
    )


async def consent(phone: httpx.AsyncClient) -> str:
    answer = await phone.post("/v1/shopper/consent", json={"purposes": ["offers"], "notice_version": "1"})
    assert answer.status_code == 201, answer.text
    phone.headers["X-Consent"] = answer.json()["receipt"]
    return answer.json()["subject_id"]


async def ask(phone: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await phone.get("/v1/offers", params={"beacon": BEACON}, headers=headers)


def told(bench: Bench, kind: type) -> list[dict[str, Any]]:
    return [row.fields for row in bench.services.runtime.journal.read(1, 1000) if row.type is kind]


def test_a_phone_gets_an_offer_and_redeems_it_once() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench)
        async with bench.client(None) as phone, bench.client("staff") as till:
            assert (await ask(phone)).json()["offers"] == []  # nobody consented
            subject = await consent(phone)
            first = await ask(phone)
            offer = first.json()["offers"][0]
            assert told(bench, OfferShown)[0]["subject_id"] == subject
            again = await ask(phone, **{"If-None-Match": first.headers["ETag"]})
            assert again.status_code == 304
            key = base64.b64decode((await till.get("/v1/offers/key")).json()["public_key"])
            token = read_token(offer["token"], key)
            assert token is not None
            assert (token.nonce, token.gtin, token.promotion) == (offer["offer"], TEA, "p-1")
            body = {"token": offer["token"], "till": "till-1", "reference": "r-1"}
            assert (await phone.post("/v1/offers/redeem", json=body)).status_code == 401
            done = await till.post("/v1/offers/redeem", json=body)
            assert done.status_code == 200, done.text
            assert (await till.post("/v1/offers/redeem", json=body)).status_code == 200  # the same receipt, repeated
            double = await till.post("/v1/offers/redeem", json=body | {"reference": "r-2"})
            assert (double.status_code, double.json()["cause"]) == (409, "redeemed")
            after = (await ask(phone)).json()
            assert after["offers"] == []
            assert "cap person" in after["promotions"][0]["why_not"][0]
        assert len(told(bench, OfferRedeemed)) == 1
        assert told(bench, OfferRefused)[0]["reason"] == "redeemed"

    run(main, site=STORE)


def test_cheats_are_refused_by_name() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench)
        async with bench.client(None) as phone, bench.client("staff") as till:
            await consent(phone)
            offer = (await ask(phone)).json()["offers"][0]
            forged = OfferSigner(bytes(32)).token(Token("n", "s-1", "p-1", TEA, "z-1", 2**32, 1))
            body, _, signature = offer["token"].partition(".")
            changed = f"{body[:-2]}AA.{signature}"
            for token in (forged, changed, "", ".", "a.b", "é.é", "x" * 1999):
                answer = await till.post("/v1/offers/redeem", json={"token": token, "till": "t", "reference": "r"})
                assert (answer.status_code, answer.json()["cause"]) == (422, "signature")
            bench.clock.advance(31 * 60)
            late = await till.post("/v1/offers/redeem", json={"token": offer["token"], "till": "t", "reference": "r"})
            assert (late.status_code, late.json()["cause"]) == (410, "expired")
        assert told(bench, OfferRedeemed) == []

    run(main, site=STORE)


def test_unknown_places_leak_nothing() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench)
        answers = set()
        async with bench.client(None) as phone:
            for place in ({"beacon": "ibeacon:x:1:1"}, {"beacon": f"ibeacon:{UUID}:1:2"}, {"zone": "nowhere"}, {}):
                answer = await phone.get("/v1/offers", params=place)
                answers.add((answer.status_code, answer.text))
        assert len(answers) == 1
        assert next(iter(answers))[0] == 404

    run(main, site=STORE)


def test_a_flood_is_slowed_and_others_are_not() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench)
        async with bench.client(None) as flood, bench.client(None) as other:
            await consent(flood)
            await consent(other)
            codes = [(await ask(flood)).status_code for _ in range(60)]
            assert codes.count(429) >= 15
            assert (await ask(other)).status_code == 200
            bench.clock.advance(5)
            assert (await ask(flood)).status_code == 200

    run(main, site=STORE)


def test_never_an_offer_for_an_empty_shelf_or_an_unset_clock() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench)
        stock(bench, 0)
        async with bench.client(None) as phone:
            await consent(phone)
            body = (await ask(phone)).json()
            assert body["offers"] == []
            assert body["promotions"][0]["why_not"] == ["stock: 0 on hand, expected at least 1"]
            stock(bench, 2)
            bench.clock.advance(3)
            known = bench.clock.now
            bench.clock.now = lambda: dataclasses.replace(known(), quality=TimeQuality.UNSET)  # type: ignore[method-assign]
            body = (await ask(phone)).json()
            assert body["offers"] == []
            assert body["promotions"][0]["why_not"] == ["clock: the time is not known yet"]

    run(main, site=STORE)


def test_reports_of_a_till_that_was_cut_off() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench)
        async with bench.client(None) as phone, bench.client("staff") as till:
            await consent(phone)
            token = (await ask(phone)).json()["offers"][0]["token"]

            async def report(name: str, *rows: tuple[str, str]) -> list[str]:
                body = {"till": name, "redemptions": [{"token": t, "reference": r} for t, r in rows]}
                return [row["status"] for row in (await till.post("/v1/offers/reconcile", json=body)).json()]

            assert await report("till-1", (token, "r-1"), ("a.b", "r-2")) == ["booked", "forged"]
            assert await report("till-1", (token, "r-1")) == ["known"]
            assert await report("till-2", (token, "r-9")) == ["double"]
            assert await report("till-2", (token, "r-9")) == ["double"]  # reported again: no second fact
        assert [(f["offline"], f["double"]) for f in told(bench, OfferRedeemed)] == [(True, False), (True, True)]

    run(main, site=STORE)


def test_withdrawal_and_erasure_end_everything() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench)
        journal = bench.services.runtime.journal
        async with bench.client(None) as phone, bench.client(None) as second:
            await consent(phone)
            assert (await phone.post("/v1/shopper/check-in", json={"method": "qr", "zone": "z-1"})).status_code == 200
            assert (await phone.delete("/v1/shopper/consent")).status_code == 204
            assert (await phone.delete("/v1/shopper/consent")).status_code == 404
            assert (await ask(phone)).json()["offers"] == []
            subject = await consent(second)
            assert len(journal.keys("offers/consent/")) == 1
            erase = Command("c-2", "erase_subject", {"subject_id": subject})
            assert (await bench.services.runtime.execute(erase)).status == "done"
            assert (await ask(second)).json()["offers"] == []
            assert journal.keys("offers/consent/") == []

    run(main, site=STORE)


def test_an_erasure_is_carried_out_though_no_phone_ever_asks_again() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench)
        async with bench.client(None) as phone:
            subject = await consent(phone)
        await bench.services.runtime.execute(Command("c-2", "erase_subject", {"subject_id": subject}))
        assert len(bench.services.runtime.journal.keys("offers/consent/")) == 1
        keeping = asyncio.create_task(keep_promises(bench.app.state, bench.services, every_s=0.01))
        async with asyncio.timeout(5):
            while bench.services.runtime.journal.keys("offers/consent/"):
                await asyncio.sleep(0.01)
        keeping.cancel()
        assert [row["subject_id"] for row in told(bench, ConsentWithdrawn)] == [subject]

    run(main, site=STORE)


def test_products_by_barcode_and_digital_link_and_signage() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench)
        rules = [{"id": "r-1", "zone": "z-1", "gtin": TEA, "url": "https://shop.example/tea", "with": [RICE]}]
        result = await bench.services.runtime.execute(Command("c-3", "set_rules", {"rules": rules}))
        assert result.status == "done"
        async with bench.client(None) as phone:
            for code in (
                TEA,
                TEA.lstrip("0"),
                f"https://id.gs1.org/01/{TEA}",
                f"https://x.example/a/01/{TEA}/21/7?x=1",
            ):
                found = (await phone.get("/v1/shopper/product", params={"code": code})).json()
                assert (found["gtin"], found["on_hand"], found["shelves"][0]["zone"]) == (TEA, 3, "z-1")
            assert (await phone.get("/v1/shopper/product", params={"code": "123"})).status_code == 422
            assert (await phone.get("/v1/shopper/product", params={"code": "4012345000016"})).status_code == 404
            item = (await phone.get("/v1/feeds/signage/z-1")).json()[0]
            assert (item["url"], item["on_hand"], item["with"]) == ("https://shop.example/tea", 3, [])
            assert (await phone.get("/v1/feeds/signage/z-2")).json() == []
            picture = await phone.get(item["qr"])
            assert (picture.headers["content-type"], picture.text[:4]) == ("image/svg+xml", "<svg")
            assert (await phone.get(f"/v1/shopper/qr/{RICE}")).status_code == 404

    run(main, site=STORE)


def test_the_mirror_shows_what_hangs_before_it_and_what_goes_with_it() -> None:
    fitting = {"device": "reader-2", "antennas": [{"port": 1, "role": "fitting", "zone": "z-2"}]}
    products = [row | {"tagged": row["gtin"] == RICE} for row in SITE["products"]]
    site = STORE | {"readers": [*SITE["readers"], fitting], "products": products}

    async def main(bench: Bench) -> None:
        await prepare(bench)
        rules = [{"id": "r-1", "zone": "z-1", "gtin": RICE, "url": "https://shop.example/rice", "with": [TEA]}]
        await bench.services.runtime.execute(Command("c-3", "set_rules", {"rules": rules}))
        async with bench.client(None) as mirror:
            assert (await mirror.get("/v1/feeds/mirror/z-2")).json() == []
            for _ in range(40):
                bench.clock.advance(0.5)
                bench.services.runtime.emit(one_read("reader-2", encode_sgtin96(RICE, 7, 1, 7), bench.clock.now_us))
                bench.services.runtime.step()
            (item,) = (await mirror.get("/v1/feeds/mirror/z-2")).json()
            assert (item["gtin"], item["url"]) == (RICE, "https://shop.example/rice")
            assert [(other["gtin"], other["on_hand"]) for other in item["with"]] == [(TEA, 3)]
            assert (await mirror.get("/v1/feeds/mirror/z-1")).json() == []
            assert (await mirror.get("/v1/feeds/mirror/nowhere")).status_code == 404

    run(main, site=site)


@pytest.mark.parametrize("path", ["/s/z-1", "/s/sw.js", "/s/files/page.js", "/s/files/client.js", "/s/files/page.css"])
def test_the_page_needs_no_sign_in(path: str) -> None:
    async def main(bench: Bench) -> None:
        async with bench.client(None) as phone:
            answer = await phone.get(path)
            assert answer.status_code == 200
            assert "default-src 'self'" in answer.headers["content-security-policy"]

    run(main, site=STORE)


def test_a_restart_keeps_ledger_and_consents() -> None:
    async def main(bench: Bench) -> None:
        await prepare(bench, cap_total=1)
        async with bench.client(None) as phone:
            await consent(phone)
            before = (await ask(phone)).json()["offers"]
            app = bench.app
            while not hasattr(app, "state"):
                app = app._app
            app.state.desk = None  # the room is made anew from the journal
            assert (await ask(phone)).json()["offers"] == before
        assert told(bench, ItemPicked) == []

    run(main, site=STORE)
