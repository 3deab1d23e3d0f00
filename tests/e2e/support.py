"""What the end-to-end tests share: the demo's own stage, set up and looked at from outside."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.demo import Cast, Stage
from edge.demo.config import gateway_toml


class Store:
    """A virtual store, a platform and a gateway as processes."""

    def __init__(self, directory: Path, seconds: float, seed: int = 7) -> None:
        self.cast = Cast(directory)
        self.stage = Stage(directory)
        arguments = ["-m", "firmware_sim", "store", "--scenario", "demo", "--seed", str(seed), "--dir", str(directory)]
        self.cast.start("store", [*arguments, "--seconds", str(seconds)])
        self.platform = self.cast.smartstore("platform", "platform", "--dir", str(directory), "--json")
        self._config, self._environment = gateway_toml(directory, self.platform)
        self.start_gateway()

    def start_gateway(self) -> dict[str, Any]:
        """Start it (again); what it says when it serves."""
        told = self.cast.smartstore(
            "gateway", "run", "--config", str(self._config), "--json", environment=self._environment
        )
        self.stage.api = str(told["api"])
        return told

    def kill_gateway(self) -> None:
        """kill -9, as a power switch does."""
        index = next(i for i, (name, _) in enumerate(self.cast.started) if name == "gateway")
        _, process = self.cast.started.pop(index)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def wait_until(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    """Wait for something to become true; AssertionError naming it after `limit_s`."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not come true within {limit_s:.0f} s"
        time.sleep(0.25)


def has_dbus() -> bool:
    """Whether a private D-Bus can be started."""
    return shutil.which("dbus-daemon") is not None
