"""ETran's two terms: the energy of the features, and a discriminant's probability."""

import numbers

import numpy as np

from sfda.metric.inputs import as_features
from sfda.metric.linalg import log_softmax, matmul, namespace, row_blocks, to_numpy
from sfda.metric.score import discriminant_probability
from sfda.rivals.moments import as_labelled, class_means, class_sizes, min_max, over_zoo


def etran_energy(features, labels=None, *, share=0.005):
    """ETran's energy term: the mean energy of the samples that have the least.

    The energy of a sample is the log-sum-exp over its features, log sum_d exp(x_nd); the score is its mean over
    the lowest `share` of the samples.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. A tensor on an accelerator is scored there.
    labels : ignored
        Taken so that it can be called like other metrics, and checked where they are given.
    share : float in (0, 1], default 0.005
        floor(share N) samples, but at least one: the authors' code returns NaN for N < 200. Else both agree.

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
    >>> from sfda.rivals.etran import etran_energy
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
        NumPy or torch, any floating dtype; not modified. A tensor on an accelerator is scored there.
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

    The authors' code hands the matrix inv(S) S_B, which is not symmetric, to a solver for symmetric ones.
    Whatever that returns is orthonormal, so V V' = I, the coefficients are the class means themselves, and both
    scatters drop out: a softmax of log q_c less half the squared Euclidean distance to the class mean.
    Published scores are this.

    References
    ----------
    M. Gholami et al., *ETran: Energy-Based Transferability Estimation*, ICCV 2023.

    Examples
    --------
    >>> from sfda.rivals.etran import etran_discriminant
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
    >>> published = etran_discriminant(X, y, as_published=True)
    >>> etran_discriminant(X, y) > published > 0.5
    True
    """
    if not as_published:
        return discriminant_probability(features, labels)
    x, y, n_classes = as_labelled(features, labels)
    xp = namespace(x)
    own = xp.arange(len(y)), y
    # Distances do not change with the origin, rounding errors do.
    centre = x.mean(0)
    means = class_means(x, y, n_classes) - centre
    delta = xp.concatenate([matmul(x[rows] - centre, means.T) for rows in row_blocks(x)])
    priors = class_sizes(y, x, n_classes) / len(x)
    delta += xp.log(priors) - (means * means).sum(1) / 2
    return float(xp.exp(log_softmax(delta)[own]).mean())


def etran(features_by_model, labels, *, as_published=False):
    """ETran: 0.15 times the energy term plus 0.85 times the discriminant term, compared.

    Parameters
    ----------
    features_by_model : mapping of str to array-like of shape (N, D_m)
        Features of the same N samples under each network, at least two; not modified.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    as_published : bool, default False
        True takes the discriminant term of the authors' code, which is not a Fisher discriminant: see
        :func:`sfda.rivals.etran.etran_discriminant`.

    Returns
    -------
    dict of str to float
        Both terms are brought to [0, 1] over this zoo; from 0 to 1, larger is better. A term on which the whole
        zoo agrees counts as 0.

    Raises
    ------
    ValueError
        Bad input: the message names the network.

    References
    ----------
    M. Gholami et al., *ETran: Energy-Based Transferability Estimation*, ICCV 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.rivals.etran import etran
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(90) % 3
    >>> noise = rng.standard_normal((90, 8))
    >>> signal = np.eye(3, 8)[y]
    >>> zoo = {"weak": noise + signal, "strong": noise + 4 * signal}
    >>> scores = etran(zoo, y)
    >>> scores["weak"] < scores["strong"]
    True
    """

    def terms_of(x, y):
        return etran_energy(x), etran_discriminant(x, y, as_published=as_published)

    terms = over_zoo(features_by_model, labels, terms_of)
    energy, discriminant = (min_max(term) for term in zip(*terms.values()))
    return dict(zip(terms, (0.15 * energy + 0.85 * discriminant).tolist()))
