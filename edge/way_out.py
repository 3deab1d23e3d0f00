"""The composition root's share of the way to the platform: proxy and WebSocket, as a technician set them here.

They go before the settings file and before what enrolment brought, which know nothing of this store's network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cloud_bridge.settings import UplinkSettings, endpoint
from edge.core.ports import KeyValue

KEY = "network/link"
WEBSOCKET_PORT = 443


class WayOut:
    """Proxy and WebSocket of the uplink. `settings`: those of file and enrolment; `changed` makes the link anew."""

    def __init__(self, keyed: KeyValue, settings: Callable[[], UplinkSettings], changed: Callable[[], None]) -> None:
        self._keyed, self._settings, self._changed = keyed, settings, changed

    def _row(self) -> dict[str, Any]:
        row = self._keyed.get(KEY)
        return dict(row) if isinstance(row, dict) else {}

    def state(self) -> dict[str, Any]:
        """proxy in use ("" for none), whether WebSocket 443 is tried as well, the broker addresses in their order."""
        now = self.settings()
        return {"proxy": now.proxy, "websocket": bool(self._row().get("websocket")), "hosts": list(now.hosts)}

    def settings(self) -> UplinkSettings:
        """The uplink's settings as they are used."""
        settings, row = self._settings(), self._row()
        if isinstance(row.get("proxy"), str):
            settings = replace(settings, proxy=row["proxy"])
        if row.get("websocket"):
            settings = replace(settings, hosts=with_websocket(settings.hosts))
        return settings

    async def choose(self, proxy: str, websocket: bool) -> None:
        """Go this way from now on. Raises PlainError for what is no proxy."""
        replace(self._settings(), proxy=proxy)  # the settings' own check
        await self._keyed.put(KEY, {"proxy": proxy, "websocket": websocket})
        self._changed()


def with_websocket(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Each broker a second time as MQTT over WebSocket on 443, after all of the first; as secure as it was."""
    more = []
    for address in hosts:
        place = endpoint(address)
        if not place.websocket:
            host = f"[{place.host}]" if ":" in place.host else place.host
            more.append(f"{'wss' if place.secure else 'ws'}://{host}:{WEBSOCKET_PORT if place.secure else 80}/mqtt")
    return tuple(dict.fromkeys((*hosts, *more)))
