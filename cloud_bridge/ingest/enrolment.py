"""The platform's side of enrolling a gateway: signed bundles with a single-use token, certificates, revocation.

A bundle is one JSON object, signed over `BUNDLE_TOPIC` like every signed message (`contract.signed`)::

    {kind, version, tenant, store, hosts, enrol_url, ca, keys, token, expires, key, signature}

It goes to the store as a file, a QR code (`compact`) or on a stick. The gateway makes its own key, sends a signing
request with the token, and renews later by signing the request for the next key with the present one.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from cloud_bridge.announcements import rfc3339
from cloud_bridge.contract.signed import sign
from cloud_bridge.contract.topics import Topics
from cloud_bridge.ingest.authority import LEAF_DAYS, Authority, EnrolmentRefused
from cloud_bridge.keys import Ed25519Signer
from edge.core.instant import US_PER_DAY, US_PER_S

BUNDLE_TOPIC = "smartstore/enrolment/v1"
COMPACT = "smartstore-enrol:"
TOKEN_DAYS = 7
_SCHEMA = """
CREATE TABLE IF NOT EXISTS token (
  hash TEXT PRIMARY KEY, tenant TEXT NOT NULL, store TEXT NOT NULL, expires_us INTEGER NOT NULL, public TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS certificate (
  serial TEXT PRIMARY KEY, tenant TEXT NOT NULL, store TEXT NOT NULL, pem TEXT NOT NULL, revoked_us INTEGER NOT NULL);
"""


def wall_us() -> int:
    """Wall time in µs since 1970."""
    return time.time_ns() // 1_000


def compact(bundle: bytes) -> str:
    """The bundle as one line of text, for a QR code: deflated, base64url."""
    return COMPACT + base64.urlsafe_b64encode(zlib.compress(bundle, 9)).decode().rstrip("=")


class Enrolments:
    """Tokens and certificates in a SQLite file of their own; the command line and the service may share it."""

    def __init__(
        self, folder: Path, authority: Authority, now_us: Callable[[], int] | None = None, days: float = LEAF_DAYS
    ) -> None:
        """folder keeps ``enrolment.db``, ``revoked.pem``; now_us: wall time (µs since 1970); days: of a certificate."""
        self.authority, self.revoked = authority, folder / "revoked.pem"
        self._now_us, self._days = now_us or wall_us, days
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "enrolment.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)
        if not self.revoked.exists():
            self._write_revoked()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def bundle(
        self, place: tuple[str, str], hosts: Sequence[str], enrol_url: str, signer: Ed25519Signer, key: str
    ) -> bytes:
        """A new bundle for (tenant, store), good for 7 days and one gateway. Raises ValueError for a bad id."""
        topics = Topics(*place)
        token = secrets.token_urlsafe(24)
        expires_us = self._now_us() + TOKEN_DAYS * US_PER_DAY
        row = (_hash(token), topics.tenant, topics.store, expires_us, "")
        self._db.execute("INSERT INTO token VALUES (?,?,?,?,?)", row)
        body: dict[str, Any] = {
            "kind": "smartstore-enrolment",
            "version": 1,
            "tenant": topics.tenant,
            "store": topics.store,
            "hosts": list(hosts),
            "enrol_url": enrol_url,
            "ca": self.authority.pem.decode(),
            "keys": {key: base64.b64encode(signer.public_key).decode()},
            "token": token,
            "expires": rfc3339(expires_us),
        }
        return sign(BUNDLE_TOPIC, body, signer, key)

    def enrol(self, token: str, request: bytes) -> dict[str, str]:
        """A certificate for whoever brings the token; the same key may ask again (an answer can be lost on the way).

        Raises EnrolmentRefused: unknown, used or expired token, a request that is not this store's own.
        """
        row = self._db.execute("SELECT * FROM token WHERE hash = ?", (_hash(token),)).fetchone()
        if row is None:
            raise EnrolmentRefused("token: unknown; expected the one of a bundle of this platform")
        _, tenant, store, expires_us, used_by = row
        if self._now_us() > expires_us:
            raise EnrolmentRefused(f"token of {tenant}/{store}: expired {rfc3339(expires_us)}")
        certificate = self.authority.store_certificate(request, tenant, store, self._days)
        public = _public(x509.load_pem_x509_certificate(certificate))
        if used_by not in ("", public):
            raise EnrolmentRefused(f"token of {tenant}/{store}: used already; expected a new bundle")
        self._db.execute("BEGIN IMMEDIATE")
        taken = self._db.execute(
            "UPDATE token SET public = ? WHERE hash = ? AND public IN ('', ?)", (public, _hash(token), public)
        ).rowcount
        if taken:
            self._keep(tenant, store, certificate)
        self._db.execute("COMMIT")
        if not taken:
            raise EnrolmentRefused(f"token of {tenant}/{store}: used already; expected a new bundle")
        return self._answer(certificate)

    def renew(self, certificate: str, request: bytes, signature: bytes) -> dict[str, str]:
        """A certificate for the next key; `signature` is ECDSA-SHA256 of the present key over the request's PEM.

        Raises EnrolmentRefused: foreign, expired or revoked certificate, wrong signature.
        """
        try:
            present = x509.load_pem_x509_certificate(certificate.encode())
            present.verify_directly_issued_by(self.authority.certificate)
        except (ValueError, TypeError, InvalidSignature):
            raise EnrolmentRefused("certificate: expected one of this platform's CA") from None
        name = str(present.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        tenant, _, store = name.partition("/")
        row = self._db.execute("SELECT revoked_us FROM certificate WHERE serial = ?", (_serial(present),)).fetchone()
        if row is None or row[0]:
            raise EnrolmentRefused(f"certificate of {name}: revoked; enrol the gateway anew")
        if present.not_valid_after_utc.timestamp() * US_PER_S < self._now_us():
            raise EnrolmentRefused(f"certificate of {name}: expired; enrol the gateway anew")
        public = present.public_key()
        try:
            assert isinstance(public, ec.EllipticCurvePublicKey)
            public.verify(signature, request, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise EnrolmentRefused(f"signature: expected that of {name}'s present key over the request") from None
        made = self.authority.store_certificate(request, tenant, store, self._days)
        self._keep(tenant, store, made)
        return self._answer(made)

    def revoke(self, tenant: str, store: str) -> int:
        """Revoke all certificates and unused tokens of a store, and write ``revoked.pem``. How many certificates."""
        count = self._db.execute(
            "UPDATE certificate SET revoked_us = ? WHERE tenant = ? AND store = ? AND revoked_us = 0",
            (self._now_us(), tenant, store),
        ).rowcount
        self._db.execute("DELETE FROM token WHERE tenant = ? AND store = ?", (tenant, store))
        self._write_revoked()
        return count

    def stores(self) -> list[dict[str, Any]]:
        """Every certificate with store, expiry (RFC 3339) and whether it is revoked, newest last."""
        rows = self._db.execute("SELECT tenant, store, pem, revoked_us FROM certificate ORDER BY rowid").fetchall()
        return [
            {
                "tenant": tenant,
                "store": store,
                "not_after": f"{x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
                "revoked": bool(revoked_us),
            }
            for tenant, store, pem, revoked_us in rows
        ]

    def _keep(self, tenant: str, store: str, certificate: bytes) -> None:
        serial = _serial(x509.load_pem_x509_certificate(certificate))
        self._db.execute("INSERT INTO certificate VALUES (?,?,?,?,0)", (serial, tenant, store, certificate.decode()))

    def _answer(self, certificate: bytes) -> dict[str, str]:
        return {"certificate": certificate.decode(), "ca": self.authority.pem.decode()}

    def _write_revoked(self) -> None:
        rows = self._db.execute("SELECT pem FROM certificate WHERE revoked_us > 0").fetchall()
        beside = self.revoked.with_suffix(".new")
        beside.write_bytes(self.authority.revocation_list(pem.encode() for (pem,) in rows))
        beside.replace(self.revoked)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _serial(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def _public(certificate: x509.Certificate) -> str:
    """SHA-256 of the key (SubjectPublicKeyInfo, DER)."""
    form = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(form).hexdigest()
