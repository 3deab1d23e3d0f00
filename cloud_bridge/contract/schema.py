"""JSON Schemas (2020-12) of the facts, made from their dataclasses; of the other messages, see `messages`."""

from __future__ import annotations

import dataclasses
from typing import Any

from cloud_bridge.contract.envelope import event_type, schema_uri
from cloud_bridge.contract.epcis import EPCIS_TYPE, MOVEMENTS
from edge.core.fact import Fact, body_fields, fact_types, kind_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

_ANY: Schema = {}
_TYPES: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "list[str]": {"type": "array", "items": {"type": "string"}},
    "list[int]": {"type": "array", "items": {"type": "integer"}},
    "list[list[int]]": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
    "list[JsonValue]": {"type": "array", "items": _ANY},
}
TEXT: Schema = {"type": "string"}
DIGITS: Schema = {"type": "string", "pattern": "^[0-9]+$"}
TIME: Schema = {"type": "string", "format": "date-time"}


def of_annotation(annotation: str) -> Schema:
    """The schema of a fact field's annotation as written. Raises KeyError for one that the contract does not know."""
    options = [option.strip() for option in annotation.split("|")]
    schemas = [_TYPES[option] for option in options if option != "None"]
    (schema,) = schemas
    if "None" not in options:
        return schema
    return {**schema, "type": [schema["type"], "null"]}


def fields_schema(fact_type: type[Fact]) -> Schema:
    """What a fact's fields look like: those of its first release are required, later ones may be missing."""
    by_name = {field.name: field for field in dataclasses.fields(fact_type)}
    names = body_fields(fact_type)
    return {
        "$schema": DIALECT,
        "$id": f"urn:smartstore:v1:schema:{kind_of(fact_type)}",
        "title": kind_of(fact_type),
        "description": " ".join((fact_type.__doc__ or "").split()),
        "type": "object",
        "properties": {name: of_annotation(str(by_name[name].type)) for name in names},
        "required": [name for name in names if by_name[name].default is dataclasses.MISSING],
    }


def data_schema(fact_type: type[Fact]) -> Schema:
    """The event's ``data``: the fields themselves, or an EPCIS ObjectEvent that carries them."""
    fields = fields_schema(fact_type)
    movement = MOVEMENTS.get(fact_type)
    if movement is None:
        return fields
    inner = {name: fields[name] for name in ("type", "properties", "required")}
    identified = {"type": "object", "properties": {"id": {"type": "string", "format": "uri"}}, "required": ["id"]}
    return {
        **{name: fields[name] for name in ("$schema", "$id", "title", "description")},
        "type": "object",
        "properties": {
            "@context": {"type": "array"},
            "type": {"const": "ObjectEvent"},
            "eventID": {"type": "string", "format": "uri"},
            "eventTime": TIME,
            "recordTime": TIME,
            "eventTimeZoneOffset": {"type": "string", "pattern": "^[+-][0-9]{2}:[0-9]{2}$"},
            "action": {"const": "OBSERVE"},
            "bizStep": {"const": movement.step},
            "disposition": {"enum": sorted({movement.disposition, "retail_sold"})},
            "readPoint": identified,
            "bizLocation": identified,
            "epcList": {"type": "array", "items": {"type": "string", "format": "uri"}},
            "quantityList": {"type": "array", "items": {"type": "object", "required": ["epcClass"]}},
            "bizTransactionList": {"type": "array", "items": {"type": "object"}},
            "sensorElementList": {"type": "array", "items": {"type": "object"}},
            "smartstore:fact": {"const": kind_of(fact_type)},
            "smartstore:fields": inner,
        },
        "required": ["type", "eventTime", "eventTimeZoneOffset", "action", "smartstore:fact", "smartstore:fields"],
    }


def envelope_schema() -> Schema:
    """The CloudEvents attributes that every event has."""
    attributes: dict[str, Schema] = {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "pattern": "^[0-9a-zA-Z]+-[0-9]+$"},
        "source": {"type": "string", "pattern": "^urn:epc:id:sgln:"},
        "type": {"enum": sorted({event_type(fact_type) for fact_type in fact_types().values()})},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"enum": sorted({schema_uri(fact_type) for fact_type in fact_types().values()})},
        "subject": {"type": "string", "minLength": 1},
        "time": TIME,
        "seq": DIGITS,
        "epoch": TEXT,
        "boot": DIGITS,
        "timequality": {"enum": ["synced", "holdover", "restored", "unset"]},
        "monous": {"type": "string", "pattern": "^-?[0-9]+$"},
        "recordedtime": TIME,
        "traceparent": {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"},
        "data": {"type": "object"},
    }
    return {
        "$schema": DIALECT,
        "$id": "urn:smartstore:v1:schema:event",
        "title": "event",
        "description": "One fact as a CloudEvents 1.0 event in structured JSON.",
        "type": "object",
        "properties": attributes,
        "required": [name for name in attributes if name != "subject"],
    }


def event_schema(fact_type: type[Fact]) -> Schema:
    """The whole event of one fact type: envelope and data together."""
    envelope = envelope_schema()
    data = {name: value for name, value in data_schema(fact_type).items() if name not in ("$schema", "$id")}
    properties = {**envelope["properties"], "type": {"const": event_type(fact_type)}, "data": data}
    return {
        **envelope,
        "$id": f"urn:smartstore:v1:schema:event:{kind_of(fact_type)}",
        "title": kind_of(fact_type),
        "description": data["description"],
        "properties": properties,
    }


def schema_for(event: dict[str, Any]) -> type[Fact] | None:
    """The fact type that a received event claims to be; None for one that this release does not know."""
    data = event.get("data")
    named = data.get("smartstore:fact") if event.get("type") == EPCIS_TYPE and isinstance(data, dict) else None
    for fact_type in fact_types().values():
        if named == kind_of(fact_type) or (named is None and event.get("type") == event_type(fact_type)):
            return fact_type
    return None
