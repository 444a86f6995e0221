"""LogME against the public code's values, its formulas, the density it is, and bad input."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import literal_rivals as literal
from data_sets import CASES, gaussian_classes, labelled_features, reference_case
from sfda.rivals.logme import logme

# --- exactness -------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_reference_cases(name):
    X, y = reference_case(name)
    expected = CASES[name]["scores"]
    assert logme(X, y) == pytest.approx(expected["LogME_corrected"], rel=1e-9)
    assert logme(X, y, as_published=True) == pytest.approx(expected["LogME"], rel=1e-9)
    # Other public variants, with other stopping rules.
    assert logme(X, y) == pytest.approx(expected["LogME_tllib"], rel=1e-3)
    assert logme(X, y) == pytest.approx(expected["LogME_icml"], rel=1e-3)


def test_the_published_evidence_is_wrong_where_samples_are_few():
    X, y = reference_case("B")
    assert logme(X, y, as_published=True) - logme(X, y) == pytest.approx(1.256, abs=1e-3)
    X, y = reference_case("A")
    assert logme(X, y, as_published=True) == logme(X, y)


# Squared singular values carry an error of about 1e-15 of the largest; cut at
# 1e-7 of it, the literal version keeps the same directions, and what rounding
# does to the smallest of them is damped by 11 rounds at most.
@given(labelled_features(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_equals_the_singular_value_decomposition(data, centre):
    X, y = data
    X = X - X.mean(0) if centre else X
    if X.any():
        expected = literal.logme(X, y)
        assert logme(X, y) == pytest.approx(expected, rel=1e-6, abs=1e-6)


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
@pytest.mark.parametrize("dead", [0, 5])
def test_as_published_equals_the_published_steps(shape, dead):
    # Columns of zeros are missing from the published sum as well, whatever N is.
    y = np.arange(shape[0]) % 3
    X = gaussian_classes(2, y, shape[1])
    X[:, :dead] = 0
    expected = literal.logme(X, y, corrected=False, direct=False)
    assert logme(X, y, as_published=True) == pytest.approx(expected, rel=1e-6)
    wrong = dead or shape[0] < shape[1]
    assert (logme(X, y) != pytest.approx(expected, rel=1e-3)) == bool(wrong)


# --- invariances -----------------------------------------------------------


@pytest.mark.parametrize("D", [8, 100])
def test_invariances(D):
    y = np.repeat([0, 1, 2], [30, 20, 10])
    X = gaussian_classes(2, y, D)
    rng = np.random.default_rng(3)
    order, rotation = rng.permutation(60), np.linalg.qr(rng.standard_normal((D, D)))[0]
    value = logme(X, y)
    for moved, labels in [(X[order], y[order]), (X, 7 - 2 * y), (X @ rotation, y)]:
        assert logme(moved, labels) == pytest.approx(value, abs=1e-9)
    # No intercept, so translation matters; the start and the 1e-5 make scale matter.
    assert abs(logme(X + 10, y) - value) > 1e-3
    assert logme(3 * X, y) != value
    # Columns of zeros say nothing: for the evidence, not for the published sum.
    wide = np.c_[X, np.zeros((60, 100))]
    assert logme(wide, y) == pytest.approx(value, abs=1e-9)
    assert abs(logme(wide, y, as_published=True) - value) > 1e-2


Y = np.arange(20) % 2
X = gaussian_classes(0, Y, 4)

BAD_INPUT = [
    (np.zeros((20, 3)), Y, "features: expected a value other than zero"),
    (1e-150 * X, Y, "features: too small, their scatter underflows; rescale them"),
    (X[0], Y, "features: expected 2 dimensions (samples x features), got 1 (shape (4,))"),
    (X, Y[:9], "labels: expected one label for each of the 20 rows of features, got 9"),
    (X, Y / 2, "labels: expected classes, found 0.5 in row 1; a regression target cannot be scored"),
]  # fmt: skip


@pytest.mark.parametrize(("features", "labels", "message"), BAD_INPUT)
def test_bad_input(features, labels, message):
    with pytest.raises(ValueError) as error:
        logme(features, labels)
    assert str(error.value) == message
