"""A store's day for pictures: what happened since it opened, written into the journal of a gateway that starts now,
and the same store with Japanese names. Only for looking at; no figure is taken from it.
"""

from __future__ import annotations

import asyncio
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge.core.fact import Fact
from edge.core.facts import Crossings, ItemPicked, ItemPutBack, ItemSold, ZoneHeat
from edge.core.instant import US_PER_S, Instant, TimeQuality
from edge.core.ports import Commit
from edge.journal import InlineWriter, Journal, JournalSettings
from edge.journal.log import open_store
from edge.machine import machine_identity

QUARTER_S = 900
OPENS_H, CLOSES_H = 9, 21
NAMES = {
    "Demo store": "青山店", "Entrance": "入口", "Fashion": "衣料品", "Food and home": "食品・日用品", "Checkout": "レジ",
    "Green tea 500 ml": "緑茶 500ml", "Rice crackers": "しょうゆせんべい", "Instant noodles": "即席めん しお味",
    "Hand cream": "ハンドクリーム", "Sparkling water 500 ml": "炭酸水 500ml", "Chocolate bar": "板チョコレート",
    "Shampoo": "シャンプー", "Coffee beans 200 g": "コーヒー豆 200g", "Notebook A5": "ノート A5",
    "Desk lamp bulb": "デスクライト用電球", "Soy sauce 300 ml": "しょうゆ 300ml", "Miso 400 g": "合わせみそ 400g",
    "Toothpaste": "歯みがき粉", "Batteries AA 4": "単3電池 4本", "Socks 3 pairs": "靴下 3足組", "Hand towel": "ハンドタオル",
}  # fmt: skip
GARMENTS = {
    "T-shirt": "Tシャツ", "Shirt": "シャツ", "Hoodie": "パーカー", "Trousers": "パンツ", "Jeans": "ジーンズ", "Skirt": "スカート",
    "Cardigan": "カーディガン", "Scarf": "マフラー", "Cap": "キャップ", "Belt": "ベルト",
}  # fmt: skip
CATEGORIES = {
    "drinks": "飲料", "food": "食品", "beauty": "美容", "stationery": "文具", "apparel": "衣料", "household": "日用品",
}  # fmt: skip


def in_japanese(planogram: dict[str, Any]) -> dict[str, Any]:
    """The same planogram with the names that a store in Tokyo has."""

    def named(row: dict[str, Any]) -> dict[str, Any]:
        name = str(row.get("name", ""))
        stem, _, size = name.rpartition(" ")
        told = NAMES.get(name) or (f"{GARMENTS[stem]} {size}" if stem in GARMENTS else name)
        return row | {"name": told} | ({"category": CATEGORIES.get(row["category"], "")} if "category" in row else {})

    rows = {section: [named(row) for row in planogram[section]] for section in ("zones", "products")}
    return planogram | rows | {"store": named(planogram["store"])}


def in_english(planogram: dict[str, Any]) -> dict[str, Any]:
    """And back."""
    back = {told: name for name, told in {**NAMES, **GARMENTS}.items()}

    def named(row: dict[str, Any]) -> dict[str, Any]:
        stem, _, size = str(row["name"]).rpartition(" ")
        return row | {"name": back.get(row["name"]) or (f"{back[stem]} {size}" if stem in back else row["name"])}

    rows = {section: [named(row) for row in planogram[section]] for section in ("zones", "products")}
    return planogram | rows | {"store": named(planogram["store"])}


def quarters(zone: ZoneInfo, now_us: int) -> list[int]:
    """Starts (wall µs) of the quarters since the store opened that are over by now."""
    local = datetime.fromtimestamp(now_us / US_PER_S, UTC).astimezone(zone)
    begin = local.replace(hour=OPENS_H, minute=0, second=0, microsecond=0)
    ends = min(local, local.replace(hour=CLOSES_H, minute=0, second=0, microsecond=0))
    count = max(0, int((ends - begin).total_seconds() // QUARTER_S))
    return [int((begin + timedelta(seconds=QUARTER_S * n)).timestamp()) * US_PER_S for n in range(count)]


def visits(quarter: int, dice: random.Random) -> int:
    """How many come in a quarter of the day: a lunch hour and an evening."""
    hour = OPENS_H + quarter / 4
    wave = 5 + 13 * math.exp(-(((hour - 12.4) / 1.1) ** 2)) + 19 * math.exp(-(((hour - 18.2) / 1.5) ** 2))
    return max(0, round(dice.gauss(wave, 2.2)))


def happened(site: dict[str, Any], start_us: int, quarter: int, inside: int, dice: random.Random) -> list[Fact]:
    """The facts of one quarter; engine time and wall time are one here."""
    end_us, came = start_us + QUARTER_S * US_PER_S, visits(quarter, dice)
    gone = inside + came - round(came * dice.uniform(0.5, 0.8))  # a visit takes some ten minutes
    door = site["doors"][0]["device"]
    facts: list[Fact] = [
        Crossings(at_us=end_us, door=door, start_us=start_us, end_us=end_us, entered=came, left=max(0, gone))
    ]
    homes = [(shelf["id"], gtin) for shelf in site["shelves"] for gtin in shelf["products"]]
    for _ in range(round(came * 0.8)):
        shelf, gtin = homes[min(len(homes) - 1, int(dice.expovariate(1 / 16)))]
        at_us = start_us + dice.randrange(QUARTER_S) * US_PER_S
        where: dict[str, Any] = {"gtin": gtin, "shelf": shelf, "quantity": 1, "confidence": 0.97}
        facts.append(ItemPicked(at_us=at_us, **where))
        if dice.random() < 0.3:
            facts.append(ItemPutBack(at_us=at_us + 20 * US_PER_S, **where))
        else:
            receipt = f"R{quarter:02d}{dice.randrange(999):03d}"
            facts.append(ItemSold(at_us=at_us + 240 * US_PER_S, gtin=gtin, quantity=1, receipt=receipt, line=1))
    dwell_s = round(came * dice.uniform(45, 80), 1)
    times: dict[str, Any] = {"at_us": end_us, "start_us": start_us, "end_us": end_us, "visits": came}
    facts += [ZoneHeat(zone=zone, dwell_s=dwell_s, **times) for zone in ("z-fashion", "z-food")]
    return sorted(facts, key=lambda fact: fact.at_us)


def write_the_day(folder: Path, site: dict[str, Any], now_us: int, seed: int = 11) -> int:
    """Facts of today into the journal that the gateway will open; returns how many quarters."""
    dice, inside = random.Random(seed), 0
    starts = quarters(ZoneInfo(site["store"]["timezone"]), now_us)

    async def write() -> None:
        nonlocal inside
        settings = JournalSettings(path=str(folder / "var" / "journal.db"))
        store, kept = open_store(settings, machine_identity())
        journal = Journal(store, InlineWriter(), settings, kept.boot, _fail)
        for quarter, start_us in enumerate(starts):
            facts = happened(site, start_us, quarter, inside, dice)
            inside += sum(fact.entered - fact.left for fact in facts if isinstance(fact, Crossings))
            now = Instant(facts[-1].at_us, facts[-1].at_us, TimeQuality.SYNCED)
            await journal.append(Commit([(fact, now) for fact in facts], {}), now)
        await journal.close()

    asyncio.run(write())
    return len(starts)


def _fail(error: BaseException) -> None:
    raise error
