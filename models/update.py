"""Model updates: a candidate is checked, tried in isolation, and only then becomes the model in use.

A store is a folder with one sub-folder a model and two small files, `current` and `last_good`, each the name of a
sub-folder. Files are written beside, synced and renamed, so that a power cut leaves the old model or the new one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from models.errors import ManifestError, ModelError
from models.manifest import MANIFEST, read_manifest, read_model

PROBE_TIMEOUT_S: Final = 60.0


def probe_in_isolation(manifest: Path, timeout_s: float = PROBE_TIMEOUT_S) -> None:
    """Run `models.probe` on the manifest in its own process. Raises `ModelError` with what it said, or that it died."""
    command = [sys.executable, "-m", "models.probe", str(manifest)]
    here = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(MANIFEST.parent.parent), os.environ.get("PYTHONPATH")))),
    }
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False, env=here)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{manifest}: no answer from the isolated process in {timeout_s:.0f} s") from error
    if done.returncode == 0:
        return
    try:
        said = str(json.loads(done.stdout)["error"])
    except (ValueError, KeyError):
        said = f"{manifest}: the isolated process ended with {done.returncode}: expected 0"
    raise ModelError(said)


def _write(path: Path, data: bytes) -> None:
    """Write beside, sync, rename."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def install(candidate: Path, store: Path, timeout_s: float = PROBE_TIMEOUT_S) -> Path:
    """Check the candidate's manifest and model, try it in isolation, make it current; return its manifest's new path.

    The model that was current becomes the last good one. Raises `ManifestError` or `ModelError`, and then nothing has
    changed.
    """
    manifest = read_manifest(candidate)
    data = read_model(manifest)
    text = candidate.read_bytes()
    store.mkdir(parents=True, exist_ok=True)
    name = f"{manifest.version}-{manifest.sha256[:12]}"
    if Path(name).name != name or name.startswith("."):
        raise ManifestError(
            f"{candidate}: model.version = {manifest.version!r}: expected a plain version such as 1.2.0"
        )
    trial = store / f"{name}.trial"
    shutil.rmtree(trial, ignore_errors=True)
    trial.mkdir()
    try:
        _write(trial / manifest.file, data)
        _write(trial / "manifest.toml", text)
        probe_in_isolation(trial / "manifest.toml", timeout_s)
        home = store / name
        if not home.exists():
            trial.replace(home)
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    before = _pointed(store, "current")
    if before is not None and before.parent.name != name:
        _write(store / "last_good", before.parent.name.encode())
    _write(store / "current", name.encode())
    return home / "manifest.toml"


def _pointed(store: Path, pointer: str) -> Path | None:
    """The manifest a pointer file names, if it is there."""
    try:
        name = (store / pointer).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    manifest = store / Path(name).name / "manifest.toml"
    return manifest if name and manifest.is_file() else None


def in_use(store: Path) -> tuple[Path, Path]:
    """(manifest of the current model, manifest of the last good one) for `FootfallRunner`; the built-in model where
    the store has none."""
    current = _pointed(store, "current") or MANIFEST
    return current, _pointed(store, "last_good") or MANIFEST
