"""The documents behind health, devices and stock: plain JSON from what is committed and from the living record."""

from __future__ import annotations

from typing import Any

from edge.api.hints import hint_for
from edge.api.problems import Problem
from edge.api.services import Services
from edge.core.gtin import gtin_fault, normalize_gtin
from edge.core.observation import DeviceState
from edge.health import DeviceHealth


def health_document(here: Services) -> tuple[int, dict[str, Any]]:
    """(200 while the gateway does its work, else 503; how it is, with the causes)."""
    record, journal, now = here.health, here.runtime.journal, here.runtime.clock.now()
    stale = record.stale()
    causes = [f"heartbeat:{name}" for name in stale] + sorted(record.alarms)
    body = {
        "status": "failing" if stale else ("degraded" if causes else "ok"),
        "causes": causes,
        "summary": record.status(),
        "version": here.version,
        "boot": here.runtime.clock.boot,
        "epoch": journal.epoch,
        "last_seq": journal.last_seq,
        "acked_seq": journal.acked_seq,
        "pending_facts": journal.pending,
        "time_quality": now.quality.value,
        "now_us": now.mono_us,  # the engine's time, in which evidence is stamped
        "wall_us": now.wall_us,
        "counters": dict(sorted(record.counters.items())),
        "claimed": here.settings.open or here.access.claimed,
        "uplink": here.uplink(),
        "devices_online": sum(1 for row in record.devices.values() if row.state is DeviceState.ONLINE),
        "devices": len(record.devices),
    }
    return 503 if stale else 200, body


def device_rows(here: Services) -> list[dict[str, Any]]:
    """Every device, by id."""
    return [device_row(here, device_id) for device_id in sorted(here.health.devices)]


def device_row(here: Services, device_id: str) -> dict[str, Any]:
    """How one device is."""
    device, now_us = here.health.devices[device_id], here.runtime.clock_us()
    troubled = device.state is not DeviceState.ONLINE
    return {
        "id": device_id,
        "kind": device.kind,
        "state": device.state.value,
        "cause": device.cause if troubled else "",
        "detail": detail_of(device) if troubled else "",
        "hint": hint_for(device.cause) if troubled else "",
        "last_seen_s": None if device.last_seen_us is None else round((now_us - device.last_seen_us) / 1e6, 1),
        "serial": device.serial,
        "model": device.model,
        "firmware": device.firmware,
        "restarts": device.restarts,
        "counters": dict(device.counters),
    }


def detail_of(device: DeviceHealth) -> str:
    """What the driver said, without the next action where that is told beside it."""
    return device.detail.removesuffix(hint_for(device.cause)).rstrip(" .")


def stock_row(here: Services, gtin: str) -> dict[str, Any]:
    """What is published of one product, with what the catalogue says of it."""
    as_of_seq, document = here.runtime.view.documents().get(f"stock/{gtin}", (0, None))
    product = here.site.product_by_gtin[gtin]
    row: dict[str, Any] = dict(document) if isinstance(document, dict) else {"gtin": gtin, "on_hand": None}
    more = {"name": product.name, "category": product.category, "as_of_seq": as_of_seq}
    if (product.price_minor or product.currency) and "price_minor" not in row:
        more |= {"price_minor": product.price_minor, "currency": product.currency}
    return row | more


def stock_of(here: Services, gtin: str) -> dict[str, Any]:
    """One product: what is on hand where, how sure that is, and why. Raises Problem 422, 404."""
    return stock_row(here, known_gtin(here, gtin))


def known_gtin(here: Services, gtin: str) -> str:
    """A GTIN of the catalogue, as 14 digits. Raises Problem 422, 404."""
    if fault := gtin_fault(gtin):
        raise Problem(422, "invalid_gtin", f"gtin = {gtin!r}: {fault}", "Scan the code again.")
    if normalize_gtin(gtin) not in here.site.product_by_gtin:
        raise Problem(404, "unknown_product", f"gtin = {gtin!r}: not in the catalogue", "Load the catalogue.")
    return normalize_gtin(gtin)
