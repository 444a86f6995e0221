"""GBC: how little the classes overlap, as Gaussians."""

import math

import numpy as np

from sfda.metric.linalg import class_sums, like, matmul, namespace, row_blocks, to_numpy
from sfda.rivals.moments import as_labelled, check_components, class_means, class_sizes, principal_components

VARIANCE_FLOOR = 1e-4  # of GBC's public code


def gbc(features, labels, *, covariance="spherical", components=None, log=False):
    """Gaussian Bhattacharyya coefficient: how little Gaussians at the classes overlap.

    .. math:: -\\sum_{i \\ne j} e^{-B_{ij}}, \\qquad
              B_{ij} = \\sum_d \\Big[\\frac{(\\mu_{id} - \\mu_{jd})^2}{8\\, v_d}
              + \\frac12 \\log \\frac{v_d}{\\sqrt{v_{id}\\, v_{jd}}}\\Big],

    with the variances v_i of class i and v = (v_i + v_j) / 2. Every pair is counted in both orders.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an accelerator is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    covariance : {"spherical", "diagonal"}, default "spherical"
        "spherical", the default of the authors' code, replaces a class's variances by their mean and counts the
        bracket once; the coefficient of two spherical Gaussians would count it D times. "diagonal" is the
        formula above.
    components : int, optional
        Reduce the features to so many principal components first (exact, on the CPU); 64 in the paper, though
        not in its code.
    log : bool, default False
        Return minus the logarithm of the sum instead: the same order, but no underflow to 0 where the classes
        are far apart.

    Returns
    -------
    float
        From -C (C - 1) to 0, the logarithm from -log(C (C - 1)) on; larger is better.

    Raises
    ------
    ValueError
        Bad input.

    Notes
    -----
    Population variances, no smaller than 1e-4 for any feature. The floor makes
    the score depend on the unit of the features where it binds; where it does
    not, scale does not matter. Computed in log space and in float64, which
    the authors' code takes only from float64 features.

    References
    ----------
    M. Pandy et al., *Transferability Estimation using Bhattacharyya Class
    Separability*, CVPR 2022.

    Examples
    --------
    >>> from sfda.rivals.gbc import gbc
    >>> near, far = ([[0.0], [1.0], [d], [d + 1]] for d in (2, 3))
    >>> gbc(near, [0, 0, 1, 1]) < gbc(far, [0, 0, 1, 1]) < 0
    True
    """
    if covariance not in ("spherical", "diagonal"):
        raise ValueError(f"covariance: expected 'spherical' or 'diagonal', got {covariance!r}")
    check_components(components)
    x, y, n_classes = as_labelled(features, labels)
    xp = namespace(x)
    if components is not None:
        x = like(principal_components(x, components)[0], x)
    means, variances = _class_moments(x, y, n_classes)
    variances = variances.clip(VARIANCE_FLOOR)
    if covariance == "spherical":
        v = variances.mean(1)
        average = (v[:, None] + v) / 2
        product = matmul(means, means.T)
        square = product.diagonal()
        distances = ((square[:, None] - product) + (square - product)).clip(0)
        brackets = xp.log(average) - (xp.log(v)[:, None] + xp.log(v)) / 2
        b = distances / average / 8 + brackets / 2
    else:
        log_sums = xp.log(variances).sum(1)
        b = xp.zeros_like(means[:, :1] * means[:, 0])
        for i in range(n_classes - 1):
            average = (variances[i] + variances[i + 1 :]) / 2
            distances = ((means[i] - means[i + 1 :]) ** 2 / average).sum(1)
            brackets = xp.log(average).sum(1) - (log_sums[i] + log_sums[i + 1 :]) / 2
            b[i, i + 1 :] = b[i + 1 :, i] = distances / 8 + brackets / 2
    exponents = -to_numpy(b)[~np.eye(n_classes, dtype=bool)]
    largest = exponents.max()
    log_sum = largest + math.log(np.exp(exponents - largest).sum())
    return float(-log_sum if log else -math.exp(log_sum))


def _class_moments(x, y, n_classes):
    """Class means, about the mean of all, and population variances; both (C, D)."""
    means = class_means(x, y, n_classes)
    squares = means * 0
    for rows in row_blocks(x):
        residuals = x[rows] - means[y[rows]]
        squares += class_sums(residuals * residuals, y[rows], n_classes)
    return means - x.mean(0), squares / class_sizes(y, x, n_classes)[:, None]
