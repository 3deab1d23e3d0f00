"""Reads and checks one command before anything is done: pure, every refusal has a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cloud_bridge.announcements import parse_rfc3339_us, rfc3339
from cloud_bridge.contract.messages import COMMANDS
from cloud_bridge.contract.signed import Verifier, is_genuine, parse_object
from edge.core.fact import JsonValue
from edge.core.instant import Instant, TimeQuality

MAX_COMMAND_BYTES = 256 * 1024  # a catalogue of some thousand products
MAX_ID = 128
_CARD_WORDS = ("pan", "card_number", "cardnumber", "track1", "track2", "cvv", "cvc", "card")


@dataclass(frozen=True, slots=True)
class Order:
    """A command that is well-formed and genuine; times in µs of wall time, 0 where there is none."""

    id: str
    name: str
    args: dict[str, JsonValue]
    seq: int
    not_before_us: int = 0
    deadline_us: int = 0
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a command is not carried out. `id` is "" where it has none that can be answered."""

    id: str
    reason: str
    detail: str
    name: str = ""
    status: str = "rejected"


def read_order(topic: str, payload: bytes, keys: Verifier) -> Order | Objection:
    """The command in a payload, checked for size, form and signature, in this order."""
    if len(payload) > MAX_COMMAND_BYTES:
        return Objection("", "oversized", f"{len(payload)} bytes: expected at most {MAX_COMMAND_BYTES}")
    body = parse_object(payload)
    if body is None:
        return Objection("", "not_json", f"{len(payload)} bytes: expected a JSON object")
    ident, name = body.get("id"), body.get("name")
    if not isinstance(ident, str) or not 0 < len(ident) <= MAX_ID:
        return Objection("", "arguments", f"id = {str(ident)[:40]!r}: expected 1 to {MAX_ID} characters")
    told = str(name)[:40]
    if not is_genuine(topic, body, keys):
        return Objection(ident, "signature", f"key {str(body.get('key'))[:40]!r} did not sign this", told)
    if name not in COMMANDS:
        return Objection(ident, "unknown", f"name = {told!r}: expected a command of this contract", told)
    try:
        return _order(ident, str(name), body)
    except ValueError as error:
        return Objection(ident, "arguments", str(error), told)


def _order(ident: str, name: str, body: dict[str, Any]) -> Order:
    args, seq, version = body.get("args"), body.get("seq"), body.get("expected_version")
    if not isinstance(args, dict):
        raise ValueError(f"args = {str(args)[:40]!r}: expected an object")
    if type(seq) is not int or seq < 1:
        raise ValueError(f"seq = {str(seq)[:40]!r}: expected a number that rises with each command")
    if version is not None and (type(version) is not int or version < 0):
        raise ValueError(f"expected_version = {str(version)[:40]!r}: expected a version")
    if name == "goods_sold" and (word := _card_word(args)):
        raise ValueError(f"{word}: card data has no place in a sales line")
    times = {key: parse_rfc3339_us(str(body[key])) for key in ("not_before", "deadline") if body.get(key) is not None}
    return Order(ident, name, args, seq, times.get("not_before", 0), times.get("deadline", 0), version)


def _card_word(value: JsonValue) -> str:
    """The name of a member that carries card data, "" where there is none (PCI DSS: it must not be kept)."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name.lower() in _CARD_WORDS:
                return name
            if found := _card_word(item):
                return found
    if isinstance(value, list):
        return next((found for found in map(_card_word, value) if found), "")
    return ""


def objection_to(order: Order, now: Instant, last_seq: int, version: int) -> Objection | None:
    """Why an order cannot be carried out now: replayed order, clock, deadline, version; None when it can."""
    if order.seq <= last_seq:
        return _object(order, "reordered", f"seq {order.seq}: expected more than {last_seq}")
    if now.quality is TimeQuality.UNSET and (order.deadline_us or order.not_before_us):
        return _object(order, "clock", "this gateway's clock is not set, so a time cannot be judged")
    if order.deadline_us and now.wall_us > order.deadline_us:
        detail = f"deadline {rfc3339(order.deadline_us)} has passed, it is {rfc3339(now.wall_us)}"
        return Objection(order.id, "deadline", detail, order.name, "expired")
    if order.not_before_us and now.wall_us < order.not_before_us:
        return _object(order, "early", f"not before {rfc3339(order.not_before_us)}, it is {rfc3339(now.wall_us)}")
    if order.expected_version is not None and order.expected_version != version:
        return _object(order, "version", f"version is {version}, expected {order.expected_version}")
    return None


def _object(order: Order, reason: str, detail: str) -> Objection:
    return Objection(order.id, reason, detail, order.name)
