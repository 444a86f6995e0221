"""LogME against the public code's values, its formulas, the density it is, and bad input."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import literal_rivals as literal
from data_sets import CASES, gaussian_classes, labelled_features, reference_case
from sfda.rivals.logme import logme, logme_regression

torch = pytest.importorskip("torch")

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
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n, d))
    t = X @ rng.standard_normal(d) / np.sqrt(d) + 2 * rng.standard_normal(n)
    U, S, _ = np.linalg.svd(X, full_matrices=False)
    value, alpha, beta = literal.evidence(n, d, S**2, U, t, True)
    covariance = np.eye(n) / beta + X @ X.T / alpha
    density = scipy.stats.multivariate_normal.logpdf(t, cov=covariance) / n
    assert logme_regression(X, t) == pytest.approx(value, abs=1e-9)
    assert value == pytest.approx(density, abs=2e-3)
    if n < d:
        assert abs(logme_regression(X, t, as_published=True) - density) > 0.05


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


@given(labelled_features(max_classes=4), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_regression_equals_its_formula(data, k):
    X, y = data
    T = np.random.default_rng(0).standard_normal((len(y), k)) + X[:, :1]
    expected = literal.logme_of_targets(X, T)
    assert logme_regression(X, T) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    single = [logme_regression(X, t) for t in T.T]
    assert logme_regression(X, T) == pytest.approx(np.mean(single), abs=1e-9)


def test_classification_is_regression_on_indicators():
    X, y = reference_case("C")
    assert logme_regression(X, np.eye(3)[y]) == pytest.approx(logme(X, y), abs=1e-12)


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


# --- what goes in ----------------------------------------------------------


def test_targets_of_many_kinds():
    X, _ = reference_case("C")
    t = X[:, 0] + 1
    expected = logme_regression(X, t)
    for targets in (t[:, None], t.tolist(), torch.from_numpy(t), torch.from_numpy(t[:, None])):
        assert logme_regression(torch.from_numpy(X), targets) == pytest.approx(expected, abs=1e-12)


Y = np.arange(20) % 2
X = gaussian_classes(0, Y, 4)

BAD_INPUT = [
    (logme, np.zeros((20, 3)), Y, "features: expected a value other than zero"),
    (logme, 1e200 * X, Y, "features: too large, their scatter overflows; rescale them"),
    (logme, X[0], Y, "features: expected 2 dimensions (samples x features), got 1 (shape (4,))"),
    (logme, X, Y[:9], "labels: expected one label for each of the 20 rows of features, got 9"),
    (logme, X, Y / 2, "labels: expected classes, found 0.5 in row 1; a regression target cannot be scored"),
    (logme_regression, X, Y[:9], "targets: expected one row for each of the 20 rows of features, got 9"),
    (logme_regression, X, np.where(Y, np.nan, 1.0), "targets: expected finite numbers, found NaN, first in row 1"),
    (logme_regression, X, np.array(["a"] * 20), "targets: expected real numbers, got dtype <U1"),
    (logme_regression, X, [[0], [1, 2]] * 10, "targets: expected a matrix, got a ragged sequence"),
    (logme_regression, X, np.ones((20, 2, 2)), "targets: expected 2 dimensions (samples x features), got 3 (shape (20, 2, 2))"),
    (logme_regression, X, 1.0, "targets: expected 2 dimensions (samples x features), got 0 (shape ())"),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "features", "targets", "message"), BAD_INPUT)
def test_bad_input(metric, features, targets, message):
    with pytest.raises(ValueError) as error:
        metric(features, targets)
    assert str(error.value) == message
