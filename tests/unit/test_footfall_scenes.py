"""The scenes the network learns from: repeatable, true to their own truths, and as varied as real doors are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models import scenes_blobs, scenes_bodies
from models.intake import GRID, UNITS
from models.scenes import Scene, halted, target_of

Generator = Callable[[np.random.Generator, float], Scene]
GENERATORS: list[Generator] = [scenes_blobs.make_scene, scenes_bodies.make_scene]
BOTH = pytest.mark.parametrize("make", GENERATORS, ids=["blobs", "bodies"])


def some(make: Generator, n: int = 40) -> list[Scene]:
    return [make(np.random.default_rng([9, seed]), 30.0) for seed in range(n)]


@BOTH
def test_a_seed_makes_the_same_scene(make: Generator) -> None:
    one, other = (make(np.random.default_rng(4), 20.0) for _ in range(2))
    assert np.array_equal(one.frames, other.frames)
    assert one.truths == other.truths


@BOTH
def test_scenes_vary_as_sensors_and_doors_do(make: Generator) -> None:
    scenes = some(make)
    rates = [1e6 / float(np.median(np.diff(scene.t_us))) for scene in scenes]
    assert min(rates) < 9
    assert max(rates) > 17
    assert {scene.unit for scene in scenes} == set(UNITS)
    assert all(scene.frames.shape[1:] == (GRID, GRID) and np.all(np.diff(scene.t_us) > 0) for scene in scenes)
    ways = [truth.inward for scene in scenes for truth in scene.truths]
    assert 0.35 < np.mean(ways) < 0.65
    assert any((scene.frames == -32768).all(axis=0).any() for scene in scenes)  # a dead pixel
    grains = {int(np.gcd.reduce(np.abs(s.frames[s.frames != -32768].astype(int)))) for s in scenes if s.unit != "mm"}
    assert {1, 25} <= grains  # MLX90640 and Grid-EYE


@BOTH
def test_something_warm_or_near_is_in_the_middle_when_somebody_crosses(make: Generator) -> None:
    seen = []
    for scene in some(make):
        dead = scene.frames == -32768
        sound = np.where(dead, np.median(scene.frames[~dead]), scene.frames)
        contrast = (-1 if scene.unit == "mm" else 1) * (sound - np.median(sound, axis=0))
        middle = contrast[:, :, 2:6].max(axis=(1, 2))
        usual = np.median(middle)
        for truth in scene.truths:
            at = int(np.argmin(np.abs(scene.t_us - truth.t_us)))
            seen.append(middle[max(at - 2, 0) : at + 3].max() > usual)
    assert len(seen) > 100
    assert np.mean(seen) > 0.9


@pytest.mark.parametrize("stop_s", [-0.8, 0.6])
def test_who_halts_stands_still_and_is_over_the_line_at_the_same_time(stop_s: float) -> None:
    since_s = np.linspace(-8, 8, 1601)
    clock_s = halted(since_s, stop_s, 2.0)
    assert np.all(np.diff(clock_s) >= 0)
    assert clock_s[800] == pytest.approx(0, abs=1e-9)
    assert (np.abs(clock_s - stop_s) < 1e-9).sum() == pytest.approx(200, abs=2)
    assert clock_s[-1] - clock_s[0] == pytest.approx(14, abs=0.02)


def test_the_target_is_a_hill_at_each_truth() -> None:
    scene = next(scene for scene in some(scenes_blobs.make_scene) if len(scene.truths) > 3)
    grid_us = np.arange(300, dtype=np.int64) * 100_000
    hills = target_of(scene, grid_us)
    for truth in scene.truths:
        side, row = (0 if truth.inward else 1), int(np.clip(round(truth.row), 0, GRID - 1))
        assert hills[truth.t_us // 100_000, side, row] > 0.6
    assert hills.max() <= 1
    assert hills.mean() < 0.1


def test_training_gives_the_same_file_again(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="training needs the extra `train`")
    pytest.importorskip("onnx")
    from models.export import export
    from models.network import CrossingNet
    from models.train import fit

    files = []
    for name in ("one.onnx", "two.onnx"):
        torch.manual_seed(1)
        net = CrossingNet(8, 8)
        fit(net, scenes=6, rounds=4, batch=3, say=lambda _: None)
        export(net, tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]


def test_the_exported_network_is_the_mean_of_the_trained_one_and_its_mirror(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="training needs the extra `train`")
    pytest.importorskip("onnx")
    import onnxruntime

    from models.export import export
    from models.network import CrossingNet

    torch.manual_seed(2)
    net = CrossingNet(8, 8)
    export(net, tmp_path / "net.onnx")
    signal = np.random.default_rng(1).normal(0, 1, (1, 40, GRID, GRID)).astype(np.float32)
    told = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"signal": signal})[0]
    mirrored = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"signal": signal[:, :, ::-1].copy()})[0]
    assert np.allclose(told, mirrored[:, :, :, ::-1], atol=1e-6)
    with torch.no_grad():
        seen = torch.from_numpy(signal)
        logits = (net.logits(seen) + net.logits(seen.flip(2)).flip(3)) / 2
        wanted = torch.sigmoid(logits).permute(0, 2, 1, 3).numpy()
    assert np.allclose(told, wanted, atol=1e-6)
