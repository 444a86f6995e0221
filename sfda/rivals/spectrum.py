"""What the spectrum of the features says without labels: how many directions they fill, and how fast it decays."""

import math

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from sfda.metric.inputs import as_features
from sfda.metric.linalg import is_torch, namespace, to_numpy
from sfda.rivals.moments import EPS, as_labelled, centred, column_units, smaller_gram

EPSILON = 1e-7  # of RankMe
FIRST, LAST = 4, 100  # eigenvalues that alpha-ReQ's code fits, counted from 1


def effective_rank(features: ArrayLike, labels: ArrayLike | None = None) -> float:
    """RankMe: how many directions the features fill.

    .. math:: \\exp\\Big(-\\sum_k p_k \\log p_k\\Big), \\qquad p_k = \\sigma_k / \\sum_j \\sigma_j + 10^{-7}

    for the min(N, D) singular values of X, which is not centred.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an accelerator is scored there.
    labels : ignored
        Taken so that it can be called like other metrics, and checked where they are given.

    Returns
    -------
    float
        From 1 to min(N, D), but for the 1e-7; larger is better.

    Raises
    ------
    ValueError
        Bad input, or features that are all zero.

    Notes
    -----
    It does not look at the labels. Invariant to rotation and scale; not to translation, for the mean is a direction
    like any other. It is at most N: with few samples it measures their number as well. (Its authors take 25,600.)
    Eigenvalues of the smaller of X'X and X X' take the place of a singular value decomposition. Those up to max(N, D)
    times the machine precision of the largest are rounding errors and count as zero: singular values below some 1e-7
    of the largest are not seen.

    References
    ----------
    Q. Garrido, R. Balestriero, L. Najman and Y. LeCun, *RankMe: Assessing the Downstream Performance of Pretrained
    Self-Supervised Representations by Their Rank*, ICML 2023.

    Examples
    --------
    >>> from sfda.rivals.spectrum import effective_rank
    >>> three = [[1, 0], [0, 1]], [[1, 0], [0, 0.1]], [[1, 2], [2, 4]]
    >>> [round(effective_rank(x), 3) for x in three]
    [2.0, 1.356, 1.0]
    """
    x = _checked(features, labels)
    xp, largest = namespace(x), max(float(x.max()), -float(x.min()))
    if not largest:
        raise ValueError("features: expected a value other than zero")
    s = _eigenvalues(x / largest)
    roots = xp.where(s > _rounding(s, x.shape), s, 0.0) ** 0.5
    p = roots / roots.sum() + EPSILON
    return math.exp(-float((p * xp.log(p)).sum()))


def alpha_req(features: ArrayLike, labels: ArrayLike | None = None) -> float:
    """alpha-ReQ: how near the eigenvalues of the covariance decay to 1 / k.

    The score is -\\|alpha - 1\\|, for eigenvalues that are proportional to k^-alpha. alpha is fitted to their
    logarithms.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an accelerator is scored there.
    labels : ignored
        Taken so that it can be called like other metrics, and checked where they are given.

    Returns
    -------
    float
        At most 0; larger is better.

    Raises
    ------
    ValueError
        Bad input, features that are the same in every row, or that vary in one direction only, which has no slope.

    Notes
    -----
    It does not look at the labels. Invariant to translation, rotation and scale. The paper finds intervals of alpha,
    about 1, in which networks do well: where the spectrum decays more slowly, noise has a share like that of signal;
    where faster, few directions are left. It states no rule to choose by; the absolute difference is ours.

    The fit is that of the authors' code, by least squares with weights 1 / k, over the eigenvalues from the fourth to
    the hundredth; the paper says neither. Where there are fewer, over those that there are, and at least the last
    two. Eigenvalues up to max(N, D) times the machine precision of the largest are rounding errors and left out.

    References
    ----------
    K. K. Agrawal, A. K. Mondal, A. Ghosh and B. Richards, *alpha-ReQ: Assessing Representation Quality in
    Self-Supervised Learning by measuring eigenspectrum decay*, NeurIPS 2022. The fit is that of C. Stringer et al.,
    *High-dimensional geometry of population responses in visual cortex*, Nature 571, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.rivals.spectrum import alpha_req
    >>> axes = np.vstack([np.eye(8), -np.eye(8)])
    >>> k = np.arange(1, 9)
    >>> three = [axes * k ** (-alpha / 2) for alpha in (0.5, 1, 3)]
    >>> [round(alpha_req(x), 6) for x in three]
    [-0.5, -0.0, -2.0]
    """
    x = centred(_checked(features, labels))
    xp = namespace(x)
    x /= column_units(xp.maximum(x.max(), -x.min()))
    x -= x.mean(0)  # before, it was zero to the digits of an offset only
    s = _eigenvalues(x)
    s = np.sort(to_numpy(s[s > _rounding(s, x.shape)]))[::-1]
    if len(s) < 2:
        raise ValueError("features: expected variation in at least 2 directions, found 1")
    k = np.arange(min(FIRST, len(s) - 1), min(LAST, len(s)) + 1)
    log_k, log_s = np.log(k), np.log(s[k - 1])
    log_k -= np.average(log_k, weights=1 / k)
    alpha = -(log_k / k) @ log_s / ((log_k / k) @ log_k)
    return -abs(float(alpha) - 1)


def _checked(features, labels):
    return as_features(features) if labels is None else as_labelled(features, labels)[0]


def _eigenvalues(x):
    """Of the smaller of X'X and X X', the smallest first."""
    g = smaller_gram(x)
    if is_torch(g):
        return namespace(g).linalg.eigvalsh(g)
    return scipy.linalg.eigvalsh(g, overwrite_a=True, check_finite=False)


def _rounding(s, shape):
    return s[-1] * (max(shape) * EPS)
