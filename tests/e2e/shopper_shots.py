"""Screenshots of the shopper's page: ``python -m tests.e2e.shopper_shots FOLDER``. It brings its own store."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from playwright.async_api import async_playwright

from tests.e2e.test_shopper_page import CHROMIUM, served

PHONE = {"width": 390, "height": 844}
SHOTS = [("en", "light"), ("ja", "light"), ("ja", "dark")]


async def shoot(folder: Path) -> None:
    """Offers, a product that was looked up, and the code at the till, in each language and scheme."""
    folder.mkdir(parents=True, exist_ok=True)
    async with served() as (bench, url), async_playwright() as player:
        browser = await player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for language, scheme in SHOTS:
            context = await browser.new_context(
                viewport=PHONE, device_scale_factor=2, locale=language, color_scheme=scheme, timezone_id="Asia/Tokyo"
            )
            page = await context.new_page()
            await page.clock.install(time=bench.clock.now().wall_us / 1e6)
            await page.goto(url + "/s/z-1")
            await page.locator("#offers .card").first.wait_for()
            name = f"shopper-{{}}-{language}-phone-{scheme}.png"
            await page.screenshot(path=folder / name.format("first"), full_page=True)
            await page.locator("#consent").click()
            await page.locator("#offers button").first.wait_for()
            await page.locator("#code").fill("https://id.gs1.org/01/04569951000003")
            await page.locator("#search .main").click()
            await page.locator("#product .card").wait_for()
            await page.screenshot(path=folder / name.format("offers"), full_page=True)
            await page.locator("#offers button").first.click()
            await page.locator("#till").wait_for()
            await page.screenshot(path=folder / name.format("till"))
            await context.close()
        await browser.close()


if __name__ == "__main__":
    asyncio.run(shoot(Path(sys.argv[1])))
