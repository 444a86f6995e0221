"""How much a source classifier's guesses say about the target's classes.

LEEP and NCE ask the network's own classifier: theta_nz is the probability it gives its source class z for
target sample n. Their joint distribution with the labels, J(y, z) = mean_n [y_n = y] theta_nz, gives P(y|z),
and the score is how likely the labels are under it. NLEEP needs no classifier: a Gaussian mixture stands in for
it.
"""

import math
import numbers
import warnings

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg.lapack import dtrtri
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from sfda.metric.inputs import as_features, as_labels
from sfda.metric.linalg import class_sums, like, matmul, namespace, row_blocks, to_numpy
from sfda.rivals.moments import as_labelled, principal_components

SUM_TOLERANCE = 1e-2  # float16 and bfloat16 softmaxes stay within it, logits do not


def leep(source_probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Log expected empirical prediction.

    .. math:: \\frac1N \\sum_n \\log \\sum_z P(y_n\\,|\\,z)\\, \\theta_{nz},
              \\qquad P(y\\,|\\,z) = J(y, z) / \\sum_{y'} J(y', z).

    Parameters
    ----------
    source_probabilities : array-like of shape (N, Z)
        theta: the probabilities of the Z source classes for each target sample, not logits; not modified. NumPy
        or torch, any floating dtype; a tensor on an accelerator is scored there.
    labels : array-like of shape (N,)
        Target classes: integers (gaps are fine) or strings, at least two.

    Returns
    -------
    float
        In (-inf, 0]; larger is better.

    Raises
    ------
    ValueError
        Bad labels, or rows that are not probabilities.

    Notes
    -----
    A source class without any probability is left out; public
    implementations divide by its mass and return NaN. The code beside the SFDA
    paper omits the logarithm: another score, in another order.

    References
    ----------
    C. V. Nguyen et al., *LEEP: A New Measure to Evaluate Transferability of
    Learned Representations*, ICML 2020, Eq. 2.

    Examples
    --------
    >>> from sfda import leep
    >>> theta = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]]
    >>> fits = leep(theta, ["cat", "cat", "dog", "dog"])
    >>> fits > leep(theta, ["cat", "dog", "cat", "dog"])
    True
    """
    theta, y, n_classes = _as_source(source_probabilities, labels)
    theta = theta / theta.sum(1)[:, None]  # in float16 they sum to 1 roughly
    # Not above 0 by a rounding error.
    return min(0.0, float(namespace(theta).log(_expected_predictions(theta, y, n_classes)).mean()))


def nce(source_probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Negative conditional entropy of the labels, given the source classifier's decisions.

    .. math:: \\sum_{y, z} P(y, z) \\log P(y\\,|\\,z), \\qquad z_n = \\arg\\max_z \\theta_{nz}.

    Parameters
    ----------
    source_probabilities : array-like of shape (N, Z)
        As in :func:`sfda.leep`; only the largest entry of each row matters, the first one where several are
        equal.
    labels : array-like of shape (N,)
        As in :func:`sfda.leep`.

    Returns
    -------
    float
        From -log C to 0, where the decisions determine the labels.

    Raises
    ------
    ValueError
        As :func:`sfda.leep`.

    Notes
    -----
    Terms of zero probability are zero, with no constant inside the logarithm.

    References
    ----------
    A. T. Tran, C. V. Nguyen and T. Hassner, *Transferability and Hardness of
    Supervised Classification Tasks*, ICCV 2019.

    Examples
    --------
    >>> from sfda import nce
    >>> theta = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]]
    >>> nce(theta, ["cat", "cat", "dog", "dog"])
    0.0
    """
    theta, y, n_classes = _as_source(source_probabilities, labels)
    z, y, n_sources = to_numpy(theta.argmax(1)), to_numpy(y), theta.shape[1]
    counts = np.bincount(y * n_sources + z, minlength=n_classes * n_sources)
    counts = counts.reshape(n_classes, n_sources)
    seen = counts > 0
    shares = (counts / counts.sum(0).clip(1))[seen]
    # + 0.0: no negative zero.
    return float((counts[seen] * np.log(shares)).sum() / len(y)) + 0.0


def nleep(features, labels, *, components_per_class=5, variance=0.8, covariance="full", log=True, seed=0):
    """LEEP with the components of a Gaussian mixture as source classes.

    The features are reduced to the principal components that hold `variance` of their variance, a mixture with
    `components_per_class` components for each class is fitted to them without labels, and its responsibilities
    take the place of theta in :func:`sfda.leep`.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. The mixture is scikit-learn's: a tensor on an
        accelerator is copied to the CPU.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    components_per_class : int, default 5
        The mixture gets so many times C components, but no more than N / 2, for a component needs samples to be
        fitted to.
    variance : float, default 0.8
        Share of the variance that is kept, between 0 and 1.
    covariance : {"full", "tied", "diag", "spherical"}, default "full"
        Of the mixture's components. Some public variants use "spherical".
    log : bool, default True
        False leaves out the logarithm, as the code beside the SFDA paper does.
    seed : int, default 0
        Of the mixture's k-means start. The score depends on it.

    Returns
    -------
    float
        In (-inf, 0], without the logarithm in (0, 1]; larger is better.

    Raises
    ------
    ValueError
        Bad input, or features that are the same in every row.

    Notes
    -----
    A mixture that has not converged after 100 rounds is used as it is, as in
    the original. Run several seeds: where they disagree, do not trust the score.

    No code of the authors was found. Without the logarithm it is the code beside the SFDA paper after
    ``numpy.random.seed(seed)``, but for the limit of N / 2 components, which is ours, and for single precision, in
    which many mixtures fail there.

    References
    ----------
    Y. Li et al., *Ranking Neural Checkpoints*, CVPR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.rivals.source_classifier import nleep
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(90) % 3
    >>> noise = rng.standard_normal((90, 4))
    >>> signal = np.eye(3, 4)[y]
    >>> nleep(noise + signal, y) < nleep(noise + 5 * signal, y) <= 0
    True
    """
    if not isinstance(components_per_class, numbers.Integral) or components_per_class < 1:
        raise ValueError(f"components_per_class: expected an integer of 1 or more, got {components_per_class!r}")
    if not isinstance(variance, numbers.Real) or not 0 < variance < 1:
        raise ValueError(f"variance: expected a number between 0 and 1, got {variance!r}")
    kinds = ("full", "tied", "diag", "spherical")
    if covariance not in kinds:
        raise ValueError(f"covariance: expected one of {', '.join(kinds)}, got {covariance!r}")
    x, y, n_classes = as_labelled(features, labels)
    x, y = principal_components(x, float(variance))[0], to_numpy(y)
    n_components = min(components_per_class * n_classes, max(1, len(x) // 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            if covariance == "full":
                theta = _responsibilities(x, n_components, seed)
            else:
                mixture = GaussianMixture(n_components, covariance_type=covariance, random_state=seed)
                theta = mixture.fit(x).predict_proba(x)
        except (ValueError, np.linalg.LinAlgError) as error:  # the covariance of few samples, far from the unit's size
            raise ValueError(
                "features: the covariances of the mixture are singular; rescale them, or take covariance='diag'"
            ) from error
    predictions = _expected_predictions(theta, y, n_classes).clip(max=1)
    return float(np.log(predictions).mean() if log else predictions.mean())


def _responsibilities(x, n_components, seed):
    """Of the components of a mixture with full covariances for the samples; shape (N, K).

    What scikit-learn's ``GaussianMixture`` finds, from the same start: its tolerance, its ridge of 1e-6. Here the
    likelihoods are products of many components at once, and a covariance looks at those samples alone in which the
    component has a part: with thousands of components, that are few.
    """
    n, d = x.shape
    start = KMeans(n_components, n_init=1, random_state=np.random.RandomState(seed)).fit(x).labels_
    theta, bound, done = np.zeros((n_components, n)), -np.inf, False
    theta[start, np.arange(n)] = 1
    ones = np.column_stack([x, np.ones(n)]).T
    whiten, log_scale = np.empty((n_components, d, d + 1)), np.empty(n_components)
    for last in [False] * 100 + [True]:
        mass = theta.sum(1) + 10 * np.finfo(float).eps
        means = matmul(theta, x) / mass[:, None]
        for k, mean in enumerate(means):
            part = np.flatnonzero(theta[k] > 1e-40)  # less than a rounding error of any sum of squares
            r = x[part] - mean
            covariance = (theta[k, part] * r.T) @ r / mass[k] + 1e-6 * np.eye(d)
            # C^-1 = W'W where L W = I and C = L L'
            upper, _ = dtrtri(np.linalg.cholesky(covariance).T)
            whiten[k, :, :d], whiten[k, :, d] = upper.T, -(upper.T @ mean)
            log_scale[k] = np.log(upper.diagonal()).sum()
        log_scale += np.log(mass / mass.sum()) - d / 2 * math.log(2 * math.pi)
        for some in row_blocks(whiten[:, :, 0], 2**12):  # blocks that stay in a cache
            for rows in row_blocks(x[:, :1], 2**11):
                z = matmul(whiten[some].reshape(-1, d + 1), ones[:, rows]).reshape(-1, d, len(x[rows]))
                theta[some, rows] = log_scale[some, None] - np.einsum("kdn,kdn->kn", z, z) / 2
        largest = theta.max(0)
        theta -= largest
        total = np.exp(theta, out=theta).sum(0)
        theta /= total
        before, bound = bound, float((largest + np.log(total)).mean())
        if done or last:
            return theta.T
        done = abs(bound - before) < 1e-3


def _expected_predictions(theta, y, n_classes):
    """sum_z P(y_n | z) theta_nz for every sample; shape (N,)."""
    joint = class_sums(theta, y, n_classes)
    mass = joint.sum(0)
    # 0 / 0: a source class that no sample has any of.
    conditional = joint / (mass + (mass == 0))
    result = [(conditional[y[rows]] * theta[rows]).sum(1) for rows in row_blocks(theta)]
    return namespace(theta).concatenate(result)


def _as_source(source_probabilities, labels):
    """Checked source probabilities and classes."""
    theta = as_features(source_probabilities, name="source_probabilities")
    sums = theta.sum(1)
    negative = bool((theta < 0).any())
    wrong = (theta < 0).any(1) if negative else abs(sums - 1) > SUM_TOLERANCE
    if bool(wrong.any()):
        row = int(np.flatnonzero(to_numpy(wrong))[0])
        value = float(theta[row].min()) if negative else float(sums[row])
        found = f"{value:g}" if negative else f"a sum of {value:g}"
        raise ValueError(
            "source_probabilities: expected rows of probabilities that sum to 1, "
            f"found {found} in row {row}; turn logits into probabilities with softmax"
        )
    y, classes = as_labels(labels, len(theta), beside=source_probabilities)
    return theta, like(y, theta), len(classes)
