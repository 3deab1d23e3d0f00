"""Schemas and examples of every message that is no event: state, birth, acknowledgement, commands, twin, rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cloud_bridge.contract.schema import DIALECT, TEXT, TIME, Schema

COUNT: Schema = {"type": "integer", "minimum": 0}
RANGE: Schema = {
    "type": "object",
    "properties": {"from_seq": COUNT, "to_seq": COUNT},
    "required": ["from_seq", "to_seq"],
}
SIGNED: dict[str, Schema] = {
    "key": {"type": "string", "description": "Name of the Ed25519 key that signed."},
    "signature": {
        "type": "string",
        "description": "base64 of 64 bytes over topic, newline, RFC 8785 form of the payload without `signature`.",
    },
}
EPOCH: Schema = {"type": "string", "description": "Identity of the store's journal; new only if the journal was lost."}


@dataclass(frozen=True, slots=True)
class MessageKind:
    """One kind of message: topic suffix (with {parameters}), who sends it, QoS and retained, schema, example."""

    name: str
    suffix: str
    from_store: bool
    retained: bool
    summary: str
    properties: dict[str, Schema]
    required: tuple[str, ...]
    example: dict[str, Any]

    @property
    def schema(self) -> Schema:
        """JSON Schema of the payload."""
        return {
            "$schema": DIALECT,
            "$id": f"urn:smartstore:v1:schema:{self.name}",
            "title": self.name,
            "description": self.summary,
            "type": "object",
            "properties": self.properties,
            "required": list(self.required),
        }


COMMANDS: dict[str, dict[str, Any]] = {
    "place_hold": {
        "hold": "h-1001",
        "gtin": "04012345000016",
        "quantity": 1,
        "pickup": "counter",
        "expires_min": 90.0,
        "order": "o-77",
    },
    "pick_hold": {"hold": "h-1001"},
    "collect_hold": {"hold": "h-1001"},
    "release_hold": {"hold": "h-1001", "reason": "customer"},
    "set_catalogue": {"products": [{"gtin": "04012345000016", "name": "Green tea", "unit_mass_g": 120.0}]},
    "set_planogram": {
        "planogram": {
            "store": {
                "id": "s1",
                "tenant": "t1",
                "name": "Main street",
                "sgln": "urn:epc:id:sgln:4012345.00001.0",
                "timezone": "Europe/Berlin",
                "hours": [["08:00", "20:00"]] * 7,
            },
            "zones": [{"id": "tea", "name": "Tea"}],
            "products": [{"gtin": "04012345000016", "name": "Green tea", "unit_mass_g": 120.0}],
            "shelves": [{"id": "shelf-1", "zone": "tea", "products": ["04012345000016"]}],
        }
    },
    "set_promotions": {"promotions": [{"id": "p-1", "zone": "tea", "gtins": ["04012345000016"], "title": "Tea time"}]},
    "set_reorder_policy": {"gtin": "04012345000016", "policy": "min_max", "minimum": 4, "maximum": 12},
    "goods_expected": {"delivery": "d-9", "lines": [{"gtin": "04012345000016", "quantity": 24}]},
    "goods_sold": {"receipt": "r-5", "lines": [{"line": 1, "gtin": "04012345000016", "quantity": 1}]},
    "goods_returned": {"order": "o-77", "gtin": "04012345000016", "quantity": 1, "sellable": True, "online": True},
    "recount": {"shelf": "shelf-1", "gtin": "04012345000016", "quantity": 7},
    "set_rules": {"rules": [{"id": "m-1", "zone": "tea", "gtin": "04012345000016", "url": "https://shop.example/tea"}]},
    "erase_subject": {"subject_id": "2f1c"},
    "rotate_key": {"key": "platform-2", "public_key": "YSBwbGF0Zm9ybSBrZXkgb2YgMzIgYnl0ZXMgaGVyZS4="},
    "identify_device": {"device": "shelf-mcu-1", "duration_s": 30},
    "set_sample_rate": {"device": "shelf-mcu-1", "sample_rate_hz": 20},
    "update_model": {"target": "footfall-3"},
    "update_software": {"target": "gateway-1.4.0"},
}
"""Every command of version 1 with example arguments."""


def _signed(**payload: Any) -> dict[str, Any]:
    return {**payload, "key": "platform-1", "signature": "A" * 86 + "=="}


_CONNECTION = MessageKind(
    "connection",
    "connection",
    from_store=True,
    retained=True,
    summary="Whether the store is connected; the will says online = false with the same boot.",
    properties={"online": {"type": "boolean"}, "boot": COUNT, "time": TIME},
    required=("online", "boot", "time"),
    example={"online": True, "boot": 3, "time": "2026-11-22T05:00:00.000000Z"},
)
_BIRTH = MessageKind(
    "birth",
    "birth",
    from_store=True,
    retained=True,
    summary="What the store can say and replay, on each connect.",
    properties={
        "boot": COUNT,
        "instance": {
            "type": "string",
            "description": "Random identity of this start of the process: a boot has one. Two in one boot are refused.",
        },
        "epoch": EPOCH,
        "first_seq": {**COUNT, "description": "Oldest seq that can be replayed."},
        "last_seq": COUNT,
        "acked_seq": {**COUNT, "description": "What the store knows that the platform has."},
        "time": TIME,
        "software": TEXT,
        "contract": TEXT,
        "devices": {"type": "array", "items": TEXT},
    },
    required=("boot", "epoch", "first_seq", "last_seq", "software", "contract", "devices"),
    example={
        "boot": 3,
        "instance": "9f27ab00c1d2e3f4",
        "epoch": "5b0c51f2a7d84e19",
        "first_seq": 1,
        "last_seq": 4711,
        "acked_seq": 4700,
        "time": "2026-11-22T05:00:00.000000Z",
        "software": "0.1.0",
        "contract": "1.0",
        "devices": ["reader-1", "shelf-mcu-1"],
    },
)
_ON_SHELF = {
    "shelf": "shelf-1",
    "on_hand": 7,
    "low": 7,
    "high": 8,
    "confidence": 0.97,
    "sources": ["rfid", "weight"],
    "as_of_us": 96_586_340,
    "last_verified_us": None,
    "known": True,
    "reason": "weight of lane lane-1 changed by -120.3 g ± 0.3 g: -1",
}
_STOCK = {
    "gtin": TEXT,
    "name": TEXT,
    "on_hand": COUNT,
    "available_to_promise": {**COUNT, "description": "max(0, P10(on hand) - held and not yet picked - buffer)."},
    "held": {**COUNT, "description": "Held and not yet picked."},
    "out_of_stock": {"type": "boolean"},
    "shelves": {"type": "array", "items": {"type": "object"}, "description": "Each with interval, sources and why."},
}
_STATE = tuple(
    MessageKind(
        name,
        suffix,
        from_store=True,
        retained=True,
        summary=summary,
        properties={"as_of_seq": {**COUNT, "description": "The seq that this state is true as of."}, **more},
        required=("as_of_seq",),
        example={"as_of_seq": 4711, **example},
    )
    for name, suffix, summary, more, example in (
        (
            "state-stock",
            "state/stock/{gtin}",
            "Stock of one product with available-to-promise; an empty payload deletes.",
            _STOCK,
            {"gtin": "04012345000016", "name": "Green tea", "on_hand": 7, "available_to_promise": 6, "held": 1}
            | {"out_of_stock": False, "shelves": [_ON_SHELF]},
        ),
        ("state-device", "state/device/{id}", "How a device is; an empty payload deletes.", {}, {"state": "online"}),
        (
            "state-offers",
            "state/offers/{zone}",
            "What is offered to everybody in a zone, true in stock and time; codes are given out by the store alone.",
            {"promotions": {"type": "array", "items": {"type": "object"}}},
            {
                "zone": "z-1",
                "zone_name": "Tea",
                "store_name": "Aoyama",
                "promotions": [
                    {
                        "promotion": "p-1",
                        "gtin": "04569951000003",
                        "name": "Green tea",
                        "titles": {"en": "Fresh today"},
                        "price_minor": 980,
                        "currency": "JPY",
                        "url": "https://shop.example/tea",
                        "value_minor": 150,
                        "on_hand": 3,
                    }
                ],
            },
        ),
        (
            "state-gateway",
            "state/gateway",
            "The gateway; `backlog` announces the range that drains behind live facts: no gap until it is done.",
            {"backlog": {"anyOf": [RANGE, {"type": "null"}]}, "last_seq": COUNT},
            {"last_seq": 4711, "backlog": {"from_seq": 12, "to_seq": 4000}},
        ),
    )
)
_FROM_PLATFORM = (
    MessageKind(
        "ack",
        "ack",
        from_store=False,
        retained=False,
        summary="The platform has everything up to acked_seq durably, Gap facts counted in.",
        properties={"epoch": EPOCH, "acked_seq": COUNT, **SIGNED},
        required=("epoch", "acked_seq", "key", "signature"),
        example=_signed(epoch="5b0c51f2a7d84e19", acked_seq=4700),
    ),
    MessageKind(
        "replay",
        "replay",
        from_store=False,
        retained=False,
        summary="Send these again; deduplicated and rate-limited on both sides.",
        properties={"epoch": EPOCH, **RANGE["properties"], **SIGNED},
        required=("epoch", "from_seq", "to_seq", "key", "signature"),
        example=_signed(epoch="5b0c51f2a7d84e19", from_seq=12, to_seq=40),
    ),
    MessageKind(
        "rate",
        "rate",
        from_store=False,
        retained=False,
        summary="Ceiling for backlog in events/s (default 2,000, 0 = unlimited); live facts go first.",
        properties={"events_per_s": {"type": "number", "minimum": 0}, **SIGNED},
        required=("events_per_s", "key", "signature"),
        example=_signed(events_per_s=2000),
    ),
    MessageKind(
        "command",
        "command",
        from_store=False,
        retained=False,
        summary="An instruction: signed, expiring, with rising seq; a repeated id gets the same answer for 7 days.",
        properties={
            "id": {"type": "string", "minLength": 1, "maxLength": 128},
            "name": {"enum": sorted(COMMANDS)},
            "args": {"type": "object"},
            "not_before": TIME,
            "deadline": TIME,
            "expected_version": COUNT,
            "seq": COUNT,
            **SIGNED,
        },
        required=("id", "name", "args", "seq", "key", "signature"),
        example=_signed(
            id="c-1",
            name="recount",
            args=COMMANDS["recount"],
            deadline="2026-11-22T06:00:00Z",
            expected_version=3,
            seq=9,
        ),
    ),
    MessageKind(
        "twin-desired",
        "twin/desired",
        from_store=False,
        retained=True,
        summary=(
            "The configuration that the platform wants, in sections: uplink {hosts, rate_per_s, state_delay_s, "
            "connect_every_s, stay_s}, planogram, reorder_policies, promotions, rules (as their commands take them), "
            "versions {target: version}. A missing section stays as it is."
        ),
        properties={"version": COUNT, "config": {"type": "object"}, **SIGNED},
        required=("version", "config", "key", "signature"),
        example=_signed(version=4, config={"uplink": {"rate_per_s": 2000, "connect_every_s": 900}}),
    ),
)
_RESULT = MessageKind(
    "command-result",
    "command-result",
    from_store=True,
    retained=False,
    summary="What became of a command.",
    properties={
        "id": TEXT,
        "status": {"enum": ["accepted", "rejected", "done", "failed", "expired"]},
        "reason": {"type": "string", "description": "Machine-readable."},
        "detail": {"type": "string", "description": "For people."},
    },
    required=("id", "status", "detail"),
    example={"id": "c-1", "status": "rejected", "reason": "version", "detail": "version is 4, expected 3"},
)
_REPORTED = MessageKind(
    "twin-reported",
    "twin/reported",
    from_store=True,
    retained=True,
    summary="The configuration that runs; a desired one that fails its health check is reverted and reported.",
    properties={
        "version": COUNT,
        "status": {"enum": ["applied", "reverted", "refused"]},
        "error": TEXT,
        "desired": COUNT,
    },
    required=("version", "status", "error"),
    example={"version": 3, "status": "reverted", "error": "uplink not connected after 60 s", "desired": 4},
)
MESSAGES: tuple[MessageKind, ...] = (_BIRTH, _CONNECTION, *_STATE, *_FROM_PLATFORM, _RESULT, _REPORTED)
