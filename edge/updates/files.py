"""The folder through which updater and gateway talk: what is wanted, what was done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.files import read_table, write_json


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the updater did: ok, or not and by which reason. `number` rises by one each time."""

    number: int
    what: str
    old: str
    new: str
    ok: bool
    reason: str = ""
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """As it stands in its file."""
        return {name: getattr(self, name) for name in self.__slots__}


class Exchange:
    """The folder ``updates`` in the gateway's state: what is wanted, what was done, what waits for devices."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wanted_file = folder / "wanted.json"
        self.status_file = folder / "status.json"
        self.told = folder / "told"
        self.firmware = folder / "firmware"

    def wanted(self) -> dict[str, str]:
        """Versions by name that the platform or a person wants; {} where nothing is."""
        return {str(name): str(version) for name, version in read_table(self.wanted_file).items()}

    def want(self, versions: dict[str, str]) -> None:
        """Remember durably; the updater's path unit wakes by this file."""
        write_json(self.wanted_file, versions)

    def status(self) -> dict[str, Any]:
        """What the updater found last: checked_us, signed_us, available, running, trial …"""
        return read_table(self.status_file)

    def tell(self, what: str, versions: tuple[str, str], reason: str = "", detail: str = "") -> Outcome:
        """Leave an outcome for the gateway, which audits it; `reason` "" means that all went well."""
        numbers = [int(path.stem) for path in self._outcome_files()]
        last = max([*numbers, int(read_table(self.folder / "last.json").get("number", 0))])
        outcome = Outcome(last + 1, what, *versions, not reason, reason, detail)
        write_json(self.folder / "last.json", {"number": outcome.number})
        write_json(self.told / f"{outcome.number:06d}.json", outcome.as_json())
        return outcome

    def outcomes(self) -> Iterator[tuple[Path, Outcome]]:
        """What the gateway has not yet taken over, oldest first; a broken file is dropped."""
        for path in self._outcome_files():
            try:
                yield path, Outcome(**read_table(path))
            except TypeError:
                path.unlink(missing_ok=True)

    def _outcome_files(self) -> list[Path]:
        return sorted(path for path in self.told.glob("*.json") if path.stem.isdigit())
