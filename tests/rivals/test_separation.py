"""H-scores, GBC and TransRate against their formulas, and where they fail or must not."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf

import literal_rivals as literal
from data_sets import gaussian_classes, labelled_features, reference_case
from sfda.rivals.gbc import gbc
from sfda.rivals.h_score import h_score, regularised_h_score
from sfda.rivals.transrate import transrate


# The pseudo-inverse squares the condition number and cuts at 1e-10 of the largest eigenvalue; real directions lie above
# 1e-6 of it in these draws and keep ten digits.
@given(labelled_features())
@settings(max_examples=60, deadline=None)
def test_h_scores_equal_their_formulas(data):
    X, y = data
    assume(X.std(0).any())
    assert h_score(X, y) == pytest.approx(literal.h_score(X, y, cut=1e-10), abs=1e-6)
    # The literal pseudo-inverse is of use only where the estimate is regular.
    if X.shape[1] == 1 or ledoit_wolf(X)[1] > 1e-6:
        expected = literal.regularised_h_score(X, y)
        assert regularised_h_score(X, y) == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_h_score_of_few_samples_says_nothing():
    y = np.arange(30) % 5
    for separation, D in [(0, 29), (3, 29), (0, 80), (3, 80)]:
        assert h_score(gaussian_classes(0, y, D, separation), y) == pytest.approx(4)
    weak, strong = (regularised_h_score(gaussian_classes(0, y, 80, s), y) for s in (0.5, 2))
    assert weak < strong < 4 * 30 / 29


def test_h_score_does_not_divide_by_rounding_errors():
    y = np.arange(200) % 5
    X = gaussian_classes(1, y, 30, 0.5)
    dependent = np.c_[X, X @ np.random.default_rng(0).standard_normal((30, 20))]
    value = h_score(X, y)
    assert h_score(dependent, y) == pytest.approx(value, rel=1e-9)
    # What little is left of a column, 1e-15 of its variance, is not counted either.
    for seed in range(8):
        noise = np.random.default_rng(seed).standard_normal((200, 1))
        almost = np.c_[X, X @ noise[:30], X[:, :1] + 1e-8 * noise]
        assert h_score(almost, y) == pytest.approx(value, rel=1e-6)
    # Units far apart, which would otherwise fall below them.
    for few in (X, X[:20]):
        units = np.geomspace(1e-9, 1e9, 30)
        assert h_score(few * units, y[: len(few)]) == pytest.approx(h_score(few, y[: len(few)]), rel=1e-6)
    # A cut at 1e-15 is not enough in single precision.
    single = gaussian_classes(1, y, 250, 0.5).astype("float32")
    assert h_score(single, y) == pytest.approx(4)
    covariance = np.cov(single, rowvar=False, dtype="float32")
    between = np.cov(literal.class_means(single, y)[y], rowvar=False)
    assert abs(np.trace(np.linalg.pinv(covariance, rcond=1e-15) @ between) - 4) > 0.1


def test_a_regularised_h_score_without_regularisation():
    # Two points: every sample's outer product is the covariance, the shrinkage is 0.
    X, y = np.array([[1.0, 2], [-1, -2]] * 3), np.array([0, 1] * 3)
    assert ledoit_wolf(X)[1] == 0
    assert regularised_h_score(X, y) == pytest.approx(6 / 5)
    assert regularised_h_score(X[:, :1], y) == pytest.approx(6 / 5)


@given(labelled_features(max_classes=10), st.sampled_from([1.0, 30.0]))
@settings(max_examples=50, deadline=None)
def test_gbc_equals_its_formula(data, scale):
    X, y = data
    for covariance in ("spherical", "diagonal"):
        expected = literal.gbc(scale * X, y, covariance == "spherical")
        value = gbc(scale * X, y, covariance=covariance)
        # Distances come from inner products: a relative 1e-14 of |mu|^2 / v < 1e6.
        assert value == pytest.approx(expected, rel=1e-7, abs=1e-300)
        assert -(y.max() + 1) * y.max() - 1e-9 <= value <= 0
        if value < 0:
            logarithm = gbc(scale * X, y, covariance=covariance, log=True)
            assert logarithm == pytest.approx(-np.log(-value), abs=1e-9)


def test_gbc_underflows_and_its_logarithm_does_not():
    y = np.repeat([0, 1], 20)
    X = np.random.default_rng(0).standard_normal((40, 5))
    near, far = X + 500 * y[:, None], X + 600 * y[:, None]
    assert gbc(near, y) == gbc(far, y) == 0
    assert gbc(near, y, log=True) < gbc(far, y, log=True)
    # The floor of the variances has a unit.
    assert gbc(0.001 * X, y) != pytest.approx(gbc(X, y), rel=1e-3)


def test_gbc_of_principal_components():
    X, y = reference_case("A")
    assert gbc(X, y, components=500) == pytest.approx(gbc(X, y), rel=1e-9)
    X, y = reference_case("B")
    U, S, _ = np.linalg.svd(X - X.mean(0), full_matrices=False)
    expected = literal.gbc(U[:, :8] * S[:8], y, spherical=False)
    assert gbc(X, y, components=8, covariance="diagonal") == pytest.approx(expected, rel=1e-9)


@given(labelled_features(max_classes=12), st.booleans())
@settings(max_examples=50, deadline=None)
def test_transrate_equals_its_formula(data, normalised):
    X, y = data
    assume(X.std(0).any())
    expected = literal.transrate(X, y, normalised=normalised)
    assert transrate(X, y, normalised=normalised) == pytest.approx(expected, rel=1e-8, abs=1e-8)
    wide = np.c_[X, np.zeros((len(X), 200))]
    assert transrate(wide, y, normalised=normalised) == pytest.approx(expected, rel=1e-8, abs=1e-8)
    assert not normalised or expected >= -1e-9


def test_transrate_may_be_negative():
    # The plain form gives small classes as much weight as large ones.
    X, y = np.r_[np.tile([1.0, -1.0], 500), 22, -22][:, None], np.repeat([0, 1], [1000, 2])
    assert transrate(X, y) < 0 < transrate(X, y, normalised=True)
