"""CDNV along directions: how far each class spreads towards the others, beside how far they are."""

from numpy.typing import ArrayLike

from sfda.metric.linalg import class_sums, matmul, namespace, row_blocks
from sfda.rivals.moments import EPS, as_labelled, centred, class_means, class_sizes, column_units

LARGEST = 1e6  # of a ratio
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
        From -1e6 to 0; larger is better.

    Raises
    ------
    ValueError
        Bad input, or features that are the same in every row.

    Notes
    -----
    Population variances. It is the leading term of its authors' bound on the error of the nearest class mean from few
    samples. CDNV itself has the whole variance of both classes in the place of that along the line, which counts
    noise in directions that no decision looks at. A class of one sample has no variance. Means of few samples in many
    dimensions are farther apart than the classes. Invariant to translation, rotation and scale.

    No ratio counts for more than 1e6, and that is what classes count for whose means are the same, to 16 digits.
    Public code leaves these out, as if they were infinitely far apart.

    References
    ----------
    A. Luthra, Y. Salunkhe and T. Galanti, *Directional Neural Collapse Explains Few-Shot Transfer in Self-Supervised
    Learning*, ICML 2026 (arXiv:2603.03530). CDNV: T. Galanti, A. György and M. Hutter, *On the Role of Neural
    Collapse in Transfer Learning*, ICLR 2022.

    Examples
    --------
    >>> from sfda.rivals.cdnv import directional_cdnv
    >>> X = [[0.0, 5.0], [0.0, -5.0], [3.0, 0.0], [5.0, 0.0]]
    >>> round(directional_cdnv(X, [0, 0, 1, 1]), 5)
    -0.03125
    """
    x, y, n_classes = as_labelled(features, labels)
    xp, x = namespace(x), centred(x)
    x /= column_units(xp.maximum(x.max(), -x.min()))
    means, counts = class_means(x, y, n_classes), class_sizes(y, x, n_classes)
    squares = xp.stack([((means - mean) ** 2).sum(1) for mean in means])  # of the means' distances, (C, C)
    same = squares <= max(EPS**2 * float((means**2).sum(1).max()), SMALLEST_SQUARE)
    squares[same] = 1
    ratios = squares * 0
    for rows in row_blocks(x):
        own = y[rows]
        lengths = matmul(x[rows] - means[own], means.T)
        lengths -= lengths[xp.arange(len(own)), own][:, None] + 0.0
        lengths /= squares[own]  # along the line, in units of its length
        ratios += class_sums(lengths * lengths, own, n_classes)
    ratios /= counts[:, None]
    ratios[same] = LARGEST
    places = xp.arange(n_classes)
    ratios[places, places] = 0  # no line leads from a class to itself
    return -float(ratios.clip(max=LARGEST).sum()) / (n_classes * (n_classes - 1))
