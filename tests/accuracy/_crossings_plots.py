"""Plots of the door counter for docs/: ``python -m tests.accuracy._crossings_plots [SEED]`` (extra `train`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from models.frontend import Frontend
from models.intake import GRID
from models.runner import FootfallRunner
from models.window import AHEAD_STEPS, PAST_STEPS
from tests.accuracy.crossings import WALKS, run
from tests.worlds.door import make_world

DOCS = Path(__file__).resolve().parents[2] / "docs"


def accuracy(told: dict[str, Any]) -> None:
    """Right shares by kind of episode: model, tracker, two-zone counter."""
    rows = {"model": told["by_kind"], **told["baselines_by_kind"]}
    figure, axes = plt.subplots(figsize=(8, 3.6))
    for i, (name, shares) in enumerate(rows.items()):
        axes.bar(np.arange(len(WALKS)) + 0.27 * (i - 1), [shares[kind] for kind in WALKS], 0.25, label=name)
    axes.axhline(0.95, color="grey", lw=0.8, ls="--")
    axes.set_xticks(np.arange(len(WALKS)), WALKS)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("right / (right + missed + false)")
    axes.set_title(f"Judge's worlds, seed {told['seed']}: {told['world']['crossings']} crossings")
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(DOCS / "footfall-accuracy.png", dpi=90)


def confidence(told: dict[str, Any]) -> None:
    """Reliability: what was said against what was so, ten equal parts of the predictions, with 95 % intervals."""
    calibration = told["confidence"]
    said, was, n = (np.array(column, float) for column in zip(*calibration["reliability"], strict=True))
    centre = (was + 1.92 / n) / (1 + 3.84 / n)  # Wilson
    half = 1.96 * np.sqrt(was * (1 - was) / n + 0.96 / n**2) / (1 + 3.84 / n)
    low = min(float((centre - half).min()), float(said.min())) - 0.02
    figure, axes = plt.subplots(figsize=(4.8, 4.6))
    axes.plot([low, 1], [low, 1], color="grey", lw=0.8)
    axes.errorbar(said, was, yerr=np.clip([was - (centre - half), centre + half - was], 0, 1), fmt="o", ms=4, capsize=2)
    axes.set_xlim(low, 1.005)
    axes.set_ylim(low, 1.005)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that was right")
    axes.set_title(
        f"Expected calibration error {calibration['ece']}\n"
        f"Brier {calibration['brier']} (base rate {calibration['brier_base_rate']}), "
        f"{calibration['below_095']:.0%} below 0.95",
        fontsize=9,
    )
    figure.tight_layout()
    figure.savefig(DOCS / "footfall-confidence.png", dpi=90)


def evidence() -> None:
    """A film strip of two followers, and the evidence the network makes of it."""
    world = next(w for seed in range(500) if (w := make_world(seed, ("tailgating",), 40.0)).sensor.name == "grideye")
    stretch = Frontend((world.sensor.rows, world.sensor.cols)).push(world.frames, world.t_us)[0]
    before, after = np.zeros((PAST_STEPS, GRID, GRID), np.float32), np.zeros((AHEAD_STEPS, GRID, GRID), np.float32)
    told = FootfallRunner().network.evidence(np.concatenate((before, stretch.signal, after)))
    first = int(world.crossings[0].t_us // 100_000) - 12
    figure, axes = plt.subplots(3, 1, figsize=(11, 4.2), height_ratios=[1.1, 1, 1])
    strip = np.concatenate(
        [np.pad(frame, 1, constant_values=np.nan) for frame in stretch.signal[first : first + 36 : 2]], 1
    )
    axes[0].imshow(strip, cmap="inferno", vmin=-0.2, vmax=1.6)
    axes[0].set_title("What the network sees (every 200 ms)")
    axes[0].axis("off")
    for i, name in enumerate(("inward", "outward")):
        axes[i + 1].imshow(told[first : first + 36, i].T, aspect="auto", vmin=0, vmax=1, extent=(0, 3.6, 8, 0))
        axes[i + 1].set_ylabel(f"{name}\nrow")
        for crossing in world.crossings:
            if crossing.inward == (i == 0) and 0 <= crossing.t_us / 1e6 - first / 10 <= 3.6:
                axes[i + 1].axvline(crossing.t_us / 1e6 - first / 10, color="white", lw=0.8, ls="--")
    axes[2].set_xlabel("s (dashed: truth)")
    figure.tight_layout()
    figure.savefig(DOCS / "footfall-evidence.png", dpi=90)


if __name__ == "__main__":
    result = run(int(sys.argv[1]) if len(sys.argv) > 1 else 1, [])
    accuracy(result)
    confidence(result)
    evidence()
