"""A technician's first day in a real browser: claim, set ten devices up, take an item, see the stock change, replace."""

from __future__ import annotations

import json
import re
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.console_store import ARGUMENTS, CHROMIUM, Found, first_day, missing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]
TEA = "04569951000003"
PAGES = ("/", "/store", "/stock", "/stock?show=out", f"/stock/{TEA}", "/recount", "/recount/shelf-1", "/exceptions")
PAGES += ("/footfall", "/layout", "/promotions", "/devices", "/devices/shelf-mcu-1", "/devices/reader-1", "/set-up")
PAGES += ("/set-up/shelf-mcu-1", "/set-up/door-1", "/devices/door-1/door", "/devices/door-1/notice", "/health-page")
PAGES += ("/network", "/audit", "/people", "/more", "/labels", "/record", "/devices/nobody-9")
OUTSIDE = ("/claim", "/sign-in")
PIN = "blue door 7"


class Technician:
    """Somebody with a phone."""

    def __init__(self, browser: Any, found: Found) -> None:
        self.found, self.faults = found, []
        self.page = browser.new_context(locale="en", viewport={"width": 360, "height": 780}).new_page()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda m: self.faults.append(m.text) if "Content Security Policy" in m.text else None)

    def go(self, path: str) -> None:
        self.page.goto(self.found.url + path)

    def api(self, path: str) -> Any:
        """What the API says, with the browser's own session."""
        return self.page.evaluate("path => fetch(path).then(answer => answer.json())", path)

    def claim(self) -> None:
        self.go("/stock")  # not claimed: led to the claim
        assert self.page.url.endswith("/claim")
        self.page.goto(f"{self.found.url}/claim#code={self.found.code}")
        self.page.wait_for_function("() => document.querySelector('#code').value.length > 5")
        assert "code" not in self.page.evaluate("location.href")  # the code does not stay in the history
        self.page.fill("[name=name]", "Yuki")
        self.page.fill("[name=pin]", PIN)
        self.page.click("button.primary")
        self.page.wait_for_url(self.found.url + "/")

    def set_up(self, device: dict[str, Any]) -> None:
        """Add it, then follow its steps as far as the planogram has them for it."""
        body = self.found.body(device)
        self.go("/set-up")
        self.page.select_option("#add [name=kind]", body["kind"])
        self.page.fill("#add [name=id]", device["id"])
        self.page.fill("#add [name=link]", next(iter(body["settings"].values())))
        self.page.click("#add button.primary")
        self.page.wait_for_url(f"{self.found.url}/set-up/{device['id']}", timeout=90_000)
        # The page goes on by itself when the device is there.
        self.page.wait_for_selector(".stepper li:first-child.done", timeout=90_000)

    def step(self) -> str:
        """The step that the wizard asks for, "" when it is through."""
        found = re.search(r"step-(\w+)", self.page.get_attribute("[data-part=step] section", "class") or "")
        return found[1] if found else ""

    def follow(self, device: str) -> None:
        """Everything that can be done from the phone: blink, test."""
        for _ in range(6):
            step = self.step()
            if step == "identified":
                self.page.click(".step-identified button.primary")
            elif step == "tested":
                self.page.click(".step-tested button.primary")
            else:
                return
            self.page.wait_for_function("step => !document.querySelector(`.step-${step}`)", arg=step, timeout=90_000)


def a_new_controller(found: Found) -> str:
    """Another weight controller on the shelf of the first."""
    told = found.cast.start("spare", ["-m", "firmware_sim", "shelf", "--port", "0", "--seed", "7"])
    return f"tcp:127.0.0.1:{told['port']}"


def test_from_the_box_to_a_replaced_device(tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    warnings.simplefilter("default")
    with first_day(tmp_path) as found, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        mia = Technician(browser, found)
        page = mia.page
        mia.claim()
        expect(page.locator("#link")).to_have_class("pill live", timeout=90_000)

        began_s = time.monotonic()
        ten = found.ten(tmp_path)
        assert len(ten) == 10
        for device in ten:
            mia.set_up(device)
        print(f"ten devices through the browser: {time.monotonic() - began_s:.1f} s", file=sys.stderr)
        mia.go("/devices")
        expect(page.locator(".tile.online")).to_have_count(10, timeout=90_000)
        mia.go("/set-up/reader-1")
        mia.follow("reader-1")
        expect(page.locator(".finish")).to_be_visible()
        mia.go("/set-up/shelf-mcu-1")
        expect(page.locator("#live .meters p")).to_have_count(8, timeout=30_000)  # a weight for each of its lanes
        mia.follow("shelf-mcu-1")
        expect(page.locator(".finish")).to_be_visible()
        mia.go("/set-up/scale-1")  # the planogram does not know it yet
        assert mia.step() == "placed_step"
        page.select_option("[name='cells.0.shelf']", "shelf-8")
        page.click(".step-placed_step button.primary")
        page.wait_for_selector(".step-tared", timeout=30_000)
        for _ in range(20):  # "wait": the scale has to rest on its new lane first
            page.click(".step-tared button.primary")
            page.wait_for_selector(".step-spanned, .step-tared .answer:not(:empty)")
            if mia.step() == "spanned":
                break
            told = page.text_content(".step-tared .answer")
            page.wait_for_timeout(1000)
        assert mia.step() == "spanned", told

        # Readers count, shoppers take: the map follows without a reload, and says what the API says.
        mia.go("/store")
        page.wait_for_function(
            "() => document.querySelectorAll('.narrow .pip[data-n]:not([data-n=\"\"])').length > 20", timeout=120_000
        )
        was = page.evaluate(
            "[...document.querySelectorAll('.narrow .pip')].map(pip => [pip.dataset.pair, pip.dataset.n])"
        )
        page.wait_for_function(
            """was => { const old = new Map(was);
                return [...document.querySelectorAll('.narrow .pip')].some(pip =>
                    Number(pip.dataset.n) < Number(old.get(pip.dataset.pair))); }""",
            arg=was,
            timeout=120_000,
        )  # something was taken
        expect(page.locator("#feed li").first).to_be_visible()
        page.wait_for_function(
            """async () => { const rows = await (await fetch('/v1/stock')).json();
                const known = new Map(rows.flatMap(row => (row.shelves || []).map(s => [`${s.shelf}|${row.gtin}`, s.on_hand])));
                return [...document.querySelectorAll('.narrow .pip')].every(pip =>
                    !known.has(pip.dataset.pair) || pip.dataset.n === String(known.get(pip.dataset.pair))); }""",
            timeout=60_000,
        )

        # Somebody else is first: both versions are shown, and pressing again puts this one in effect.
        mia.go("/devices/scanner-1")
        page.click("summary >> text=Change the place")
        other = """() => fetch('/v1/devices/scanner-1/place', {method: 'PUT', headers: {'Content-Type': 'application/json'},
            body: JSON.stringify({zone: 'z-food'})}).then(answer => answer.status)"""
        assert page.evaluate(other) == 200
        page.select_option("#place [name=zone]", "z-entrance")
        page.click("#place button.primary")
        expect(page.locator("#place .answer")).to_contain_text("somebody changed it since you read it")
        expect(page.locator("#place .answer s")).to_contain_text("z-food")
        expect(page.locator("#place .answer ins")).to_contain_text("z-entrance")
        page.click("#place button.primary")
        page.wait_for_function(
            "() => fetch('/v1/devices/scanner-1').then(a => a.json()).then(row => row.places.join() === 'z-entrance')"
        )

        # New hardware at the same position: place, lanes and planogram stay.
        before = mia.api("/v1/devices/shelf-mcu-1")
        link = a_new_controller(found)
        mia.go("/devices/shelf-mcu-1")
        page.fill("#replace [name='settings.link']", link)
        with page.expect_navigation():
            page.click("#replace button")
        page.wait_for_function(
            """link => fetch('/v1/devices/shelf-mcu-1').then(a => a.json()).then(row =>
                row.settings.link === link && row.state === 'online')""",
            arg=link,
            timeout=60_000,
        )
        page.wait_for_selector("[data-part=state] .state.online", timeout=60_000)
        assert mia.api("/v1/devices/shelf-mcu-1")["places"] == before["places"] == [f"shelf-{n}" for n in range(1, 5)]
        mia.go("/audit")
        assert page.locator("td", has_text="replaced").count() == 1
        assert page.locator(".verdict.good").count() == 1

        # Labels and the set-up record leave as PDF, without the frame of the console.
        for path, words in (("/labels", "shelf-mcu-1"), ("/record", "SHELF-HX8")):
            mia.go(path)
            assert words in page.inner_text("main")
            page.emulate_media(media="print")
            assert not page.locator(".rail").is_visible()
            paper = page.pdf(format="A4", path=tmp_path / "paper.pdf")
            assert paper.startswith(b"%PDF")
            assert paper.count(b"/Type /Page\n") in (1, 2, 3, 4)
            page.emulate_media(media="screen")

        # A connection that is gone is said, and taken up again where it ended, without a reload.
        mia.go("/store")
        expect(page.locator("#link")).to_have_class("pill live", timeout=30_000)
        page.evaluate("window.stayed = true")
        asked: list[Any] = []
        page.on("request", lambda r: asked.append(r) if "/facts/live" in r.url else None)
        page.wait_for_function("() => window.factsSeen > 3", timeout=60_000)
        found.cast.stop("gateway")
        expect(page.locator("#link")).to_have_class("pill lost", timeout=90_000)
        found.start_gateway()
        expect(page.locator("#link")).to_have_class("pill live", timeout=90_000)
        seen = page.evaluate("window.factsSeen")
        page.wait_for_function("seen => window.factsSeen > seen", arg=seen, timeout=60_000)
        assert page.evaluate("window.stayed")
        sent = [one.all_headers().get("last-event-id", "") for one in asked]
        assert any(sent), sent  # with Last-Event-ID: what was committed meanwhile comes as well
        browser.close()
        assert not mia.faults, mia.faults


def test_every_page_is_accessible_in_both_languages_on_phone_and_desk(tmp_path: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    warnings.simplefilter("default")
    axe, violations = Axe(), {}
    with first_day(tmp_path, devices=True) as found, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        mia = Technician(browser, found)
        page = mia.page

        def look(path: str, language: str, name: str) -> None:
            mia.go(path)
            assert page.evaluate("document.documentElement.lang") == language
            if (wide := page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0:
                violations[path, language, name, "wide"] = wide
            if answer := axe.run(page).response["violations"]:
                violations[path, language, name] = [(row["id"], row["nodes"][0]["html"][:120]) for row in answer]
            small = page.evaluate(
                """() => [...document.querySelectorAll('button, .button, select, nav a, summary, input:not([type=hidden])')]
                    .filter(one => one.offsetParent && one.type !== 'checkbox' && one.getBoundingClientRect().height < 43.5)
                    .map(one => one.outerHTML.slice(0, 90))"""
            )
            if small:
                violations[path, language, name, "small"] = small

        for path in OUTSIDE[:1]:
            look(path, "en", "phone")
        mia.claim()
        for language in ("en", "ja"):
            mia.go(f"/language?to={language}")
            for scheme, (width, height) in (("light", (360, 780)), ("dark", (1440, 900))):
                page.set_viewport_size({"width": width, "height": height})
                page.emulate_media(color_scheme=scheme)
                for path in PAGES:
                    look(path, language, scheme)
        browser.close()
        assert not violations, json.dumps({str(key): value for key, value in violations.items()}, indent=1)
        assert not mia.faults, mia.faults
