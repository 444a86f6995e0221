"""LogME against the published steps, its formulas, and the density it is."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import literal_rivals as literal
from data_sets import gaussian_classes, labelled_features
from sfda.rivals.logme import logme


# Squared singular values carry an error of about 1e-15 of the largest; cut at 1e-7 of it, the literal version
# keeps the same directions, and what rounding does to the smallest of them is damped by 11 rounds at most.
@given(labelled_features(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_equals_the_singular_value_decomposition(data, centre):
    X, y = data
    X = X - X.mean(0) if centre else X
    if X.any():
        assert logme(X, y) == pytest.approx(literal.logme(X, y), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("shape", [(30, 80), (80, 80), (200, 40)])
def test_is_the_log_density_of_the_targets(shape):
    # t ~ N(0, I / beta + X X' / alpha), at the alpha and beta where it has converged.
    n, d = shape
    y = np.arange(n) % 3
    X = gaussian_classes(1, y, d, 0.3)
    U, S, _ = np.linalg.svd(X, full_matrices=False)
    values, densities = [], []
    for t in np.eye(3)[y].T:
        value, alpha, beta = literal.evidence(n, d, S**2, U, t, True)
        covariance = np.eye(n) / beta + X @ X.T / alpha
        densities.append(scipy.stats.multivariate_normal.logpdf(t, cov=covariance) / n)
        values.append(value)
    assert logme(X, y) == pytest.approx(np.mean(values), abs=1e-9)
    assert values == pytest.approx(densities, abs=2e-3)
    if n < d:
        assert abs(logme(X, y, as_published=True) - np.mean(densities)) > 0.05


@pytest.mark.parametrize("shape", [(60, 20), (30, 80)])
@pytest.mark.parametrize("dead", [[], [0, 1, 2], [3, 7, 8], [-2, -1]])
def test_as_published_equals_the_published_steps(shape, dead):
    # Columns of zeros may be missing from the published sum as well: what rounding leaves of them decides.
    y = np.arange(shape[0]) % 3
    X = gaussian_classes(2, y, shape[1])
    X[:, dead] = 0
    expected = literal.logme(X, y, corrected=False, direct=False)
    assert logme(X, y, as_published=True) == pytest.approx(expected, rel=1e-6)
    if shape[0] < shape[1] or not dead:
        assert (logme(X, y) != pytest.approx(expected, rel=1e-3)) == (shape[0] < shape[1])


def test_features_below_the_published_cut():
    X, y = 1e-13 * gaussian_classes(2, np.arange(60) % 3, 20), np.arange(60) % 3
    with pytest.raises(ValueError, match="^features: too small for the published cut of singular values at"):
        logme(X, y, as_published=True)
    assert np.isfinite(logme(X, y))


@pytest.mark.parametrize("D", [8, 100])
def test_columns_of_zeros_say_nothing(D):
    """For the evidence, not for the published sum."""
    y = np.repeat([0, 1, 2], [30, 20, 10])
    X = gaussian_classes(2, y, D)
    wide = np.c_[X, np.zeros((60, 100))]
    assert logme(wide, y) == pytest.approx(logme(X, y), abs=1e-9)
    assert abs(logme(wide, y, as_published=True) - logme(X, y)) > 1e-2
