"""The paper's criterion for ensembles, as far as it is known."""

from typing import NamedTuple

import numpy as np

from sfda.metric.discriminant import FisherDiscriminant
from sfda.metric.ranking import evened


class Step(NamedTuple):
    """What the members chosen so far are worth: ``criterion = mean + complementarity``."""

    criterion: float
    mean: float
    complementarity: float


def fisher_features(features, labels, *, frame="classes", shrinkage=None, strength=5.0):
    """Samples in the space in which classes have unit covariance within.

    Parameters
    ----------
    features : array-like of shape (N, D)
    labels : array-like of shape (N,)
    frame : {"classes", "axes"}, default "classes"
        "axes": the coordinates are the Fisher directions, most discriminative first, min(C - 1, D) of them. Their
        order and signs are the network's own. "classes": the same space, turned so that each of C axes points as
        nearly as possible to one class's mean (the polar factor of the means, an orthogonal Procrustes problem).
        Lengths stay, and the same coordinate means the same class in all networks.
    shrinkage, strength
        As in :class:`sfda.FisherDiscriminant`, "leave-one-out" included.

    Returns
    -------
    ndarray of shape (N, C) or (N, min(C - 1, D))
        Their mean over the samples is 0.

    Raises
    ------
    ValueError
        As :meth:`sfda.FisherDiscriminant.fit`, or no such frame.
    """
    if frame not in ("classes", "axes"):
        raise ValueError(f"frame: expected 'classes' or 'axes', got {frame!r}")
    model = FisherDiscriminant(shrinkage, strength).fit(features, labels)
    z = model.transform(features)
    if frame == "axes":
        return z
    u, _, v = np.linalg.svd(model.transform(model.means_), full_matrices=False)
    return z @ (u @ v).T


def nuclear_selection(scores, features, labels, size, *, weight=0.5, level="sample", rule="once", scale="standard"):
    """Scores mixed with nuclear norms of stacked Fisher features (Eqs. 8 and 9, second-hand).

    The complementarity of network m is the nuclear norm of the matrix whose rows are the networks' Fisher features,
    less the norm without row m. No code of it was published, and what is known of the paper leaves open what one
    row stands for, how the two terms are brought to one scale, and in what order networks are chosen. The defaults,
    and that of :func:`fisher_features`, are those that lost least accuracy on the pocket benchmark's development
    tasks with the published lambda and scores.

    Parameters
    ----------
    scores : array-like of shape (K,)
        Of the single networks, larger is better.
    features : sequence of K arrays of shape (N, D'_m)
        :func:`fisher_features` of the networks; shorter rows are filled up with zeros.
    labels : integer array of shape (N,)
    size : int
        At most K.
    weight : float, default 0.5
        r, of the scores; 1 - r is that of the complementarity.
    level : {"sample", "class"}, default "sample"
        One stack for each sample, or for the mean of each class; the norm is averaged over the stacks. (The mean of
        all samples is 0 in every network.)
    rule : {"once", "greedy"}, default "once"
        The stack holds all K networks, and those with the largest sums are taken; or it holds the networks chosen
        before and the candidate, one choice after the other.
    scale : {"standard", "raw"}, default "standard"
        Both terms with mean 0 and standard deviation 1 over the candidates, or as they are.

    Returns
    -------
    chosen : list of int
        In the order of choice.
    steps : list of Step
        After each choice: r times the mean score of the members, (1 - r) times the mean of the complementarities
        that they had when they were chosen, both on the scale asked for, and their sum.

    Raises
    ------
    ValueError
        No such level, rule or scale.

    References
    ----------
    W. Shao et al., *Not All Models Are Equal*, ECCV 2022, Eqs. 8 and 9.
    """
    for name, value, choices in (
        ("level", level, ("sample", "class")),
        ("rule", rule, ("once", "greedy")),
        ("scale", scale, ("standard", "raw")),
    ):
        if value not in choices:
            raise ValueError(f"{name}: expected {choices[0]!r} or {choices[1]!r}, got {value!r}")
    scores = np.asarray(scores, dtype=float)
    stacks = _stacks(features, labels, level)

    def scaled(values, candidates):
        if scale == "raw":
            return values
        deviation = values[candidates].std()
        return (values - values[candidates].mean()) / (deviation if deviation > 0 else 1)

    everyone, chosen, terms = list(range(len(scores))), [], []
    alone = scaled(scores, everyone)
    for _ in range(size):
        left = [m for m in everyone if m not in chosen]
        if rule == "greedy":
            gained = np.full(len(scores), np.nan)
            without = _nuclear_norm(stacks, chosen)
            gained[left] = [_nuclear_norm(stacks, [*chosen, m]) - without for m in left]
            gained = scaled(gained, left)
        elif not chosen:
            full = _nuclear_norm(stacks, everyone)
            rest = [[k for k in everyone if k != m] for m in everyone]
            gained = scaled(np.array([full - _nuclear_norm(stacks, each) for each in rest]), everyone)
        chosen.append(best_of(weight * alone + (1 - weight) * gained, chosen))
        terms.append((weight * alone[chosen[-1]], (1 - weight) * gained[chosen[-1]]))
    means = np.cumsum(terms, axis=0) / np.arange(1, size + 1)[:, None]
    return chosen, [Step(float(a + b), float(a), float(b)) for a, b in means]


def _stacks(features, labels, level):
    """The networks' rows, shape (B, K, D'), of B samples or classes."""
    if level == "class":
        counts = np.bincount(labels)[:, None]
        features = [np.eye(len(counts))[labels].T @ f / counts for f in features]
    width = max(f.shape[1] for f in features)
    return np.stack([np.pad(f, ((0, 0), (0, width - f.shape[1]))) for f in features], axis=1)


def _nuclear_norm(stacks, rows):
    """Sum of the singular values of the stacks' `rows`, a mean over the stacks."""
    if not rows:
        return 0.0
    # Not from the eigenvalues of inner products: one long row would drown the others.
    return float(np.linalg.svd(stacks[:, rows], compute_uv=False).sum(1).mean())


def best_of(values, taken):
    """Place of the largest value that is not taken, the first of those equal but for rounding."""
    values = np.array(values, dtype=float)
    values[taken] = -np.inf
    left = np.flatnonzero(np.isfinite(values))
    return int(left[evened(values[left]).argmax()])
