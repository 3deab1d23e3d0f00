"""The shopper's page on mobile data: hosted by the platform, fed by what stores mirror on MQTT (``state/offers/…``).

A phone on mobile data cannot reach a gateway. It gets the same page, with what is offered to everybody and true in
stock, and where it lies; its own code it gets in the store, whose ledger alone can promise that a code works once.
Nothing is asked of the phone, nothing is kept of it, and no token is needed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, HTTPException, Query, Response

from cloud_bridge.ingest.store import PlatformStore
from edge.core.gtin import gtin_of_code

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
TYPES: Final = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".html": "text/html",
}

Etag = Annotated[str, Header(alias="If-None-Match", max_length=200)]


class Mirror:
    """What stores have told of a zone or a product, as the page asks for it."""

    def __init__(self, store: PlatformStore) -> None:
        self._store = store

    async def offers(self, tenant: str, store: str, zone: str) -> dict[str, Any]:
        """As ``GET /v1/offers`` of a gateway answers somebody who has not consented. HTTPException 404."""
        told = await self._state(tenant, store, f"offers/{zone}")
        if told is None:
            raise HTTPException(404, "nothing is known of this place")
        rows = [row | {"why_not": []} for row in told["promotions"]]
        return told | {"offers": [], "promotions": rows}

    async def product(self, tenant: str, store: str, gtin: str) -> dict[str, Any]:
        """As ``GET /v1/shopper/product`` of a gateway, as far as the store tells. HTTPException 404."""
        told = await self._state(tenant, store, f"stock/{gtin}")
        if told is None:
            raise HTTPException(404, "this product is not sold here")
        return {"gtin": gtin, "name": told["name"], "on_hand": told["on_hand"], "url": "", "shelves": []}

    async def _state(self, tenant: str, store: str, name: str) -> dict[str, Any] | None:
        rows = await self._store.query("states", tenant=tenant, store=store, name=name)
        document: dict[str, Any] | None = json.loads(rows[0]["document"]) if rows else None
        return document


def make_shopper(store: PlatformStore, files: Path) -> APIRouter:
    """Routes under ``/s/``; files: the folder of the page, the very one that gateways serve."""
    router, mirror = APIRouter(include_in_schema=False), Mirror(store)
    kept = {file.name: file.read_bytes() for file in files.iterdir() if file.suffix in TYPES}

    def send(name: str) -> Response:
        if name not in kept:
            raise HTTPException(404, "no such file")
        return Response(kept[name], media_type=TYPES[Path(name).suffix], headers=HEADERS)

    def answer(document: dict[str, Any], if_none_match: str) -> Response:
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
        if if_none_match == etag:
            return Response(status_code=304, headers=HEADERS | {"ETag": etag})
        return Response(body, media_type="application/json", headers=HEADERS | {"ETag": etag})

    @router.get("/s/sw.js")
    async def service_worker() -> Response:
        return send("sw.js")

    @router.get("/s/page")
    async def page() -> Response:
        return send("page.html")

    @router.get("/s/files/{name}")
    async def file(name: str) -> Response:
        return send(name)

    @router.get("/s/{tenant}/{shop}/v1/offers")
    async def offers(tenant: str, shop: str, zone: Annotated[str, Query(max_length=80)], same: Etag = "") -> Response:
        return answer(await mirror.offers(tenant, shop, zone), same)

    @router.get("/s/{tenant}/{shop}/v1/shopper/product")
    async def product(tenant: str, shop: str, code: Annotated[str, Query(max_length=400)], same: Etag = "") -> Response:
        try:
            gtin = gtin_of_code(code)
        except ValueError as fault:
            raise HTTPException(422, f"code = {code[:60]!r}: {fault}") from None
        return answer(await mirror.product(tenant, shop, gtin), same)

    @router.get("/s/{tenant}/{shop}/{zone}")
    async def zone_page(tenant: str, shop: str, zone: str) -> Response:
        del tenant, shop, zone  # the page itself reads them from its address
        return send("page.html")

    return router
