"""LogME: the evidence of a linear model of the labels on the features.

For each target t (one class against the rest) a Gaussian model t = X w + noise, w ~ N(0, I / alpha), noise ~
N(0, I / beta), has the evidence p(t | X, alpha, beta), w integrated out. LogME is its logarithm at the best
alpha and beta, divided by N and averaged over the classes.

With the singular values X = U S V', s_i = S_i^2, and z = U't, one round of the fixed-point iteration costs
O(min(N, D)), so all that is expensive is one eigendecomposition for all targets together.
"""

import math

from sfda.metric.linalg import class_sums, matmul, namespace
from sfda.rivals.moments import as_labelled, class_sizes, eigh_of_rank, smaller_gram

MAX_ROUNDS = 11
TOLERANCE = 1e-3  # relative change of alpha / beta
EPSILON = 1e-5
PUBLISHED_CUT = 1e-10  # of the singular values that the authors' code keeps


def logme(features, labels, *, as_published=False):
    """Log maximum evidence of one-against-rest linear models of the classes.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified and not centred. A tensor on an accelerator is scored
        there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    as_published : bool, default False
        True takes the steps of the authors' code, whose evidence lacks log-determinant terms where N < D. See
        Notes.

    Returns
    -------
    float
        Unbounded; larger is better.

    Raises
    ------
    ValueError
        Bad input, features that are all zero or, as published, below 1e-10.

    Notes
    -----
    The log-determinant of A = alpha I + beta X'X has D terms. The authors' code sums only those of the singular
    values that it keeps, and so misses -log(alpha) / 2N for every other. With N < D it keeps N, a large and
    model-dependent error (https://github.com/thuml/LogME/issues/23); published scores of SFDA, PED, NCTI and
    others contain it. With N > D it keeps those of X'X whose roots exceed 1e-10. Columns of zeros usually pass, because
    rounding leaves singular values of about 1e-13, but not always. Here all terms are there unless `as_published`.

    The score changes with translation, since the model has no intercept, and somewhat with scale, since the
    iteration starts at alpha = beta = 1, stops early (relative change 1e-3, 11 rounds) and adds 1e-5 to two
    denominators; all of this is kept as published.

    References
    ----------
    K. You et al., *LogME: Practical Assessment of Pre-trained Models for
    Transfer Learning*, ICML 2021; the iteration is that of K. You et al.,
    *Ranking and Tuning Pre-trained Models*, JMLR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.rivals.logme import logme
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(90) % 3
    >>> noise = rng.standard_normal((90, 4))
    >>> signal = np.eye(3, 4)[y]
    >>> logme(noise + signal, y) < logme(noise + 3 * signal, y)
    True
    """
    x, y, n_classes = as_labelled(features, labels)
    n, d = x.shape
    xp, g = namespace(x), smaller_gram(x)
    if not bool((g.diagonal() > 0).any()):
        raise ValueError("features: expected a value other than zero")
    if as_published and n > d:
        _, s, axes = xp.linalg.svd(g)
        rank = int((s**0.5 > PUBLISHED_CUT).sum())
        if not rank:
            raise ValueError("features: too small for the published cut of singular values at 1e-10; rescale them")
        s, vectors, unspanned = s[:rank], axes[:rank].T, 0
    else:
        s, vectors = eigh_of_rank(g, x.shape)
        # The log-determinant has a term log(alpha) for every direction that the features do not span, of N in print.
        unspanned = (n if as_published else d) - len(s)
    # The targets T (N, C) along the axes.
    if n > d:
        z = matmul(class_sums(x, y, n_classes), vectors) / s**0.5
    else:
        z = class_sums(vectors, y, n_classes)
    return _iterated(s, z * z, class_sizes(y, x, n_classes), unspanned, n, d)


def _iterated(s, z2, squares, unspanned, n, d):
    """Evidence from eigenvalues (r,), squares of the targets along the axes (K, r), and of the targets (K,)."""
    outside = (squares - z2.sum(1)).clip(0)
    xp = namespace(s)
    t = xp.ones_like(squares)
    alpha, beta, m2, r2 = t, t, t, t
    running = t > 0
    for _ in range(MAX_ROUNDS):
        ratio = t[:, None]
        gamma = (s / (s + ratio)).sum(1)
        new_m2 = (s / (s + ratio) * (z2 / (s + ratio))).sum(1)
        new_r2 = (z2 * (ratio / (s + ratio)) ** 2).sum(1) + outside
        new_alpha = gamma / (new_m2 + EPSILON)
        # N - gamma, without the cancellation where gamma is almost N.
        new_beta = (n - len(s) + (ratio / (s + ratio)).sum(1)) / (new_r2 + EPSILON)
        alpha, beta = xp.where(running, new_alpha, alpha), xp.where(running, new_beta, beta)
        m2, r2 = xp.where(running, new_m2, m2), xp.where(running, new_r2, r2)
        change = abs(alpha / beta - t) / t
        running = running & (change > TOLERANCE)
        t = xp.where(running, alpha / beta, t)
        if not bool(running.any()):
            break
    log_determinant = xp.log(alpha[:, None] + beta[:, None] * s).sum(1)
    log_determinant = log_determinant + unspanned * xp.log(alpha)
    evidence = d * xp.log(alpha) + n * xp.log(beta) - log_determinant - beta * r2 - alpha * m2
    return float((evidence / (2 * n)).mean()) - math.log(2 * math.pi) / 2
