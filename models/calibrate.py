"""Calibrate and score an exported network on held-out generated scenes, and write its manifest.

The confidence of a crossing is the share of held-out peaks of that height that were right: a logistic curve over the
logit of the height, fitted by Newton's method. The threshold is fixed, not fitted: half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.frontend import STEP_US
from models.intake import GRID
from models.manifest import FORMAT, read_manifest
from models.peaks import PeakRule
from models.recordings import Event, match_events, matched
from models.runner import Crossing, DoorCounter, Network
from models.scenes import Scene
from models.window import AHEAD_STEPS, WINDOW_STEPS

VERSION: Final = "1.1.0"
RULE: Final = PeakRule(threshold=0.5, reach_steps=4, reach_rows=2, valley=0.6)
_MATCH_US: Final = 1_000_000

_TEXT: Final = """# Written by `python -m models.train`; the model card is docs/model-card.md.
[model]
format = {format}
name = "footfall"
version = "{version}"
file = "footfall.onnx"
sha256 = "{sha256}"
licence = "Apache-2.0"
trained_on = "generated scenes only"

[input]
name = "signal"
shape = [1, "steps", {grid}, {grid}]
type = "float32"
unit = "1 = 3 K warmer or 900 mm nearer than the empty doorway"
inward = "+x"
step_us = {step_us}
window_steps = {window}

[output]
name = "evidence"
shape = [1, "judged", 2, {grid}]
type = "float32"
ahead_steps = {ahead}

[decoding]
threshold = {rule.threshold}
reach_steps = {rule.reach_steps}
reach_rows = {rule.reach_rows}
valley = {rule.valley}
confidence_slope = {slope:.4f}
confidence_offset = {offset:.4f}

# Held-out scenes of the training generators; tests/accuracy judges on others.
[scores]
{scores}
"""


def write_manifest(folder: Path, curve: tuple[float, float], scores: dict[str, float]) -> Path:
    """Write the manifest of the footfall.onnx in `folder`, with its sha256."""
    text = _TEXT.format(
        format=FORMAT,
        version=VERSION,
        sha256=hashlib.sha256((folder / "footfall.onnx").read_bytes()).hexdigest(),
        grid=GRID,
        step_us=STEP_US,
        window=WINDOW_STEPS,
        ahead=AHEAD_STEPS,
        rule=RULE,
        slope=curve[0],
        offset=curve[1],
        scores="\n".join(f"{name} = {value}" for name, value in scores.items()),
    )
    path = folder / "manifest.toml"
    path.write_text(text, "utf-8")
    return path


def count_scene(network: Network, scene: Scene) -> list[Crossing]:
    """Crossings the network counts in a scene."""
    door = DoorCounter(network, (GRID, GRID), scene.unit)
    return door.push(scene.frames, scene.t_us) + door.flush()


def fitted_curve(logit: NDArray[np.float64], right: NDArray[np.float64]) -> tuple[float, float]:
    """(slope, offset) of the logistic curve of `right` over `logit`; a weak prior keeps separable data finite."""
    columns = np.stack([logit, np.ones_like(logit)], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(30):
        said = 1 / (1 + np.exp(-columns @ weights))
        slope = columns.T @ (right - said) - 0.1 * (weights - np.array([1.0, 0.0]))
        curve = (columns * (said * (1 - said))[:, None]).T @ columns + 0.1 * np.eye(2)
        weights = weights + np.linalg.solve(curve, slope)
    return float(weights[0]), float(weights[1])


def calibrated(folder: Path, scenes: Iterable[Scene]) -> dict[str, float]:
    """Fit the confidence on half of the scenes and score on the other half; write the manifest; return the scores."""
    network = Network(read_manifest(write_manifest(folder, (1.0, 0.0), {})))
    halves: list[list[tuple[float, bool]]] = [[], []]
    hits = missed = false = 0
    for number, scene in enumerate(scenes):
        found = count_scene(network, scene)
        counted = [Event(crossing.t_us, crossing.direction) for crossing in found]
        true = [Event(truth.t_us, "in" if truth.inward else "out") for truth in scene.truths]
        right = matched(counted, true, _MATCH_US)
        # Uncalibrated, the confidence is the height itself.
        halves[number // 2 % 2] += [(crossing.confidence, i in right) for i, crossing in enumerate(found)]
        if number // 2 % 2:
            match = match_events(counted, true, _MATCH_US)
            hits, missed, false = hits + match.hits, missed + match.missed, false + match.false
    fit_on, judge_on = (np.array(half, np.float64) for half in halves)
    if min(len(fit_on), len(judge_on)) < 20:
        raise ModelError(
            f"{folder}: {len(fit_on)} and {len(judge_on)} crossings counted in held-out scenes: expected 20"
        )
    curve = fitted_curve(_logit(fit_on[:, 0]), fit_on[:, 1])
    said = 1 / (1 + np.exp(-(curve[0] * _logit(judge_on[:, 0]) + curve[1])))
    scores = {
        "held_out_right_share": round(hits / (hits + missed + false), 4),
        "held_out_f1": round(2 * hits / (2 * hits + missed + false), 4),
        "held_out_brier": round(float(((said - judge_on[:, 1]) ** 2).mean()), 4),
        "held_out_brier_of_base_rate": round(float(judge_on[:, 1].mean() * (1 - judge_on[:, 1].mean())), 4),
    }
    write_manifest(folder, curve, scores)
    return scores


def _logit(height: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(height, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside / (1 - inside)))
