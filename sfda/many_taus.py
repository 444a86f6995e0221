"""Weighted tau of many rankings at once: what resampling asks for thousands of times."""

import numpy as np


def weighted_taus(scores, accuracies):
    """:func:`sfda.ranking.weighted_tau` along the last axis, of all rankings in one go.

    Parameters
    ----------
    scores, accuracies : ndarrays of shape (..., n)
        Larger is better. The other axes are broadcast against each other.

    Returns
    -------
    ndarray of shape (...)
        NaN where tau is not defined, for n scores or n accuracies that are all equal.
    """
    x, y = np.broadcast_arrays(scores, accuracies)
    signs = [np.sign(a[..., :, None] - a[..., None, :]) for a in (x, y)]
    total = 0
    for first, second in ((x, y), (y, x)):
        # Ranks from the best, equal values in the order of the other argument.
        order = np.lexsort((second, first), axis=-1)[..., ::-1]
        importance = 1 / (np.argsort(order, axis=-1) + 1)
        weight = importance[..., :, None] + importance[..., None, :]
        norm = [np.sqrt((weight * sign**2).sum((-2, -1))) for sign in signs]
        with np.errstate(invalid="ignore"):
            total = total + (weight * signs[0] * signs[1]).sum((-2, -1)) / (norm[0] * norm[1])
    return total / 2
