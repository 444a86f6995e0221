"""ConfMix against its definition and its closed form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import literal
from data_sets import alike, gaussian_classes, labelled_features
from sfda import confmix
from sfda.metric.challenge import confidence_of, expected_confmix


@given(labelled_features(max_classes=10), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_confmix_and_its_mean_over_labels_equal_their_definitions(data, seed):
    X, y = data
    rng = np.random.default_rng(seed)
    C, full = y.max() + 1, np.ones(len(y))
    for confidence in (rng.random(len(y)), full, 0 * full):
        alike(confmix(X, y, confidence), literal.confmix(X, y, confidence), atol=1e-12)
    assert np.array_equal(confmix(X, y, full), X)
    p = literal.softmax(3 * rng.standard_normal((len(y), C)))
    soft, others = literal.softmax(p), literal.other_means(literal.class_means(X, y))
    expected = sum(p[:, [c]] * (soft[:, [c]] * X + (1 - soft[:, [c]]) * others[c]) for c in range(C))
    alike(expected_confmix(X, y, p), expected, atol=1e-12)
    sure = np.eye(C)[y]  # of the label: the same as ConfMix
    alike(expected_confmix(X, y, sure), confmix(X, y, confidence_of(sure, y)), atol=1e-12)


def test_confmix_by_hand():
    # Class means 1, 10, 20; the other classes' means 15, 10.5, 5.5.
    mixed = confmix([[0.0], [2.0], [10.0], [10.0], [20.0]], ["a", "a", "b", "b", "c"], [1.0, 0.0, 0.5, 1.0, 0.0])
    assert mixed[:, 0].tolist() == [0.0, 15.0, 10.25, 10.0, 5.5]


@pytest.mark.parametrize("C", [2, 3, 10, 100, 1000])
def test_closed_form_of_what_a_sample_keeps(C):
    # Class means that sum to zero: of x = mu + r, ConfMix leaves p r and (p - (1 - p) / (C - 1)) mu.
    y = np.repeat(np.arange(C), 4)
    X = gaussian_classes(1, y, 5)
    mu = literal.class_means(X, y)
    X, mu = X - mu.mean(0), mu - mu.mean(0)
    p = np.random.default_rng(2).random(len(y))
    offset = p - (1 - p) / (C - 1)
    alike(confmix(X, y, p), p[:, None] * (X - mu[y]) + offset[:, None] * mu[y], atol=1e-12)

    def kept(confidence):
        return 1 - (1 - confidence) / (confidence * (C - 1))

    # So a sure sample keeps 1 - 1/e for every number of classes.
    labels = np.arange(C)
    right, wrong = confidence_of(np.eye(C)[np.zeros(C, int)], labels)[:2]
    assert right == pytest.approx(math.e / (C - 1 + math.e), rel=1e-12)
    assert wrong == pytest.approx(1 / (C - 1 + math.e), rel=1e-12)
    assert kept(right) == pytest.approx(1 - 1 / math.e, rel=1e-9)
    assert kept(confidence_of(np.full((C, C), 1 / C), labels)[0]) == pytest.approx(0, abs=1e-9)
    assert kept(wrong) == pytest.approx((1 - math.e) / (C - 1), rel=1e-9)


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
    assert type(mixed) is type(X) and str(mixed.dtype).endswith(dtype.replace("int", "float"))
    assert (X == before).all()
    assert np.asarray(mixed) == pytest.approx(expected, rel=1e-3)


X, Y = np.eye(6), [0, 1] * 3
HALF = np.full((6, 2), 0.5)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (confmix, (X, Y, [0.5] * 5), "confidence: expected shape (6,), got (5,)"),
        (confmix, (X, Y, 0.5), "confidence: expected shape (6,), got ()"),
        (confmix, (X, Y, [0.5, 0.5, 1.5, 0.5, -1, 0]), "confidence: expected values in [0, 1], found 1.5 in row 2"),
        (confmix, (X, Y, [0.5] * 5 + [np.nan]), "confidence: expected values in [0, 1], found nan in row 5"),
        (confmix, (X, Y, [1j] * 6), "confidence: expected numbers, got list: Complex data not supported"),
        (confmix, (X, Y, [10**400] + [0] * 5), "confidence: expected real numbers, got dtype object"),
        (expected_confmix, (X, Y, HALF[:5]), "posterior: expected 6 rows, got 5"),
        (expected_confmix, (X, Y, HALF + np.c_[np.zeros(6), Y] / 10), "posterior: expected rows of probabilities that sum to 1, found otherwise in row 1"),
        (expected_confmix, (HALF * 2e76, Y, HALF), "features: expected numbers of at most 1e+75 in size, found 1e+76 in row 0; rescale them"),
        (expected_confmix, (X, Y, np.full((6, 3), 1 / 3)), "posterior: expected 2 columns, one a class, got 3"),
        (confidence_of, (np.full((6, 3), 1 / 3), Y), "posterior: expected 2 columns, one a class, got 3"),
    ],
)  # fmt: skip
def test_bad_input(function, arguments, message):
    with pytest.raises(ValueError) as error:
        function(*arguments)
    assert str(error.value) == message
