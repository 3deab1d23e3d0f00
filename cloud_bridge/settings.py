"""Settings of the uplink: where the brokers are, who the store is to them, how fast it may speak."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cloud_bridge.keys import KEY_BYTES, KeyRing
from cloud_bridge.proxy import read_proxy
from edge.core.plain import PlainError

_SCHEMES = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One broker address."""

    scheme: str
    host: str
    port: int
    path: str = "/mqtt"

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme in ("mqtts", "wss")

    @property
    def websocket(self) -> bool:
        """Whether MQTT travels inside a WebSocket (for networks that let only port 443 out)."""
        return self.scheme in ("ws", "wss")


def endpoint(address: str, key: str = "hosts") -> Endpoint:
    """An address such as ``mqtts://broker.example:8883``. Raises PlainError."""
    expected = "an address such as mqtts://broker.example:8883 (mqtt, mqtts, ws or wss)"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise PlainError(key, address, expected) from None
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise PlainError(key, address, expected)
    return Endpoint(parts.scheme, parts.hostname, port or _SCHEMES[parts.scheme], parts.path or "/mqtt")


@dataclass(frozen=True, slots=True)
class UplinkSettings:
    """``[uplink]``. Paths are resolved by the composition root; keys are base64 of 32 bytes by name.

    ``hosts`` are tried in order, such as mqtts on 8883 and then wss on 443, for networks that let only HTTPS out.
    ``proxy``: an HTTP proxy (http://proxy:3128) for broker and enrolment; ``proxy_file`` has its ``user:password``.
    """

    hosts: tuple[str, ...] = ()
    client_id: str = ""
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    protocol: str = "auto"
    persistent_session: bool = True
    platform_keys: dict[str, str] = field(default_factory=dict)
    connack_timeout_s: float = 1.5
    connect_timeout_s: float = 5.0
    keepalive_s: int = 10
    puback_timeout_s: float = 20.0
    window: int = 100
    rate_per_s: float = 2000.0
    state_delay_s: float = 0.25
    backoff_least_s: float = 0.25
    backoff_most_s: float = 30.0
    trust_puback: bool = False
    connect_every_s: float = 0.0
    proxy: str = ""
    proxy_file: str = ""
    stay_s: float = 30.0

    def __post_init__(self) -> None:
        for index, address in enumerate(self.hosts):
            endpoint(address, f"hosts[{index}]")
        if self.protocol not in ("auto", "5", "3.1.1"):
            raise PlainError("protocol", self.protocol, "auto, 5 or 3.1.1")
        if not 40 <= self.window <= 100:
            raise PlainError("window", self.window, "40 to 100 messages in flight")
        if self.rate_per_s < 0:
            raise PlainError("rate_per_s", self.rate_per_s, "events a second, 0 for unlimited")
        read_proxy(self.proxy)
        self.keyring()

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The brokers in order of preference."""
        return tuple(endpoint(address) for address in self.hosts)

    def keyring(self) -> KeyRing:
        """The platform's keys. Raises PlainError for a malformed one."""
        ring = KeyRing({})
        for name, text in self.platform_keys.items():
            try:
                ring.add(name, base64.b64decode(text, validate=True))
            except (binascii.Error, ValueError):
                raise PlainError(f"platform_keys.{name}", text, f"base64 of {KEY_BYTES} bytes") from None
        return ring
