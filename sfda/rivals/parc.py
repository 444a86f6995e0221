"""PARC: do images that look alike to the network have the same label?"""

import math
import os

import numpy as np
import scipy.stats
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from sfda.metric.linalg import matmul, to_numpy
from sfda.rivals.moments import as_labelled, check_components

BLOCK_BYTES = 2**23  # of PARC's correlations
PAIR_BYTES = 4.5  # that N^2 of them take
PUBLISHED_TIMES = 16  # so much as published


def parc(features, labels, *, components=None, seed=1919, as_published=False):
    """Pairwise annotation representation comparison.

    The Spearman rank correlation, over all pairs of samples, of two dissimilarities: 1 - Pearson correlation of
    their standardised features, and the same of their one-hot labels, which is one number for pairs of one
    class and another for all others.

    Parameters
    ----------
    features : array-like of shape (N, D)
        At least two columns; NumPy or torch, any floating dtype; not modified. Computed by NumPy: a tensor on
        an accelerator is copied to the CPU.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes, one of them with two samples.
    components : int, optional
        Reduce the features to so many principal components first, to their rank where it is lower; 32 is what
        the authors and the code beside the SFDA paper use. With scikit-learn's randomised solver and one power
        iteration, as published: where the spectrum is flat these are not the leading components, and the score
        depends on `seed`.
    seed : int, default 1919
        Of the randomised solver, the authors' number; not used otherwise.
    as_published : bool, default False
        True takes the steps of the authors' code, and ranks its rounding errors. See Notes. Takes sixteen times the
        memory.

    Returns
    -------
    float
        From -100 to 100; larger is better. 0 where all pairs are equally similar.

    Raises
    ------
    ValueError
        Bad input; a single column, which has no correlation; no two samples of one class; more samples than
        the machine's memory holds pairs of.

    Notes
    -----
    Memory grows with N^2: 4.5 N^2 bytes for the N (N - 1) / 2 correlations and
    their ties, which is 1 GB for 15 000 samples. The correlations come from one symmetric
    product and are sorted once. The labels' ranks need no sorting: with only
    two values, Spearman's correlation follows from the mean rank of the pairs
    of one class. Correlations are compared to 12 digits, so that pairs that
    are equal but for rounding count as equal. A sample that is constant over
    its standardised features has no correlation with any other: 0 here, also
    as published, NaN in public code.

    The correlation of a one-hot row with its equal is 1, but in floating point it is 1 - 2e-16 for some
    classes, unless C is a power of two. The authors' code ranks these numbers, so the pairs of one class are
    ordered by class, at random, and the score changes with the numbering of the classes and with the processor:
    in a test of this package with seven classes, 53.6 without rounding errors, 36 to 52 where the processor
    fuses multiplication and addition, 49 to 52 on an older one. The authors' own file differs between two such
    processors in 62 of 98 random problems, by up to 16 points. As published is what it gives on this machine,
    in single precision for float32 and with principal components that are rounding errors, if there are any.

    References
    ----------
    D. Bolya, R. Mittapalli and J. Hoffman, *Scalable Diverse Model Selection
    for Accessible Transfer Learning*, NeurIPS 2021.

    Examples
    --------
    >>> from sfda.rivals.parc import parc
    >>> X = [[1.0, 0, 0], [0.9, 0.1, 0], [0, 1, 0.1], [0, 0.9, 0]]
    >>> parc(X, ["cat", "cat", "dog", "dog"]) > 80
    True
    >>> parc(X, ["cat", "dog", "cat", "dog"]) < 0
    True
    """
    check_components(components)
    x, y, n_classes = as_labelled(features, labels)
    x, y = to_numpy(x), to_numpy(y)
    n, d = x.shape
    if d < 2:
        raise ValueError("features: expected at least 2 columns to correlate samples over, got 1")
    if np.bincount(y).max() < 2:
        raise ValueError("labels: expected two samples of one class, found none")
    check_memory(n, PAIR_BYTES * n * n * (PUBLISHED_TIMES if as_published else 1))
    if as_published:  # single precision stays single in the authors' code
        single = str(getattr(features, "dtype", "")).endswith("float32")
        x = np.ascontiguousarray(x, np.float32 if single else np.float64)
    if components is not None and (x != x[0]).any():
        k = min(components, n, d)
        pca = PCA(k, svd_solver="randomized", random_state=seed, iterated_power=1)
        x = pca.fit_transform(x)
        if not as_published:
            # Scaled to variance 1, rounding errors would be features like any other: of N or fewer
            # components the last has none else, once the mean is taken away.
            x = x[:, pca.singular_values_ > 1e-10 * pca.singular_values_[0]]
    x = StandardScaler().fit_transform(x)
    if as_published:
        with np.errstate(invalid="ignore"):  # 0 / 0 of samples that are constant
            correlations = np.nan_to_num(np.corrcoef(x)), np.corrcoef(np.eye(n_classes)[y])
        pairs = np.triu_indices(n, 1)
        unlike = [(1 - r)[pairs] for r in correlations]
        return float(100 * scipy.stats.spearmanr(*unlike).statistic) if np.ptp(unlike[0]) else 0.0
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


def check_memory(n, needed):
    """ValueError where `needed` bytes for `n` samples are more than the machine has, as far as it says."""
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows does not say
        return
    if needed > there:
        raise ValueError(
            f"features: the pairs of {n} samples need {needed / 1e9:,.0f} GB of memory, here are {there / 1e9:,.0f}; "
            "take fewer samples of each class"
        )
