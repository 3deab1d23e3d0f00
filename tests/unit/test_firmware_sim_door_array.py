"""The door array role: frames on the wire, and a scene that looks like what such sensors record."""

import asyncio
import math
import os
from pathlib import Path

import numpy as np
import pytest

from firmware_sim import sdp
from firmware_sim.door_array import DoorArray
from firmware_sim.stream import memory_pipe
from firmware_sim.thermal import GRID_EYE, MLX90640, VL53L5CX, Optics, Passer, Scene
from tests.unit.firmware_sim_support import Host
from tests.virtual_time import run_virtual

SHARED = Path(os.environ.get("SMARTSTORE_SHARED", Path(__file__).parents[2].parent / "shared"))


def _pixels(frame: sdp.Payload) -> np.ndarray:
    return np.frombuffer(frame.body[4:], "<i2").reshape(frame.body[1], frame.body[2])


@pytest.mark.parametrize("optics", [GRID_EYE, MLX90640, VL53L5CX], ids=lambda o: o.model)
def test_frames_arrive_at_their_rate_and_show_who_passes(optics: Optics) -> None:
    async def main() -> None:
        ours, theirs = memory_pipe()
        door = DoorArray(
            "DR-000001",
            Scene(optics, seed=4),
            lambda t_us: [Passer(0.0, 0.0, math.pi / 2)] if 10_000_000 < t_us < 11_000_000 else [],
            seed=4,
            dead=[(2, 5)],
        )
        serving = asyncio.ensure_future(door.serve(theirs))
        host = Host(ours)
        boot = await host.next(sdp.BOOT)
        assert tuple(boot.body[36:39]) == (optics.rows, optics.cols, optics.unit)
        frames = [f for f in await host.collect(20.0) if f.kind == sdp.FRAME]
        assert len(frames) == pytest.approx(20 * optics.rate_tenths_hz / 10, abs=1)
        shown = np.array([_pixels(f) for f in frames])
        assert (shown[:, 2, 5] == sdp.DEAD_PIXEL).all()
        shown[:, 2, 5] = shown[:, 2, 4]
        change = np.abs(shown - np.median(shown, axis=0)).reshape(len(shown), -1)
        change = np.sort(change, axis=1)[:, -optics.rows // 2 :].mean(axis=1)  # single pixels are noisy
        seen = change > (200 if optics.unit == sdp.UNIT_CENTI_C else 400)
        assert seen.sum() == pytest.approx(optics.rate_tenths_hz / 10, abs=4)
        if optics is GRID_EYE:
            assert set(np.unique(shown % 25)) == {0}  # 0.25 K steps
        await host.close()
        await serving

    run_virtual(main())


def _walk(speed_m_s: float, **person: float) -> np.ndarray:
    """Frames of one person crossing along the columns, as K above an empty door's median."""
    scene = Scene(GRID_EYE, seed=11)
    empty = np.median([scene.frame([]) for _ in range(100)], axis=0)
    xs = np.arange(-2.5, 2.5, speed_m_s / 10)
    return np.array([scene.frame([Passer(x, 0.05, 0.0, **person)]) - empty for x in xs]) / 100


@pytest.mark.parametrize(("speed_m_s", "low", "high"), [(0.7, 14, 24), (1.0, 10, 20), (1.5, 7, 14)])
def test_a_crossing_lasts_about_0_8_to_2_s_and_moves_over_the_columns(speed_m_s: float, low: int, high: int) -> None:
    frames = _walk(speed_m_s)
    inside = frames.max(axis=(1, 2)) > 1.5
    assert low <= inside.sum() <= high
    warm = frames[inside].clip(1.0) - 1.0
    centre = (warm.sum(axis=1) * np.arange(8)).sum(axis=1) / warm.sum(axis=(1, 2))
    assert centre[0] < 1.5
    assert centre[-1] > 5.5
    assert (np.diff(centre) > -0.6).all()


def test_bodies_are_wider_across_the_walk_than_along_it() -> None:
    scene = Scene(GRID_EYE, seed=11)
    empty = np.mean([scene.frame([]) for _ in range(100)], axis=0)
    warm = np.mean([scene.frame([Passer(0.0, 0.0, 0.0)]) for _ in range(50)], axis=0) - empty
    rows, cols = np.indices((8, 8)) - 3.5
    assert np.sqrt((warm * rows**2).sum() / (warm * cols**2).sum()) > 1.2


def _bodies(name: str) -> list[np.ndarray]:
    """The frame of each recorded crossing in which the person shows most, as K above the doorway's median."""
    file = SHARED / "recordings/footfall" / f"{name}.npz"
    if not file.exists():
        pytest.skip(f"{file} is absent: real recordings are kept outside the project")
    with np.load(file) as recording:
        real, label = recording["centi_celsius"] / 100.0, recording["window_label"]
    real = real - np.median(real, axis=0)
    runs = [i for i in range(1, len(label)) if label[i] > 1 and label[i - 1] == 1]
    return [max(real[i : i + 20], key=lambda f: f.clip(1).sum()) for i in runs]


def test_bodies_resemble_recorded_people() -> None:
    real = [f for name in ("1person", "1person_hat", "1person_add") for f in _bodies(f"grideye_{name}")]
    walks = [
        _walk(0.8, heat_k=heat_k, height_m=height_m, width_m=width_m)
        for heat_k, height_m, width_m in ((5.5, 1.6, 0.43), (5.5, 1.7, 0.46), (6.0, 1.75, 0.46))
    ]
    ours = [max(w, key=lambda f: f.clip(1).sum()) for w in walks]
    for figure in (np.max, lambda f: (f > f.max() / 2).sum(), lambda f: f.clip(1).sum()):
        low, high = np.percentile([figure(f) for f in real], (2, 98))
        assert all(0.9 * low <= figure(f) <= 1.1 * high for f in ours)


def test_an_empty_door_is_as_noisy_as_a_recorded_one() -> None:
    file = SHARED / "recordings/footfall/grideye_background.npz"
    if not file.exists():
        pytest.skip(f"{file} is absent: real recordings are kept outside the project")
    with np.load(file) as recording:
        real = recording["centi_celsius"] / 100.0
    scene = Scene(GRID_EYE, seed=2)
    ours = np.array([scene.frame([]) for _ in range(500)]) / 100.0
    for figure in (lambda z: z.std(axis=0).mean(), lambda z: np.diff(z, axis=0).std(), lambda z: z.mean(axis=0).std()):
        assert figure(ours) == pytest.approx(figure(real), rel=0.5)


def test_the_mlx_renews_every_second_pixel_of_a_frame() -> None:
    scene = Scene(MLX90640, seed=1)
    first, second = scene.frame([]), scene.frame([])
    assert 0.45 <= (first == second).mean() <= 0.55


def test_a_sun_patch_and_a_warmer_room_show() -> None:
    scene = Scene(GRID_EYE, seed=1)
    before = np.mean([scene.frame([]) for _ in range(50)], axis=0)
    scene.warm_patch(3, 3, 4.0)
    after = np.mean([scene.frame([], warmer_k=1.0) for _ in range(50)], axis=0) - before
    assert after[3:5, 3:5].mean() == pytest.approx(500, abs=40)
    assert after[0].mean() == pytest.approx(100, abs=40)


def test_the_same_seed_repeats_and_another_differs() -> None:
    def trace(seed: int) -> bytes:
        scene = Scene(GRID_EYE, seed)
        return b"".join(scene.frame([Passer(0, 0, 0)]).tobytes() for _ in range(5))

    assert trace(1) == trace(1) != trace(2)
    with pytest.raises(ValueError, match=r"mount_m is 0\.5"):
        Scene(GRID_EYE, 1, mount_m=0.5)
