"""Means, Gram matrices and principal axes: what the rival metrics share."""

import math
import numbers
from collections.abc import Mapping

import numpy as np

from sfda.metric import linalg
from sfda.metric.inputs import as_features, as_labels
from sfda.metric.linalg import (
    class_sums,
    eigh,
    is_torch,
    like,
    matmul,
    namespace,
    to_dtype,
    to_numpy,
)


def as_labelled(features, labels):
    """Checked features (float64) with their classes, in one library.

    Parameters
    ----------
    features : array-like of shape (N, D)
    labels : array-like of shape (N,)

    Returns
    -------
    x : array of shape (N, D)
        As :func:`as_features` returns it: never write to it.
    y : integer array of shape (N,)
        Classes 0..C-1, in the library and on the device of `x`.
    n_classes : int
        C.

    Raises
    ------
    ValueError
        As :func:`as_features` and :func:`as_labels`.
    """
    x = as_features(features)
    y, classes = as_labels(labels, len(x))
    return x, like(y, x), len(classes)


@np.errstate(over="ignore", invalid="ignore")  # the squares are checked
def centred(x):
    """`x` less the mean of its rows, in memory of its own, row after row.

    A column that is constant becomes zero, not what the rounding of its mean leaves.
    """
    xp = namespace(x)
    mean = x.mean(0).clip(xp.amin(x, 0), xp.amax(x, 0))
    return np.subtract(x, mean, order="C") if xp is np else x - mean


def tamed(x, axis=0):
    """The NumPy array `x` with numbers whose squares exist, for metrics that have no unit.

    Extreme columns, or all of them with `axis` None, are multiplied by powers of two, which
    change no digit.
    """
    largest = abs(x).max(axis)
    exponents = np.floor(np.log2(np.where(largest > 0, largest, 1)))
    exponents = np.where(abs(exponents) > 300, exponents, 0).clip(-1000, 1000)
    return x * 2.0**-exponents if exponents.any() else x


def check_overflow(total):
    """Raise ValueError unless `total`, of squares of features, is finite."""
    if not math.isfinite(float(total)):
        raise ValueError("features: too large, their scatter overflows; rescale them")


def check_squares(total, x):
    """Raise ValueError unless `total`, of the squares of `x`, is a number with all its digits."""
    check_overflow(total)
    limits = np.finfo(np.float64)
    if float(total) <= limits.tiny / limits.eps and bool((x != 0).any()):
        raise ValueError("features: too small, their scatter underflows; rescale them")


def class_sizes(y, x, n_classes):
    """Numbers of samples of the classes (C,), in the dtype of `x`."""
    return to_dtype(namespace(x).bincount(y, minlength=n_classes), x.dtype)


def class_means(x, y, n_classes):
    """Means of the classes, shape (C, D)."""
    return class_sums(x, y, n_classes) / class_sizes(y, x, n_classes)[:, None]


def smaller_gram(x, *, checked=True):
    """X'X (D, D) where N > D, X X' (N, N) elsewhere: the smaller of the two.

    Raises ValueError where it over- or underflows, if it is to be checked.
    """
    n, d = x.shape
    with np.errstate(over="ignore", invalid="ignore"):
        g = linalg.gram(x if n > d else x.T)
        if not is_torch(g):
            g += np.tril(g, -1).T
        trace = g.diagonal().sum()
    if checked:
        check_squares(trace, x)
    return g


def eigh_of_rank(a, shape):
    """Eigenvalues of `a` that are not rounding errors, and their vectors; largest first.

    `a` is the Gram matrix of a matrix of this `shape`. Eigenvalues up to
    max(shape) times the machine precision of the largest count as zero; the
    vectors come as columns. May overwrite `a`.
    """
    eigenvalues, vectors = eigh(a)
    cut = eigenvalues[-1] * (max(shape) * np.finfo(np.float64).eps)
    rank = int((eigenvalues > max(float(cut), 0.0)).sum())
    kept = namespace(a).arange(len(eigenvalues) - 1, len(eigenvalues) - rank - 1, -1)
    return eigenvalues[kept], vectors[:, like(to_numpy(kept), a)]


def principal_components(x, n_components=None, *, variance=None):
    """Coordinates of the rows of `x` along their principal axes.

    Exact, from the Gram matrix of the smaller side.

    Parameters
    ----------
    x : array of shape (N, D)
    n_components : int, optional
        At most so many; fewer where the rank of the centred features is lower.
    variance : float, optional
        As many as hold more than this share of the variance.

    Returns
    -------
    coordinates : array of shape (N, k)
    variances : array of shape (k,)
        Of the coordinates, divided by N - 1.

    Raises
    ------
    ValueError
        All rows are equal.
    """
    n, d = x.shape
    x = centred(x)
    s, vectors = eigh_of_rank(smaller_gram(x), x.shape)
    if not len(s):
        raise ValueError("features: expected variation, found every row the same")
    k = len(s) if n_components is None else min(n_components, len(s))
    if variance is not None:
        shares = to_numpy(s).cumsum() / to_numpy(s).sum()
        k = min(int(np.searchsorted(shares, variance, side="right")) + 1, len(s))
    s, vectors = s[:k], vectors[:, :k]
    return (matmul(x, vectors) if n > d else vectors * s**0.5), s / (n - 1)


def column_units(spread):
    """`spread` with 1 in place of 0; ValueError where no feature varies."""
    varies = spread > 0
    if not bool(varies.any()):
        raise ValueError("features: expected variation, found every row the same")
    return namespace(spread).where(varies, spread, 1.0)


def check_components(components):
    if components is not None and (
        not isinstance(components, numbers.Integral) or components < 1
    ):
        raise ValueError(
            f"components: expected None or an integer of 1 or more, got {components!r}"
        )


def over_zoo(features_by_model, labels, terms_of):
    """Terms of every network, by name."""
    if not isinstance(features_by_model, Mapping):
        raise ValueError(
            "features_by_model: expected a mapping from names to features, "
            f"got {type(features_by_model).__name__}"
        )
    if len(features_by_model) < 2:
        raise ValueError(
            "features_by_model: expected at least 2 networks, whose terms are compared, "
            f"got {len(features_by_model)}"
        )
    terms = {}
    for model, features in features_by_model.items():
        # Named here, since what follows knows only one network.
        x = as_features(features, name=f"features_by_model[{model!r}]")
        y, _ = as_labels(labels, len(x))
        terms[model] = terms_of(x, y)
    return terms


def min_max(values):
    values = np.array(values)
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)
