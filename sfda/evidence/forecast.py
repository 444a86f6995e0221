"""What a score has been worth on networks whose accuracies are known."""

from functools import cache

import numpy as np

from sfda.evidence import verdict
from sfda.metric.ranking import regret


def forecast(metric, *, folder=None):
    """What the intervals leave out, in one sentence: how well the score forecasts fine-tuning.

    Parameters
    ----------
    metric : str
        Key of ``sfda.METRICS``.
    folder : path, optional
        Of the pocket benchmark's tables, as in :func:`sfda.evidence.verdict.table`. Where they are missing, as in
        an installed package, or lack the metric, there are no figures.

    Returns
    -------
    str
    """
    return _forecast(metric, folder)


@cache
def _forecast(metric, folder):
    sentence = "The intervals do not say how well the score forecasts fine-tuning"
    try:
        scores, accuracies, halves = (
            verdict.table("scores", folder=folder), verdict.table("accuracy", folder=folder),
            verdict.halves(folder=folder),
        )  # fmt: skip
        accuracies = accuracies[accuracies["task"].isin(halves["reporting"])]
        scores = scores[scores["metric"] == metric]
        pairs = [
            (scores[scores["model"].isin(rows["model"])], rows) for _, rows in accuracies.groupby("group", sort=False)
        ]
        tau = verdict.pooled_interval(pairs).loc[metric]
        lost = 100 * np.mean([verdict.judge(*pair, regret).loc[metric].mean() for pair in pairs])
    except (FileNotFoundError, KeyError):
        return f"{sentence}."
    networks, tasks = accuracies["model"].nunique(), accuracies["task"].nunique()
    return (
        f"{sentence}. In the pocket benchmark ({networks} small networks in {len(pairs)} groups, "
        f"{tasks} tasks) its weighted tau with the accuracies was {tau['mean']:.2f} ({tau['low']:.2f} to "
        f"{tau['high']:.2f}; 1 is perfect, 0 is chance), and its first network {lost:.1f} points less "
        "accurate than the best."
    )
