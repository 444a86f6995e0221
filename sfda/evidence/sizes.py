"""What the size of the images does to the order that a score gives: the real networks, scored at two sizes."""

from contextlib import suppress
from functools import cache
from pathlib import Path

import pandas as pd

from sfda.evidence import verdict
from sfda.files import data_folder
from sfda.metric.ranking import FLOAT32, evened, kendall_tau


def at_two_sizes(*, folder=None):
    """Scores of the real networks on images of one size for all, and of the size that each was trained on.

    Parameters
    ----------
    folder : path, optional
        With ``scores.csv``, and a folder ``own_size`` with another; ``data/real`` by default.

    Returns
    -------
    pandas.DataFrame
        Columns ``metric``, ``model``, ``task``, ``one`` and ``own``: what was scored at both sizes.

    Raises
    ------
    FileNotFoundError
        A table is missing.
    """
    folder, keys = Path(folder or data_folder("real")), ["metric", "model", "task"]
    one, own = (
        verdict.table("scores", folder=place)[[*keys, "score"]].rename(columns={"score": size})
        for size, place in (("one", folder), ("own", folder / "own_size"))
    )
    return one.merge(own, on=keys)


def agreement(*, folder=None):
    """How alike the two orders of :func:`at_two_sizes` are, by metric and task.

    Parameters
    ----------
    folder : path, optional
        As in :func:`at_two_sizes`.

    Returns
    -------
    pandas.DataFrame
        Columns ``metric``, ``task``, ``networks``; ``tau``, Kendall's between the two orders, and ``same first``,
        whether one network comes first in both. Scores that differ by no more than float32 rounds are equal
        (:func:`sfda.metric.ranking.evened`); both are NaN where at one of the sizes more than half of the networks
        share the largest score, as saturated ones do: that is no order.
    """
    rows = []
    for (metric, task), each in at_two_sizes(folder=folder).groupby(["metric", "task"], sort=False):
        one, own = (pd.Series(evened(each[size], FLOAT32), each["model"]) for size in ("one", "own"))
        first = [set(size.index[size == size.max()]) for size in (one, own)]
        found = (float("nan"), float("nan"))
        if 2 * max(map(len, first)) <= len(each):
            found = kendall_tau(one, own), float(bool(set.intersection(*first)))
        rows.append((metric, task, len(each), *found))
    return pd.DataFrame(rows, columns=["metric", "task", "networks", "tau", "same first"])


def size_matters(metric, *, folder=None):
    """What another size of the images did to this score's order, in a sentence; empty where it was not measured.

    Parameters
    ----------
    metric : str
        Key of ``sfda.rivals.catalogue.RIVALS``.
    folder : path, optional
        As in :func:`at_two_sizes`. Where there are no tables, as in an installed package, there is no sentence.

    Returns
    -------
    str
        Without a full stop.
    """
    return _size_matters(metric, folder)


@cache
def _size_matters(metric, folder):
    with suppress(FileNotFoundError):
        found = agreement(folder=folder).query("metric == @metric").dropna()
        if len(found):
            tasks, other = len(found), int((found["same first"] == 0).sum())
            return (
                f"By this score {found['networks'].min()} real networks had, at one size and at sizes of their own, "
                f"orders with a Kendall's tau of {found['tau'].mean():.2f} (mean of {tasks} tasks), and another first "
                f"network on {other} of {tasks}"
            )
    return ""
