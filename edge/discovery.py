"""Discovery: what could be a device of ours on the network, on the serial ports and among the radio adapters.

How a family recognises its own is the drivers' affair: the composition root hands the ways in (`finders`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

SERIAL_BY_ID = Path("/dev/serial/by-id")
BLUETOOTH = Path("/sys/class/bluetooth")


class Found(Protocol):
    """What a finder gives: see `devices.discovery.Candidate`."""

    @property
    def kind(self) -> str: ...
    @property
    def moniker(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def note(self) -> str: ...


Finder = Callable[[tuple[str, ...]], Awaitable[Iterable[Found]]]


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look for wires on this machine; tests use folders of their own."""

    serial: Path = SERIAL_BY_ID
    bluetooth: Path = BLUETOOTH


class Discovery:
    """Looks everywhere at once. `finders`: by kind, `await finder(networks)`."""

    def __init__(self, finders: Callable[[], Mapping[str, Finder]], places: Places | None = None) -> None:
        self._finders, self._places = finders, places or Places()

    async def look(self, networks: tuple[str, ...], tell: Callable[[float, str], None]) -> list[dict[str, Any]]:
        """Everything that was found. Raises PlainError for what is no network."""
        tell(0.05, "serial ports and radio adapters")
        rows = [*self._serial(), *self._adapters()]
        finders = self._finders()
        for index, (kind, finder) in enumerate(finders.items()):
            tell(0.1 + 0.9 * index / max(1, len(finders)), f"{kind} on the network")
            found = await finder(networks)
            rows += [
                {"kind": kind, "moniker": one.moniker, "identity": one.identity, "title": one.title, "note": one.note}
                for one in found
            ]
            await asyncio.sleep(0)
        return rows

    def _serial(self) -> list[dict[str, Any]]:
        """Serial ports by their stable names; which device hangs there, its driver finds out."""
        if not self._places.serial.is_dir():
            return []
        note = "choose the kind of device that hangs here"
        return [
            {"kind": "", "moniker": f"serial:{path}", "identity": path.name, "title": path.name, "note": note}
            for path in sorted(self._places.serial.iterdir())
        ]

    def _adapters(self) -> list[dict[str, Any]]:
        if not self._places.bluetooth.is_dir():
            return []
        return [
            {"kind": "beacon_ble", "moniker": path.name, "identity": path.name, "title": path.name, "note": ""}
            for path in sorted(self._places.bluetooth.glob("hci*"))
            if ":" not in path.name
        ]
