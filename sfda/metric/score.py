"""The SFDA score: fit, challenge, refit, and ask how sure the second fit is.

Reference: W. Shao et al., *Not All Models Are Equal*, ECCV 2022.
"""

import warnings
from typing import TYPE_CHECKING, Literal

from numpy.typing import ArrayLike

from sfda.metric.challenge import expected_weights, other_means, own_confidence
from sfda.metric.discriminant import check_leave_one_out, check_shrinkage
from sfda.metric.inputs import as_features, as_labels
from sfda.metric.linalg import class_sums, full_precision, like, matmul, namespace, row_blocks, to_dtype, to_float64
from sfda.metric.scatter import LabelledFeatures, OutOfPrecision, adaptive_shrinkage

if TYPE_CHECKING:
    import torch

import numpy as np


class SaturationWarning(UserWarning):
    """The plain score is at its maximum of 1, or can be for any labels."""


def sfda_score(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    posterior: Literal["resubstitution", "leave-one-out"] = "resubstitution",
    shrinkage: float | None = None,
    strength: float = 5.0,
    dtype: Literal["float64", "float32"] | None = None,
    device: "str | torch.device | None" = None,
) -> float:
    """Predict how well a pre-trained network will transfer, from its features.

    Larger is better; the score is a mean probability in (0, 1]. Scores of
    different networks are comparable on the same samples only.

    Parameters
    ----------
    features : array-like of shape (N, D)
        Features of the target images: NumPy or torch, any floating dtype, any
        device; not modified. A tensor on a GPU is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    posterior : {"resubstitution", "leave-one-out"}, default "resubstitution"
        "resubstitution" is the published score: the discriminant judges the
        samples it was fitted to. "leave-one-out", an extension of this
        package, judges each sample by the discriminant without it, and does
        not saturate when N is not much larger than D.
    shrinkage : None or float in [0, 1], default None
        lambda of both passes. None: the paper's adaptive rule for
        "resubstitution", the largest leave-one-out likelihood of the first
        pass for "leave-one-out", where a much smaller one makes the score
        collapse if N is not much larger than D.
    strength : float, default 5.0
        a of the adaptive rule lambda = max(exp(-a sigma), 1e-10).
    dtype : None, "float64" or "float32", default None
        Precision of the products over samples; None means float64.
        Factorisations are always in float64, and so is everything when
        N < 2 D or where float32 proves not to be enough: features that are
        linearly dependent, or near the ends of its range. float32 on a GPU is
        float32: TF32 is not used, even where torch has been allowed to.
    device : None, str or torch.device, default None
        Where to compute; None means where the features are.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Bad input: the message names the argument, what was found and what was
        expected. Leave-one-out names the classes that have only one sample.

    Warns
    -----
    SaturationWarning
        The plain score is within 1e-6 of 1, or N <= D, where it may be high
        for any labels.

    Notes
    -----
    The plain score equals the public code's ``SFDA_Score`` on fresh copies of
    the features, at the price of two symmetric products and two Cholesky
    factorisations. In the second pass of "leave-one-out" the held-out sample
    is challenged without its label (:func:`sfda.metric.challenge.expected_confmix`),
    while the samples that train the discriminant are mixed with theirs.

    References
    ----------
    W. Shao et al., *Not All Models Are Equal*, ECCV 2022, Eqs. 1 to 7, and the
    public code at https://github.com/TencentARC/SFDA.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda import sfda_score
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(300) % 3
    >>> weak = rng.standard_normal((300, 8)) + 0.5 * np.eye(8)[y]
    >>> strong = rng.standard_normal((300, 8)) + 2.0 * np.eye(8)[y]
    >>> sfda_score(weak, y) < sfda_score(strong, y)
    True
    """
    log_p, y, shape = _log_posterior(
        features, labels, posterior, True, shrinkage, strength, dtype=dtype, device=device
    )
    value = _mean_probability(log_p, y)
    if posterior == "resubstitution":
        warn_of_saturation(value, *shape, stacklevel=3)
    return value


def warn_of_saturation(value, n, d, *, stacklevel):
    """Warn where a plain score is at its maximum of 1, or can be for any labels."""
    if n <= d:
        reason = f"cannot be trusted: N = {n} <= D = {d} samples can be separated whatever their labels"
    elif value >= 1 - 1e-6:
        reason = f"has saturated: it is {value:.7f} and cannot tell networks apart"
    else:
        return
    warnings.warn(
        f"the plain SFDA score {reason}; use posterior='leave-one-out', or more samples",
        SaturationWarning,
        stacklevel=stacklevel,
    )


def log_posterior(
    features,
    labels,
    *,
    posterior="leave-one-out",
    challenge=True,
    shrinkage=None,
    strength=5.0,
    dtype=None,
    device=None,
):
    """Log-probabilities of the classes that the score is the mean of.

    The mean over the samples of ``exp(log_posterior(...))`` at their own class is
    :func:`sfda.sfda_score`; selecting an ensemble takes them one by one.

    Parameters
    ----------
    features, labels, shrinkage, strength, dtype, device
        As in :func:`sfda.sfda_score`.
    posterior : {"leave-one-out", "resubstitution"}, default "leave-one-out"
        As in :func:`sfda.sfda_score`.
    challenge : bool, default True
        False stops after the first pass, whose samples are as they came.

    Returns
    -------
    array of shape (N, C), float64
        Columns in sorted order of the labels; NumPy, or torch on an accelerator.

    Raises
    ------
    ValueError
        As :func:`sfda.sfda_score`.
    """
    return _log_posterior(
        features, labels, posterior, challenge, shrinkage, strength, dtype=dtype, device=device
    )[0]


@full_precision()
def _log_posterior(features, labels, posterior, challenge, shrinkage, strength, *, dtype, device):
    """Log-posterior (N, C) and classes (N,), in one library, and the shape of the features."""
    if not isinstance(posterior, str) or posterior not in ("resubstitution", "leave-one-out"):
        raise ValueError(
            f"posterior: expected 'resubstitution' or 'leave-one-out', got {posterior!r}"
        )
    check_shrinkage(shrinkage, strength, names=())
    x = as_features(features, dtype=dtype, device=device)
    y, classes = as_labels(labels, len(x))
    n, d = x.shape
    if posterior == "leave-one-out":
        check_leave_one_out(namespace(y).bincount(y), classes)

    def compute(x):
        own = like(y, x)
        if posterior == "leave-one-out":
            return _leave_one_out(x, own, len(classes), challenge, shrinkage), own, (n, d)
        return _resubstitution(x, own, len(classes), challenge, shrinkage, strength), own, (n, d)

    try:
        if n < 2 * d and x.dtype != namespace(x).float64:
            raise OutOfPrecision
        return compute(x)
    except OutOfPrecision:
        if x.dtype == namespace(x).float64:
            raise
        return compute(as_features(features, device=device))


def _resubstitution(x, y, n_classes, challenge, shrinkage, strength):
    first = LabelledFeatures.from_features(x, y, n_classes)
    if shrinkage is None:
        shrinkage = adaptive_shrinkage(first.largest_eigenvalue, strength)
    log_p = first.log_posterior(shrinkage)
    if not challenge:
        return log_p
    confidence = own_confidence(namespace(x).exp(log_p), y)
    second = _challenged(first, confidence)
    return second.log_posterior(shrinkage)


def _leave_one_out(x, y, n_classes, challenge, shrinkage):
    xp = namespace(x)
    first = LabelledFeatures.from_features(x, y, n_classes)
    if shrinkage is None:
        shrinkage = first.choose_shrinkage()
    log_p = first.leave_one_out(shrinkage)
    if not challenge:
        return log_p
    p = xp.exp(log_p)
    confidence = own_confidence(p, y)
    others = other_means(first.means)
    second = _challenged(first, confidence)

    # With x~ = c x + (1 - c) o_y, the label-free point z = w x + V o becomes
    # a x~ + U o, a = w / c: the mixed samples serve in place of the samples
    # they overwrote.
    w, u = expected_weights(p)
    a = w / confidence
    u[xp.arange(len(y)), y] -= a * (1 - confidence)

    def points(whiten, m):
        o = whiten(others)
        mm, om = to_float64(matmul(m, m.T)), to_float64(matmul(o, m.T))

        def inner_products(rows, r, rm, rr):
            own = y[rows]
            zm = a[rows, None] * (rm + mm[own]) + matmul(u[rows], om)
            xr = rr + rm[xp.arange(len(own)), own]
            return zm, a[rows] * xr + (u[rows] * to_float64(matmul(r, o.T))).sum(1)

        return inner_products

    return second.leave_one_out(shrinkage, points)


def _challenged(first, confidence):
    """The samples after ConfMix (Eq. 7), in the memory of their residuals: `first` is used up.

    c (r + mu) + (1 - c) o = c r + c (mu - o) + o, so the class means and the
    residuals from them follow from the sums of c r and of c in each class.
    """
    r, y, counts = first.residuals, first.y, first.counts
    others = other_means(to_float64(first.means))
    gaps = to_float64(first.means) - others
    one = namespace(r).ones_like(confidence)[:, None]
    share = class_sums(one, y, len(counts), confidence)[:, 0] / counts
    moved = class_sums(r, y, len(counts), confidence) / counts[:, None]
    means = moved + share[:, None] * gaps + others
    c, gaps, moved = (to_dtype(a, r.dtype) for a in (confidence, gaps, moved))
    extra = to_dtype(confidence - share[y], r.dtype)
    for rows in row_blocks(r):
        block, own = r[rows], y[rows]
        block *= c[rows, None]
        block += extra[rows, None] * gaps[own]
        block -= moved[own]
    return LabelledFeatures(r, means, y, counts, first.n_features)


def _mean_probability(log_p, y):
    xp = namespace(log_p)
    return float(xp.exp(log_p[xp.arange(len(y)), y]).mean())


def discriminant_accuracy(
    features, labels, *, posterior="resubstitution", shrinkage=None, strength=5.0
):
    """Accuracy of the regularised Fisher discriminant.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an
        accelerator is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    posterior : {"resubstitution", "leave-one-out"}, default "resubstitution"
        Which discriminant judges a sample: the one fitted to all samples, or
        the one fitted to all others (in closed form, nothing is refitted).
    shrinkage : None, float in [0, 1] or "leave-one-out", default None
        As in :class:`sfda.FisherDiscriminant`, except that None means
        "leave-one-out" where the posterior is that.
    strength : float, default 5.0
        a of the adaptive rule lambda = max(exp(-a sigma), 1e-10).

    Returns
    -------
    float
        In [0, 1]; larger is better. By resubstitution it is 1 whenever N is
        not much larger than D.

    Raises
    ------
    ValueError
        Bad input; no variation within classes; leave-one-out with classes of
        one sample.

    Examples
    --------
    >>> from sfda.rivals.probe import discriminant_accuracy
    >>> discriminant_accuracy([[0.0], [1.0], [0.8], [2.0], [3.0]], [0, 0, 1, 1, 1])
    0.8
    """
    log_p, y = _first_pass(features, labels, posterior, shrinkage, strength)
    return float((log_p.argmax(1) == y).sum()) / len(y)


def discriminant_probability(
    features, labels, *, posterior="resubstitution", shrinkage=None, strength=5.0
):
    """Mean probability that the regularised Fisher discriminant gives the labels.

    By resubstitution this is what the SFDA score would be without the
    self-challenge.

    Parameters
    ----------
    features, labels, posterior, shrinkage, strength
        As in :func:`discriminant_accuracy`.

    Returns
    -------
    float
        In (0, 1]; larger is better.

    Raises
    ------
    ValueError
        As :func:`discriminant_accuracy`.

    Examples
    --------
    >>> from sfda.rivals.probe import discriminant_probability
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0]], [0, 0, 1, 1, 1]
    >>> plain = discriminant_probability(X, y)
    >>> discriminant_probability(X, y, posterior="leave-one-out") < plain
    True
    """
    log_p, y = _first_pass(features, labels, posterior, shrinkage, strength)
    xp = namespace(log_p)
    return float(xp.exp(log_p[xp.arange(len(y)), y]).mean())


def discriminant_log_likelihood(
    features, labels, *, posterior="resubstitution", shrinkage=None, strength=5.0
):
    """Mean log-probability that the regularised Fisher discriminant gives the labels.

    Parameters
    ----------
    features, labels, posterior, shrinkage, strength
        As in :func:`discriminant_accuracy`.

    Returns
    -------
    float
        In (-inf, 0]; larger is better. -log C is chance where classes are of
        one size.

    Raises
    ------
    ValueError
        As :func:`discriminant_accuracy`.

    Examples
    --------
    >>> from sfda.rivals.probe import discriminant_log_likelihood
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0]], [0, 0, 1, 1, 1]
    >>> plain = discriminant_log_likelihood(X, y)
    >>> discriminant_log_likelihood(X, y, posterior="leave-one-out") < plain < 0
    True
    """
    log_p, y = _first_pass(features, labels, posterior, shrinkage, strength)
    return float(log_p[namespace(log_p).arange(len(y)), y].mean())


def _first_pass(features, labels, posterior, shrinkage, strength):
    """Log-probabilities of the classes (N, C), and the classes (N,)."""
    if posterior not in ("resubstitution", "leave-one-out"):
        raise ValueError(
            f"posterior: expected 'resubstitution' or 'leave-one-out', got {posterior!r}"
        )
    check_shrinkage(shrinkage, strength)
    x = as_features(features)
    y, classes = as_labels(labels, len(x))
    left_out = posterior == "leave-one-out"
    if shrinkage is None and left_out:
        shrinkage = "leave-one-out"
    if left_out or shrinkage == "leave-one-out":
        check_leave_one_out(np.bincount(y), classes)
    y = like(y, x)
    split = LabelledFeatures.from_features(x, y, len(classes))
    if shrinkage is None:
        shrinkage = adaptive_shrinkage(split.largest_eigenvalue, strength)
    elif shrinkage == "leave-one-out":
        shrinkage = split.choose_shrinkage()
        if not left_out:
            # The search has rotated the samples away from their scatter.
            split = LabelledFeatures.from_features(x, y, len(classes))
    judge = split.leave_one_out if left_out else split.log_posterior
    return judge(float(shrinkage)), y
