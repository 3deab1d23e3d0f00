"""What the store says of itself: birth, connection, retained state. Payloads of the contract, made in one place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cloud_bridge.contract import CONTRACT_VERSION
from edge.core.fact import JsonValue
from edge.core.instant import US_PER_S
from edge.core.ports import Clock


def rfc3339(wall_us: int) -> str:
    """A wall time in UTC with microseconds."""
    second, rest_us = divmod(wall_us, US_PER_S)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{rest_us:06d}Z"


def parse_rfc3339_us(text: str) -> int:
    """Wall time in µs. Raises ValueError for anything that is no RFC 3339 time with an offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * US_PER_S + moment.microsecond


def dump(payload: Mapping[str, Any]) -> bytes:
    """Compact JSON."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


class Announcements:
    """Makes the store's own messages. `instance` is a random identity of this start of the process."""

    def __init__(self, clock: Clock, software: str, devices: Callable[[], Sequence[str]], instance: str) -> None:
        self._clock, self._software, self._devices, self._instance = clock, software, devices, instance

    def connection(self, *, online: bool) -> bytes:
        """``connection``, and the will."""
        return dump({"online": online, "boot": self._clock.boot, "time": rfc3339(self._clock.now().wall_us)})

    def birth(self, epoch: str, first_seq: int, last_seq: int, acked_seq: int) -> bytes:
        """``birth``: what can be replayed, who speaks."""
        return dump(
            {
                "boot": self._clock.boot,
                "instance": self._instance,
                "epoch": epoch,
                "first_seq": first_seq,
                "last_seq": last_seq,
                "acked_seq": acked_seq,
                "time": rfc3339(self._clock.now().wall_us),
                "software": self._software,
                "contract": CONTRACT_VERSION,
                "devices": list(self._devices()),
            }
        )

    def state(self, document: tuple[int, JsonValue] | None) -> bytes:
        """``state/…``; a document that is no more is an empty payload, which deletes the retained one."""
        return dump(_with_seq(document)) if document is not None else b""

    def gateway(self, document: tuple[int, JsonValue] | None, last_seq: int, backlog: tuple[int, int] | None) -> bytes:
        """``state/gateway``: its document, and the range that drains behind live facts."""
        span = {"from_seq": backlog[0], "to_seq": backlog[1]} if backlog else None
        return dump({**_with_seq(document or (last_seq, {})), "last_seq": last_seq, "backlog": span})


def _with_seq(document: tuple[int, JsonValue]) -> dict[str, Any]:
    as_of_seq, body = document
    return {"as_of_seq": as_of_seq, **(body if isinstance(body, dict) else {"value": body})}
