"""Where a device stands on the planogram: read as rows for a form, and written back as a whole planogram."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from edge.core.site import Site

PORTS, CELLS = 4, 4  # rows a form shows at least; more where the planogram has more
Id = Annotated[str, Field(max_length=40)]


class AntennaIn(BaseModel):
    """One antenna port: its role, and the shelf (role shelf) or zone it looks at; an empty place leaves it out."""

    role: Annotated[str, Field(max_length=20)] = "shelf"
    place: Id = ""


class CellIn(BaseModel):
    """One load cell: an existing lane, or "" and a shelf for a lane of its own; both empty leave it out."""

    lane: Id = ""
    shelf: Id = ""
    gtin: Annotated[str, Field(max_length=14)] = ""


class Place(BaseModel):
    """Places of one device; only what fits its kind is given."""

    antennas: Annotated[dict[int, AntennaIn], Field(max_length=64)] | None = None
    cells: Annotated[dict[int, CellIn], Field(max_length=64)] | None = None
    zone: Id | None = None
    inward: Literal["+x", "-x", "+y", "-y"] | None = None


def rows_of(site: Site, device_id: str, kind: str) -> dict[str, Any]:
    """For the form: which fields this kind has, with what is set now."""
    if kind.startswith("rfid"):
        known = {row.port: row for reader in site.readers if reader.device == device_id for row in reader.antennas}
        last = max((PORTS, *known))
        return {"antennas": [_antenna(known.get(port), port) for port in range(1, last + 1)]}
    if kind in ("shelf_mcu", "scale_sics", "scale_modbus"):
        lanes = {cell.cell: lane for lane in site.lanes for cell in lane.cells if cell.device == device_id}
        least = CELLS if kind == "shelf_mcu" else 1
        return {
            "cells": [
                {"cell": cell, "lane": lanes[cell].id if cell in lanes else ""}
                for cell in range(max((least, *(cell + 1 for cell in lanes))))
            ]
        }
    if kind in ("beacon_ble", "ble_scanner"):
        return {"zone": next((row.zone for row in site.scanners if row.device == device_id), "")}
    if kind == "door_array":
        return {"inward": next((row.inward for row in site.doors if row.device == device_id), "")}
    return {}


def _antenna(row: Any, port: int) -> dict[str, Any]:
    if row is None:
        return {"port": port, "role": "shelf", "place": ""}
    return {"port": port, "role": row.role.value, "place": row.shelf or row.zone}


def placed(document: dict[str, Any], device_id: str, place: Place) -> dict[str, Any]:
    """The planogram with this device placed so; what other devices serve stays. The planogram's own checks follow."""
    new = dict(document)
    if place.antennas is not None:
        rows = [
            {"port": port, "role": row.role, ("shelf" if row.role == "shelf" else "zone"): row.place}
            for port, row in sorted(place.antennas.items())
            if row.place
        ]
        new["readers"] = _replaced(document, "readers", device_id, {"antennas": rows} if rows else None)
    if place.cells is not None:
        new["lanes"] = _lanes(document["lanes"], device_id, place.cells)
    if place.zone is not None:
        new["scanners"] = _replaced(document, "scanners", device_id, {"zone": place.zone} if place.zone else None)
    if place.inward is not None:
        new["doors"] = _replaced(document, "doors", device_id, {"inward": place.inward})
    return new


def _replaced(document: dict[str, Any], section: str, device_id: str, row: dict[str, Any] | None) -> list[Any]:
    """The section with this device's row changed in its place, added at the end, or (None) taken out."""
    rows, found = [], False
    for known in document[section]:
        if known["device"] != device_id:
            rows.append(known)
        elif row is not None:
            rows.append(known | row)
            found = True
    return rows if found or row is None else [*rows, {"device": device_id} | row]


def _lanes(lanes: list[Any], device_id: str, cells: dict[int, CellIn]) -> list[Any]:
    """A lane without cells is no lane any more; a new one is named after its cell."""
    own = {lane["id"]: [cell for cell in lane["cells"] if cell["device"] != device_id] for lane in lanes}
    fresh: list[Any] = []
    for number, row in sorted(cells.items()):
        cell = {"device": device_id, "cell": number}
        if row.lane:
            own.setdefault(row.lane, []).append(cell)
        elif row.shelf:
            gtins = [row.gtin] if row.gtin else []
            fresh.append({"id": f"{device_id}-{number}"[:40], "shelf": row.shelf, "cells": [cell], "gtins": gtins})
    known = [lane | {"cells": own[lane["id"]]} for lane in lanes if own[lane["id"]]]
    strangers = [{"id": name, "shelf": "", "cells": rows} for name, rows in own.items() if name not in _ids(lanes)]
    return [*known, *strangers, *fresh]


def _ids(lanes: list[Any]) -> set[str]:
    return {lane["id"] for lane in lanes}
