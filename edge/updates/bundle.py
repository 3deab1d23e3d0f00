"""Bundles of software, and firmware's own signature: what the publisher signs."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edge.updates.repository import PublisherError

LEFT_OUT = (
    ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", "*.pyc", ".*_cache", ".hypothesis", "tests", "var",
    "node_modules", "sbom.json",
)  # fmt: skip
"""What of a checkout is no part of a release. ``build`` above all: setuptools would ship the modules that an earlier
build left there."""


def _pip(*arguments: str, path: str = "") -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    environment = os.environ | ({"PYTHONPATH": path} if path else {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or ["no words"]
        causes = [line.strip() for line in words if re.match(r"\s*(ERROR|error|\w+Error):", line)] or words[-1:]
        raise PublisherError(f"pip {arguments[0]}: {'; '.join(dict.fromkeys(causes[-3:]))[:300]}")


def version_of(source: Path) -> str:
    """The version that a checkout says it is. Raises PublisherError."""
    project = source / "pyproject.toml"
    try:
        found = re.search(r'^version = "([^"]+)"$', project.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError as error:
        raise PublisherError(f"{project}: {error}: expected a checkout of the release") from None
    if found is None:
        raise PublisherError(f"{project}: no version in it")
    return found[1]


def pack(source: Path, out: Path, say: Callable[[str], None]) -> tuple[str, int]:
    """A tar with ``wheels/`` (hashes checked against the lock), ``docs/`` and ``deploy/``: (version, number of wheels).

    Built from a copy, so that nothing is left in the checkout and nothing that an earlier build left there is shipped;
    built by what requirements-build.lock pins. Wheels are compressed already, so the tar is not. Raises PublisherError.
    """
    version = version_of(source)
    with tempfile.TemporaryDirectory() as scratch:
        copy, wheels = Path(scratch) / "release", Path(scratch) / "wheels"
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        say("fetching what the lock pins …")
        lock = str(copy / "requirements-gateway.lock")
        _pip("download", "--quiet", "--only-binary", ":all:", "--require-hashes", "-r", lock, "-d", str(wheels))
        say("building the wheel …")
        tools, pins = str(Path(scratch) / "tools"), str(copy / "requirements-build.lock")
        _pip("install", "--quiet", "--only-binary", ":all:", "--require-hashes", "-r", pins, "--target", tools)
        # An absolute path: pip takes a bare word for the name of a package on its index.
        _pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", str(copy), "-w", str(wheels), path=tools)
        with tarfile.open(out, "w") as archive:
            archive.add(wheels, "wheels", filter=_plain)
            for folder in ("docs", "deploy"):
                if (copy / folder).is_dir():
                    archive.add(copy / folder, folder, filter=_plain)
        return version, sum(1 for _ in wheels.glob("*.whl"))


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """No times and no people in it."""
    if member.name.endswith((".pyc", "__pycache__")):
        return None
    member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
    return member


def maker_signature(image: Path, key_file: Path) -> bytes:
    """The 64 bytes that FIRMWARE_BEGIN carries: Ed25519 over the image's SHA-256 (SDP/1).

    Raises PublisherError.
    """
    try:
        key = load_pem_private_key(key_file.read_bytes(), None)
        digest = hashlib.sha256(image.read_bytes()).digest()
    except (OSError, ValueError, TypeError) as error:
        raise PublisherError(f"{key_file}, {image}: {error}: expected a PEM key and an image") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise PublisherError(f"{key_file}: expected an Ed25519 key")
    return key.sign(digest)
