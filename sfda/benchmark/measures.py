"""What results are judged by, as the paper judges them."""

import numpy as np

from sfda.metric import inputs, linalg

MEASURES = ("accuracy", "mean per-class accuracy", "11-point mAP")


def measured_by(name, scores, labels):
    """How right the scores of the classes are, between 0 and 1, as the paper measures it.

    Parameters
    ----------
    name : {"accuracy", "mean per-class accuracy", "11-point mAP"}
        Share of images whose own class has the largest score (the first one, of equals); mean over the classes of
        that share; mean over the classes of the average precision.
    scores : array-like of shape (M, C)
        Probabilities, logits or whatever else orders them; NumPy or torch.
    labels : array-like of shape (M,)
        Integers from 0 to C - 1. For the 11-point mAP: targets (M, C), 1 where a class is shown, 0 where not, -1
        where it is shown by difficult objects only.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        No such measure, shapes that do not fit, scores that are not finite, other labels or, for the mAP, a class
        that no image shows.

    Notes
    -----
    The mean per-class accuracy leaves out classes that no image is of.

    The average precision of a class is that of VOC 2007 (its development kit, function VOCevalcls): images are
    ordered by their score for the class; difficult ones are left out; of the recalls 0, 0.1, ..., 1 the mean of the
    best precision at this recall or higher. Images of equal score count as found together. The paper's public code
    differs in two ways: it leaves no image out, and its precision at recall 0 is always 1, since scikit-learn's
    curve, which it takes it from, ends there.

    Examples
    --------
    >>> from sfda.benchmark.measures import measured_by
    >>> scores, labels = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], [0, 1, 1]
    >>> measured_by("accuracy", scores, labels)
    0.6666666666666666
    >>> measured_by("mean per-class accuracy", scores, labels)
    0.75
    """
    if name not in MEASURES:
        raise ValueError(f"name: expected one of {', '.join(MEASURES)}, got {name!r}")
    scores, labels = inputs.as_features(linalg.to_numpy(scores), name="scores"), linalg.to_numpy(labels)
    shape = scores.shape if name == "11-point mAP" else scores.shape[:1]
    if labels.shape != shape:
        raise ValueError(f"labels: expected the shape {shape} for the {name}, got {labels.shape}")
    if name == "11-point mAP":
        return _mean_average_precision(scores, labels)
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(f"labels: expected integers from 0 to {scores.shape[1] - 1}, got others")
    right = scores.argmax(1) == labels
    if name == "accuracy":
        return float(right.mean())
    count = np.bincount(labels)
    return float(np.mean(np.bincount(labels, right)[count > 0] / count[count > 0]))


def _mean_average_precision(scores, targets):
    if not np.isin(targets, (-1, 0, 1)).all():
        raise ValueError("labels: expected 1 (shown), 0 (not) or -1 (difficult), got others")
    if (unseen := ~(targets == 1).any(0)).any():
        raise ValueError(f"labels: expected images that show class {np.flatnonzero(unseen)[0]}, found none")
    return float(np.mean([_average_precision(*both) for both in zip(scores.T, targets.T)]))


def _average_precision(scores, target):
    scores, shown = scores[target >= 0], target[target >= 0] == 1
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of each group of equal scores
    found = np.cumsum(shown[order])[last]
    precision = found / (np.flatnonzero(last) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or higher
    # In whole numbers, as a recall of 3 / 10 is below 3 * 0.1.
    return best[np.searchsorted(10 * found, np.arange(11) * shown.sum())].mean()
