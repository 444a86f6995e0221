"""Potential energy descent: classes that overlap push each other apart before they are scored.

Not a score but a transformation of features, to be followed by any metric.

Reference: X. Li et al., *Exploring Model Transferability through the Lens of Potential Energy*, ICCV 2023.
"""

import math
import numbers

import numpy as np

from sfda.metric.inputs import as_given
from sfda.metric.linalg import like, matmul, namespace, row_blocks, to_numpy
from sfda.rivals.moments import as_labelled, class_means, class_sizes

STD_FLOOR = 1e-3  # of the public code


def ped(
    features,
    labels,
    *,
    mean=None,
    std=None,
    nsigma=0.6,
    time_step=0.1,
    exit_ratio=0.5,
    max_steps=6,
):
    """Move overlapping classes apart, as balls that repel each other.

    In standardised features, class i is a ball around its mean mu_i with radius R_i, the root of its summed
    variances. Two balls at distance d_ij push each other along the line of their centres with the force F_ij =
    max(0, nsigma (R_i + R_j) - d_ij), and one step of length dt from rest moves class i by

    .. math:: \\sum_j \\min(dt^2 / 2, 1)\\, F_{ij}\\, (\\mu_i - \\mu_j) / d_{ij}.

    Steps are repeated while the sum of the absolute displacements stays above `exit_ratio` times that of the
    first step.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype or integers; not modified. A tensor on an accelerator stays there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    mean, std : array-like of shape (D,), optional
        Mean and standard deviation of every feature over images of the source, with which the features are
        standardised: the authors take ImageNet's validation images under the same network. None: of `features`
        themselves, which is not what was published. Standard deviations below 1e-3 count as 1e-3.
    nsigma : float, default 0.6
        Size of the balls in units of R: 0.6 or 0.3 in the authors' experiments, 2.0 if their function is called
        without it.
    time_step : float, default 0.1
        dt.
    exit_ratio : float, default 0.5
    max_steps : int, default 6

    Returns
    -------
    array of shape (N, D)
        The moved features, in the library, device and floating dtype of `features` (float64 for integers).
        Where no classes overlap they are equal to `features`.

    Raises
    ------
    ValueError
        Bad input: the message names the argument, what was found and what was expected.

    Notes
    -----
    A class moves as a whole, so its radius stays and the steps need only the
    class means, C x D numbers: the features are read once and written once.
    Two classes whose means coincide have no direction to part in and are left
    together; public code returns NaN.

    References
    ----------
    X. Li et al., *Exploring Model Transferability through the Lens of
    Potential Energy*, ICCV 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.rivals.ped import ped
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(60) % 2
    >>> X = rng.standard_normal((60, 3)) + 0.2 * y[:, None]
    >>> gap = lambda X: np.linalg.norm(X[y == 0].mean(0) - X[y == 1].mean(0))
    >>> bool(gap(X) < gap(ped(X, y)))
    True
    """
    x, y, n_classes = as_labelled(features, labels)
    _check_number("nsigma", nsigma, "a finite number >= 0", lambda v: 0 <= v < math.inf)
    _check_number("time_step", time_step, "a finite number > 0", lambda v: 0 < v < math.inf)
    _check_number("exit_ratio", exit_ratio, "a finite number >= 0", lambda v: 0 <= v < math.inf)
    if not isinstance(max_steps, numbers.Integral) or max_steps < 0:
        raise ValueError(f"max_steps: expected an integer >= 0, got {max_steps!r}")
    xp, d = namespace(x), x.shape[1]
    centre = x.mean(0)
    mean = centre if mean is None else like(_as_vector(mean, "mean", d), x)
    if std is None:
        std = (sum(((x[rows] - centre) ** 2).sum(0) for rows in row_blocks(x)) / len(x)) ** 0.5
    else:
        std = like(_as_vector(std, "std", d, least=0), x)
    std = std.clip(STD_FLOOR)

    own = class_means(x, y, n_classes)
    spread = own[:, 0] * 0
    for rows in row_blocks(x):
        residuals = (x[rows] - own[y[rows]]) / std
        spread += xp.bincount(y[rows], (residuals * residuals).sum(1), minlength=n_classes)
    radii = (spread / class_sizes(y, x, n_classes)) ** 0.5
    means = start = (own - mean) / std
    first, fraction = None, min(min(time_step, 2) ** 2 / 2, 1)
    for _ in range(max_steps):
        move = fraction * _push(means, nsigma * (radii[:, None] + radii))
        size = float(abs(move).sum())
        first = size if first is None else first
        if size <= exit_ratio * first:
            break
        means = means + move
    shift = (means - start) * std
    return as_given(x + shift[y], features)


def _push(means, reach):
    """sum_j max(0, reach_ij - d_ij) (mu_i - mu_j) / d_ij; shape (C, D)."""
    xp = namespace(means)
    # Rows of differences rather than inner products: classes that overlap are
    # close to each other, where those would cancel.
    d = xp.stack([((means - m) ** 2).sum(1) ** 0.5 for m in means])
    force = (reach - d).clip(0) / xp.where(d > 0, d, np.inf)
    return force.sum(1)[:, None] * means - matmul(force, means)


def _check_number(name, value, expected, holds):
    if not isinstance(value, numbers.Real) or not holds(value):
        raise ValueError(f"{name}: expected {expected}, got {value!r}")


def _as_vector(values, name, n_features, least=-math.inf):
    try:
        vector = np.asarray(to_numpy(values), dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected one number a feature") from None
    if vector.shape != (n_features,):
        raise ValueError(f"{name}: expected shape ({n_features},), got {vector.shape}")
    wrong = ~(np.isfinite(vector) & (vector >= least))
    if wrong.any():
        column = int(np.flatnonzero(wrong)[0])
        kind = "finite numbers" if least < 0 else "finite numbers >= 0"
        raise ValueError(f"{name}: expected {kind}, found {vector[column]:g} in column {column}")
    return vector
