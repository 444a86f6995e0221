"""What records would have said: each task forecast from the others, and what following them would have cost."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from sfda.evidence import published, verdict
from sfda.evidence.record import MEASURED, Record, normal_scores, standardised_logits
from sfda.files import data_folder
from sfda.metric.ranking import weighted_tau

#: Metrics that are asked of the tables that this project measured. Of published tables, all that are there.
ASKED = ("left-out probability",)
# Where choices were made, and where they are reported: settled before the second were read for them. The tables of the
# project are divided by tasks as data/pocket/tasks.csv has it.
DEVELOPMENT = ("stable-transfer", "vtab", "vtab 1000", "transfergraph", "parc")
REPORTING = ("supervised", "self-supervised", "transformers", "tmlr", "logme", "shift")


class Contest(NamedTuple):
    """Networks and tasks to be forecast.

    ``record`` has them all, ``tasks`` are those to be forecast, each from all others, with the scores of ``metrics``.
    """

    record: Record
    tasks: list[str]
    metrics: list[str]


def contests(half):
    """The contests of one half, by name.

    Parameters
    ----------
    half : {"development", "reporting"}

    Returns
    -------
    dict of str to Contest
        Published records by their names (:func:`sfda.evidence.published.record`); and of the pocket benchmark's groups
        and the real networks (``sfda.evidence.record.MEASURED``) those tasks that lie in this half.
    """
    found = {}
    for name in DEVELOPMENT if half == "development" else REPORTING:
        record = Record.published(name)
        # ImageNet accuracy is a past result, no score of the new images.
        found[name] = Contest(record, list(record.accuracies), [m for m in record.scores if m != "imagenet_top1"])
    tasks = verdict.halves()[half]
    for name in MEASURED:
        record = Record.published(name)
        for contest, networks in _groups(name).items():
            own = [network for network in record.accuracies.index if network in networks]
            scores = {metric: each.loc[own] for metric, each in record.scores.items()}
            scores = {metric: each for metric, each in scores.items() if each.notna().any(axis=None)}
            part = Record(record.accuracies.loc[own], scores)
            found[contest] = Contest(part, [t for t in tasks if t in part.accuracies], list(ASKED))
    return found


def without(record, task, past=None, metrics=None):
    """What was known before a task.

    Parameters
    ----------
    record : Record
    task : str
    past : sequence of str, optional
        The tasks that count; all others by default.
    metrics : sequence of str, optional
        Those whose scores count; all by default.

    Returns
    -------
    past : Record
        Networks that it does not know, or of which the task has no accuracy, are left out.
    truth : pandas.Series
        Their accuracies on the task.
    scores : dict of str to pandas.Series
        By metric, their scores on it.
    """
    tasks = [each for each in (record.accuracies if past is None else past) if each != task]
    known = record.accuracies[task].notna() & record.accuracies[tasks].notna().any(axis=1)
    networks = record.accuracies.index[known]
    own = {metric: record.scores[metric].loc[networks] for metric in (record.scores if metrics is None else metrics)}
    scores = {metric: table[tasks] for metric, table in own.items() if table[tasks].notna().any(axis=None)}
    now = {metric: table[task].dropna() for metric, table in own.items()}
    return (
        Record(record.accuracies.loc[networks, tasks], scores), record.accuracies.loc[networks, task],
        {metric: each for metric, each in now.items() if len(each)},
    )  # fmt: skip


def forecasts(contest, past=None):
    """Each task of a contest forecast from the others, beside what came true.

    Parameters
    ----------
    contest : Contest
    past : sequence of str, optional
        As in :func:`without`.

    Returns
    -------
    pandas.DataFrame
        One row a way, task and network: ``by``, "record", "score" (the mean of the metrics' normal scores) or, where
        there are scores, "both"; ``task``, ``network``; ``accuracy`` and ``z``, as it came; ``forecast`` and, but by
        "score", ``low``, ``high``, ``p_best``, ``expected_loss``, as in :meth:`sfda.Record.forecast`.
    """
    rows = []
    for task in contest.tasks:
        before, truth, scores = without(contest.record, task, past, contest.metrics)
        ways = {"record": before.forecast(list(truth.index))}
        if scores:
            mean = _mean_scores(scores, truth.index)
            ways |= {"score": mean.to_frame("forecast"), "both": before.forecast(list(truth.index), scores=scores)}
        came = pd.DataFrame({"accuracy": truth, "z": standardised_logits(truth)})
        rows += [
            table.join(came).rename_axis("network").reset_index().assign(by=by, task=task) for by, table in ways.items()
        ]
    return pd.concat(rows, ignore_index=True)


def _mean_scores(scores, names):
    """Mean over metrics of the normal scores of networks."""
    each = [np.nan_to_num(normal_scores(scores[metric].reindex(names))) for metric in scores]
    return pd.Series(np.mean(each, axis=0), index=names)


def taus(found):
    """Weighted tau of each way on each task, 0 where it says nothing.

    Parameters
    ----------
    found : pandas.DataFrame
        As :func:`forecasts` returns it.

    Returns
    -------
    pandas.DataFrame of shape (ways, tasks)
    """
    each = found.groupby(["by", "task"], sort=False)[["forecast", "accuracy"]]
    return each.apply(lambda rows: weighted_tau(rows["forecast"], rows["accuracy"])).fillna(0.0).unstack("task")


def alternatives(contest):
    """What else orders the networks of a contest, and what chance does.

    Parameters
    ----------
    contest : Contest

    Returns
    -------
    dict
        Mean weighted taus over the tasks, of the networks that are known on all of them, 0 where one does not exist:
        ``ImageNet``, of accuracy on it, where it is published of all networks;
        ``parameters``, where they are measured; ``best metric``, of the metric that is best on these very tasks, with
        its name in ``which`` and the number of metrics in ``of``; ``chance``, which one random order of the networks
        in twenty exceeds.
    """
    record, tasks = contest.record, contest.tasks
    truth = record.accuracies[tasks].dropna()

    def mean(scores):
        return float(np.nan_to_num([weighted_tau(scores.loc[truth.index, task], truth[task]) for task in tasks]).mean())

    found, facts = {}, {}
    if "imagenet_top1" in record.scores:
        facts["ImageNet"] = record.scores["imagenet_top1"]
    else:
        known = published.table("imagenet_top1").set_index("model")["imagenet_top1"]
        facts["ImageNet"] = pd.DataFrame(dict.fromkeys(tasks, known))
    sizes = pd.concat([verdict.table("models", folder=data_folder(name)) for name in MEASURED])
    facts["parameters"] = pd.DataFrame(dict.fromkeys(tasks, sizes.set_index("model")["parameters"]))
    for name, table in facts.items():
        if table.reindex(truth.index)[tasks].notna().all(axis=None):
            found[name] = mean(table)
    whole = {m: each for m, each in record.scores.items() if each.loc[truth.index, tasks].notna().all(axis=None)}
    each = {metric: mean(scores) for metric, scores in whole.items() if metric != "imagenet_top1"}
    if each:
        found |= {"best metric": max(each.values()), "which": max(each, key=each.get), "of": len(each)}
    rows = truth.stack().rename("accuracy").rename_axis(["model", "task"]).reset_index().assign(seed=0)
    return found | {"chance": verdict.chance(rows, orders=1000)}


def asked(contest, most=5):
    """The networks that a record names one after another, each time told how the one before has done.

    Parameters
    ----------
    contest : Contest
    most : int, default 5
        How many; all where there are fewer.

    Returns
    -------
    pandas.DataFrame
        Columns ``task``; ``step``, from 0; ``network``, which :meth:`sfda.Record.next` names, by both where there are
        scores; ``chance`` that it beats the best of those before, and ``gain`` expected over it, as
        :meth:`sfda.Record.gains` says; ``accuracy``, as it came.
    """
    rows = []
    for task in contest.tasks:
        before, truth, scores = without(contest.record, task, metrics=contest.metrics)
        seen = {}
        while len(seen) < min(most, len(truth)):
            said = before.gains(list(truth.index), scores=scores, observed=seen)
            name = said.index[0] if seen else before.next(list(truth.index), scores=scores)
            rows.append((task, len(seen), name, *said.loc[name, ["chance", "gain"]], truth[name]))
            seen[name] = truth[name]
    return pd.DataFrame(rows, columns=["task", "step", "network", "chance", "gain", "accuracy"])


def spent(contest, walks, budgets=(1, 3, 5)):
    """Points of accuracy lost by those who fine-tune a few networks and take the best of them.

    Parameters
    ----------
    contest : Contest
    walks : pandas.DataFrame
        As :func:`asked` returns it, of as many networks as the largest budget.
    budgets : sequence of int, default (1, 3, 5)
        How many networks are fine-tuned.

    Returns
    -------
    pandas.DataFrame
        Columns ``by``, ``task``, ``budget``, ``lost``. "record", "score" and "both" fine-tune the first of their order,
        "asked again" those of `walks`; "chance" any: its mean over all choices.
    """
    rows = []
    for task in contest.tasks:
        before, truth, scores = without(contest.record, task, metrics=contest.metrics)
        names = list(truth.index)
        ways = {"record": list(before.forecast(names).index)}
        if scores:
            mean = _mean_scores(scores, names)
            ways["score"] = list(mean.sort_values(ascending=False, kind="stable").index)
            ways["both"] = list(before.forecast(names, scores=scores).index)
        ways["asked again"] = list(walks.loc[walks["task"] == task, "network"])
        for budget in budgets:
            for by, order in ways.items():
                rows.append((by, task, budget, 100 * (truth.max() - truth[order[:budget]].max())))
            rows.append(("chance", task, budget, 100 * (truth.max() - _best_of(truth.to_numpy(), budget))))
    return pd.DataFrame(rows, columns=["by", "task", "budget", "lost"])


def promised(walks):
    """What the network that is to be fine-tuned next was said to gain, beside what it gained.

    Parameters
    ----------
    walks : pandas.DataFrame
        As :func:`asked` returns it.

    Returns
    -------
    pandas.DataFrame
        Columns ``task``; ``observed``, how many had been fine-tuned, at least one; ``chance`` that the next one beats
        the best of these, and ``beats``, whether it did; ``gain`` expected and ``gained``, points of accuracy.
    """
    best = walks.groupby("task")["accuracy"].cummax().groupby(walks["task"]).shift()
    found = walks.assign(
        observed=walks["step"], beats=walks["accuracy"] > best, gained=100 * (walks["accuracy"] - best).clip(lower=0)
    )
    columns = ["task", "observed", "chance", "beats", "gain", "gained"]
    return found.loc[best.notna(), columns].reset_index(drop=True)


def _best_of(values, k):
    """Mean of the largest of `k` values drawn without replacement."""
    ranked = np.sort(values)
    n = len(ranked)
    if k >= n:
        return ranked[-1]
    # The i-th smallest is the largest drawn if the others are among the i before it.
    chances = np.zeros(n)
    chances[-1] = k / n
    for i in range(n - 2, k - 2, -1):
        chances[i] = chances[i + 1] * (i + 2 - k) / (i + 1)
    return float(chances @ ranked)


def halving(name):
    """Successive halving on tables that this project measured: points lost, by group and task.

    All networks are trained for a quarter of the steps; the half (rounded down) with the smaller training loss goes on
    for another, and so on: a quarter, a half, three quarters, the whole. The one that is left is taken. Losses are
    those of seed 0, accuracies means over the seeds.

    Parameters
    ----------
    name : {"pocket", "real"}

    Returns
    -------
    pandas.DataFrame
        Columns ``contest``, its name as in :func:`contests`; ``task``; ``lost``; and ``budget``, how many whole
        fine-tunings it costs.

    References
    ----------
    K. Jamieson and A. Talwalkar, *Non-stochastic best arm identification and hyperparameter optimization*, AISTATS
    2016.
    """
    curves, accuracies = (verdict.table(each, folder=data_folder(name)) for each in ("curves", "accuracy"))
    losses = [column for column in curves if column.endswith("_quarter")]
    curves = curves[curves["seed"] == 0].set_index(["task", "model"])[losses]
    accuracies = accuracies.groupby(["task", "model"], sort=False)["accuracy"].mean()
    rows = []
    for contest, networks in _groups(name).items():
        for task in accuracies.index.unique("task"):
            own = accuracies.loc[task]
            own = own[[network for network in networks if network in own]]  # those that are listed and measured
            left, cost = list(own.index), 0.0
            for loss in losses:
                cost += len(left) / len(losses)
                left = list(curves.loc[task].loc[left, loss].sort_values(kind="stable").index[: max(1, len(left) // 2)])
            rows.append((contest, task, 100 * (own.max() - own[left[0]]), cost))
    return pd.DataFrame(rows, columns=["contest", "task", "lost", "budget"])


def _groups(name):
    """The networks of each contest of a measured table."""
    rows = verdict.table("models", folder=data_folder(name))
    if name == "pocket":
        return {f"pocket {group}": list(own) for group, own in rows.groupby("group", sort=False)["model"]}
    return {f"{name} networks": list(rows["model"])}
