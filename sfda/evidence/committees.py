"""Committees: the mean rank that a few metrics of different kinds give a network."""

import itertools

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from sfda.metric.ranking import FLOAT32, evened, weighted_taus

#: What a metric looks at: of one kind a committee has one member. Faithful copies of published faults have none, nor
#: have metrics that compare networks.
KINDS = {
    "held-out discriminant": (
        "left-out probability", "left-out accuracy", "left-out log-likelihood", "left-out SFDA"
    ),
    "fitted discriminant": ("SFDA", "discriminant accuracy", "discriminant probability"),
    "linear regression": ("left-out ridge", "linear probe"),
    "kernel regression": ("left-out kernel ridge",),
    "neighbours": ("nearest neighbour", "nearest neighbours standardised"),
    "distances between samples": ("PARC", "PARC 32 components"),
    "distances between classes": ("GBC", "GBC diagonal", "directional CDNV"),
    "variance explained": ("H-score", "regularised H-score"),
    "coding rate": ("TransRate", "TransRate normalised"),
    "evidence": ("LogME",),
    "mixture": ("NLEEP",),
    "spectrum": ("effective rank", "alpha-ReQ", "ETran energy"),
}  # fmt: skip


def of_size(size):
    """All committees of one size.

    Parameters
    ----------
    size : int
        With 1 the metrics themselves.

    Returns
    -------
    list of tuple of str
        In each no two metrics of a kind.
    """
    kinds = itertools.combinations(KINDS.values(), size)
    return [members for chosen in kinds for members in itertools.product(*chosen)]


def committee_taus(committees, scores, accuracies):
    """Weighted tau of committees on every task.

    Parameters
    ----------
    committees : sequence of tuple of str
        Names of metrics, as :func:`of_size` returns them.
    scores : pandas.DataFrame
        Columns ``metric``, ``model``, ``task``, ``score``, larger is better: each metric's on all networks and tasks.
    accuracies : pandas.DataFrame
        Columns ``model``, ``task``, ``accuracy``; rows of one network and task are averaged.

    Returns
    -------
    pandas.DataFrame of shape (n_committees, n_tasks)
        0 where all are tied.
    """
    truth = accuracies.groupby(["task", "model"], sort=False)["accuracy"].mean().unstack("task", sort=False)
    metrics = sorted({metric for members in committees for metric in members})
    found = {}
    for task, own in truth.items():
        rows = scores[(scores["task"] == task) & scores["model"].isin(truth.index)]
        table = rows.pivot(index="metric", columns="model", values="score").loc[metrics, truth.index]
        ranks = np.stack([rankdata(row) for row in evened(table.to_numpy(), FLOAT32)])
        places = [[metrics.index(metric) for metric in members] for members in committees]
        means = evened(np.stack([ranks[at].mean(0) for at in places]))
        found[task] = np.nan_to_num(weighted_taus(means, np.tile(own.to_numpy(), (len(means), 1))))
    return pd.DataFrame(found, index=pd.Index(committees, tupleize_cols=False))
