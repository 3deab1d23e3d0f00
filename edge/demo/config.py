"""The gateway's settings for a simulated store: what a technician would have written down at the installation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def gateway_toml(directory: Path, platform: dict[str, Any], *, open_api: bool = True) -> tuple[Path, dict[str, str]]:
    """Write gateway.toml and calibration.json from the store's devices.json; returns its path and the environment.

    platform: what `smartstore platform --json` said: ``mqtt`` (address) and ``keys`` (name → base64 public key).
    open_api: ask nobody to sign in, for benches and tests that look at something else.
    """
    devices = json.loads((directory / "devices.json").read_text(encoding="utf-8"))
    environment: dict[str, str] = {}
    lines = [
        "[gateway]",
        'planogram = "site.json"',
        'calibration = "calibration.json"',
        "[api]",
        "port = 0",
        f"open = {'true' if open_api else 'false'}",
        "[uplink]",
        f"hosts = [{quoted(platform['mqtt'])}]",
        "[uplink.platform_keys]",
        *(f"{name} = {quoted(key)}" for name, key in platform["keys"].items()),
    ]
    for device in devices:
        lines += ["[[device]]", f"id = {quoted(device['id'])}", f"kind = {quoted(device['kind'])}", "[device.settings]"]
        if device["kind"] == "beacon_ble":
            lines.append(f"adapter = {quoted(device['adapter'])}")
            environment["DBUS_SYSTEM_BUS_ADDRESS"] = device["bus_address"]
        else:
            key = "moniker" if device["kind"].startswith("rfid") else "link"
            lines.append(f"{key} = {quoted(device['moniker'])}")
    path = directory / "gateway.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    cells = [
        {
            "device": device["id"],
            "cell": row["cell"],
            "zero_counts": row["offset_counts"],
            "counts_per_g": row["counts_per_g"],
        }
        for device in devices
        for row in device.get("calibration", [])
    ]
    (directory / "calibration.json").write_text(json.dumps(cells), encoding="utf-8")
    return path, environment


def quoted(text: str) -> str:
    """A TOML basic string (JSON's escapes are TOML's)."""
    return json.dumps(text)
