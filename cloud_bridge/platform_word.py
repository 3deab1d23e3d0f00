"""What the platform says to the uplink: ``ack``, ``replay`` and ``rate``, checked before anything is believed.

Pure: bytes in, a word or a refusal out. A refusal names the reason that the audit shows.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloud_bridge.contract.signed import Verifier, is_genuine, parse_object
from edge.core.fact import JsonValue

MAX_WORD_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class Acked:
    """The platform has everything up to this seq durably."""

    seq: int


@dataclass(frozen=True, slots=True)
class ReplayAsked:
    """The platform misses these."""

    from_seq: int
    to_seq: int


@dataclass(frozen=True, slots=True)
class RateSet:
    """The ceiling for backlog; 0 = unlimited."""

    events_per_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that is not believed: machine-readable reason, and the detail for people."""

    reason: str
    detail: str


Word = Acked | ReplayAsked | RateSet | Refused


def read_word(topic: str, suffix: str, payload: bytes, *, epoch: str, last_seq: int, keys: Verifier) -> Word:
    """Check and read one message on ``ack``, ``replay`` or ``rate``."""
    body = _genuine(topic, payload, keys)
    if isinstance(body, Refused):
        return body
    if suffix == "rate":
        return _rate(body)
    if body.get("epoch") != epoch:
        return Refused("epoch", f"epoch {str(body.get('epoch'))[:40]!r}: expected {epoch!r}")
    names = ("acked_seq",) if suffix == "ack" else ("from_seq", "to_seq")
    numbers: list[int] = []
    for name in names:
        seq = body.get(name)
        if not isinstance(seq, int) or isinstance(seq, bool) or seq < 0:
            return Refused("arguments", f"{name} = {str(seq)[:40]!r}: expected a seq")
        numbers.append(seq)
    if max(numbers) > last_seq:
        return Refused("future", f"{names[-1]} = {max(numbers)}: expected at most {last_seq}, the last one committed")
    return Acked(numbers[0]) if suffix == "ack" else _replay(*numbers)


def _genuine(topic: str, payload: bytes, keys: Verifier) -> dict[str, JsonValue] | Refused:
    if len(payload) > MAX_WORD_BYTES:
        return Refused("oversized", f"{len(payload)} bytes: expected at most {MAX_WORD_BYTES}")
    body = parse_object(payload)
    if body is None:
        return Refused("not_json", f"{len(payload)} bytes: expected a JSON object")
    if not is_genuine(topic, body, keys):
        return Refused("signature", f"key {str(body.get('key'))[:40]!r}: expected a signature of a platform key")
    return body


def _replay(from_seq: int, to_seq: int) -> Word:
    if from_seq > to_seq:
        return Refused("arguments", f"from_seq = {from_seq} is beyond to_seq = {to_seq}")
    return ReplayAsked(max(1, from_seq), to_seq)


def _rate(body: dict[str, JsonValue]) -> Word:
    rate = body.get("events_per_s")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1e9:
        return Refused("arguments", f"events_per_s = {str(rate)[:40]!r}: expected a number from 0 (unlimited) on")
    return RateSet(float(rate))
