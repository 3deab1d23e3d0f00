"""The console's words in English and Japanese."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

LANGUAGES = ("en", "ja")
COOKIE = "smartstore-language"


@cache
def _words() -> dict[str, list[str]]:
    loaded: dict[str, list[str]] = json.loads((Path(__file__).parent / "words.json").read_text(encoding="utf-8"))
    return loaded


def keys() -> list[str]:
    """Every word's key."""
    return list(_words())


def speaker(language: str) -> Callable[..., str]:
    """`say(key, **values)` in this language; a key that has no words is shown as it is."""
    index = LANGUAGES.index(language)

    def say(key: str, **values: object) -> str:
        found = _words().get(key)
        text = found[index] if found else key.replace("_", " ")
        return text.format(**values) if values else text

    return say


def language_of(cookie: str, accepted: str) -> str:
    """The chosen language, else the first of the browser's that we speak, else English."""
    if cookie in LANGUAGES:
        return cookie
    for part in accepted.split(","):
        tag = part.split(";")[0].strip()[:2].lower()
        if tag in LANGUAGES:
            return tag
    return "en"


def requested_language(headers: Mapping[str, str]) -> str:
    """The language that a request is to be answered in, by its cookie, else its Accept-Language."""
    try:
        chosen = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        chosen = None
    return language_of(chosen.value if chosen else "", headers.get("accept-language", ""))
