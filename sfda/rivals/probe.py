"""The linear probe: cross-validated accuracy of logistic regression."""

import numbers
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sfda.metric.linalg import to_numpy
from sfda.rivals.moments import as_labelled


def linear_probe(features, labels, *, folds=5, strength=1.0, seed=0):
    """Cross-validated accuracy of logistic regression on the standardised features.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. The classifier is scikit-learn's: a tensor on an
        accelerator is copied to the CPU.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes, one of them with two samples.
    folds : int, default 5
        At least 2; no more than the largest class has samples are used. Every fold holds its share of every
        class.
    strength : float, default 1.0
        C of :class:`sklearn.linear_model.LogisticRegression`, the inverse of the penalty.
    seed : int, default 0
        Of the division into folds. The score depends on it.

    Returns
    -------
    float
        In [0, 1]: the share of all samples whose class was predicted by the classifier that had not seen their
        fold.

    Raises
    ------
    ValueError
        Bad input.

    Notes
    -----
    Classes smaller than `folds` are missing from the test samples of some
    folds; a class of one sample is always missed. Standardisation is learnt
    from the training samples of each fold. Iteration stops after 1000 rounds,
    converged or not.

    References
    ----------
    G. Alain and Y. Bengio, Understanding intermediate layers using linear classifier probes, ICLR workshop 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.rivals.probe import linear_probe
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(90) % 3
    >>> X = rng.standard_normal((90, 4)) + np.eye(3, 4)[y]
    >>> linear_probe(X, y) < linear_probe(X + 3 * np.eye(3, 4)[y], y)
    True
    """
    if not isinstance(folds, numbers.Integral) or folds < 2:
        raise ValueError(f"folds: expected an integer of 2 or more, got {folds!r}")
    x, y = (to_numpy(a) for a in as_labelled(features, labels)[:2])
    largest = int(np.bincount(y).max())
    if largest < 2:
        raise ValueError("labels: expected two samples of one class, found none")
    splits = StratifiedKFold(min(folds, largest), shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
    correct = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for train, test in splits.split(x, y):
            seen = y[train]
            # All other classes may be in the test fold.
            one_class = (seen == seen[0]).all()
            predicted = seen[0] if one_class else model.fit(x[train], seen).predict(x[test])
            correct += int((predicted == y[test]).sum())
    return correct / len(x)
