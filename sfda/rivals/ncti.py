"""NCTI: a score of a whole zoo, which of one network says nothing.

NCTI, as ETran, adds terms of different units, which are first brought to [0, 1] by the smallest and the largest
value *over the networks compared*. A score changes when another network joins the zoo, and so may the order of
the others.
"""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from sfda.metric.linalg import to_numpy
from sfda.rivals.moments import as_labelled, min_max, over_zoo, principal_components

COMPONENTS = 64
TEMPERED = 32  # leading components that set the shrinkage
SHRINKAGE_FLOOR = 1e-10


class NctiTerms(NamedTuple):
    """NCTI's three terms of one network; the third counts against it."""

    spread: float
    confidence: float
    collapse: float


def ncti(features_by_model, labels):
    """NCTI: how close the networks' features are to neural collapse, compared.

    Parameters
    ----------
    features_by_model : mapping of str to array-like of shape (N, D_m)
        Features of the same N samples under each network, at least two; not modified.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.

    Returns
    -------
    dict of str to float
        For each network the sum of its first two terms less its third (:func:`ncti_terms`), each brought to [0,
        1] over this zoo; from -1 to 2, larger is better. A term on which the whole zoo agrees counts as 0.

    Raises
    ------
    ValueError
        Bad input: the message names the network.

    References
    ----------
    Z. Wang et al., *How Far Pre-trained Models Are from Neural Collapse on the
    Target Dataset Informs their Transferability*, ICCV 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.rivals.ncti import ncti
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(90) % 3
    >>> noise = rng.standard_normal((90, 8))
    >>> signal = np.eye(3, 8)[y]
    >>> zoo = {"weak": noise + signal, "strong": noise + 4 * signal}
    >>> scores = ncti(zoo, y)
    >>> scores["weak"] < scores["strong"]
    True
    """
    terms = over_zoo(features_by_model, labels, ncti_terms)
    spread, confidence, collapse = (min_max(term) for term in zip(*terms.values()))
    return dict(zip(terms, (spread + confidence - collapse).tolist()))


def ncti_terms(features, labels):
    """NCTI's three terms of one network, to be compared over a zoo by :func:`ncti`.

    The features are reduced to 64 principal components, and a linear discriminant is fitted to them with the
    shrinkage exp(-v), v the variance of the first 32 components; at 1e-10 or less, none.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. Components and discriminant are scikit-learn's: a
        tensor on an accelerator is copied to the CPU.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.

    Returns
    -------
    NctiTerms
        `spread`: nuclear norm of the centred discriminant features. `confidence`: mean probability of the
        samples' own classes. `collapse`: logarithm of the sum over classes of the nuclear norms of their
        probabilities.

    Raises
    ------
    ValueError
        Bad input; features that are the same in every row; only classes of one sample.

    Notes
    -----
    The principal components are exact, where the authors' code lets scikit-learn choose a randomised, unseeded
    solver for large features: their terms then vary by some 1e-3. Fewer than 64 are used where the features have
    a lower rank. That code ends in an error for N or D below 64, and where columns are dead, constant or repeated
    makes of rounding errors components like any other, with terms that are off by up to a factor of ten.

    References
    ----------
    As :func:`ncti`.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.rivals.ncti import ncti_terms
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(90) % 3
    >>> X = rng.standard_normal((90, 8)) + 4 * np.eye(3, 8)[y]
    >>> terms = ncti_terms(X, y)
    >>> 0.9 < terms.confidence <= 1
    True
    """
    x, y, n_classes = as_labelled(features, labels)
    if n_classes == len(x):
        raise ValueError("labels: expected two samples of one class, found none")
    y, (x, variances) = to_numpy(y), principal_components(x, COMPONENTS)
    shrinkage = max(float(np.exp(-variances[:TEMPERED].sum())), SHRINKAGE_FLOOR)
    if shrinkage == SHRINKAGE_FLOOR:
        discriminant = LinearDiscriminantAnalysis(solver="svd")
    else:
        discriminant = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Variables are collinear", UserWarning)
        fisher = discriminant.fit_transform(x, y)
    p = discriminant.predict_proba(x)
    fisher -= fisher.mean(0)
    collapse = sum(np.linalg.norm(p[y == c], "nuc") for c in range(n_classes))
    confidence = p[np.arange(len(y)), y].mean()
    return NctiTerms(float(np.linalg.norm(fisher, "nuc")), float(confidence), float(np.log(collapse)))
