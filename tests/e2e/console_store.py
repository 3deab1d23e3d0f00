"""A simulated store and an unclaimed gateway without devices, as processes: what a technician finds at first."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edge.demo import Cast

CHROMIUM = shutil.which("chromium") or ""
# Without the last four, Chromium asks for updates and names of hosts that a closed network refuses, again and again.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ARGUMENTS += ["--disable-sync", "--no-first-run"]
LINKS = {"rfid_llrp": "moniker", "beacon_ble": "adapter"}


@dataclasses.dataclass
class Found:
    """The gateway's address and claim code, and the devices of the store."""

    url: str
    code: str
    devices: list[dict[str, Any]]
    cast: Cast
    start_gateway: Callable[[], dict[str, Any]]
    """Start it again after `cast.stop("gateway")`, at the same address."""

    def body(self, device: dict[str, Any]) -> dict[str, Any]:
        """What the API takes to set this device up."""
        key = LINKS.get(device["kind"], "link")
        value = device["adapter"] if device["kind"] == "beacon_ble" else device["moniker"]
        return {"kind": device["kind"], "settings": {key: value}}

    def ten(self, folder: Path) -> list[dict[str, Any]]:
        """The nine devices of the store and a bench scale beside them, which is started now."""
        link = folder / "tty-scale"
        self.cast.start("scale", ["-m", "firmware_sim", "sics", "--link", str(link)])
        return [*self.devices, {"id": "scale-1", "kind": "scale_sics", "moniker": f"serial:{link}"}]

    def rss_mib(self) -> float:
        """Resident memory of the gateway."""
        process = dict(self.cast.started)["gateway"]
        return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096 / 2**20

    def cpu_s(self) -> float:
        """Processor time of the gateway so far."""
        fields = Path(f"/proc/{dict(self.cast.started)['gateway'].pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port of loopback that nobody holds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def first_day(
    directory: Path, *, devices: bool = False, seed: int = 7, prepare: Callable[[Path], None] | None = None
) -> Iterator[Found]:
    """Start them; `devices`: the settings name all of them already; `prepare` sees the folder before the gateway does."""
    cast = Cast(directory)
    try:
        cast.start(
            "store",
            [
                "-m",
                "firmware_sim",
                "store",
                "--scenario",
                "demo",
                "--seed",
                str(seed),
                "--dir",
                str(directory),
                "--seconds",
                "3600",
            ],
        )
        rows = json.loads((directory / "devices.json").read_text(encoding="utf-8"))
        from edge.demo.config import gateway_toml

        config, environment = gateway_toml(directory, {"mqtt": "mqtt://127.0.0.1:1", "keys": {}}, open_api=False)
        text = config.read_text(encoding="utf-8")
        head, _, rest = text.partition("[uplink]")
        head = head.replace("port = 0", f"port = {free_port()}")
        config.write_text(head + (rest[rest.index("[[device]]") :] if devices else ""), encoding="utf-8")
        if prepare is not None:
            prepare(directory)

        def start() -> dict[str, Any]:
            return cast.smartstore("gateway", "run", "--config", str(config), "--json", environment=environment)

        told = start()
        yield Found(told["api"], told["claim_code"], rows, cast, start)
    finally:
        cast.stop_all()


def missing() -> str:
    """Why the browser tests cannot run here, "" when they can."""
    if not CHROMIUM:
        return "chromium is missing: apt-get install chromium"
    done = subprocess.run(
        [sys.executable, "-c", "import playwright, axe_playwright_python"], capture_output=True, check=False
    )
    return "" if done.returncode == 0 else "playwright or axe-playwright-python is missing: pip install -e .[dev]"
