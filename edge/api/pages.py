"""What every page of the console shares: the frame around it, its words, its times."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from markupsafe import Markup, escape

from edge.access import Role
from edge.api.problems import Problem
from edge.api.sentences import in_japanese
from edge.api.services import Services, services_of
from edge.api.telling import Teller
from edge.api.words import requested_language, speaker

HERE = Path(__file__).parent
STATIC_FILES = ("console.css", "console.js", "door.js", "setup.js", "icons.svg")
templates = Jinja2Templates(HERE / "templates")
NAV = (
    ("store_group", ("today", "/", Role.VIEWER)),
    ("store_group", ("store", "/store", Role.VIEWER)),
    ("store_group", ("stock", "/stock", Role.VIEWER)),
    ("store_group", ("exceptions", "/exceptions", Role.VIEWER)),
    ("store_group", ("footfall", "/footfall", Role.VIEWER)),
    ("store_group", ("layout", "/layout", Role.VIEWER)),
    ("store_group", ("promotions", "/promotions", Role.VIEWER)),
    ("technology", ("devices", "/devices", Role.VIEWER)),
    ("technology", ("set_up", "/set-up", Role.TECHNICIAN)),
    ("technology", ("health", "/health-page", Role.VIEWER)),
    ("technology", ("network", "/network", Role.TECHNICIAN)),
    ("administration", ("audit", "/audit", Role.TECHNICIAN)),
    ("administration", ("people", "/people", Role.ADMIN)),
)
TABS = 4  # of them on a phone's bar; the rest is under "more"
JAPANESE_DAYS = "月火水木金土日"


def _version() -> str:
    """Changes when a static file does, so that browsers may keep them for ever."""
    digest = hashlib.sha256()
    for name in STATIC_FILES:
        digest.update((HERE / "static" / name).read_bytes())
    return digest.hexdigest()[:10]


STATIC_VERSION = _version()


@dataclass(frozen=True, slots=True)
class Clockface:
    """Times as people of this store read them."""

    zone: ZoneInfo
    language: str

    def at(self, wall_us: int) -> datetime:
        """Local time."""
        return datetime.fromtimestamp(wall_us / 1e6, UTC).astimezone(self.zone)

    def time(self, wall_us: int) -> str:
        """14:05"""
        return f"{self.at(wall_us):%H:%M}"

    def seconds(self, wall_us: int) -> str:
        """14:05:09"""
        return f"{self.at(wall_us):%H:%M:%S}"

    def stamp(self, wall_us: int) -> str:
        """2026-03-14 14:05"""
        return f"{self.at(wall_us):%Y-%m-%d %H:%M}"

    def day(self, wall_us: int) -> str:
        """Saturday, 14 March · 3月14日（土）"""
        at = self.at(wall_us)
        if self.language == "ja":
            return f"{at.month}月{at.day}日（{JAPANESE_DAYS[at.weekday()]}）"
        return f"{at:%A}, {at.day} {at:%B}"

    def span(self, seconds: float) -> str:
        """3 d 4 h · 3日4時間"""
        days, hours, minutes = int(seconds // 86_400), int(seconds // 3_600) % 24, int(seconds // 60) % 60
        units = ("日", "時間", "分") if self.language == "ja" else (" d ", " h ", " min ")
        parts = [f"{n}{unit}" for n, unit in zip((days, hours, minutes), units, strict=True) if n]
        return "".join(parts[:2]).strip() or ("1分未満" if self.language == "ja" else "under a minute")


def render(request: Request, here: Services, page: str, **more: Any) -> HTMLResponse:
    """A page in the language of who asks."""
    language = requested_language(request.headers)
    person = request.scope.get("person")
    say = speaker(language)
    allowed = [(group, key, path) for group, (key, path, role) in NAV if person is not None and person.role.may(role)]
    context = {
        "say": say,
        "told": Told(language),
        "teller": Teller(say, here.site),
        "language": language,
        "page": page,
        "person": person,
        "nav": allowed,
        "tabs": TABS,
        "open": here.settings.open,
        "store": here.site.store,
        "v": STATIC_VERSION,
        "clock": Clockface(ZoneInfo(here.site.store.timezone), language),
        "now_us": here.runtime.clock.now().wall_us,
        "exceptions_n": len(here.runtime.engine.parts.inventory.exceptions()),
        "here_path": request.url.path,
        "may": person.role.may if person is not None else (lambda role: False),
        "Role": Role,
        "shelf_name": shelf_name,
        **more,
    }
    headers = {"Cache-Control": "no-store"}
    return templates.TemplateResponse(request, f"{page}.html", context, headers=headers)


def problem(request: Request, refused: Problem, title: str) -> HTMLResponse:
    """A refusal as a page, for somebody who typed or kept an address."""
    here = services_of(request)
    page = render(request, here, "problem", what=title, detail=refused.detail, hint=refused.hint)
    page.status_code = refused.status
    return page


def teller_of(request: Request, here: Services) -> Teller:
    """Who tells facts in the language of who asks."""
    return Teller(speaker(requested_language(request.headers)), here.site)


class Told:
    """A sentence of the gateway for people: in Japanese where there is one, else in English and marked as such."""

    def __init__(self, language: str) -> None:
        self._language = language

    def __call__(self, text: object) -> Markup:
        """The sentence as HTML."""
        if self._language != "ja" or not text:
            return escape(text)
        japanese = in_japanese(str(text))
        return escape(japanese) if japanese else Markup('<span lang="en">{}</span>').format(text)


def shelf_name(shelf: str) -> str:
    """As people call it."""
    return shelf.removeprefix("shelf-")
