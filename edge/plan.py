"""What a gateway is to be: settings and planogram, read and checked before anything is opened."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloud_bridge.settings import UplinkSettings
from devices.registry import driver_info
from edge.bridge import uplink_settings
from edge.core.errors import SettingsError, SiteError
from edge.core.plain import PlainError, build
from edge.core.retention import Retention
from edge.core.shelf import Calibration, CellKey
from edge.core.site import Site, load_site
from edge.journal import JournalSettings
from edge.settings import ApiSettings, DeviceEntry, GatewaySettings, SettingsFile
from edge.updating import update_paths


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a start needs, checked before anything is opened."""

    file: SettingsFile
    site: Site
    journal: JournalSettings
    api: ApiSettings
    devices: tuple[tuple[DeviceEntry, Any], ...]
    calibrations: dict[CellKey, Calibration]
    uplink: UplinkSettings
    state_dir: Path
    updates: bool = False
    retention: Retention = field(default_factory=Retention)


def read_plan(path: Path) -> Plan:
    """Read and check settings and planogram. Raises SettingsError."""
    file = SettingsFile(path)
    gateway = file.section("gateway", GatewaySettings)
    state_dir = file.resolve(gateway.state_dir)
    journal = file.section("journal", JournalSettings)
    plan = Plan(
        file=file,
        site=_site(file.resolve(gateway.planogram)),
        journal=_journal_in(state_dir, journal),
        api=file.section("api", ApiSettings),
        devices=tuple((entry, _device_settings(file, entry)) for entry in file.devices()),
        calibrations=_calibrations(file.resolve(gateway.calibration)) if gateway.calibration else {},
        uplink=uplink_settings(file),
        state_dir=state_dir,
        updates=update_paths(file) is not None,
        retention=file.section("retention", Retention),
    )
    plan.api.check()
    file.check_sections()
    return plan


def _site(path: Path) -> Site:
    try:
        return load_site(read_json(path, "gateway.planogram"))
    except SiteError as error:
        raise SettingsError(str(path), error.entry, error.value, error.expected) from None


def _journal_in(state_dir: Path, journal: JournalSettings) -> JournalSettings:
    names = {name: getattr(journal, name) for name in JournalSettings.__slots__}
    return JournalSettings(**{**names, "path": str(state_dir / Path(journal.path).name)})


@dataclass(frozen=True, slots=True)
class CellRow:
    """One entry of the calibration file: grams = (counts - zero_counts) / counts_per_g."""

    device: str
    cell: int
    zero_counts: float
    counts_per_g: float


def _calibrations(path: Path) -> dict[CellKey, Calibration]:
    rows = read_json(path, "gateway.calibration")
    try:
        cells = [build(CellRow, row, f"[{index}]") for index, row in enumerate(rows)]
    except (PlainError, TypeError) as error:
        raise SettingsError(str(path), "gateway.calibration", str(error), "a list of cells") from None
    return {(row.device, row.cell): Calibration(row.zero_counts, row.counts_per_g) for row in cells}


def read_json(path: Path, key: str) -> Any:
    """A JSON file that a person wrote. Raises SettingsError naming file, place and what is expected."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(str(path), key, "missing", "a JSON file") from None
    except (OSError, ValueError) as error:
        raise SettingsError(str(path), key, str(error), "valid JSON in UTF-8") from None


def _device_settings(file: SettingsFile, entry: DeviceEntry) -> Any:
    try:
        info = driver_info(entry.kind)
    except PlainError as error:
        raise SettingsError(str(file.path), f"device {entry.id}: {error.key}", error.value, error.expected) from None
    return file.convert(f"device {entry.id}: settings", info.settings, entry.settings)
