"""What a driver is: it opens a link, converses, and emits observations until it raises or is cancelled.

`Driver.run` never returns normally: the supervisor restarts it for ever, with jittered back-off. A driver keeps no
state that its successor would need.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from devices.transport.stream import ByteStream
from edge.core.observation import Observation

Emit = Callable[[Observation], None]


class Driver(Protocol):
    """One device at one position."""

    async def run(self, emit: Emit) -> None:
        """Converse and emit until cancelled. Raises LinkLost, DeviceTimeout, DeviceRefused or DeviceMisbehaved."""
        ...


@dataclass(frozen=True, slots=True)
class BeaconKey:
    """An own Eddystone-EID beacon: `identity` as in the planogram, `key` 32 hex digits, its clock at provisioning."""

    identity: str
    key: str = field(repr=False)
    exponent: int = 10
    time_s: int = 0


@dataclass(frozen=True, slots=True)
class DriverContext:
    """What a driver may use of the world around it.

    ``now_us`` is the engine's clock (µs), ``open_stream`` opens a moniker (see `devices.transport`), ``counters`` is
    the driver's own mapping of named totals (bytes_in, frames_rejected …), shown by health. ``store_open`` says whether
    the store is open now by its hours (a driver has no wall clock), for devices that rest at night. ``beacon_keys`` are
    those of own beacons that hide, for devices that hear them.
    """

    device_id: str
    now_us: Callable[[], int]
    open_stream: Callable[[str], Awaitable[ByteStream]]
    counters: dict[str, int] = field(default_factory=dict)
    store_open: Callable[[], bool] = lambda: True
    beacon_keys: Callable[[], tuple[BeaconKey, ...]] = tuple

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a named total."""
        self.counters[name] = self.counters.get(name, 0) + amount


@dataclass(frozen=True, slots=True)
class DriverInfo:
    """An entry of the registry: kind as in the settings, title for people, the settings' dataclass, the way to open."""

    kind: str
    title: str
    settings: type[Any]
    open: Callable[[DriverContext, Any], Driver]


class Identifiable(Protocol):
    """A device that can show which one it is (blink, beep)."""

    async def identify(self, duration_s: int) -> None:
        """Blink for so long; 0 stops. Raises DeviceRefused where the hardware cannot."""
        ...


class Tareable(Protocol):
    """A device with its own zero."""

    async def tare(self) -> None:
        """Set the zero now. Raises DeviceRefused while the load moves."""
        ...


class Configurable(Protocol):
    """A device whose running configuration can be changed without a restart of the driver."""

    async def configure(self, changes: Mapping[str, object]) -> None:
        """Apply named changes (sample_rate_hz, transmit_power_dbm …). Raises DeviceRefused naming the one refused."""
        ...


class Updatable(Protocol):
    """A device that takes signed firmware over its link."""

    async def update(self, firmware: bytes, signature: bytes, progress: Callable[[float], None]) -> str:
        """Send it, tell progress 0–1, return the version that runs then. Raises DeviceRefused on a bad signature."""
        ...
