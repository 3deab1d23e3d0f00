"""The console's words in English and Japanese."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
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
