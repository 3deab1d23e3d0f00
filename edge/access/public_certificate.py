"""The publicly trusted certificate of the shoppers' page, fetched from the platform; its key never leaves the gateway.

The gateway brings a signing request under its store's certificate, the platform has ACME answer it (in hours, perhaps),
and the gateway asks until the chain is there. `edge.certificates` takes the files when they change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.access.errors import AccessDenied
from edge.core.instant import US_PER_S, TimeQuality
from edge.core.ports import Clock
from edge.files import PRIVATE, write_whole

if TYPE_CHECKING:
    from cryptography import x509

LOOK_S = 600.0
RENEW_AFTER = 2 / 3
Ask = Callable[[str, bytes], Awaitable[dict[str, Any]]]
"""Asks the platform as the enrolled store: (path, signing request) → its answer. Raises AccessDenied."""

# cryptography is imported where it is used, as in `store_certificate`.


@dataclass(frozen=True, slots=True)
class PublicFiles:
    """The name, and where chain and key are kept (PEM)."""

    name: str
    certificate: Path
    key: Path


class PublicCertificate:
    """Keeps the files good: asks when two thirds of the chain's life are over, or there is none."""

    def __init__(self, files: PublicFiles, clock: Clock, ask: Ask) -> None:
        self._files, self._clock, self._ask = files, clock, ask
        self._next_key = files.key.with_name(files.key.name + ".next")

    async def run(self, alarm: Callable[[str], None], look_s: float = LOOK_S) -> None:
        """Until cancelled. What is missing is an alarm; the store works without its shoppers' page."""
        while True:
            try:
                alarm(await self.look())
            except (AccessDenied, OSError) as error:
                alarm(f"the certificate of {self._files.name} could not be fetched: {error}")
            await asyncio.sleep(look_s)

    async def look(self) -> str:
        """Fetch what is due; in words what is still waited for, "" for nothing. Raises AccessDenied, OSError."""
        now = self._clock.now()
        if now.quality is TimeQuality.UNSET or not self._is_due(now.wall_us):
            return ""
        key, request = self._request()
        answer = await self._ask("public-certificate", request)
        chain = answer.get("chain")
        if not isinstance(chain, str):
            raise AccessDenied("certificate", "the platform's answer has no chain", "Ask the platform.")
        if not chain:
            missing = not self._files.certificate.exists()
            return f"the platform has no certificate of {self._files.name} yet" if missing else ""
        self._check(chain, key, now.wall_us)
        write_whole(self._files.key, key, PRIVATE)
        write_whole(self._files.certificate, chain.encode())
        self._next_key.unlink(missing_ok=True)
        return ""

    def _is_due(self, wall_us: int) -> bool:
        from cryptography import x509  # noqa: PLC0415

        try:
            leaf = x509.load_pem_x509_certificates(self._files.certificate.read_bytes())[0]
        except (OSError, ValueError):
            return True
        begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
        due_s = begins + (ends - begins) * RENEW_AFTER
        return self._files.name not in _names(leaf) or not self._files.key.exists() or wall_us / US_PER_S >= due_s

    def _request(self) -> tuple[bytes, bytes]:
        """The next key, made once and kept over restarts (the platform answers the request it has), and its request."""
        from cryptography import x509  # noqa: PLC0415
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

        if not self._next_key.exists():
            made = ec.generate_private_key(ec.SECP256R1())
            pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
            write_whole(self._next_key, made.private_bytes(pem, form, serialization.NoEncryption()), PRIVATE)
        text = self._next_key.read_bytes()
        key = serialization.load_pem_private_key(text, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        names = x509.SubjectAlternativeName([x509.DNSName(self._files.name)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        request = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
        return text, request.public_bytes(serialization.Encoding.PEM)

    def _check(self, chain: str, key: bytes, wall_us: int) -> None:
        from cryptography import x509  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

        try:
            leaf = x509.load_pem_x509_certificates(chain.encode())[0]
        except ValueError:
            raise self._refused("it is no PEM") from None
        if leaf.public_key() != load_pem_private_key(key, None).public_key():
            raise self._refused("it is for another key")
        if self._files.name not in _names(leaf):
            raise self._refused(f"it is for {_names(leaf)}")
        if not leaf.not_valid_before_utc.timestamp() <= wall_us / US_PER_S <= leaf.not_valid_after_utc.timestamp():
            raise self._refused(f"it is good from {leaf.not_valid_before_utc} to {leaf.not_valid_after_utc}")

    def _refused(self, detail: str) -> AccessDenied:
        detail = f"the certificate for {self._files.name} cannot be used: {detail}"
        return AccessDenied("certificate", detail, "Ask the platform.")


def _names(leaf: x509.Certificate) -> list[str]:
    from cryptography import x509  # noqa: PLC0415

    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in found.get_values_for_type(x509.DNSName)]
