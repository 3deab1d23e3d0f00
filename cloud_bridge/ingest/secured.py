"""Keys, certificates and NATS configuration of a central side that lets in only who has a certificate of its CA.

``python -m cloud_bridge.ingest.secured --folder keys --hosts n1,n2,n3`` prepares a folder for containers; what is there
already stays. The folder's CA, ``platform.key``, ``enrolment.db`` and lists are those of ``smartstore platform --dir``.
"""

from __future__ import annotations

import argparse
import os
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud_bridge.ingest.access import INGEST_USER
from cloud_bridge.ingest.authority import Authority, key_pem, new_key
from cloud_bridge.ingest.broker import TlsFiles
from cloud_bridge.ingest.enrolment import Enrolments
from cloud_bridge.ingest.platform import load_signer

CERTIFICATE_DAYS = 365.0


@dataclass(frozen=True, slots=True)
class Secured:
    """A prepared folder."""

    folder: Path

    @property
    def node(self) -> TlsFiles:
        """Of the NATS nodes."""
        return TlsFiles(self.folder / "ca" / "ca.pem", self.folder / "node.pem", self.folder / "node.key")

    @property
    def ingest(self) -> TlsFiles:
        """Of the ingest workers."""
        return TlsFiles(self.folder / "ca" / "ca.pem", self.folder / "ingest.pem", self.folder / "ingest.key")

    @property
    def permissions(self) -> Path:
        """NATS's ``authorization`` block, written anew by each enrolment, renewal and revocation."""
        return self.folder / "nats-users.conf"


def secure(folder: Path, hosts: Sequence[str]) -> Secured:
    """Make what is missing: CA, signing key, certificates of nodes (under these names) and workers, the lists."""
    folder.mkdir(parents=True, exist_ok=True)
    authority, made = Authority.load(folder / "ca"), Secured(folder)
    load_signer(folder / "platform.key")
    Enrolments(folder, authority).close()
    if not made.node.certificate.exists():
        key = new_key()
        _write(made.node.key, key_pem(key))
        _write(made.node.certificate, authority.server_certificate(key, hosts, CERTIFICATE_DAYS, peer=True))
    if not made.ingest.certificate.exists():
        key = new_key()
        _write(made.ingest.key, key_pem(key))
        _write(made.ingest.certificate, authority.client_certificate(key, INGEST_USER, CERTIFICATE_DAYS))
    return made


def worker_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.3 with an ingest worker's certificate."""
    context = ssl.create_default_context(cafile=str(files.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(files.certificate, files.key)
    return context


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare a folder."""
    parser = argparse.ArgumentParser(prog="python -m cloud_bridge.ingest.secured", description="keys of a central side")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--hosts", required=True, help="names and addresses of the nodes, separated by commas")
    options = parser.parse_args(argv)
    made = secure(options.folder.resolve(), options.hosts.split(","))
    sys.stdout.write(f"{made.node.certificate}\n{made.ingest.certificate}\n{made.permissions}\n")


if __name__ == "__main__":
    main()
