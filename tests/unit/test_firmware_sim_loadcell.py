"""Load cells behave as load cells do: settle, creep, drift, clip, stick, slip bits."""

from dataclasses import replace

import numpy as np
import pytest

from firmware_sim.loadcell import FULL_SCALE, NO_READING, CellModel, LoadCells

S = 1_000_000
IDEAL = CellModel(noise_g=0, drift_g=0, temperature_g_per_c=0, creep_share=0)


def cells(model: CellModel, load_g: float = 0.0, seed: int = 3) -> LoadCells:
    made = LoadCells("shelf", 2, 10.0, model, np.random.default_rng(seed))
    made.add(0, ((0, 1.0), (1, 1.0)), load_g)
    return made


def grams(made: LoadCells, t0_s: float, t1_s: float, step_s: float = 1.0) -> np.ndarray:
    """Samples of cell 0 as grams by the cell's true offset and gain."""
    times = np.arange(t0_s, t1_s, step_s)
    counts = np.concatenate([made.samples_between(round(t * S), round((t + step_s) * S))[1] for t in times])
    return (counts[:, 0] - made.offset_counts[0]) / made.counts_per_g[0]


def test_noise_is_what_the_model_says() -> None:
    got = grams(cells(replace(IDEAL, noise_g=0.35), 500.0), 0, 200)
    assert got.mean() == pytest.approx(500, abs=0.05)
    assert got.std() == pytest.approx(0.35, rel=0.1)


def test_a_step_settles_within_four_conversions() -> None:
    made = cells(IDEAL)
    made.add(S, ((0, 1.0),), 2000.0)
    t_us, counts = made.samples_between(0, 3 * S)
    got = (counts[:, 0] - made.offset_counts[0]) / made.counts_per_g[0]
    step = got[t_us >= S][:4]
    assert abs(got[t_us < S]).max() < 0.01
    assert step == pytest.approx([2000 / 24, 1000, 2000 * 23 / 24, 2000], abs=0.01)
    one_by_one = [made.sample_at(int(t))[0] for t in t_us[t_us >= S]]
    assert one_by_one == counts[t_us >= S, 0].tolist()


def test_creep_grows_with_its_time_constant_and_no_further() -> None:
    made = cells(replace(IDEAL, creep_share=2e-4))
    grams(made, 0, 20)
    made.add(20 * S, ((0, 1.0),), 10_000.0)
    excess = grams(made, 21, 6000)[::10] - 10_000
    limit = excess[-1]
    assert 0.05 < abs(limit) <= 2.01
    after_tau = excess[600]
    assert after_tau / limit == pytest.approx(1 - np.exp(-1), abs=0.05)


def test_creep_and_wander_do_not_depend_on_how_they_are_polled() -> None:
    coarse, fine = (cells(CellModel(), 800.0) for _ in range(2))
    for made in (coarse, fine):
        made.add(3 * S, ((0, 1.0),), 4000.0)
    assert grams(coarse, 0, 56, 7.0).tolist() == grams(fine, 0, 56, 0.5).tolist()


def test_junk_samples_are_rare_but_gross() -> None:
    got = grams(cells(replace(IDEAL, noise_g=0.3, junk=0.01), 300.0), 0, 500)
    assert 20 <= (abs(got - 300) > 50).sum() <= 90


@pytest.mark.parametrize("kind", ["open", "saturated", "stuck", "noisy", "slipped"])
def test_faults_look_like_themselves(kind: str) -> None:
    made = cells(CellModel(), 300.0)
    well = grams(made, 0, 60)
    made.fail(0, kind, 35 if kind == "slipped" else 4711)
    _, counts = made.samples_between(60 * S, 120 * S)
    ill = (counts[:, 0] - made.offset_counts[0]) / made.counts_per_g[0]
    looks = {
        "open": set(counts[:, 0]) == {NO_READING},
        "saturated": set(counts[:, 0]) == {FULL_SCALE},
        "stuck": set(counts[:, 0]) == {4711},
        "noisy": 10 < ill.std() / well.std() < 30,
        "slipped": ill.mean() - well.mean() == pytest.approx(35, abs=1),
    }
    assert looks[kind]
    made.fail(0, None)
    assert grams(made, 120, 180).mean() == pytest.approx(well.mean(), abs=1)


def test_overload_clips() -> None:
    assert set(cells(IDEAL, 40_000.0).samples_between(0, S)[1].ravel()) == {FULL_SCALE}
