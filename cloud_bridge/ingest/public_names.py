"""Publicly trusted certificates of stores' shopper pages: names, requests of gateways, chains that ACME brought.

In the platform's folder: ``public-names.json`` ({"tenant/store": "store-7.example.com"}) says which name is whose. A
gateway keeps its key and brings a signing request; it lies in ``public/TENANT/STORE/request.pem`` until the operator's
ACME client (RFC 8555, DNS-01: a store is not reachable from outside) has put the chain beside it as ``chain.pem``.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloud_bridge.ingest.authority import EnrolmentRefused

NAMES_FILE = "public-names.json"


class PublicNames:
    """The folder; read anew at each question, so that whoever edits it restarts nothing."""

    def __init__(self, folder: Path) -> None:
        """folder: the platform's."""
        self._names, self._folder = folder / NAMES_FILE, folder / "public"

    def ask(self, tenant: str, store: str, request: bytes) -> str:
        """The chain (PEM) for this request's key, "" while ACME has not brought it. Raises EnrolmentRefused."""
        wanted = self._name(f"{tenant}/{store}")
        try:
            parsed = x509.load_pem_x509_csr(request)
            signed = parsed.is_signature_valid
        except (ValueError, InvalidSignature):
            raise EnrolmentRefused("request: expected a PEM certificate signing request, signed by its key") from None
        if not signed or _names(parsed) != [wanted]:
            raise EnrolmentRefused(f"request for {_names(parsed)}: expected {wanted!r}, the public name of this store")
        home = self._folder / tenant / store
        home.mkdir(parents=True, exist_ok=True)
        kept = home / "request.pem"
        if not kept.exists() or _public(x509.load_pem_x509_csr(kept.read_bytes())) != _public(parsed):
            beside = kept.with_suffix(".new")
            beside.write_bytes(request)
            beside.replace(kept)
        return self._chain(home / "chain.pem", parsed)

    def _name(self, place: str) -> str:
        try:
            names = json.loads(self._names.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            names = {}
        name = names.get(place) if isinstance(names, dict) else None
        if not isinstance(name, str):
            raise EnrolmentRefused(f"public name of {place}: none; expected an entry in the platform's {NAMES_FILE}")
        return name.lower()

    @staticmethod
    def _chain(path: Path, request: x509.CertificateSigningRequest) -> str:
        """What lies there, where it is for this key and good now; a chain that is half written comes later."""
        try:
            text = path.read_text(encoding="ascii")
            leaf = x509.load_pem_x509_certificates(text.encode())[0]
        except (OSError, ValueError):
            return ""
        same = _public(leaf) == _public(request)
        return text if same and leaf.not_valid_after_utc.timestamp() > time.time() else ""


def _names(request: x509.CertificateSigningRequest) -> list[str]:
    try:
        found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in found.get_values_for_type(x509.DNSName)]


def _public(holder: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
