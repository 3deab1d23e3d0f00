"""Settings of the uplink: where the brokers are, who the store is to them, how fast it may speak."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Annotated, Final
from urllib.parse import urlsplit

from cloud_bridge.keys import KEY_BYTES, KeyRing
from cloud_bridge.proxy import read_proxy
from edge.core.plain import OneOf, PlainError, Within, obey

FILES: Final = ("password_file", "proxy_file", "ca_file", "cert_file", "key_file")
"""The settings of `UplinkSettings` that name a file."""
_Pause = Within(0, 86_400, "seconds")
_Patience = Within(0.1, 600, "seconds")
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
    """``[uplink]``: the brokers, who we are to them, and how fast we may speak."""

    hosts: tuple[str, ...] = ()
    """Tried in order, such as mqtts on 8883 and then wss on 443, for networks that let only HTTPS out."""
    client_id: str = ""
    """MQTT client id; empty: made of tenant and store."""
    username: str = ""
    password_file: str = ""
    """File with the password of `username`."""
    ca_file: str = ""
    """Authority that signed the broker's certificate (PEM); empty: the system's."""
    cert_file: str = ""
    """Our own certificate (PEM), where the broker wants one and the gateway is not enrolled."""
    key_file: str = ""
    """Its private key (PEM)."""
    protocol: Annotated[str, OneOf(("auto", "5", "3.1.1"))] = "auto"
    """MQTT version; auto: 5, and 3.1.1 where the broker refuses it."""
    persistent_session: bool = True
    """The broker keeps what it has for us while we are away."""
    platform_keys: dict[str, str] = field(default_factory=dict)
    """The platform's public keys (Ed25519, base64 of 32 bytes) by name."""
    connack_timeout_s: Annotated[float, _Patience] = 1.5
    """So long a broker may take to accept us before the next host is tried."""
    connect_timeout_s: Annotated[float, _Patience] = 5.0
    """So long TCP and TLS may take."""
    keepalive_s: Annotated[int, Within(1, 3600, "seconds")] = 10
    puback_timeout_s: Annotated[float, _Patience] = 20.0
    """A connection that leaves a message unanswered so long is made anew."""
    window: Annotated[int, Within(40, 100, "messages")] = 100
    """Messages in flight."""
    rate_per_s: Annotated[float, Within(0, 1e6, "events a second")] = 2000.0
    """Ceiling for a backlog, 0 for none; live facts go first. The platform may set another."""
    state_delay_s: Annotated[float, _Pause] = 0.25
    """Retained state (stock, devices) is collected so long before it is published."""
    backoff_least_s: Annotated[float, _Patience] = 0.25
    """First pause before a new attempt (jittered, doubled each time)."""
    backoff_most_s: Annotated[float, _Patience] = 30.0
    """Longest pause before a new attempt."""
    trust_puback: bool = False
    """For platforms that never send ``ack``: the broker's PUBACK stands in for it, and what it loses is lost."""
    connect_every_s: Annotated[float, _Pause] = 0.0
    """Metered links: connect only every so many seconds; 0: stay connected."""
    proxy: str = ""
    """HTTP proxy for broker and enrolment, such as ``http://proxy:3128``."""
    proxy_file: str = ""
    """File with the proxy's ``user:password``."""
    stay_s: Annotated[float, _Pause] = 30.0
    """Metered links: leave once everything is sent, at the latest after so many seconds."""

    def __post_init__(self) -> None:
        obey(self)
        for index, address in enumerate(self.hosts):
            endpoint(address, f"hosts[{index}]")
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
