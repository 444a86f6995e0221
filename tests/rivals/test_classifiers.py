"""Nearest neighbours, the probe and the discriminants: public values, formulas, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


# --- exactness -------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_reference_cases(name):
    X, y = reference_case(name)
    expected = CASES[name]["scores"]
    assert nearest_neighbours(X, y) == pytest.approx(expected["kNN1_LOO_accuracy_percent"] / 100)
    assert discriminant_probability(X, y) == pytest.approx(
        expected["SFDA_first_pass_mean_true_prob"], abs=1e-9
    )
    assert discriminant_log_likelihood(X, y) == pytest.approx(
        expected["SFDA_first_pass_mean_log_prob"], rel=1e-6, abs=1e-12
    )


# Gaussian draws: no two distances are equal, so the order is the same in both.
@given(labelled_features(max_classes=12), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_nearest_neighbours_equal_their_definition(data, k):
    X, y = data
    k = min(k, len(y) - 1)
    if X.std(0).any():
        assert nearest_neighbours(X, y, k=k) == literal_rivals.nearest_neighbours(X, y, k)


def test_a_sample_is_not_its_own_neighbour():
    # Pairs of the same place and different classes: always wrong, where public
    # code may take a sample for its own neighbour.
    X = np.repeat(np.arange(10.0)[:, None], 2, axis=0)
    assert nearest_neighbours(X, np.tile([0, 1], 10)) == 0


def test_votes_are_decided_by_the_nearest():
    X = np.array([[0.0], [1.0], [2.1], [3.3], [4.6]])
    y = ["a", "a", "b", "b", "b"]
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
    options = {"posterior": "leave-one-out", "shrinkage": shrinkage}
    values = [metric(X, y, **options) for metric in DISCRIMINANTS]
    assert values[0] == pytest.approx((p.argmax(1) == y).mean(), abs=0.6 / len(y))
    assert values[1] == pytest.approx(p[np.arange(len(y)), y].mean(), abs=1e-8)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shrinkage", [None, "leave-one-out", 0.3])
def test_discriminants_agree_with_the_estimator(name, shrinkage):
    X, y = reference_case(name)
    estimator = FisherDiscriminant(shrinkage)
    values = [metric(X, y, shrinkage=shrinkage) for metric in DISCRIMINANTS]
    expected = three_of(estimator.fit(X, y).predict_proba(X), y)
    assert values == pytest.approx(expected, abs=1e-7)
    estimator = FisherDiscriminant(shrinkage or "leave-one-out")
    options = {"posterior": "leave-one-out", "shrinkage": shrinkage}
    values = [metric(X, y, **options) for metric in DISCRIMINANTS]
    expected = three_of(estimator.leave_one_out_proba(X, y), y)
    assert values == pytest.approx(expected, abs=1e-7)


# --- invariances -----------------------------------------------------------


def test_invariances():
    y = np.repeat([0, 1, 2], [30, 20, 10])
    X = gaussian_classes(2, y, 8, 0.4)
    rng = np.random.default_rng(3)
    order, rotation = rng.permutation(60), np.linalg.qr(rng.standard_normal((8, 8)))[0]
    for k in (1, 5):
        value = nearest_neighbours(X, y, k=k)
        for moved, labels in [(X[order], y[order]), (X, 7 - 2 * y), (X @ rotation, y), (9 * X - 3, y)]:
            assert nearest_neighbours(moved, labels, k=k) == value
    units = np.geomspace(1, 100, 8)
    assert nearest_neighbours(X * units, y) != nearest_neighbours(X, y)
    # The probe standardises; its folds depend on the order of the samples.
    assert linear_probe(X * units + 5, y) == linear_probe(X, y)
    for metric in DISCRIMINANTS:
        value = metric(X, y, shrinkage=0.2)
        for moved, labels in [(X[order], y[order]), (X, 7 - 2 * y), (X @ rotation, y), (9 * X - 3, y)]:
            assert metric(moved, labels, shrinkage=0.2) == pytest.approx(value, abs=1e-9)


def test_resubstitution_saturates_and_leave_one_out_does_not():
    y = np.arange(60) % 3
    X = gaussian_classes(4, y, 80, 0.0)
    assert discriminant_accuracy(X, y) == 1
    assert discriminant_accuracy(X, y, posterior="leave-one-out") < 0.6


# --- bad input -------------------------------------------------------------

Y = np.arange(20) % 2
X = gaussian_classes(0, Y, 4)

BAD_INPUT = [
    (nearest_neighbours, X, Y, {"k": 0}, "k: expected an integer from 1 to N - 1 = 19, got 0"),
    (nearest_neighbours, X, Y, {"k": 20}, "k: expected an integer from 1 to N - 1 = 19, got 20"),
    (nearest_neighbours, X, Y, {"k": 1.0}, "k: expected an integer from 1 to N - 1 = 19, got 1.0"),
    (nearest_neighbours, X[0], Y, {}, "features: expected 2 dimensions (samples x features), got 1 (shape (4,))"),
    (linear_probe, X, Y, {"folds": 1}, "folds: expected an integer of 2 or more, got 1"),
    (linear_probe, X, np.arange(20), {}, "labels: expected two samples of one class, found none"),
    (discriminant_accuracy, X, Y, {"posterior": "loo"}, "posterior: expected 'resubstitution' or 'leave-one-out', got 'loo'"),
    (discriminant_accuracy, X, Y, {"shrinkage": 2}, "shrinkage: expected None, 'leave-one-out' or a number in [0, 1], got 2"),
    (discriminant_accuracy, X, np.r_[Y[:19], 5], {"posterior": "leave-one-out"}, "labels: leave-one-out needs at least 2 samples in every class, found 1 in 5"),
    (discriminant_accuracy, X, np.r_[Y[:19], 5], {"shrinkage": "leave-one-out"}, "labels: leave-one-out needs at least 2 samples in every class, found 1 in 5"),
    (discriminant_accuracy, np.ones((20, 2)), Y, {}, "features: expected variation within classes, found every sample equal to its class mean"),
]  # fmt: skip


@pytest.mark.parametrize(("metric", "features", "labels", "options", "message"), BAD_INPUT)
def test_bad_input(metric, features, labels, options, message):
    with pytest.raises(ValueError) as error:
        metric(features, labels, **options)
    assert str(error.value) == message
