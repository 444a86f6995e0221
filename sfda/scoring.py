"""Scores of the pocket zoo: every metric, network and task, from the training images alone.

And the variants of the SFDA score, also on fewer and on more images.
"""

import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sfda import tasks
from sfda.ablation import VARIANTS, composed_score
from sfda.baselines import RIVALS
from sfda.benchmark import digest_of, encoder_of, resolve_device
from sfda.collecting import add_rows
from sfda.finetune import features
from sfda.grids import POCKET
from sfda.score import SaturationWarning
from sfda.tables import read_table

COLUMNS = ["metric", "model", "task", "score", "seconds", "digest"]
ABLATION = ["variant", "images", "model", "task", "score", "n", "digest"]

#: Which images the variants are computed on: shares of the training part, or all there are.
IMAGES = {"a quarter": 0.25, "half": 0.5, "training": 1.0, "all": None}
# What is computed on other images than the training part.
FEW = ("SFDA", "no challenge", "left out", "left out, no challenge")


def score_zoo(
    names, task_names, *, metrics=None, table, images=None, weights=None, untrained=False,
    device="auto", progress=print, grid=POCKET,
):
    """Score networks on tasks and add the scores to a table, task by task.

    Metrics that compare networks (``needs == "zoo"``) are computed within each
    group, and only where the whole group is asked for, since every score depends
    on all the others; those of source probabilities for networks whose head was
    trained.

    Parameters
    ----------
    names, task_names : sequences of str
        Of the grid's; by default keys of :data:`sfda.models.POCKET` and :data:`sfda.tasks.TASKS`.
    metrics : sequence of str, optional
        Keys of ``sfda.baselines.RIVALS``; all by default.
    table : path
        A CSV file with the columns metric, model, task, score, seconds, digest.
        What it holds with the same :func:`sfda.benchmark.digest_of` weights and
        training images is not computed again. The time is that of the metric
        alone; of metrics that compare networks, an equal share.
    images, weights : path, optional
        As in :func:`sfda.tasks.load_task` and :func:`sfda.models.pretrained`.
    untrained : bool, default False
        Score the networks' twins; LEEP and NCE are left out then, and so is a twin
        whose features are the same for all images.
    device : str, default "auto"
        Of the forward pass. The scores are computed on the CPU.
    progress : callable, default print
        Called with one line a task.
    grid : sfda.grids.Grid, default sfda.grids.POCKET

    Returns
    -------
    int
        Number of scores computed now.

    Raises
    ------
    ValueError
        Unknown names; a table that is cut off; or a metric refuses the features: the
        message names metric, network and task.
    FileNotFoundError
        Weights or images are missing.
    """
    device, table = resolve_device(device), Path(table)
    for name in metrics or ():
        if name not in RIVALS:
            raise ValueError(f"metrics: expected some of {', '.join(RIVALS)}, got {name!r}")
    chosen = [RIVALS[name] for name in metrics or RIVALS]
    for name in names:
        grid.check(name)
    groups = {grid.groups[name] for name in names}
    whole = {group: [n for n, g in grid.groups.items() if g == group] for group in groups}
    encoders = {name: grid.encoder(name, folder=weights, untrained=untrained) for name in names}
    done = {}
    if table.exists():
        old = read_table(table, ["metric", "model", "task", "digest"])
        done = {(r.metric, r.model, r.task): r.digest for r in old.itertuples()}
    computed = 0
    for task_name in task_names:
        start = time.perf_counter()
        part = grid.task(task_name, images).train
        labels = part.labels.numpy()
        digests = {name: digest_of(encoders[name], [part]) for name in names}
        kept, rows = {}, []

        def of(name):
            if name not in kept:
                kept[name] = features(encoders[name], part.images, device=device)
            return kept[name]

        def blind(name):
            """The features are the same for all images."""
            x = of(name)
            return bool((x - x[0]).abs().max() <= 1e-6 * x.abs().max())

        def add(metric, name, score, seconds):
            rows.append((metric.name, name, task_name, score, seconds, digests[name]))

        for metric in chosen:
            missing = [n for n in names if done.get((metric.name, n, task_name)) != digests[n]]
            missing = [n for n in missing if not (untrained and blind(n))]
            if metric.needs == "features":
                for name in missing:
                    add(metric, name, *timed(metric, of(name).numpy(), labels, name, task_name))
            elif metric.needs == "source probabilities" and not untrained:
                for name in missing:
                    classify = grid.classifier(name, folder=weights)
                    if classify is not None:
                        logits = features(classify, part.images, device=device)
                        theta = logits.double().softmax(1).numpy()
                        add(metric, name, *timed(metric, theta, labels, name, task_name))
            elif metric.needs == "zoo":
                for group, zoo in whole.items():
                    if not set(zoo) <= set(names) or not set(zoo) & set(missing):
                        continue
                    if not untrained or not any(map(blind, zoo)):
                        of_zoo = {n: of(n).numpy() for n in zoo}
                        scores, seconds = timed(metric, of_zoo, labels, group, task_name)
                        for n in zoo:
                            add(metric, n, scores[n], seconds / len(zoo))
        if rows:
            add_rows(pd.DataFrame(rows, columns=COLUMNS).round({"seconds": 4}), table)
            computed += len(rows)
        progress(f"{task_name}: {len(rows)} scores in {time.perf_counter() - start:.0f} s")
    return computed


def timed(metric, argument, labels, name, task):
    """What a metric says, and how many seconds it took; its errors name the network and the task."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        # The table shows which scores have saturated.
        warnings.simplefilter("ignore", SaturationWarning)
        try:
            score = metric(argument, labels)
        except ValueError as error:
            raise ValueError(f"{metric.name} of {name} on {task}: {error}") from error
    return score, time.perf_counter() - start


def ablate_zoo(
    names, task_names, *, table, images=None, weights=None, device="auto", progress=print
):
    """Compute the variants of the SFDA score and add them to a table, task by task.

    All ``sfda.ablation.VARIANTS`` on the training images; four of them also on a
    quarter and on half of these, the same share of every class, at least two;
    and on all images of the task, the test part included, as the paper's public
    code does it.

    Parameters
    ----------
    names, task_names, images, weights, device, progress
        As in :func:`score_zoo`.
    table : path
        A CSV file with the columns variant, images, model, task, score, n (how
        many images) and digest. What it holds is not computed again.

    Returns
    -------
    int
        Number of scores computed now.

    Raises
    ------
    ValueError, FileNotFoundError
        As :func:`score_zoo`.
    """
    device, table = resolve_device(device), Path(table)
    encoders = {name: encoder_of(name, folder=weights) for name in names}
    done = {}
    if table.exists():
        old = read_table(table, ["variant", "images", "model", "task", "digest"])
        done = {(r.variant, r.images, r.model, r.task): r.digest for r in old.itertuples()}
    computed = 0
    for task_name in task_names:
        start, rows = time.perf_counter(), []
        parts = tasks.load_task(task_name, images).parts
        y = torch.cat([part.labels for part in parts]).numpy()
        n_train = len(parts[0].labels)
        for name, encoder in encoders.items():
            digest = digest_of(encoder, parts)
            missing = [
                (variant, which) for which in IMAGES for variant in VARIANTS
                if (which == "training" or variant in FEW)
                and done.get((variant, which, name, task_name)) != digest
            ]  # fmt: skip
            if not missing:
                continue
            x = torch.cat([features(encoder, p.images, device=device) for p in parts]).numpy()
            for variant, which in missing:
                share = IMAGES[which]
                chosen = slice(None) if share is None else share_of(y[:n_train], share)
                try:
                    score = composed_score(x[chosen], y[chosen], **VARIANTS[variant])
                except ValueError as error:
                    raise ValueError(f"{variant} of {name} on {task_name}: {error}") from error
                rows.append((variant, which, name, task_name, score, len(y[chosen]), digest))
        if rows:
            add_rows(pd.DataFrame(rows, columns=ABLATION), table)
            computed += len(rows)
        progress(f"{task_name}: {len(rows)} scores in {time.perf_counter() - start:.0f} s")
    return computed


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
