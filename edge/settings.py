"""The settings file (TOML): who listens where, which devices stand where. Errors name file, key, value, expected.

Each room owns the dataclass of its section; the composition root asks for sections by name and type, so this module
needs to know none of them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from edge.core.errors import SettingsError
from edge.core.plain import Matching, PlainError, Within, build

T = TypeVar("T")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
WILDCARDS = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One ``[[device]]``: the position's id, the driver's kind, and the driver's own settings."""

    id: Annotated[str, Matching(r"[a-z0-9-]{1,40}", "an id of the letters a-z, digits and '-', at most 40")]
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """``[gateway]``: planogram and first calibration (JSON files), and where state is kept; relative to this file."""

    planogram: str
    state_dir: str = "var"
    calibration: str = ""


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """``[api]``: where the local API listens; port 0 lets the system choose (it is told on start)."""

    host: str = "127.0.0.1"
    """Address to listen on; ``0.0.0.0`` or ``::`` for all of them."""
    port: Annotated[int, Within(0, 65_535, "a port")] = 8443
    tls: bool | None = None
    """HTTPS with a certificate of the gateway's own CA. Default: unless ``host`` is loopback; elsewhere it must be."""
    names: tuple[str, ...] = ()
    """Host names, besides addresses and the machine's own name, under which the gateway may be called."""
    public_name: str = ""
    """Name under which shoppers' phones on the store's Wi-Fi reach their page, and nothing else; "" for none."""
    public_certificate: str = ""
    """PEM file with the publicly trusted certificate of that name and its chain (ACME DNS-01); read anew on change."""
    public_key: str = ""
    """PEM file with its private key."""
    public_from_platform: bool = False
    """Fetch and renew these two files from the platform that this gateway is enrolled at; the key is made here."""
    open: bool = False
    """For development: no claiming and no sign-in, everybody is admin; on loopback only."""

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK

    @property
    def https(self) -> bool:
        """Whether it speaks HTTPS."""
        return not self.on_loopback if self.tls is None else self.tls

    @property
    def own_address(self) -> str:
        """Where this machine itself reaches it: an address, because a name needs a resolver that knows it."""
        address = "127.0.0.1" if self.host in (*WILDCARDS, "localhost") else self.host
        return f"[{address}]" if ":" in address else address

    def check(self) -> None:
        """Raises SettingsError for what would show PINs or the whole API to the network."""
        public = (self.public_name, self.public_certificate, self.public_key)
        if any(public) and not all(public):
            expected = "public_name, public_certificate and public_key together, or none of them"
            raise SettingsError("settings", "api.public_name", ", ".join(filter(None, public)), expected)
        if self.public_from_platform and not self.public_name:
            expected = "false, or public_name, public_certificate and public_key as well"
            raise SettingsError("settings", "api.public_from_platform", True, expected)
        if self.open and not self.on_loopback:
            expected = f"one of {', '.join(LOOPBACK)} while open = true (no sign-in is asked)"
            raise SettingsError("settings", "api.host", self.host, expected)
        if not self.https and not self.on_loopback:
            expected = f"true, or left out, while host = {self.host!r} (PINs would cross the network in clear)"
            raise SettingsError("settings", "api.tls", self.tls, expected)


class SettingsFile:
    """A settings file, read once."""

    def __init__(self, path: Path) -> None:
        """Read it. Raises SettingsError for a missing or unreadable file and for broken TOML."""
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise SettingsError(str(path), "file", "missing", "a TOML settings file (see docs/settings.md)") from None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(str(path), "file", str(error), "a readable UTF-8 file") from None
        try:
            self._table: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(str(path), "file", str(error), "valid TOML") from None
        self._asked: set[str] = set()

    def section(self, name: str, row_type: type[T]) -> T:
        """``[name]`` as its dataclass, defaults where the section is missing. Raises SettingsError."""
        self._asked.add(name)
        return self.convert(name, row_type, self._table.get(name, {}))

    def devices(self) -> tuple[DeviceEntry, ...]:
        """All ``[[device]]`` entries. Raises SettingsError, also for an id that is used twice."""
        self._asked.add("device")
        rows = self._table.get("device", [])
        if not isinstance(rows, list):
            raise SettingsError(str(self.path), "device", rows, "entries written as [[device]]")
        entries = tuple(self.convert(f"device[{i}]", DeviceEntry, row) for i, row in enumerate(rows))
        seen: set[str] = set()
        for entry in entries:
            if entry.id in seen:
                raise SettingsError(str(self.path), "device.id", entry.id, "each id only once")
            seen.add(entry.id)
        return entries

    def convert(self, key: str, row_type: type[T], value: Mapping[str, Any]) -> T:
        """Plain data as a dataclass, with this file's name in the error."""
        try:
            return build(row_type, value, key)
        except PlainError as error:
            raise SettingsError(str(self.path), error.key, error.value, error.expected) from None

    def check_sections(self) -> None:
        """Raise SettingsError for a section that no room asked for."""
        for name in self._table:
            if name not in self._asked:
                raise SettingsError(str(self.path), name, "…", f"one of the sections {', '.join(sorted(self._asked))}")

    def resolve(self, relative: str) -> Path:
        """A path of the file, relative to the file's folder."""
        return (self.path.parent / relative).resolve()
