"""The gateway's own CA for technicians: made here, pinned by the fingerprint in the claim QR, never leaves the gateway.

Keys are ECDSA P-256 (RFC 5480). The leaf lasts 90 days and is renewed when two thirds of that are over.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from edge.files import PRIVATE, write_whole

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

LEAF_DAYS = 90
CA_DAYS = 9_125  # 25 years: longer than the hardware; another CA would mean to scan every label again
RENEW_AFTER = 2 / 3
SLACK = timedelta(days=1)  # a technician's phone may be a little behind


class LocalAuthority:
    """CA and leaf in a folder: ca.pem, ca.key, leaf.pem, leaf.key (keys 0600)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.leaf, self.leaf_key = folder / "leaf.pem", folder / "leaf.key"

    def ensure(self, names: tuple[str, ...], now_us: int) -> str:
        """Make or renew what is missing or due; returns the SHA-256 fingerprint of the CA (hex).

        names: host names and addresses that the leaf is good for; now_us: wall time (µs since 1970).
        """
        from cryptography import x509  # noqa: PLC0415 (only gateways that serve TLS pay for it)
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415

        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = datetime.fromtimestamp(now_us / 1e6, UTC)
        ca_file, key_file = self.folder / "ca.pem", self.folder / "ca.key"
        if not (ca_file.exists() and key_file.exists()):
            key = _new_key()
            write_whole(key_file, _pem(key), PRIVATE)
            write_whole(ca_file, _certificate("Smart store gateway CA", key, None, now, ()), PRIVATE)
        authority = x509.load_pem_x509_certificate(ca_file.read_bytes())
        ca_key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if self._due(names, now):
            key = _new_key()
            write_whole(self.leaf_key, _pem(key), PRIVATE)
            leaf = _certificate("Smart store gateway", key, (authority, ca_key), now, names)
            write_whole(self.leaf, leaf + ca_file.read_bytes(), PRIVATE)
        return authority.fingerprint(hashes.SHA256()).hex()

    def _due(self, names: tuple[str, ...], now: datetime) -> bool:
        from cryptography import x509  # noqa: PLC0415

        if not (self.leaf.exists() and self.leaf_key.exists()):
            return True
        leaf = x509.load_pem_x509_certificate(self.leaf.read_bytes())
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = {str(name.value) for name in alternative}
        begun = leaf.not_valid_before_utc + SLACK
        too_early = now < leaf.not_valid_before_utc  # the clock was ahead when it was made
        return too_early or not set(names) <= known or now - begun > timedelta(days=LEAF_DAYS) * RENEW_AFTER


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415

    return key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())


def _certificate(
    title: str,
    key: EllipticCurvePrivateKey,
    issuer: tuple[x509.Certificate, object] | None,
    now: datetime,
    names: tuple[str, ...],
) -> bytes:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.x509 import oid  # noqa: PLC0415

    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, title)])
    is_ca = issuer is None
    days = CA_DAYS if is_ca else LEAF_DAYS
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        use = x509.ExtendedKeyUsage([oid.ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(use, critical=False)
    signing = issuer[1] if issuer else key
    return builder.sign(signing, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]


def _general(name: str) -> x509.GeneralName:
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
