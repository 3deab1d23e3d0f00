"""The composition root's share of set-up: which devices stand where, and the planogram, changed while it runs.

The settings file says what was there at first; what technicians change is kept in the journal and goes before it. A
position (id) owns kind, settings and history; hardware is a part that can be replaced.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from devices.driver import Driver, DriverContext
from devices.registry import driver_info, kinds
from devices.transport import ByteStream, Tap, open_stream
from edge.beacon_keys import PREFIX as BEACON_KEY
from edge.beacon_keys import BeaconKeys
from edge.core.errors import SettingsError
from edge.core.fact import JsonValue
from edge.core.observation import DeviceState, DeviceStatus
from edge.core.plain import PlainError, build, describe
from edge.core.ports import Command
from edge.core.site import Site, load_site
from edge.health import DeviceHealth
from edge.runtime import Runtime
from edge.settings import DeviceEntry
from edge.supervisor import Supervised, Supervisor

DEVICE_KEY = "installation/device/"
SITE_KEY = "installation/site"
DEVICES_LIMIT = 200
NO_STORE = ("unclaimed", "new-store")
"""Tenant and store of deploy/first-site.json: such a gateway may become any store, once."""


def kept_site(keyed: Mapping[str, JsonValue], planned: Site) -> Site:
    """The planogram that a technician loaded last, else the one of the settings."""
    document = keyed.get(SITE_KEY)
    return load_site(document) if isinstance(document, dict) else planned


def site_document(site: Site) -> dict[str, Any]:
    """The planogram as plain JSON, as `load_site` takes it."""
    return {field.name: _plain(getattr(site, field.name)) for field in dataclasses.fields(site) if field.init}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


class Installation:
    """Starts, changes and retires drivers, and puts planograms into effect. Every change is durable when it returns."""

    def __init__(
        self, runtime: Runtime, supervisor: Supervisor, entries: tuple[DeviceEntry, ...], store_open: Callable[[], bool]
    ) -> None:
        self._runtime, self._supervisor, self._store_open = runtime, supervisor, store_open
        self._entries = {entry.id: entry for entry in entries}
        self._taps: dict[str, tuple[Path, int]] = {}
        self._group: asyncio.TaskGroup | None = None
        keyed = runtime.journal
        beacon_keys = {key: keyed.get(key) for key in keyed.keys(BEACON_KEY)}
        self.beacon_keys = BeaconKeys(beacon_keys, keyed, runtime.clock_us, self._listen_anew)
        for key in runtime.journal.keys(DEVICE_KEY):
            row = runtime.journal.get(key)
            device_id = key.removeprefix(DEVICE_KEY)
            if isinstance(row, dict) and row.get("retired"):
                self._entries.pop(device_id, None)
            else:
                self._entries[device_id] = build(DeviceEntry, row)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start every driver. One whose kept settings no longer fit this release is shown with the cause."""
        self._group = group
        for entry in self._entries.values():
            try:
                self._launch(entry)
            except PlainError as error:
                self._runtime.health.devices[entry.id] = DeviceHealth(entry.kind)
                self._say_offline(entry.id, "settings", str(error))

    def entries(self) -> dict[str, DeviceEntry]:
        """Every position by its id."""
        return dict(self._entries)

    def driver(self, device_id: str) -> Driver | None:
        """The running driver, None while it is down."""
        return self._supervisor.drivers.get(device_id)

    def kinds(self) -> list[dict[str, Any]]:
        """What can be set up: kind, title, and the settings with type, default and whether they must be given."""
        rows = []
        for kind in kinds():
            info = driver_info(kind)
            rows.append({"kind": kind, "title": info.title, "settings": _fields(info.settings)})
        return rows

    def check(self, entry: DeviceEntry) -> None:
        """Raises PlainError for a kind or a setting that cannot be."""
        build(driver_info(entry.kind).settings, entry.settings, f"device {entry.id}: settings")

    async def put(self, entry: DeviceEntry) -> None:
        """Add a position, or change it: its driver starts anew. Raises PlainError naming key, value, expectation."""
        self.check(entry)
        if entry.id not in self._entries and len(self._entries) >= DEVICES_LIMIT:
            raise PlainError("devices", len(self._entries), f"at most {DEVICES_LIMIT} devices")
        row: JsonValue = {"id": entry.id, "kind": entry.kind, "settings": entry.settings}
        await self._runtime.journal.put(DEVICE_KEY + entry.id, row)
        await self._supervisor.stop(entry.id)
        self._entries[entry.id] = entry
        self._launch(entry)

    async def retire(self, device_id: str) -> None:
        """Stop a driver for good; its history stays."""
        await self._runtime.journal.put(DEVICE_KEY + device_id, {"retired": True})
        self._entries.pop(device_id, None)
        await self._supervisor.stop(device_id)
        self._say_offline(device_id, "retired", "taken out of service")
        self._runtime.health.devices.pop(device_id, None)

    async def tap(self, device_id: str, path: Path | None, max_bytes: int = 0) -> None:
        """Record the device's link into a file at its next connection, None: no longer; the link starts anew."""
        self._taps.pop(device_id, None)
        if path is not None:
            self._taps[device_id] = (path, max_bytes)
        entry = self._entries.get(device_id)
        if entry is not None:
            await self._supervisor.stop(device_id)
            self._launch(entry)

    async def _open(self, device_id: str, moniker: str) -> ByteStream:
        stream = await open_stream(moniker)
        path, max_bytes = self._taps.get(device_id, (None, 0))
        if path is None or path.exists():  # a link that broke is not recorded twice into one file
            return stream
        try:
            return Tap(stream, path, moniker, max_bytes)
        except OSError:
            await stream.close()
            raise

    def _launch(self, entry: DeviceEntry) -> None:
        info = driver_info(entry.kind)
        settings = build(info.settings, entry.settings, "settings")
        counters: dict[str, int] = {}
        opening = functools.partial(self._open, entry.id)
        context = DriverContext(
            entry.id, self._runtime.clock_us, opening, counters, self._store_open, self.beacon_keys.keys
        )
        health = DeviceHealth(entry.kind, counters=counters)
        before = self._runtime.health.devices.get(entry.id)
        if before is not None:
            health.serial, health.model, health.firmware = before.serial, before.model, before.firmware
        self._runtime.health.devices[entry.id] = health
        assert self._group is not None
        self._supervisor.start(self._group, Supervised(entry.id, lambda: info.open(context, settings)))

    async def _listen_anew(self) -> None:
        """Beacons got other keys: the drivers that resolve them begin anew."""
        for entry in self._entries.values():
            if any(field.name == "eid_keys" for field in dataclasses.fields(driver_info(entry.kind).settings)):
                await self._supervisor.stop(entry.id)
                self._launch(entry)

    def _say_offline(self, device_id: str, cause: str, detail: str) -> None:
        now_us = self._runtime.clock_us()
        self._runtime.emit(DeviceStatus(device_id, now_us, DeviceState.OFFLINE, cause, detail))

    # --- planogram ----------------------------------------------------------------------------------------------------

    def site(self) -> Site:
        """The planogram with the present catalogue."""
        return self._runtime.engine.parts.inventory.site

    def site_document(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return site_document(self.site())

    async def use_site(self, document: Mapping[str, Any], actor: str, command_id: str) -> Site:
        """Put a planogram into effect at once. Raises SiteError; then nothing has changed."""
        site = load_site(document)
        own = (self.site().store.tenant, self.site().store.id)
        if own not in ((site.store.tenant, site.store.id), NO_STORE):
            expected = f"{self.site().store.tenant}/{self.site().store.id}, the store of this gateway"
            raise SettingsError("planogram", "store", f"{site.store.tenant}/{site.store.id}", expected)
        changed = [row for row in site.products if self.site().product_by_gtin.get(row.gtin) != row]
        await self._runtime.replan(site)
        kept = self._runtime.journal.put(SITE_KEY, site_document(site))
        if changed:  # the catalogue is remembered product by product: tell it what is new
            rows: JsonValue = [dataclasses.asdict(row) for row in changed]
            await self._runtime.execute(Command(command_id, "set_catalogue", {"products": rows}, actor))
        await kept
        return site

    async def adopt(self, tenant: str, store: str) -> None:
        """Be this store from now on: the planogram's store gets its ids. Raises SiteError."""
        document = self.site_document()
        if (document["store"]["tenant"], document["store"]["id"]) == (tenant, store):
            return
        document["store"] |= {"tenant": tenant, "id": store}
        await self._runtime.replan(load_site(document))
        await self._runtime.journal.put(SITE_KEY, document)


def _fields(settings: type[Any]) -> list[dict[str, Any]]:
    """The settings of a kind for a form."""
    rows = []
    for field in describe(settings):
        shown = field.default if isinstance(field.default, str | int | float | bool) else None
        row = {"name": field.name, "type": field.type, "required": field.required, "default": shown}
        rows.append(row | {"expected": field.rule} if field.rule else row)
    return rows
