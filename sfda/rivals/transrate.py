"""TransRate: how much of the features' coding rate is between the classes."""

import math
import numbers

import numpy as np

from sfda.metric.linalg import cholesky, like, namespace, to_numpy
from sfda.rivals.moments import EPS, as_labelled, centred, column_units, eigh_of_rank, smaller_gram

ROUNDING = 1e-6  # of TransRate's matrices, beside 1


def transrate(features, labels, *, epsilon=1e-4, normalised=False):
    """TransRate: the coding rate of all features less that of the classes.

    .. math:: R(X - m) - \\frac1C \\sum_c R(X_c - m), \\qquad
              R(Z) = \\tfrac12 \\log\\det\\Big(I + \\frac{Z'Z}{n\\,\\epsilon}\\Big)

    for the n rows of Z.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an accelerator is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    epsilon : float, default 1e-4
        Distortion.
    normalised : bool, default False
        False is the form of the Transfer-Learning-Library. True divides the centred features by their Frobenius
        norm and weights the classes' rates by N_c / N, which makes the score independent of scale and at least
        0.

    Returns
    -------
    float
        Larger is better. Not bounded, and negative for some features, unless `normalised`.

    Raises
    ------
    ValueError
        Bad input, or an `epsilon` that is not positive or that the features exceed by 1e300.

    Notes
    -----
    Class features are centred by the mean of all samples, and every
    determinant is that of the smaller of Z'Z and ZZ': they are equal.
    The plain form depends strongly on the scale of the features. It is the code that the paper prints. In single
    precision that code is off by up to 1 %.

    The paper's experiments have another (https://github.com/Long-Kai/TransRate): the features of a projection on
    the classes' means, or with rows of length 1, classes weighted by N_c / N, rates divided by the rank, and an
    epsilon that was chosen for each target, from 7e-3 to 2e-2. Neither form here gives those numbers.

    References
    ----------
    L.-K. Huang et al., *Frustratingly Easy Transferability Estimation*, ICML 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.rivals.transrate import transrate
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(90) % 3
    >>> noise = rng.standard_normal((90, 4))
    >>> signal = np.eye(3, 4)[y]
    >>> transrate(noise + signal, y) < transrate(noise + 5 * signal, y)
    True
    """
    if not isinstance(epsilon, numbers.Real) or not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon: expected a finite number > 0, got {epsilon!r}")
    x, y, n_classes = as_labelled(features, labels)
    n, x = len(x), centred(x)
    whole = smaller_gram(x)
    if normalised:
        epsilon = epsilon * float(column_units(whole.diagonal().sum()))
    counts = np.bincount(to_numpy(y), minlength=n_classes)
    x, ends = x[like(np.argsort(to_numpy(y), kind="stable"), x)], counts.cumsum()
    rates = np.array([_rate(smaller_gram(x[end - k : end]), k * epsilon) for end, k in zip(ends, counts)])
    weights = counts / n if normalised else np.full(n_classes, 1 / n_classes)
    return _rate(whole, n * epsilon) - float(weights @ rates)


def _rate(g, scale):
    """1/2 log det(I + g / scale), from the diagonal of a Cholesky factor."""
    xp, trace = namespace(g), float(g.diagonal().sum())
    if trace * 1e-300 > scale:
        raise ValueError("epsilon: too small beside the features; rescale them")
    a = g / scale
    if trace * EPS > ROUNDING * scale:
        # Beside the 1 the rounding errors of directions without variance would count.
        s, _ = eigh_of_rank(a, a.shape)
        return float(xp.log1p(s).sum()) / 2
    diagonal = xp.arange(len(a))
    a[diagonal, diagonal] += 1
    return float(xp.log(cholesky(a).diagonal()).sum())
