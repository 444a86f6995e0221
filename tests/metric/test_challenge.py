"""ConfMix against its definition and its closed form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import literal
from data_sets import gaussian_classes, labelled_features
from sfda import confmix
from sfda.metric.challenge import confidence_of, expected_confmix


@given(labelled_features(max_classes=10), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_confmix_equals_its_definition(data, seed):
    X, y = data
    confidence = np.random.default_rng(seed).random(len(y))
    assert confmix(X, y, confidence) == pytest.approx(literal.confmix(X, y, confidence), abs=1e-12)
    assert np.array_equal(confmix(X, y, np.ones(len(y))), X)


def test_confmix_by_hand():
    # Class means 1, 10, 20; the other classes' means 15, 10.5, 5.5.
    mixed = confmix([[0.0], [2.0], [10.0], [10.0], [20.0]], list("aabbc"), [1.0, 0.0, 0.5, 1.0, 0.0])
    assert mixed[:, 0].tolist() == [0.0, 15.0, 10.25, 10.0, 5.5]


@pytest.mark.parametrize("C", [2, 3, 10, 100])
def test_closed_form_of_what_a_sample_keeps(C):
    # Class means that sum to zero: of x = mu + r, ConfMix leaves p r and (p - (1 - p) / (C - 1)) mu.
    y = np.repeat(np.arange(C), 4)
    X = gaussian_classes(1, y, 5)
    mu = literal.class_means(X, y)
    X -= mu.mean(0)
    mu -= mu.mean(0)
    p = np.random.default_rng(2).random(len(y))
    offset = p - (1 - p) / (C - 1)
    expected = p[:, None] * (X - mu[y]) + offset[:, None] * mu[y]
    assert confmix(X, y, p) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("C", [2, 3, 10, 100, 1000])
def test_a_sure_sample_keeps_one_minus_one_over_e_for_every_number_of_classes(C):
    sure, unsure, labels = np.eye(C)[np.zeros(C, int)], np.full((C, C), 1 / C), np.arange(C)

    def kept(confidence):
        return 1 - (1 - confidence) / (confidence * (C - 1))

    right, wrong = confidence_of(sure, labels)[:2]
    assert right == pytest.approx(math.e / (C - 1 + math.e), rel=1e-12)
    assert wrong == pytest.approx(1 / (C - 1 + math.e), rel=1e-12)
    assert kept(right) == pytest.approx(1 - 1 / math.e, rel=1e-9)
    assert kept(confidence_of(unsure, labels)[0]) == pytest.approx(0, abs=1e-9)
    assert kept(wrong) == pytest.approx((1 - math.e) / (C - 1), rel=1e-9)


@given(labelled_features(max_classes=8), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_expected_confmix_is_the_mean_over_labels(data, seed):
    X, y = data
    C = y.max() + 1
    p = literal.softmax(3 * np.random.default_rng(seed).standard_normal((len(y), C)))
    soft, others = literal.softmax(p), literal.other_means(literal.class_means(X, y))
    expected = sum(p[:, [c]] * (soft[:, [c]] * X + (1 - soft[:, [c]]) * others[c]) for c in range(C))
    assert expected_confmix(X, y, p) == pytest.approx(expected, abs=1e-12)
    sure = np.eye(C)[y]
    assert expected_confmix(X, y, sure) == pytest.approx(confmix(X, y, confidence_of(sure, y)), abs=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_library_and_dtype_are_those_of_the_features(dtype, library):
    y = np.arange(12) % 3
    X = np.round(gaussian_classes(4, y, 3) * 8).astype(dtype)
    expected = confmix(X.astype("float64"), y, np.full(12, 0.5))
    if library == "torch":
        X = pytest.importorskip("torch").from_numpy(X)
    before = X + 0
    mixed = confmix(X, y, np.full(12, 0.5))
    assert type(mixed) is type(X)
    assert str(mixed.dtype).endswith(dtype.replace("int", "float"))
    assert (X == before).all()
    assert np.asarray(mixed) == pytest.approx(expected, rel=1e-3)


HALVES, THIRDS = np.full((6, 2), 0.5), np.full((6, 3), 1 / 3)
COLUMNS = "posterior: expected 2 columns, one a class, got 3"
X, Y = np.eye(6), [0, 1] * 3
BAD_INPUT = [
    (confmix, (X, Y, [0.5] * 5), "confidence: expected shape (6,), got (5,)"),
    (confmix, (X, Y, 0.5), "confidence: expected shape (6,), got ()"),
    (confmix, (X, Y, [0.5, 0.5, 1.5, 0.5, -1, 0]), "confidence: expected values in [0, 1], found 1.5 in row 2"),
    (confmix, (X, Y, [0.5] * 5 + [np.nan]), "confidence: expected values in [0, 1], found nan in row 5"),
    (confmix, (X, Y, [1j] * 6), "confidence: expected numbers, got list: Complex data not supported"),
    (confmix, (X[:2], Y[:2], [10**400, 0]), "confidence: expected real numbers, got dtype object"),
    (expected_confmix, (X, Y, HALVES[1:]), "posterior: expected 6 rows, got 5"),
    (expected_confmix, (X, Y, HALVES + [[0, 0], [0, 0], [0, 0.1]] * 2), "posterior: expected rows of probabilities that sum to 1, found otherwise in row 2"),
    (expected_confmix, (X + 1e76, Y, HALVES), "features: expected numbers of at most 1e+75 in size, found 1e+76 in row 0; rescale them"),
    (expected_confmix, (X, Y, THIRDS), COLUMNS),
    (confidence_of, (THIRDS, Y), COLUMNS),
]  # fmt: skip


@pytest.mark.parametrize(("function", "arguments", "message"), BAD_INPUT)
def test_bad_input(function, arguments, message):
    with pytest.raises(ValueError) as error:
        function(*arguments)
    assert str(error.value) == message
