"""The platform's side of enrolling a gateway: signed bundles with a single-use token, certificates, revocation.

A bundle is one JSON object, signed over `BUNDLE_TOPIC` like every signed message (`contract.signed`)::

    {kind, version, tenant, store, hosts, enrol_url, ca, keys, token, expires, key, signature}

It goes to the store as a file, a QR code (`compact`) or on a stick. The gateway makes its own key, sends a signing
request with the token, and renews later by signing the request for the next key with the present one.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
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
from sqlite_utils import Database
from sqlite_utils.db import NotFoundError

from cloud_bridge.announcements import rfc3339
from cloud_bridge.contract.signed import sign
from cloud_bridge.contract.topics import Topics
from cloud_bridge.ingest.access import nats_authorization
from cloud_bridge.ingest.authority import LEAF_DAYS, Authority, EnrolmentRefused, certificate_user
from cloud_bridge.keys import Ed25519Signer
from edge.core.instant import US_PER_DAY, US_PER_S

BUNDLE_TOPIC = "smartstore/enrolment/v1"
COMPACT = "smartstore-enrol:"
TOKEN_DAYS = 7


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
        """folder keeps ``enrolment.db`` and brokers' lists; now_us: wall time (µs); days: of a certificate."""
        self.authority = authority
        self.revoked, self.permissions = folder / "revoked.pem", folder / "nats-users.conf"
        self._now_us, self._days = now_us or wall_us, days
        folder.mkdir(parents=True, exist_ok=True)
        self._db = Database(folder / "enrolment.db")
        self._db.enable_wal()
        self._db.execute("PRAGMA synchronous = FULL")
        self._tokens = self._db.table("token").create(
            {"hash": str, "tenant": str, "store": str, "expires_us": int, "public": str}, pk="hash", if_not_exists=True
        )
        self._certificates = self._db.table("certificate").create(
            {"serial": str, "tenant": str, "store": str, "pem": str, "revoked_us": int}, pk="serial", if_not_exists=True
        )
        if not self.revoked.exists():
            self._write_revoked()
        if not self.permissions.exists():
            self._write_permissions()

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
        self._tokens.insert(
            {
                "hash": _hash(token),
                "tenant": topics.tenant,
                "store": topics.store,
                "expires_us": expires_us,
                "public": "",
            }
        )
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
        try:
            row = self._tokens.get(_hash(token))
        except NotFoundError:
            raise EnrolmentRefused("token: unknown; expected the one of a bundle of this platform") from None
        tenant, store, expires_us, used_by = (row[name] for name in ("tenant", "store", "expires_us", "public"))
        if self._now_us() > expires_us:
            raise EnrolmentRefused(f"token of {tenant}/{store}: expired {rfc3339(expires_us)}")
        certificate = self.authority.store_certificate(request, tenant, store, self._days)
        public = _public(x509.load_pem_x509_certificate(certificate))
        if used_by not in ("", public):
            raise EnrolmentRefused(f"token of {tenant}/{store}: used already; expected a new bundle")
        with self._db.atomic():
            taken = self._db.execute(
                "UPDATE token SET public = ? WHERE hash = ? AND public IN ('', ?)", (public, _hash(token), public)
            ).rowcount
            if taken:
                self._keep(tenant, store, certificate)
        if not taken:
            raise EnrolmentRefused(f"token of {tenant}/{store}: used already; expected a new bundle")
        self._write_permissions()
        return self._answer(certificate)

    def renew(self, certificate: str, request: bytes, signature: bytes) -> dict[str, str]:
        """A certificate for the next key. Raises EnrolmentRefused as `who_asks` does."""
        tenant, store = self.who_asks(certificate, request, signature)
        made = self.authority.store_certificate(request, tenant, store, self._days)
        self._keep(tenant, store, made)
        self._write_permissions()
        return self._answer(made)

    def who_asks(self, certificate: str, request: bytes, signature: bytes) -> tuple[str, str]:
        """(tenant, store) of a request; `signature` is ECDSA-SHA256 of the present key over the request's PEM.

        Raises EnrolmentRefused: foreign, expired or revoked certificate, wrong signature.
        """
        try:
            present = x509.load_pem_x509_certificate(certificate.encode())
            present.verify_directly_issued_by(self.authority.certificate)
        except (ValueError, TypeError, InvalidSignature):
            raise EnrolmentRefused("certificate: expected one of this platform's CA") from None
        name = str(present.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        tenant, _, store = name.partition("/")
        if not self._certificates.count_where("serial = ? AND revoked_us = 0", [_serial(present)]):
            raise EnrolmentRefused(f"certificate of {name}: revoked; enrol the gateway anew")
        if present.not_valid_after_utc.timestamp() * US_PER_S < self._now_us():
            raise EnrolmentRefused(f"certificate of {name}: expired; enrol the gateway anew")
        public = present.public_key()
        try:
            assert isinstance(public, ec.EllipticCurvePublicKey)
            public.verify(signature, request, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise EnrolmentRefused(f"signature: expected that of {name}'s present key over the request") from None
        return tenant, store

    def revoke(self, tenant: str, store: str) -> int:
        """Revoke all certificates and unused tokens of a store, and write the lists. How many certificates."""
        with self._db.atomic():
            count = self._db.execute(
                "UPDATE certificate SET revoked_us = ? WHERE tenant = ? AND store = ? AND revoked_us = 0",
                (self._now_us(), tenant, store),
            ).rowcount
            self._tokens.delete_where("tenant = ? AND store = ?", [tenant, store])
        self._write_revoked()
        self._write_permissions()
        return count

    def stores(self) -> list[dict[str, Any]]:
        """Every certificate with store, expiry (RFC 3339) and whether it is revoked, newest last."""
        return [
            {
                "tenant": row["tenant"],
                "store": row["store"],
                "not_after": f"{_certificate(row).not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
                "revoked": bool(row["revoked_us"]),
            }
            for row in self._certificates.rows_where(order_by="rowid")
        ]

    def _keep(self, tenant: str, store: str, certificate: bytes) -> None:
        serial = _serial(x509.load_pem_x509_certificate(certificate))
        row = {"serial": serial, "tenant": tenant, "store": store, "pem": certificate.decode(), "revoked_us": 0}
        self._certificates.insert(row)

    def _answer(self, certificate: bytes) -> dict[str, str]:
        return {"certificate": certificate.decode(), "ca": self.authority.pem.decode()}

    def _write_revoked(self) -> None:
        rows = self._certificates.rows_where("revoked_us > 0", select="pem")
        _replace(self.revoked, self.authority.revocation_list(row["pem"].encode() for row in rows))

    def _write_permissions(self) -> None:
        """What NATS lets each certificate do that is neither revoked nor over."""
        users = []
        for row in self._certificates.rows_where("revoked_us = 0", order_by="rowid"):
            certificate = _certificate(row)
            if certificate.not_valid_after_utc.timestamp() * US_PER_S > self._now_us():
                users.append((row["tenant"], row["store"], certificate_user(certificate)))
        _replace(self.permissions, nats_authorization(users).encode())


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_suffix(".new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # a power cut must not leave a broker with an empty list
    beside.replace(path)


def _certificate(row: dict[str, Any]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(str(row["pem"]).encode())


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _serial(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def _public(certificate: x509.Certificate) -> str:
    """SHA-256 of the key (SubjectPublicKeyInfo, DER)."""
    form = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(form).hexdigest()
