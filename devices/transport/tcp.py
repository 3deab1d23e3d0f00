"""``tcp:HOST:PORT`` and ``tls:HOST:PORT``: a client connection that notices a dead peer within 15 s.

Options of ``tls``: ``ca`` (PEM file of the authority), ``cert`` and ``key`` (our own, PEM), ``pin`` (SHA-256 of the
peer's certificate, 64 hex digits: stands in for an authority, as most readers sign their certificate themselves) and
``name`` (the name in the certificate where it differs from HOST). Without ``ca`` and ``pin`` the system's authorities
decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import socket
import ssl
from pathlib import Path

from devices.transport.moniker import Moniker
from edge.core.errors import DeviceRefused, LinkLost
from edge.core.plain import PlainError

CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_IDLE_S = 4  # 4 s idle + 3 probes 3 s apart = 13 s: a half-open connection is noticed within 15 s
KEEPALIVE_INTERVAL_S = 3
KEEPALIVE_PROBES = 3
USER_TIMEOUT_MS = 12_000  # RFC 5482: the same bound for data that nobody acknowledges
READ_BUFFER_BYTES = 1 << 20


async def open_tcp(moniker: Moniker) -> TcpStream:
    """Connect. Raises LinkLost with the cause (refused, no answer, unknown name)."""
    return await _connect(moniker, None, None)


async def open_tls(moniker: Moniker) -> TcpStream:
    """Connect and shake hands. Raises LinkLost, or DeviceRefused where a certificate is not accepted."""
    pin = moniker.options.get("pin", "").lower().replace(":", "")
    if pin and (len(pin) != 64 or not set(pin) <= set("0123456789abcdef")):
        raise PlainError(f"{moniker.text}: pin", pin, "64 hex digits (SHA-256 of the certificate)")
    stream = await _connect(moniker, _tls_context(moniker, bool(pin)), moniker.options.get("name"))
    if pin and not hmac.compare_digest(stream.certificate_sha256(), pin):
        found = stream.certificate_sha256()
        await stream.close()
        raise DeviceRefused(moniker.text, f"certificate has SHA-256 {found}; expected {pin}")
    return stream


def _tls_context(moniker: Moniker, pinned: bool) -> ssl.SSLContext:
    options = moniker.options
    for name in ("ca", "cert", "key"):
        if name in options and not Path(options[name]).is_file():
            raise PlainError(f"{moniker.text}: {name}", options[name], "the path of a PEM file")
    try:
        context = ssl.create_default_context(cafile=options.get("ca"))
        if "cert" in options:
            context.load_cert_chain(options["cert"], options.get("key"))
    except (ssl.SSLError, OSError) as error:
        raise PlainError(f"{moniker.text}: ca, cert, key", dict(options), f"usable PEM files ({error})") from error
    if pinned:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the pin is compared right after the handshake
    return context


async def _connect(moniker: Moniker, tls: ssl.SSLContext | None, server_name: str | None) -> TcpStream:
    host, port = moniker.host_port()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                host, port, limit=READ_BUFFER_BYTES, ssl=tls, server_hostname=(server_name or host) if tls else None
            )
    except TimeoutError as error:
        raise LinkLost(moniker.text, f"no answer from {host} port {port} within {CONNECT_TIMEOUT_S:g} s") from error
    except socket.gaierror as error:
        raise LinkLost(moniker.text, f"the name {host} is not known: {error.strerror}") from error
    except ssl.SSLCertVerificationError as error:
        raise DeviceRefused(moniker.text, f"certificate of {host} not accepted: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise LinkLost(moniker.text, f"TLS handshake with {host} port {port} failed: {error.reason}") from error
    except ConnectionRefusedError as error:
        raise LinkLost(moniker.text, f"connection refused by {host} port {port}: nothing listens there") from error
    except OSError as error:
        raise LinkLost(moniker.text, f"cannot reach {host} port {port}: {error.strerror or error}") from error
    _watch_peer(writer.get_extra_info("socket"))
    return TcpStream(moniker.text, reader, writer)


def _watch_peer(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
    ):
        if hasattr(socket, option):  # Linux has them all, other systems some
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class TcpStream:
    """A connected socket."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._name = name
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int = 65536) -> bytes:
        """At least one byte; raises LinkLost when the peer closed, reset or went silent below TCP."""
        try:
            data = await self._reader.read(max_bytes)
        except OSError as error:
            raise LinkLost(self._name, f"connection lost: {error.strerror or error}") from error
        if not data:
            raise LinkLost(self._name, "closed by the peer" if not self._writer.is_closing() else "closed")
        return data

    async def write(self, data: bytes) -> None:
        """Hand over all bytes; waits while the socket's buffer is full."""
        if self._writer.is_closing():
            raise LinkLost(self._name, "closed")
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise LinkLost(self._name, f"connection lost: {error.strerror or error}") from error

    async def close(self) -> None:
        """Close the socket; never raises."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def certificate_sha256(self) -> str:
        """Hex SHA-256 of the peer's certificate (DER), "" without TLS."""
        tls = self._writer.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls else None
        return hashlib.sha256(certificate).hexdigest() if certificate else ""
