"""The reference certificate authority of `smartstore platform`: a certificate per store, for brokers and enrolment.

The common name of a store's certificate is ``tenant/store``: brokers make their access lists of it (`access`). Keys
are ECDSA P-256, made by whoever uses them; a store sends a signing request and never its key.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud_bridge.contract.topics import Topics
from edge.core.errors import UplinkError

AUTHORITY_DAYS = 3_650
LEAF_DAYS = 90
BACKDATED = timedelta(minutes=5)  # clocks differ
_PEM = serialization.Encoding.PEM


class EnrolmentRefused(UplinkError):
    """A signing request that gets no certificate, with the reason."""

    retryable = False
    hint = "Enrol the store anew with the bundle of its tenant."


def certificate_user(certificate: x509.Certificate) -> str:
    """What one client certificate is called where a revoked one must not pass for its successor (NATS has no CRLs).

    It stands in the certificate as URI (RFC 5280, 4.2.1.6), made of the serial number.
    """
    return _user_of(certificate.serial_number)


def _user_of(serial: int) -> str:
    return f"urn:smartstore:certificate:{serial:x}"


def new_key() -> ec.EllipticCurvePrivateKey:
    """A private key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8, not encrypted: file permissions protect it."""
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def signing_request(key: ec.EllipticCurvePrivateKey, tenant: str, store: str) -> bytes:
    """PEM of the request that a store sends."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{tenant}/{store}")])
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256()).public_bytes(_PEM)


class Authority:
    """One CA: its key and certificate, and what it has revoked."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key, self.certificate = key, certificate

    @classmethod
    def create(cls, name: str = "smartstore reference CA") -> Authority:
        """A new CA."""
        key = new_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key.public_key(), AUTHORITY_DAYS)
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(usage, critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(identifier, critical=False).serial_number(x509.random_serial_number())
        return cls(key, builder.sign(key, hashes.SHA256()))

    @classmethod
    def load(cls, folder: Path) -> Authority:
        """The CA kept in a folder (``ca.pem``, ``ca.key``); made when there is none. Raises UplinkError."""
        certificate, key = folder / "ca.pem", folder / "ca.key"
        if not key.exists():
            made = cls.create()
            folder.mkdir(parents=True, exist_ok=True)
            key.touch(mode=0o600)
            key.write_bytes(key_pem(made._key))
            certificate.write_bytes(made.pem)
            return made
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise UplinkError(f"{key}: expected an ECDSA key")
        return cls(loaded, x509.load_pem_x509_certificate(certificate.read_bytes()))

    @property
    def pem(self) -> bytes:
        """The CA's certificate."""
        return self.certificate.public_bytes(_PEM)

    def store_certificate(self, request: bytes, tenant: str, store: str, days: float = LEAF_DAYS) -> bytes:
        """PEM of a store's certificate. Raises EnrolmentRefused for a request that is not this store's own."""
        try:
            parsed = x509.load_pem_x509_csr(request)
        except ValueError:
            raise EnrolmentRefused("request: expected a PEM certificate signing request") from None
        wanted = f"{Topics(tenant, store).tenant}/{store}"
        names = [str(name.value) for name in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if names != [wanted]:
            raise EnrolmentRefused(f"common name = {names}: expected {wanted!r}")
        try:
            parsed.public_key()
            signed = parsed.is_signature_valid
        except (ValueError, InvalidSignature):
            signed = False
        if not signed:
            raise EnrolmentRefused(f"request of {wanted!r}: its signature does not fit its key")
        return self._leaf(parsed.subject, parsed.public_key(), (ExtendedKeyUsageOID.CLIENT_AUTH,), days, ())

    def client_certificate(self, key: ec.EllipticCurvePrivateKey, name: str, days: float = LEAF_DAYS) -> bytes:
        """PEM for a central client, such as the platform itself."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._leaf(subject, key.public_key(), (ExtendedKeyUsageOID.CLIENT_AUTH,), days, ())

    def server_certificate(
        self, key: ec.EllipticCurvePrivateKey, hosts: Iterable[str], days: float = 365, *, peer: bool = False
    ) -> bytes:
        """PEM for a broker under these host names or addresses; a peer also calls the other nodes of its cluster."""
        names = list(hosts)
        usages = (ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if peer else []))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        return self._leaf(subject, key.public_key(), usages, days, names)

    def _leaf(
        self,
        subject: x509.Name,
        public: object,
        usages: Iterable[x509.ObjectIdentifier],
        days: float,
        hosts: Sequence[str],
    ) -> bytes:
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise EnrolmentRefused("key: expected ECDSA")
        serial = x509.random_serial_number()
        builder = _builder(subject, self.certificate.subject, public, days).serial_number(serial)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        names = [_general_name(host) for host in hosts] or [x509.UniformResourceIdentifier(_user_of(serial))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM)

    def revocation_list(self, certificates: Iterable[bytes]) -> bytes:
        """PEM of the list of revoked certificates (given as PEM)."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(now - BACKDATED).next_update(now + timedelta(days=LEAF_DAYS))
        for pem in certificates:
            serial = x509.load_pem_x509_certificate(pem).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - BACKDATED).build()
            builder = builder.add_revoked_certificate(revoked)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    begins = datetime.now(UTC) - BACKDATED
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    return builder.not_valid_before(min(begins, begins + timedelta(days=days))).not_valid_after(
        begins + BACKDATED + timedelta(days=days)
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
