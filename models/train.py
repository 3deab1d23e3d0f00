"""Train the footfall network from nothing: ``python -m models.train`` (extra `train`), then export and calibrate it.

Deterministic on a machine: one thread, fixed seeds, generated scenes only. Writes footfall.onnx and manifest.toml
beside this file, or into --out. Ten minutes of one core.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import scenes_blobs, scenes_bodies
from models.calibrate import VERSION, calibrated
from models.export import export
from models.frontend import STEP_US, Frontend
from models.intake import GRID
from models.network import CrossingNet
from models.scenes import Scene, target_of
from models.window import AHEAD_STEPS, PAST_STEPS

GENERATORS: Final[tuple[Callable[[np.random.Generator, float], Scene], ...]] = (
    scenes_blobs.make_scene,
    scenes_bodies.make_scene,
)
SCENE_S: Final = 60.0
FIRST_HELD_OUT_SEED: Final = 1_000_000
"""Scenes from this seed on calibrate and score; training never sees them."""


def make_scene(seed: int) -> Scene:
    """The seed's scene; even seeds come from one generator, odd ones from the other."""
    return GENERATORS[seed % len(GENERATORS)](np.random.default_rng(seed), SCENE_S)


def example(seed: int) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """The seed's scene as (signal (600, 8, 8), target (600, 2, 8)), through the production front end."""
    scene = make_scene(seed)
    stretches = Frontend((GRID, GRID), scene.unit).push(scene.frames, scene.t_us)
    steps = int(SCENE_S * 1e6 / STEP_US)
    signal = np.zeros((steps, GRID, GRID), np.float16)
    target = np.zeros((steps, 2, GRID), np.float16)
    longest = max(stretches, key=lambda stretch: len(stretch.signal))
    n = min(len(longest.signal), steps)
    signal[:n], target[:n] = longest.signal[:n], target_of(scene, longest.grid_us[:n])
    return signal, target


def loss_of(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, the rare hills weighted up."""
    weight = 1 + 4 * target
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, target, weight=weight)


def augmented(signal: Tensor, target: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mirror across the door (rows), along it (columns, directions swap), and change the warmth."""
    if rng.random() < 0.5:
        signal, target = signal.flip(2), target.flip(3)
    if rng.random() < 0.5:
        signal, target = signal.flip(3), target.flip(2)
    return signal * float(np.exp(rng.normal(0, 0.15))), target


def fit(net: CrossingNet, scenes: int, rounds: int, batch: int, say: Callable[[str], None]) -> None:
    """Train in place: AdamW, one-cycle learning rate."""
    began = time.process_time()
    pairs = [example(seed) for seed in range(scenes)]
    signals = torch.from_numpy(np.stack([pair[0] for pair in pairs]))
    targets = torch.from_numpy(np.stack([pair[1] for pair in pairs]))
    say(f"{scenes} scenes, {time.process_time() - began:.0f} s of CPU")
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=rounds)
    rng = np.random.default_rng(2)
    running = 0.0
    for at in range(rounds):
        chosen = torch.from_numpy(rng.choice(scenes, batch, replace=False))
        signal, target = augmented(signals[chosen].float(), targets[chosen].float(), rng)
        wanted = target[:, PAST_STEPS : target.shape[1] - AHEAD_STEPS].permute(0, 2, 1, 3)
        loss = loss_of(net.logits(signal), wanted)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        rate.step()
        running += 0.02 * (loss.item() - running)
        if at % 100 == 99:
            say(f"round {at + 1} of {rounds}, loss {running:.5f}, {time.process_time() - began:.0f} s of CPU")


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--held-out", type=int, default=400, help="scenes that calibrate and score")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.manual_seed(1)
    torch.use_deterministic_algorithms(True)
    net = CrossingNet()

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    fit(net, args.scenes, args.rounds, args.batch, say)
    export(net, args.out / "footfall.onnx")
    held_out = (make_scene(FIRST_HELD_OUT_SEED + k) for k in range(args.held_out))
    scores = calibrated(args.out, held_out)
    say(f"version {VERSION}: " + ", ".join(f"{name} {value}" for name, value in scores.items()))


if __name__ == "__main__":
    main()
