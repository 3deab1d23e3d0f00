"""The remote BLE scanner's MCU: what it hears of known beacon formats, sent as SDP/1 ADVERTs."""

from collections.abc import Callable, Sequence
from typing import Final

from firmware_sim import sdp
from firmware_sim.adverts import passes_scanner
from firmware_sim.ble_air import Heard
from firmware_sim.sdp_device import Due, Manners, SdpDevice

_POLL_US: Final = 50_000
_WINDOW_MAX_US: Final = 1_000_000  # after a pause without host: what was heard long ago is gone


class BleScanner(SdpDevice):
    """Sends each advertisement that ``ear(t0_us, t1_us)`` heard and that passes the scanner's filter.

    ``counters["filtered"]`` tells how many others there were: phones stay outside.
    """

    def __init__(
        self,
        identity: sdp.Identity,
        ear: Callable[[int, int], Sequence[Heard]],
        seed: int,
        manners: Manners | None = None,
    ) -> None:
        super().__init__(identity, seed, manners)
        self._ear = ear
        self._heard_until_us = -1

    def period_s(self) -> float:
        """The radio's queue is emptied 20 times a second."""
        return _POLL_US / 1e6

    def set_rate(self, rate_tenths_hz: int) -> int:
        """A scanner reports what it hears; it has no rate to set."""
        return sdp.NOT_SUPPORTED

    def sample(self, t_us: int) -> list[Due]:
        """One ADVERT for each advertisement since the last call."""
        since_us = max(self._heard_until_us, t_us - _WINDOW_MAX_US)
        self._heard_until_us = t_us
        due = []
        for heard in self._ear(since_us, t_us):
            if not passes_scanner(heard.ad):
                self.counters["filtered"] += 1
                continue
            body = sdp.advert_body(heard.rssi_dbm, heard.address_type, heard.address, heard.ad)
            due.append(Due(sdp.ADVERT, body, heard.t_us))
        return due
