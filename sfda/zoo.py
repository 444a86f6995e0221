"""Scores of a whole zoo: of one network they say nothing.

NCTI and ETran add terms of different units, which are first brought to [0, 1]
by the smallest and the largest value *over the networks compared*. A score
changes when another network joins the zoo, and so may the order of the others.
"""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from sfda.arrays import as_features, as_labels, to_numpy
from sfda.etran import etran_discriminant, etran_energy
from sfda.moments import principal_components

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
        Features of the same N samples under each network, at least two; not
        modified.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.

    Returns
    -------
    dict of str to float
        For each network the sum of its first two terms less its third
        (:func:`ncti_terms`), each brought to [0, 1] over this zoo; from -1 to 2,
        larger is better. A term on which the whole zoo agrees counts as 0.

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
    >>> from sfda.zoo import ncti
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(90) % 3
    >>> noise = rng.standard_normal((90, 8))
    >>> zoo = {name: noise + s * np.eye(3, 8)[y] for name, s in [("weak", 1), ("strong", 4)]}
    >>> scores = ncti(zoo, y)
    >>> scores["weak"] < scores["strong"]
    True
    """
    terms = _over_zoo(features_by_model, labels, ncti_terms)
    spread, confidence, collapse = (_min_max(term) for term in zip(*terms.values()))
    return dict(zip(terms, (spread + confidence - collapse).tolist()))


def etran(features_by_model, labels, *, as_published=False):
    """ETran: 0.15 times the energy term plus 0.85 times the discriminant term, compared.

    Parameters
    ----------
    features_by_model : mapping of str to array-like of shape (N, D_m)
        Features of the same N samples under each network, at least two; not
        modified.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    as_published : bool, default False
        True takes the discriminant term of the authors' code, which is not a
        Fisher discriminant: see :func:`sfda.etran.etran_discriminant`.

    Returns
    -------
    dict of str to float
        Both terms are brought to [0, 1] over this zoo; from 0 to 1, larger is
        better. A term on which the whole zoo agrees counts as 0.

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
    >>> from sfda.zoo import etran
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(90) % 3
    >>> noise = rng.standard_normal((90, 8))
    >>> zoo = {name: noise + s * np.eye(3, 8)[y] for name, s in [("weak", 1), ("strong", 4)]}
    >>> scores = etran(zoo, y)
    >>> scores["weak"] < scores["strong"]
    True
    """

    def terms_of(x, y):
        return etran_energy(x), etran_discriminant(x, y, as_published=as_published)

    terms = _over_zoo(features_by_model, labels, terms_of)
    energy, discriminant = (_min_max(term) for term in zip(*terms.values()))
    return dict(zip(terms, (0.15 * energy + 0.85 * discriminant).tolist()))


def ncti_terms(features, labels):
    """NCTI's three terms of one network, to be compared over a zoo by :func:`ncti`.

    The features are reduced to 64 principal components, and a linear
    discriminant is fitted to them with the shrinkage exp(-v), v the variance of
    the first 32 components; at 1e-10 or less, none.

    Parameters
    ----------
    features : array-like of shape (N, D)
        NumPy or torch, any floating dtype; not modified. The discriminant is
        scikit-learn's: a tensor on an accelerator is copied to the CPU after
        the reduction.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.

    Returns
    -------
    NctiTerms
        `spread`: nuclear norm of the centred discriminant features.
        `confidence`: mean probability of the samples' own classes.
        `collapse`: logarithm of the sum over classes of the nuclear norms of
        their probabilities.

    Raises
    ------
    ValueError
        Bad input; features that are the same in every row; only classes of
        one sample.

    Notes
    -----
    The principal components are exact, where the authors' code lets
    scikit-learn choose a randomised, unseeded solver for large features.
    Fewer than 64 are used where the features have a lower rank, which ends in
    an error in that code.

    References
    ----------
    As :func:`ncti`.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.zoo import ncti_terms
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(90) % 3
    >>> terms = ncti_terms(rng.standard_normal((90, 8)) + 4 * np.eye(3, 8)[y], y)
    >>> 0.9 < terms.confidence <= 1
    True
    """
    x = as_features(features)
    y, classes = as_labels(labels, len(x))
    if len(classes) == len(x):
        raise ValueError("labels: expected two samples of one class, found none")
    x, variances = (to_numpy(a) for a in principal_components(x, COMPONENTS))
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
    collapse = sum(np.linalg.norm(p[y == c], "nuc") for c in range(len(classes)))
    confidence = p[np.arange(len(y)), y].mean()
    return NctiTerms(
        float(np.linalg.norm(fisher, "nuc")), float(confidence), float(np.log(collapse))
    )


def _over_zoo(features_by_model, labels, terms_of):
    """Terms of every network, by name."""
    if not isinstance(features_by_model, Mapping):
        raise ValueError(
            "features_by_model: expected a mapping from names to features, "
            f"got {type(features_by_model).__name__}"
        )
    if len(features_by_model) < 2:
        raise ValueError(
            "features_by_model: expected at least 2 networks, whose terms are compared, "
            f"got {len(features_by_model)}"
        )
    terms = {}
    for model, features in features_by_model.items():
        # Named here, since what follows knows only one network.
        x = as_features(features, name=f"features_by_model[{model!r}]")
        y, _ = as_labels(labels, len(x))
        terms[model] = terms_of(x, y)
    return terms


def _min_max(values):
    values = np.array(values)
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)
