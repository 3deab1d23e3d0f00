"""``python -m models.probe MANIFEST``: load a model in a process of its own and let it count a known scene.

A model file that crashes, hangs or eats memory harms this process only. Prints one JSON object: {"ok": true} or
{"ok": false, "error": …}.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import FootfallError, ModelError
from models.manifest import read_manifest
from models.runner import DoorCounter, Network

_MEMORY_BYTES: Final = 2_000_000_000
_CPU_S: Final = 30


def known_scene() -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """An empty 8x8 doorway for 10 s, then one warm body going inwards (+x) at 5 pixels a second, then 5 s empty."""
    rng = np.random.default_rng(7)
    t_s = np.arange(180) / 10
    grid = np.arange(8)
    col = -4 + 5 * (t_s - 10)
    along = np.exp(-0.5 * ((grid[None] - col[:, None]) / 1.1) ** 2)
    across = np.exp(-0.5 * ((grid - 3.6) / 1.3) ** 2)
    frames = 2150 + 480 * across[None, :, None] * along[:, None, :] + rng.normal(0, 18, (180, 8, 8))
    return np.round(frames).astype(np.int16), np.arange(180, dtype=np.int64) * 100_000


def probe(manifest: Path) -> None:
    """Load the model and count the known scene, as it is and with the sensor turned round.

    Raises `ManifestError`, `ModelError`.
    """
    network = Network(read_manifest(manifest))
    frames, t_us = known_scene()
    for inward, direction in (("+x", "in"), ("-x", "out")):
        door = DoorCounter(network, (8, 8), inward=inward)
        told = [crossing.direction for crossing in door.push(frames, t_us) + door.flush()]
        if told != [direction]:
            raise ModelError(
                f"{manifest}: the known scene with inward {inward} counts {told}: expected [{direction!r}]"
            )


def main() -> int:
    """Entry point of the process."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    try:
        probe(Path(sys.argv[1]))
    except FootfallError as error:
        sys.stdout.write(json.dumps({"ok": False, "error": str(error)}) + "\n")
        return 1
    sys.stdout.write(json.dumps({"ok": True}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
