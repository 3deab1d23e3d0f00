"""The documents behind Today, Footfall, Layout, Exceptions and Promotions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from edge.api.documents import detail_of, stock_row
from edge.api.feed import fact_document
from edge.api.hints import hint_for
from edge.api.services import Services
from edge.api.tally import Day, Tally
from edge.core.observation import DeviceState

LOW = 2  # without a reorder policy, so few are "about to be out"
LAYOUT = ("shelf", "gtin", "name", "picks", "put_backs", "misplaced", "sales", "dwell_s")


def today(here: Services, day: Day) -> dict[str, Any]:
    """What the manager looks at first."""
    rows = [stock_row(here, gtin) for gtin in here.site.product_by_gtin]
    known = [row for row in rows if row.get("on_hand") is not None]
    names = {gtin: product.name for gtin, product in here.site.product_by_gtin.items()}
    waiting = [hold for hold in here.runtime.engine.parts.holds.holds() if hold.is_open]
    low = [row for row in known if 0 < row["on_hand"] <= low_at(here, row["gtin"])]
    now = here.runtime.clock.now()
    return {
        "out": [_brief(row) for row in known if row["on_hand"] == 0],
        "low": sorted((_brief(row) for row in low), key=lambda row: row["on_hand"]),
        "fetch": [
            {
                "hold": hold.id,
                "gtin": hold.gtin,
                "name": names.get(hold.gtin, ""),
                "quantity": hold.quantity,
                "pickup": hold.pickup.value,
                "state": hold.state.value,
                "expires_us": now.wall_at(hold.expires_us),
                "shelves": list(here.site.homes_by_gtin.get(hold.gtin, ())),
            }
            for hold in waiting
        ],
        "exceptions": exceptions(here),
        "devices": devices_in_trouble(here),
        "products": len(known),
        "items": sum(row["on_hand"] for row in known),
        **{name: value for name, value in footfall(here, day).items() if name != "quarters"},
    }


def low_at(here: Services, gtin: str) -> int:
    """So few of a product are about to be out: its policy's reorder point, or `LOW`."""
    document = here.runtime.engine.parts.reorder.document(gtin)
    point = document.get("reorder_point")
    return point if isinstance(point, int) else LOW


def _brief(row: dict[str, Any]) -> dict[str, Any]:
    shelves = [shelf["shelf"] for shelf in row.get("shelves", [])]
    return {"gtin": row["gtin"], "name": row["name"], "on_hand": row["on_hand"], "shelves": shelves}


def devices_in_trouble(here: Services) -> list[dict[str, str]]:
    """Devices that are not online, with cause and next action."""
    return [
        {
            "id": name,
            "kind": device.kind,
            "state": device.state.value,
            "cause": device.cause,
            "detail": detail_of(device),
            "hint": hint_for(device.cause),
        }
        for name, device in sorted(here.health.devices.items())
        if device.state is not DeviceState.ONLINE
    ]


def exceptions(here: Services) -> list[dict[str, Any]]:
    """The inbox, with wall times and names."""
    now = here.runtime.clock.now()
    products = here.site.product_by_gtin
    rows: list[dict[str, Any]] = []
    for entry in here.runtime.engine.parts.inventory.exceptions():
        since_us = entry["since_us"]
        name = products[str(entry["gtin"])].name if entry["gtin"] in products else ""
        rows.append({**entry, "name": name, "since_us": now.wall_at(since_us if isinstance(since_us, int) else 0)})
    return rows


def footfall(here: Services, day: Day) -> dict[str, Any]:
    """Entrances and exits of the day by quarter, the one that runs included."""
    now = here.runtime.clock.now()
    running = here.runtime.engine.parts.footfall.quarter().values()
    entered, left = dict(day.entered), dict(day.left)
    quarter = _quarter(here, now.wall_us)
    entered[quarter] = entered.get(quarter, 0) + sum(row[0] for row in running)
    left[quarter] = left.get(quarter, 0) + sum(row[1] for row in running)
    total = sum(entered.values())
    return {
        "entered": total,
        "left": sum(left.values()),
        "people": here.runtime.engine.parts.footfall.people,
        "doors": len(here.site.doors),
        "picks": day.picks,
        "conversion": round(day.picks / total, 3) if total else None,
        "quarter": quarter,
        "quarters": [
            {
                "quarter": index,
                "entered": entered.get(index, 0),
                "left": left.get(index, 0),
                "known": index not in day.unknown,
            }
            for index in range(96)
        ],
    }


def _quarter(here: Services, wall_us: int) -> int:
    return Tally.day_of(wall_us, ZoneInfo(here.site.store.timezone))[1]


def layout(here: Services, day: Day) -> list[dict[str, Any]]:
    """Per shelf and product: picks, put-backs, misplaced; a product's sales on the row of its first home.

    dwell_s is of the whole shelf or, where nothing watches it alone, of its zone; None where fewer people stayed
    than may be told.
    """
    zones = {shelf.id: shelf.zone for shelf in here.site.shelves}
    sales = {gtin: row["sales"] for (shelf, gtin), row in day.layout.items() if not shelf}
    keys = dict.fromkeys((shelf.id, gtin) for shelf in here.site.shelves for gtin in shelf.products)
    keys |= dict.fromkeys(key for key in day.layout if key[0])
    rows = []
    for shelf, gtin in keys:
        product = here.site.product_by_gtin.get(gtin)
        counts: Mapping[str, int] = day.layout.get((shelf, gtin), {})
        values = (
            shelf,
            gtin,
            product.name if product else "",
            counts.get("picks", 0),
            counts.get("put_backs", 0),
            counts.get("misplaced", 0),
            sales.pop(gtin, 0),
            _dwell_s(day, shelf, zones.get(shelf, "")),
        )
        rows.append(dict(zip(LAYOUT, values, strict=True)))
    return rows


def _dwell_s(day: Day, shelf: str, zone: str) -> float | None:
    seconds = day.dwell_s.get(shelf, day.dwell_s.get(zone))
    return None if seconds is None else round(seconds, 1)


def promotions(here: Services) -> list[dict[str, Any]]:
    """Promotions with what is true now."""
    part, now = here.runtime.engine.parts.promotions, here.runtime.clock.now()
    live = {zone.id: {(p.id, gtin) for p, gtin in part.eligible(zone.id, now)} for zone in here.site.zones}
    names = {gtin: product.name for gtin, product in here.site.product_by_gtin.items()}
    return [
        {
            "id": row.id,
            "title": row.title,
            "zone": row.zone,
            "starts_us": row.starts_us,
            "ends_us": row.ends_us,
            "stock_floor": row.stock_floor,
            "products": [
                {"gtin": gtin, "name": names.get(gtin, ""), "live": (row.id, gtin) in live.get(row.zone, set())}
                for gtin in row.gtins
            ],
        }
        for row in part.promotions()
    ]


def history(tally: Tally, gtin: str) -> list[dict[str, Any]]:
    """The newest facts of a product, newest first."""
    return [fact_document(stored) for stored in reversed(tally.by_product.get(gtin, ()))]
