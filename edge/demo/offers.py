"""Offers in the demo: two products of each shopping zone are promoted, phones walk about, a till redeems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge.cli.client import Client

if TYPE_CHECKING:
    from edge.demo.cast import Cast

OF_A_ZONE: Final = 2
VALUE_MINOR: Final = 100
FLOOD_REFUSED: Final = 0.5


def promotions_of(site: dict[str, Any]) -> list[dict[str, Any]]:
    """Promotions for the first products of each zone's shelves, as `set_promotions` takes them."""
    gtins: dict[str, list[str]] = {}
    for shelf in site["shelves"]:
        gtins.setdefault(shelf["zone"], []).extend(shelf["products"])
    names = {product["gtin"]: product["name"] for product in site["products"]}
    return [
        {
            "id": f"{zone}-{number}",
            "zone": zone,
            "gtins": [gtin],
            "titles": {"en": f"{names[gtin]}: 100 off today", "ja": f"{names[gtin]}: 本日100円引き"},
            "value_minor": VALUE_MINOR,
        }
        for zone, products in gtins.items()
        for number, gtin in enumerate(products[:OF_A_ZONE], 1)
    ]


def open_offers(cast: Cast, api: str, till: str, seed: int) -> None:
    """Set the promotions, then let the phones in."""
    site = json.loads((cast.directory / "site.json").read_text(encoding="utf-8"))
    Client(api, till).call("PUT", "/v1/promotions", promotions_of(site))
    arguments = ["-m", "firmware_sim", "phones", "--api", api, "--dir", str(cast.directory), "--seed", str(seed)]
    cast.start("phones", arguments, {"SMARTSTORE_TILL_TOKEN": till})


def phones_said(directory: Path) -> dict[str, Any]:
    """What phones did so far; nothing where none finished a walk."""
    try:
        told: dict[str, Any] = json.loads((directory / "phones.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"walks": 0, "cheats": {}}
    return told


def cheats_that_worked(told: dict[str, Any]) -> list[str]:
    """Ways of cheating that were not refused; a flood works where the store answers more than half of it."""
    return [
        name
        for name, one in told["cheats"].items()
        if one["refused"] < one["tried"] * (FLOOD_REFUSED if name == "flood" else 1.0)
    ]


def in_words(told: dict[str, Any]) -> str:
    """For people: "7 walks, 22 received, 18 shown, 18 redeemed …; cheats refused: cloned_nonce (409 redeemed) …"."""
    names = ("walks", "received", "shown", "redeemed", "withdrawn")
    counts = ", ".join(f"{told.get(name, 0)} {name}" for name in names)
    counts += f", {told.get('advertised', 0)} followed by their rotating ids"
    refused = ", ".join(f"{name} ({_refusal(one)})" for name, one in told["cheats"].items())
    worked = cheats_that_worked(told)
    return f"{counts}; cheats refused: {refused or 'none tried'}" + (
        f"; NOT REFUSED: {', '.join(worked)}" * bool(worked)
    )


def _refusal(cheat: dict[str, Any]) -> str:
    if cheat["tried"] == 1:
        return "; ".join(cheat["answers"])
    return f"{cheat['refused']} of {cheat['tried']}"
