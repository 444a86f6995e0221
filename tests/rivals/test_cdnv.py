"""The directional class-distance normalised variance, by its definition and by hand."""

import numpy as np
import pytest
from hypothesis import assume, given, settings

import literal_rivals as literal
from data_sets import labelled_features
from sfda.rivals.cdnv import directional_cdnv

# Classes at 0 and 4 on the first axis; variances along it 0 and 1.
X = np.array([[0.0, 5.0], [0.0, -5.0], [3.0, 0.0], [5.0, 0.0]])


@given(labelled_features(max_classes=12))
@settings(max_examples=60, deadline=None)
def test_equals_its_definition(data):
    X, y = data
    mu = np.array([X[y == c].mean(0) for c in range(y.max() + 1)])
    distances = np.linalg.norm(mu[:, None] - mu, axis=2)[~np.eye(len(mu), dtype=bool)]
    assume(distances.min() > 1e-6 * max(1e-3, np.abs(X).max()))
    # Of a distance 1e-6 of the numbers, ten digits.
    assert directional_cdnv(X, y) == pytest.approx(literal.directional_cdnv(X, y), rel=1e-6, abs=1e-12)


def test_by_hand():
    assert directional_cdnv(X, [0, 0, 1, 1]) == pytest.approx(-(0 + 1 / 16) / 2, abs=1e-15)
    # What varies across the line does not count, nor does a class of one.
    assert directional_cdnv(X * [1, 100], [0, 0, 1, 1]) == pytest.approx(-1 / 32, abs=1e-12)
    assert directional_cdnv(X[1:], [0, 1, 1]) == pytest.approx(-(1 * 16 + 25 * 0) / 41**2 / 2, abs=1e-15)
    assert directional_cdnv(X[1:3], [0, 1]) == 0


@pytest.mark.parametrize("scale", [1e-130, 1e-30, 1e60])
def test_neither_unit_nor_place_matter(scale):
    assert directional_cdnv(scale * (X + 3), [0, 0, 1, 1]) == pytest.approx(-1 / 32, abs=1e-12)


def test_means_that_are_the_same():
    """The worst that there is, where public code takes them for the best."""
    assert directional_cdnv(np.r_[X, X] + 1e9, np.repeat([0, 1, 2, 3], 2)) == pytest.approx(-(4 * 1e6 + 8 / 32) / 12, rel=1e-9)
    blind = np.r_[np.zeros((4, 2)), X[2:]]
    assert directional_cdnv(blind, np.repeat([0, 1, 2], 2)) == pytest.approx(-(2 * 1e6 + 2 / 16) / 6, rel=1e-9)
    # As good as the same: a millionth of the spread apart.
    assert directional_cdnv(np.r_[X[:2], X[:2] + np.array([0, 1e-6])], [0, 0, 1, 1]) == -1e6
