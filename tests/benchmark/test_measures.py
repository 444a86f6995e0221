"""What results are judged by: by hand, by scikit-learn, and whatever the order."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from hostile import quick
from sfda.benchmark.measures import measured_by


def ap(scores, target):
    return measured_by("11-point mAP", np.array(scores, float)[:, None], np.array(target)[:, None])


def test_accuracies_by_hand():
    scores = np.array([[3, 1, 1], [0, 5, 9], [2, 2, 1], [0, 0, 1], [9, 0, 0]])
    labels = [0, 1, 1, 2, 2]
    # Predicted 0, 2, 0 (the first of two equals), 2, 0.
    assert measured_by("accuracy", scores, labels) == 2 / 5
    assert measured_by("mean per-class accuracy", scores, labels) == pytest.approx((1 + 0 + 1 / 2) / 3, abs=1e-15)
    # A class without images has no accuracy; one that is only predicted neither.
    assert measured_by("mean per-class accuracy", scores[:3, :], labels[:3]) == (1 + 0) / 2
    found = measured_by("mean per-class accuracy", torch.tensor(scores).float(), torch.tensor(labels))
    assert found == pytest.approx(1 / 2) and type(found) is float


def test_average_precision_by_hand():
    scores, target = [0.9, 0.8, 0.7, 0.6, 0.5], [0, 1, 1, 0, 1]
    # Precision 0, 1/2, 2/3, 1/2, 3/5 at recall 0, 1/3, 2/3, 2/3, 1: the best is 2/3 up to 0.6, then 3/5.
    expected = (7 * 2 / 3 + 4 * 3 / 5) / 11
    assert ap(scores, target) == pytest.approx(expected, abs=1e-15) and type(ap(scores, target)) is float
    # Two classes: their mean. The second one is ranked perfectly.
    targets = np.array([target, [1, 0, 1, 0, 0]]).T
    both = measured_by("11-point mAP", np.array([scores, [3, 1, 2, 0, 0]]).T, targets)
    assert both == pytest.approx((expected + 1) / 2, abs=1e-15)
    # The first image is difficult, hence left out: precision 1, 1, 2/3, 3/4.
    assert ap(scores, [-1, *target[1:]]) == pytest.approx((7 * 1 + 4 * 3 / 4) / 11, abs=1e-15)
    # Recall is compared exactly. Of ten images that show it, three come first, then two that do not, and the others:
    # at the recall 0.3 the precision is still 1, though 3 * 0.1 exceeds 3 / 10.
    assert ap(-np.arange(12.0), [1, 1, 1, 0, 0] + [1] * 7) == pytest.approx((4 + 7 * 10 / 12) / 11, abs=1e-15)


# Scores, with ties, and targets of the images, of which one at least shows the class.
rankings = (
    st.lists(st.tuples(st.integers(-5, 5), st.sampled_from([1, 0, -1])), min_size=2, max_size=40)
    .map(lambda rows: tuple(map(list, zip(*rows))))
    .filter(lambda both: 1 in both[1])
)


@quick(100)
@given(rankings, st.randoms(use_true_random=False))
def test_average_precision_of_any_ranking(both, random):
    """The definition, in fractions: at every threshold, precision and recall of the images above it."""
    scores, target = both
    judged = [(score, shown) for score, shown in zip(*both) if shown >= 0]
    curve = []
    for threshold in {score for score, _ in judged}:
        above = [shown for score, shown in judged if score >= threshold]
        curve.append((Fraction(sum(above), sum(s for _, s in judged)), Fraction(sum(above), len(above))))
    best = [max(precision for recall, precision in curve if recall >= Fraction(k, 10)) for k in range(11)]
    found = ap(scores, target)
    assert found == pytest.approx(float(sum(best) / 11), abs=1e-12)
    # The order alone counts.
    order = random.sample(range(len(scores)), len(scores))
    other = ap([np.exp(scores[i] / 3) - 7 for i in order], [target[i] for i in order])
    assert other == pytest.approx(found, abs=1e-12)
    assert ap([*scores, 99, -99], [*target, -1, -1]) == found  # difficult images do not
    assert ap(target, target) == 1


@quick(100)
@given(st.lists(st.tuples(st.tuples(*[st.floats(-3, 3)] * 4), st.integers(0, 3)), min_size=1, max_size=30))
def test_accuracies_and_scikit_learn(rows):
    scores, labels = map(np.array, zip(*rows))
    predicted = scores.argmax(1)
    assert measured_by("accuracy", scores, labels) == pytest.approx(accuracy_score(labels, predicted), abs=1e-12)
    # scikit-learn warns of predicted classes that no image is of, and leaves them out too.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = balanced_accuracy_score(labels, predicted)
    assert measured_by("mean per-class accuracy", scores, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("name", "scores", "labels", "message"), [
    ("mAP", np.eye(2), [0, 1], "name: expected one of accuracy, .*, got 'mAP'"),
    ("accuracy", np.eye(2)[0], [0, 1], "scores: expected 2 dimensions"),
    ("accuracy", np.zeros((0, 2)), [], "scores: "),
    ("accuracy", np.array([[1, np.nan], [0, 1]]), [0, 1], "scores: expected finite numbers, found NaN"),
    ("accuracy", np.eye(2), [0, 1, 1], r"labels: expected the shape \(2,\) for the accuracy, got \(3,\)"),
    ("accuracy", np.eye(2), np.eye(2, dtype=int), r"labels: expected the shape \(2,\)"),
    ("accuracy", np.eye(2), [0, 2], "labels: expected integers from 0 to 1, got others"),
    ("accuracy", np.eye(2), [-1, 1], "labels: expected integers from 0 to 1"),
    ("mean per-class accuracy", np.eye(2), [0.0, 1.0], "labels: expected integers from 0 to 1"),
    ("11-point mAP", np.eye(2), [0, 1], r"labels: expected the shape \(2, 2\) for the 11-point mAP, got"),
    ("11-point mAP", np.eye(2), [[0, 1], [2, 0]], r"labels: expected 1 \(shown\), 0 \(not\) or -1"),
    ("11-point mAP", np.eye(2), [[1, 0], [1, -1]], "labels: expected images that show class 1"),
])  # fmt: skip
def test_bad_input_to_the_measures(name, scores, labels, message):
    with pytest.raises(ValueError, match=message):
        measured_by(name, scores, labels)
