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
    # A pair's weight is the sum of its two networks' importances, so each network needs one sum over its pairs.
    agreement, *untied = (
        np.einsum("...ij,...ij->...i", a, b) for a, b in (signs, signs[:1] * 2, signs[1:] * 2)
    )
    total = 0
    for first, second in ((x, y), (y, x)):
        # Ranks from the best, equal values in the order of the other argument.
        order = np.lexsort((second, first), axis=-1)[..., ::-1]
        importance = 1 / (np.argsort(order, axis=-1) + 1)
        norm = [(importance * each).sum(-1) for each in untied]
        with np.errstate(invalid="ignore"):
            total = total + (importance * agreement).sum(-1) / np.sqrt(norm[0] * norm[1])
    return total / 2
