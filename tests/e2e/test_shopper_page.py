"""The shopper's page in Chromium: offers, consent, a code that is shown offline and redeemed once, words, accessibility."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import segno
import uvicorn
from axe_playwright_python.async_playwright import Axe
from fastapi import FastAPI
from playwright.async_api import Page, async_playwright

from cloud_bridge.ingest.shopper import make_shopper
from cloud_bridge.ingest.store import Arrivals, SqliteStore
from edge.api import shopper_routes
from edge.core.ports import Command
from tests.e2e.shopper_store import OFFERS, STORE, stock_up
from tests.unit.api_support import TEA, Bench, gateway

CHROMIUM = shutil.which("chromium") or ""
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine")]
# Bytes that versions 1 to 20 hold at level L (ISO/IEC 18004, table 7): full codes, because segno puts a zero byte before
# the padding of others, which readers skip and the standard does not ask for.
ROOM = (17, 32, 53, 78, 106, 134, 154, 192, 230, 271, 321, 367, 425, 458, 520, 586, 644, 718, 792, 858)
TOO_SMALL = """[...document.querySelectorAll('button, input, a')].filter((one) => one.offsetParent)
    .filter((one) => one.getBoundingClientRect().height < 44).map((one) => one.outerHTML)"""
QR = "async (text) => (await import('/s/files/qr.js')).qrMatrix(text)"


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[Bench, str]]:
    """A gateway with offers, and its address."""
    async with gateway(site=STORE) as bench:
        stock_up(bench)
        await bench.services.runtime.execute(Command("c", "set_promotions", {"promotions": OFFERS}))
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(bench.app, log_level="warning", access_log=False, lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield bench, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


def play(test: Any, **options: Any) -> None:
    """Run `test(bench, url, page)` in a fresh phone's browser; errors of the page fail it."""

    async def main() -> None:
        async with served() as (bench, url), async_playwright() as player:
            browser = await player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            context = await browser.new_context(viewport={"width": 390, "height": 844}, **({"locale": "en"} | options))
            page = await context.new_page()
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            await page.clock.install(time=bench.clock.now().wall_us / 1e6)
            try:
                await test(bench, url, page)
                assert errors == []
            finally:
                await browser.close()

    asyncio.run(main())


async def show_first_code(page: Page) -> str:
    await page.get_by_role("button", name="Yes, give me codes").click()
    await page.get_by_role("button", name="Show the code").first.click()
    await page.get_by_role("dialog").wait_for()
    return await page.locator("#till-token").text_content() or ""


async def redeem(bench: Bench, token: str) -> tuple[int, str]:
    async with bench.client("staff") as till:
        answer = await till.post("/v1/offers/redeem", json={"token": token, "till": "till-1", "reference": "r-1"})
    return answer.status_code, answer.json().get("gtin", "")


def test_a_code_is_kept_shown_without_a_connection_and_redeemed_once() -> None:
    async def test(bench: Bench, url: str, page: Page) -> None:
        await page.goto(url + "/s/z-1")
        await page.get_by_text("First flush, fresh today").wait_for()
        assert await page.get_by_role("button", name="Show the code").count() == 0  # nobody consented
        token = await show_first_code(page)
        assert token.count(".") == 1
        await page.get_by_role("img", name="Show this code at the till").wait_for()
        await page.evaluate("navigator.serviceWorker.ready.then(() => 1)")
        await page.context.set_offline(True)
        await page.reload()
        await page.get_by_text("No connection.").wait_for()
        await page.locator("#kept").get_by_role("button", name="Show the code").click()
        assert await page.locator("#till-token").text_content() == token
        assert await redeem(bench, token) == (200, TEA)
        await page.context.set_offline(False)
        await page.reload()
        await page.get_by_text("Used at a till").wait_for()

    play(test)


def test_the_picture_is_the_qr_code_of_the_token() -> None:
    async def test(bench: Bench, url: str, page: Page) -> None:
        del bench
        await page.goto(url + "/s/z-1")
        for version, room in enumerate(ROOM, 1):
            text = "é" + (f"{version}.C-9" * 400)[: room - 2]  # é takes two bytes
            found = await page.evaluate(QR, text)
            assert found["version"] == version
            code = segno.make(
                text.encode(), version=version, error="l", mask=found["mask"], mode="byte", boost_error=False
            )
            assert found["rows"] == [list(row) for row in code.matrix], version
        with pytest.raises(Exception, match="expected at most 858"):
            await page.evaluate(QR, "z" * 859)

    play(test)


@pytest.mark.parametrize(("language", "title"), [("en", "Right now at this shelf"), ("ja", "いま、この棚のお得情報")])
def test_everybody_can_use_it(language: str, title: str) -> None:
    async def test(bench: Bench, url: str, page: Page) -> None:
        del bench
        await page.goto(url + "/s/z-1")
        await page.get_by_role("heading", name=title).wait_for()
        assert await page.evaluate("document.documentElement.lang") == language
        await page.locator("#consent").click()
        await page.locator("#offers button").first.wait_for()
        for step in ("page", "dialog"):
            result = await Axe().run(page)
            assert result.violations_count == 0, f"{step}: {result.generate_report()}"
            assert await page.evaluate(TOO_SMALL) == [], step
            if step == "page":
                await page.locator("#offers button").first.click()
                await page.get_by_role("dialog").wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    play(test, locale=language)


def test_a_barcode_tells_stock_place_and_where_to_buy_it_online() -> None:
    async def test(bench: Bench, url: str, page: Page) -> None:
        del bench
        await page.goto(url + "/s/z-1")
        for code, words in (
            (f"https://id.gs1.org/01/{TEA}", "3 in stock here"),
            ("12", "This is not a barcode number"),
            ("4012345000016", "This is not sold here."),
        ):
            await page.locator("#code").fill(code)
            await page.get_by_role("button", name="Look", exact=True).click()
            await page.locator("#product").get_by_text(words).wait_for()
            if code.startswith("https"):
                link = page.locator("#product").get_by_role("link", name="Buy online")
                assert await link.get_attribute("href") == "https://shop.example/tea"
                assert await page.locator("#product").get_by_text("Find it in: Tea and sweets").count() == 1

    play(test)


def test_withdrawing_erases_on_both_sides() -> None:
    async def test(bench: Bench, url: str, page: Page) -> None:
        await page.goto(url + "/s/z-1")
        await show_first_code(page)
        await page.get_by_role("button", name="Close").click()
        await page.get_by_role("button", name="Withdraw consent and erase").click()
        await page.get_by_role("button", name="Yes, give me codes").wait_for()
        kept = await page.evaluate("Object.keys(localStorage).filter((key) => key !== 'offers-z-1')")
        assert kept == []
        assert bench.services.runtime.journal.keys("offers/consent/") == []

    play(test)


def test_the_camera_may_be_asked_for_on_this_page_alone() -> None:
    async def main() -> None:
        async with served() as (bench, _), bench.client(None) as phone:
            assert "camera=(self)" in (await phone.get("/s/z-1")).headers["permissions-policy"]
            assert "camera=()" in (await phone.get("/sign-in")).headers["permissions-policy"]

    asyncio.run(main())


def test_the_page_stays_light() -> None:
    """It is opened on mobile data, by a phone that is five years old: 40 kB in all, before compression."""
    folder = Path(__file__).parents[2] / "edge/api/shopper"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 48_000


def test_the_platforms_page_shows_what_the_store_mirrored() -> None:
    """A phone on mobile data: the same page, from another address, without codes and without consent."""

    async def main() -> None:
        async with gateway(site=STORE) as bench:
            stock_up(bench)
            runtime = bench.services.runtime
            await runtime.execute(Command("c", "set_promotions", {"promotions": OFFERS}))
            engine, now = runtime.engine, bench.clock.now()
            told = {name: document for name, (_, document) in runtime.view.documents().items()}
            assert told["offers/z-1"] == engine.all_documents(now)["offers/z-1"]
            stock_document = {"gtin": TEA, "name": "Aoyama", "on_hand": 3}
        store = SqliteStore(None)
        await store.open()
        states = {"offers/z-1": told["offers/z-1"], f"stock/{TEA}": stock_document}
        await store.write(Arrivals(states={("t-1", "s-1", name): json.dumps(one) for name, one in states.items()}))
        app = FastAPI()
        app.include_router(make_shopper(store, Path(shopper_routes.__file__).parent / "shopper"))
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with async_playwright() as player:
            browser = await player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = await (await browser.new_context(locale="en")).new_page()
            await page.goto(f"http://127.0.0.1:{listener.getsockname()[1]}/s/t-1/s-1/z-1")
            await page.get_by_text("First flush, fresh today").wait_for()
            assert await page.locator("#offers .card").count() == 2  # the third is not in stock
            await page.get_by_text("join the store's Wi-Fi").wait_for()
            assert not await page.get_by_role("button", name="Yes, give me codes").is_visible()
            await page.locator("#code").fill(TEA)
            await page.get_by_role("button", name="Look", exact=True).click()
            await page.locator("#product").get_by_text("3 in stock here").wait_for()
            await page.evaluate("navigator.serviceWorker.ready.then(() => 1)")
            await page.goto(page.url.replace("z-1", "z-9"))
            await page.get_by_text("No offers here right now.").wait_for()
            await browser.close()
        server.should_exit = True
        await serving
        await store.close()

    asyncio.run(main())
