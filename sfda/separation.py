"""How far the classes stand apart, from means, scatters and correlations.

Notation: x_n in R^D with label y_n; class c has N_c samples, mean mu_c; m is
the mean of all samples, S_T the total scatter sum_n (x_n - m)(x_n - m)'. None
of these metrics trains anything.
"""

import math
import numbers

import numpy as np
import scipy.stats
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from sfda.arrays import (
    as_features,
    cholesky,
    class_sums,
    like,
    log_softmax,
    matmul,
    namespace,
    row_blocks,
    solve_lower,
    to_numpy,
)
from sfda.moments import (
    as_labelled,
    centred,
    class_means,
    class_sizes,
    eigh_of_rank,
    gram,
    principal_components,
)
from sfda.scatter import LabelledFeatures, adaptive_shrinkage

# A squared pivot of the correlation matrix below this calls for eigenvectors.
SMALL_PIVOT = 1e-8
VARIANCE_FLOOR = 1e-4  # of GBC's public code
BLOCK_BYTES = 2**23  # of PARC's correlations


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
    # alike; the rounding errors do.
    if n > d:
        return h_score_of_scatter(gram(x), class_sums(x, y, n_classes) / roots, n)
    x /= _units(xp.amax(abs(x), 0))
    _, vectors = eigh_of_rank(gram(x), x.shape)
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
    g = gram(x)
    _units(g.diagonal())
    mean_variance = float(g.diagonal().sum()) / (n * d)
    # In units of the mean variance, so that no fourth power under- or overflows.
    fourth = float((((x * x).sum(1) / (n * d * mean_variance)) ** 2).sum())
    square = float(((g / (n * d * mean_variance)) ** 2).sum())
    noise, spread = fourth - square / n, square - 1 / d
    shrinkage = min(max(noise / spread, 0.0), 1.0) if spread > 0 else 1.0
    if d == 1 or shrinkage == 0:
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


def parc(features, labels, *, components=None, seed=1919, as_published=False):
    """Pairwise annotation representation comparison.

    The Spearman rank correlation, over all pairs of samples, of two
    dissimilarities: 1 - Pearson correlation of their standardised features,
    and the same of their one-hot labels, which is one number for pairs of one
    class and another for all others.

    Parameters
    ----------
    features : array-like of shape (N, D)
        At least two columns; NumPy or torch, any floating dtype; not modified.
        Computed by NumPy: a tensor on an accelerator is copied to the CPU.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes, one of them
        with two samples.
    components : int, optional
        Reduce the features to so many principal components first, to N or D
        where there are fewer; 32 is what the authors and the code beside the
        SFDA paper use. With scikit-learn's randomised solver and one power
        iteration, as published: where the spectrum is flat these are not the
        leading components, and the score depends on `seed`.
    seed : int, default 1919
        Of the randomised solver, the authors' number; not used otherwise.
    as_published : bool, default False
        True ranks the labels' dissimilarities with their rounding errors, as
        the authors' code does. See Notes. Takes about ten times the memory.

    Returns
    -------
    float
        From -100 to 100; larger is better. 0 where all pairs are equally
        similar.

    Raises
    ------
    ValueError
        Bad input; a single column, which has no correlation; no two samples
        of one class.

    Notes
    -----
    Memory grows with N^2: 4.5 N^2 bytes for the N (N - 1) / 2 correlations and
    their ties, which is 1 GB for 15 000 samples. The correlations come from one symmetric
    product and are sorted once. The labels' ranks need no sorting: with only
    two values, Spearman's correlation follows from the mean rank of the pairs
    of one class. Correlations are compared to 12 digits, so that pairs that
    are equal but for rounding count as equal. A sample that is constant over
    its standardised features has no correlation with any other: 0 here, NaN in
    public code.

    The correlation of a one-hot row with its equal is 1, but in floating point
    it is 1 - 2e-16 for some classes, unless 1 / C is a power of two. The
    authors' code ranks these numbers, so the pairs of one class are ordered by
    class, at random, and the score changes with the numbering of the classes:
    from 36.3 without rounding errors to 29.8 or 36.6 in a test of this package
    with three classes. The effect is small where there are many classes, or
    classes of one size.

    References
    ----------
    D. Bolya, R. Mittapalli and J. Hoffman, *Scalable Diverse Model Selection
    for Accessible Transfer Learning*, NeurIPS 2021.

    Examples
    --------
    >>> from sfda.separation import parc
    >>> X = [[1.0, 0, 0], [0.9, 0.1, 0], [0, 1, 0.1], [0, 0.9, 0]]
    >>> parc(X, ["cat", "cat", "dog", "dog"]) > 80 > 0 > parc(X, ["cat", "dog", "cat", "dog"])
    True
    """
    _check_components(components)
    x, y, n_classes = as_labelled(features, labels)
    x, y = to_numpy(x), to_numpy(y)
    n, d = x.shape
    if d < 2:
        raise ValueError("features: expected at least 2 columns to correlate samples over, got 1")
    if np.bincount(y).max() < 2:
        raise ValueError("labels: expected two samples of one class, found none")
    if components is not None:
        k = min(components, n, d)
        pca = PCA(k, svd_solver="randomized", random_state=seed, iterated_power=1)
        x = pca.fit_transform(x)
    x = StandardScaler().fit_transform(x)
    x -= x.mean(1, keepdims=True)
    lengths = np.linalg.norm(x, axis=1)
    # In units of 1e-12: what is left after rounding tells pairs apart.
    x /= np.where(lengths > 1e-12 * math.sqrt(x.shape[1]), lengths, np.inf)[:, None] / 1e6

    similarity, same = np.empty(n * (n - 1) // 2), []
    filled, step = 0, max(1, BLOCK_BYTES // (8 * n))
    for start in range(0, n, step):
        block = matmul(x[start : start + step], x[start:].T)
        for i, row in enumerate(block, start):
            pairs = similarity[filled : filled + n - 1 - i]
            np.rint(row[i + 1 - start :], out=pairs)
            same.append(pairs[y[i + 1 :] == y[i]])
            filled += len(pairs)
    if as_published:
        labelled = 1 - np.corrcoef(np.eye(n_classes))
        labelled = np.concatenate([labelled[y[i], y[i + 1 :]] for i in range(n)])
        if similarity.min() == similarity.max():
            return 0.0
        return float(100 * scipy.stats.spearmanr(-similarity, labelled).statistic)
    same = np.sort(np.concatenate(same))
    similarity.sort()
    # Ranks from the least similar pair up; ties share their mean rank.
    m, k = len(similarity), len(same)
    twice = np.searchsorted(similarity, same, "left") + np.searchsorted(similarity, same, "right")
    mean_rank = (twice.mean() + 1) / 2
    tied = np.flatnonzero(similarity[1:] == similarity[:-1])
    # A run of t equal values leaves t - 1 consecutive positions.
    ends = np.flatnonzero(np.diff(tied, append=m) != 1)
    runs = np.diff(ends, prepend=-1) + 1.0
    variance = (float(m) ** 2 - 1 - ((runs**3 - runs) / m).sum()) / 12
    if variance <= 0:
        return 0.0
    return float(100 * (mean_rank - (m + 1) / 2) * math.sqrt(k / (m - k) / variance))


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
    _check_components(components)
    x, y, n_classes = as_labelled(features, labels)
    xp = namespace(x)
    if components is not None:
        x = principal_components(x, components)[0]
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
    whole = gram(x)
    if normalised:
        square = float(whole.diagonal().sum())
        _units(whole.diagonal())
        epsilon = epsilon * square
    counts = np.bincount(to_numpy(y), minlength=n_classes)
    x, ends = x[like(np.argsort(to_numpy(y), kind="stable"), x)], counts.cumsum()
    rates = np.array([_rate(gram(x[end - k : end]), k * epsilon) for end, k in zip(ends, counts)])
    weights = counts / n if normalised else np.full(n_classes, 1 / n_classes)
    return _rate(whole, n * epsilon) - float(weights @ rates)


def etran_energy(features, labels=None, *, share=0.005):
    """ETran's energy term: the mean energy of the samples that have the least.

    The energy of a sample is the log-sum-exp over its features,
    log sum_d exp(x_nd); the score is its mean over the lowest `share` of the
    samples.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an
        accelerator is scored there.
    labels : ignored
        Taken so that it can be called like other metrics, and checked where
        they are given.
    share : float in (0, 1], default 0.005
        floor(share N) samples, but at least one: the authors' code returns NaN
        for N < 200.

    Returns
    -------
    float
        Unbounded; larger is better.

    Raises
    ------
    ValueError
        Bad input.

    Notes
    -----
    It does not look at the labels. Not invariant to translation, rotation or
    scale: it depends on the unit of the features.

    References
    ----------
    M. Gholami et al., *ETran: Energy-Based Transferability Estimation*, ICCV 2023.

    Examples
    --------
    >>> from sfda.separation import etran_energy
    >>> round(etran_energy([[0.0, 0.0], [5.0, 5.0]]), 6)
    0.693147
    """
    if not isinstance(share, numbers.Real) or not 0 < share <= 1:
        raise ValueError(f"share: expected a number in (0, 1], got {share!r}")
    x = as_features(features) if labels is None else as_labelled(features, labels)[0]
    xp = namespace(x)
    energies = []
    for rows in row_blocks(x):
        block = x[rows]
        largest = xp.amax(block, 1)
        energies.append(xp.log(xp.exp(block - largest[:, None]).sum(1)) + largest)
    energies = np.sort(to_numpy(xp.concatenate(energies)))
    # 1e-9: so that 0.005 * 1000 is 5 whatever the rounding.
    return float(energies[: max(1, int(share * len(x) + 1e-9))].mean())


def etran_discriminant(features, labels, *, as_published=False):
    """ETran's classification term: the mean probability that a discriminant gives the labels.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an
        accelerator is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    as_published : bool, default False
        True returns the value of the authors' code. See Notes.

    Returns
    -------
    float
        A mean probability in (0, 1]; larger is better.

    Raises
    ------
    ValueError
        Bad input; no variation within classes, unless `as_published`.

    Notes
    -----
    The paper describes linear discriminant analysis. With its generalised
    eigenvectors V, which satisfy V' S V = I for the regularised scatter S of
    :class:`sfda.FisherDiscriminant`, the coefficients V V' mu_c are inv(S) mu_c,
    and this is what is computed by default: the first pass of the SFDA score.

    The authors' code hands the matrix inv(S) S_B, which is not symmetric, to a
    solver for symmetric ones. Whatever that returns is orthonormal, so
    V V' = I, the coefficients are the class means themselves, and both scatters
    drop out: a softmax of log q_c less half the squared Euclidean distance to
    the class mean. Published scores are this.

    References
    ----------
    M. Gholami et al., *ETran: Energy-Based Transferability Estimation*, ICCV 2023.

    Examples
    --------
    >>> from sfda.separation import etran_discriminant
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
    >>> etran_discriminant(X, y) > etran_discriminant(X, y, as_published=True) > 0.5
    True
    """
    x, y, n_classes = as_labelled(features, labels)
    xp = namespace(x)
    own = xp.arange(len(y)), y
    if not as_published:
        split = LabelledFeatures.from_features(x, y, n_classes)
        log_p = split.log_posterior(adaptive_shrinkage(split.largest_eigenvalue))
        return float(xp.exp(log_p[own]).mean())
    # Distances do not change with the origin, rounding errors do.
    centre = x.mean(0)
    means = class_means(x, y, n_classes) - centre
    delta = xp.concatenate([matmul(x[rows] - centre, means.T) for rows in row_blocks(x)])
    priors = class_sizes(y, x, n_classes) / len(x)
    delta += xp.log(priors) - (means * means).sum(1) / 2
    return float(xp.exp(log_softmax(delta)[own]).mean())


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
    a = g / scale
    diagonal = namespace(a).arange(len(a))
    a[diagonal, diagonal] += 1
    return float(namespace(a).log(cholesky(a).diagonal()).sum())


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


def _check_components(components):
    if components is not None and (
        not isinstance(components, numbers.Integral) or components < 1
    ):
        raise ValueError(
            f"components: expected None or an integer of 1 or more, got {components!r}"
        )
