"""What each part of the score does: SFDA with one part changed at a time.

:func:`composed_score` is made of the public pieces, a line a step, and slower than :func:`sfda.sfda_score`, which it
equals where nothing is changed; :func:`ablate_zoo` computes its variants for the pocket benchmark.
"""

from pathlib import Path

import numpy as np
import torch

from sfda.benchmark.finetune import features
from sfda.benchmark.grids import POCKET, digest_of
from sfda.benchmark.tables import digests_in, extend
from sfda.metric.challenge import confidence_of, confmix, expected_confmix, other_means
from sfda.metric.discriminant import FisherDiscriminant
from sfda.networks.device import resolve_device

LEAST = 1e-12  # what a smaller probability counts as in a mean of logarithms
COLUMNS = ["variant", "images", "model", "task", "score", "n", "digest"]

_OUT = {"posterior": "leave-one-out"}
#: Options of :func:`composed_score` by the name of the variant.
VARIANTS = {
    "SFDA": {},
    "discriminant probability": {"challenge": None},
    "one softmax": {"challenge": "plain"},
    "mean log": {"log": True},
    "discriminant probability, mean log": {"challenge": None, "log": True},
    "lambda: a = 4": {"strength": 4.0},
    "lambda: Algorithm 1": {"shrinkage": "algorithm 1"},
    "lambda: left-out likelihood": {"shrinkage": "leave-one-out"},
    "discriminant probability, lambda: left-out likelihood": {"challenge": None, "shrinkage": "leave-one-out"},
    "lambda 0.01": {"shrinkage": 0.01},
    "lambda 0.1": {"shrinkage": 0.1},
    "lambda 0.5": {"shrinkage": 0.5},
    "lambda 0.9": {"shrinkage": 0.9},
    "left-out SFDA": _OUT,
    "left-out probability": _OUT | {"challenge": None},
    "left-out SFDA, one softmax": _OUT | {"challenge": "plain"},
    "left-out SFDA, mean log": _OUT | {"log": True},
    "left-out probability, mean log": _OUT | {"challenge": None, "log": True},
    "left-out SFDA, lambda 0.01": _OUT | {"shrinkage": 0.01},
    "left-out SFDA, lambda 0.1": _OUT | {"shrinkage": 0.1},
    "left-out SFDA, lambda 0.5": _OUT | {"shrinkage": 0.5},
    "left-out SFDA, lambda 0.9": _OUT | {"shrinkage": 0.9},
}
#: Which images the variants are computed on: shares of the training part, or all there are.
IMAGES = {"a quarter": 0.25, "half": 0.5, "training": 1.0, "all": None}
#: What is computed on other images than the training part.
FEW = ("SFDA", "discriminant probability", "left-out SFDA", "left-out probability")


# --- the score, composed ----------------------------------------------------------


def composed_score(
    features, labels, *, posterior="resubstitution", shrinkage=None, strength=5.0, challenge="softened", log=False
):
    """The SFDA score from its parts.

    Parameters
    ----------
    features : array-like of shape (N, D)
    labels : array-like of shape (N,)
        At least two classes.
    posterior : {"resubstitution", "leave-one-out"}, default "resubstitution"
        As in :func:`sfda.sfda_score`.
    shrinkage : None, float, "code", "algorithm 1" or "leave-one-out", default None
        lambda: a number; max(exp(-a sigma(S_W)), 1e-10) as in the public code; 1 / (1 + exp(-4 sigma(S_B))) as in
        Algorithm 1 of the paper's appendix (second-hand); of the largest left-out likelihood. None is what
        :func:`sfda.sfda_score` takes: "code", or "leave-one-out" where the posterior is that.
    strength : float, default 5.0
        a of "code".
    challenge : {"softened", "plain", None}, default "softened"
        Confidences from two softmaxes, as in the public code, or from one; None asks the first discriminant alone.
    log : bool, default False
        The mean logarithm of the probabilities (Eq. 1 of the paper, second-hand) instead of their mean (the public
        code).

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Bad input, as in :func:`sfda.sfda_score`, or no such choice.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda import sfda_score
    >>> from sfda.benchmark.ablation import composed_score
    >>> y = np.arange(90) % 3
    >>> X = np.random.default_rng(0).standard_normal((90, 5)) + np.eye(5)[y]
    >>> bool(np.isclose(composed_score(X, y), sfda_score(X, y)))
    True
    """
    for name, value, choices in (
        ("posterior", posterior, ("resubstitution", "leave-one-out")),
        ("challenge", challenge, ("softened", "plain", None)),
    ):
        if value not in choices:
            raise ValueError(f"{name}: expected one of {choices}, got {value!r}")
    x = np.asarray(features, dtype=float)
    y = np.unique(labels, return_inverse=True)[1]
    left_out = posterior == "leave-one-out"
    if shrinkage is None:
        shrinkage = "leave-one-out" if left_out else "code"
    if shrinkage == "algorithm 1":
        shrinkage = _algorithm_1(x, y)
    first = FisherDiscriminant(None if shrinkage == "code" else shrinkage, strength).fit(x, y)
    f, own = FisherDiscriminant(first.shrinkage_), (np.arange(len(y)), y)
    p = f.leave_one_out_proba(x, y) if left_out else first.predict_proba(x)
    if challenge is not None:
        mixed = confmix(x, y, confidence_of(p, y) if challenge == "softened" else p[own])
        if left_out:
            z = expected_confmix(x, y, p) if challenge == "softened" else _unsoftened(x, y, p)
            p = f.leave_one_out_proba(mixed, y, at=z)
        else:
            p = f.fit(mixed, y).predict_proba(mixed)
    return float(np.log(p[own].clip(min=LEAST)).mean() if log else p[own].mean())


def _class_means(x, y):
    return np.stack([x[y == c].mean(0) for c in range(y.max() + 1)])


def _algorithm_1(x, y):
    """1 / (1 + exp(-4 sigma)), sigma the largest eigenvalue of S_B."""
    between = np.sqrt(np.bincount(y) / len(x))[:, None] * (_class_means(x, y) - x.mean(0))
    return float(1 / (1 + np.exp(-4 * np.linalg.norm(between, 2) ** 2)))


def _unsoftened(x, y, p):
    """:func:`sfda.metric.challenge.expected_confmix` with the posterior itself as confidences."""
    return (p * p).sum(1)[:, None] * x + (p * (1 - p)) @ other_means(_class_means(x, y))


# --- the pocket benchmark ---------------------------------------------------------


def ablate_zoo(names, task_names, *, table, images=None, weights=None, device="auto", progress=print):
    """Compute the variants of the SFDA score and add them to a table, task by task.

    All ``sfda.benchmark.ablation.VARIANTS`` on the training images; four of them also on a quarter and on half of
    these, the same share of every class, at least two; and on all images of the task, the test part included, as the
    paper's public code does it.

    Parameters
    ----------
    names, task_names, images, weights, device, progress
        As in :func:`sfda.benchmark.scores.score_zoo`.
    table : path
        A CSV file with the columns variant, images, model, task, score, n (how many images) and digest. What it holds
        is not computed again.

    Returns
    -------
    int
        Number of scores computed now.

    Raises
    ------
    ValueError, FileNotFoundError
        As :func:`sfda.benchmark.scores.score_zoo`.
    """
    device, table = resolve_device(device), Path(table)
    encoders = {name: POCKET.encoder(name, folder=weights) for name in names}
    done = digests_in(table, ["variant", "images", "model", "task"])
    wanted = [(variant, which) for which in IMAGES for variant in VARIANTS if which == "training" or variant in FEW]

    def rows_of(task_name):
        rows, parts = [], POCKET.task(task_name, images).parts
        y, n_train = torch.cat([part.labels for part in parts]).numpy(), len(parts[0].labels)
        for name, encoder in encoders.items():
            digest = digest_of(encoder, parts)
            missing = [each for each in wanted if done.get((*each, name, task_name)) != digest]
            if not missing:
                continue
            x = torch.cat([features(encoder, part.images, device=device) for part in parts]).numpy()
            for variant, which in missing:
                share = IMAGES[which]
                chosen = slice(None) if share is None else share_of(y[:n_train], share)
                try:
                    score = composed_score(x[chosen], y[chosen], **VARIANTS[variant])
                except ValueError as error:
                    raise ValueError(f"{variant} of {name} on {task_name}: {error}") from error
                rows.append((variant, which, name, task_name, score, len(y[chosen]), digest))
        return rows

    return extend(table, COLUMNS, task_names, rows_of, progress=progress, variants=VARIANTS)


def share_of(labels, share, *, seed=0):
    """Positions of a share of each class, at least two, drawn at random.

    Parameters
    ----------
    labels : int array of shape (N,)
    share : float
        Between 0 and 1.
    seed : int, default 0

    Returns
    -------
    int array, in increasing order
    """
    rng, chosen = np.random.default_rng(seed), []
    for c in np.unique(labels):
        of_class = np.flatnonzero(labels == c)
        k = min(len(of_class), max(2, round(share * len(of_class))))
        chosen.append(rng.permutation(of_class)[:k])
    return np.sort(np.concatenate(chosen))
