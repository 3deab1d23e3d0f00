"""Topics of contract version 1: ``smartstore/v1/{tenant}/{store}/…``, ids of the letters a-z, digits and '-'."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge.core.fact import FactClass

VERSION = "v1"
ROOT = f"smartstore/{VERSION}"
_ID = re.compile(r"[a-z0-9-]+\Z")
_TOPIC = re.compile(rf"{ROOT}/([a-z0-9-]+)/([a-z0-9-]+)/(.+)\Z")

#: What a store may write, and what it may read; the broker's access lists are made of these (`deploy/`).
STORE_WRITES = (
    "events/+",
    "state/stock/+",
    "state/device/+",
    "state/offers/+",
    "state/gateway",
    "birth",
    "connection",
    "command-result",
    "twin/reported",
)
STORE_READS = ("ack", "replay", "command", "rate", "twin/desired")


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one store. Raises ValueError for an id that cannot be a topic level."""

    tenant: str
    store: str

    def __post_init__(self) -> None:
        for name, value in (("tenant", self.tenant), ("store", self.store)):
            if not _ID.match(value):
                raise ValueError(f"{name} = {value!r}: expected an id of the letters a-z, digits and '-'")

    def of(self, suffix: str) -> str:
        """The full topic of a suffix such as ``ack`` or ``state/gateway``."""
        return f"{ROOT}/{self.tenant}/{self.store}/{suffix}"

    def events(self, fact_class: FactClass) -> str:
        """The topic of one class of facts."""
        return self.of(f"events/{fact_class.value}")


def split(topic: str) -> tuple[str, str, str] | None:
    """(tenant, store, suffix) of a topic of this contract, None for any other."""
    match = _TOPIC.match(topic)
    return (match[1], match[2], match[3]) if match else None
