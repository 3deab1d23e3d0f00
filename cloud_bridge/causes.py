"""Why a connection to a broker failed, in words for a person: refused, name not known, TLS, silence, forbidden."""

from __future__ import annotations

import errno
import socket
import ssl

NOT_YET_VALID = 9  # OpenSSL X509_V_ERR_CERT_NOT_YET_VALID
_BY_ERRNO = {
    errno.ECONNREFUSED: "connection refused: nothing listens there",
    errno.ECONNRESET: "connection reset by the other side",
    errno.EPIPE: "connection reset by the other side",
    errno.ETIMEDOUT: "no answer: check address, network and firewall",
    errno.ENETUNREACH: "no way there: this machine has no network that leads to it",
    errno.EHOSTUNREACH: "no way there: no machine with that address answers",
    errno.EPERM: "forbidden here: by a firewall, or by IPAddressAllow of the service",
    errno.EACCES: "forbidden here: by a firewall, or by IPAddressAllow of the service",
}
_OUR_CERTIFICATE = ("CERTIFICATE_REQUIRED", "UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN", "HANDSHAKE_FAILURE")
_OUTDATED = ("CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED")


def reason_of(error: Exception) -> str:
    """One line without the address, which the caller puts before it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        clock = "; check this gateway's clock" if error.verify_code == NOT_YET_VALID else ""
        return f"certificate: {error.verify_message}{clock}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {_tls(error.reason or str(error))}"
    if isinstance(error, socket.gaierror):
        if error.errno == socket.EAI_AGAIN:
            return "name not known: no name server answers (DNS)"
        return "name not known: check it, or the name server (DNS)"
    if isinstance(error, TimeoutError):
        return _BY_ERRNO[errno.ETIMEDOUT]
    if isinstance(error, OSError) and error.errno in _BY_ERRNO:
        return _BY_ERRNO[error.errno]
    return str(error) or type(error).__name__


def _tls(reason: str) -> str:
    """An alert (RFC 8446, 6.2) or a failure of our own, by OpenSSL's name for it."""
    if reason.endswith(_OUR_CERTIFICATE):
        return f"the other side refuses this gateway's certificate ({reason})"
    if reason.endswith(_OUTDATED):
        return f"this gateway's certificate has ended there ({reason})"
    if reason.endswith(("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL")):
        return f"the other side does not speak TLS 1.3 ({reason})"
    if reason in ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE"):
        return f"what listens there does not speak TLS ({reason})"
    return reason
