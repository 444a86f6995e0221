"""The SFDA score, top to bottom as in the paper: fit, challenge, refit, and ask how sure the second fit is.

Notation, with the paper's letters: x_n in R^D is the feature of sample n, y_n its class; class c has N_c of the N
samples, prior q_c = N_c / N and mean mu_c; S_W and S_B are the covariances within and between classes. The equations
stand below in their order, 1 in :func:`sfda.sfda_score`, 2 to 7 under their numbers. ``tests/literal.py`` says the same
slowly.

Reference: W. Shao et al., *Not All Models Are Equal*, ECCV 2022, Eqs. 1 to 7.
"""

import math
import warnings
from typing import TYPE_CHECKING, Literal

from numpy.typing import ArrayLike

from sfda.metric.challenge import expected_weights, other_means
from sfda.metric.inputs import as_features, as_labels, check_leave_one_out, check_posterior, check_shrinkage
from sfda.metric.linalg import (
    class_sums,
    full_precision,
    like,
    log_softmax,
    log_softmax_at,
    matmul,
    namespace,
    row_blocks,
    softmax,
    softmax_at,
    to_dtype,
    to_float64,
)
from sfda.metric.scatter import SHRINKAGE_FLOOR, LabelledFeatures, LeftOut, OutOfPrecision

if TYPE_CHECKING:
    import torch


class SaturationWarning(UserWarning):
    """The plain score says little here.

    It is within 1e-6 of 1, its maximum; or there are no more samples than features (N <= D), so that a small lambda
    makes it 1 whatever the labels are.
    """


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

    Larger is better; the score is a mean probability in (0, 1]. Scores of different networks are comparable on the
    same samples only.

    Parameters
    ----------
    features : array-like of shape (N, D)
        Features of the target images: NumPy or torch, any floating dtype, any device; not modified. A tensor on a
        GPU is scored there.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    posterior : {"resubstitution", "leave-one-out"}, default "resubstitution"
        "resubstitution" is the published score: the discriminant judges the samples it was fitted to.
        "leave-one-out", an extension of this package, judges each sample by the discriminant without it, and does
        not saturate when N is not much larger than D.
    shrinkage : None or float in [0, 1], default None
        lambda of both passes. None: the paper's adaptive rule for "resubstitution", the largest leave-one-out
        likelihood of the first pass for "leave-one-out", where a much smaller one makes the score collapse if N is
        not much larger than D.
    strength : float, default 5.0
        a of the adaptive rule lambda = max(exp(-a sigma), 1e-10), sigma the largest eigenvalue of S_W as the public
        code estimates it; not used where `shrinkage` is a number, nor by "leave-one-out", which chooses lambda.
    dtype : None, "float64" or "float32", default None
        Precision of the products over samples; None means float64. Factorisations are always in float64, and so is
        everything when N < 2 D or where float32 proves not to be enough: features that are linearly dependent, or
        near the ends of its range. float32 on a GPU is float32, never TF32, even where torch has been allowed to.
    device : None, str or torch.device, default None
        Where to compute; None means where the features are.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Bad input: the message names the argument, what was found and what was expected. Leave-one-out names the
        classes that have only one sample.

    Warns
    -----
    SaturationWarning
        The plain score is within 1e-6 of 1, or N <= D. See Notes.

    Notes
    -----
    The plain score of N <= D + 1 affinely independent samples goes to 1 as lambda goes to 0, whatever the labels are:
    the ridge is all there is in the directions in which only class means differ. So it is 1 where large features put
    lambda at its floor. Features scaled down have a larger lambda, and the score can be far below 1.

    The plain score equals the public code's ``SFDA_Score`` on fresh copies of the features (where columns are constant,
    to 1e-5: that code's rounding grows by 1 / lambda, unless they are 0), for two symmetric products and two Cholesky
    factorisations. In the second pass of "leave-one-out" the held-out sample is challenged without its
    label (:func:`sfda.metric.challenge.expected_confmix`); those that train the discriminant are mixed with theirs.

    References
    ----------
    W. Shao et al., *Not All Models Are Equal*, ECCV 2022, Eqs. 1 to 7, and the public code at
    https://github.com/TencentARC/SFDA.

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
    p, shape = _judged(features, labels, posterior, True, shrinkage, strength, dtype, device, kept=softmax_at)
    # Eq. 1: T = 1/N sum_n p(y_n | x_n), of the challenged samples. The paper has log p, its code leaves the log out.
    value = float(p.mean())
    if posterior == "resubstitution":
        warn_of_saturation(value, *shape, stacklevel=3)
    return value


# --- Eqs. 2 to 6: the discriminant ---------------------------------------------


def adaptive_shrinkage(sigma, strength=5.0):
    """Eq. 3: lambda = max(exp(-a sigma), 1e-10), strong where the features vary little.

    Eq. 2 looks for directions u of the largest u'S_B u / u'S u, where S = (1 - lambda) S_W + lambda (tr S_W / D) I.

    Parameters
    ----------
    sigma : float
        Largest eigenvalue of S_W.
    strength : float, default 5.0
        a; 5 in the public code, 4 in the paper's appendix.
    """
    return max(math.exp(-strength * sigma), SHRINKAGE_FLOOR)


def fisher_posterior(scatter, shrinkage):
    """The discriminant of Eqs. 4 to 6 of a :class:`sfda.metric.scatter.PooledScatter`, which is used up.

    A function of residuals r (n, D) and classes y (n,) to delta_c(x), shape (n, C), at x = mu_y + r; up to the same
    number for all classes.
    """
    # Eq. 4: S_B u = v S u. Its D solutions, the columns of U with U'S U = I, satisfy U U' = inv(S), and only that
    # is needed: one Cholesky factor S = L L' in place of the eigenproblem.
    factor = scatter.factor(shrinkage)  # L, (D, D)
    mu, b = scatter.means, scatter.coefficients(factor)  # mu_c, (C, D); U U'mu_c = inv(S) mu_c, (D, C)
    # Eq. 5: delta_c(x) = x'U U'mu_c - mu_c'U U'mu_c / 2 + log q_c, where x = mu_y + r.
    products = matmul(mu, b)  # (C, C)
    offsets = products - products.diagonal() / 2 + namespace(mu).log(scatter.counts / scatter.n)

    def judge(r, y):
        delta = to_float64(matmul(r, b))
        delta += offsets[y]
        return delta

    return judge


# --- Eq. 7: self-challenging ----------------------------------------------------


def _challenged(first, confidence):
    """Eq. 7, ConfMix: x~_n = p^_n x_n + (1 - p^_n) o_{y_n}, o_c the mean of the other classes' means.

    In the memory of the samples' residuals: `first` is used up. As
    p^ (r + mu) + (1 - p^) o = p^ r + p^ (mu - o) + o, means and residuals follow from each class's sums of p^ r and p^.
    """
    r, y, counts = first.residuals, first.y, first.counts
    others = other_means(to_float64(first.means))  # o_c, (C, D)
    gaps = to_float64(first.means) - others
    one = namespace(r).ones_like(confidence)[:, None]
    share = class_sums(one, y, len(counts), confidence)[:, 0] / counts  # mean p^ of each class, (C,)
    moved = class_sums(r, y, len(counts), confidence) / counts[:, None]  # mean p^ r, (C, D)
    means = moved + share[:, None] * gaps + others
    p, gaps, moved = (to_dtype(a, r.dtype) for a in (confidence, gaps, moved))
    extra = to_dtype(confidence - share[y], r.dtype)
    for rows in row_blocks(r, 2**19):  # with what is added twice in the cache
        block, own = r[rows], y[rows]
        block *= p[rows, None]
        added = gaps[own]
        added *= extra[rows, None]
        added -= moved[own]
        block += added
    return LabelledFeatures(r, means, y, counts, first.n_features)


# --- both passes -----------------------------------------------------------------


def _passes(x, y, n_classes, left_out, challenge, shrinkage, strength, kept):
    """`kept` of delta_c(x_n) of the samples as they are or, with `challenge`, of the challenged ones.

    Eq. 6 is its softmax: p(c | x) = exp(delta_c(x)) / sum_k exp(delta_k(x)).
    """
    first = LabelledFeatures.from_features(x, y, n_classes)  # mu_c, x_n - mu_{y_n} and S_W
    if shrinkage is None and not left_out:
        shrinkage = adaptive_shrinkage(first.largest_eigenvalue, strength)
    elif shrinkage in (None, "leave-one-out"):
        shrinkage = first.choose_shrinkage()
        if not left_out:  # the search has turned the samples, and used up their scatter
            first = LabelledFeatures.from_features(x, y, n_classes)
    shrinkage, judge = float(shrinkage), LeftOut if left_out else fisher_posterior
    if not challenge:
        return first.judged(judge(first, shrinkage), kept=kept)
    if not left_out:
        # p^_n = softmax(p(. | x_n)) at y_n: the public code's second softmax
        confidence = first.judged(judge(first, shrinkage), kept=lambda delta, y: softmax_at(softmax(delta), y))
        second = _challenged(first, confidence)
        return second.judged(judge(second, shrinkage), kept=kept)

    # A sample that is left out is challenged without its label, z = w x + V o. With x~ = p^ x + (1 - p^) o_y it is
    # a x~ + U o, a = w / p^: the mixed samples serve in place of the samples that they overwrote.
    p = first.judged(judge(first, shrinkage))
    confidence, others = softmax_at(p + 0, y), other_means(first.means)
    second = _challenged(first, confidence)
    w, u = expected_weights(p)
    a = w / confidence
    u[namespace(x).arange(len(y)), y] -= a * (1 - confidence)
    a, u = to_dtype(a, x.dtype)[:, None], to_dtype(u, x.dtype)

    def points(rows):
        return a[rows] * (second.residuals[rows] + second.means[y[rows]]) + matmul(u[rows], others)

    return second.judged(judge(second, shrinkage), points, kept)


@full_precision()
def _judged(features, labels, posterior, challenge, shrinkage, strength, dtype=None, device=None, *, kept):
    """`kept` of the discriminants (n, C) and classes (n,) of blocks of samples, together; the shape of the features."""
    check_posterior(posterior)
    check_shrinkage(shrinkage, strength, names=() if challenge else ("leave-one-out",))
    x = as_features(features, dtype=dtype, device=device)
    y, classes = as_labels(labels, len(x), beside=features)
    (n, d), left_out, float64 = x.shape, posterior == "leave-one-out", namespace(x).float64
    if left_out or shrinkage == "leave-one-out":
        check_leave_one_out(namespace(y).bincount(y), classes)
    y = like(y, x)
    options = y, len(classes), left_out, challenge, shrinkage, strength, kept
    try:
        if n < 2 * d and x.dtype != float64:
            raise OutOfPrecision
        return _passes(x, *options), (n, d)
    except OutOfPrecision:
        if x.dtype == float64:
            raise
        return _passes(as_features(features, device=device), *options), (n, d)


def warn_of_saturation(value, n, d, *, stacklevel):
    """Warn where a plain score is at its maximum of 1, or where a small lambda makes it 1 for any labels."""
    if n <= d:
        reason = (
            f"cannot be trusted: N = {n} <= D = {d} samples can be separated whatever their labels, "
            "and are where lambda is near its floor"
        )
    elif value >= 1 - 1e-6:
        reason = f"has saturated: it is {value:.7f} and cannot tell networks apart"
    else:
        return
    advice = "use posterior='leave-one-out', or more samples"
    warnings.warn(f"the plain SFDA score {reason}; {advice}", SaturationWarning, stacklevel=stacklevel)


def log_posterior(
    features, labels, *, posterior="leave-one-out", challenge=True, shrinkage=None, strength=5.0,
    dtype=None, device=None,
):  # fmt: skip
    """Log-probabilities of the classes that the score is the mean of.

    Their mean, ``exp(log_posterior(...))`` at the samples' own classes, is :func:`sfda.sfda_score`.

    Parameters
    ----------
    features, labels, strength, dtype, device
        As in :func:`sfda.sfda_score`.
    posterior : {"leave-one-out", "resubstitution"}, default "leave-one-out"
        As in :func:`sfda.sfda_score`.
    challenge : bool, default True
        False stops after the first pass, whose samples are as they came.
    shrinkage : None, float in [0, 1] or "leave-one-out", default None
        As in :func:`sfda.sfda_score`. "leave-one-out", without the challenge only, chooses it by leave-one-out
        likelihood for either posterior, as None does for that of this name.

    Returns
    -------
    array of shape (N, C), float64
        Columns in sorted order of the labels; NumPy, or torch on an accelerator.

    Raises
    ------
    ValueError
        As :func:`sfda.sfda_score`.
    """
    kept = lambda delta, y: log_softmax(delta)  # noqa: E731
    return _judged(features, labels, posterior, challenge, shrinkage, strength, dtype, device, kept=kept)[0]


def discriminant_accuracy(features, labels, *, posterior="resubstitution", shrinkage=None, strength=5.0):
    """Accuracy of the regularised Fisher discriminant: of the first pass, in which nothing is challenged.

    Parameters
    ----------
    features, labels, posterior, shrinkage, strength
        As in :func:`log_posterior`.

    Returns
    -------
    float
        In [0, 1]; larger is better. By resubstitution it is 1 for any labels where N <= D samples are independent and
        lambda is small, and near 1 where N is not much larger than D.

    Raises
    ------
    ValueError
        Bad input; no variation within classes; leave-one-out with classes of one sample.

    Examples
    --------
    >>> from sfda.metric.score import discriminant_accuracy
    >>> X, y = [[0.0], [1.0], [0.8], [2.0], [3.0]], [0, 0, 1, 1, 1]
    >>> discriminant_accuracy(X, y)
    0.8
    """
    right = lambda delta, y: delta.argmax(1) == y  # noqa: E731
    kept, (n, _) = _judged(features, labels, posterior, False, shrinkage, strength, kept=right)
    return float(kept.sum()) / n


def discriminant_probability(features, labels, *, posterior="resubstitution", shrinkage=None, strength=5.0):
    """Mean probability that the regularised Fisher discriminant gives the labels.

    By resubstitution it is what the SFDA score would be without the self-challenge. Arguments and errors are those
    of :func:`discriminant_accuracy`; in (0, 1], larger is better.
    """
    return float(_judged(features, labels, posterior, False, shrinkage, strength, kept=softmax_at)[0].mean())


def discriminant_log_likelihood(features, labels, *, posterior="resubstitution", shrinkage=None, strength=5.0):
    """Mean log-probability that the regularised Fisher discriminant gives the labels.

    Arguments and errors are those of :func:`discriminant_accuracy`; in (-inf, 0], larger is better. -log C is
    chance where classes are of one size.
    """
    return float(_judged(features, labels, posterior, False, shrinkage, strength, kept=log_softmax_at)[0].mean())
