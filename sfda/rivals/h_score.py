"""H-scores: the share of the features' variation that lies between the classes.

Notation: x_n in R^D with label y_n; class c has N_c samples, mean mu_c; m is the mean of all samples, S_T the
total scatter sum_n (x_n - m)(x_n - m)'.
"""

import numpy as np

from sfda.metric.linalg import cholesky, class_sums, matmul, namespace, solve_lower
from sfda.rivals.moments import as_labelled, centred, class_sizes, column_units, eigh_of_rank, smaller_gram

# A squared pivot of the correlation matrix below this calls for eigenvectors.
SMALL_PIVOT = 1e-8


def h_score(features, labels):
    """H-score: the share of the features' variation that the classes explain.

    .. math:: \\mathrm{tr}(\\mathrm{cov}(X)^+ \\mathrm{cov}(G)), \\qquad g_n = \\mu_{y_n}.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an accelerator is scored there.
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

    Directions with less variance than max(N, D) times the machine precision of the largest are rounding errors
    and left out. The authors' code cuts its pseudo-inverse at 1e-15, which in single precision divides by rounding
    errors: scores above C - 1, or below 0, come from that. In double precision both agree.

    References
    ----------
    Y. Bao et al., *An Information-Theoretic Approach to Transferability in
    Task Transfer Learning*, ICIP 2019.

    Examples
    --------
    >>> from sfda.rivals.h_score import h_score
    >>> round(h_score([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]), 6)
    0.8
    """
    x, y, n_classes = as_labelled(features, labels)
    n, d = x.shape
    xp, x = namespace(x), centred(x)
    roots = class_sizes(y, x, n_classes)[:, None] ** 0.5
    if n > d:
        return h_score_of_scatter(smaller_gram(x), class_sums(x, y, n_classes) / roots, n)
    # The score does not change with the units of the columns, which are made alike; the rounding errors do.
    x /= column_units(xp.maximum(xp.amax(x, 0), -xp.amin(x, 0)))
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
    units = column_units(g.diagonal() ** 0.5)
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
        NumPy or torch, any floating dtype; not modified. A tensor on an accelerator is scored there.
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
    >>> from sfda.rivals.h_score import regularised_h_score
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
    column_units(g.diagonal())
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


def _safe_cholesky(g):
    """Lower Cholesky factor of a correlation matrix, None where it is close to singular."""
    try:
        factor = cholesky(g + 0.0)
    except np.linalg.LinAlgError:
        return None
    return factor if float((factor.diagonal() ** 2).min()) > SMALL_PIVOT else None
