"""The platform's query API: stock over stores, who has a product near, promise, stock-outs, footfall; metrics.

A plain ASGI application over a store and a `Sight` of its workers: the same over SQLite in the platform's own process
and over the PostgreSQL of a cluster's ingest workers. Whoever serves it puts the tenant's authentication in front.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse

from cloud_bridge.ingest.consumer import PLATFORM_EPOCH, Consumer
from cloud_bridge.ingest.sequencing import Stream
from cloud_bridge.ingest.store import PlatformStore, StoreLost
from edge.core.gtin import gtin_fault, normalize_gtin

EARTH_KM = 6371.0
LOOK_AGAIN_S = 2.0
TENANT = Query(pattern="^[a-z0-9-]+$", description="tenant id")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is, WGS 84."""

    latitude: float
    longitude: float


def distance_km(one: Place, other: Place) -> float:
    """Great-circle distance (haversine)."""
    lat1, lat2 = math.radians(one.latitude), math.radians(other.latitude)
    half_lat = (lat2 - lat1) / 2
    half_long = math.radians(other.longitude - one.longitude) / 2
    chord = math.sin(half_lat) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin(half_long) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(chord))


def _gtin(text: str) -> str:
    fault = gtin_fault(text)
    if fault:
        raise HTTPException(422, f"gtin = {text!r}: {fault}")
    return normalize_gtin(text)


class Answers:
    """Questions to the store, put together for people."""

    def __init__(self, store: PlatformStore, places: Mapping[tuple[str, str], Place]) -> None:
        """places: (tenant, store) → where it is; stores without one have no distance."""
        self._store, self._places = store, places

    async def who_has(self, tenant: str, gtin: str, near: Place | None) -> list[dict[str, Any]]:
        """Stores that have the product, nearest first, with what can be promised where the store told it."""
        promised = await self._promised(tenant, "", gtin)
        rows = []
        for row in await self._store.query("who_has", tenant=tenant, gtin=gtin):
            place = self._places.get((tenant, row["store"]))
            away_km = round(distance_km(near, place), 3) if near is not None and place is not None else None
            available = promised.get(row["store"])
            rows.append({**row, "on_hand": int(row["on_hand"]), "available": available, "distance_km": away_km})
        return sorted(rows, key=lambda row: (row["distance_km"] is None, row["distance_km"] or 0.0, row["store"]))

    async def _promised(self, tenant: str, store: str, gtin: str) -> dict[str, Any]:
        rows = await self._store.query("states", tenant=tenant, store=store, name=f"stock/{gtin}")
        return {row["store"]: json.loads(row["document"]).get("available_to_promise") for row in rows}

    async def promise(self, tenant: str, store: str, gtin: str) -> dict[str, Any]:
        """Available-to-promise of one product in one store: its retained state. HTTPException 404 without one."""
        rows = await self._store.query("states", tenant=tenant, store=store, name=f"stock/{gtin}")
        if not rows:
            raise HTTPException(404, f"store {store!r} has told nothing of {gtin}")
        return {"store": store, "gtin": gtin, **json.loads(rows[0]["document"])}


class Sight(Protocol):
    """How far each journal is, and what the workers have counted."""

    async def streams(self) -> Collection[Stream]:
        """Every journal."""
        ...

    async def totals(self) -> Mapping[str, Mapping[str, int]]:
        """By worker; the only one has no name."""
        ...


class LiveSight:
    """Of the consumer in this process."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    async def streams(self) -> Collection[Stream]:
        """As they are in memory."""
        return self._consumer.streams.values()

    async def totals(self) -> Mapping[str, Mapping[str, int]]:
        """As they are now."""
        return {"": self._consumer.counters.totals()}


class StoredSight:
    """Of workers elsewhere, through the store that they share; looked up anew at most every 2 s."""

    def __init__(self, store: PlatformStore, now_s: Callable[[], float] = time.monotonic) -> None:
        self._store, self._now_s = store, now_s
        self._streams: list[Stream] = []
        self._until_s = -math.inf

    async def streams(self) -> Collection[Stream]:
        """As last written."""
        if self._now_s() >= self._until_s:
            self._streams = await self._store.streams()
            self._until_s = self._now_s() + LOOK_AGAIN_S
        return self._streams

    async def totals(self) -> Mapping[str, Mapping[str, int]]:
        """As last told."""
        return await self._store.told_totals()


def make_app(
    store: PlatformStore,
    sight: Sight,
    places: Mapping[tuple[str, str], Place] | None = None,
    guards: Sequence[Any] = (),
) -> FastAPI:
    """The application over an open store; guards: dependencies of all."""
    app = FastAPI(title="Smart-store reference platform", version="1.0", dependencies=list(guards))
    answers = Answers(store, places or {})

    @app.get("/v1/stock")
    async def stock(tenant: str = TENANT, shop: str = Query("", alias="store"), gtin: str = "") -> list[dict[str, Any]]:
        """The newest count a shelf and product."""
        wanted = _gtin(gtin) if gtin else ""
        return await store.query("stock", tenant=tenant, store=shop, gtin=wanted)

    @app.get("/v1/who-has/{gtin}")
    async def who_has(
        gtin: str,
        tenant: str = TENANT,
        latitude: float | None = Query(None, ge=-90, le=90),
        longitude: float | None = Query(None, ge=-180, le=180),
    ) -> list[dict[str, Any]]:
        """Stores that have the product, nearest first when a place is given."""
        near = Place(latitude, longitude) if latitude is not None and longitude is not None else None
        return await answers.who_has(tenant, _gtin(gtin), near)

    @app.get("/v1/promise/{shop}/{gtin}")
    async def promise(shop: str, gtin: str, tenant: str = TENANT) -> dict[str, Any]:
        """Available-to-promise."""
        return await answers.promise(tenant, shop, _gtin(gtin))

    @app.get("/v1/stock-outs")
    async def stock_outs(tenant: str = TENANT) -> list[dict[str, Any]]:
        """What is out of stock where, longest first."""
        return await store.query("stock_outs", tenant=tenant)

    @app.get("/v1/footfall")
    async def footfall(from_us: int, to_us: int, tenant: str = TENANT) -> list[dict[str, Any]]:
        """Crossings by store in a period (µs since 1970, UTC)."""
        rows = await store.query("footfall", tenant=tenant, from_us=str(from_us), to_us=str(to_us))
        return [{**row, "entered": int(row["entered"]), "left_count": int(row["left_count"])} for row in rows]

    @app.get("/v1/stores")
    async def stores(tenant: str = Query("", pattern="^[a-z0-9-]*$")) -> list[dict[str, Any]]:
        """Each store's journal: complete up to where, what is missing, online, refused. Without a tenant: of all."""
        return [
            store_row(stream)
            for stream in await sight.streams()
            if tenant in ("", stream.key.tenant) and stream.key.epoch != PLATFORM_EPOCH
        ]

    @app.get("/metrics")
    async def metrics() -> Response:
        """Prometheus text."""
        text = prometheus(await sight.totals(), await sight.streams())
        return Response(text, media_type="text/plain; version=0.0.4")

    app.add_exception_handler(StoreLost, store_is_lost)
    return app


async def store_is_lost(_request: Request, error: Exception) -> Response:
    """The database is away: come again."""
    return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "5"})


def store_row(stream: Stream) -> dict[str, Any]:
    """One line of the stores' view."""
    return {
        "tenant": stream.key.tenant,
        "store": stream.key.store,
        "epoch": stream.key.epoch,
        "complete_to": stream.contiguous,
        "promised": stream.promised,
        "missing": sum(high - low + 1 for low, high in stream.holes()),
        "online": stream.online,
        "refused": stream.refused,
    }


def prometheus(totals: Mapping[str, Mapping[str, int]], streams: Iterable[Stream]) -> str:
    """Counters and gauges in Prometheus' text format.

    A label for each worker, whose counters begin anew with it; none for each store: 10,000 would drown a scrape.
    """
    known = list(streams)
    lines = []
    for name in dict.fromkeys(name for counted in totals.values() for name in counted):
        lines.append(f"# TYPE smartstore_{name}_total counter")
        for worker, counted in totals.items():
            label = f'{{worker="{worker}"}}' if worker else ""
            lines.append(f"smartstore_{name}_total{label} {counted.get(name, 0)}")
    gauges = {
        "stores": len({(stream.key.tenant, stream.key.store) for stream in known}),
        "stores_online": sum(stream.online is True for stream in known),
        "stores_refused": sum(bool(stream.refused) for stream in known),
        "events_missing": sum(high - low + 1 for stream in known for low, high in stream.holes()),
    }
    lines += [f"# TYPE smartstore_{name} gauge\nsmartstore_{name} {value}" for name, value in gauges.items()]
    return "\n".join(lines) + "\n"
