"""One MQTT connection over paho: the only file that imports it.

paho runs in one thread named ``mqtt`` that this module owns, and nothing else ever calls it: publishes go in through a
deque and a socket pair that wakes the thread, acknowledgements and messages come out in batches by
``call_soon_threadsafe``. No lock is held or taken in a callback, and there is no queue in paho: a publish leaves the
deque only when the broker's receive maximum has room (the caller's own window bounds the deque).
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_bridge.causes import reason_of
from cloud_bridge.lean import without
from cloud_bridge.proxy import Proxy, open_tunnel, read_proxy
from cloud_bridge.settings import Endpoint, UplinkSettings
from edge.core.errors import UplinkError
from edge.core.ports import LinkListener, Message

with without("dns"):  # paho would load dnspython (6 MiB) for SRV records, which are not used here
    from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
    from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

SESSION_EXPIRY_S = 7 * 86_400  # as long as command ids are remembered
DEAD_PEER_MS = 15_000
STOP_S = 2.0
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", 18)
_BROKEN = (OSError, ValueError, IndexError, struct.error)  # what paho raises on a wire that speaks no MQTT
V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
_PROTOCOLS = {"5": (V5,), "3.1.1": (V311,), "auto": (V5, V311)}


class WrongProtocol(UplinkError):
    """The broker does not speak this version of MQTT."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who connects: user and password where the broker wants them, else the certificate says it."""

    client_id: str
    username: str = ""
    password: str = ""


def _secret(key: str, path: str) -> str:
    """What a file keeps, "" without one. Raises UplinkError."""
    try:
        return Path(path).read_text("utf-8").strip() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UplinkError(f"{key} = {path!r}: {why}; expected a text file that this user may read") from None


class TunnelledClient(Client):
    """paho's client through an HTTP proxy: paho itself would want another package for that (its `proxy_set`)."""

    proxy: Proxy | None = None

    def _create_socket_connection(self) -> socket.socket:
        if self.proxy is None:
            return super()._create_socket_connection()
        return open_tunnel(self.proxy, self._host, self._port, self._connect_timeout)


class PahoLinks:
    """A link factory: makes links to endpoints, and remembers which version of MQTT each broker spoke."""

    def __init__(self, settings: UplinkSettings) -> None:
        self.settings = settings
        self.spoken: dict[Endpoint, MQTTProtocolVersion] = {}

    def __call__(self, endpoint: Endpoint) -> PahoLink:
        """A link that has not connected yet."""
        return PahoLink(self, endpoint)

    def identity(self) -> Identity:
        """Who we are; the password is read anew for each connection. Raises UplinkError naming the file."""
        settings = self.settings
        return Identity(settings.client_id, settings.username, _secret("password_file", settings.password_file))

    def proxy(self) -> Proxy | None:
        """The way out, read anew likewise. Raises UplinkError naming the file."""
        return read_proxy(self.settings.proxy, _secret("proxy_file", self.settings.proxy_file))


def tls_context(settings: UplinkSettings) -> ssl.SSLContext:
    """TLS 1.3 with the platform's CA and, where given, the store's certificate. Raises UplinkError naming the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        if settings.ca_file:
            context.load_verify_locations(settings.ca_file)
        else:
            context.load_default_certs()
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file or None)
    except (OSError, ssl.SSLError) as error:
        files = f"ca_file = {settings.ca_file!r}, cert_file = {settings.cert_file!r}, key_file = {settings.key_file!r}"
        raise UplinkError(f"{files}: {error}; expected PEM files") from None
    return context


class PahoLink:
    """`MqttLink` over paho."""

    def __init__(self, links: PahoLinks, endpoint: Endpoint) -> None:
        self._links, self._endpoint = links, endpoint
        self._session: _Session | None = None
        self._tokens = 0

    async def connect(self, listener: LinkListener, will: Message, subscriptions: Sequence[str]) -> None:
        """Connect once; raises UplinkError with the cause."""
        known = self._links.spoken.get(self._endpoint)
        versions = (known,) if known is not None else _PROTOCOLS[self._links.settings.protocol]
        for version in versions:
            session = _Session(self._links, self._endpoint, version, listener)
            self._session = session
            try:
                await session.open(will, subscriptions)
            except WrongProtocol:
                self._links.spoken.pop(self._endpoint, None)
                if version is versions[-1]:
                    raise
            else:
                self._links.spoken[self._endpoint] = version
                return

    def publish(self, message: Message) -> int:
        """Hand one message to the wire and return its token. Raises UplinkError when not connected."""
        if self._session is None or not self._session.is_open:
            raise UplinkError(f"{self._endpoint.host}: not connected")
        self._tokens += 1
        self._session.publish(self._tokens, message)
        return self._tokens

    async def disconnect(self) -> None:
        """Leave cleanly (no will)."""
        if self._session is not None:
            await self._session.close()


class _Session:
    """One connection and its thread. Methods above the line are the loop's, those below it the thread's."""

    def __init__(
        self, links: PahoLinks, endpoint: Endpoint, version: MQTTProtocolVersion, listener: LinkListener
    ) -> None:
        self.is_open = False
        self._links, self._endpoint, self._version, self._listener = links, endpoint, version, listener
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._outgoing: deque[tuple[int, Message]] = deque()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._stopping = False
        self._signalled = False
        self._subscriptions: Sequence[str] = ()
        # The thread's own:
        self._token_by_mid: dict[int, int] = {}
        self._acked: list[int] = []
        self._received: list[Message] = []
        self._receive_maximum = 65_535
        self._accepted = False
        self._cause = ""

    async def open(self, will: Message, subscriptions: Sequence[str]) -> None:
        """Start the thread and wait for CONNACK."""
        self._subscriptions = subscriptions
        context = tls_context(self._links.settings) if self._endpoint.secure else None
        thread = threading.Thread(target=self._run, args=(will, context), name="mqtt", daemon=True)
        thread.start()
        try:
            await self._opened
        finally:
            if not self.is_open:
                self._stop()

    def publish(self, token: int, message: Message) -> None:
        """Give the thread a message."""
        self._outgoing.append((token, message))
        self._signal()

    async def close(self) -> None:
        """Send what waits, say goodbye, wait for the thread's end (no longer than 2 s)."""
        self.is_open = False
        self._stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._ended.wait()

    def _stop(self) -> None:
        self._stopping = True
        self._signalled = False
        self._signal()

    def _signal(self) -> None:
        if not self._signalled:
            self._signalled = True
            with contextlib.suppress(OSError):  # full: it is awake anyway; closed: it has ended
                self._wake_in.send(b"\0")

    def _on_open(self) -> None:
        if not self._opened.done():
            self.is_open = True
            self._opened.set_result(None)
            self._listener.connected()

    def _on_news(self, acked: list[int], received: list[Message]) -> None:
        if acked:
            self._listener.acknowledged(acked)
        for message in received:
            self._listener.received(message)

    def _on_end(self, error: UplinkError) -> None:
        was_open, self.is_open = self.is_open, False
        self._ended.set()
        self._wake_in.close()
        self._wake_out.close()
        if not self._opened.done():
            self._opened.set_exception(error)
            self._opened.exception()  # seen, also when nobody waits any more
        elif was_open:
            self._listener.disconnected(str(error))

    # --- the thread -----------------------------------------------------------------------------------------------

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _run(self, will: Message, context: ssl.SSLContext | None) -> None:
        name = f"{self._endpoint.host}:{self._endpoint.port}"
        error = UplinkError(f"{name}: left")
        try:
            client = self._client(will, context)
            self._dial(client)
            self._converse(client)
        except UplinkError as refused:
            error = type(refused)(f"{name}: {refused}")
        except _BROKEN as broken:
            wrong = self._version is V5 and not self._accepted and not isinstance(broken, OSError)
            error = (WrongProtocol if wrong else UplinkError)(f"{name}: {reason_of(broken)}")
        self._tell(self._on_end, error)

    def _client(self, will: Message, context: ssl.SSLContext | None) -> Client:
        settings, identity = self._links.settings, self._links.identity()
        persistent = settings.persistent_session
        client = TunnelledClient(
            CallbackAPIVersion.VERSION2,
            identity.client_id,
            clean_session=None if self._version is V5 else not persistent,
            protocol=self._version,
            transport="websockets" if self._endpoint.websocket else "tcp",
            reconnect_on_failure=False,
        )
        client.proxy = self._links.proxy()
        client.connect_timeout = settings.connect_timeout_s
        client.max_inflight_messages = 0  # our own window; paho would scan its own on each ack
        client.will_set(will.topic, will.payload, will.qos, will.retain)
        if identity.username:
            client.username_pw_set(identity.username, identity.password)
        if context is not None:
            client.tls_set_context(context)
        if self._endpoint.websocket:
            client.ws_set_options(self._endpoint.path)
        client.on_socket_open = self._on_socket
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    def _dial(self, client: Client) -> None:
        host, port, keepalive_s = self._endpoint.host, self._endpoint.port, self._links.settings.keepalive_s
        if self._version is not V5:
            client.connect(host, port, keepalive_s)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        persistent = self._links.settings.persistent_session
        if persistent:
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
        client.connect(host, port, keepalive_s, clean_start=not persistent, properties=properties)

    def _converse(self, client: Client) -> None:
        connack_by_s = time.monotonic() + self._links.settings.connack_timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_out, selectors.EVENT_READ)
            sock: Any = client.socket()
            selector.register(sock, selectors.EVENT_READ)
            writing = False
            while client.socket() is not None and not self._cause:
                if client.want_write() is not writing:
                    writing = client.want_write()
                    selector.modify(sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0))
                pending = bool(sock.pending()) if hasattr(sock, "pending") else False
                ready = {key.fileobj for key, _ in selector.select(0 if pending else 0.5)}
                if self._wake_out in ready:
                    self._drain_wake()
                if sock in ready or pending:
                    client.loop_read()
                if self._stopping:
                    self._goodbye(client)
                    return
                self._step(client)
                if not self._accepted and time.monotonic() > connack_by_s:
                    raise UplinkError(f"no CONNACK within {self._links.settings.connack_timeout_s} s")
        if self._cause == "protocol":
            raise WrongProtocol("it does not speak MQTT 5")
        raise UplinkError(self._cause or "connection lost")

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_out.recv(4096)
        self._signalled = False

    def _step(self, client: Client) -> None:
        """Publish what waits, write what is left, keep alive, and tell the loop the news."""
        while self._accepted and self._outgoing and len(self._token_by_mid) < self._receive_maximum:
            token, message = self._outgoing.popleft()
            info = client.publish(message.topic, message.payload, message.qos, message.retain)
            self._token_by_mid[info.mid] = token
        if client.want_write():
            client.loop_write()
        client.loop_misc()
        if self._acked or self._received:
            self._tell(self._on_news, self._acked, self._received)
            self._acked, self._received = [], []

    def _goodbye(self, client: Client) -> None:
        """What was handed over leaves, as far as the wire takes it within two seconds; then DISCONNECT."""
        until_s = time.monotonic() + STOP_S
        self._step(client)
        while client.want_write() and client.socket() is not None and time.monotonic() < until_s:
            if client.loop_write() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                break
            time.sleep(0.001)
        client.disconnect()

    @staticmethod
    def _on_socket(client: Client, userdata: Any, sock: Any) -> None:
        raw = getattr(sock, "_socket", sock)  # the WebSocket wrapper has one inside
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, DEAD_PEER_MS)

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            wrong = str(reason) in ("Unsupported protocol version", "Protocol error")
            self._cause = "protocol" if wrong and self._version is V5 else f"refused: {reason}"
            return
        self._receive_maximum = int(getattr(properties, "ReceiveMaximum", 65_535))
        self._accepted = True
        if self._subscriptions:
            client.subscribe([(topic, 1) for topic in self._subscriptions])
        else:
            self._tell(self._on_open)

    def _on_subscribe(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        for topic, reason in zip(self._subscriptions, reasons, strict=False):
            if reason.is_failure:
                self._cause = f"subscription to {topic} refused: {reason}"
        if not self._cause:
            # Open only now: a command that is sent in answer to the birth must find the subscription in place.
            self._tell(self._on_open)

    def _on_publish(
        self, client: Client, userdata: Any, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        token = self._token_by_mid.pop(mid, None)
        if reason.is_failure:
            self._cause = f"publish refused: {reason}"
        elif token is not None:
            self._acked.append(token)

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        self._received.append(Message(message.topic, bytes(message.payload), message.qos, message.retain))

    def _on_disconnect(self, client: Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if not self._cause:
            closed_first = self._version is V5 and not self._accepted
            early = "" if self._accepted else "before CONNACK (no MQTT broker, or it does not want this client): "
            self._cause = "protocol" if closed_first else f"disconnected: {early}{reason}"
