"""Stock movements as EPCIS 2.0 ObjectEvents (GS1 EPCIS 2.0, 7.4.2), with bizStep and disposition of CBV 2.0.

Everything that our fact says and EPCIS has no word for stays beside it: ``smartstore:fact`` names the fact and
``smartstore:fields`` carries its stored fields, so a consumer may read either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge.core import facts
from edge.core.fact import Fact, kind_of

EPCIS_TYPE = "org.gs1.epcis.ObjectEvent.v2"
EPCIS_SCHEMA = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-json-schema.json"
CONTEXT: list[Any] = [
    "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
    {"smartstore": "urn:smartstore:v1:"},
]
_SGLN_EXTENSION = re.compile(r"[0-9A-Za-z!%-?_]{1,20}\Z")  # TDS 2.0, 6.3.3: one to twenty characters
_HEX = re.compile(r"[0-9A-Fa-f]+\Z")


@dataclass(frozen=True, slots=True)
class Movement:
    """How one fact reads in EPCIS. place: the field that names the shelf; reference: CBV business transaction type."""

    step: str
    disposition: str
    place: str = ""
    reference: str = ""
    reference_type: str = ""


MOVEMENTS: Mapping[type[Fact], Movement] = {
    facts.ItemPicked: Movement("removing", "sellable_not_accessible", "shelf"),
    facts.ItemPutBack: Movement("stocking", "sellable_accessible", "shelf"),
    facts.TagArrived: Movement("stocking", "sellable_accessible", "shelf"),
    facts.TagMoved: Movement("stocking", "sellable_accessible", "shelf"),
    facts.TagDeparted: Movement("removing", "unknown", "shelf"),
    facts.ItemMisplaced: Movement("sensor_reporting", "sellable_not_accessible", "shelf"),
    facts.Discrepancy: Movement("cycle_counting", "mismatch_quantity", "shelf"),
    facts.ItemSold: Movement(
        "retail_selling", "retail_sold", reference="receipt", reference_type="urn:smartstore:v1:btt:receipt"
    ),
    facts.ItemExitedUnpaid: Movement("sensor_reporting", "unknown"),
    facts.GoodsReceived: Movement(
        "receiving", "sellable_not_accessible", reference="delivery", reference_type="recadv"
    ),
    facts.GoodsReturned: Movement("receiving", "returned", reference="order", reference_type="rma"),
    facts.HoldPlaced: Movement("reserving", "reserved", reference="hold", reference_type="po"),
    facts.HoldPicked: Movement("picking", "reserved", reference="hold", reference_type="po"),
    facts.HoldCollected: Movement("retail_selling", "retail_sold", reference="hold", reference_type="po"),
}


@dataclass(frozen=True, slots=True)
class Places:
    """GS1 location keys: the store's SGLN, and the extension of each shelf that has one of its own."""

    store_sgln: str
    shelf_extensions: Mapping[str, str]

    def shelf(self, shelf: str) -> str:
        """The shelf's SGLN: the store's location with the shelf's extension, by default its id; else the store's."""
        extension = self.shelf_extensions.get(shelf, "0")
        extension = shelf if extension == "0" else extension
        if not _SGLN_EXTENSION.match(extension):
            return self.store_sgln
        return f"{self.store_sgln.rpartition('.')[0]}.{extension}"


def epc_uri(epc: str) -> str:
    """An EPC as a URI: pure identity and Digital Link as they are, hex of a tag's memory as TDS raw form."""
    if _HEX.match(epc):
        return f"urn:epc:raw:{len(epc) * 4}.x{epc.upper()}"  # TDS 2.0, 12.1
    return epc


def object_event(
    fact_type: type[Fact], fields: Mapping[str, Any], places: Places, times: tuple[str, str, str], event_id: str
) -> dict[str, Any]:
    """The ObjectEvent of one fact's stored fields. times: event time, record time, zone offset (``+09:00``)."""
    movement = MOVEMENTS[fact_type]
    event: dict[str, Any] = {
        "@context": CONTEXT,
        "type": "ObjectEvent",
        "eventID": event_id,
        "eventTime": times[0],
        "recordTime": times[1],
        "eventTimeZoneOffset": times[2],
        "action": "OBSERVE",
    }
    epc, gtin = fields.get("epc", ""), fields.get("gtin", "")
    if epc:
        event["epcList"] = [epc_uri(epc)]
    elif gtin:
        quantity = fields.get("quantity", fields.get("seen", 1))
        event["quantityList"] = [{"epcClass": f"https://id.gs1.org/01/{gtin}", "quantity": quantity}]
    event["bizStep"] = movement.step
    sold = fields.get("reason") == "sold"
    event["disposition"] = "retail_sold" if sold else movement.disposition
    shelf = fields.get(movement.place, "")
    event["readPoint"] = {"id": places.shelf(shelf) if shelf else places.store_sgln}
    event["bizLocation"] = {"id": places.store_sgln}
    if movement.reference and fields.get(movement.reference):
        identity = f"urn:smartstore:v1:bt:{fields[movement.reference]}"
        event["bizTransactionList"] = [{"type": movement.reference_type, "bizTransaction": identity}]
    if fields.get("net_g") is not None:
        report = {"type": "Mass", "value": fields["net_g"], "uom": "GRM"}  # UN/CEFACT Recommendation 20
        event["sensorElementList"] = [{"sensorReport": [report]}]
    event["smartstore:fact"] = kind_of(fact_type)
    event["smartstore:fields"] = dict(fields)
    return event
