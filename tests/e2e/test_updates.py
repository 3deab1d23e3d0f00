"""Updates as in a store: real slots made by pip, the real gate, the real gateway, the real command line."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tarfile
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.updates.repository import NewRelease, Publisher
from edge.updates.slots import Slots
from tests.e2e.support import wait_until

ROOT = Path(__file__).parents[2]
GATE = ROOT / "deploy" / "gate.sh"
PROGRAM = """import sys
sys.path[:0] = {paths!r}
import edge.main
edge.main.version = lambda _: {version!r}
def main():
    if {broken!r} and "run" in sys.argv:
        sys.exit("this release does not start")
    from edge.cli.app import main
    main()
"""


def bundle(folder: Path, version: str, *, broken: bool = False) -> Path:
    """A bundle whose one wheel is this checkout under another version."""
    info = f"smartstore_gateway-{version}.dist-info"
    files = {
        "that_release.py": PROGRAM.format(
            paths=[str(ROOT), sysconfig.get_path("purelib")], version=version, broken=broken
        ),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: smartstore-gateway\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nsmartstore = that_release:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in files)
    wheel = folder / f"smartstore_gateway-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    path = folder / f"gateway-{version}.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(wheel, f"wheels/{wheel.name}")
    return path


class Machine:
    """What systemd does with our units: the gate before each start, a restart after each end and each turn."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.base, self.log = folder, folder / "opt", (folder / "gateway.log").open("wb")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        shutil.copy(ROOT / "deploy/first-site.json", folder / "site.json")
        (folder / "gateway.toml").write_text(
            f'[gateway]\nplanogram = "site.json"\nstate_dir = "var"\n[api]\nport = {self.port}\nopen = true\n'
            f'[updates]\nurl = "{(folder / "repository").as_uri()}"\nroot = "repository/metadata/1.root.json"\n'
            'slots = "opt"\ntrust_dir = "trust"\ngate_s = 25\n'
        )
        self.publisher = Publisher(folder / "repository")
        self.publisher.create()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._systemd)

    def _gate(self) -> None:
        environment = {**os.environ, "SLOTS": str(self.base), "RUN": str(self.folder / "run")}
        subprocess.run(["sh", str(GATE), "start"], env=environment, check=True, stdout=self.log, stderr=self.log)

    def _systemd(self) -> None:
        while not self._over.is_set():
            self._gate()
            command = [self.base / "current/bin/smartstore", "run", "--config", self.folder / "gateway.toml"]
            process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
            turned = self._turned()
            while process.poll() is None and not self._over.is_set() and self._turned() == turned:
                time.sleep(0.1)
            process.terminate()
            process.wait()
            self._over.wait(0.3)

    def _turned(self) -> float:
        with contextlib.suppress(OSError):
            return (self.base / "turned.json").stat().st_mtime
        return 0.0

    def start(self, version: str) -> None:
        slots = Slots(self.base)
        slots.fill(version, bundle(self.folder, version), "first")
        slots.turn("current", version)
        slots.turn("good", version)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self.log.close()

    def release(self, version: str, *, broken: bool = False) -> None:
        file = bundle(self.folder, version, broken=broken)
        self.publisher.add(NewRelease("software", "gateway", version, file, {"machine": "any"}))

    def update(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`smartstore update …`, from the good release, as the unit starts it."""
        command = [str(self.base / "good/bin/smartstore"), "update", *arguments]
        command += ["--config", str(self.folder / "gateway.toml")]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return json.load(answer)

    def runs(self, version: str) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.ask("/health")["version"] == version)
        return False


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    machine.start("1.0.0")
    yield machine
    machine.stop()


def test_a_store_is_updated_judged_and_taken_back(machine: Machine) -> None:
    wait_until(lambda: machine.runs("1.0.0"), 30, "release 1.0.0")
    machine.release("1.1.0")
    checked = machine.update("check")
    assert "gateway-1.1.0" in checked.stdout, checked.stderr
    done = machine.update("apply", "gateway-1.1.0", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == ["gateway 1.0.0 -> 1.1.0"]
    assert machine.runs("1.1.0")

    machine.release("1.2.0", broken=True)
    done = machine.update("apply", "gateway-1.2.0")
    assert done.returncode == 3
    assert "unhealthy: gateway-1.2.0" in done.stderr
    assert "runs again" in done.stderr
    assert "Traceback" not in done.stderr
    wait_until(lambda: machine.runs("1.1.0"), 30, "release 1.1.0 once more")
    wait_until(lambda: len(actions(machine)) == 2, 15, "the audit of both")
    assert actions(machine) == ["update.unhealthy", "update.done"]
    facts = json.dumps(machine.ask("/v1/facts?limit=1000"))
    assert "system.Updated" in facts
    assert machine.ask("/health")["causes"] == []  # no safe mode for what the other release did

    status = json.loads(machine.update("status", "--json").stdout)
    assert (status["current"], status["good"], status["previous"]) == ("1.1.0", "1.1.0", "1.0.0")
    assert machine.update("apply", "gateway-0.9.0").returncode == 3
    assert machine.update("apply", "gatewayx").returncode == 2
    assert machine.update("rollback").stdout.strip() == "1.1.0 is left, 1.0.0 is current"
    wait_until(lambda: machine.runs("1.0.0"), 30, "release 1.0.0 by hand")


def actions(machine: Machine) -> list[str]:
    rows = machine.ask("/v1/audit")
    rows = rows.get("rows", rows.get("audit", rows)) if isinstance(rows, dict) else rows
    return [row["action"] for row in rows if row["actor"] == "updater"]


def test_the_publisher_s_command_line(tmp_path: Path) -> None:
    def release(*arguments: str) -> subprocess.CompletedProcess[str]:
        script = "from edge.cli.app import main; main()"
        command = [sys.executable, "-c", script, "release", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    folder = str(tmp_path / "repository")
    assert "give this to the gateways" in release("init", "--dir", folder).stdout
    assert release("init", "--dir", folder).returncode == 3
    file = bundle(tmp_path, "1.4.0")
    assert "published: gateway/1.4.0/" in release("software", "--dir", folder, "--version", "1.4.0", str(file)).stdout
    wrong = release("software", "--dir", folder, "--version", "one", str(file))
    assert wrong.returncode == 2
    assert "such as 1.4.0" in wrong.stderr
    manifest = str(ROOT / "models" / "manifest.toml")
    assert release("model", "--dir", folder, manifest).returncode == 0
    assert release("rotate", "--dir", folder, "timestamp").returncode == 0
    assert release("sign", "--dir", folder).stdout.strip() == "signed"
    rows = json.loads(release("list", "--dir", folder, "--json").stdout)["releases"]
    assert [row["name"] for row in rows] == ["footfall", "gateway"]
    assert release("withdraw", "--dir", folder, "gateway-1.4.0").stdout.startswith("1 files")
    for path in (tmp_path / "repository" / "keys").iterdir():
        assert path.stat().st_mode & 0o077 == 0
