"""Counting at a door: frames in, crossings out, with one ONNX session for all doors.

`FootfallRunner` holds the model (loaded on first use, since onnxruntime is heavy) and falls back to the last good one;
`DoorCounter` is the streaming state of one door. Both belong to one thread: the runtime's `inference` thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import FootfallError, ModelError
from models.frontend import STEP_US, Frontend, Stretch
from models.intake import GRID, Signal
from models.manifest import MANIFEST, Manifest, read_manifest, read_model
from models.peaks import Evidence, Peak, PeakPicker, Signs
from models.window import AHEAD_STEPS, PAST_STEPS, WINDOW_STEPS

if TYPE_CHECKING:
    import onnxruntime

_CHUNK_STEPS: Final = 1024
"""Longest piece handed to the network at once: bounds the memory of a long recording."""

LEAST_CONFIDENCE: Final = 0.5
"""Counted is what is more likely right than wrong: noise in an empty doorway makes peaks that just reach the rule."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A person crossed the middle of the field. row: lane across the door, 0 to 7 in the pooled field; signs: what the
    confidence is told by."""

    t_us: int
    direction: str
    confidence: float
    row: float
    signs: Signs | None = None


class Network:
    """One verified ONNX session, one thread, no memory arena."""

    def __init__(self, manifest: Manifest) -> None:
        """Raises `ModelError` where the file does not do what its manifest says."""
        # Imported here: 60 MB that a gateway without doors need not load.
        import onnxruntime  # noqa: PLC0415
        from onnxruntime.capi import onnxruntime_pybind11_state as refused  # noqa: PLC0415

        data = read_model(manifest)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except (
            refused.Fail,
            refused.InvalidArgument,
            refused.InvalidGraph,
            refused.InvalidProtobuf,
            refused.NotImplemented,
            refused.RuntimeException,
            RuntimeError,
            ValueError,
        ) as error:
            raise ModelError(f"{manifest.file}: {error}: expected a model that onnxruntime can load") from error
        self.manifest = manifest
        self._session = session
        self._check_shapes(session)

    def _check_shapes(self, session: onnxruntime.InferenceSession) -> None:
        found = [(port.name, port.type, port.shape[2:]) for port in (*session.get_inputs(), *session.get_outputs())]
        wanted = [("signal", "tensor(float)", [GRID, GRID]), ("evidence", "tensor(float)", [2, GRID])]
        if found != wanted:
            raise ModelError(f"{self.manifest.file}: ports {found}: expected {wanted}")
        told = self.evidence(np.zeros((WINDOW_STEPS + 1, GRID, GRID), np.float32))
        if told.shape != (2, 2, GRID) or not np.isfinite(told).all():
            raise ModelError(f"{self.manifest.file}: evidence of shape {told.shape}: expected finite (2, 2, {GRID})")

    def evidence(self, signal: Signal) -> Evidence:
        """(steps, 8, 8) to (steps - 24, 2, 8), 0..1."""
        told: Evidence = self._session.run(["evidence"], {"signal": signal[None]})[0][0]
        return told


class FootfallRunner:
    """The model in use. Loads it on first use; a model that is missing, tampered with or odd gives way to the last
    good one, that one to the built-in one, and `degraded` then says why."""

    def __init__(self, manifest: Path = MANIFEST, last_good: Path | None = MANIFEST) -> None:
        self._paths = [manifest] if last_good is None else list(dict.fromkeys((manifest, last_good, MANIFEST)))
        self._network: Network | None = None
        self.degraded = ""

    @property
    def network(self) -> Network:
        """The loaded network. Raises `ManifestError` or `ModelError` where neither model can be used."""
        if self._network is None:
            self._network = self._load()
        return self._network

    def _load(self) -> Network:
        for path in self._paths[:-1]:
            try:
                return Network(read_manifest(path))
            except FootfallError as error:
                self.degraded = str(error)
        return Network(read_manifest(self._paths[-1]))

    def door(self, size: tuple[int, int], unit: str = "centi_celsius", inward: str = "+x") -> DoorCounter:
        """A counter for one door. Raises `FrameSizeError`, `FrameUnitError`, `InwardError`, `ModelError`."""
        return DoorCounter(self.network, size, unit, inward)


class DoorCounter:
    """Streaming state of one door: the same crossings whether frames come one by one or in large blocks."""

    def __init__(
        self, network: Network, size: tuple[int, int], unit: str = "centi_celsius", inward: str = "+x"
    ) -> None:
        """Raises `FrameSizeError`, `FrameUnitError`, `InwardError`."""
        self.frontend = Frontend(size, unit, inward)
        self._network = network
        self._begin(0)

    def _begin(self, start_us: int) -> None:
        """Nobody was there before the stretch begins."""
        self._ring: Signal = np.zeros((PAST_STEPS, GRID, GRID), np.float32)
        self._picker = PeakPicker(self._network.manifest.rule)
        self._start_us = start_us

    def push(self, frames: NDArray[np.int16], t_us: NDArray[np.int64]) -> list[Crossing]:
        """Frames (n, rows, cols) at rising times (n,) in µs → crossings now certain, about 1.4 s after they happened.

        Raises `FrameSizeError`, `FrameRateError`.
        """
        crossings: list[Crossing] = []
        for stretch in self.frontend.push(frames, t_us):
            crossings += self._advance(stretch)
        return crossings

    def flush(self) -> list[Crossing]:
        """The crossings that still waited for frames, as if the field stayed empty from now on (end of recording)."""
        crossings: list[Crossing] = []
        for stretch in self.frontend.flush():
            crossings += self._advance(stretch)
        return crossings + self._emptied()

    def _emptied(self) -> list[Crossing]:
        """Let the network see an empty field for as long as it looks ahead."""
        reach = self._network.manifest.rule.reach_steps
        return self._take(np.zeros((AHEAD_STEPS + reach, GRID, GRID), np.float32))

    def _advance(self, stretch: Stretch) -> list[Crossing]:
        waiting: list[Crossing] = []
        if stretch.fresh:
            waiting = self._emptied()
            self._begin(int(stretch.grid_us[0]))
        return waiting + self._take(stretch.signal)

    def _take(self, signal: Signal) -> list[Crossing]:
        crossings = []
        for begin in range(0, len(signal), _CHUNK_STEPS):
            known = np.concatenate((self._ring, signal[begin : begin + _CHUNK_STEPS]))
            if len(known) >= WINDOW_STEPS:
                peaks = self._picker.push(self._network.evidence(known))
                told = [self._crossing(peak) for peak in peaks]
                crossings += [crossing for crossing in told if crossing.confidence >= LEAST_CONFIDENCE]
                known = known[len(known) - WINDOW_STEPS + 1 :]
            self._ring = known
        return crossings

    def _crossing(self, peak: Peak) -> Crossing:
        t_us = self._start_us + peak.step * STEP_US
        confidence = self._network.manifest.curve.confidence(peak.signs)
        return Crossing(t_us, "out" if peak.direction else "in", confidence, peak.row, peak.signs)
