"""Screenshots of every page of the console: ``python -m tests.e2e.console_shots FOLDER [page …]``.

Starts a simulated store and a gateway whose journal has the day so far, claims it, and shoots each page: English and
Japanese (with the names of a store in Tokyo), desktop and phone, light and dark. Japanese needs a font
(``apt-get install fonts-noto-cjk``); the pictures of docs/screenshots were made with fonts-roboto-unhinted besides.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.console import Api
from tests.e2e.console_day import in_english, in_japanese, write_the_day
from tests.e2e.console_store import ARGUMENTS, CHROMIUM, Found, first_day

SIZES = {"desktop": (1440, 900), "phone": (360, 780), "wall": (1920, 1080)}
TEA, SHIRT = "04569951000003", "04569951001000"
PIN = "blue door 7"
PAGES = {
    "today": "/",
    "store": "/store",
    "stock": "/stock",
    "product": f"/stock/{TEA}",
    "recount": "/recount/shelf-1",
    "exceptions": "/exceptions",
    "footfall": "/footfall",
    "layout": "/layout",
    "promotions": "/promotions",
    "devices": "/devices",
    "device": "/devices/shelf-mcu-1",
    "set-up": "/set-up",
    "wizard": "/set-up/shelf-mcu-1",
    "door": "/devices/door-1/door",
    "labels": "/labels",
    "record": "/record",
    "health": "/health-page",
    "network": "/network",
    "audit": "/audit",
    "people": "/people",
    "more": "/more",
}
LOOKS = (("desktop", "light"), ("phone", "light"))
DARK = {"en": ("desktop", "dark"), "ja": ("phone", "dark")}
COLOURS = 256


def furnish(found: Found, api: Api) -> None:
    """What people did: holds, promotions, a colleague, a scale whose cable is not in yet."""
    day_us = 86_400_000_000
    now_us = api.call("GET", "/health")["wall_us"]
    while min(api.call("GET", f"/v1/stock/{gtin}").get("available_to_promise") or 0 for gtin in (TEA, SHIRT)) < 2:
        time.sleep(0.5)  # readers and scales look around first
    for hold, gtin, quantity, pickup in (("web-10482", TEA, 2, "counter"), ("web-10486", SHIRT, 1, "locker")):
        body = {"hold": hold, "gtin": gtin, "quantity": quantity, "pickup": pickup}
        api.call("POST", "/v1/holds", body)
    api.call("PUT", "/v1/promotions", promotions(now_us, day_us, ("Tea time", "New season")))
    link = "serial:/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0"
    api.call("PUT", "/v1/devices/scale-1", {"kind": "scale_sics", "settings": {"link": link}})
    api.call("PUT", "/v1/people/Mia", {"role": "staff", "pin": PIN})
    api.call("POST", "/v1/tokens", {"name": "nightly report", "role": "viewer"})
    api.call("POST", "/v1/devices/shelf-mcu-1/identify", {"seconds": 1})
    api.call("POST", "/v1/devices/reader-1/test", {"seconds": 2})


def promotions(now_us: int, day_us: int, titles: tuple[str, str]) -> list[dict[str, Any]]:
    """Two of them."""
    rows = (("tea-time", "z-food", titles[0], [TEA]), ("season", "z-fashion", titles[1], [SHIRT]))
    return [
        {
            "id": id_,
            "zone": zone,
            "title": title,
            "gtins": gtins,
            "starts_us": now_us - day_us,
            "ends_us": now_us + day_us,
        }
        for id_, zone, title, gtins in rows
    ]


def shoot(browser: Browser, found: Found, token: str, folder: Path, shot: tuple[str, str, str, str]) -> None:
    """One picture."""
    name, language, size, scheme = shot
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, locale=language, reduced_motion="reduce"
    )
    cookies = [("smartstore-language", language)] + ([("smartstore-session", token)] if token else [])
    context.add_cookies([{"name": key, "value": value, "url": found.url} for key, value in cookies])
    page = context.new_page()
    page.on("console", lambda message: print(name, message.type, message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: print(name, error))
    page.goto(found.url + PAGES.get(name, f"/{name}"))
    settle(page, name)
    path = folder / f"{name}-{language}-{size}-{scheme}.png"
    page.screenshot(path=path)
    with Image.open(path) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    context.close()


def settle(page: Page, name: str) -> None:
    """Wait until it looks as it does for a person."""
    if name == "door":
        page.click("#heat button.primary")
    page.wait_for_timeout(3500 if name == "wizard" else 1200 if name in ("store", "door") else 500)


def shots(language: str, only: list[str]) -> list[tuple[str, str, str, str]]:
    """(page, language, size, scheme) of one language."""
    names = [name for name in PAGES if name != "exceptions" and (not only or name in only)]
    rows = [(name, language, size, scheme) for name in names for size, scheme in (*LOOKS, DARK[language])]
    walls = [("store", language, "wall", "dark" if language == "ja" else "light")]
    return [row for row in rows + walls if not only or row[0] in only]


def shoot_exceptions(browser: Browser, found: Found, token: str, folder: Path) -> None:
    """The inbox of a store where the cables of two devices came off: what stands on two shelves cannot be known."""
    api = Api(found.url, token)
    for device, key in (("reader-4", "moniker"), ("shelf-mcu-2", "link")):
        kind = "rfid_llrp" if key == "moniker" else "shelf_mcu"
        api.call("PUT", f"/v1/devices/{device}", {"kind": kind, "settings": {key: "tcp:127.0.0.1:9"}})
    time.sleep(20)
    names = Api(found.url, token).call("GET", "/v1/planogram")
    for language in ("ja", "en"):
        if language == "en":
            Api(found.url, token).call("PUT", "/v1/planogram", in_english(names))
        for size, scheme in (*LOOKS, DARK[language]):
            shoot(browser, found, token, folder, ("exceptions", language, size, scheme))


def main(folder: Path, only: list[str]) -> None:
    """All shots, or those of some pages."""
    folder.mkdir(parents=True, exist_ok=True)

    def prepare(place: Path) -> None:
        site = json.loads((place / "site.json").read_text(encoding="utf-8"))
        write_the_day(place, site, time.time_ns() // 1000)

    with (
        tempfile.TemporaryDirectory(prefix="smartstore-shots-") as place,
        first_day(Path(place), devices=True, prepare=prepare) as found,
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for language in ("en", "ja"):
            if not only or "claim" in only:
                shoot(browser, found, "", folder, ("claim", language, "phone", "light"))
        claimed = Api(found.url).call("POST", "/v1/claim", {"code": found.code, "name": "Yuki", "pin": PIN})
        api = Api(found.url, claimed["token"])
        furnish(found, api)
        time.sleep(25)  # until readers and scales have seen everything, and shoppers have come
        for shot in shots("en", only):
            shoot(browser, found, claimed["token"], folder, shot)
        api = Api(found.url, claimed["token"])  # a kept connection is closed meanwhile
        api.call("PUT", "/v1/planogram", in_japanese(api.call("GET", "/v1/planogram")))
        now_us = api.call("GET", "/health")["wall_us"]
        api.call("PUT", "/v1/promotions", promotions(now_us, 86_400_000_000, ("お茶の時間", "新作フェア")))
        time.sleep(3)
        for shot in shots("ja", only):
            shoot(browser, found, claimed["token"], folder, shot)
        if not only or "exceptions" in only:
            shoot_exceptions(browser, found, claimed["token"], folder)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
