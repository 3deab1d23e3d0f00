"""Reads received payloads into rows: pure, and garbage is counted, never raised."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from cloud_bridge.contract.envelope import MAX_BATCH_EVENTS, fields_of

MAX_PAYLOAD_BYTES = 1 << 20
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class EventRow:
    """One received event. `fact` is ``class.Name``; `data` the fact's stored fields as JSON text."""

    seq: int
    boot: int
    epoch: str
    fact: str
    subject: str
    time: str
    quality: str
    mono_us: int
    fields: dict[str, Any]

    @property
    def data(self) -> str:
        """The fields as compact JSON."""
        return _encode(self.fields)


def read_events(payload: bytes) -> tuple[list[EventRow], list[str]]:
    """(rows, faults) of an events payload: one CloudEvent or an array of them."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        return [], [f"{len(payload)} bytes: expected at most {MAX_PAYLOAD_BYTES}"]
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return [], ["no JSON"]
    events = value if isinstance(value, list) else [value]
    if len(events) > MAX_BATCH_EVENTS:
        return [], [f"{len(events)} events in one array: expected at most {MAX_BATCH_EVENTS}"]
    rows: list[EventRow] = []
    faults: list[str] = []
    for event in events:
        row = _row(event)
        if isinstance(row, str):
            faults.append(row)
        else:
            rows.append(row)
    return rows, faults


def _row(event: Any) -> EventRow | str:
    if not isinstance(event, dict) or event.get("specversion") != "1.0":
        return "no CloudEvents 1.0 event"
    named = fields_of(event)
    if named is None:
        return f"type {str(event.get('type'))[:80]!r} or its data is none of this contract"
    try:
        seq, boot, mono_us = int(event["seq"]), int(event["boot"]), int(event.get("monous", "0"))
        epoch, time = str(event["epoch"]), str(event["time"])
    except (KeyError, TypeError, ValueError):
        return "seq, boot, epoch or time is missing or malformed"
    if seq < 1 or boot < 0 or not epoch or event.get("id") != f"{epoch}-{seq}":
        return f"id {str(event.get('id'))[:80]!r}: expected epoch-seq"
    return EventRow(
        seq=seq,
        boot=boot,
        epoch=epoch,
        fact=named[0],
        subject=str(event.get("subject", "")),
        time=time,
        quality=str(event.get("timequality", "")),
        mono_us=mono_us,
        fields=named[1],
    )


def gap_ranges(row: EventRow) -> list[tuple[int, int]]:
    """What a ``system.Gap`` fact declares as never to come; malformed entries are left out."""
    missing = row.fields.get("missing")
    if row.fact != "system.Gap" or not isinstance(missing, list):
        return []
    return [
        (pair[0], pair[1])
        for pair in missing
        if isinstance(pair, list) and len(pair) == 2 and all(type(n) is int for n in pair) and 1 <= pair[0] <= pair[1]
    ]
