"""``smartstore doctor``: looks for the likely faults of a machine, its settings and its devices, and explains them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge.clock import BUILD_TIME_US, Sources, kernel_says_synced
from edge.core.errors import GatewayError

MIN_FREE_MIB = 200
PROBE_S = 2.0
NEEDED_MODULES = ("numpy", "paho.mqtt", "bleak", "onnxruntime", "fastapi", "sqlite_utils", "serial")


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, whether it is well, what was found, and what to do."""

    check: str
    ok: bool
    found: str
    action: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def examine(config: Path | None) -> list[Finding]:
    """All checks; those of settings and devices only with a settings file."""
    findings = [*_machine()]
    if config is None:
        return findings
    from edge.main import read_plan  # noqa: PLC0415 (drivers are imported only when there are settings to check)

    try:
        plan = read_plan(config)
    except GatewayError as error:
        return [*findings, Finding("settings", False, str(error), error.hint)]
    findings.append(Finding("settings", True, f"{len(plan.devices)} devices, {len(plan.site.shelves)} shelves"))
    findings += _state(plan.state_dir, Path(plan.journal.path))
    findings.append(_port_free(plan.api.host, plan.api.port))
    for entry, settings in plan.devices:
        link = str(getattr(settings, "link", "") or getattr(settings, "moniker", ""))
        if link:
            findings.append(_link(entry.id, link))
    return findings


def report(findings: list[Finding]) -> None:
    """The findings as a table."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for title in ("", "check", "found", "what to do"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else "[red]fault[/]"
        table.add_row(mark, finding.check, finding.found, finding.action)
    Console().print(table)


def _machine() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", sys.version_info >= (3, 11), version, "" if sys.version_info >= (3, 11) else "use 3.11")
    missing = [name for name in NEEDED_MODULES if importlib.util.find_spec(name.split(".")[0]) is None]
    yield Finding("packages", not missing, f"missing: {', '.join(missing)}" if missing else "complete", "make setup")
    early = Sources().realtime_ns() // 1000 < BUILD_TIME_US
    yield Finding("clock", not early, "before this software was built" if early else "plausible", "set up NTP")
    synced = kernel_says_synced()
    found = "disciplined by NTP" if synced else "not synchronised"
    yield Finding("ntp", synced, found, "" if synced else "check `timedatectl`; facts are marked until it is")
    bus = Path(os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket").partition("path=")[2])
    yield Finding("d-bus", bus.exists(), str(bus), "" if bus.exists() else "install dbus and bluez (BLE adapters only)")


def _state(state_dir: Path, journal: Path) -> Iterator[Finding]:
    existing = next(parent for parent in (state_dir, *state_dir.parents) if parent.exists())
    free_mib = shutil.disk_usage(existing).free >> 20
    enough = free_mib >= MIN_FREE_MIB
    yield Finding(
        "disk", enough, f"{free_mib} MiB free at {existing}", "" if enough else "free space or lower the quota"
    )
    writable = os.access(existing, os.W_OK)
    yield Finding("state folder", writable, str(state_dir), "" if writable else "give the service's user write access")
    if journal.exists():
        sound = _journal_sound(journal)
        action = "" if sound else "nothing: it is put aside at the next start and a new epoch begins"
        yield Finding("journal", sound, str(journal), action)


def _journal_sound(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)) as db:
            return bool(db.execute("PRAGMA quick_check").fetchone()[0] == "ok")
    except sqlite3.Error:
        return False


def _port_free(host: str, port: int) -> Finding:
    if port == 0:
        return Finding("api port", True, "chosen by the system")
    with socket.socket() as probe:
        probe.settimeout(PROBE_S)
        taken = probe.connect_ex((host, port)) == 0
    found = f"{host}:{port} " + ("is in use" if taken else "is free")
    return Finding(
        "api port", not taken, found, "`ss -ltnp` shows by whom; the running gateway is fine" if taken else ""
    )


def _link(device_id: str, moniker: str) -> Finding:
    scheme, _, rest = moniker.partition(":")
    probes: dict[str, Callable[[str], tuple[bool, str]]] = {
        "serial": _serial,
        "tcp": _tcp,
        "tls": _tcp,
        "replay": _serial,
    }
    if scheme not in probes:
        return Finding(f"device {device_id}", False, moniker, f"expected one of {', '.join(probes)}")
    ok, found = probes[scheme](rest.partition("?")[0])
    action = "" if ok else "check cable, power and address; `ls /dev/serial/by-id` lists serial devices"
    return Finding(f"device {device_id}", ok, found, action)


def _serial(path: str) -> tuple[bool, str]:
    if not Path(path).exists():
        return False, f"{path} does not exist"
    readable = os.access(path, os.R_OK | os.W_OK)
    return readable, f"{path} is there" if readable else f"{path}: no permission (group dialout)"


def _tcp(address: str) -> tuple[bool, str]:
    parts = urlsplit(f"//{address}")
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 5084), PROBE_S):
            return True, f"{address} accepts connections"
    except (OSError, ValueError) as error:
        return False, f"{address}: {error}"
