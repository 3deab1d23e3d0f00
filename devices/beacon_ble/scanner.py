"""Driver of the remote BLE scanner: SDP/1 ADVERT in, `Advert` and `SensorReading` observations of beacons out.

A phone's address never leaves `Hearing`: what is no beacon is counted and forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from devices.beacon_ble.hearing import BindKey, Hearing, bind_keys_of, resolver_of
from devices.driver import BeaconKey, DriverContext, DriverInfo, Emit
from devices.sdp.driver import SdpDriver
from devices.sdp.messages import AdvertHeard, Identity
from devices.sdp.session import Taken
from devices.transport.moniker import Link


@dataclass(frozen=True, slots=True)
class BleScannerSettings:
    """One scanner MCU."""

    link: Link
    """Such as ``serial:/dev/serial/by-id/…`` or ``tcp:HOST:PORT``."""
    eid_keys: tuple[BeaconKey, ...] = ()
    """Own Eddystone-EID beacons: ``{ identity, key, exponent, time_s }``."""
    bind_keys: tuple[BindKey, ...] = ()
    """BTHome sensors that seal what they say: ``{ address, key }``."""


class BleScannerDriver(SdpDriver):
    """One scanner MCU in its zone."""

    WHAT: ClassVar[str] = "BLE scanner"

    def __init__(self, context: DriverContext, settings: BleScannerSettings) -> None:
        super().__init__(context, settings.link)
        self._resolver = resolver_of((*settings.eid_keys, *context.beacon_keys()))
        self._bind = bind_keys_of(settings.bind_keys)
        self._hearing: Hearing | None = None

    def check(self, identity: Identity) -> str:
        """A shelf or a door array at the position of a scanner is a mix-up."""
        if identity.cells or identity.rows:
            return f"{identity.model} {identity.serial} has cells or pixels; expected a BLE scanner"
        return ""

    def take(self, taken: list[Taken], emit: Emit) -> None:
        """One observation an advertisement of a beacon format."""
        if self._hearing is None:
            context = self.context
            self._hearing = Hearing(context.device_id, emit, context.count, self._resolver, self._bind)
        for message, made_us in taken:
            if isinstance(message, AdvertHeard):
                address = message.address.hex(":").upper()
                self._hearing.advert(message.ad, address, message.rssi_dbm, made_us)


INFO = DriverInfo("ble_scanner", "Remote BLE scanner (SDP/1)", BleScannerSettings, BleScannerDriver)
