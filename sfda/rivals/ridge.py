"""Ridge regression of the classes, judged on samples that are left out: on the features, and on a kernel of them.

Notation: K = X X', with x_n less the mean of all samples, or a kernel matrix, centred too; s_k and u_k are its
eigenvalues above zero and their vectors. T (N, C) is 1 at a sample's own class, 0 elsewhere. The intercept is not
penalised, so that with a ridge tau the fit is F = H T,

    H = 1 1'/N + sum_k s_k / (s_k + tau) u_k u_k'

and the fit without sample n gives it f_-n = t_n - (t_n - f_n) / (1 - H_nn): one eigendecomposition serves all
samples, classes and ridges.
"""

import numbers
import warnings

import numpy as np
from numpy.typing import ArrayLike

from sfda.metric.linalg import class_sums, like, matmul, namespace, row_blocks, to_numpy
from sfda.rivals.moments import as_labelled, centred, column_units, eigh_of_rank, smaller_gram, standardised, whole_gram

RIDGES = 10.0 ** np.arange(1, -6.5, -0.5)  # in units of the trace of K
KERNEL_SAMPLES = 2000


class SampleWarning(UserWarning):
    """The score is that of some of the samples."""


def left_out_ridge(features: ArrayLike, labels: ArrayLike, *, standardise: bool = False) -> float:
    """Accuracy of ridge regression on the classes, leaving each sample out in turn.

    One linear function a class, with an intercept, is fitted to 1 for its samples and 0 for all others (-1 and 1 give
    the same); a sample is given the class whose function is largest. The ridge is that of the smallest mean squared
    error of the samples that are left out, one for all classes.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an accelerator is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    standardise : bool, default False
        True brings each feature to variance 1 first, over all samples. It ranked no better on the development tasks
        of the pocket benchmark, and rotations matter then.

    Returns
    -------
    float
        In [0, 1]; larger is better. A class of one sample is always missed.

    Raises
    ------
    ValueError
        Bad input, or features that are the same in every row.

    Notes
    -----
    Nothing is fitted twice: every left-out fit follows from the diagonal of the hat matrix, exactly, with the ridge
    held fixed. For N < D everything is N x N. The ridges are 15, from 10 to 1e-6 times the total scatter of the
    features; a smaller one is preferred only where its error is lower by more than a billionth. Invariant to
    translation, rotation and scale; standardised, to translation and the units of the features.

    References
    ----------
    D. M. Allen, *The Relationship Between Variable Selection and Data Augmentation and a Method for Prediction*,
    Technometrics 16, 1974, for the left-out error.

    Examples
    --------
    >>> from sfda.rivals.ridge import left_out_ridge
    >>> left_out_ridge([[0.0], [1.0], [2.5], [6.0], [7.0]], [0, 0, 1, 1, 1])
    0.8
    """
    x, y, n_classes = as_labelled(features, labels)
    n, d = x.shape
    xp = namespace(x)
    if standardise:
        x = standardised(x)
    else:
        x = centred(x)
        x /= column_units(xp.maximum(x.max(), -x.min()))  # so that no square underflows
        x -= x.mean(0)  # before, it was zero to the digits of an offset only
    s, u = eigh_of_rank(smaller_gram(x), x.shape)
    if n > d:
        u = matmul(x, u / s**0.5)
    return _left_out_accuracy(s, u, y, n_classes)


def left_out_kernel_ridge(features: ArrayLike, labels: ArrayLike, *, samples: int = KERNEL_SAMPLES) -> float:
    """Accuracy of kernel ridge regression on the classes, leaving each sample out in turn.

    :func:`left_out_ridge` with the kernel exp(-\\|x - x'\\|^2 / D) of the standardised features, where D counts those
    that vary.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an accelerator is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    samples : int, default 2000
        More are not looked at, or three of each class where that is more: those of :func:`share_of_each`, which
        depend on the labels alone, so that all networks are scored on the same ones.

    Returns
    -------
    float
        In [0, 1]; larger is better. A class of one sample is always missed.

    Raises
    ------
    ValueError
        Bad input, features that are the same in every row, or `samples` that is not an integer of 2 or more.

    Warns
    -----
    SampleWarning
        There are more samples than are looked at.

    Notes
    -----
    Time grows with the cube of the number of samples, memory with its square. Invariant to translation and the units
    of the features.

    References
    ----------
    G. C. Cawley and N. L. C. Talbot, *Efficient leave-one-out cross-validation of kernel Fisher discriminant
    classifiers*, Pattern Recognition 36, 2003.

    Examples
    --------
    >>> from sfda.rivals.ridge import left_out_kernel_ridge, left_out_ridge
    >>> x, y = [[0.0], [1.0], [4.0], [5.0], [8.0], [9.0]], [0, 0, 1, 1, 0, 0]
    >>> left_out_ridge(x, y) < left_out_kernel_ridge(x, y)
    True
    """
    if not isinstance(samples, numbers.Integral) or samples < 2:
        raise ValueError(f"samples: expected an integer of 2 or more, got {samples!r}")
    x, y, n_classes = as_labelled(features, labels)
    rows = share_of_each(to_numpy(y), samples)
    if len(rows) < len(x):
        words = f"the score is that of {len(rows)} of {len(x)} samples, the same share of every class"
        warnings.warn(words, SampleWarning, stacklevel=2)
        rows = like(rows, x)
        x, y = x[rows], y[rows]
    x = standardised(x)
    products = whole_gram(x.T)
    squares = products.diagonal() + 0.0
    k = (squares[:, None] - products) + (squares - products)
    k /= -float((x != 0).any(0).sum())
    k = namespace(k).exp(k.clip(max=0))
    means = k.mean(0)
    k -= means - means.mean() / 2
    k -= (means - means.mean() / 2)[:, None]
    return _left_out_accuracy(*eigh_of_rank(k, k.shape), y, n_classes)


def share_of_each(y, most):
    """At most so many samples, the same share of every class.

    Parameters
    ----------
    y : integer ndarray of shape (N,)
        Classes 0..C-1.
    most : int
        At least three of each class are taken, where there are three.

    Returns
    -------
    int array
        Rows in their order; all of them where they are not more.
    """
    most = max(most, 3 * (int(y.max()) + 1))
    if len(y) <= most:
        return np.arange(len(y))
    rng, place = np.random.default_rng(0), np.empty(len(y))
    for c in range(y.max() + 1):
        members = rng.permutation(np.flatnonzero(y == c))
        # The first three of each come before all others.
        place[members] = np.where(np.arange(len(members)) < 3, 0, np.arange(len(members)) / len(members))
    return np.sort(np.argsort(place, kind="stable")[:most])


def _left_out_accuracy(s, u, y, n_classes):
    """Share of the samples whose left-out fit is largest at their class, from eigenvalues (r,) and vectors (N, r)."""
    xp, n = namespace(s), len(u)
    t = u.new_zeros((n, n_classes)) if xp is not np else np.zeros((n, n_classes))
    t[xp.arange(n), y] = 1
    z = class_sums(u, y, n_classes).T  # u'T, (r, C)
    # I - H = sum_k tau / (s_k + tau) u_k u_k' + what the u_k and 1 do not span.
    tau = like(RIDGES, s)[:, None] * s.sum()
    left = tau / (s + tau)  # (R, r)
    free = xp.concatenate([_diagonals(u[rows], left, n) for rows in row_blocks(u)])  # of I - H, (N, R)
    beyond, least, best = t - t.mean(0) - matmul(u, z), np.inf, None
    for each, own in zip(left, free.T):
        errors = beyond + matmul(u, each[:, None] * z)
        errors /= own[:, None]
        error = float((errors * errors).mean())
        if error < least * (1 - 1e-9):
            least, best = error, errors
    return float(((t - best).argmax(1) == y).sum()) / n


def _diagonals(u, left, n):
    squares = u * u
    return (1 - 1 / n - squares.sum(1)).clip(0)[:, None] + matmul(squares, left.T)
