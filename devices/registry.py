"""Which drivers there are: a literal table, plus entry points of the group ``smartstore.drivers``.

A driver is imported when its kind is first asked for: a store pays only for the devices it has.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from edge.core.plain import PlainError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from devices.discovery import Candidate
    from devices.driver import DriverInfo
    from devices.transport.stream import ByteStream

    Discover = Callable[[Callable[[str], Awaitable[ByteStream]], tuple[str, ...]], Awaitable[list[Candidate]]]

ENTRY_POINT_GROUP = "smartstore.drivers"
BUILT_IN = {
    "rfid_llrp": "devices.rfid_llrp.driver:INFO",
    "rfid_r200": "devices.rfid_r200.driver:INFO",
    "shelf_mcu": "devices.shelf_mcu.driver:INFO",
    "scale_sics": "devices.scale_sics.driver:INFO",
    "scale_modbus": "devices.scale_modbus.driver:INFO",
    "beacon_ble": "devices.beacon_ble.driver:INFO",
    "ble_scanner": "devices.beacon_ble.scanner:INFO",
    "gateway_beacon": "devices.beacon_ble.advertising:INFO",
    "door_array": "devices.door_array.driver:INFO",
}


# Families that can look for their devices on a network
DISCOVERERS = {"rfid_llrp": "devices.rfid_llrp.discovery:discover"}


def discoverers() -> dict[str, Discover]:
    """By kind, the way to find its devices: `await discover(open_stream, networks)` gives candidates."""
    found = {}
    for kind, place in DISCOVERERS.items():
        module, _, attribute = place.partition(":")
        found[kind] = getattr(import_module(module), attribute)
    return found


def kinds() -> list[str]:
    """Every kind that settings may name: ours first, then those of installed packages."""
    foreign = sorted({entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)} - BUILT_IN.keys())
    return [*BUILT_IN, *foreign]


def driver_info(kind: str) -> DriverInfo:
    """The driver of a kind (an installed package cannot replace one of ours).

    Raises PlainError for an unknown kind and for an entry point that is no DriverInfo of that kind.
    """
    from devices.driver import DriverInfo  # noqa: PLC0415 (listing kinds must not import numpy)

    found: object = None
    if kind in BUILT_IN:
        module, _, attribute = BUILT_IN[kind].partition(":")
        found = getattr(import_module(module), attribute)
    else:
        for entry in entry_points(group=ENTRY_POINT_GROUP, name=kind):
            found = entry.load()
            break
        else:
            raise PlainError("kind", kind, f"one of {', '.join(kinds())}")
    if not isinstance(found, DriverInfo) or found.kind != kind:
        raise PlainError(f"driver {kind}", found, f"a DriverInfo of the kind {kind}")
    return found
