"""Self-challenging: ConfMix, which makes the samples of a class harder to tell apart.

Reference: W. Shao et al., *Not All Models Are Equal*, ECCV 2022, Eq. 7.
"""

from typing import Any

from numpy.typing import ArrayLike

from sfda.metric.inputs import as_confidence, as_features, as_given, as_labels, check_probabilities
from sfda.metric.linalg import class_sums, like, namespace, softmax, softmax_at, to_numpy


def confmix(features: ArrayLike, labels: ArrayLike, confidence: ArrayLike) -> Any:
    """Mix each sample with the mean of the other classes, the more so the less confident it is.

    .. math:: \\tilde x_n = \\hat p_n x_n + (1 - \\hat p_n)\\, o_{y_n},

    where :math:`o_c` is the unweighted mean of the other classes' means. Implements Eq. 7 of the paper with the outer
    mean of its public code.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype or integers; not modified.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    confidence : array-like of shape (N,)
        :math:`\\hat p_n` in [0, 1]; 1 leaves a sample where it is, 0 puts it on the mean of the other classes. See
        :func:`sfda.metric.challenge.confidence_of`.

    Returns
    -------
    array of shape (N, D)
        The mixed features, in the library, device and floating dtype of `features` (float64 for integers), computed
        in float64; gradients do not pass.

    Raises
    ------
    ValueError
        Bad features or labels, or a confidence outside [0, 1] or of another length.
    """
    x = as_features(features)
    y, classes = as_labels(labels, len(x), beside=features)
    p = as_confidence(confidence, len(x))
    y, p = like(y, x), like(p, x)
    others = _others(x, y, len(classes))
    return as_given(p[:, None] * x + (1 - p)[:, None] * others[y], features)


def expected_confmix(features, labels, posterior):
    """ConfMix of samples whose label must not be looked at.

    .. math:: z_n = \\sum_c p(c\\,|\\,x_n)\\,[\\hat p_c x_n + (1 - \\hat p_c)\\, o_c],
              \\qquad \\hat p = \\mathrm{softmax}(p(\\cdot\\,|\\,x_n)),

    the mean of what ConfMix would do under each label, weighted by how probable that label is. `labels` only serve
    to compute the class means. An extension of this package, used by the leave-one-out score.

    Parameters
    ----------
    features : array-like of shape (N, D)
        Not modified.
    labels : array-like of shape (N,)
        Classes of the samples that the means :math:`o_c` are taken from.
    posterior : array-like of shape (N, C)
        Class probabilities of each sample, each row summing to 1, classes in sorted order.

    Returns
    -------
    array of shape (N, D)
        As :func:`sfda.confmix` returns it.

    Raises
    ------
    ValueError
        Bad features or labels, or a posterior of another shape or whose rows are not probabilities.
    """
    x = as_features(features)
    y, classes = as_labels(labels, len(x), beside=features)
    p = as_features(posterior, name="posterior")
    check_probabilities(p, len(classes))
    if len(p) != len(x):
        raise ValueError(f"posterior: expected {len(x)} rows, got {len(p)}")
    y, p = like(y, x), like(to_numpy(p), x)
    others = _others(x, y, len(classes))
    kept, mixed_in = expected_weights(p)
    return as_given(kept[:, None] * x + mixed_in @ others, features)


def confidence_of(posterior, labels):
    """Softened confidence of each sample in its own label, as ConfMix uses it.

    The probabilities go through a *second* softmax, as if they were logits: this is what the paper's public code
    does. The result lies between 1/(C-1+e) and e/(C-1+e).

    Parameters
    ----------
    posterior : array-like of shape (N, C)
        Class probabilities, classes in sorted order.
    labels : array-like of shape (N,)
        Classes of the samples.

    Returns
    -------
    array of shape (N,)

    Raises ValueError for bad labels or a posterior whose rows are not probabilities of each class.
    """
    p = as_features(posterior, name="posterior")
    y, classes = as_labels(labels, len(p))
    check_probabilities(p, len(classes))
    return as_given(softmax_at(p + 0, like(y, p)), posterior)


# The formulas, on checked arrays.


def other_means(means):
    """Unweighted mean of the other classes' means, for each class; shape (C, D)."""
    return (means.sum(0) - means) / (len(means) - 1)


def expected_weights(posterior):
    """Weights of :func:`expected_confmix`: of the sample (N,), of each o_c (N, C)."""
    soft = softmax(posterior + 0)
    return (posterior * soft).sum(1), posterior * (1 - soft)


def _others(x, y, n_classes):
    return other_means(class_sums(x, y, n_classes) / namespace(x).bincount(y)[:, None])
