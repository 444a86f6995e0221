"""Nearest neighbours, the probe and the discriminants against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

import literal
import literal_rivals
from data_sets import CASES, gaussian_classes, labelled_features, reference_case
from sfda import FisherDiscriminant
from sfda.metric.score import discriminant_accuracy, discriminant_log_likelihood, discriminant_probability
from sfda.rivals.neighbours import nearest_neighbours
from sfda.rivals.probe import linear_probe

DISCRIMINANTS = (discriminant_accuracy, discriminant_probability, discriminant_log_likelihood)


def three_of(p, y):
    """What the three discriminant scores should be, from probabilities."""
    own = p[np.arange(len(y)), y]
    return (p.argmax(1) == y).mean(), own.mean(), np.log(own).mean()


# Gaussian draws: no two distances are equal, so the order is the same in both.
@given(labelled_features(max_classes=12), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_nearest_neighbours_equal_their_definition(data, k):
    X, y = data
    k = min(k, len(y) - 1)
    if X.std(0).any():
        assert nearest_neighbours(X, y, k=k) == literal_rivals.nearest_neighbours(X, y, k)


@given(labelled_features(max_classes=12))
@settings(max_examples=40, deadline=None)
def test_standardised_neighbours_are_those_of_standardised_features(data):
    X, y = data
    if X.std(0).any():
        Z, k = StandardScaler().fit_transform(X), min(10, len(y) - 1)
        assert nearest_neighbours(X, y, k=None, standardise=True) == literal_rivals.nearest_neighbours(Z, y, k)
        # Exact in binary.
        assert nearest_neighbours(4 * X, y, k=1, standardise=True) == nearest_neighbours(X, y, k=1, standardise=True)


def test_votes_are_decided_by_the_nearest_other_sample():
    # Pairs of the same place and different classes: always wrong, where public code may take a sample for its own.
    assert nearest_neighbours(np.repeat(np.arange(10.0)[:, None], 2, axis=0), np.tile([0, 1], 10)) == 0
    X, y = np.array([[0.0], [1.0], [2.1], [3.3], [4.6]]), ["a", "a", "b", "b", "b"]
    # The first two: one neighbour of each class, and the nearer one wins.
    assert nearest_neighbours(X, y, k=2) == pytest.approx(0.8)
    # Outvoted by the three b; the third has two neighbours of each, an a nearest.
    assert nearest_neighbours(X, y, k=4) == pytest.approx(0.4)


def test_linear_probe_equals_cross_validation():
    for name in "AC":
        X, y = reference_case(name)
        for seed in (0, 1):
            assert linear_probe(X, y, seed=seed) == literal_rivals.linear_probe(X, y, seed=seed)
    assert linear_probe(X, y, folds=3) == literal_rivals.linear_probe(X, y, folds=3)


def test_linear_probe_of_small_classes():
    y = np.repeat([0, 1, 2], [20, 3, 1])
    X = gaussian_classes(0, y, 4, separation=30)
    assert linear_probe(X, y) == pytest.approx(23 / 24)  # the single sample is missed
    # One class is left when the other's only sample is held out.
    assert linear_probe(X[[0, 1, 2, 20]], y[[0, 1, 2, 20]]) == pytest.approx(3 / 4)


@given(labelled_features(max_classes=8), st.floats(1e-3, 1.0))
@settings(max_examples=40, deadline=None)
def test_discriminants_equal_the_eigenproblem(data, shrinkage):
    X, y = data
    expected = three_of(literal.posterior(X, y, shrinkage), y)
    values = [metric(X, y, shrinkage=shrinkage) for metric in DISCRIMINANTS]
    # An accuracy jumps where two probabilities are equal but for rounding.
    assert values[0] == pytest.approx(expected[0], abs=0.6 / len(y) if X.std(0).any() else 1)
    # cond(S) < 1e7 leaves eight digits of the discriminants.
    assert values[1] == pytest.approx(expected[1], abs=1e-8)
    assert values[2] == pytest.approx(expected[2], rel=1e-6, abs=1e-6)


@given(labelled_features(max_classes=5, max_features=15, min_per_class=2), st.floats(1e-3, 1.0))
@settings(max_examples=25, deadline=None)
def test_left_out_discriminants_equal_refitting(data, shrinkage):
    X, y = data
    p = literal.left_out_posterior(X, y, shrinkage, X)
    values = [metric(X, y, posterior="leave-one-out", shrinkage=shrinkage) for metric in DISCRIMINANTS]
    assert values[0] == pytest.approx((p.argmax(1) == y).mean(), abs=0.6 / len(y))
    assert values[1] == pytest.approx(p[np.arange(len(y)), y].mean(), abs=1e-8)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shrinkage", [None, "leave-one-out", 0.3])
def test_discriminants_agree_with_the_estimator(name, shrinkage):
    X, y = reference_case(name)
    # cond(S) < 1e7 again, of different factorisations.
    values = [metric(X, y, shrinkage=shrinkage) for metric in DISCRIMINANTS]
    assert values == pytest.approx(three_of(FisherDiscriminant(shrinkage).fit(X, y).predict_proba(X), y), abs=1e-7)
    values = [metric(X, y, posterior="leave-one-out", shrinkage=shrinkage) for metric in DISCRIMINANTS]
    estimator = FisherDiscriminant(shrinkage or "leave-one-out")
    assert values == pytest.approx(three_of(estimator.leave_one_out_proba(X, y), y), abs=1e-7)


def test_resubstitution_saturates_and_leave_one_out_does_not():
    y = np.arange(60) % 3
    X = gaussian_classes(4, y, 80, 0.0)
    assert discriminant_accuracy(X, y) == 1
    assert discriminant_accuracy(X, y, posterior="leave-one-out") < 0.6
