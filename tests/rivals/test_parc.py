"""PARC against its definition, and what public code makes of rounding errors."""

import numpy as np
import pytest
from hypothesis import assume, given, settings

import literal_rivals as literal
from data_sets import gaussian_classes, labelled_features, reference_case
from sfda.rivals.parc import parc


# Ranks are discrete: pairs that are equal but for rounding must be equal in
# both versions, which is why the literal one rounds to 12 digits as well.
@given(labelled_features(max_classes=12, max_features=20))
@settings(max_examples=60, deadline=None)
def test_parc_equals_its_formula(data):
    X, y = data
    X = X[:, X.std(0) > 0]
    # With two columns every correlation is 1 or -1.
    assume(X.shape[1] > 2 and np.bincount(y).max() > 1)
    for components in (None, 5):
        expected = literal.parc(X, y, components)
        assert parc(X, y, components=components) == pytest.approx(expected, abs=1e-5)


def test_parc_in_public_code_depends_on_the_numbers_of_the_classes():
    """By how much depends on the processor: 15, 3 and 3 where it fuses multiplication and addition, and on two older ones."""
    y = np.repeat(np.arange(7), [40, 20, 9, 6, 5, 4, 3])
    X = gaussian_classes(0, y, 20)
    numbered = [np.roll(np.arange(7), k)[y] for k in range(7)]
    assert [parc(X, labels) for labels in numbered] == pytest.approx([literal.parc(X, y)] * 7, abs=1e-9)
    published = [parc(X, labels, as_published=True) for labels in numbered]
    assert published == pytest.approx([literal.parc(X, labels, rounded=False) for labels in numbered], abs=1e-9)
    assert np.ptp(published) > 1
    # Four classes: 1 / C is exact, and nothing is wrong.
    X, y = reference_case("A")
    assert parc(X, y, as_published=True) == pytest.approx(parc(X, y), abs=1e-9)


def test_parc_of_repeated_samples():
    X, y = reference_case("C")
    X, y = np.r_[X, X[:40], X[:40]], np.r_[y, y[:40], y[:40]]
    assert parc(X, y) == pytest.approx(literal.parc(X, y), abs=1e-6)


def test_parc_with_nothing_to_tell_pairs_apart():
    assert parc(np.ones((6, 3)), [0, 0, 0, 1, 1, 1]) == 0
    assert parc(np.ones((6, 3)), [0, 0, 0, 1, 1, 1], as_published=True) == 0
    # Samples that are constant over their standardised features.
    X = np.array([[1.0, 1, 1], [2, 2, 2], [1, 2, 3], [3, 2, 1]])
    assert -100 <= parc(X, [0, 0, 1, 1]) <= 100


def test_parc_extremes():
    y = np.repeat([0, 1], 10)
    X = gaussian_classes(0, y, 50, separation=20)
    # The most that two label values allow: the pairs of one class are all more similar.
    k, m = 90, 190
    assert parc(X, y) == pytest.approx(100 * np.sqrt(3 * k * (m - k) / (m**2 - 1)))
