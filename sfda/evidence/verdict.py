"""What a benchmark says: scores against measured accuracies, with their uncertainty.

Reads the tables of ``data/pocket`` or of any other folder with tables of the same columns, as ``data/real``, and
needs no torch.
"""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from sfda.files import data_folder, table_of
from sfda.metric.ranking import FLOAT32, evened, mean_interval, regret, weighted_tau, weighted_taus


def table(name, *, folder=None):
    """One table of the benchmark.

    Parameters
    ----------
    name : str
        A file of the folder without ``.csv``: ``accuracy`` (one row a network, task and seed), ``untrained`` (the
        same of the networks' twins), ``probe`` and ``untrained_probe`` (linear probes on frozen features),
        ``curves`` (training loss), ``scores`` and ``untrained_scores`` (one row a metric, network and task),
        ``ablations`` (one row a variant of SFDA, choice of images, network and task), ``ensembles`` (one row a
        method, pool and task), ``ensemble_limits`` (one row a pool, task and size), ``models``, ``tasks``.
    folder : path, optional
        ``data/pocket`` by default.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    FileNotFoundError
        It has not been made, or no table has that name: the message lists those that are there. It is a ValueError
        too.
    """
    return table_of(Path(folder or data_folder("pocket")), name, "`python -m sfda --help` says how it is made")


def predictions(task, *, folder=None):
    """Probabilities that the fine-tuned networks give the test images of a task.

    Parameters
    ----------
    task : str
    folder : path, optional
        As in :func:`table`.

    Returns
    -------
    probabilities : dict of (str, int) to float64 array of shape (M, C)
        By network and seed. Rounded: a row sums to 1 within a hundredth or so.
    labels : uint8 array of shape (M,)

    Raises
    ------
    FileNotFoundError
        They have not been measured.
    """
    path = Path(folder or data_folder("pocket")) / "predictions" / f"{task}.npz"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: `python -m sfda benchmark` makes it")
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    labels = arrays.pop("labels")
    keys = {key: key.rsplit(".", 1) for key in arrays}
    return {(m, int(s)): arrays[key].astype(float) for key, (m, s) in keys.items()}, labels


def by_seed(accuracies):
    """Accuracies as an array (networks, tasks, seeds), and the names along its axes.

    Parameters
    ----------
    accuracies : pandas.DataFrame
        Columns ``model``, ``task``, ``seed``, ``accuracy``; no two rows for one cell. Networks and tasks keep the
        order of their first rows.

    Returns
    -------
    values : ndarray of shape (n_models, n_tasks, n_seeds)
    models, tasks : lists of str

    Raises
    ------
    ValueError
        A cell is missing or doubled: the message names the first one.
    """
    axes = [list(dict.fromkeys(accuracies[name])) for name in ("model", "task")]
    axes.append(sorted(set(accuracies["seed"])))
    values = np.full([len(axis) for axis in axes], np.nan)
    places = [{value: i for i, value in enumerate(axis)} for axis in axes]
    for row in accuracies.itertuples():
        at = places[0][row.model], places[1][row.task], places[2][row.seed]
        if not np.isnan(values[at]):
            raise ValueError(f"accuracies: {row.model} on {row.task}, seed {row.seed}, stands there twice")
        values[at] = row.accuracy
    if missing := np.argwhere(np.isnan(values)).tolist():
        model, task, seed = (axis[i] for axis, i in zip(axes, missing[0]))
        raise ValueError(
            f"accuracies: expected every network on every task with every seed, found no "
            f"{model} on {task}, seed {seed}, and {len(missing) - 1} more missing"
        )
    return values, axes[0], axes[1]


def spread(accuracies):
    """How far networks differ, beside how far seeds do.

    Parameters
    ----------
    accuracies : pandas.DataFrame
        As in :func:`by_seed`, with at least two networks and two seeds.

    Returns
    -------
    pandas.DataFrame
        One row a task: ``networks``, the standard deviation between networks; ``seeds``, that of one seed, pooled
        over networks; ``ratio`` of the two. In the unit of the accuracies. What the seeds add to the differences
        of the networks' means has been taken off ``networks``, as in an analysis of variance; where it is all
        there is, that is 0.
    """
    values, _, tasks = by_seed(accuracies)
    seeds = np.sqrt(values.var(2, ddof=1).mean(0))
    between = _over_seeds(values).var(0, ddof=1) - seeds**2 / values.shape[2]
    networks = np.sqrt(between.clip(min=0))
    return pd.DataFrame(
        {"networks": networks, "seeds": seeds, "ratio": networks / seeds},
        index=pd.Index(tasks, name="task"),
    )


def judge(scores, accuracies, statistic=weighted_tau):
    """Every metric on every task: how well its order of the networks fits the measured one.

    Parameters
    ----------
    scores : pandas.DataFrame
        Columns ``metric``, ``model``, ``task``, ``score``, larger is better. Metrics that do not have all networks
        of `accuracies` on all its tasks are left out.
    accuracies : pandas.DataFrame
        As in :func:`by_seed`; the mean over seeds is the truth.
    statistic : callable, default :func:`sfda.metric.ranking.weighted_tau`
        ``statistic(scores, accuracies) -> float``, for example :func:`sfda.metric.ranking.regret`.

    Returns
    -------
    pandas.DataFrame of shape (n_metrics, n_tasks)
        NaN where the statistic is not defined, as for scores that are all equal. Scores on a task that differ by no
        more than float32 rounds are equal (:func:`sfda.metric.ranking.evened`).

    Raises
    ------
    ValueError
        A score is infinite; or as :func:`by_seed`.
    """
    values, models, tasks = by_seed(accuracies)
    truth, rows = _over_seeds(values).T, {}
    for metric, found in _complete(scores, models, tasks).items():
        if statistic is weighted_tau and len(models) > 1:
            rows[metric] = weighted_taus(found.T, truth)
        else:
            rows[metric] = [statistic(*pair) for pair in zip(found.T, truth, strict=True)]
    return pd.DataFrame(rows, index=tasks).T.rename_axis("metric")


def pooled_interval(contests, statistic=weighted_tau, *, versus=None, level=0.95):
    """Mean of each metric over tasks, and over groups of networks, with its t interval: other tasks like these.

    Parameters
    ----------
    contests : list of (scores, accuracies)
        Of each group, as in :func:`judge`. Only metrics count that have all scores in every group.
    statistic : callable, default :func:`sfda.metric.ranking.weighted_tau`
        As in :func:`judge`.
    versus : str, optional
        A metric: what is reported is by how much the others exceed it, task by task. An interval without 0 tells two
        metrics apart even where their own intervals overlap.
    level : float, default 0.95

    Returns
    -------
    pandas.DataFrame
        One row a metric: ``mean`` over tasks, and ``low`` and ``high``, the ends of
        :func:`sfda.metric.ranking.mean_interval` over the tasks' means over groups.

    Raises
    ------
    ValueError
        `versus` is not among the metrics that have all scores; or the groups have not the same tasks.

    Notes
    -----
    Where the statistic is undefined, as tau is for scores that are all equal, it counts as 0: left out, it would
    reward a metric for not answering. Networks and seeds are taken as they are. Tasks count as independent, which
    they are not quite: the interval is a rough guide and too narrow.
    """
    tables, tasks = [judge(*contest, statistic).fillna(0.0) for contest in contests], list(by_seed(contests[0][1])[2])
    if any(set(table) != set(tasks) for table in tables):
        raise ValueError("contests: expected the same tasks in every group")
    shared = [metric for metric in tables[0].index if all(metric in table.index for table in tables)]
    values = sum(table.loc[shared, tasks] for table in tables) / len(tables)
    if versus is not None:
        if versus not in shared:
            raise ValueError(f"versus: expected one of {', '.join(shared)}, got {versus!r}")
        values = values - values.loc[versus]
    return over_tasks(values, level=level)


def over_tasks(values, *, level=0.95):
    """Mean of each row over its columns, the tasks, with its t interval.

    Parameters
    ----------
    values : pandas.DataFrame
        One column a task, two at least; no NaN.
    level : float, default 0.95

    Returns
    -------
    pandas.DataFrame
        With the rows of `values`: ``mean``, and ``low`` and ``high``, the ends of
        :func:`sfda.metric.ranking.mean_interval`, in the unit of `values`.

    Raises
    ------
    ValueError
        Fewer than two columns, NaN, or a `level` that is not between 0 and 1.
    """
    ends = [mean_interval(row, level=level) for row in values.to_numpy()]
    table = pd.DataFrame(ends, values.index, ["low", "high"])
    table.insert(0, "mean", values.mean(axis=1))
    return table


def yardsticks(models, accuracies):
    """Predictions that look at no feature of the task: rows like those of a table of scores.

    Parameters
    ----------
    models : pandas.DataFrame
        Columns ``model``, ``parameters``, ``dimension`` and, NaN where there is none, ``source_accuracy``.
    accuracies : pandas.DataFrame
        As in :func:`by_seed`.

    Returns
    -------
    pandas.DataFrame
        Columns ``metric``, ``model``, ``task``, ``score``, with the metrics ``parameters``; ``features``, their
        number; ``source accuracy`` if every network has one; and ``rank on other tasks``, the mean over the other
        tasks of the place from below. The last needs finished fine-tunings: a yardstick, no rival.
    """
    values, names, tasks = by_seed(accuracies)
    facts = models.set_index("model").loc[names]
    ranks = pd.DataFrame(_over_seeds(values)).rank().to_numpy()
    elsewhere = (ranks.sum(1, keepdims=True) - ranks) / max(1, len(tasks) - 1)
    rows = []
    for i, name in enumerate(names):
        for k, task in enumerate(tasks):
            rows.append(("parameters", name, task, float(facts["parameters"].iloc[i])))
            rows.append(("features", name, task, float(facts["dimension"].iloc[i])))
            if facts["source_accuracy"].notna().all():
                rows.append(("source accuracy", name, task, facts["source_accuracy"].iloc[i]))
            if len(tasks) > 1:
                rows.append(("rank on other tasks", name, task, elsewhere[i, k]))
    return pd.DataFrame(rows, columns=["metric", "model", "task", "score"])


def contest(group, *, folder=None):
    """Everything that is said about one group of networks, and what came true.

    Parameters
    ----------
    group : str
        "supervised", "self-supervised" or "transformers"; also "transformer", as the tables have it.
    folder : path, optional
        As in :func:`table`.

    Returns
    -------
    scores : pandas.DataFrame
        Columns ``metric``, ``model``, ``task``, ``score``: the metrics, and the yardsticks (:func:`yardsticks`,
        and the plain and the left-out SFDA score of the networks' twins where there are any, 0 where a twin gives
        the same features to all images).
    accuracies : pandas.DataFrame
        As in :func:`by_seed`.
    yards : list of str
        Which of the metrics are yardsticks.

    Raises
    ------
    ValueError
        No network of the tables is of that group: the message lists those that are there.
    FileNotFoundError
        As in :func:`table`.
    """
    everything = table("accuracy", folder=folder)
    accuracies = everything[everything["group"] == ("transformer" if group == "transformers" else group)]
    if accuracies.empty:
        raise ValueError(f"group: expected one of {', '.join(everything['group'].unique())}, got {group!r}")
    models = table("models", folder=folder)
    yards = yardsticks(models, accuracies)
    if (Path(folder or data_folder("pocket")) / "untrained_scores.csv").is_file():
        yards = pd.concat([yards, _of_twins(accuracies, folder)])
    scores = pd.concat([table("scores", folder=folder), yards])
    scores = scores[scores["model"].isin(accuracies["model"])]
    return scores[["metric", "model", "task", "score"]], accuracies, list(yards["metric"].unique())


def _of_twins(accuracies, folder):
    """What SFDA says of the networks' twins."""
    twins = table("untrained_scores", folder=folder)
    twins = twins[twins["metric"].isin(["SFDA", "left-out SFDA"])]
    twins = twins.assign(metric=twins["metric"] + " of the twin")
    # One that sees no difference between the images has no score: the least of a probability.
    keys = ["metric", "model", "task"]
    every = itertools.product(twins["metric"].unique(), accuracies["model"].unique(), accuracies["task"].unique())
    twins = twins.set_index(keys)["score"].reindex(every, fill_value=0.0)
    return twins.rename_axis(keys).reset_index()


def halves(*, folder=None):
    """Names of the tasks by half: ``development``, where choices may be made, and ``reporting``."""
    rows = table("tasks", folder=folder)
    return {half: list(names) for half, names in rows.groupby("half", sort=False)["name"]}


def summary(scores, accuracies, tasks_by_half, *, level=0.95):
    """One row a metric: how well it ranks, on either half, and what choosing by it costs.

    Parameters
    ----------
    scores, accuracies
        As in :func:`judge`.
    tasks_by_half : dict
        As :func:`halves` returns it.
    level : float, default 0.95
        Of the interval.

    Returns
    -------
    pandas.DataFrame
        ``development`` and ``reporting``, the mean weighted tau on these tasks; ``from`` and ``to``, the t interval
        of the second, over its tasks; ``regret``, by how much the network it prefers falls short of the best one,
        in percentage points, a mean over the reporting tasks. The best on the reporting tasks first. An undefined
        tau counts as 0, as in :func:`pooled_interval`; what has none on any task, as a yardstick that is the same for
        all networks, is left out.
    """
    each = judge(scores, accuracies).dropna(how="all").fillna(0.0)
    reported = accuracies[accuracies["task"].isin(tasks_by_half["reporting"])]
    halves = ("development", "reporting")
    found = pd.DataFrame({half: each[tasks_by_half[half]].mean(axis=1) for half in halves})
    found[["from", "to"]] = over_tasks(each[tasks_by_half["reporting"]], level=level)[["low", "high"]]
    found["regret"] = 100 * judge(scores, reported, regret).mean(axis=1)
    # Metrics that are equal but for rounding keep their order.
    return found.iloc[np.argsort(-evened(found["reporting"]), kind="stable")]


def chance(*accuracies, level=0.95, orders=5000, seed=0):
    """What random scores reach: the `level` point of a mean weighted tau.

    One random order of the networks is used on all tasks. Tasks resemble each other, so that this is more than
    what orders drawn for each would reach.

    Parameters
    ----------
    *accuracies : pandas.DataFrame
        As in :func:`by_seed`. Of several groups of networks each has an order of its own, and it is the mean over
        the groups that is looked at.
    level : float, default 0.95
    orders : int, default 5000
        How many are drawn.
    seed : int, default 0
        Of the random orders.

    Returns
    -------
    float
    """
    rng, means = np.random.default_rng(seed), 0
    for group in accuracies:
        truth = _over_seeds(by_seed(group)[0]).T
        drawn = rng.permuted(np.tile(np.arange(truth.shape[1]), (orders, 1)), axis=1)
        taus = [weighted_taus(drawn.astype(float), accuracy) for accuracy in truth]
        means = means + np.mean(taus, axis=0) / len(accuracies)
    return float(np.quantile(means, level))


def below_probe(accuracies, probes):
    """Cells whose mean accuracy over seeds is below that of the linear probe: bad fine-tuning.

    Parameters
    ----------
    accuracies : pandas.DataFrame
        As in :func:`by_seed`, cells may be missing.
    probes : pandas.DataFrame
        Columns ``model``, ``task``, ``accuracy``.

    Returns
    -------
    pandas.DataFrame
        Columns ``model``, ``task``, ``accuracy``, ``probe`` and ``gap``, the largest gap first.
    """
    means = accuracies.groupby(["model", "task"], sort=False)["accuracy"].mean()
    probe = probes.set_index(["model", "task"])["accuracy"].rename("probe")
    both = pd.concat([means, probe], axis=1, join="inner").reset_index()
    both["gap"] = both["probe"] - both["accuracy"]
    return both[both["gap"] > 0].sort_values("gap", ascending=False, ignore_index=True)


def _over_seeds(values):
    """Means over the last axis: of the same accuracies in another order, too, whose sums differ by a rounding error."""
    return values.mean(-1).round(12)


def _complete(scores, models, tasks):
    """Scores (networks, tasks) of the metrics that have all of them."""
    complete = {}
    for metric, rows in scores.groupby("metric", sort=False):
        found = rows.pivot(index="model", columns="task", values="score")
        found = found.reindex(index=models, columns=tasks).to_numpy(dtype=float)
        if np.isinf(found).any():
            raise ValueError(f"scores: expected finite numbers, found infinity for {metric}")
        if not np.isnan(found).any():
            complete[metric] = evened(found.T, FLOAT32).T
    return complete
