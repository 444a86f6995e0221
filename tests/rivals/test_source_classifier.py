"""LEEP, NCE and NLEEP against their formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import literal_rivals as literal
from data_sets import CASES, gaussian_classes, reference_case
from sfda import leep, nce
from sfda.rivals.source_classifier import nleep


@st.composite
def labelled_probabilities(draw):
    """Few and many samples, unused source classes, exact zeros, singletons."""
    C, Z = draw(st.integers(2, 12)), draw(st.integers(1, 30))
    y = np.repeat(np.arange(C), draw(st.lists(st.integers(1, 9), min_size=C, max_size=C)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    theta = rng.dirichlet(np.full(Z, draw(st.sampled_from([0.05, 1.0]))), len(y))
    if Z > 2 and draw(st.booleans()):
        theta[:, 1:] += theta[:, :1] / (Z - 1)
        theta[:, 0] = 0
    return theta, y


@pytest.mark.parametrize("name", CASES)
def test_nleep_of_the_reference_cases(name):
    X, y = reference_case(name)
    expected = CASES[name]["scores"]["NLEEP_sfda_repo"]
    values = [nleep(X, y, log=False, seed=seed) for seed in range(2)]
    assert values == pytest.approx([expected["mean"]] * 2, abs=3 * expected["std"])
    assert values[0] == pytest.approx(literal.nleep(X, y, log=False), rel=1e-6)
    # Jensen's inequality between the two forms, equal where all predictions are 1: a mean of N numbers, rounded.
    assert nleep(X, y) <= np.log(values[0]) + len(y) * np.finfo(float).eps
    assert nleep(X, y) == pytest.approx(literal.nleep(X, y), rel=1e-6)


# Sums of up to 108 positive terms, in another order: 1e-12 leaves four digits to spare.
@given(labelled_probabilities())
@settings(max_examples=60, deadline=None)
def test_equal_their_formulas(data):
    theta, y = data
    before = theta.copy()
    assert leep(theta, y) == pytest.approx(literal.leep(theta, y), abs=1e-12)
    assert nce(theta, y) == pytest.approx(literal.nce(theta, y), abs=1e-12)
    assert np.array_equal(theta, before)


@given(labelled_probabilities(), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_bounds_and_invariances(data, seed):
    theta, y = data
    rng = np.random.default_rng(seed)
    order, columns = rng.permutation(len(y)), rng.permutation(theta.shape[1])
    renamed = rng.permutation(y.max() + 1)[y]
    # NCE takes the first of equally probable source classes.
    ties = bool(((theta == theta.max(1, keepdims=True)).sum(1) > 1).any())
    for metric in (leep, nce):
        value = metric(theta, y)
        assert value <= 1e-12
        assert metric(theta[order], y[order]) == pytest.approx(value, abs=1e-12)
        assert metric(theta, renamed) == pytest.approx(value, abs=1e-12)
        if metric is leep or not ties:
            assert metric(theta[:, columns], y) == pytest.approx(value, abs=1e-12)
        assert metric(np.c_[theta, np.zeros(len(y))], y) == pytest.approx(value, abs=1e-12)
    assert nce(theta, y) >= -np.log(y.max() + 1) - 1e-12


def test_a_source_class_without_mass_is_no_nan():
    theta = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]])
    assert leep(theta, [0, 0, 1, 1]) == 0
    assert nce(theta, [0, 0, 1, 1]) == 0
    assert leep(theta, [0, 1, 0, 1]) == pytest.approx(-np.log(2))
    assert nce(theta, [0, 1, 0, 1]) == pytest.approx(-np.log(2))


def test_nleep_of_too_few_samples_for_its_components():
    y = np.array([0, 0, 1, 2, 3, 3, 4])
    assert nleep(gaussian_classes(0, y, 9), y) <= 0
    assert nleep(np.repeat([[0.0], [1.0]], 4, axis=0), np.repeat([0, 1], 4)) == pytest.approx(0)
    y = np.arange(60) % 2  # the mixture does not converge, which is no warning
    assert nleep(np.round(gaussian_classes(3, y, 30)), y) <= 0


def test_nleep_depends_on_its_seed_and_on_nothing_else():
    X, y = reference_case("C")
    assert nleep(X, y, seed=1) == nleep(X, y, seed=1) != nleep(X, y, seed=2)
    # A mixture with full covariances, but started by k-means: translation and scale change nothing but roundings.
    assert nleep(2 * X + 7, y) == pytest.approx(nleep(X, y), abs=1e-3)
    values = [nleep(X, y, covariance="spherical"), nleep(X, y, components_per_class=1)]
    assert len({nleep(X, y), *values}) == 3
