"""Decoding of a change of weight: what is believed, what is left open, and how sure it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.shelf import weight_warnings
from edge.core.shelf.decode import FOREIGN, Decoder, Unit, Verdict, Weighed
from tests.unit.shelf_support import A, B, C, site

UNITS = (Unit(A, 250.0, 1.0), Unit(B, 330.0, 1.3), Unit(C, 97.0, 0.5))
VAR = 0.05


@pytest.mark.parametrize("n", [-12, -3, -1, 1, 2, 7, 24, 40])
def test_any_number_of_one_product(n: int) -> None:
    decoded = Decoder(UNITS[:1]).decode(250.0 * n, VAR)
    assert decoded.best[0] == ((A, n),)
    assert decoded.best[1] > (0.85 if abs(n) <= 24 else 0.5)


@pytest.mark.parametrize(
    ("delta_g", "items"),
    [
        (-580.0, {(A, -1), (B, -1)}),
        (-444.0, {(A, -1), (C, -2)}),
        (+97.3, {(C, 1)}),
        (-80.2, {(A, 1), (B, -1)}),
    ],
)
def test_mixtures_and_swaps(delta_g: float, items: set) -> None:
    decoded = Decoder(UNITS).decode(delta_g, VAR)
    assert decoded.verdict is Verdict.ITEMS
    assert set(decoded.best[0]) == items


def test_nothing_and_something_else() -> None:
    decoder = Decoder(UNITS)
    assert decoder.decode(0.8, VAR).verdict is Verdict.NOTHING
    assert decoder.decode(+171.0, VAR).verdict is Verdict.ELSE
    assert Decoder(()).decode(-300.0, VAR).verdict is Verdict.ELSE
    assert Decoder(()).decode(0.1, VAR).verdict is Verdict.NOTHING


def test_a_thing_is_known_by_the_mass_it_had() -> None:
    stranger = Weighed((("stranger", 1),), 171.2, 0.2)
    decoded = Decoder(UNITS).decode(171.0, VAR, [stranger])
    assert decoded.best[0] == (("stranger", 1),)
    out = Weighed(((FOREIGN, -1),), -411.0, 0.3, tidy=True)
    decoded = Decoder(UNITS[:1]).decode(5 * 250.0 - 411.0, VAR, [out])
    assert dict(decoded.best[0]) == {FOREIGN: -1, A: 5}


def test_levels_on_the_way_resolve_what_the_sum_cannot() -> None:
    units = (Unit(A, 176.7, 0.6), Unit(B, 117.6, 0.7))  # 2 of the one weigh as much as 3 of the other
    decoder = Decoder(units)
    alone = decoder.decode(-352.8, VAR)
    assert alone.best[1] < 0.9
    three = decoder.decode(-352.8, VAR, passed=[(-117.5, 0.3), (-235.3, 0.3)])
    assert three.best == (((B, -3),), pytest.approx(1.0, abs=0.02))
    two = decoder.decode(-352.8, VAR, passed=[(-176.5, 0.3)])
    assert two.best == (((A, -2),), pytest.approx(1.0, abs=0.02))
    leaning = decoder.decode(-352.8, VAR, passed=[(812.0, 0.3), (-31.0, 0.3)])
    assert leaning.best[0] == alone.best[0], "levels that mean nothing decide nothing"


@settings(max_examples=200, deadline=None)
@given(st.floats(-6000, 6000), st.floats(1e-3, 1e4))
def test_probabilities_are_probabilities(delta_g: float, var_g2: float) -> None:
    decoded = Decoder(UNITS).decode(delta_g, var_g2)
    total = decoded.p_nothing + decoded.p_else + sum(p for _, p in decoded.ranked)
    assert 0.0 <= decoded.p_nothing <= 1.0
    assert 0.0 <= decoded.p_else <= 1.0
    assert total <= 1.0 + 1e-9
    assert list(decoded.ranked) == sorted(decoded.ranked, key=lambda entry: -entry[1])
    for gtin in (A, B, C):
        assert sum(p for _, p in decoded.marginal(gtin)) <= 1.0 + 1e-9


def test_confidence_is_calibrated_where_masses_overlap() -> None:
    units = (Unit(A, 250.0, 3.0), Unit(B, 256.0, 3.0))
    decoder, rng = Decoder(units), np.random.default_rng(2)
    said, right = [], []
    for _ in range(1500):
        which = units[rng.integers(2)]
        decoded = decoder.decode(-rng.normal(which.mass_g, which.sd_g), VAR)
        said.append(decoded.best[1])
        right.append(decoded.best[0] == ((which.gtin, -1),))
    assert np.mean(said) == pytest.approx(np.mean(right), abs=0.03)
    assert 0.7 < np.mean(right) < 0.95


def test_the_planogram_editor_warns() -> None:
    mixed = {"mixed": ((0,), (A, B))}
    near = weight_warnings(site(mixed, {A: 250.0, B: 252.0}))
    assert [w.kind for w in near] == ["near_equal"]
    assert near[0].apart_sd < 4.0
    assert "move one of them" in near[0].detail
    assert [w.kind for w in weight_warnings(site(mixed, {A: 250.0, B: 500.0}))] == ["multiple"]
    assert [w.kind for w in weight_warnings(site(mixed, {A: 250.0, B: 0.0}))] == ["unknown_mass"]
    assert [w.kind for w in weight_warnings(site(mixed, {A: 250.0, B: 1.5}))] == ["too_light"]
    assert weight_warnings(site(mixed, {A: 250.0, B: 330.0})) == []


def test_nothing_is_exchanged_that_the_weight_had_no_time_for() -> None:
    """A compressor beats with the samples: for half a second the lane seems to rest a few grams lighter."""
    decoder = Decoder((Unit(A, 69.8, 0.17), Unit(B, 62.5, 0.44)))
    swap = decoder.decode(-7.1, VAR)
    assert (swap.verdict, dict(swap.best[0])) == (Verdict.ITEMS, {A: -1, B: 1})
    assert dict(decoder.decode(-7.1, VAR, reach_g=70.0).best[0]) == {A: -1, B: 1}
    assert decoder.decode(-7.1, VAR, reach_g=12.0).verdict is not Verdict.ITEMS
