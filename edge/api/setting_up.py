"""Setting a device up as a list of steps, judged from what is so: nothing is kept beside it, so it can be gone on with.

found → connected → told apart (it blinked) → placed → zero → scale → tested. Which steps a device has is a matter of
its kind; a step counts as done by what the gateway knows (its link, the planogram, its calibration, the audit).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any

from edge.api.device_routes import places_of
from edge.api.documents import device_row
from edge.api.services import Services
from edge.core.observation import DeviceState
from edge.core.site import Lane

RECORDED = frozenset(
    {
        "add_device",
        "replace_device",
        "identify_device",
        "place_device",
        "tare_lane",
        "span_lane",
        "test_device",
        "walk_test",
        "set_inward",
    }
)
Deeds = Mapping[str, Set[str]]
LOOKED_BACK = 1_000  # audit rows
NAMES = {"rfid_llrp": "reader", "rfid_r200": "reader", "shelf_mcu": "shelf-mcu", "beacon_ble": "scanner"}
NAMES |= {
    "ble_scanner": "scanner",
    "door_array": "door",
    "scale_sics": "scale",
    "scale_modbus": "scale",
    "gateway_beacon": "beacon",
}
BLINKS = frozenset({"shelf_mcu", "ble_scanner", "door_array"})  # SDP/1 has IDENTIFY, the others have no light of ours


def free_names(here: Services) -> dict[str, str]:
    """Kind → a name for the next device of it that no position has: reader-5."""
    taken = set(here.installation.entries())
    names = {}
    for kind, stem in NAMES.items():
        numbers = [int(found[1]) for name in taken if (found := re.fullmatch(rf"{stem}-([0-9]{{1,6}})", name))]
        names[kind] = f"{stem}-{max(numbers, default=0) + 1}"
    return names


def lanes_of(here: Services, device_id: str) -> list[dict[str, Any]]:
    """Weighed lanes on this device: id, shelf, products, how far its cells are calibrated."""
    rows = []
    known = here.runtime.engine.parts.shelves.calibrations()
    for lane in here.site.lanes:
        if any(cell.device == device_id for cell in lane.cells):
            cells = [known.get((cell.device, cell.cell)) for cell in lane.cells]
            rows.append(
                {
                    "id": lane.id,
                    "shelf": lane.shelf,
                    "tared": all(cell is not None for cell in cells),
                    "spanned": all(cell is not None and cell.complete for cell in cells),
                    "products": _products(here, lane),
                }
            )
    return rows


def _products(here: Services, lane: Lane) -> list[str]:
    return [here.site.product_by_gtin[gtin].name or gtin for gtin in lane.gtins if gtin in here.site.product_by_gtin]


def standings(here: Services) -> list[dict[str, Any]]:
    """`standing` of every position, by id."""
    deeds = _deeds(here)
    return [standing(here, device_id, deeds) for device_id in sorted(here.installation.entries())]


def standing(here: Services, device_id: str, deeds: Deeds | None = None) -> dict[str, Any]:
    """The device with its places and steps [(key, done)], the first that is not done (`now`), and whether all are."""
    done = (_deeds(here) if deeds is None else deeds).get(device_id, frozenset())
    row, places, lanes = device_row(here, device_id), places_of(here, device_id), lanes_of(here, device_id)
    steps = [("connected", row["state"] != DeviceState.OFFLINE)]
    if row["kind"] in BLINKS:
        steps.append(("identified", "identify_device" in done or "test_device" in done))
    steps.append(("placed_step", bool(places)))
    if lanes:
        steps.append(("tared", all(lane["tared"] for lane in lanes)))
        steps.append(("spanned", all(lane["spanned"] for lane in lanes)))
    if row["kind"] == "door_array":
        steps.append(("walked", "walk_test" in done or "set_inward" in done))
    steps.append(("tested", "test_device" in done or "walk_test" in done))
    now = next((key for key, ok in steps if not ok), "")
    # Blinking and testing are for a person's eyes: a device that came with the settings file works without them.
    needed = [ok for key, ok in steps if key not in ("identified", "walked", "tested")]
    return row | {"places": places, "steps": steps, "now": now, "ready": all(needed)}


def _deeds(here: Services) -> Deeds:
    """What people did with each device since it was set up or replaced, by one look through the audit."""
    done: dict[str, set[str]] = {}
    over: set[str] = set()
    for row in here.access.audit.rows(limit=LOOKED_BACK):
        target, action = str(row["target"]), str(row["action"])
        if action in RECORDED and target not in over:
            done.setdefault(target, set()).add(action)
            if action in ("add_device", "replace_device"):
                over.add(target)
    return done
