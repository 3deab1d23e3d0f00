"""Calibrate and score an exported network on held-out generated scenes, and write its manifest.

The confidence of a crossing is the share of held-out peaks of its looks that were right: a logistic curve over the
signs of a peak (`models.peaks.Signs`). Threshold and reach are fixed, chosen on scenes of the training generators.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.frontend import STEP_US
from models.intake import GRID
from models.manifest import FORMAT, Curve, read_manifest
from models.peaks import PeakRule, Signs
from models.recordings import Event, matched
from models.runner import LEAST_CONFIDENCE, Crossing, DoorCounter, Network
from models.scenes import Scene
from models.window import AHEAD_STEPS, WINDOW_STEPS

VERSION: Final = "1.2.0"
RULE: Final = PeakRule(threshold=0.42, reach_steps=3, reach_rows=2, valley=0.6, valley_abreast=0.9)
_MATCH_US: Final = 1_000_000
_FEWEST: Final = 20
_ALL: Final = Curve(0, 0, 0, 0, 5)
"""Sure of every peak, so that all are counted until the curve is fitted."""

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
valley_abreast = {rule.valley_abreast}

# Confidence = logistic(sum of weight x sign + offset); the signs are those of models/peaks.py.
[confidence]
{curve}

# Held-out scenes of the training generators; tests/accuracy judges on others.
[scores]
{scores}
"""


def write_manifest(folder: Path, curve: Curve, scores: dict[str, float]) -> Path:
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
        curve="\n".join(f"{name} = {value:.4f}" for name, value in asdict(curve).items()),
        scores="\n".join(f"{name} = {value}" for name, value in scores.items()),
    )
    path = folder / "manifest.toml"
    path.write_text(text, "utf-8")
    return path


def count_scene(network: Network, scene: Scene) -> list[Crossing]:
    """Crossings the network counts in a scene."""
    door = DoorCounter(network, (GRID, GRID), scene.unit)
    return door.push(scene.frames, scene.t_us) + door.flush()


@dataclass(slots=True)
class Tally:
    """What was counted in some scenes: the signs of each crossing (n, 4), whether it was right, and how many are
    missing."""

    signs: list[tuple[float, ...]] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    missed: int = 0

    def add(self, found: list[Crossing], scene: Scene) -> None:
        """Take one scene."""
        counted = [Event(crossing.t_us, crossing.direction) for crossing in found]
        true = [Event(truth.t_us, "in" if truth.inward else "out") for truth in scene.truths]
        right = matched(counted, true, _MATCH_US)
        self.signs += [astuple(crossing.signs) for crossing in found if crossing.signs is not None]
        self.right += [i in right for i in range(len(found))]
        self.missed += len(true) - len(right)


def fitted_curve(signs: NDArray[np.float64], right: NDArray[np.float64]) -> Curve:
    """The logistic curve of `right` (n,) over `signs` (n, 4), by Newton's method on standardised signs; a weak prior
    keeps separable data finite."""
    centre, width = signs.mean(axis=0), signs.std(axis=0) + 1e-6
    columns = np.column_stack(((signs - centre) / width, np.ones(len(signs))))
    prior = np.diag([1.0] * signs.shape[1] + [1e-3])
    weights = np.zeros(columns.shape[1])
    for _ in range(30):
        said = 1 / (1 + np.exp(-columns @ weights))
        slope = columns.T @ (right - said) - prior @ weights
        bend = (columns * (said * (1 - said))[:, None]).T @ columns + prior
        weights = weights + np.linalg.solve(bend, slope)
    per_sign = weights[:-1] / width
    height, spread, rival, against = per_sign.tolist()
    return Curve(height, spread, rival, against, float(weights[-1] - per_sign @ centre))


def _scores(curve: Curve, judged: Tally) -> dict[str, float]:
    """How right the count and how true the confidence is."""
    every = np.array([curve.confidence(Signs(*signs)) for signs in judged.signs])
    counted = every >= LEAST_CONFIDENCE
    said, right = every[counted], np.array(judged.right, np.float64)[counted]
    hits, false = int(right.sum()), int((1 - right).sum())
    missed = judged.missed + sum(judged.right) - hits
    return {
        "held_out_right_share": round(hits / (hits + missed + false), 4),
        "held_out_f1": round(2 * hits / (2 * hits + missed + false), 4),
        "held_out_brier": round(float(((said - right) ** 2).mean()), 4),
        "held_out_brier_of_base_rate": round(float(right.mean() * (1 - right.mean())), 4),
        "held_out_below_095": round(float((said < 0.95).mean()), 4),
    }


def calibrated(folder: Path, scenes: Iterable[Scene]) -> dict[str, float]:
    """Fit the confidence on half of the scenes and score on the other half; write the manifest; return the scores."""
    network = Network(read_manifest(write_manifest(folder, _ALL, {})))
    fit_on, judge_on = halves = Tally(), Tally()
    for number, scene in enumerate(scenes):
        halves[number // 2 % 2].add(count_scene(network, scene), scene)
    if min(len(half.right) for half in halves) < _FEWEST:
        told = " and ".join(str(len(half.right)) for half in halves)
        raise ModelError(f"{folder}: {told} crossings counted in held-out scenes: expected {_FEWEST}")
    curve = fitted_curve(np.array(fit_on.signs), np.array(fit_on.right, np.float64))
    scores = _scores(curve, judge_on)
    write_manifest(folder, curve, scores)
    return scores
