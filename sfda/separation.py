"""How far the classes stand apart, from means, scatters and correlations.

Notation: x_n in R^D with label y_n; class c has N_c samples, mean mu_c; m is
the mean of all samples, S_T the total scatter sum_n (x_n - m)(x_n - m)'. None
of these metrics trains anything.
"""

import math
import numbers

import numpy as np

from sfda.arrays import cholesky, class_sums, like, matmul, namespace, row_blocks, solve_lower, to_numpy
from sfda.moments import (
    as_labelled,
    centred,
    check_overflow,
    class_means,
    class_sizes,
    eigh_of_rank,
    principal_components,
    smaller_gram,
)

# A squared pivot of the correlation matrix below this calls for eigenvectors.
SMALL_PIVOT = 1e-8
ROUNDING = 1e-6  # of TransRate's matrices, beside 1
VARIANCE_FLOOR = 1e-4  # of GBC's public code


def h_score(features, labels):
    """H-score: the share of the features' variation that the classes explain.

    .. math:: \\mathrm{tr}(\\mathrm{cov}(X)^+ \\mathrm{cov}(G)), \\qquad g_n = \\mu_{y_n}.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an
        accelerator is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.

    Returns
    -------
    float
        From 0 to min(C - 1, rank of the centred features); larger is better.

    Raises
    ------
    ValueError
        Bad input, or features that are the same in every row.

    Notes
    -----
    No D x D inverse is formed: the score is sum_c N_c (mu_c - m)' S_T^+ (mu_c - m),
    C right-hand sides of one Cholesky factorisation. It is invariant to every
    invertible linear map of the features, and it is C - 1 for all features in
    general position as soon as N <= D: then it says nothing.

    Directions with less variance than max(N, D) times the machine precision
    of the largest are rounding errors and left out. Public code cuts its
    pseudo-inverse at 1e-15, which in single precision divides by rounding
    errors: scores above C - 1 can come from that.

    References
    ----------
    Y. Bao et al., *An Information-Theoretic Approach to Transferability in
    Task Transfer Learning*, ICIP 2019.

    Examples
    --------
    >>> from sfda.separation import h_score
    >>> round(h_score([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]), 6)
    0.8
    """
    x, y, n_classes = as_labelled(features, labels)
    n, d = x.shape
    xp, x = namespace(x), centred(x)
    roots = class_sizes(y, x, n_classes)[:, None] ** 0.5
    # The score does not change with the units of the columns, which are made
    # alike; the rounding errors do, and squares that underflow.
    largest = xp.maximum(xp.amax(x, 0), -xp.amin(x, 0))
    check_overflow(largest.max())
    largest = _units(largest)
    if n > d:
        x *= 2.0 ** -xp.floor(xp.log2(largest)).clip(-1000, 0)  # changes no digit
        if float(largest.min()) < np.finfo(np.float64).tiny / np.finfo(np.float64).eps:
            x -= x.mean(0)  # before, it had the few digits of numbers below the smallest normal one
        return h_score_of_scatter(smaller_gram(x), class_sums(x, y, n_classes) / roots, n)
    x /= largest
    x -= x.mean(0)  # before, it was zero to the digits of an offset only
    _, vectors = eigh_of_rank(smaller_gram(x), x.shape)
    white = class_sums(vectors, y, n_classes) / roots
    return float((white * white).sum())


def h_score_of_scatter(g, offsets, n):
    """H-score of N > D samples from their total scatter and class means.

    Parameters
    ----------
    g : array of shape (D, D)
        S_T, its lower triangle; overwritten.
    offsets : array of shape (C, D)
        sqrt(N_c) (mu_c - m).
    n : int
        N.
    """
    if not math.isfinite(float(g.diagonal().sum())):
        raise ValueError("features: too large, their scatter overflows; rescale them")
    units = _units(g.diagonal() ** 0.5)
    g /= units
    g /= units[:, None]
    offsets = offsets / units
    factor = _safe_cholesky(g)
    if factor is not None:
        white = solve_lower(factor, offsets.T)
    else:
        s, vectors = eigh_of_rank(g, (n, len(g)))
        white = matmul(offsets, vectors) / s**0.5
    return float((white * white).sum())


def regularised_h_score(features, labels):
    """H-score with the Ledoit-Wolf estimate of the covariance.

    .. math:: \\mathrm{tr}(\\Sigma_a^{-1} (1 - a)\\, \\mathrm{cov}(G)), \\qquad
              \\Sigma_a = (1 - a) S_T / N + a\\, (\\mathrm{tr}\\, S_T / N D)\\, I,

    with the shrinkage a of Ledoit and Wolf (2004).

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an
        accelerator is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.

    Returns
    -------
    float
        From 0 to (C - 1) N / (N - 1); larger is better.

    Raises
    ------
    ValueError
        Bad input, or features that are the same in every row.

    Notes
    -----
    Invariant to translation, rotation and scale, not to linear maps in general.
    The shrinkage agrees with :func:`sklearn.covariance.ledoit_wolf_shrinkage`,
    which computes D x D products of squares; their sum is that of the fourth
    powers of the rows' lengths. For N < D everything is N x N.

    References
    ----------
    S. Ibrahim, N. Ponomareva and R. Mazumder, *Newer is not always better:
    Rethinking transferability metrics, their peculiarities, stability and
    performance*, ECML PKDD 2022. O. Ledoit and M. Wolf, *A well-conditioned
    estimator for large-dimensional covariance matrices*, 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.separation import regularised_h_score
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(90) % 3
    >>> noise = rng.standard_normal((90, 200))
    >>> weak, strong = (noise + 5 * s * np.eye(3, 200)[y] for s in (1, 3))
    >>> regularised_h_score(weak, y) < regularised_h_score(strong, y)
    True
    """
    x, y, n_classes = as_labelled(features, labels)
    n, d = x.shape
    xp, x = namespace(x), centred(x)
    roots = class_sizes(y, x, n_classes) ** 0.5
    g = smaller_gram(x)
    _units(g.diagonal())
    mean_variance = float(g.diagonal().sum()) / (n * d)
    # In units of the mean variance, so that no fourth power under- or overflows.
    fourth = float((((x * x).sum(1) / (n * d * mean_variance)) ** 2).sum())
    square = float(((g / (n * d * mean_variance)) ** 2).sum())
    noise, spread = fourth - square / n, square - 1 / d
    shrinkage = min(max(noise / spread, 0.0), 1.0) if spread > 0 else 1.0
    if d == 1 or shrinkage <= 1e-12:  # of such differences, this is rounding
        return n / (n - 1) * h_score(x, y)
    a = (1 - shrinkage) / n * g
    diagonal = xp.arange(len(a))
    a[diagonal, diagonal] += shrinkage * mean_variance
    factor = cholesky(a)
    if n > d:
        white = solve_lower(factor, (class_sums(x, y, n_classes) / roots[:, None]).T)
        total = float((white * white).sum())
    else:
        # X inv(Sigma) X' = G inv(K), with K the N x N counterpart of Sigma.
        targets = xp.zeros_like(g[:, :n_classes])
        targets[xp.arange(n), y] = 1 / roots[y]
        white = solve_lower(factor, targets)
        total = float((white * solve_lower(factor, matmul(g, targets))).sum())
    return (1 - shrinkage) * total / (n - 1)


def gbc(features, labels, *, covariance="spherical", components=None, log=False):
    """Gaussian Bhattacharyya coefficient: how little Gaussians at the classes overlap.

    .. math:: -\\sum_{i \\ne j} e^{-B_{ij}}, \\qquad
              B_{ij} = \\sum_d \\Big[\\frac{(\\mu_{id} - \\mu_{jd})^2}{8\\, v_d}
              + \\frac12 \\log \\frac{v_d}{\\sqrt{v_{id}\\, v_{jd}}}\\Big],

    with the variances v_i of class i and v = (v_i + v_j) / 2. Every pair is
    counted in both orders.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an
        accelerator is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    covariance : {"spherical", "diagonal"}, default "spherical"
        "spherical", the default of the authors' code, replaces a class's
        variances by their mean and counts the bracket once; the coefficient of
        two spherical Gaussians would count it D times. "diagonal" is the
        formula above.
    components : int, optional
        Reduce the features to so many principal components first (exact); 64
        in the paper, though not in its code.
    log : bool, default False
        Return minus the logarithm of the sum instead: the same order, but no
        underflow to 0 where the classes are far apart.

    Returns
    -------
    float
        From -C (C - 1) to 0, the logarithm from -log(C (C - 1)) on; larger is
        better.

    Raises
    ------
    ValueError
        Bad input.

    Notes
    -----
    Population variances, no smaller than 1e-4 for any feature. The floor makes
    the score depend on the unit of the features where it binds; where it does
    not, scale does not matter. Computed in log space.

    References
    ----------
    M. Pandy et al., *Transferability Estimation using Bhattacharyya Class
    Separability*, CVPR 2022.

    Examples
    --------
    >>> from sfda.separation import gbc
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
        x = principal_components(x, components)[0]
    means, variances = _class_moments(x, y, n_classes)
    with np.errstate(over="ignore"):  # to be divided by the floor, at least
        check_overflow((variances.sum() + (means * means).sum()) / VARIANCE_FLOOR)
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


def transrate(features, labels, *, epsilon=1e-4, normalised=False):
    """TransRate: the coding rate of all features less that of the classes.

    .. math:: R(X - m) - \\frac1C \\sum_c R(X_c - m), \\qquad
              R(Z) = \\tfrac12 \\log\\det\\Big(I + \\frac{Z'Z}{n\\,\\epsilon}\\Big)

    for the n rows of Z.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an
        accelerator is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    epsilon : float, default 1e-4
        Distortion.
    normalised : bool, default False
        False is the form of the Transfer-Learning-Library. True divides the
        centred features by their Frobenius norm and weights the classes' rates
        by N_c / N, which makes the score independent of scale and at least 0.

    Returns
    -------
    float
        Larger is better. Not bounded, and negative for some features, unless
        `normalised`.

    Raises
    ------
    ValueError
        Bad input, or an `epsilon` that is not positive.

    Notes
    -----
    Class features are centred by the mean of all samples, and every
    determinant is that of the smaller of Z'Z and ZZ': they are equal.
    The plain form depends strongly on the scale of the features.

    References
    ----------
    L.-K. Huang et al., *Frustratingly Easy Transferability Estimation*, ICML 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.separation import transrate
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(90) % 3
    >>> noise = rng.standard_normal((90, 4))
    >>> transrate(noise + np.eye(3, 4)[y], y) < transrate(noise + 5 * np.eye(3, 4)[y], y)
    True
    """
    if not isinstance(epsilon, numbers.Real) or not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon: expected a finite number > 0, got {epsilon!r}")
    x, y, n_classes = as_labelled(features, labels)
    n, x = len(x), centred(x)
    whole = smaller_gram(x)
    if normalised:
        square = float(whole.diagonal().sum())
        _units(whole.diagonal())
        epsilon = epsilon * square
    counts = np.bincount(to_numpy(y), minlength=n_classes)
    x, ends = x[like(np.argsort(to_numpy(y), kind="stable"), x)], counts.cumsum()
    rates = np.array([
        _rate(smaller_gram(x[end - k : end], checked=False), k * epsilon) for end, k in zip(ends, counts)
    ])  # fmt: skip
    weights = counts / n if normalised else np.full(n_classes, 1 / n_classes)
    return _rate(whole, n * epsilon) - float(weights @ rates)


@np.errstate(over="ignore", invalid="ignore")  # checked by its caller
def _class_moments(x, y, n_classes):
    """Class means, about the mean of all, and population variances; both (C, D)."""
    means = class_means(x, y, n_classes)
    squares = means * 0
    for rows in row_blocks(x):
        residuals = x[rows] - means[y[rows]]
        squares += class_sums(residuals * residuals, y[rows], n_classes)
    return means - x.mean(0), squares / class_sizes(y, x, n_classes)[:, None]


def _rate(g, scale):
    """1/2 log det(I + g / scale), from the diagonal of a Cholesky factor."""
    xp = namespace(g)
    with np.errstate(over="ignore", invalid="ignore"):
        a = g / scale
        trace = float(a.diagonal().sum())
    check_overflow(trace)
    if trace * np.finfo(np.float64).eps > ROUNDING:
        # Beside the 1 the rounding errors of directions without variance would count.
        s, _ = eigh_of_rank(a, a.shape)
        return float(xp.log1p(s).sum()) / 2
    diagonal = xp.arange(len(a))
    a[diagonal, diagonal] += 1
    return float(xp.log(cholesky(a).diagonal()).sum())


def _safe_cholesky(g):
    """Lower Cholesky factor of a correlation matrix, None where it is close to singular."""
    try:
        factor = cholesky(g + 0.0)
    except np.linalg.LinAlgError:
        return None
    return factor if float((factor.diagonal() ** 2).min()) > SMALL_PIVOT else None


def _units(spread):
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
