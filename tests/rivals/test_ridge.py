"""Ridge regression with every sample left out, beside refitting; and the samples that the kernel looks at."""

import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import literal_rivals as literal
from data_sets import gaussian_classes, labelled_features
from sfda.rivals.ridge import RIDGES, SampleWarning, left_out_kernel_ridge, left_out_ridge, share_of_each

FEW = RIDGES[::2].tolist()  # that a test may take; the most and the least of all are among them


@pytest.fixture
def few_ridges(monkeypatch):
    for function in (left_out_ridge, left_out_kernel_ridge):
        monkeypatch.setitem(function.__globals__, "RIDGES", np.array(FEW))


# An accuracy jumps where two classes' fits, or two ridges' errors, are equal but for rounding: one sample may.
@pytest.mark.usefixtures("few_ridges")
@pytest.mark.parametrize("standardise", [False, True])
@given(labelled_features(max_classes=5, max_features=40))
@settings(max_examples=20, deadline=None)
def test_equals_refitting(standardise, data):
    X, y = data
    assume(X.std(0).any() and len(y) <= 40)
    expected = literal.left_out_ridge(X, y, FEW, standardise)
    assert left_out_ridge(X, y, standardise=standardise) == pytest.approx(expected, abs=1.1 / len(y))


@pytest.mark.usefixtures("few_ridges")
@given(labelled_features(max_classes=5, max_features=40))
@settings(max_examples=20, deadline=None)
def test_the_kernel_equals_refitting(data):
    X, y = data
    assume(X.std(0).any() and len(y) <= 40)
    assert left_out_kernel_ridge(X, y) == pytest.approx(literal.left_out_kernel_ridge(X, y, FEW), abs=1.1 / len(y))


@pytest.mark.parametrize("shape", [(45, 12), (45, 100)])
def test_equals_refitting_with_all_ridges(shape):
    """No ties here: every sample agrees."""
    y = np.arange(45) % 3
    X = 5 + gaussian_classes(2, y, shape[1], 0.4, 0.5)
    assert left_out_ridge(X, y) == literal.left_out_ridge(X, y, RIDGES) < 1
    assert left_out_ridge(X, y, standardise=True) == literal.left_out_ridge(X, y, RIDGES, True) < 1
    assert left_out_kernel_ridge(X, y) == literal.left_out_kernel_ridge(X, y, RIDGES) < 1


def test_by_hand():
    # Fitted to the other four, whatever the ridge, both classes have a half at their middle, 3.5: the third is below it.
    assert left_out_ridge([[0.0], [1.0], [2.5], [6.0], [7.0]], list("aabbb")) == pytest.approx(0.8)
    # One class around the other: no line parts them, a kernel does.
    circle = np.exp(2j * np.pi * np.arange(20) / 20)
    X = np.r_[circle, 3 * circle].view(float).reshape(40, 2)
    y = np.repeat([0, 1], 20)
    assert left_out_ridge(X, y) < 0.7 and left_out_kernel_ridge(X, y) == 1


@pytest.mark.parametrize("metric", [left_out_ridge, left_out_kernel_ridge])
def test_shuffled_labels_are_not_predicted(metric):
    """Though N < D, and any labels can be fitted."""
    found = [metric(np.random.default_rng(seed).standard_normal((60, 200)), np.arange(60) % 3) for seed in range(10)]
    # Ten means of 60 draws: a standard error of 0.02 about a third, more for their dependence.
    assert np.mean(found) < 1 / 3 + 0.08


@pytest.mark.parametrize("metric", [left_out_ridge, left_out_kernel_ridge])
def test_a_class_of_one_is_missed(metric):
    y = np.repeat([0, 1, 2], [20, 20, 1])
    X = gaussian_classes(0, y, 4, separation=30)
    assert metric(X, y) == pytest.approx(40 / 41)


def test_an_offset_changes_nothing():
    """What rounding leaves of the mean was a direction like any other."""
    y = np.arange(60) % 3
    for d in (8, 200):
        X = gaussian_classes(0, y, d, 0.5, 0.5)
        assert left_out_ridge(X + 1e9, y) == left_out_ridge(X, y)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=8), st.integers(2, 120))
def test_the_same_share_of_every_class(sizes, most):
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = share_of_each(y, most)
    allowed = max(most, 3 * len(sizes))
    assert len(rows) == min(len(y), allowed) and (np.diff(rows) > 0).all()
    kept, sizes = np.bincount(y[rows], minlength=len(sizes)), np.array(sizes)
    assert (kept >= np.minimum(sizes, 3)).all()
    # One share for all, rounded up to whole samples, and to three.
    assert ((kept - 1) / sizes)[kept > 3].max(initial=0) <= (kept / sizes).min() + 1e-12
    assert np.array_equal(share_of_each(y, most), rows)


def test_the_kernel_says_what_it_looks_at():
    y = np.arange(300) % 3
    X = gaussian_classes(1, y, 6, 0.5, 0.5)
    rows = share_of_each(y, 100)
    with pytest.warns(SampleWarning, match="^the score is that of 100 of 300 samples, the same share of every class$") as found:
        value = left_out_kernel_ridge(X, y, samples=100)
    assert value == left_out_kernel_ridge(X[rows], y[rows]) and found[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left_out_kernel_ridge(X, y, samples=300)
