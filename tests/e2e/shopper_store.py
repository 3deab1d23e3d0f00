"""A store with offers for shoppers, for tests and screenshots of their page."""

from __future__ import annotations

from typing import Any

from edge.core.facts import OnHandChanged
from tests.unit.api_support import RICE, SITE, TEA, Bench

SENCHA = "04569951000027"
PRODUCTS: list[dict[str, Any]] = [
    {
        "gtin": TEA,
        "name": "Aoyama 煎茶 100 g",
        "unit_mass_g": 123.0,
        "price_minor": 980,
        "currency": "JPY",
        "url": "https://shop.example/tea",
    },
    {"gtin": RICE, "name": "草加せんべい", "unit_mass_g": 118.0, "price_minor": 420, "currency": "JPY"},
    {"gtin": SENCHA, "name": "抹茶クッキー 12枚", "unit_mass_g": 240.0, "price_minor": 1280, "currency": "JPY"},
]
STORE: dict[str, Any] = SITE | {
    "store": SITE["store"] | {"name": "青山店"},
    "zones": [{"id": "z-1", "name": "Tea and sweets"}, {"id": "z-2", "name": "Entrance"}],
    "products": PRODUCTS,
    "shelves": [
        {"id": "shelf-1", "zone": "z-1", "x_m": 1.0, "y_m": 2.0, "products": [TEA]},
        {"id": "shelf-2", "zone": "z-1", "x_m": 3.0, "y_m": 2.0, "products": [RICE, SENCHA]},
    ],
}
OFFERS: list[dict[str, Any]] = [
    {
        "id": "p-tea",
        "zone": "z-1",
        "gtins": [TEA],
        "titles": {"en": "First flush, fresh today", "ja": "本日入荷の新茶"},
        "value_minor": 150,
    },
    {
        "id": "p-rice",
        "zone": "z-1",
        "gtins": [RICE],
        "titles": {"en": "Crackers to go with it", "ja": "お茶うけにどうぞ"},
        "value_minor": 60,
    },
    {"id": "p-none", "zone": "z-1", "gtins": [SENCHA], "titles": {"en": "Never shown: the shelf is empty"}},
]


def stock_up(bench: Bench) -> None:
    """Three of the tea, twelve of the crackers; the third shelf is empty."""
    for gtin, shelf, on_hand in ((TEA, "shelf-1", 3), (RICE, "shelf-2", 12), (SENCHA, "shelf-2", 0)):
        fact = OnHandChanged(
            at_us=0, gtin=gtin, shelf=shelf, on_hand=on_hand, low=0, high=9, confidence=1.0, sources=[], reason=""
        )
        bench.services.runtime.engine.parts.promotions.stock(fact)
