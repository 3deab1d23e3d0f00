"""Japanese for sentences that the gateway makes itself: hints, refusals, evidence, progress.

The rooms speak English, with names and values filled in (``the load on lane-1 moves …``); whoever shows their words to
a person asks here. A table of templates is kept beside this module, as translators have it: ``{x}`` stands for what was
filled in, ``{x!}`` for a sentence within the sentence, ``{x?}`` for one that may stay as it is.
"""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from pathlib import Path

KEPT = 2_048
DEEPEST = 3
SHELVES = frozenset({"shelf", "home"})  # gaps that name one
_GAP = re.compile(r"\{(\w+)([!?]?)\}")


@cache
def _table() -> dict[str, str]:
    loaded: dict[str, str] = json.loads((Path(__file__).parent / "sentences.json").read_text(encoding="utf-8"))
    return loaded


@cache
def _templates() -> list[tuple[re.Pattern[str], dict[str, str], str]]:
    """(what matches, the sign of each gap, the Japanese), those with most words of their own first."""
    rows = []
    for english, japanese in _table().items():
        gaps = dict(_GAP.findall(english))
        if not gaps:
            continue
        parts, at = [], 0
        for gap in _GAP.finditer(english):
            parts += [re.escape(english[at : gap.start()]), f"(?P<{gap[1]}>.+?)"]
            at = gap.end()
        parts.append(re.escape(english[at:]))
        rows.append((len(_GAP.sub("", english)), re.compile("".join(parts), re.DOTALL), gaps, japanese))
    rows.sort(key=lambda row: -row[0])
    return [(pattern, gaps, japanese) for _, pattern, gaps, japanese in rows]


def templates() -> list[str]:
    """The English side of the table."""
    return list(_table())


@lru_cache(maxsize=KEPT)
def in_japanese(text: str, depth: int = 0) -> str:
    """The sentence in Japanese, "" where the table does not have it."""
    if text in _table():
        return _table()[text]
    if depth >= DEEPEST:
        return ""
    for pattern, gaps, japanese in _templates():
        match = pattern.fullmatch(text)
        if match is not None and (filled := _fill(match.groupdict(), gaps, japanese, depth)):
            return filled
    sentences = text.split("; ")
    told = [in_japanese(sentence, depth + 1) for sentence in sentences] if len(sentences) > 1 else [""]
    return " ".join(told) if all(told) else ""


def _fill(found: dict[str, str], gaps: dict[str, str], japanese: str, depth: int) -> str:
    for name, sign in gaps.items():
        if sign:
            inner = in_japanese(found[name], depth + 1)
            if not inner and sign == "!":
                return ""
            found[name] = inner or found[name]
    for name in SHELVES & found.keys():
        found[name] = found[name].removeprefix("shelf-")  # as people call it
    return japanese.format(**found)


def told(text: str, language: str) -> str:
    """The sentence in this language, in English where there is no other."""
    return (in_japanese(text) if language == "ja" else "") or text
