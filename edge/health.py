"""Health: counters, last-seen times, heartbeats; what /health shows and what feeds the watchdog.

A heartbeat is fresh while its last beat is younger than its limit. systemd's watchdog is fed only while all are
fresh (`Notifier`), so a hung loop, writer, driver or inference ends in a restart instead of silence.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from edge.core.instant import US_PER_S
from edge.core.observation import DeviceState


@dataclass(slots=True)
class DeviceHealth:
    """What is known of one device now."""

    kind: str
    state: DeviceState = DeviceState.OFFLINE
    cause: str = "starting"
    detail: str = ""
    hint: str = ""
    last_seen_us: int | None = None
    restarts: int = 0
    serial: str = ""
    model: str = ""
    firmware: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)


class Alarm(StrEnum):
    """What the gateway itself can be in trouble with. Each is in the operator's manual (docs/operations.md)."""

    SAFE_MODE = "safe_mode"
    JOURNAL_FULL = "journal_full"
    JOURNAL_CORRUPT = "journal_corrupt"
    CERTIFICATE = "certificate"
    PUBLIC_CERTIFICATE = "public_certificate"
    ENROLMENT = "enrolment"
    ERASURE = "erasure"


@dataclass(slots=True)
class _Heartbeat:
    limit_us: int
    beat_us: int


class Health:
    """The living record. Lives on the loop; `now_us` is the engine's clock."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self.devices: dict[str, DeviceHealth] = {}
        self.counters: dict[str, int] = {}
        self.alarms: dict[str, str] = {}
        self._hearts: dict[str, _Heartbeat] = {}

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a named total."""
        self.counters[name] = self.counters.get(name, 0) + amount

    def alarm(self, name: Alarm, detail: str) -> None:
        """Raise an alarm with its detail, or ("") take it back."""
        if detail:
            self.alarms[name] = detail
        else:
            self.alarms.pop(name, None)

    def expect_beat(self, name: str, limit_s: float) -> None:
        """From now on `name` must beat at least every `limit_s`."""
        self._hearts[name] = _Heartbeat(int(limit_s * US_PER_S), self._now_us())

    def beat(self, name: str) -> None:
        """`name` is alive."""
        heart = self._hearts.get(name)
        if heart is not None:
            heart.beat_us = self._now_us()

    def forget_beat(self, name: str) -> None:
        """`name` stopped on purpose."""
        self._hearts.pop(name, None)

    def stale(self) -> list[str]:
        """Names whose heartbeat is overdue."""
        now_us = self._now_us()
        return sorted(name for name, heart in self._hearts.items() if now_us - heart.beat_us > heart.limit_us)

    def status(self) -> str:
        """One line for people: "8 of 9 devices online; offline: door-1"."""
        offline = sorted(name for name, device in self.devices.items() if device.state is DeviceState.OFFLINE)
        online = len(self.devices) - len(offline)
        line = f"{online} of {len(self.devices)} devices online"
        if offline:
            line += f"; offline: {', '.join(offline[:5])}" + (" …" if len(offline) > 5 else "")
        if self.alarms:
            line += f"; alarms: {', '.join(sorted(self.alarms))}"
        return line


class Notifier:
    """sd_notify(3): a datagram to NOTIFY_SOCKET, nothing where there is none."""

    def __init__(self, address: str | None = None) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address

    def __call__(self, message: str) -> None:
        """Send e.g. READY=1, WATCHDOG=1, STATUS=…, STOPPING=1."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(message.encode(), address)
