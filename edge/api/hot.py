"""The hot reads of the gateway itself: health, devices, stock. Rendered once for each version of what they show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from edge.api.documents import device_rows, health_document, stock_row
from edge.api.quick import NO_CACHE, Ask, Hot, Rendered, tag_of, to_json
from edge.api.services import Services
from edge.core.instant import US_PER_MS

DEVICES_FRESH_US: Final = 100 * US_PER_MS  # last_seen_s has a digit for tenths: ages and counters are that old at most
PAGES_KEPT: Final = 16  # pages of a list; each may have a thousand rows
_Row = tuple[object, object, Rendered]
_Asked = tuple[str, int, str]


class Pages:
    """Rendered answers. Each is compared with what it was made of before it is given again, so none is ever stale."""

    def __init__(self, here: Services) -> None:
        self._here = here
        self._rows: dict[str, _Row] = {}
        self._lists: dict[_Asked, tuple[int, object, Rendered]] = {}
        self._queries: dict[bytes, _Asked] = {}
        self._devices: tuple[int, list[object], Rendered] | None = None

    def health(self) -> Rendered:
        """How the gateway is, now; no ETag: it changes with every fact."""
        status, body = health_document(self._here)
        return Rendered(to_json(body), status=status, more=(("cache-control", "no-store"),))

    def devices(self) -> Rendered:
        """Every device: states as they are now, ages and counters at most `DEVICES_FRESH_US` old."""
        now_us, states = self._here.runtime.clock_us(), self._states()
        if self._devices is None or self._devices[0] <= now_us or self._devices[1] != states:
            body = to_json(device_rows(self._here))
            self._devices = (now_us + DEVICES_FRESH_US, states, Rendered(body, tag_of(body)))
        return self._devices[2]

    def _states(self) -> list[object]:
        return [
            (name, d.kind, d.state, d.cause, d.detail, d.serial, d.model, d.firmware, d.restarts)
            for name, d in self._here.health.devices.items()
        ]

    # --- stock --------------------------------------------------------------------------------------------------------

    def product(self, gtin: str) -> Rendered:
        """One product (14 digits): rendered again when its document or the catalogue's entry is another one."""
        entry = self._here.runtime.view.documents().get(f"stock/{gtin}")
        product = self._here.site.product_by_gtin[gtin]
        row = self._rows.get(gtin)
        if row is None or row[0] is not entry or row[1] is not product:
            body = to_json(stock_row(self._here, gtin))
            row = self._rows[gtin] = (entry, product, Rendered(body, tag_of(body)))
        return row[2]

    def stock(self, text: str, limit: int, after: str, query: bytes) -> Rendered:
        """A page of the stock; remembers how the route read this query, so that it need not be read again."""
        if len(self._queries) >= PAGES_KEPT:
            self._queries.clear()
            self._lists.clear()
        self._queries[query] = (text, limit, after)
        return self._page((text, limit, after))

    def known_query(self, query: bytes) -> Rendered | None:
        """The page of a query that the route has read before."""
        asked = self._queries.get(query)
        return None if asked is None else self._page(asked)

    def _page(self, asked: _Asked) -> Rendered:
        version, site = self._here.runtime.view.version, self._here.site
        kept = self._lists.get(asked)
        if kept is None or kept[0] != version or kept[1] is not site:
            kept = self._lists[asked] = (version, site, self._render(*asked))
        return kept[2]

    def _render(self, text: str, limit: int, after: str) -> Rendered:
        needle = text.casefold()
        wanted = sorted(
            gtin
            for gtin, product in self._here.site.product_by_gtin.items()
            if gtin > after and (needle in product.name.casefold() or needle in gtin)
        )
        more = NO_CACHE
        if len(wanted) > limit:
            query = urlencode({"text": text, "limit": limit, "after": wanted[limit - 1]})
            more = (*NO_CACHE, ("link", f'</v1/stock?{query}>; rel="next"'))
        body = b"[" + b",".join(self.product(gtin).body for gtin in wanted[:limit]) + b"]"
        return Rendered(body, tag_of(body), more=more)


def pages_of(ask: Ask) -> Pages:
    """The rendered answers of the app."""
    pages: Pages = ask.state.pages
    return pages


def _product(ask: Ask) -> Rendered | None:
    gtin = ask.path.rpartition("/")[2]
    return pages_of(ask).product(gtin) if gtin in ask.here.site.product_by_gtin else None


HOT: Mapping[str, Hot] = {
    "/health": Hot(lambda ask: pages_of(ask).health(), None),
    "/v1/devices": Hot(lambda ask: pages_of(ask).devices()),
    "/v1/stock": Hot(lambda ask: pages_of(ask).known_query(ask.query)),
    "/v1/stock/*": Hot(_product),
}
