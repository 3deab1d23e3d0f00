"""A publisher, a machine with slots, and releases that are one small script: what the tests of updates share."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from edge.core.instant import TimeQuality
from edge.updates.errors import UpdateRefused
from edge.updates.repository import NewRelease, Publisher
from edge.updates.settings import Follow, UpdatePaths, UpdateSettings
from edge.updates.slots import Slots, Trial, unpack
from edge.updates.updater import Surroundings, Updater

GATE = Path(__file__).parents[1] / "deploy" / "gate.sh"
WELL = {"status": "ok", "causes": [], "devices_online": 2, "uplink": "off", "boot": 1}


def now() -> datetime:
    return datetime.now(UTC)


def bundle(folder: Path, version: str, text: str = "") -> Path:
    """A tar with one file; `build` makes a slot of it whose program tells the version."""
    path = folder / f"gateway-{version}.tar"
    with tarfile.open(path, "w") as archive:
        data = json.dumps({"version": version, "text": text}).encode()
        info = tarfile.TarInfo("release.json")
        info.size = len(data)
        archive.addfile(info, BytesIO(data))
    return path


def build(file: Path, slot: Path) -> None:
    """In the place of pip: a program and a few files, so that a cut finds something to cut."""
    unpack(file, slot)
    told = json.loads((slot / "release.json").read_text())
    (slot / "lib").mkdir()
    for number in range(3):
        (slot / "lib" / f"part{number}").write_text(told["version"])
    program = slot / "bin" / "smartstore"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho \'{{"version": "{told["version"]}"}}\'\n')
    program.chmod(0o755)


@dataclass
class Shop:
    """A folder with a publisher's repository and one machine."""

    folder: Path
    judged: str = ""  # what the judge says of the next release
    quality: TimeQuality = TimeQuality.SYNCED
    follow: Follow = Follow.PLATFORM
    publisher: Publisher = field(init=False)
    gateway_says: Mapping[str, Any] = field(default_factory=lambda: dict(WELL))
    on_judging: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.publisher = Publisher(self.folder / "repository")

    def open(self, version: str = "1.0.0") -> Shop:
        """Make the repository; the machine runs `version`."""
        self.publisher.create()
        slots = self.slots()
        slots.fill(version, bundle(self.folder, version), "first")
        slots.turn("current", version)
        slots.turn("good", version)
        return self

    @property
    def base(self) -> Path:
        return self.folder / "machine" / "opt"

    def slots(self) -> Slots:
        return Slots(self.base, build)

    def release(self, version: str, text: str = "", *, kind: str = "software", name: str = "gateway") -> str:
        """Publish a bundle."""
        file = bundle(self.folder, version, text)
        return self.publisher.add(NewRelease(kind, name, version, file, {"machine": "any"}))

    def paths(self, url: str = "") -> UpdatePaths:
        machine = self.folder / "machine"
        settings = UpdateSettings(url=url or (self.folder / "repository").as_uri(), follow=self.follow)
        root = self.folder / "repository" / "metadata" / "1.root.json"
        return UpdatePaths(settings, root, self.base, machine / "trust", machine / "state")

    def updater(self, url: str = "") -> Updater:
        def judge(trial: Trial) -> str:
            self.on_judging()
            return self.judged

        around = Surroundings(
            clock=lambda floor_us: (max(floor_us, int(now().timestamp() * 1e6)), self.quality),
            look=lambda: self.gateway_says,
            judge=judge,
            install_model=lambda manifest: manifest.read_text(),
        )
        return Updater(self.paths(url), around, self.slots())

    def want(self, version: str, name: str = "gateway") -> None:
        self.updater().exchange.want({name: version})

    def outcomes(self) -> list[tuple[str, str, bool, str]]:
        return [(one.what, one.new, one.ok, one.reason) for _, one in self.updater().exchange.outcomes()]

    def start(self) -> str:
        """What systemd does at a start: the gate, then the current program; the version that says it runs."""
        environment = {**os.environ, "SLOTS": str(self.base), "RUN": str(self.folder / "run")}
        subprocess.run(["sh", str(GATE), "start"], env=environment, check=True, capture_output=True)
        said = subprocess.run([self.base / "current/bin/smartstore", "version"], capture_output=True, check=True)
        return str(json.loads(said.stdout)["version"])


def signed_long_ago(days: int) -> Callable[[], datetime]:
    return lambda: now() - timedelta(days=days)


_TOUCHES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.chmod", "subprocess.Popen")


def cut_at(step: int, work: Callable[[], Any]) -> bool:
    """Do `work` in a process of its own that is killed (SIGKILL) before its step-th touch of the file system.

    True when it was killed, False when it came to its end before.
    """
    child = os.fork()
    if child == 0:
        left = [step]

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            if event in _TOUCHES and not (event == "open" and arguments[1] in ("r", "rb", None)):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        with contextlib.suppress(Exception):
            work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def fault_after_a_cut(shop: Shop, step: int, folder: Path) -> tuple[bool, str]:
    """(whether there was something to cut, what is wrong): an update of a copy of the machine, cut at one step.

    It must boot the old release or the new one, and, once the updater has come again, end as without the cut.
    """
    machine = Shop(folder, shop.judged)
    shutil.copytree(shop.folder, folder, symlinks=True)
    ends_with = "1.0.0" if shop.judged else "1.1.0"
    killed = cut_at(step, machine.updater().run)
    booted = machine.start()
    for _ in range(2):  # the timer comes again
        with contextlib.suppress(UpdateRefused):
            machine.updater().run()
    told = ("gateway", "1.1.0", not shop.judged, "unhealthy" if shop.judged else "")
    found = {
        f"booted {booted}": booted in ("1.0.0", "1.1.0"),
        f"ended with {machine.start()}": machine.start() == ends_with,
        f"good is {machine.slots().version('good')}": machine.slots().version("good") == ends_with,
        "a trial is left": machine.slots().trial() is None,
        f"told {machine.outcomes()}": told in machine.outcomes(),
    }
    shutil.rmtree(folder)
    return killed, "; ".join(words for words, well in found.items() if not well)
