"""The shelf MCU: up to 16 load cells, raw counts 10 or 80 times a second over SDP/1 at 115200 baud."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from firmware_sim import sdp
from firmware_sim.sdp_device import Due, Manners, SdpDevice

_RAILS = (sdp.SATURATED_HIGH, sdp.SATURATED_LOW)
_REPORT = {sdp.CELL_SATURATED: "cell {} saturated", sdp.ADC_TIMEOUT: "cell {}: converter does not answer"}


class ShelfMcu(SdpDevice):
    """Sends DATA at its rate and an ERROR when a cell starts to saturate or to be silent.

    ``counts(t_us)`` gives one raw count a cell (`LoadCells.sample_at`, say), ``temperature_c(t_us)`` the board's own;
    both get the running loop's clock in µs. The line carries 240 frames/s, so the rate goes up to 80 Hz.
    """

    def __init__(
        self,
        identity: sdp.Identity,
        counts: Callable[[int], Sequence[int]],
        seed: int,
        temperature_c: Callable[[int], float] | None = None,
        manners: Manners | None = None,
    ) -> None:
        if not 1 <= identity.cells <= 16:
            raise ValueError(f"shelf {identity.serial}: {identity.cells} cells; SDP/1 has 1 to 16")
        if temperature_c is not None:
            identity = replace(identity, features=identity.features | sdp.FEATURE_TEMPERATURE)
        super().__init__(identity, seed, manners)
        self._counts = counts
        self._temperature_c = temperature_c
        self._state = [0] * identity.cells  # the ERROR code that was last reported of each cell; 0: well
        self._pending: list[tuple[int, int, str]] = []

    def started(self) -> None:
        """A fresh firmware has reported nothing yet."""
        self._state = [0] * self.identity.cells

    def report(self, code: int, cell: int, text: str) -> None:
        """Have an ERROR sent with the next sample, for what only the hardware can know (low voltage, open cell)."""
        self._pending.append((code, cell, text))

    def sample(self, t_us: int) -> list[Due]:
        """DATA, after the errors that its counts show."""
        counts = list(self._counts(t_us))
        if len(counts) != self.identity.cells:
            raise ValueError(f"shelf {self.identity.serial}: {len(counts)} counts for {self.identity.cells} cells")
        for cell, value in enumerate(counts):
            code = sdp.CELL_SATURATED if value in _RAILS else sdp.ADC_TIMEOUT if value == sdp.NO_READING else 0
            if code and code != self._state[cell]:
                self.report(code, cell, _REPORT[code].format(cell))
            self._state[cell] = code
        temperature = None if self._temperature_c is None else round(self._temperature_c(t_us) * 100)
        errors, self._pending = self._pending, []
        due = [Due(sdp.ERROR, sdp.error_body(*error), t_us) for error in errors]
        due.append(Due(sdp.DATA, sdp.data_body(counts, temperature), t_us))
        return due
