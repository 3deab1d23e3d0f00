"""Releases side by side, one of them current: ``slots/<version>`` and three links that are turned by one rename.

::

    slots/1.4.0/.complete     written last: a slot without it is not there
    current -> slots/1.4.0    what systemd starts
    good    -> slots/1.3.0    what was judged well last; the updater itself runs from here
    previous -> slots/1.2.0   what was good before, for going back by hand
    trial.json                which release is being judged, and since when

``current`` differing from ``good`` is what makes a trial, whatever else survived a power cut; the gate
(deploy/gate.sh, which needs no Python) then counts starts and turns ``current`` back after three.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from edge.files import read_table, sync_folder, write_json, write_whole
from edge.updates.errors import UpdateRefused

BUILD_TIMEOUT_S: Final = 1_200  # pip on a card of a Raspberry Pi Zero
PROBE_TIMEOUT_S: Final = 60
MARK: Final = ".complete"
Build = Callable[[Path, Path], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """A release that is being judged. baseline: what the gateway said of itself before the switch."""

    version: str
    before: str
    sha256: str
    began_boottime_s: float
    baseline: dict[str, Any]


def run(command: list[str], timeout_s: float, what: str) -> str:
    """A command's standard output. Raises UpdateRefused (bad_release) with its last words."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=clean)
    except subprocess.TimeoutExpired:
        raise UpdateRefused("bad_release", f"{what}: no end after {timeout_s:.0f} s") from None
    except OSError as error:
        raise UpdateRefused("bad_release", f"{what}: {error}") from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise UpdateRefused("bad_release", f"{what}: {words[-1][:300]}")
    return done.stdout


def unpack(bundle: Path, folder: Path) -> None:
    """Lay out a bundle. Raises UpdateRefused for a damaged one, a link, a device, or a path that leads elsewhere.

    By hand: `extractall(filter=...)` came with Python 3.11.4, and Debian 12 has 3.11.2.
    """
    try:
        with tarfile.open(bundle) as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                if place.is_absolute() or ".." in place.parts or not (member.isfile() or member.isdir()):
                    said = f"{bundle.name}: {member.name!r}: expected files and folders inside the bundle"
                    raise UpdateRefused("bad_release", said)
                _lay_out(archive, member, folder / place)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UpdateRefused("bad_release", f"{bundle.name}: {error}") from None


def _lay_out(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    assert content is not None, "a plain file has content"
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file)


def build_environment(bundle: Path, slot: Path) -> None:
    """Fill a slot from a bundle (a tar with ``wheels/``): an environment of its own, nothing from the network.

    The bundle as a whole was verified, so its wheels need no hashes of their own.
    """
    unpacked = slot / "bundle"
    unpack(bundle, unpacked)
    wheels = sorted(str(path) for path in unpacked.glob("wheels/*.whl"))
    if not wheels:
        raise UpdateRefused("bad_release", f"{bundle.name}: no wheels in it")
    run([sys.executable, "-m", "venv", str(slot)], BUILD_TIMEOUT_S, "venv")
    install = [str(slot / "bin/python"), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-cache-dir"]
    run([*install, "--disable-pip-version-check", "--root-user-action=ignore", *wheels], BUILD_TIMEOUT_S, "pip")
    for extra in ("docs", "deploy"):
        if (unpacked / extra).is_dir():
            (unpacked / extra).replace(slot / extra)
    shutil.rmtree(unpacked)


class Slots:
    """The folder of the releases. Only the updater writes here, under its lock."""

    def __init__(self, base: Path, build: Build = build_environment) -> None:
        self.base, self._build = base, build
        self._trial_file = base / "trial.json"
        self._starts_file = base / "trial.starts"

    def path(self, version: str) -> Path:
        """A release's slot."""
        return self.base / "slots" / version

    def version(self, link: str) -> str:
        """The release that ``current``, ``good`` or ``previous`` names; "" where it names no complete one."""
        with contextlib.suppress(OSError):
            name = (self.base / link).readlink().name
            if self.is_complete(name):
                return name
        return ""

    def is_complete(self, version: str, sha256: str = "") -> bool:
        """Whether the slot was filled to the end (from this very file, where one is named)."""
        mark = read_table(self.path(version) / MARK)
        marked = bool(mark) or (not sha256 and (self.path(version) / MARK).exists())
        return marked and (not sha256 or mark.get("sha256") == sha256)

    def turn(self, link: str, version: str) -> None:
        """Let a link name a release: one rename, so that it always names one. ValueError for an incomplete slot."""
        if not self.is_complete(version):
            raise ValueError(f"{link} -> {version}: expected a complete slot")
        beside = self.base / f"{link}.new"
        beside.unlink(missing_ok=True)
        beside.symlink_to(f"slots/{version}")
        beside.replace(self.base / link)
        sync_folder(self.base)

    def fill(self, version: str, bundle: Path, sha256: str) -> None:
        """Build a release's slot unless it is complete. Raises UpdateRefused; then the slot is not there."""
        if self.is_complete(version, sha256):
            return
        if version in (self.version("current"), self.version("good")):
            raise UpdateRefused("bad_release", f"{version} runs already, from another file than the one signed now")
        slot = self.path(version)
        self._clear(slot)
        slot.mkdir(parents=True)
        try:
            self._build(bundle, slot)
            _sync_tree(slot)
            write_whole(slot / MARK, json.dumps({"version": version, "sha256": sha256}).encode())
        except BaseException:
            self._clear(slot)
            raise
        sync_folder(slot.parent)

    @staticmethod
    def _clear(slot: Path) -> None:
        """The mark goes first: what is left of an interrupted removal is no slot."""
        (slot / MARK).unlink(missing_ok=True)
        shutil.rmtree(slot, ignore_errors=True)

    def probe(self, version: str) -> None:
        """Ask the new release its version, in its own process. Raises UpdateRefused (bad_release)."""
        said = run([str(self.path(version) / "bin/smartstore"), "version", "--json"], PROBE_TIMEOUT_S, "smartstore")
        try:
            found = str(json.loads(said.strip().splitlines()[-1])["version"])
        except (ValueError, LookupError, TypeError):
            raise UpdateRefused("bad_release", f"smartstore version --json said {said[:100]!r}") from None
        if found != version:
            raise UpdateRefused("bad_release", f"the release says it is {found}, expected {version}")

    def prune(self, keep: str = "") -> None:
        """Remove what no link names."""
        kept = {self.version(link) for link in ("current", "good", "previous")} | {keep}
        for slot in self._all():
            if slot.name not in kept:
                self._clear(slot)

    def _all(self) -> Iterator[Path]:
        return (path for path in sorted((self.base / "slots").glob("*")) if path.is_dir())

    # --- trial ------------------------------------------------------------------------------------------------------

    def begin_trial(self, trial: Trial) -> None:
        """Write down what is to be judged, then switch."""
        self._starts_file.unlink(missing_ok=True)
        write_json(self._trial_file, {name: getattr(trial, name) for name in trial.__slots__})
        self.turn("current", trial.version)

    def trial(self) -> Trial | None:
        """The trial that is written down, whether or not the gate has ended it."""
        try:
            return Trial(**read_table(self._trial_file))
        except TypeError:
            return None

    def starts(self) -> int:
        """How often the gate has seen the release on trial start."""
        with contextlib.suppress(OSError, ValueError):
            return int(self._starts_file.read_text(encoding="ascii"))
        return 0

    def end_trial(self, *, well: bool) -> None:
        """Keep the release (it is good now), or go back to the good one."""
        now, good = self.version("current"), self.version("good")
        if well and now != good:
            if good:
                self.turn("previous", good)
            self.turn("good", now)
        elif not well and now != good:
            self.turn("current", good)
        self._starts_file.unlink(missing_ok=True)
        self._trial_file.unlink(missing_ok=True)
        sync_folder(self.base)


def _sync_tree(folder: Path) -> None:
    """Everything below a folder onto the disk: the mark that follows must not overtake it in a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _syncfs(handle)
    finally:
        os.close(handle)


def _syncfs(handle: int) -> None:
    import ctypes  # noqa: PLC0415 (once an update)

    if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:  # syncfs(2): the one file system, not all of them
        raise OSError(ctypes.get_errno(), "syncfs")
