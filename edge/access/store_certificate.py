"""The store's certificate for the platform: requests for a key made here, and the check of what comes back.

Keys are ECDSA P-256 (RFC 5480) and never leave the gateway; the common name is ``tenant/store``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.access.errors import AccessDenied
from edge.core.instant import US_PER_S

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

# cryptography is imported where it is used: a gateway that is not enrolled never pays for it.


@dataclass(frozen=True, slots=True)
class Checked:
    """A certificate that fits: serial number (hex) and validity (wall time, µs)."""

    serial: str
    not_before_us: int
    not_after_us: int


def new_request(tenant: str, store: str) -> tuple[bytes, bytes]:
    """(private key, signing request), both PEM."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{tenant}/{store}")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(pem, form, serialization.NoEncryption()), request.public_bytes(pem)


def sign_request(key: bytes, request: bytes) -> bytes:
    """ECDSA-SHA256 of the present key over the next key's request: who renews is who was enrolled."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    return _private(key).sign(request, ec.ECDSA(hashes.SHA256()))


def _private(key: bytes) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    found = serialization.load_pem_private_key(key, None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise AccessDenied("certificate", "the store's key is no ECDSA key", "Enrol the gateway anew.")
    return found


def check_certificate(certificate: str, key: bytes, ca: str, name: str, now_us: int) -> Checked:
    """The platform's answer: for our key and name, by the bundle's CA, and good now? Raises AccessDenied if not."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.encode()))
    except (ValueError, TypeError, InvalidSignature) as error:
        raise _refused(f"it was not issued by the platform's CA ({type(error).__name__})") from None
    if found.public_key() != _private(key).public_key():
        raise _refused("it is for another key")
    if _common_name(found) != name:
        raise _refused(f"it is for {_common_name(found)!r}, expected {name!r}")
    begins, ends = found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()
    if not begins <= now_us / US_PER_S <= ends:
        detail = f"it is good from {found.not_valid_before_utc} to {found.not_valid_after_utc}: is the clock right?"
        raise AccessDenied("clock", detail, "Allow NTP (UDP 123), or set an NTP server, and try again.")
    return Checked(f"{found.serial_number:x}", round(begins * US_PER_S), round(ends * US_PER_S))


def _common_name(certificate: x509.Certificate) -> str:
    from cryptography import x509  # noqa: PLC0415

    return str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def _refused(detail: str) -> AccessDenied:
    return AccessDenied("certificate", f"the platform's certificate cannot be used: {detail}", "Ask the platform.")
