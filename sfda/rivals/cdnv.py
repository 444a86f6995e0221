"""CDNV along directions: how far each class spreads towards the others, beside how far they are."""

from numpy.typing import ArrayLike

from sfda.metric.linalg import class_sums, matmul, namespace, row_blocks
from sfda.rivals.moments import EPS, as_labelled, centred, class_means, class_sizes, column_units

SMALLEST_SQUARE = 1e-290  # of a distance: what is divided by it stays in range


def directional_cdnv(features: ArrayLike, labels: ArrayLike) -> float:
    """Directional class-distance normalised variance, with a minus: the less, the better.

    .. math:: -\\frac{1}{C (C - 1)} \\sum_{i \\ne j} \\frac{\\sigma_{ij}^2}{|\\mu_i - \\mu_j|^2},

    where sigma_ij^2 is the variance of class i along the line from its mean mu_i to that of class j. Every pair is
    counted in both orders.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an accelerator is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.

    Returns
    -------
    float
        At most 0; larger is better.

    Raises
    ------
    ValueError
        Bad input, features that are the same in every row, or two classes with the same mean.

    Notes
    -----
    Population variances. It is the leading term of its authors' bound on the error of the nearest class mean from few
    samples. CDNV itself has the whole variance of both classes in the place of that along the line, which counts
    noise in directions that no decision looks at. A class of one sample has no variance. Means of few samples in many
    dimensions are farther apart than the classes. Classes whose means are the same to 16 digits are refused, which
    public code leaves out, as if they were apart. Invariant to translation, rotation and scale.

    References
    ----------
    A. Luthra, Y. Salunkhe and T. Galanti, *Directional Neural Collapse Explains Few-Shot Transfer in Self-Supervised
    Learning*, ICML 2026 (arXiv:2603.03530). CDNV: T. Galanti, A. György and M. Hutter, *On the Role of Neural
    Collapse in Transfer Learning*, ICLR 2022.

    Examples
    --------
    >>> from sfda.rivals.cdnv import directional_cdnv
    >>> round(directional_cdnv([[0.0, 5.0], [0.0, -5.0], [3.0, 0.0], [5.0, 0.0]], [0, 0, 1, 1]), 5)
    -0.03125
    """
    x, y, n_classes = as_labelled(features, labels)
    xp, x = namespace(x), centred(x)
    x /= column_units(xp.maximum(x.max(), -x.min()))
    means, counts = class_means(x, y, n_classes), class_sizes(y, x, n_classes)
    squares = xp.stack([((means - mean) ** 2).sum(1) for mean in means])  # of the means' distances, (C, C)
    least = max(EPS**2 * float((means**2).sum(1).max()), SMALLEST_SQUARE)
    places = xp.arange(n_classes)
    squares[places, places] = 1  # no line leads from a class to itself
    if float(squares.min()) <= least:
        raise ValueError("features: expected a mean of its own for every class, found two that are the same")
    total = 0.0
    for rows in row_blocks(x):
        own = y[rows]
        lengths = matmul(x[rows] - means[own], means.T)
        lengths -= lengths[xp.arange(len(own)), own][:, None] + 0.0
        lengths /= squares[own]  # along the line, in units of its length
        total += float((class_sums(lengths * lengths, own, n_classes) / counts[:, None]).sum())
    return -total / (n_classes * (n_classes - 1))
