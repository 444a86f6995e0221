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


def test_confmix_by_hand():
    X = [[0.0], [2.0], [10.0], [10.0], [20.0]]
    y = ["a", "a", "b", "b", "c"]
    # class means 1, 10, 20; the other classes' means 15, 10.5, 5.5
    mixed = confmix(X, y, [1.0, 0.0, 0.5, 1.0, 0.0])
    assert mixed[:, 0].tolist() == [0.0, 15.0, 10.25, 10.0, 5.5]


def test_full_and_no_confidence():
    y = np.arange(20) % 3
    X = gaussian_classes(0, y, 4)
    assert np.array_equal(confmix(X, y, np.ones(20)), X)
    others = literal.other_means(literal.class_means(X, y))
    assert confmix(X, y, np.zeros(20)) == pytest.approx(others[y], abs=1e-14)


@pytest.mark.parametrize("C", [2, 3, 10, 100])
def test_closed_form_of_what_a_sample_keeps(C):
    # Class means that sum to zero: of x = mu + r, ConfMix leaves p r and
    # (p - (1 - p) / (C - 1)) mu.
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
    sure = np.zeros((C, C))
    sure[:, 0] = 1.0
    unsure = np.full((C, C), 1 / C)
    labels = np.arange(C)

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
    expected = sum(
        p[:, [c]] * (soft[:, [c]] * X + (1 - soft[:, [c]]) * others[c]) for c in range(C)
    )
    assert expected_confmix(X, y, p) == pytest.approx(expected, abs=1e-12)


def test_expected_confmix_of_a_sure_posterior_is_confmix():
    y = np.arange(20) % 4
    X = gaussian_classes(3, y, 6)
    p = np.eye(4)[y]
    expected = confmix(X, y, confidence_of(p, y))
    assert expected_confmix(X, y, p) == pytest.approx(expected, abs=1e-12)


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


@pytest.mark.parametrize(
    ("confidence", "message"),
    [
        ([0.5] * 5, "confidence: expected shape (6,), got (5,)"),
        (0.5, "confidence: expected shape (6,), got ()"),
        ([0.5, 0.5, 1.5, 0.5, -1, 0], "confidence: expected values in [0, 1], found 1.5 in row 2"),
        ([0.5] * 5 + [np.nan], "confidence: expected values in [0, 1], found nan in row 5"),
        ([1j] * 6, "confidence: expected numbers, got list: Complex data not supported"),
    ],
)
def test_bad_confidence(confidence, message):
    with pytest.raises(ValueError) as error:
        confmix(np.eye(6), [0, 1] * 3, confidence)
    assert str(error.value) == message


def test_bad_posterior():
    with pytest.raises(ValueError, match=r"^posterior: expected 6 rows, got 5$"):
        expected_confmix(np.eye(6), [0, 1] * 3, np.full((5, 2), 0.5))
    with pytest.raises(ValueError, match="^posterior: expected rows of probabilities that sum to 1, found otherwise in row 2$"):
        expected_confmix(np.eye(6), [0, 1] * 3, np.repeat([[0.5, 0.5], [0.5, 0.6]], [2, 4], 0))
    with pytest.raises(ValueError, match=r"^features: expected numbers of at most 1e\+75 in size, found 1\.7e\+308 in row 0; rescale them$"):
        expected_confmix(np.full((6, 2), 1.7e308), [0, 1] * 3, np.full((6, 2), 0.5))
    with pytest.raises(ValueError, match="^confidence: expected real numbers, got dtype object$"):
        confmix(np.eye(2), [0, 1], [10**400, 0])
    with pytest.raises(ValueError, match=r"^posterior: expected 2 columns, one a class, got 3$"):
        expected_confmix(np.eye(6), [0, 1] * 3, np.full((6, 3), 1 / 3))
    with pytest.raises(ValueError, match=r"^posterior: expected 2 columns, one a class, got 3$"):
        confidence_of(np.full((6, 3), 1 / 3), [0, 1] * 3)
