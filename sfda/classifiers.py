"""Accuracy of simple classifiers on the features, as scores of the network.

The plainest rivals: the nearest neighbours, a linear probe, and the
discriminant that SFDA starts from, on the samples it was fitted to or on
samples left out.
"""

import numbers
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sfda.arrays import as_features, as_labels, is_torch, like, matmul, namespace, to_numpy
from sfda.discriminant import check_leave_one_out, check_shrinkage
from sfda.moments import as_labelled, centred, check_squares, tamed
from sfda.scatter import LabelledFeatures, adaptive_shrinkage

BLOCK_BYTES = (2**24, 2**30)  # of distances: on the CPU, on an accelerator


def nearest_neighbours(features, labels, *, k=1):
    """Accuracy of the k nearest neighbours, leaving each sample out in turn.

    A sample is given the class that most of its `k` nearest other samples have,
    by Euclidean distance; among classes with equally many, that of the nearest
    of them.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an
        accelerator is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    k : int, default 1
        From 1 to N - 1.

    Returns
    -------
    float
        In [0, 1]; larger is better.

    Raises
    ------
    ValueError
        Bad input, or a `k` that is not an integer from 1 to N - 1.

    Notes
    -----
    Invariant to translation, rotation and scale. Distances come from inner
    products of the centred features, block by block, so memory does not grow
    with N^2. A sample is never its own neighbour; in public code it may be
    where another one lies in the same place.

    References
    ----------
    As a transferability metric: D. Bolya, R. Mittapalli and J. Hoffman,
    *Scalable Diverse Model Selection for Accessible Transfer Learning*,
    NeurIPS 2021.

    Examples
    --------
    >>> from sfda.classifiers import nearest_neighbours
    >>> nearest_neighbours([[0.0], [1.0], [2.5], [6.0], [7.0]], [0, 0, 1, 1, 1])
    0.8
    """
    x, y, _ = as_labelled(features, labels)
    n = len(x)
    if not isinstance(k, numbers.Integral) or not 1 <= k < n:
        raise ValueError(f"k: expected an integer from 1 to N - 1 = {n - 1}, got {k!r}")
    xp, x = namespace(x), centred(x)
    # Distances up to a constant of the row: |x_j|^2 / 2 - x_i x_j.
    half_squares = xp.einsum("nd,nd->n", x, x) / 2
    check_squares(half_squares.sum(), x)
    correct = 0
    step = max(1, BLOCK_BYTES[is_torch(x)] // (8 * n))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        distances = half_squares - matmul(x[rows], x.T)
        at = xp.arange(len(distances))
        distances[at, at + start] = np.inf
        votes = y[distances.argmin(1)] if k == 1 else _vote(y[_nearest(distances, k)])
        correct += int((votes == y[rows]).sum())
    return correct / n


def linear_probe(features, labels, *, folds=5, strength=1.0, seed=0):
    """Cross-validated accuracy of logistic regression on the standardised features.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. The classifier is
        scikit-learn's: a tensor on an accelerator is copied to the CPU.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes, one of them
        with two samples.
    folds : int, default 5
        At least 2; no more than the largest class has samples are used. Every
        fold holds its share of every class.
    strength : float, default 1.0
        C of :class:`sklearn.linear_model.LogisticRegression`, the inverse of
        the penalty.
    seed : int, default 0
        Of the division into folds. The score depends on it.

    Returns
    -------
    float
        In [0, 1]: the share of all samples whose class was predicted by the
        classifier that had not seen their fold.

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

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.classifiers import linear_probe
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(90) % 3
    >>> X = rng.standard_normal((90, 4)) + np.eye(3, 4)[y]
    >>> linear_probe(X, y) < linear_probe(X + 3 * np.eye(3, 4)[y], y)
    True
    """
    if not isinstance(folds, numbers.Integral) or folds < 2:
        raise ValueError(f"folds: expected an integer of 2 or more, got {folds!r}")
    x = tamed(to_numpy(as_features(features)))
    y, _ = as_labels(labels, len(x))
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


def discriminant_accuracy(
    features, labels, *, posterior="resubstitution", shrinkage=None, strength=5.0
):
    """Accuracy of the regularised Fisher discriminant.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an
        accelerator is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    posterior : {"resubstitution", "leave-one-out"}, default "resubstitution"
        Which discriminant judges a sample: the one fitted to all samples, or
        the one fitted to all others (in closed form, nothing is refitted).
    shrinkage : None, float in [0, 1] or "leave-one-out", default None
        As in :class:`sfda.FisherDiscriminant`, except that None means
        "leave-one-out" where the posterior is that.
    strength : float, default 5.0
        a of the adaptive rule lambda = max(exp(-a sigma), 1e-10).

    Returns
    -------
    float
        In [0, 1]; larger is better. By resubstitution it is 1 whenever N is
        not much larger than D.

    Raises
    ------
    ValueError
        Bad input; no variation within classes; leave-one-out with classes of
        one sample.

    Examples
    --------
    >>> from sfda.classifiers import discriminant_accuracy
    >>> discriminant_accuracy([[0.0], [1.0], [0.8], [2.0], [3.0]], [0, 0, 1, 1, 1])
    0.8
    """
    log_p, y = _log_posterior(features, labels, posterior, shrinkage, strength)
    return float((log_p.argmax(1) == y).sum()) / len(y)


def discriminant_probability(
    features, labels, *, posterior="resubstitution", shrinkage=None, strength=5.0
):
    """Mean probability that the regularised Fisher discriminant gives the labels.

    By resubstitution this is what the SFDA score would be without the
    self-challenge.

    Parameters
    ----------
    features, labels, posterior, shrinkage, strength
        As in :func:`discriminant_accuracy`.

    Returns
    -------
    float
        In (0, 1]; larger is better.

    Raises
    ------
    ValueError
        As :func:`discriminant_accuracy`.

    Examples
    --------
    >>> from sfda.classifiers import discriminant_probability
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0]], [0, 0, 1, 1, 1]
    >>> plain = discriminant_probability(X, y)
    >>> discriminant_probability(X, y, posterior="leave-one-out") < plain
    True
    """
    log_p, y = _log_posterior(features, labels, posterior, shrinkage, strength)
    xp = namespace(log_p)
    return float(xp.exp(log_p[xp.arange(len(y)), y]).mean())


def discriminant_log_likelihood(
    features, labels, *, posterior="resubstitution", shrinkage=None, strength=5.0
):
    """Mean log-probability that the regularised Fisher discriminant gives the labels.

    Parameters
    ----------
    features, labels, posterior, shrinkage, strength
        As in :func:`discriminant_accuracy`.

    Returns
    -------
    float
        In (-inf, 0]; larger is better. -log C is chance where classes are of
        one size.

    Raises
    ------
    ValueError
        As :func:`discriminant_accuracy`.

    Examples
    --------
    >>> from sfda.classifiers import discriminant_log_likelihood
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0]], [0, 0, 1, 1, 1]
    >>> plain = discriminant_log_likelihood(X, y)
    >>> discriminant_log_likelihood(X, y, posterior="leave-one-out") < plain < 0
    True
    """
    log_p, y = _log_posterior(features, labels, posterior, shrinkage, strength)
    return float(log_p[namespace(log_p).arange(len(y)), y].mean())


def _log_posterior(features, labels, posterior, shrinkage, strength):
    """Log-probabilities of the classes (N, C), and the classes (N,)."""
    if posterior not in ("resubstitution", "leave-one-out"):
        raise ValueError(
            f"posterior: expected 'resubstitution' or 'leave-one-out', got {posterior!r}"
        )
    check_shrinkage(shrinkage, strength)
    x = as_features(features)
    y, classes = as_labels(labels, len(x))
    left_out = posterior == "leave-one-out"
    if shrinkage is None and left_out:
        shrinkage = "leave-one-out"
    if left_out or shrinkage == "leave-one-out":
        check_leave_one_out(np.bincount(y), classes)
    y = like(y, x)
    split = LabelledFeatures.from_features(x, y, len(classes))
    if shrinkage is None:
        shrinkage = adaptive_shrinkage(split.largest_eigenvalue, strength)
    elif shrinkage == "leave-one-out":
        shrinkage = split.choose_shrinkage()
        if not left_out:
            # The search has rotated the samples away from their scatter.
            split = LabelledFeatures.from_features(x, y, len(classes))
    judge = split.leave_one_out if left_out else split.log_posterior
    return judge(float(shrinkage)), y


def _nearest(distances, k):
    """Columns of the k smallest entries of each row, the smallest first."""
    if namespace(distances) is not np:
        return distances.topk(k, dim=1, largest=False).indices
    nearest = np.argpartition(distances, k - 1, axis=1)[:, :k]
    order = np.take_along_axis(distances, nearest, 1).argsort(1, kind="stable")
    return np.take_along_axis(nearest, order, 1)


def _vote(votes):
    """Most frequent entry of each row, the first one among equals."""
    xp = namespace(votes)
    counts = (votes[:, :, None] == votes[:, None, :]).sum(2)
    # The order of the columns decides among equal counts, which torch's argmax
    # alone does not promise.
    k = votes.shape[1]
    first = (counts * (k + 1) - like(np.arange(k), votes)).argmax(1)
    return votes[xp.arange(len(votes)), first]
