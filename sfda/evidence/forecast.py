"""What a score has been worth on networks whose accuracies are known."""

from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from sfda.evidence import verdict
from sfda.files import data_folder
from sfda.metric.ranking import regret


def forecast(metric, *, folder=None):
    """What the intervals leave out, in one sentence: how well the score forecasts fine-tuning.

    Parameters
    ----------
    metric : str
        Key of ``sfda.rivals.catalogue.RIVALS``.
    folder : path, optional
        Of the pocket benchmark's tables, as in :func:`sfda.evidence.verdict.table`; those of the real networks are in
        ``real`` beside it. Where they are missing, as in an installed package, or lack the metric, there are no
        figures.

    Returns
    -------
    str
    """
    return _forecast(metric, folder)


@cache
def _forecast(metric, folder):
    sentence = "The intervals do not say how well the score forecasts fine-tuning"
    measured = []
    with suppress(FileNotFoundError, KeyError):
        measured.append(_pocket(metric, Path(folder or data_folder("pocket"))))
    with suppress(FileNotFoundError, KeyError):
        measured.append(_real(metric, Path(folder).parent / "real" if folder else data_folder("real")))
    return ". ".join([sentence, *measured]) + "."


def _pocket(metric, folder):
    scores, accuracies, halves = (
        verdict.table("scores", folder=folder), verdict.table("accuracy", folder=folder),
        verdict.halves(folder=folder),
    )  # fmt: skip
    accuracies = accuracies[accuracies["task"].isin(halves["reporting"])]
    scores = scores[scores["metric"] == metric]
    pairs = [(scores[scores["model"].isin(rows["model"])], rows) for _, rows in accuracies.groupby("group", sort=False)]
    tau = verdict.pooled_interval(pairs).loc[metric]
    lost = 100 * np.mean([verdict.judge(*pair, regret).loc[metric].mean() for pair in pairs])
    networks, tasks = accuracies["model"].nunique(), accuracies["task"].nunique()
    return (
        f"In the pocket benchmark ({networks} small networks in {len(pairs)} groups, {tasks} tasks) its weighted tau "
        f"with the accuracies was {tau['mean']:.2f} ({tau['low']:.2f} to {tau['high']:.2f}; 1 is perfect, 0 is "
        f"chance), and its first network {lost:.1f} points less accurate than the best"
    )


def _real(metric, folder):
    scores, accuracies = verdict.table("scores", folder=folder), verdict.table("accuracy", folder=folder)
    scores = scores[scores["metric"] == metric]
    tau = verdict.judge(scores, accuracies).loc[metric].fillna(0.0)  # where all scores are equal, as in the tables
    lost = 100 * verdict.judge(scores, accuracies, regret).loc[metric].mean()
    return (
        f"For {accuracies['model'].nunique()} real networks on {len(tau)} tasks its tau was {tau.mean():.2f} "
        f"({tau.min():.2f} to {tau.max():.2f} by task), and its first {lost:.1f} points behind the best"
    )
