"""What is published is what is sent: files, schemas, examples, EPCIS, compatibility with what was released."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import jsonschema
import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_bridge.contract.asyncapi import document
from cloud_bridge.contract.compatibility import narrowings
from cloud_bridge.contract.envelope import EnvelopeRenderer, batches, fields_of
from cloud_bridge.contract.epcis import EPCIS_TYPE, MOVEMENTS, Places, epc_uri
from cloud_bridge.contract.examples import EPOCH, example_events, example_fact, stored
from cloud_bridge.contract.generate import files, schemas
from cloud_bridge.contract.messages import MESSAGES
from cloud_bridge.contract.schema import data_schema, event_schema, schema_for
from edge.core import facts
from edge.core.fact import Fact, StoredFact, fact_types, kind_of
from edge.core.instant import TimeQuality
from tests.contract.asyncapi_parser import DOCUMENT, judge, node_modules, run_node
from tests.contract.release import RELEASED

SHARED = Path(os.environ.get("SMARTSTORE_SHARED", Path(__file__).parents[3] / "shared"))
EPCIS_DIR = SHARED / "standards" / "epcis"
TYPES = sorted(fact_types().values(), key=lambda fact_type: fact_type.CODE)
PLACES = Places("urn:epc:id:sgln:4012345.00001.0", {"shelf-2": "A17"})


def renderer() -> EnvelopeRenderer:
    return EnvelopeRenderer(PLACES, "Asia/Tokyo", EPOCH)


def test_committed_files_are_what_the_code_makes() -> None:
    made = files()
    stale = [path.name for path, text in made.items() if not path.exists() or path.read_text("utf-8") != text]
    assert not stale, f"run python -m cloud_bridge.contract.generate: {stale}"
    folders = {path.parent for path in made if path.parent.name in ("schemas", "examples")}
    left_over = [path.name for folder in folders for path in folder.iterdir() if path not in made]
    assert not left_over


@pytest.mark.parametrize("fact_type", TYPES, ids=kind_of)
def test_every_fact_is_sent_as_its_schema_says(fact_type: type[Fact]) -> None:
    event = example_events()[kind_of(fact_type)]
    jsonschema.validate(event, event_schema(fact_type))
    jsonschema.validate(event["data"], data_schema(fact_type))
    assert schema_for(event) is fact_type
    named = fields_of(event)
    assert named is not None
    assert named[0] == kind_of(fact_type)
    assert named[1] == stored(example_fact(fact_type)).fields


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.name)
def test_message_examples_match_their_schemas(kind) -> None:
    jsonschema.validate(kind.example, kind.schema)
    for name in kind.required:
        missing = {key: value for key, value in kind.example.items() if key != name}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(missing, kind.schema)


def test_released_schemas_are_never_narrowed() -> None:
    released, current = json.loads(RELEASED.read_text("utf-8")), schemas()
    assert set(released) <= set(current), "a released message was removed"
    found = {name: narrowings(schema, current[name]) for name, schema in released.items() if name != "event"}
    assert not {name: faults for name, faults in found.items() if faults}


def test_narrowing_is_noticed() -> None:
    old = schemas()["event.inventory.OnHandChanged"]
    for change in (
        lambda s: s["properties"].pop("gtin"),
        lambda s: s["required"].append("untagged"),
        lambda s: s["required"].remove("gtin"),
        lambda s: s["properties"].update(on_hand={"type": "string"}),
        lambda s: s["properties"].update(why={"type": "null"}),
        lambda s: s["properties"]["sources"].update(items={"type": "integer"}),
        lambda s: s["properties"]["reason"].update(enum=["picked"]),
        lambda s: s["properties"]["gtin"].update(pattern="^0"),
        lambda s: s.update(additionalProperties=False),
    ):
        new = copy.deepcopy(old)
        change(new)
        assert narrowings(old, new), change
    wider = copy.deepcopy(old)
    wider["properties"]["new_field"] = {"type": "string"}
    wider["properties"]["on_hand"] = {"type": "number"}
    assert narrowings(old, wider) == []


texts = st.text(max_size=12)


@settings(max_examples=300, deadline=None)
@given(
    gtin=texts,
    shelf=texts,
    reason=texts,
    on_hand=st.integers(-5, 10**9),
    confidence=st.floats(allow_nan=False, allow_infinity=False),
    sources=st.lists(texts, max_size=3),
    why=st.none() | st.lists(texts | st.integers() | st.lists(st.booleans()), max_size=3),
    keep=st.integers(8, 10),
)
def test_quick_and_parsed_rendering_agree(gtin, shelf, reason, on_hand, confidence, sources, why, keep) -> None:
    fact = facts.OnHandChanged(
        at_us=5, gtin=gtin, shelf=shelf, on_hand=on_hand, low=0, high=1, confidence=confidence,
        sources=sources, reason=reason, untagged=2, why=why,
    )  # fmt: skip
    row = stored(fact)
    older = json.dumps(json.loads(row.body)[:keep], ensure_ascii=False, separators=(",", ":")).encode()
    row = StoredFact(row.seq, row.boot, row.mono_us, row.event_us, row.record_us, row.quality, row.code, older)
    quick = renderer()
    text = quick.event(row)
    parsed = quick._parsed(row, "", "")
    assert text.endswith(f'"data":{parsed[1]}}}')
    event = json.loads(text)
    assert event["data"] == row.fields
    assert event.get("subject", "") == gtin
    assert renderer().event(row) == text


def test_the_common_body_takes_the_quick_way() -> None:
    way = renderer()
    for fact_type in (facts.OnHandChanged, facts.StockOut, facts.Crossings, facts.Online, facts.ZoneLeft):
        row = stored(example_fact(fact_type))
        assert way._shape(row).match(row.body.decode()), fact_type


def test_time_before_and_after_a_second_and_the_zone() -> None:
    fact = example_fact(facts.ItemPicked)
    row = StoredFact(1, 1, 5, 999_999, -1, TimeQuality.UNSET, fact.CODE, stored(fact).body)
    event = json.loads(EnvelopeRenderer(PLACES, "Europe/Berlin", "e").event(row))
    assert event["time"] == "1970-01-01T00:00:00.999999Z"
    assert event["recordedtime"] == "1969-12-31T23:59:59.999999Z"
    assert event["data"]["eventTimeZoneOffset"] == "+01:00"


def test_batches_keep_class_order_and_limits() -> None:
    rows = [stored(example_fact(facts.OnHandChanged), seq) for seq in range(1, 451)]
    rows[10:12] = [stored(example_fact(facts.Online), 11), stored(example_fact(facts.Online), 12)]
    made = batches(rows, renderer().event)
    seqs: list[int] = []
    for batch in made:
        value = json.loads(batch.payload)
        events = value if isinstance(value, list) else [value]
        assert len(events) == len(batch.parts) <= 200
        assert len(batch.payload) <= 64_000
        assert {schema_for(event).CLASS for event in events} == {batch.fact_class}
        seqs += [int(event["seq"]) for event in events]
    assert sorted(seqs) == list(range(1, 451))
    assert isinstance(json.loads(batches(rows[:1], renderer().event)[0].payload), dict)


def test_shelf_locations_and_epc_forms() -> None:
    assert PLACES.shelf("shelf-1") == "urn:epc:id:sgln:4012345.00001.shelf-1"
    assert PLACES.shelf("shelf-2") == "urn:epc:id:sgln:4012345.00001.A17"
    assert PLACES.shelf("a-shelf-with-a-very-long-name") == PLACES.store_sgln
    assert epc_uri("3034f87b4c00000000000001") == "urn:epc:raw:96.x3034F87B4C00000000000001"
    assert epc_uri("urn:epc:id:sgtin:4012345.000001.42") == "urn:epc:id:sgtin:4012345.000001.42"


@pytest.mark.skipif(not EPCIS_DIR.is_dir(), reason="the EPCIS schema is not in ../shared/standards")
@pytest.mark.parametrize("fact_type", sorted(MOVEMENTS, key=kind_of), ids=kind_of)
def test_movements_are_epcis_events(fact_type: type[Fact]) -> None:
    event = example_events()[kind_of(fact_type)]
    assert event["type"] == EPCIS_TYPE
    body = event["data"]
    schema = json.loads((EPCIS_DIR / "EPCIS-JSON-Schema.json").read_text("utf-8"))
    validator = jsonschema_rs.validator_for(schema)
    whole = {
        "@context": body["@context"],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": body["recordTime"],
        "epcisBody": {"eventList": [{name: value for name, value in body.items() if name != "@context"}]},
    }
    assert [error.message for error in validator.iter_errors(whole)] == []
    broken = copy.deepcopy(whole)
    broken["epcisBody"]["eventList"][0]["action"] = "LOOK"
    assert not validator.is_valid(broken)
    for name in ("bizStep", "disposition"):
        words = json.loads((EPCIS_DIR / "JSON-Schema/schemas" / f"{name}-JSON-Schema.json").read_text("utf-8"))
        assert body[name] in words["definitions"][name]["anyOf"][1]["enum"]  # any URI would pass the schema


def test_asyncapi_covers_every_fact_and_message() -> None:
    made = document("1.0")
    assert len(made["components"]["messages"]) == len(TYPES) + len(MESSAGES)
    for channel in made["channels"].values():
        for message in channel["messages"].values():
            assert message["$ref"].rpartition("/")[2] in made["components"]["messages"]


@pytest.mark.slow
def test_asyncapi_parser_accepts_the_document(tmp_path: Path) -> None:
    script = tmp_path / "check.cjs"
    script.write_text(
        f"const {{Parser}} = require({json.dumps(str(node_modules() / '@asyncapi/parser'))});\n"
        "new Parser().parse(require('fs').readFileSync(process.argv[2], 'utf8')).then(({document, diagnostics}) => {\n"
        "  const errors = diagnostics.filter((d) => d.severity === 0).map((d) => d.path.join('.') + d.message);\n"
        "  console.log(JSON.stringify({parsed: document !== undefined, errors}));\n});\n"
    )
    assert run_node(script, str(DOCUMENT)) == {"parsed": True, "errors": []}


def test_the_parser_tells_wrong_traffic() -> None:
    """The judge of live traffic (tests/e2e/test_bridge_wires.py) can say no."""
    event = example_events()["inventory.OnHandChanged"]
    topic, broken = "smartstore/v1/acme/store-1/events/inventory", {**event, "data": {**event["data"], "on_hand": "3"}}
    lines = [f"{topic} {json.dumps(one)}" for one in (event, [event, broken])] + [
        "smartstore/v1/acme/store-1/nothing {}"
    ]
    told = judge("\n".join(lines))
    assert (told["messages"], told["channels"], len(told["faults"])) == (3, ["events_inventory"], 2)
