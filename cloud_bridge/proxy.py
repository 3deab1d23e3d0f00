"""A tunnel through an HTTP proxy: the CONNECT method (RFC 9110, 9.3.6), for stores whose network lets nothing else out.

The proxy sees host and port only; TLS is spoken with the broker, inside the tunnel.
"""

from __future__ import annotations

import base64
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from cloud_bridge.causes import reason_of
from edge.core.plain import PlainError

MAX_ANSWER_BYTES = 8_192
DEFAULT_PORT = 3128


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where the proxy is; `credentials` as ``user:password``, "" where it wants none."""

    host: str
    port: int
    credentials: str = ""


def read_proxy(address: str, credentials: str = "") -> Proxy | None:
    """The proxy of an address such as ``http://proxy:3128``, None for "". Raises PlainError."""
    if not address:
        return None
    try:
        parts = urlsplit(address)
        port = parts.port or DEFAULT_PORT
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.username:
        raise PlainError("proxy", address, "an address such as http://proxy:3128 (credentials: proxy_file)")
    return Proxy(parts.hostname, port, credentials)


def open_tunnel(proxy: Proxy, host: str, port: int, timeout_s: float) -> socket.socket:
    """A socket that ends at host:port. Raises OSError with the proxy's own words when it refuses."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.credentials:
        lines.append("Proxy-Authorization: Basic " + base64.b64encode(proxy.credentials.encode()).decode())
    try:
        tunnel = socket.create_connection((proxy.host, proxy.port), timeout_s)
    except OSError as error:
        raise OSError(f"proxy {proxy.host}:{proxy.port}: {reason_of(error)}") from None
    try:
        tunnel.sendall("\r\n".join((*lines, "", "")).encode("ascii"))
        answer = _head(tunnel)
    except BaseException:
        tunnel.close()
        raise
    status = answer.split("\r\n", 1)[0]
    words = status.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].startswith("2"):
        tunnel.close()
        raise OSError(f"proxy {proxy.host}:{proxy.port} refused {place}: {status[:100]!r}")
    return tunnel


def _head(tunnel: socket.socket) -> str:
    """The answer's head, byte by byte: what follows it belongs to the tunnel."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = tunnel.recv(1)
        if not byte or len(head) > MAX_ANSWER_BYTES:
            raise OSError(f"proxy: {len(head)} bytes and no HTTP answer")
        head += byte
    return head.decode("latin-1")
