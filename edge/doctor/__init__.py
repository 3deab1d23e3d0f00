"""``smartstore doctor``: looks for the likely faults of a machine, its settings and its devices, and explains them.

It only looks: nothing is changed, no device is spoken to beyond opening its port. The gateway may run meanwhile.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge.clock import Sources
from edge.core.errors import GatewayError
from edge.doctor import machine, store, updates, wires
from edge.doctor.finding import Finding, Grade, judged, report
from edge.updating import update_paths

if TYPE_CHECKING:
    from cloud_bridge.settings import Endpoint, UplinkSettings
    from edge.plan import Plan

__all__ = ["Finding", "Grade", "examine", "report"]
ROOT = Path("/")


def examine(config: Path | None, root: Path = ROOT) -> list[Finding]:
    """All checks; those of settings and devices only with a settings file. The machine is read below `root`."""
    findings = [*machine.software(), *machine.clock(), *machine.hardware(root), *machine.network(root)]
    if config is None:
        return findings
    from edge.plan import read_plan  # noqa: PLC0415 (drivers are imported only when there are settings to check)

    try:
        plan = read_plan(config)
    except GatewayError as error:
        return [*findings, Finding("settings", Grade.FAULT, str(error), error.hint)]
    summary = f"{len(plan.devices)} devices, {len(plan.site.shelves)} shelves"
    findings.append(Finding("settings", Grade.OK, summary))
    return [*findings, *_planned(plan, root)]


def _planned(plan: Plan, root: Path) -> Iterator[Finding]:
    yield from store.disk(plan.state_dir)
    yield from store.journal(plan.journal)
    yield from store.crashes(plan.state_dir)
    yield from _model(plan.state_dir)
    leaf = plan.state_dir / "tls" / "leaf.pem"
    if leaf.exists():
        yield from store.certificate(leaf, "console certificate", Sources().realtime_ns() / 1e9)
    yield wires.api_port(plan.api.host, plan.api.port)
    adapters = sorted({str(s.adapter) for entry, s in plan.devices if entry.kind == "beacon_ble"})
    if adapters:
        yield from machine.bluetooth(root, os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", ""), adapters)
    links = [(entry.id, str(getattr(s, "link", "") or getattr(s, "moniker", ""))) for entry, s in plan.devices]
    yield from wires.devices((device, link) for device, link in links if link)
    yield from _uplink(plan.uplink)
    paths = update_paths(plan.file)
    if paths is not None:
        yield from updates.look(paths, Sources().realtime_ns() // 1000)


def _model(state_dir: Path) -> Iterator[Finding]:
    from models.errors import ManifestError, ModelError  # noqa: PLC0415
    from models.manifest import MANIFEST, read_manifest, read_model  # noqa: PLC0415
    from models.update import in_use  # noqa: PLC0415

    current, last_good = in_use(state_dir / "models")
    for what, path in {"model": current, "last good model": last_good, "built-in model": MANIFEST}.items():
        try:
            manifest = read_manifest(path)
            read_model(manifest)
        except (ManifestError, ModelError) as error:
            action = "doors count with the next one in this list; install the model again"
            yield Finding(what, Grade.FAULT, str(error), action)
        else:
            yield Finding(what, Grade.OK, f"{manifest.name} {manifest.version}, unchanged")
            return


def _uplink(settings: UplinkSettings) -> Iterator[Finding]:
    from cloud_bridge.settings import FILES  # noqa: PLC0415 (as the plan: only where there are settings to check)

    if not settings.hosts:
        yield Finding("broker", Grade.WARNING, "none is set", "facts stay here: enrol the gateway, or set uplink.hosts")
        return
    keys = len(settings.platform_keys)
    action = "no command of the platform can be checked, so each is refused: set uplink.platform_keys"
    yield judged("platform keys", keys > 0, f"{keys} keys", action, Grade.WARNING)
    for name in FILES:
        yield from wires.uplink_file(name, str(getattr(settings, name)))
    if settings.cert_file:
        yield from store.certificate(Path(settings.cert_file), "store certificate", Sources().realtime_ns() / 1e9)
    for address, endpoint in zip(settings.hosts, settings.endpoints(), strict=True):
        yield _broker(address, endpoint, settings)


def _broker(address: str, endpoint: Endpoint, settings: UplinkSettings) -> Finding:
    if not endpoint.secure:
        return wires.broker(address, endpoint.host, endpoint.port, None)
    try:
        tls = ssl.create_default_context(cafile=settings.ca_file or None)
        if settings.cert_file:
            tls.load_cert_chain(settings.cert_file, settings.key_file or None)
    except OSError as error:
        named = ", ".join(path for path in (settings.ca_file, settings.cert_file, settings.key_file) if path)
        return Finding(f"broker {address}", Grade.FAULT, f"{named}: {error}", "enrol the gateway again")
    return wires.broker(address, endpoint.host, endpoint.port, tls)
