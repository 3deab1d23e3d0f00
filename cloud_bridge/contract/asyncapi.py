"""The AsyncAPI 3 document: every channel, its direction, QoS and retention, with schemas and examples."""

from __future__ import annotations

import re
from typing import Any

from cloud_bridge.contract.examples import example_events
from cloud_bridge.contract.messages import COMMANDS, MESSAGES, MessageKind
from cloud_bridge.contract.schema import event_schema
from cloud_bridge.contract.topics import ROOT
from edge.core.fact import FactClass, fact_types, kind_of

_PARAMETERS = {
    "tenant": {"description": "Tenant, [a-z0-9-]+."},
    "store": {"description": "Store, [a-z0-9-]+."},
    "gtin": {"description": "GTIN-14."},
    "zone": {"description": "A zone of the planogram"},
    "id": {"description": "Device id, [a-z0-9-]+."},
}


def document(version: str) -> dict[str, Any]:
    """The whole document; `version` is the contract's."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for fact_class in FactClass:
        _add_events(fact_class, channels, operations, messages)
    for kind in MESSAGES:
        _add_message(kind, channels, operations, messages)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Smart-store edge gateway",
            "version": version,
            "description": "Facts of a store to its central platform over MQTT 5 or 3.1.1. Within a major version only "
            "additive change; unknown fields are ignored. Facts are deduplicated by (store, epoch, seq).",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"broker": {"host": "broker.example:8883", "protocol": "mqtts", "protocolVersion": "5"}},
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def _channel(suffix: str, message_names: list[str], summary: str) -> dict[str, Any]:
    address = f"{ROOT}/{{tenant}}/{{store}}/{suffix}"
    return {
        "address": address,
        "summary": summary,
        "parameters": {name: _PARAMETERS[name] for name in re.findall(r"{(\w+)}", address)},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in message_names},
    }


def _operation(channel: str, *, sent: bool, retained: bool) -> dict[str, Any]:
    return {
        "action": "send" if sent else "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "bindings": {"mqtt": {"qos": 1, "retain": retained, "bindingVersion": "0.2.0"}},
    }


def _message(name: str, summary: str, schema: dict[str, Any], examples: list[dict[str, Any]]) -> dict[str, Any]:
    payload = {key: value for key, value in schema.items() if key not in ("$schema", "$id")}
    return {"name": name, "summary": summary, "payload": payload, "examples": examples}


def _add_events(
    fact_class: FactClass, channels: dict[str, Any], operations: dict[str, Any], messages: dict[str, Any]
) -> None:
    examples = example_events()
    names = []
    for _, fact_type in sorted(fact_types().items()):
        if fact_type.CLASS is not fact_class:
            continue
        name = kind_of(fact_type).replace(".", "_")
        schema = event_schema(fact_type)
        example = {"name": fact_type.__name__, "payload": examples[kind_of(fact_type)]}
        messages[name] = _message(name, schema["description"], schema, [example])
        names.append(name)
    channel = f"events_{fact_class.value}"
    summary = "Facts of this class; a JSON array of at most 200 events or 64 kB under backlog."
    channels[channel] = _channel(f"events/{fact_class.value}", names, summary)
    operations[f"send_{channel}"] = _operation(channel, sent=True, retained=False)


def _add_message(
    kind: MessageKind, channels: dict[str, Any], operations: dict[str, Any], messages: dict[str, Any]
) -> None:
    name = kind.name.replace("-", "_")
    examples = [{"name": name, "payload": kind.example}]
    if kind.name == "command":
        examples = [
            {"name": command, "payload": {**kind.example, "name": command, "args": arguments}}
            for command, arguments in COMMANDS.items()
        ]
    messages[name] = _message(name, kind.summary, kind.schema, examples)
    channels[name] = _channel(kind.suffix, [name], kind.summary)
    verb = "send" if kind.from_store else "receive"
    operations[f"{verb}_{name}"] = _operation(name, sent=kind.from_store, retained=kind.retained)
