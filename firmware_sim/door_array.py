"""The door sensor's MCU: an 8x8 or 24x32 array above the door, sent as SDP/1 FRAMEs; no camera, no identity."""

from collections.abc import Callable, Sequence

import numpy as np

from firmware_sim import sdp
from firmware_sim.sdp_device import Due, Manners, SdpDevice
from firmware_sim.thermal import Optics, Passer, Scene


def door_identity(serial: str, optics: Optics, firmware: tuple[int, int, int] = (1, 0, 0)) -> sdp.Identity:
    """The identity of a door sensor with these optics."""
    shape = {"rows": optics.rows, "cols": optics.cols, "unit": optics.unit}
    return sdp.Identity(serial, optics.model, firmware, rate_tenths_hz=optics.rate_tenths_hz, **shape)


class DoorArray(SdpDevice):
    """Sends a FRAME at its rate of what ``people(t_us)`` shows to the sensor (the running loop's clock in µs).

    ``dead`` are (row, column) of dead pixels; ``warmer_k(t_us)`` shifts the background (sun, draught, night).
    """

    def __init__(
        self,
        serial: str,
        scene: Scene,
        people: Callable[[int], Sequence[Passer]],
        seed: int,
        *,
        dead: Sequence[tuple[int, int]] = (),
        warmer_k: Callable[[int], float] | None = None,
        manners: Manners | None = None,
    ) -> None:
        manners = manners or Manners(rate_max_tenths_hz=max(200, scene.optics.rate_tenths_hz))
        super().__init__(door_identity(serial, scene.optics), seed, manners)
        self.scene = scene
        self.dead = list(dead)
        self._people = people
        self._warmer_k = warmer_k

    def sample(self, t_us: int) -> list[Due]:
        """One FRAME."""
        warmer_k = 0.0 if self._warmer_k is None else self._warmer_k(t_us)
        pixels = self.scene.frame(self._people(t_us), warmer_k)
        for row, col in self.dead:
            pixels[row, col] = sdp.DEAD_PIXEL
        optics = self.scene.optics
        body = sdp.frame_body(optics.rows, optics.cols, optics.unit, pixels.astype(np.dtype("<i2")).tobytes())
        return [Due(sdp.FRAME, body, t_us)]
