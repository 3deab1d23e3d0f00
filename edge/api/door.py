"""The door of a gateway that speaks HTTPS: one port, and the first byte of a connection decides.

A TLS handshake goes on to the server; a plain request, which is what a browser sends for a typed address, is told where
HTTPS is. Nothing of a plain request but its first line and Host is looked at, and nothing secret is answered.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from asyncio import sslproto
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

HANDSHAKE: Final = 0x16  # TLS record type of a ClientHello (RFC 8446, 5.1)
FIRST_BYTE_S: Final = 10.0
HANDSHAKE_S: Final = 15
LOOKED_AT: Final = 4_096  # bytes of a plain request
_PLACE: Final = re.compile(rb"(GET|HEAD) (/[\x21-\x7e]{0,2000}) HTTP/1\.[01]\r\n")
_HOST: Final = re.compile(
    rb"\r\n[Hh]ost:[ \t]*((?:[A-Za-z0-9.\-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?)[ \t]*\r\n"
)
_REFUSAL: Final = (
    b'{"type":"https://smartstore.example/problems/https_needed","title":"https needed","status":403,'
    b'"detail":"this gateway is asked over HTTPS only","cause":"https_needed",'
    b'"hint":"Write https:// before the address, and change a token or PIN that was sent without."}'
)

Inner = Callable[[], asyncio.Protocol]


class _Tls(sslproto.SSLProtocol):
    """As loop.start_tls makes it, with a smaller buffer: a hundred listeners would hold 25 MiB."""

    max_size = 16 << 10  # a TLS record (RFC 8446, 5.1)


class Door(asyncio.Protocol):
    """Waits for the first byte, then is either replaced by TLS or answers and closes."""

    def __init__(self, context: ssl.SSLContext, state: ServerState, inner: Inner) -> None:
        self._context, self._state, self._inner = context, state, inner
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._state.connections.add(self)  # type: ignore[arg-type]  # counted, and closed at a stop, like the others
        self._timer = asyncio.get_running_loop().call_later(FIRST_BYTE_S, self.shutdown)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        del exc
        self._leave()

    def shutdown(self) -> None:
        """Close: the server stops, or nothing came."""
        if self._transport is not None:
            self._transport.close()

    def _leave(self) -> None:
        self._state.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """TLS begins, or a plain request comes."""
        if self._transport is None or self._transport.is_closing():
            return
        if not self._head and data[0] == HANDSHAKE:
            self._leave()
            self._begin_tls(self._transport, data)
            return
        self._head += data[:LOOKED_AT]
        if b"\r\n\r\n" in self._head or len(self._head) >= LOOKED_AT:
            self._transport.write(answer_to(self._head))
            self._transport.close()

    def _begin_tls(self, transport: asyncio.Transport, data: bytes) -> None:
        """What loop.start_tls does, with the bytes that were read already."""
        tls = _Tls(
            asyncio.get_running_loop(),
            self._inner(),
            self._context,
            None,  # type: ignore[arg-type]  # nobody waits for the handshake
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_S,
        )
        transport.set_protocol(tls)
        tls.connection_made(transport)
        while data:
            room = tls.get_buffer(len(data))
            taken = min(len(room), len(data))
            room[:taken] = data[:taken]
            tls.buffer_updated(taken)
            data = data[taken:]


def answer_to(head: bytes) -> bytes:
    """308 to the same place over HTTPS for who only looks; a refusal for who acts, and for what is no request."""
    place, host = _PLACE.match(head), _HOST.search(head)
    common = b"Connection: close\r\nCache-Control: no-store\r\nContent-Length: "
    if place and host:
        location = b"https://" + host.group(1) + place.group(2)
        return b"HTTP/1.1 308 Permanent Redirect\r\nLocation: " + location + b"\r\n" + common + b"0\r\n\r\n"
    kind = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\n"
    return kind + common + str(len(_REFUSAL)).encode() + b"\r\n\r\n" + _REFUSAL


def door(context: ssl.SSLContext) -> Any:
    """What uvicorn takes in place of its protocol class."""

    def make(config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> Door:
        return Door(context, server_state, lambda: HttpToolsProtocol(config, server_state, app_state, _loop))

    return make
