"""Facts: what the gateway knows, once and for all. Base class, registry, and the compact form that is stored.

A fact has a stable integer ``CODE`` and fields that may only be added at the end, with a default: the stored body is
the JSON array of the field values, so a body written by an older release simply has fewer of them. Rendering shows
the stored fields only, which makes a replay byte-identical across upgrades.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, TypeVar, dataclass_transform

from edge.core.instant import TimeQuality

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


class FactClass(StrEnum):
    """Topic classes of the contract: ``events/{class}``."""

    INVENTORY = "inventory"
    HOLD = "hold"
    REORDER = "reorder"
    FOOTFALL = "footfall"
    PROXIMITY = "proximity"
    PROMOTION = "promotion"
    DEVICE = "device"
    SECURITY = "security"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Base of all facts. ``at_us`` is the engine time (`Instant.mono_us`) at which it became true."""

    CODE: ClassVar[int] = 0
    CLASS: ClassVar[FactClass]
    URGENT: ClassVar[bool] = True  # committed within 20 ms; otherwise with the telemetry lane (5 s or 500 rows)
    DROPPABLE: ClassVar[bool] = False  # under quota, oldest first; never stock movements, alarms, audit
    SUBJECT: ClassVar[str] = ""  # name of the field that the envelope's `subject` shows

    at_us: int

    @property
    def subject(self) -> str:
        """GTIN, EPC, shelf, zone or device that the fact is about ("" for the store as a whole)."""
        return str(getattr(self, self.SUBJECT)) if self.SUBJECT else ""


FactT = TypeVar("FactT", bound=Fact)
_BY_CODE: dict[int, type[Fact]] = {}
_BODY_FIELDS: dict[type[Fact], tuple[str, ...]] = {}


@dataclass_transform(kw_only_default=True, frozen_default=True)
def fact(
    code: int,
    fact_class: FactClass,
    subject: str = "",
    *,
    urgent: bool = True,
    droppable: bool = False,
) -> Callable[[type[FactT]], type[FactT]]:
    """Class decorator: make a frozen fact with a stable code and enter it into the registry.

    Raises ValueError at import time when a code is used twice or the subject is not a field.
    """

    def register(cls: type[FactT]) -> type[FactT]:
        made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
        names = tuple(field.name for field in dataclasses.fields(made) if field.name != "at_us")
        if code in _BY_CODE or (subject and subject not in names):
            raise ValueError(f"fact {cls.__name__}: code {code} is taken or subject {subject!r} is no field")
        made.CODE, made.CLASS, made.SUBJECT = code, fact_class, subject
        made.URGENT, made.DROPPABLE = urgent, droppable
        _BY_CODE[code] = made
        _BODY_FIELDS[made] = names
        return made

    return register


def fact_types() -> Mapping[int, type[Fact]]:
    """All registered fact types by code."""
    return _BY_CODE


def body_fields(fact_type: type[Fact]) -> tuple[str, ...]:
    """Names of the stored fields, in stored order (``at_us`` is a column of its own)."""
    return _BODY_FIELDS[fact_type]


def kind_of(fact_type: type[Fact]) -> str:
    """``inventory.OnHandChanged``: class and name, as people and the contract know it."""
    return f"{fact_type.CLASS.value}.{fact_type.__name__}"


def pack(value: Fact) -> bytes:
    """The compact stored body: a JSON array of the field values."""
    fields = [getattr(value, name) for name in _BODY_FIELDS[type(value)]]
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def unpack(code: int, body: bytes) -> dict[str, Any]:
    """The stored fields by name, only those that were stored; of a later release's fact: its code and its values."""
    if code not in _BY_CODE:
        return {"code": code, "values": body.decode()}
    return dict(zip(_BODY_FIELDS[_BY_CODE[code]], json.loads(body), strict=False))


LATER = 905  # `edge.core.facts.OfLaterRelease` stands for every code that only a later release knows


def type_of(code: int) -> type[Fact]:
    """The fact type of a code."""
    return _BY_CODE.get(code) or _BY_CODE[LATER]


class StoredFact(NamedTuple):
    """A committed fact as the journal gives it back: gap-free ``seq`` within the journal's epoch.

    A named tuple, because draining a backlog makes millions of them (a frozen dataclass costs 3 µs each).

    ``mono_us`` is when it became true on the engine's clock, ``event_us`` and ``record_us`` the wall times (µs, UTC)
    of becoming true and of being recorded, as known at commit.
    """

    seq: int
    boot: int
    mono_us: int
    event_us: int
    record_us: int
    quality: TimeQuality
    code: int
    body: bytes

    @property
    def type(self) -> type[Fact]:
        """The fact's type."""
        return type_of(self.code)

    @property
    def fields(self) -> dict[str, Any]:
        """The stored fields by name."""
        return unpack(self.code, self.body)
