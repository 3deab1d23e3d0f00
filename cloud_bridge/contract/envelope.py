"""A stored fact as a CloudEvents 1.0 structured JSON event; the same stored row always gives the same bytes.

The common case never parses the stored body: a body is a JSON array that `edge.core.fact.pack` wrote, so a pattern of
the fact's fields takes its members as text and a template puts the names between. Whatever the pattern does not know
(an older body with fewer fields, a quote inside a text) is parsed and written again, with the same result.
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from cloud_bridge.contract.epcis import EPCIS_SCHEMA, EPCIS_TYPE, MOVEMENTS, Places, object_event
from edge.core.fact import Fact, FactClass, StoredFact, body_fields, kind_of, type_of
from edge.core.instant import US_PER_S, TimeQuality

MAX_BATCH_EVENTS = 200  # contract: a JSON array of at most so many events …
MAX_BATCH_BYTES = 64_000  # … or so many bytes
_SHAPES_KEPT = 4_096
_SECONDS_KEPT = 256  # what is sent in one go lies close together in time
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode

_TEXT = r'("[^"\\]*")'
_PLAIN = r'([^,"\[\]{}]+)'
_LIST = r'(\[[^\[\]{}"\\]*(?:"[^"\\]*"[^\[\]{}"\\]*)*\]|null)'
_PATTERNS = {"str": _TEXT, "int": _PLAIN, "float": _PLAIN, "bool": _PLAIN, "list": _LIST}


class Renderer(Protocol):
    """What turns a store's facts into what is sent."""

    def event(self, stored: StoredFact) -> str:
        """One CloudEvents object as JSON text."""
        ...


@dataclass(frozen=True, slots=True)
class _Shape:
    """How one fact type is written, in one boot and at one quality of time."""

    head: str
    subject: int  # index of the subject's field, -1 for none
    template: str
    match: Callable[[str], re.Match[str] | None]
    movement: bool


def schema_uri(fact_type: type[Fact]) -> str:
    """``dataschema`` of a fact's event."""
    return EPCIS_SCHEMA if fact_type in MOVEMENTS else f"urn:smartstore:v1:schema:{kind_of(fact_type)}"


def event_type(fact_type: type[Fact]) -> str:
    """``type`` of a fact's event."""
    return EPCIS_TYPE if fact_type in MOVEMENTS else f"io.smartstore.{kind_of(fact_type)}.v1"


def traceparent(epoch: str, seq: int) -> str:
    """W3C trace context of a fact: its trace is found from (epoch, seq) alone, in every system it passes."""
    return f"00-{hashlib.sha256(epoch.encode()).hexdigest()[:16]}{seq:016x}-{seq:016x}-01"


def _never(_body: str) -> None:
    """The pattern of a fact whose fields are not known: it is always parsed."""


class EnvelopeRenderer:
    """Renders the facts of one store and one epoch of its journal."""

    def __init__(self, places: Places, timezone: str, epoch: str) -> None:
        self._places, self._zone, self._epoch = places, ZoneInfo(timezone), epoch
        self._trace = traceparent(epoch, 0)[:19]
        self._seconds: dict[int, str] = {}
        self._shapes: dict[tuple[int, int, TimeQuality], _Shape] = {}
        self._event_us = self._record_us = 0
        self._event_time = self._record_time = self._time(0)

    def event(self, stored: StoredFact) -> str:
        """One CloudEvents object as JSON text; a fact that only a later release knows as `OfLaterRelease`."""
        seq, boot, mono_us, event_us, record_us, quality, code, body = stored
        shape = self._shapes.get((code, boot, quality)) or self._shape(stored)
        trace = f"{seq:016x}"
        if event_us != self._event_us:
            self._event_us, self._event_time = event_us, self._time(event_us)
        if record_us != self._record_us:
            self._record_us, self._record_time = record_us, self._time(record_us)
        members = None if shape.movement else shape.match(body.decode())
        if members is None:
            subject, data = self._parsed(stored, self._event_time, self._record_time)
        else:
            groups = members.groups()
            data = shape.template % groups
            subject = groups[shape.subject] if shape.subject >= 0 else '""'
        named = f',"subject":{subject}' if subject != '""' else ""
        return (
            f'{shape.head}{seq}","time":"{self._event_time}"{named},"seq":"{seq}","monous":"{mono_us}",'
            f'"recordedtime":"{self._record_time}","traceparent":"{self._trace}{trace}-{trace}-01","data":{data}}}'
        )

    def _parsed(self, stored: StoredFact, event_time: str, record_time: str) -> tuple[str, str]:
        fields, fact_type = stored.fields, stored.type
        subject = _encode(str(fields.get(fact_type.SUBJECT, ""))) if fact_type.SUBJECT else '""'
        if fact_type not in MOVEMENTS:
            return subject, _encode(fields)
        times = (event_time, record_time, self._offset(stored.event_us))
        event_id = f"urn:smartstore:v1:event:{self._epoch}-{stored.seq}"
        return subject, _encode(object_event(fact_type, fields, self._places, times, event_id))

    def _shape(self, stored: StoredFact) -> _Shape:
        fact_type = stored.type
        names = body_fields(fact_type)
        hints = {field.name: str(field.type) for field in dataclasses.fields(fact_type)}
        parts = [_PATTERNS[re.split(r"[\[ |]", hints[name])[0]] for name in names]
        fixed = {
            "specversion": "1.0",
            "source": self._places.store_sgln,
            "type": event_type(fact_type),
            "datacontenttype": "application/json",
            "dataschema": schema_uri(fact_type),
            "epoch": self._epoch,
            "boot": str(stored.boot),
            "timequality": stored.quality.value,
        }
        shape = _Shape(
            head=f'{_encode(fixed)[:-1]},"id":"{self._epoch}-',
            subject=names.index(fact_type.SUBJECT) if fact_type.SUBJECT else -1,
            template="{" + ",".join(f'"{name}":%s' for name in names) + "}",
            match=re.compile(r"\[" + ",".join(parts) + r"\]").fullmatch if stored.code == fact_type.CODE else _never,
            movement=fact_type in MOVEMENTS,
        )
        if len(self._shapes) >= _SHAPES_KEPT:
            self._shapes.clear()
        self._shapes[(stored.code, stored.boot, stored.quality)] = shape
        return shape

    def _time(self, wall_us: int) -> str:
        """RFC 3339 in UTC with microseconds."""
        second, rest_us = divmod(wall_us, US_PER_S)
        text = self._seconds.get(second)
        if text is None:
            if len(self._seconds) >= _SECONDS_KEPT:
                self._seconds.clear()
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
            self._seconds[second] = text
        return f"{text}{rest_us:06d}Z"

    def _offset(self, wall_us: int) -> str:
        """The store's offset from UTC at that moment (EPCIS 2.0, 7.4.1: ``eventTimeZoneOffset``)."""
        moment = datetime.fromtimestamp(wall_us // US_PER_S, UTC).astimezone(self._zone)
        text = moment.strftime("%z")
        return f"{text[:3]}:{text[3:5]}"


class PlannedRenderer:
    """Renders each fact with the places of the planogram in effect when it got its seq, so that a replay is identical.

    A planogram that changes while the gateway runs changes SGLNs and time zone of what is committed from then on only.
    """

    def __init__(self, first: EnvelopeRenderer) -> None:
        self._from_seqs, self._renderers = [0], [first]

    def plan(self, from_seq: int, renderer: EnvelopeRenderer) -> None:
        """Facts from this seq on are another planogram's; seqs only ever rise."""
        self._from_seqs.append(from_seq)
        self._renderers.append(renderer)

    def event(self, stored: StoredFact) -> str:
        """One CloudEvents object as JSON text."""
        return self._renderers[bisect.bisect_right(self._from_seqs, stored.seq) - 1].event(stored)


@dataclass(slots=True)
class Batch:
    """Events of one class on their way into one payload: ≤ 200 events and ≤ 64 kB."""

    fact_class: FactClass
    parts: list[bytes]
    n_bytes: int

    @property
    def payload(self) -> bytes:
        """A plain event for one, a JSON array for several."""
        return self.parts[0] if len(self.parts) == 1 else b"[" + b",".join(self.parts) + b"]"


def batches(rows: Sequence[StoredFact], render: Callable[[StoredFact], str]) -> list[Batch]:
    """The rows as batches of one class each, in order of their first row. An oversized event travels alone."""
    made: list[Batch] = []
    open_batches: dict[FactClass, Batch] = {}
    for row in rows:
        part = render(row).encode()
        size = len(part) + 1
        fact_class = type_of(row.code).CLASS
        batch = open_batches.get(fact_class)
        if batch is None or len(batch.parts) >= MAX_BATCH_EVENTS or batch.n_bytes + size > MAX_BATCH_BYTES:
            batch = open_batches[fact_class] = Batch(fact_class, [], 1)
            made.append(batch)
        batch.parts.append(part)
        batch.n_bytes += size
    return made


def fields_of(event: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """(``class.Fact``, stored fields) of a received event, whichever way its data is written; None if it is neither."""
    data, kind = event.get("data"), event.get("type")
    if not isinstance(data, dict) or not isinstance(kind, str):
        return None
    if kind == EPCIS_TYPE:
        name, fields = data.get("smartstore:fact"), data.get("smartstore:fields")
        return (name, fields) if isinstance(name, str) and isinstance(fields, dict) else None
    if not kind.startswith("io.smartstore.") or not kind.endswith(".v1"):
        return None
    return kind.removeprefix("io.smartstore.").removesuffix(".v1"), data
