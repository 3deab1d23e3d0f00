"""Rows of the inventory's said state and of its internals, and the way back."""

from __future__ import annotations

from collections.abc import Mapping

from edge.core.fact import JsonValue
from edge.core.inventory.fading import Key
from edge.core.inventory.fusion import Fusion
from edge.core.inventory.ledger import make_step
from edge.core.inventory.pair import Estimate, Pair, Tag
from edge.core.inventory.pmf import normalized
from edge.core.inventory.trust import Trust


def pair_row(pair: Pair) -> JsonValue:
    """What was published of a pair."""
    told = pair.published or Estimate(0, 0, 0, 0.0)
    return {
        "n": told.on_hand,
        "low": told.low,
        "high": told.high,
        "confidence": round(told.confidence, 4),
        "untagged": pair.untagged,
        "sources": list(pair.sources),
        "reason": pair.reason,
        "at": pair.published_us,
        "as_of": pair.as_of_us,
        "verified": pair.verified_us,
        "told": pair.told,
    }


def restore_tags(fusion: Fusion, said: Mapping[str, JsonValue], now_us: int) -> None:
    """Tags stand where facts said that they stand; for a minute they may be found elsewhere without having moved."""
    for key, value in said.items():
        if key.startswith("t/") and isinstance(value, list) and len(value) == 2:
            gtin, shelf = str(value[0]), str(value[1])
            fusion.tags[key[2:]] = Tag(gtin, shelf, now_us, is_new=True)
            fusion.pair(shelf, gtin).sure += 1


def restore_pairs(fusion: Fusion, said: Mapping[str, JsonValue], now_us: int) -> dict[Key, int]:
    """Published counts come back exactly; returns the pairs whose disagreement with the tags had been told.

    Where the count differs from the tags, either the difference was told as untagged goods and stays, or it was a step
    of a scale that the tags had yet to confirm: then it is an open step again. Without a scale it was mere doubt about
    tags, and those speak for themselves.
    """
    disputed: dict[Key, int] = {}
    unsettled: list[Key] = []  # counted again with the first evidence
    for key, value in said.items():
        if not (key.startswith("p/") and isinstance(value, dict)):
            continue
        shelf, _, gtin = key[2:].partition("/")
        pair = fusion.pair(shelf, gtin)
        told = Estimate(_int(value, "n"), _int(value, "low"), _int(value, "high"), _float(value, "confidence"))
        pair.published, pair.published_us = told, _int(value, "at")
        pair.untagged, pair.as_of_us = _int(value, "untagged"), _int(value, "as_of")
        verified, sources = value.get("verified"), value.get("sources")
        pair.verified_us = verified if isinstance(verified, int) else None
        pair.sources = [str(source) for source in sources] if isinstance(sources, list) else []
        pair.reason, pair.told = str(value.get("reason", "")), value.get("told") is True
        difference = told.on_hand - pair.tags
        pair.is_hearsay = not difference and not pair.told and fusion.is_tagged(gtin)
        if difference:
            unsettled.append((shelf, gtin))
        if pair.told or not fusion.is_tagged(gtin):
            pair.offset = told.spread(difference, 1)
        elif difference and "weight" in pair.sources:
            step = make_step(now_us, ((gtin, difference, 0.98),), source="restart")
            fusion.ledger(shelf).enter(step)
        if pair.told:
            disputed[shelf, gtin] = now_us
    fusion.dirty.clear()
    fusion.dirty.update(unsettled)
    fusion.wake(now_us)
    return disputed


def internals(fusion: Fusion) -> JsonValue:
    """Offsets that are more than one number: [shelf, gtin, {value: probability}]; and how far sources are trusted."""
    rows: list[JsonValue] = []
    for pair in fusion.pairs.values():
        if pair.offset is not None and len(pair.offset) > 1:
            weights: dict[str, JsonValue] = {str(n): round(w, 6) for n, w in pair.offset.items()}
            rows.append([pair.shelf, pair.gtin, weights])
    trust: dict[str, JsonValue] = {name: trust.as_json() for name, trust in _trusts(fusion).items()}
    return {"offsets": rows, "trust": trust}


def _trusts(fusion: Fusion) -> dict[str, Trust]:
    return {"tags": fusion.trust, "put": fusion.step_trust[True], "taken": fusion.step_trust[False]}


def restore_internals(fusion: Fusion, internals: JsonValue) -> None:
    """Take back `internals`: trust, where it was saved; offsets where the distribution fits the published count."""
    if not isinstance(internals, dict):
        return
    learned = internals.get("trust")
    for name, trust in _trusts(fusion).items():
        trust.restore(learned.get(name) if isinstance(learned, dict) else None)
    rows = internals.get("offsets")
    for row in rows if isinstance(rows, list) else ():
        if not (isinstance(row, list) and len(row) == 3 and isinstance(row[2], dict)):
            continue
        pair = fusion.pairs.get((str(row[0]), str(row[1])))
        try:
            weights = {int(n): float(w) for n, w in row[2].items() if isinstance(w, int | float)}
        except ValueError:
            continue
        if pair is None or pair.published is None or not weights:
            continue
        best = max(weights, key=lambda n: weights[n])
        if pair.offset is not None and best + pair.tags == pair.published.on_hand:
            pair.offset = normalized(weights)


def _int(row: Mapping[str, JsonValue], key: str) -> int:
    value = row.get(key)
    return value if isinstance(value, int) else 0


def _float(row: Mapping[str, JsonValue], key: str) -> float:
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else 0.0
