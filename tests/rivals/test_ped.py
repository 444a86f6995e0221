"""Potential energy descent against the public code's values and its steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import literal_rivals as literal
from data_sets import CASES, alike, gaussian_classes, labelled_features, reference_case
from sfda import sfda_score
from sfda.rivals.logme import logme
from sfda.rivals.ped import ped

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::sfda.SaturationWarning")
def test_reference_cases(name):
    X, y = reference_case(name)
    moved = ped(X, y)
    assert sfda_score(moved, y) == pytest.approx(CASES[name]["scores"]["PED_SFDA"], abs=1e-9)
    assert logme(moved, y, as_published=True) == pytest.approx(CASES[name]["scores"]["PED_LogME"], rel=1e-9)
    assert np.array_equal(moved, X) == (name == "A")  # where no classes overlap


# The literal version standardises and restores all samples in every step, six times: a few rounding errors of the
# features. Steps end by a comparison, and with few classes on a line and a round fraction both sides may be equal but
# for rounding: no ratio of such draws is 0.47.
@given(labelled_features(max_classes=8), st.sampled_from([0.3, 0.6, 2.0]), st.sampled_from([0.1, 0.9, 2.0]))
@settings(max_examples=50, deadline=None)
def test_equals_its_steps(data, nsigma, dt):
    X, y = data
    statistics = {"mean": X.mean(0), "std": X.std(0)}
    other = np.abs(np.random.default_rng(0).standard_normal((2, X.shape[1])))
    options = {"nsigma": nsigma, "exit_ratio": 0.47}
    before = X.copy()
    # Where only one of them is given, the other is that of the features.
    for given_ in ({}, {"mean": other[0]}, {"std": other[1]}, {"mean": other[0], "std": other[1]}):
        expected = literal.ped(X, y, **(statistics | given_), **options, dt=dt)
        alike(ped(X, y, **given_, **options, time_step=dt), expected, atol=1e-8)
    assert np.array_equal(X, before)


def test_invariances():
    y = np.repeat([0, 1, 2], [30, 20, 10])
    X = gaussian_classes(0, y, 5, 0.2)
    moved, order = ped(X, y), np.random.default_rng(1).permutation(60)
    assert (moved - X)[[0, 30, 50]].sum(0) == pytest.approx(np.zeros(5), abs=1e-12)
    assert ped(X[order], y[order]) == pytest.approx(moved[order], abs=1e-12)
    assert ped(X, np.array(["z", "a", "m"])[y]) == pytest.approx(moved, abs=1e-12)
    # Standardised by itself it moves with the units and the origin; displacements sum to zero over the classes.
    units = np.geomspace(0.1, 10, 5)
    assert ped(X * units + 7, y) == pytest.approx(moved * units + 7, abs=1e-9)
    assert ped(X, y, mean=np.zeros(5), std=np.ones(5)) != pytest.approx(moved, abs=1e-3)


def test_classes_in_the_same_place_stay_together():
    X = np.array([[0.0, 1], [0, -1], [0, 2], [0, -2]])
    assert np.array_equal(ped(X, [0, 0, 1, 1]), X)  # NaN in public code


def test_stops():
    X, y = reference_case("C")
    assert np.array_equal(ped(X, y, max_steps=0), X)
    assert np.array_equal(ped(X, y, exit_ratio=1), X)
    steps = [np.abs(ped(X, y, max_steps=k) - X).sum() for k in (1, 2, 6)]
    assert steps[0] < steps[1] < steps[2]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_comes_back_as_it_was_given(dtype):
    y = np.repeat([0, 1], 20)
    X = gaussian_classes(0, y, 5, 0.2).astype(dtype)
    moved = ped(X, y)
    assert (moved.dtype, moved.shape) == (X.dtype, X.shape)
    tensor = torch.from_numpy(X.copy())
    other = ped(tensor, torch.from_numpy(y))
    assert other.dtype == tensor.dtype
    assert np.array_equal(other.numpy(), moved)
    assert np.array_equal(tensor.numpy(), X)
    assert ped(np.round(X * 10).astype(int), y).dtype == np.float64
