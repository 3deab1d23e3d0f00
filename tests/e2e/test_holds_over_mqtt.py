"""Holds over a real broker: a back office places them, and what can be promised moves as they are placed and expire."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from cloud_bridge.ingest.broker import nats_broker
from edge.cli.tell import Order, as_text, send
from edge.core.errors import SettingsError
from edge.journal import Store
from tests.e2e.bridge_wires import until
from tests.e2e.test_bridge_twin import Scene, scene
from tests.unit.api_support import TEA

HERE = "t-1/s-1"


class Office:
    """Somebody who uses ``smartstore tell``."""

    def __init__(self, folder: Path, at: Scene) -> None:
        running = {"api": "https://127.0.0.1:1", "mqtt": at.broker.address, "key_name": at.platform.settings.key_name}
        (folder / "platform.json").write_text(json.dumps(running), encoding="utf-8")
        self.folder, self.at = folder, at
        self.rows: list[dict[str, Any]] = []

    async def tell(self, name: str, **args: Any) -> tuple[Any, Any]:
        answer = await send(self.folder, Order(HERE, name, args), self.rows.append)
        return answer["status"], answer["reason"]

    def stocks(self) -> list[tuple[Any, Any, Any]]:
        told = [row["stock"] for row in self.rows if "stock" in row]
        return [(row["on_hand"], row["held"], row["available_to_promise"]) for row in told]


def holds_at(folder: Path) -> list[str]:
    """The facts about holds that the platform has, in order."""
    with contextlib.closing(sqlite3.connect(folder / "platform.db")) as database:
        rows = database.execute("SELECT fact FROM event WHERE fact LIKE 'hold.%' ORDER BY seq").fetchall()
    return [fact for (fact,) in rows]


def test_a_hold_placed_over_mqtt_lowers_what_can_be_promised_until_it_expires(tmp_path: Path) -> None:
    async def main() -> None:
        async with nats_broker(tmp_path / "nats") as broker, scene(tmp_path, Store(None), broker) as at:
            office = Office(tmp_path, at)
            assert await office.tell("recount", shelf="shelf-1", gtin=TEA, quantity=9) == ("done", "")
            watching = asyncio.create_task(
                send(tmp_path, Order(HERE, "pick_hold", {"hold": "nobody"}, TEA, 60.0), office.rows.append)
            )
            await until(lambda: office.stocks()[-1:] == [(9, 0, 9)])
            place = {"hold": "h-1", "gtin": TEA, "quantity": 4, "pickup": "locker", "expires_min": 30}
            assert await office.tell("place_hold", **place) == ("done", "")
            await until(lambda: office.stocks()[-1] == (9, 4, 5))
            assert await office.tell("place_hold", **place | {"hold": "h-2", "quantity": 6}) == (
                "rejected",
                "not_enough_stock",
            )
            assert await office.tell("place_hold", **place) == ("rejected", "known_hold")
            at.bench.clock.advance(31 * 60)
            at.bench.services.runtime.step()
            await until(lambda: office.stocks()[-1] == (9, 0, 9))
            watching.cancel()
            await until(lambda: holds_at(tmp_path) == ["hold.HoldPlaced", "hold.HoldExpired"])
            assert as_text(office.rows[0]) == "answer  done"

    asyncio.run(main())


def test_bad_orders_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        asyncio.run(send(tmp_path, Order(HERE, "place_hold", {}), print))
    assert "platform.json" in str(caught.value)
