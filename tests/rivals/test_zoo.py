"""NCTI, ETran and the committee: public values, formulas, what a zoo changes, bad input."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import literal_rivals as literal
from data_sets import CASES, gaussian_classes, labelled_features, reference_case
from sfda.rivals.catalogue import RIVALS
from sfda.rivals.committee import committee
from sfda.rivals.etran import etran, etran_discriminant, etran_energy
from sfda.rivals.ncti import ncti, ncti_terms

Y = np.repeat([0, 1, 2], [30, 20, 10])
ZOO = {
    f"separation {s}, D = {D}": gaussian_classes(i, Y, D, s, 0.5)
    for i, (s, D) in enumerate([(0.1, 6), (0.5, 20), (1.0, 100), (2.0, 8)])
}


def scaled(values):
    values = np.array(values)
    return (values - values.min()) / np.ptp(values)


def test_ncti_terms_of_the_reference_case():
    # The only one that the public code can score: it needs N and D of 64 or more.
    expected = CASES["B"]["scores"]["NCTI_components"]
    assert ncti_terms(*reference_case("B")) == pytest.approx(expected, rel=1e-9)


# Directions that hold less than 1e-7 of the largest singular value are left out of both; scikit-learn does the rest,
# on coordinates that agree to 1e-8 or so.
@given(labelled_features(max_classes=8, min_per_class=2))
@settings(max_examples=30, deadline=None)
def test_ncti_terms_equal_their_formula(data):
    X, y = data
    assume(X.std(0).any())
    assert ncti_terms(X, y) == pytest.approx(literal.ncti_terms(X, y), rel=1e-5, abs=1e-5)


def test_min_max_scaled_terms_are_combined():
    a, b, c = (scaled(t) for t in zip(*(literal.ncti_terms(X, Y) for X in ZOO.values())))
    scores = ncti(ZOO, Y)
    assert list(scores) == list(ZOO)
    assert list(scores.values()) == pytest.approx(a + b - c, abs=1e-6)
    energy = scaled([etran_energy(X) for X in ZOO.values()])
    for as_published in (False, True):
        fisher = scaled([etran_discriminant(X, Y, as_published=as_published) for X in ZOO.values()])
        scores = etran(ZOO, Y, as_published=as_published)
        assert list(scores) == list(ZOO)
        assert list(scores.values()) == pytest.approx(0.15 * energy + 0.85 * fisher, abs=1e-12)


@pytest.mark.parametrize("score", [ncti, etran])
def test_invariances(score):
    rng = np.random.default_rng(0)
    order = rng.permutation(60)
    expected = score(ZOO, Y)
    assert score({k: X[order] for k, X in ZOO.items()}, Y[order]) == pytest.approx(expected, abs=1e-7)
    turned = {k: X @ np.linalg.qr(rng.standard_normal((X.shape[1],) * 2))[0] for k, X in ZOO.items()}
    # The energy depends on the axes.
    assert (score(turned, Y) == pytest.approx(expected, abs=1e-7)) == (score is ncti)
    same = ZOO["separation 0.5, D = 20"]
    assert score({"a": same, "b": same}, Y) == {"a": 0.0, "b": 0.0}


def test_a_committee_is_the_mean_of_three_places():
    views = [RIVALS[name] for name in ("left-out kernel ridge", "PARC 32 components", "regularised H-score")]
    values = np.array([[view(X, Y) for X in ZOO.values()] for view in views])
    # The others that are behind, and half of those that are level: exact sums of halves.
    behind = np.sign(values[:, :, None] - values[:, None, :]).sum(2) / 2 + (len(ZOO) - 1) / 2
    assert committee(ZOO, Y) == pytest.approx(dict(zip(ZOO, behind.mean(0) / (len(ZOO) - 1))), abs=1e-12)
    # Copies share their places, in whatever unit they come.
    same = ZOO["separation 0.5, D = 20"]
    shared = committee({"a": same, "b": 4.0 * same, "c": ZOO["separation 2.0, D = 8"]}, Y)
    assert shared["a"] == shared["b"]
    assert committee({"a": same, "b": same}, Y) == {"a": 0.5, "b": 0.5}


@given(labelled_features(max_classes=10), st.floats(1e-3, 1.0))
@settings(max_examples=50, deadline=None)
def test_etran_equals_its_steps(data, shrinkage):
    X, y = data
    assert etran_energy(X, y) == pytest.approx(literal.etran_energy(X), rel=1e-12)
    # Whatever the shrinkage: orthonormal vectors drop out.
    expected = literal.etran_discriminant(X, y, shrinkage)
    assert etran_discriminant(X, y, as_published=True) == pytest.approx(expected, abs=1e-9)


def test_etran_discriminant_as_published_is_no_fisher_discriminant():
    # A nuisance direction of large variance: Euclidean distance fails, Fisher's does not.
    y = np.arange(400) % 2
    rng = np.random.default_rng(0)
    X = np.c_[rng.standard_normal(400) + 3 * y, 30 * rng.standard_normal(400)]
    assert etran_discriminant(X, y) > 0.85
    assert etran_discriminant(X, y, as_published=True) < 0.75
    # It has a unit; the right one, apart from its adaptive shrinkage, has none.
    assert etran_discriminant(0.1 * X, y, as_published=True) < 0.55


def test_etran_energy_of_a_share():
    X = np.arange(400.0)[:, None]
    assert etran_energy(X) == pytest.approx(0.5)
    assert etran_energy(X[:100]) == 0  # NaN in public code: 0.5 % of fewer than 200
    assert etran_energy(X, share=1) == pytest.approx(199.5)
    assert etran_energy(X[::-1], share=0.01) == pytest.approx(1.5)
    assert etran_energy(1000 + X) == pytest.approx(1000.5)  # exp would overflow


BAD_INPUT = [
    ([1, 2], Y, "features_by_model: expected a mapping from names to features, got list"),
    ({"a": ZOO["separation 0.1, D = 6"]}, Y, "features_by_model: expected at least 2 networks, whose terms are compared, got 1"),
    (ZOO | {"bad": np.full((60, 3), np.nan)}, Y, "features_by_model['bad']: expected finite numbers, found NaN, first in row 0"),
    (ZOO | {"flat": np.ones(60)}, Y, "features_by_model['flat']: expected 2 dimensions (samples x features), got 1 (shape (60,))"),
    (ZOO, Y[:50], "labels: expected one label for each of the 60 rows of features, got 50"),
]  # fmt: skip


@pytest.mark.parametrize("score", [ncti, etran, committee])
@pytest.mark.parametrize(("zoo", "labels", "message"), BAD_INPUT)
def test_bad_input(score, zoo, labels, message):
    with pytest.raises(ValueError) as error:
        score(zoo, labels)
    assert str(error.value) == message
