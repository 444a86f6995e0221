"""Checked input, means, Gram matrices and principal axes: what the rival metrics share."""

import numbers

import numpy as np
from sklearn.decomposition import PCA

from sfda.metric import linalg
from sfda.metric.inputs import as_features, as_labels, check_networks
from sfda.metric.linalg import class_sums, eigh, is_torch, like, namespace, row_space, to_dtype, to_numpy

SMALLEST = 1e-140  # the largest feature's least size: its square, too, has all its digits
EPS = np.finfo(np.float64).eps


def as_labelled(features, labels, name="features"):
    """Checked features (float64) with their classes, in one library.

    Parameters
    ----------
    features : array-like of shape (N, D)
    labels : array-like of shape (N,)
    name : str
        What error messages call the features.

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
        As :func:`as_features` and :func:`as_labels`; or no feature reaches 1e-140, though some are not zero.
    """
    x = as_features(features, name=name)
    if 0 < max(float(x.max()), -float(x.min())) < SMALLEST:
        raise ValueError(f"{name}: too small, their scatter underflows; rescale them")
    y, classes = as_labels(labels, len(x), beside=features)
    return x, like(y, x), len(classes)


def centred(x):
    """`x` less the mean of its rows, in memory of its own, row after row.

    A column that is constant becomes zero, not what the rounding of its mean leaves.
    """
    xp = namespace(x)
    mean = x.mean(0).clip(xp.amin(x, 0), xp.amax(x, 0))
    return np.subtract(x, mean, order="C") if xp is np else x - mean


def class_sizes(y, x, n_classes):
    """Numbers of samples of the classes (C,), in the dtype of `x`."""
    return to_dtype(namespace(x).bincount(y, minlength=n_classes), x.dtype)


def class_means(x, y, n_classes):
    """Means of the classes, shape (C, D); exact in constant columns."""
    means, xp = class_sums(x, y, n_classes) / class_sizes(y, x, n_classes)[:, None], namespace(x)
    return means.clip(xp.amin(x, 0), xp.amax(x, 0))


def standardised(x):
    """`x` with columns of mean 0 and variance 1, in memory of its own; those that are constant become zero.

    ValueError where all are constant.
    """
    xp, x = namespace(x), centred(x)
    x /= column_units(xp.maximum(xp.amax(x, 0), -xp.amin(x, 0)))  # so that no square underflows
    x -= x.mean(0)  # before, it was zero to the digits of an offset only
    x /= column_units((x * x).mean(0) ** 0.5)
    return x


def whole_gram(x):
    """X'X (D, D), both triangles of it."""
    g = linalg.gram(x)
    if not is_torch(g):
        g += np.tril(g, -1).T
    return g


def smaller_gram(x):
    """X'X (D, D) where N > D, X X' (N, N) elsewhere: the smaller of the two."""
    n, d = x.shape
    return whole_gram(x if n > d else x.T)


def eigh_of_rank(a, shape):
    """Eigenvalues of `a` that are not rounding errors, and their vectors; largest first.

    `a` is the Gram matrix of a matrix of this `shape`. Eigenvalues up to max(shape) times the machine precision
    of the largest count as zero; the vectors come as columns. May overwrite `a`.
    """
    eigenvalues, vectors = eigh(a)
    rank = int((eigenvalues > eigenvalues[-1] * (max(shape) * EPS)).sum())
    kept = namespace(a).arange(len(eigenvalues) - 1, len(eigenvalues) - rank - 1, -1)
    return eigenvalues[kept], vectors[:, like(to_numpy(kept), a)]


def principal_components(x, n_components=None):
    """Coordinates of the rows of `x` along their principal axes: scikit-learn's, exact.

    Parameters
    ----------
    x : array of shape (N, D)
        A tensor on an accelerator is copied to the CPU.
    n_components : int or float, optional
        At most so many, fewer where the rank of the centred features is lower; of a number below 1, as many as
        hold more than this share of the variance.

    Returns
    -------
    coordinates : ndarray of shape (N, k)
    variances : ndarray of shape (k,)
        Of the coordinates, divided by N - 1.

    Raises
    ------
    ValueError
        All rows are equal.
    """
    x = centred(to_numpy(x))
    if not x.any():
        raise ValueError("features: expected variation, found every row the same")
    shape = x.shape
    if shape[0] <= shape[1]:  # N coordinates hold it all, at less than the D x D eigenproblem costs
        x, _ = row_space(x)
    if isinstance(n_components, numbers.Integral):
        n_components = min(n_components, *shape)
    pca = PCA(n_components, svd_solver="covariance_eigh", copy=False)
    x, variances = pca.fit_transform(x), pca.explained_variance_
    rank = (variances > variances[0] * (max(shape) * EPS)).sum()
    return x[:, :rank], variances[:rank]


def column_units(spread):
    """`spread` with 1 in place of 0; ValueError where no feature varies."""
    varies = spread > 0
    if not bool(varies.any()):
        raise ValueError("features: expected variation, found every row the same")
    return namespace(spread).where(varies, spread, 1.0)


def check_components(components):
    """ValueError unless `components` is None or a positive integer."""
    if components is not None and (not isinstance(components, numbers.Integral) or components < 1):
        raise ValueError(f"components: expected None or an integer of 1 or more, got {components!r}")


def over_zoo(features_by_model, labels, terms_of):
    """Terms of every network, by name: ``terms_of(x, y)`` of its checked features and the classes."""
    check_networks(features_by_model, labels)
    if len(features_by_model) < 2:
        raise ValueError(
            f"features_by_model: expected at least 2 networks, whose terms are compared, got {len(features_by_model)}"
        )
    # Named here, since what follows knows only one network.
    return {
        model: terms_of(*as_labelled(features, labels, f"features_by_model[{model!r}]")[:2])
        for model, features in features_by_model.items()
    }


def min_max(values):
    """`values` brought to [0, 1]; zeros where they are all equal."""
    values = np.array(values)
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)
