"""How good every ensemble of the pocket zoo is, from the stored predictions.

An ensemble's prediction is the mean of its members' test probabilities. Networks fine-tuned with the same seed are
averaged, so an accuracy is one number a seed. Needs no torch.
"""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from sfda.evidence import verdict
from sfda.files import read_table, replacing
from sfda.metric.nuclear import best_of
from sfda.metric.ranking import FLOAT32, evened

SIZES = (2, 3, 4, 5)
EXHAUSTIVE = 3  # larger ensembles are too many to try them all
LIMITS = [
    "pool", "task", "size", "best", "members", "best_other_seed", "random", "random_5", "random_95",
    "digest",
]  # fmt: skip


class Predictions:
    """Test probabilities of all networks on one task.

    Parameters
    ----------
    task : str
    folder : path, optional
        As in :func:`sfda.evidence.verdict.predictions`.

    Attributes
    ----------
    names : list of str
        Networks, in the order of ``models.csv``.
    probabilities : float32 array of shape (S, K, M, C)
        Of S seeds, K networks, M test images.
    labels : array of shape (M,)
    """

    def __init__(self, task, *, folder=None):
        found, self.labels = verdict.predictions(task, folder=folder)
        order = verdict.table("models", folder=folder)["model"]
        seeds = sorted({seed for _, seed in found})
        self.names = [name for name in order if (name, seeds[0]) in found]
        self.probabilities = np.array([[found[name, seed] for name in self.names] for seed in seeds], dtype=np.float32)
        # How far the own class is ahead of each, a row a class: an ensemble is right where no sum of them is below 0.
        # Stored probabilities are multiples of 1/1024, so that sums are exact; ties, which go to the first class,
        # are lost to earlier ones by less than that.
        p = np.ascontiguousarray(np.moveaxis(self.probabilities, 3, 2))
        own = np.take_along_axis(p, self.labels[None, None, None].astype(int), 2)
        self._ahead = own - p - np.float32(2**-16) * (np.arange(p.shape[2])[:, None] < self.labels)

    def accuracy(self, members):
        """Share of the test images that an ensemble gets right.

        Parameters
        ----------
        members : sequence of str

        Returns
        -------
        ndarray of shape (S,)
            One number a seed.
        """
        return self._right(self._sum(self._rows(members)))

    def every(self, size, pool=None):
        """Accuracy of every ensemble of one size.

        Parameters
        ----------
        size : int
        pool : sequence of str, optional
            The networks to choose from, all by default. There are 5,456 triples of 33.

        Returns
        -------
        members : list of tuples of str
        accuracies : ndarray of shape (n_ensembles, S)
        """
        rows = self._rows(pool or self.names)
        members, accuracies = [], []
        for place in itertools.combinations(range(len(rows)), size - 1):
            rest = rows[place[-1] + 1 :] if place else rows
            if rest:
                head = [rows[i] for i in place]
                right = self._right(self._sum(head)[:, None] + self._ahead[:, rest])
                members += [tuple(self.names[row] for row in (*head, last)) for last in rest]
                accuracies.append(right.T)
        return members, np.concatenate(accuracies)

    def greedy(self, size, pool=None, seeds=slice(None)):
        """The ensemble that grows by the network that helps its test accuracy most.

        It has seen the test images: an estimate, from below, of the best there is.

        Parameters
        ----------
        size : int
        pool : sequence of str, optional
        seeds : slice, optional
            Which seeds' mean accuracy to look at, all by default.

        Returns
        -------
        list of str
            In the order of choice: smaller ensembles are its beginnings.
        """
        rows, chosen = self._rows(pool or self.names), []
        while len(chosen) < size:
            rest = [row for row in rows if row not in chosen]
            each = self._right(self._sum(chosen)[:, None] + self._ahead[:, rest])
            chosen.append(rest[best_of(each[seeds].mean(0), [])])
        return [self.names[row] for row in chosen]

    def random(self, size, pool=None, *, draws=1000, seed=0):
        """Accuracies of ensembles drawn at random, means over the seeds; shape (draws,)."""
        rows, rng = self._rows(pool or self.names), np.random.default_rng(seed)
        drawn = [rng.choice(rows, size, replace=False) for _ in range(draws)]
        return np.array([self._right(self._sum(each)).mean() for each in drawn])

    def twice(self, name):
        """Accuracy of one network fine-tuned with every seed, all of them averaged."""
        return float(self._right(self._ahead[:, self.names.index(name)].sum(0)))

    def digest(self, pools):
        """Fingerprint of the predictions and of the pools, twelve hexadecimal digits."""
        digest = hashlib.sha256(repr([self.names, pools]).encode())
        for array in (self.probabilities, self.labels):
            digest.update(array.tobytes())
        return digest.hexdigest()[:12]

    def _rows(self, names):
        return [self.names.index(name) for name in names]

    def _sum(self, rows):
        return self._ahead[:, list(rows)].sum(1)

    def _right(self, ahead):
        return (ahead.min(-2) >= 0).mean(-1)


def limits(task, pools, *, folder=None):
    """What can be reached on one task: the best ensembles, and those drawn blindly.

    Parameters
    ----------
    task : str
    pools : dict of str to list of str
        Networks to choose from.
    folder : path, optional

    Returns
    -------
    pandas.DataFrame
        A row a pool and size (2 to 5). ``best``, the largest mean accuracy over the seeds (of all ensembles up to
        3 networks, of the greedily grown one beyond), and ``members``, whose it is; ``best_other_seed``, the
        accuracy with one seed of the ensemble that is best with another, a mean over the seeds; ``random``,
        ``random_5`` and ``random_95``, the mean and two percentiles of random ensembles (of all up to 3 networks,
        of 1,000 drawn ones beyond); ``digest``, of predictions and pools.
    """
    found, rows = Predictions(task, folder=folder), []
    seeds, digest = range(len(found.probabilities)), found.digest(pools)
    for pool, names in pools.items():
        # Smaller ones are the beginnings of the largest.
        best_grown = found.greedy(max(SIZES), names)
        grown = [found.greedy(max(SIZES), names, slice(s, s + 1)) for s in seeds]
        for size in SIZES:
            if size <= EXHAUSTIVE:
                members, each = found.every(size, names)
                means = each.mean(1)
                best = members[best_of(means, [])]
                other = [np.delete(each[each[:, s].argmax()], s).mean() for s in seeds]
                drawn = means
            else:
                best = best_grown[:size]
                other = [np.delete(found.accuracy(g[:size]), s).mean() for s, g in zip(seeds, grown)]
                drawn = found.random(size, names)
            rows.append((
                pool, task, size, found.accuracy(best).mean(), " ".join(best), np.mean(other),
                drawn.mean(), *np.quantile(drawn, [0.05, 0.95]), digest,
            ))  # fmt: skip
    return pd.DataFrame(rows, columns=LIMITS)


def write_limits(task_names, pools, *, table, folder=None, progress=print):
    """Add :func:`limits` of tasks to a CSV file, task by task.

    A task that it holds with the same predictions and pools is not done again.

    Parameters
    ----------
    task_names : sequence of str
    pools : dict of str to list of str
    table : path
    folder : path, optional
    progress : callable, default print
        Called with one line a task.
    """
    table = Path(table)
    for task in task_names:
        old = read_table(table, ["task", "digest"]) if table.exists() else None
        if old is not None:
            known = set(old.loc[old["task"] == task, "digest"])
            if known == {Predictions(task, folder=folder).digest(pools)}:
                continue
            old = old[old["task"] != task]
        found = limits(task, pools, folder=folder).round(6)
        rows = found if old is None or old.empty else pd.concat([old, found])
        order = {name: i for i, name in enumerate(verdict.table("tasks", folder=folder)["name"])}
        rows = rows.sort_values("task", key=lambda c: c.map(order), kind="stable")
        with replacing(table) as part:
            rows.to_csv(part, index=False)
        progress(f"{task}: all ensembles tried")


def first_of(scores, pools, size=SIZES[-1]):
    """What is chosen by ranking single networks: the first ones of every metric.

    Parameters
    ----------
    scores : pandas.DataFrame
        Columns ``metric``, ``model``, ``task``, ``score``, larger is better; equal ones in the order of the rows.
    pools : dict of str to list of str
    size : int, default 5

    Returns
    -------
    pandas.DataFrame
        Columns ``method`` ("top " and the metric's name), ``pool``, ``task`` and ``members``, names in order with
        spaces between. Metrics that have not all networks of a pool on a task are left out there.
    """
    rows = []
    for (metric, task), group in scores.groupby(["metric", "task"], sort=False):
        of = group.set_index("model")["score"]
        for pool, names in pools.items():
            if set(names) <= set(of.index):
                first = np.array(names)[np.argsort(-evened(of[names], FLOAT32), kind="stable")][:size]
                rows.append((f"top {metric}", pool, task, " ".join(first)))
    return pd.DataFrame(rows, columns=["method", "pool", "task", "members"])


def evaluate(choices, *, folder=None):
    """Accuracy of the ensembles that were chosen.

    Parameters
    ----------
    choices : pandas.DataFrame
        Columns ``method``, ``pool``, ``task`` and ``members``, at least five names in the order of choice, with
        spaces between.
    folder : path, optional

    Returns
    -------
    pandas.DataFrame
        Columns ``method``, ``pool``, ``task``, ``size`` (2 to 5), ``seed`` and ``accuracy``.
    """
    rows = []
    for task, of_task in choices.groupby("task", sort=False):
        found, known = Predictions(task, folder=folder), {}
        for choice in of_task.itertuples():
            members = choice.members.split()
            for size in SIZES:
                key = frozenset(members[:size])
                if key not in known:  # many methods agree
                    known[key] = found.accuracy(key)
                begin = choice.method, choice.pool, task, size
                rows += [(*begin, s, a) for s, a in enumerate(known[key])]
    return pd.DataFrame(rows, columns=["method", "pool", "task", "size", "seed", "accuracy"])


def contest(metrics=("SFDA", "left-out probability"), *, folder=None):
    """Every method's ensembles and what they reached, yardsticks among them.

    Parameters
    ----------
    metrics : sequence of str
        By which single networks are ranked, besides the methods of ``ensembles.csv``.
    folder : path, optional
        As in :func:`sfda.evidence.verdict.table`.

    Returns
    -------
    pandas.DataFrame
        As :func:`evaluate`. The yardsticks are ``top`` with parameters, features, rank on other tasks and
        accuracy, which is that of the single networks' fine-tunings with another seed than the one that is looked
        at; and ``random``, the mean over all ensembles, the same for each seed.
    """
    chosen, bounds = (verdict.table(n, folder=folder) for n in ("ensembles", "ensemble_limits"))
    measured, facts = (verdict.table(n, folder=folder) for n in ("accuracy", "models"))
    pools = {"all": list(facts["model"])}
    pools |= {group: list(rows["model"]) for group, rows in facts.groupby("group", sort=False)}
    scores = verdict.table("scores", folder=folder)
    singles = [scores[scores["metric"].isin(metrics)], verdict.yardsticks(facts, measured)]
    # Every seed's fine-tunings choose for the others.
    for seed, rows in measured.groupby("seed"):
        rows = rows.rename(columns={"accuracy": "score"})
        singles.append(rows.assign(metric=f"accuracy, {seed}"))
    singles = pd.concat([rows[["metric", "model", "task", "score"]] for rows in singles])
    judged = evaluate(pd.concat([chosen, first_of(singles, pools)]), folder=folder)
    found = judged["method"].str.extract(r"^top accuracy, (\d+)$")[0]
    known = judged[found.notna() & (found != judged["seed"].astype(str))]
    known = known.groupby(["pool", "task", "size", "seed"], as_index=False)["accuracy"].mean()
    judged = pd.concat([judged[found.isna()], known.assign(method="top accuracy")])
    blind = bounds.rename(columns={"random": "accuracy"}).assign(method="random")
    seeds = judged["seed"].unique()
    blind = pd.concat([blind.assign(seed=seed) for seed in seeds])
    return pd.concat([judged, blind[judged.columns]], ignore_index=True)


def pair_gains(predictions):
    """What a pair gains over the better of the two, in points, a mean over tasks and seeds.

    Parameters
    ----------
    predictions : sequence of Predictions
        One a task, of the same networks.

    Returns
    -------
    pandas.DataFrame of shape (K, K)
        Symmetric, with NaN on the diagonal.
    """
    names, total = predictions[0].names, 0
    for each in predictions:
        alone = pd.Series([each.accuracy([name]).mean() for name in names], names)
        members, accuracies = each.every(2)
        better = [max(alone[a], alone[b]) for a, b in members]
        total = total + 100 * (accuracies.mean(1) - better)
    table = pd.DataFrame(np.nan, index=names, columns=names)
    for (a, b), value in zip(members, total / len(predictions)):
        table.loc[a, b] = table.loc[b, a] = value
    return table


def points_lost(accuracies, best, *, over=(), versus=None):
    """How far the chosen ensembles fall short of the best ones, task by task.

    Parameters
    ----------
    accuracies : pandas.DataFrame
        As :func:`evaluate` returns it, of some tasks.
    best : pandas.DataFrame
        Columns ``pool``, ``task``, ``size`` and ``best``, as :func:`limits` returns it.
    over : collection of str, default ()
        "pool" and "size", or one of them: what the mean is taken over besides the seeds.
    versus : str, optional
        A method: what is reported is by how much the others lose more than it; less than 0 is better than it.

    Returns
    -------
    pandas.DataFrame
        One row a method, pool and size, less those of `over`; one column a task; in points of accuracy.

    Raises
    ------
    ValueError
        `versus` is none of the methods.
    """
    merged = accuracies.merge(best[["pool", "task", "size", "best"]])
    merged["regret"] = 100 * (merged["best"] - merged["accuracy"])
    keys = [key for key in ("method", "pool", "size") if key not in over]
    wide = merged.pivot_table(index=keys, columns=["task", "seed"], values="regret")
    if versus is not None:
        methods = list(wide.index.unique("method"))
        if versus not in methods:
            raise ValueError(f"versus: expected one of {', '.join(methods)}, got {versus!r}")
        base = wide.loc[versus]
        if len(keys) > 1:
            base = base.reindex(wide.index.droplevel("method"))
        wide = wide - base.to_numpy()
    return wide.T.groupby(level="task", sort=False).mean().T


def regrets(accuracies, best, *, over=(), versus=None, level=0.95):
    """Means of :func:`points_lost` over the tasks, with t intervals.

    Parameters
    ----------
    accuracies, best, over, versus
        As in :func:`points_lost`.
    level : float, default 0.95

    Returns
    -------
    pandas.DataFrame
        One row a method, pool and size, less those of `over`: ``mean``, ``low`` and ``high``, in points. Five
        tasks make a rough guide, and too narrow a one.

    Raises
    ------
    ValueError
        As :func:`points_lost`.
    """
    return verdict.over_tasks(points_lost(accuracies, best, over=over, versus=versus), level=level)
