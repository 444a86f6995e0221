"""Ensembles of the pocket zoo: which networks every method chooses, from the training images alone."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np

from sfda.benchmark.finetune import features
from sfda.benchmark.grids import POCKET, digest_of
from sfda.benchmark.tables import digests_in, extend
from sfda.metric import ensemble, nuclear
from sfda.metric.score import log_posterior
from sfda.networks import pocket
from sfda.networks.device import resolve_device

SIZE = 5
COLUMNS = ["method", "pool", "task", "members", "digest"]
#: What is unknown of the paper's selection, every way, with the published lambda in the Fisher features or that of the
#: left-out likelihood, and with the plain SFDA score or the left-out probability.
NUCLEAR = {
    ", ".join(("nuclear", shrinkage, score, frame, level, rule, scale)):
        ((shrinkage, frame), score, {"level": level, "rule": rule, "scale": scale})
    for shrinkage in ("published", "left out") for score in ("SFDA", "left-out probability")
    for frame in ("axes", "classes") for level in ("sample", "class")
    for rule in ("once", "greedy") for scale in ("standard", "raw")
}  # fmt: skip


def _sharpened(p, y, power):
    """Mean probability of the true class after sharpening, as ``ensemble.soft_accuracy``, to any power."""
    sharp = (p / p.max(1, keepdims=True)) ** power
    return float((sharp[np.arange(len(y)), y] / sharp.sum(1)).mean())


def _likelihood(p, y):
    """Mean log-probability of the true class, in nats."""
    return float(np.log(p[np.arange(len(y)), y].clip(min=np.finfo(float).tiny)).mean())


def _calibrated_again(p, y):
    """The likelihood with a temperature of the average's own."""
    return _likelihood(np.exp(ensemble.calibrated(np.log(p.clip(min=np.finfo(float).tiny)), y)), y)


def _accuracy(p, y):
    """Share of samples that are right; equal ones are told apart by their likelihoods, which outweigh no sample."""
    return float((p.argmax(1) == y).mean()) + 1e-8 * _likelihood(p, y)


#: Greedy on what the averaged posterior is worth: of which posteriors (challenged, calibrated), and by what.
HELD_OUT = {
    "held-out": (False, True, ensemble.soft_accuracy),
    "held-out, not calibrated": (False, False, ensemble.soft_accuracy),
    "held-out, challenged": (True, True, ensemble.soft_accuracy),
    "held-out, challenged, not calibrated": (True, False, ensemble.soft_accuracy),
    "held-out, power 1": (False, True, partial(_sharpened, power=1)),
    "held-out, power 2": (False, True, partial(_sharpened, power=2)),
    "held-out, power 8": (False, True, partial(_sharpened, power=8)),
    "held-out, accuracy": (False, True, _accuracy),
    "held-out, likelihood": (False, True, _likelihood),
    "held-out, likelihood, not calibrated": (False, False, _likelihood),
    "held-out, likelihood, calibrated again": (False, True, _calibrated_again),
}
#: Without complementarity: the networks that are worth most alone.
ALONE = {"top soft accuracy": (False, True), "top soft accuracy, not calibrated": (False, False)}
METHODS = (*HELD_OUT, *ALONE, "diverse", *NUCLEAR)


def pools():
    """Names of the networks one may choose from: ``all``, and each group."""
    of = {"all": list(pocket.POCKET)}
    for name, entry in pocket.POCKET.items():
        of.setdefault(entry.group, []).append(name)
    return of


def select_zoo(task_names, *, table, images=None, weights=None, device="auto", progress=print):
    """Let every method choose out of every pool, and add the choices to a table.

    Parameters
    ----------
    task_names : sequence of str
        Keys of :data:`sfda.images.tasks.TASKS`.
    table : path
        A CSV file with the columns method, pool, task, members (five names in the order of choice, the smaller
        ensembles being its beginnings) and digest, of weights and training images of the whole pool. A task that it
        holds with the same ones is not done again.
    images, weights, device, progress
        As in :func:`sfda.benchmark.scores.score_zoo`.

    Returns
    -------
    int
        Number of choices made now.

    Raises
    ------
    ValueError
        A table that is cut off.
    FileNotFoundError
        Weights or images are missing.
    """
    device, table = resolve_device(device), Path(table)
    names = list(pocket.POCKET)
    done = digests_in(table, ["method", "pool", "task"])
    encoders = {name: POCKET.encoder(name, folder=weights) for name in names}

    def rows_of(task_name):
        part = POCKET.task(task_name, images).train
        y = np.unique(part.labels.numpy(), return_inverse=True)[1]
        of_name = {name: digest_of(encoders[name], [part]) for name in names}
        digests = {
            pool: hashlib.sha256(" ".join(map(of_name.get, members)).encode()).hexdigest()[:12]
            for pool, members in pools().items()
        }
        if all(done.get((m, pool, task_name)) == digest for m in METHODS for pool, digest in digests.items()):
            return []
        x = {name: features(encoders[name], part.images, device=device).numpy() for name in names}
        rows, seen = [], evidence(x, y)
        for pool, members in pools().items():
            at = [names.index(name) for name in members]
            for method in METHODS:
                chosen = " ".join(members[i] for i in choose_members(method, seen, at, y)[0])
                rows.append((method, pool, task_name, chosen, digests[pool]))
        return rows

    return extend(table, COLUMNS, task_names, rows_of, progress=progress, what="choices")


def evidence(features_by_model, y):
    """What the methods look at, computed once a network.

    Parameters
    ----------
    features_by_model : dict of str to array of shape (N, D)
    y : integer array of shape (N,)
        Classes 0..C-1.

    Returns
    -------
    dict of str to list
        One entry a network: the left-out posteriors (N, C) under (challenged, calibrated); ``wrong``, which samples
        the unchallenged one gets wrong; the plain ``SFDA`` score and the ``left-out probability``; and under
        ("published", frame) and ("left out", frame) the Fisher features with the lambda of the published rule and of
        the left-out likelihood.
    """
    own, seen = (np.arange(len(y)), y), {}

    def add(what, value):
        seen.setdefault(what, []).append(value)

    for x in features_by_model.values():
        for challenge in (True, False):
            log_p = log_posterior(x, y, challenge=challenge)
            add((challenge, False), np.exp(log_p))
            add((challenge, True), np.exp(ensemble.calibrated(log_p, y)))
        add("wrong", log_p.argmax(1) != y)
        add("left-out probability", float(np.exp(log_p[own]).mean()))
        plain = log_posterior(x, y, posterior="resubstitution")
        add("SFDA", float(np.exp(plain[own]).mean()))
        for rule, shrinkage in (("published", None), ("left out", "leave-one-out")):
            for frame in ("axes", "classes"):
                z = nuclear.fisher_features(x, y, frame=frame, shrinkage=shrinkage)
                add((rule, frame), z)
    return seen


def choose_members(method, seen, at, y, size=None):
    """One method's choice.

    Parameters
    ----------
    method : str
        One of ``METHODS``.
    seen : dict
        As :func:`evidence` returns it.
    at : sequence of int
        Which of its networks may be chosen.
    y : integer array of shape (N,)
    size : int, optional
        By default 5, or as many as there are.

    Returns
    -------
    chosen : list of int
        Places within `at`, in the order of choice.
    steps : list of sfda.metric.nuclear.Step
    """
    size = min(SIZE, len(at)) if size is None else size

    def of(what):
        return [seen[what][i] for i in at]

    if method in HELD_OUT:
        *which, worth = HELD_OUT[method]
        return ensemble.greedy(of(tuple(which)), size, partial(worth, y=y))
    if method in ALONE:
        return ensemble.top([ensemble.soft_accuracy(p, y) for p in of(ALONE[method])], size)
    if method == "diverse":
        return ensemble.least_correlated(np.stack(of("wrong")), size)
    fisher, score, options = NUCLEAR[method]
    return nuclear.nuclear_selection(of(score), of(fisher), y, size, **options)
