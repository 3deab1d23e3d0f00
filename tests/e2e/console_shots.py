"""Screenshots of a running gateway's console: ``python -m tests.e2e.console_shots URL FOLDER [page …]``."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
DESKTOP, PHONE, WALL = (1440, 900), (390, 844), (1920, 1080)
PAGES = {
    "today": "/",
    "store": "/store",
    "stock": "/stock",
    "product": "/stock/04569951000003",
    "exceptions": "/exceptions",
    "footfall": "/footfall",
    "layout": "/layout",
    "promotions": "/promotions",
    "devices": "/devices",
    "device": "/devices/shelf-mcu-1",
    "set-up": "/set-up",
    "health": "/health-page",
    "audit": "/audit",
}
SHOTS = [(name, "en", "light", DESKTOP) for name in PAGES]
SHOTS += [(name, "ja", "light", DESKTOP) for name in ("today", "store", "set-up", "product")]
SHOTS += [(name, "ja", "light", PHONE) for name in ("today", "stock", "store", "device")]
SHOTS += [(name, "en", "dark", DESKTOP) for name in ("today", "store")]
SHOTS += [("today", "ja", "dark", PHONE), ("store", "ja", "dark", WALL)]


def shoot(url: str, folder: Path, only: list[str]) -> None:
    """All shots, or those of some pages."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, language, scheme, (width, height) in SHOTS:
            if only and name not in only:
                continue
            size = {DESKTOP: "desktop", PHONE: "phone", WALL: "wall"}[width, height]
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, locale=language
            )
            page = context.new_page()
            page.on("console", lambda message: print(message.type, message.text) if message.type == "error" else None)
            page.goto(url + PAGES[name])
            page.wait_for_timeout(700)
            page.screenshot(path=folder / f"{name}-{language}-{size}-{scheme}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    shoot(sys.argv[1].rstrip("/"), Path(sys.argv[2]), sys.argv[3:])
