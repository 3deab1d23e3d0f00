"""One example of every fact, rendered as it is sent."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from cloud_bridge.contract.envelope import EnvelopeRenderer
from cloud_bridge.contract.epcis import Places
from edge.core.fact import Fact, StoredFact, body_fields, fact_types, pack
from edge.core.instant import TimeQuality

EPOCH = "5b0c51f2a7d84e19"
_AT_US = 1_790_000_000_000_000
_BY_NAME: dict[str, Any] = {
    "gtin": "04012345000016",
    "epc": "urn:epc:id:sgtin:4012345.000001.42",
    "shelf": "shelf-1",
    "from_shelf": "shelf-2",
    "home_shelf": "shelf-2",
    "lane": "lane-1",
    "zone": "tea",
    "exit": "exit",
    "confidence": 0.93,
    "net_g": -120.5,
    "sources": ["rfid", "weight"],
    "why": None,
    "reason": "picked",
    "missing": [[12, 40]],
    "device": "reader-1",
    "beacon": "beacon-1",
    "subject_id": "2f1c4b7a90de6358",
    "places": ["tea", "exit"],
    "purposes": ["offers"],
    "start_us": _AT_US - 900_000_000,
    "end_us": _AT_US,
    "expires_us": _AT_US + 3_600_000_000,
}
_BY_TYPE: dict[str, Any] = {
    "str": "example",
    "int": 1,
    "float": 0.5,
    "bool": True,
    "list[str]": ["example"],
    "float | None": 0.5,
    "int | None": 7,
    "bool | None": None,
    "list[JsonValue] | None": None,
    "list[list[int]]": [[1, 2]],
}


def example_fact(fact_type: type[Fact]) -> Fact:
    """A plausible fact with every field set."""
    types = {field.name: str(field.type) for field in dataclasses.fields(fact_type)}
    values = {
        name: _BY_NAME[name] if name in _BY_NAME and _fits(types[name], _BY_NAME[name]) else _BY_TYPE[types[name]]
        for name in body_fields(fact_type)
    }
    if {"beacon", "subject_id"} <= values.keys():  # a customer who agreed to be followed
        values["beacon"] = values["subject_id"]
    return fact_type(at_us=1_234_567, **values)


def _fits(annotation: str, value: Any) -> bool:
    options = [option.strip() for option in annotation.split("|")]
    kind = "None" if value is None else type(value).__name__
    return any(option.split("[")[0] == kind for option in options)


def stored(fact: Fact, seq: int = 4711) -> StoredFact:
    """The fact as the journal would give it back."""
    quality = TimeQuality.SYNCED
    return StoredFact(seq, 3, fact.at_us, _AT_US, _AT_US + 2_500, quality, fact.CODE, pack(fact))


def example_events() -> dict[str, dict[str, Any]]:
    """kind → event, for every fact of the contract."""
    renderer = EnvelopeRenderer(Places("urn:epc:id:sgln:4012345.00001.0", {}), "Asia/Tokyo", EPOCH)
    return {
        f"{fact_type.CLASS.value}.{fact_type.__name__}": json.loads(renderer.event(stored(example_fact(fact_type))))
        for _, fact_type in sorted(fact_types().items())
    }
