"""The accuracy of the nearest neighbours: the plainest rival."""

import numbers

import numpy as np

from sfda.metric.linalg import is_torch, like, matmul, namespace
from sfda.rivals.moments import as_labelled, centred, standardised

BLOCK_BYTES = (2**24, 2**30)  # of distances: on the CPU, on an accelerator
SEVERAL = 10  # neighbours, where their number is left to us


def nearest_neighbours(features, labels, *, k=1, standardise=False):
    """Accuracy of the k nearest neighbours, leaving each sample out in turn.

    A sample is given the class that most of its `k` nearest other samples have, by Euclidean distance; among
    classes with equally many, that of the nearest of them.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an accelerator is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    k : int or None, default 1
        From 1 to N - 1. None means 10, fewer where there are not so many others: the best of 1, 3, 5 and 10 for
        standardised features on the development tasks of the pocket benchmark.
    standardise : bool, default False
        True brings each feature to variance 1 first, over all samples, so that none counts for more than others.

    Returns
    -------
    float
        In [0, 1]; larger is better.

    Raises
    ------
    ValueError
        Bad input, or a `k` that is not an integer from 1 to N - 1; to standardise, features that are the same in
        every row.

    Notes
    -----
    Invariant to translation, rotation and scale; standardised, to translation and the units of the features.
    Distances come from inner
    products of the centred features, block by block, so memory does not grow
    with N^2. A sample is never its own neighbour; in public code it may be
    where another one lies in the same place.

    References
    ----------
    T. M. Cover and P. E. Hart, Nearest neighbor pattern classification, IEEE Transactions on Information Theory 13,
    1967. As a transferability metric: D. Bolya, R. Mittapalli and J. Hoffman,
    *Scalable Diverse Model Selection for Accessible Transfer Learning*,
    NeurIPS 2021.

    Examples
    --------
    >>> from sfda.rivals.neighbours import nearest_neighbours
    >>> X, y = [[0.0], [1.0], [2.5], [6.0], [7.0]], [0, 0, 1, 1, 1]
    >>> nearest_neighbours(X, y)
    0.8
    """
    x, y, _ = as_labelled(features, labels)
    n = len(x)
    k = min(SEVERAL, n - 1) if k is None else k
    if not isinstance(k, numbers.Integral) or not 1 <= k < n:
        raise ValueError(f"k: expected an integer from 1 to N - 1 = {n - 1}, got {k!r}")
    xp, x = namespace(x), standardised(x) if standardise else centred(x)
    # Distances up to a constant of the row: |x_j|^2 / 2 - x_i x_j.
    half_squares = xp.einsum("nd,nd->n", x, x) / 2
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
