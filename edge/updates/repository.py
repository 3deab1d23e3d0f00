"""The publisher's tool: makes and signs the repository that gateways follow (TUF, consistent snapshots).

::

    DIR/metadata/   1.root.json … timestamp.json     to be served
    DIR/targets/    <name>/<version>/<sha256>.<file>  to be served
    DIR/keys/       one private key a file (PKCS#8)   never to be served; root and targets belong off line

Four roles: *root* says who signs, *targets* what the releases are, *snapshot* which metadata belongs together,
*timestamp* that this is the newest state; the last two live for days and are signed anew by a timer
(`smartstore release sign`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from edge.clock import Sources
from edge.core.errors import GatewayError
from edge.files import write_whole
from edge.updates.trust import SIGNED_AT
from edge.updates.versions import check_name, check_version

LIFE: Final = {
    "root": timedelta(days=365),
    "targets": timedelta(days=180),
    "snapshot": timedelta(days=14),
    "timestamp": timedelta(days=7),
}
_KINDS: Final = {"root": Root, "targets": Targets, "snapshot": Snapshot, "timestamp": Timestamp}


def _now() -> datetime:
    return datetime.fromtimestamp(Sources().realtime_ns() // 10**9, UTC)


class PublisherError(GatewayError):
    """The repository cannot be made or changed so."""

    hint = "Nothing was published; correct what is named and try again."


@dataclass(frozen=True, slots=True)
class NewRelease:
    """A file to be published. custom: what the kind needs besides (machine, model, signature, manifest)."""

    kind: str
    name: str
    version: str
    file: Path
    custom: dict[str, Any]


class Publisher:
    """One repository folder. `now` may be turned by tests."""

    def __init__(self, folder: Path, now: Callable[[], datetime] | None = None) -> None:
        self.folder, self._now = folder, now or _now
        self.metadata, self.targets, self.keys = folder / "metadata", folder / "targets", folder / "keys"

    # --- making -----------------------------------------------------------------------------------------------------

    def create(self, root_keys: int = 2, threshold: int = 1) -> Path:
        """Keys, roles and a first, empty state; the root metadata that gateways are given. Raises PublisherError."""
        if self.metadata.exists():
            raise PublisherError(f"{self.metadata}: is there already")
        if not 1 <= threshold <= root_keys <= 9:
            raise PublisherError(f"threshold = {threshold}: expected 1 to {root_keys}, the number of root keys")
        root = Root(expires=self._expires("root"), consistent_snapshot=True)
        for number in range(1, root_keys + 1):
            root.add_key(self._new_key(f"root-{number}").public_key, "root")
        root.roles["root"].threshold = threshold
        for role in ("targets", "snapshot", "timestamp"):
            root.add_key(self._new_key(role).public_key, role)
        self._publish_root(root, first=True)
        self._publish(Targets(), "targets", first=True)
        self._publish_state()
        return self.metadata / "1.root.json"

    def add(self, release: NewRelease) -> str:
        """Sign one release into the repository; its path among the targets. Raises PublisherError."""
        check_name(release.name)
        check_version(release.version)
        path = f"{release.name}/{release.version}/{release.file.name}"
        try:
            target = TargetFile.from_file(path, str(release.file), ["sha256"])
            data = release.file.read_bytes()
        except (OSError, ValueError) as error:
            raise PublisherError(f"{release.file}: {error}: expected a readable file") from None
        fixed = {"kind": release.kind, "name": release.name, "version": release.version}
        target.unrecognized_fields["custom"] = {**release.custom, **fixed}
        targets = self._load("targets")
        assert isinstance(targets, Targets)
        known = targets.targets.get(path)
        if known is not None and known.hashes != target.hashes:
            raise PublisherError(f"{path}: another file was published under this version; give it a new version")
        name = f"{release.name}/{release.version}/{target.hashes['sha256']}.{release.file.name}"
        write_whole(self.targets / name, data)
        targets.targets[path] = target
        self._publish(targets, "targets")
        self._publish_state()
        return path

    def withdraw(self, name: str, version: str) -> int:
        """Take a release out of what is signed; the number of files. Gateways that run it stay as they are."""
        targets = self._load("targets")
        assert isinstance(targets, Targets)
        gone = [path for path in targets.targets if path.startswith(f"{name}/{version}/")]
        if not gone:
            raise PublisherError(f"{name}-{version}: is not published")
        for path in gone:
            del targets.targets[path]
        self._publish(targets, "targets")
        self._publish_state()
        return len(gone)

    def sign(self) -> None:
        """Sign the present state anew, so that it does not expire; needs only the keys snapshot and timestamp."""
        self._publish_state()

    def rotate(self, role: str) -> None:
        """Another key for a role, signed by the present root keys and, for root itself, by the new ones as well."""
        root = self._load("root")
        assert isinstance(root, Root)
        if role not in _KINDS:
            raise PublisherError(f"role {role!r}: expected one of {', '.join(_KINDS)}")
        old = sorted(self.keys.glob(f"{role}*.pem"))
        signers = self._signers("root")  # before the change: a new root is signed by the old keys too
        for path in old:
            root.revoke_key(self._key(path).public_key.keyid, role)
            path.rename(path.with_suffix(".old"))
        for path in old:
            root.add_key(self._new_key(path.stem).public_key, role)
        self._publish_root(root, signers)
        if role == "targets":
            self._publish(self._load("targets"), "targets")
        self._publish_state()

    def releases(self) -> list[dict[str, Any]]:
        """What is published: name, version, kind, file, bytes."""
        targets = self._load("targets")
        assert isinstance(targets, Targets)
        rows = []
        for path, target in sorted(targets.targets.items()):
            custom: dict[str, Any] = target.custom or {}
            row = {key: custom.get(key, "") for key in ("name", "version", "kind", "machine", "model")}
            rows.append({**row, "file": path, "bytes": target.length})
        return rows

    # --- signing ----------------------------------------------------------------------------------------------------

    def _expires(self, role: str) -> datetime:
        return (self._now() + LIFE[role]).replace(microsecond=0)

    def _new_key(self, name: str) -> CryptoSigner:
        signer = CryptoSigner.generate_ed25519()
        self.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.keys / f"{name}.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(signer.private_bytes)
        return signer

    @staticmethod
    def _key(path: Path) -> CryptoSigner:
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise PublisherError(f"{path}: {error}: expected an Ed25519 key (PKCS#8, PEM)") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise PublisherError(f"{path}: expected an Ed25519 key")
        return CryptoSigner(key)

    def _signers(self, role: str) -> list[CryptoSigner]:
        found = [self._key(path) for path in sorted(self.keys.glob(f"{role}*.pem"))]
        if not found:
            raise PublisherError(f"{self.keys}: no key {role}*.pem: bring the key of this role")
        return found

    def _load(self, role: str) -> Signed:
        files = sorted(self.metadata.glob(f"*{role}.json"), key=lambda path: int(path.name.partition(".")[0] or 0))
        if not files:
            raise PublisherError(f"{self.metadata}: no {role} metadata: make the repository with `release init`")
        signed: Signed = Metadata.from_file(str(files[-1])).signed
        return signed

    def _publish(
        self, signed: Signed, role: str, signers: Iterable[CryptoSigner] | None = None, *, first: bool = False
    ) -> None:
        """Next version of a role (or the first), signed, written whole."""
        signed.version += 0 if first else 1
        signed.expires = self._expires(role)
        document: Metadata[Any] = Metadata(signed)
        for signer in self._signers(role) if signers is None else signers:
            document.sign(signer, append=True)
        name = "timestamp.json" if role == "timestamp" else f"{signed.version}.{role}.json"
        write_whole(self.metadata / name, document.to_bytes())

    def _publish_root(self, root: Root, also: Iterable[CryptoSigner] = (), *, first: bool = False) -> None:
        signers = {signer.public_key.keyid: signer for signer in (*also, *self._signers("root"))}
        self._publish(root, "root", signers.values(), first=first)

    def _publish_state(self) -> None:
        """Snapshot, then timestamp: who reads between the two sees the old state, whole."""
        targets = self._load("targets")
        path = self.metadata / "timestamp.json"
        first = not path.exists()
        snapshot = Snapshot() if first else self._load("snapshot")
        assert isinstance(snapshot, Snapshot)
        snapshot.meta["targets.json"] = MetaFile(targets.version)
        self._publish(snapshot, "snapshot", first=first)
        before = 1 if first else Metadata.from_file(str(path)).signed.version
        timestamp = Timestamp(version=before, snapshot_meta=MetaFile(snapshot.version))
        timestamp.unrecognized_fields[SIGNED_AT] = self._now().isoformat(timespec="seconds")
        self._publish(timestamp, "timestamp", first=first)
