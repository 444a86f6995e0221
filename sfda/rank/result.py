"""A ranking, and how it follows from features and labels."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from sfda.evidence.forecast import forecast
from sfda.evidence.record import Record
from sfda.evidence.sizes import size_matters
from sfda.metric.ensemble import TooFewNetworks, calibrated, select_ensemble
from sfda.metric.inputs import as_features, as_labels, check_networks
from sfda.metric.linalg import to_numpy
from sfda.metric.ranking import FLOAT32, evened
from sfda.metric.score import log_posterior
from sfda.networks.device import versions
from sfda.rank.jackknife import Judge, Scored, half_width
from sfda.rank.outlook import Outlook, outlook, past_of
from sfda.rank.report import advice, finding, reason, report
from sfda.rivals.catalogue import METRIC, find_metric


@dataclass(frozen=True, eq=False)
class Ranking:
    """Networks in the order of their scores, and what follows from it. Its text is a report.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a network, the best first: ``rank``, ``network``, ``score``; ``low`` and ``high``, the ends of
        its 95 % interval, missing of metrics that compare networks; ``behind``, how much less it has than the
        first, with its 95 % interval ``behind_low`` to ``behind_high``; ``tied``, whether that contains 0, True
        of the first itself; ``saturated``, whether the score is at its maximum of 1, or can be for any labels;
        ``features``, D; ``parameters``, missing where they are not known; ``forward_seconds``, missing for
        features that were given; ``cached``, whether they came from the cache; ``scoring_seconds``, with the
        interval; ``side`` and ``own_side``, the height in pixels of the images that it saw and of those that
        its authors state for it, missing where they are not known.
    metric : str
        Key of ``sfda.rivals.catalogue.RIVALS``: the first of those asked for, which all but `others` goes by.
    others : dict of str to pandas.DataFrame
        The same table by each of the other metrics, of those networks that it could score.
    best : str
        The network with the largest score.
    cheapest : str
        Of those tied with the best, the one with the fewest parameters.
    ensembles : dict of int to list of str
        Two and three networks whose averaged predictions should be best; without entries where there are not as many
        different ones.
    accuracies : dict of int to float
        Share of the images that averaged left-out predictions get right, those of discriminants on the features of
        these networks; 1 is the best network alone. The networks were chosen by these images, which flatters them.
    n : int
        How many images were scored.
    classes : dict of str to int
        How many of each class.
    notes : list of str
        What has to be known to read the table.
    failures : dict of str to str
        Networks that could not be ranked, and why.
    about : dict
        What was done: images, options, versions.
    outlook : sfda.rank.outlook.Outlook or None
        What past results of the networks and their scores say together; None where no such results are known.
    """

    table: pd.DataFrame
    metric: str
    others: dict[str, pd.DataFrame]
    best: str
    cheapest: str
    ensembles: dict[int, list[str]]
    accuracies: dict[int, float]
    n: int
    classes: dict[str, int]
    notes: list[str]
    failures: dict[str, str]
    about: dict[str, Any]
    outlook: Outlook | None = None

    @property
    def tied(self) -> list[str]:
        """Names of the networks whose difference to the best is within noise, the best left out."""
        return list(self.table["network"][self.table["tied"]][1:])

    @property
    def finding(self) -> str:
        """The result of the scores in one sentence."""
        return finding(self.table)

    @property
    def advice(self) -> str:
        """What to do next, and how sure that is, in one sentence."""
        return self.outlook.advice if self.outlook else advice(self)

    def __str__(self) -> str:
        return report(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it: numbers that are missing are None."""
        return {
            "metric": self.metric, "n": self.n, "classes": self.classes, "best": self.best,
            "cheapest": self.cheapest, "finding": self.finding, "advice": self.advice,
            "recommended": self.outlook.recommended if self.outlook else self.best,
            "record": self.outlook and {"of": self.outlook.record, "table": _rows(self.outlook.table)},
            "table": _rows(self.table), "others": {metric: _rows(table) for metric, table in self.others.items()},
            "ensembles": {str(size): members for size, members in self.ensembles.items()},
            "accuracies": {str(size): value for size, value in self.accuracies.items()},
            "notes": self.notes, "failures": self.failures, "about": self.about,
        }  # fmt: skip


def _rows(table):
    """A table as JSON can hold it."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()} for row in rows]


def named_metrics(metric, needs):
    """Keys of RIVALS, each once, from one name or several; ValueError as find_metric raises it."""
    found = [find_metric(each, needs=needs) for each in ([metric] if isinstance(metric, str) else metric)]
    if not found:
        raise ValueError("metric: expected at least one, got none")
    return list(dict.fromkeys(found))


def check_compared(metric, networks):
    """Raise ValueError unless there are two networks for a metric that compares them."""
    if len(networks) < 2:
        raise ValueError(f"metric: {metric} compares networks, and needs two at least, got {len(networks)}")


def rank_features(
    features_by_model: Mapping[str, ArrayLike], labels: ArrayLike, *, metric: str | Sequence[str] = METRIC,
    parameters: Mapping[str, int] | None = None, seed: int = 0, record: Record | str | PathLike[str] | None = None,
    observed: Mapping[str, float] | None = None,
) -> Ranking:  # fmt: skip
    """Rank networks by features that exist already.

    Parameters
    ----------
    features_by_model : mapping of name to array-like of shape (N, D)
        Features of the same N samples, of any number of networks, each with its own D: NumPy or torch, any floating
        dtype; not modified.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    metric : str or sequence of str, default "left-out probability"
        One that needs features only (``sfda.METRICS``), or one that compares networks (ETran, NCTI), in any case of
        letters. The first of several decides the order.
    parameters : mapping of name to int, optional
        Sizes of the networks, to say which is the cheapest of those that are tied.
    seed : int, default 0
        Of the groups behind the intervals.
    record : Record, path or "published", optional
        Past results of the networks, by the same names: see :func:`sfda.rank.run.rank`. None by default.
    observed : mapping of str to float, optional
        Accuracies, shares of 1, of networks that have been fine-tuned on these samples already; needs a record.

    Returns
    -------
    Ranking

    Raises
    ------
    ValueError
        Bad input, or an unknown metric: the message names the argument, and the network where it is one.

    Notes
    -----
    *Intervals* are those of the delete-a-group jackknife. The samples of every class are dealt to 20 groups (10 for
    the slowest metrics), and the score is computed again without each group in turn; of the left-out metrics with the
    lambda of all samples. The variance is (G - 1)/G times the sum of squared deviations, the interval the score plus
    and minus 2.09 (2.26) standard deviations, Student's quantile for G - 1.

    It tends to be too wide rather than too narrow, as B. Efron and C. Stein (*The jackknife estimate of variance*,
    Annals of Statistics 1981) prove of the kind. In simulations of 50 to 300 samples with 12 to 200 features the
    standard deviation of the left-out probability came out 1.0 to 1.6 times as large as it was, that of accuracies up
    to twice, and 95 % intervals held the mean left-out probability in 92 to 100 % of cases. What looks simpler is too
    narrow: resampling each sample's value with the fit held fixed held it in 78 to 90 %, and halves of the samples
    may miss it altogether where they are fewer than D.

    Groups are the same for all networks, and a difference is judged by its own deviations: networks see the same
    samples, and their errors go together. Each network is compared with the first by itself. The first has been
    picked as the largest, which favours it a little.

    Adding networks, or another order of them, changes no score and no interval; but those of ETran and NCTI, which
    compare networks.

    References
    ----------
    J. Shao and C. F. J. Wu, *A general theory for jackknife variance estimation*, Annals of Statistics 17, 1989.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.rank.result import rank_features
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(300) % 3
    >>> def network(strength):
    ...     return rng.standard_normal((300, 8)) + strength * np.eye(3, 8)[y]
    >>> found = rank_features({"weak": network(1), "strong": network(3)}, y)
    >>> found.best, found.tied
    ('strong', [])
    """
    metrics = named_metrics(metric, ("features", "zoo"))
    check_networks(features_by_model, labels)
    past = past_of(record, observed, {name: str(name) for name in features_by_model})
    unknown = sorted(map(str, set(parameters or ()) - set(features_by_model)))
    if unknown:
        raise ValueError(f"parameters: expected names of features_by_model, got {unknown[0]!r}")
    first = next(iter(features_by_model))
    n = len(as_features(features_by_model[first], name=f"features_by_model[{first!r}]"))
    y, names = as_labels(labels, n)
    judges = [Judge(metric, y, names, seed) for metric in metrics]
    for judge in judges:
        if judge.needs == "zoo":
            check_compared(judge.metric, features_by_model)
    scored: dict[str, dict[str, Scored]] = {metric: {} for metric in metrics}
    for judge in judges:
        if judge.needs == "zoo":
            scored[judge.metric], wrong = judge.together(features_by_model)
            for name, error in wrong.items():
                raise ValueError(f"features_by_model[{name!r}]: {error}") from error
            continue
        for name, features in features_by_model.items():
            try:
                scored[judge.metric][name] = judge(features)
            except ValueError as error:
                raise ValueError(f"features_by_model[{name!r}]: {error}") from error
    facts = {name: {"parameters": (parameters or {}).get(name)} for name in features_by_model}
    about = {"images": None, "part": None, "fingerprint": None, "seed": seed}
    return made_of(judges, scored, features_by_model, facts, [], {}, about, past)


def made_of(judges, scored, features, facts, notes, failures, about, past):
    """The :class:`Ranking` that follows from what `judges`, a ``jackknife.Judge`` a metric, have scored.

    `scored` is a dict by metric of dicts by network, of the first metric with at least one ``jackknife.Scored``.
    `features` (N, D), for the ensembles, go by network, as do `facts`: dicts of columns of the table, without those
    that are not known. `failures` say why a network could not be ranked. `past` is a ``outlook.Past``.
    """
    judge, *_ = judges
    table, *others = (_table(each, scored[each.metric], facts) for each in judges if scored[each.metric])
    order = list(table["network"])
    sized = table[table["tied"] & table["parameters"].notna()]
    cheapest = sized.loc[sized["parameters"].idxmin(), "network"] if len(sized) else order[0]
    # In the order of the table, so that equal criteria do not depend on that of the arguments.
    ensembles, accuracies, why_not = _ensembles({name: features[name] for name in order}, judge)
    compared = [each.metric for each in judges if each.needs == "zoo"]
    if compared:
        notes = [*notes, f"{' and '.join(compared)} compared these networks: among others their scores would be others"]
    words = [each.words for each in judges if each.needs != "zoo"][:1]
    for each in judges:
        if len(each.rows) < len(each.y):
            words.append(f"{each.metric} looked at {len(each.rows)} of the images, the same share of every class")
    notes = [*words, *notes, *_warnings(judge, table), *why_not]
    libraries = versions("numpy", "scipy", "sfda", "timm", "torch", "torchvision")
    about = about | {"groups": len(judge.kept), "versions": {"python": platform.python_version()} | libraries}
    by_metric = dict(zip([each.metric for each in judges[1:] if scored[each.metric]], others))
    past, said = past.without(about["images"])
    notes += said
    seen = None
    if past.record is not None and len(order) > 1:
        # Scores that mean nothing are no evidence.
        silent = [
            metric for metric, own in ({judge.metric: table} | by_metric).items()
            if about.get("shuffled") or own["saturated"].iloc[0]
        ]  # fmt: skip
        numbers = {
            each.metric: {name: own.score for name, own in scored[each.metric].items()}
            for each in judges if each.metric not in silent
        }  # fmt: skip
        if silent:
            notes.append(f"{' and '.join(silent)} did not count beside the past results: these scores say nothing")
        seen = outlook(past, [name for name in past.keys if name in features or name in past.observed], numbers)
    return Ranking(
        table, judge.metric, by_metric, order[0], cheapest, ensembles, accuracies, len(judge.y), judge.classes,
        [*notes, forecast(judge.metric)], failures, about, seen,
    )  # fmt: skip


def _table(judge, scored, facts):
    """The table of :class:`Ranking` by one metric."""
    even = dict(zip(scored, evened([own.score for own in scored.values()], FLOAT32).tolist()))
    order = sorted(scored, key=lambda name: (-even[name], str(name)))
    best, rows = scored[order[0]], []
    for place, name in enumerate(order, 1):
        own = scored[name]
        low, high = judge.interval(own)
        behind, width = even[order[0]] - even[name], half_width(best.replicates - own.replicates)
        rows.append({
            "rank": place, "network": name, "score": own.score, "low": low, "high": high,
            "behind": behind, "behind_low": behind - width, "behind_high": behind + width,
            "tied": place == 1 or behind <= width, "saturated": judge.saturated(own),
            "features": own.features, "parameters": None, "forward_seconds": np.nan, "cached": False,
            "scoring_seconds": own.seconds, "side": None, "own_side": None,
        } | facts[name])  # fmt: skip
    return pd.DataFrame(rows).astype(dict.fromkeys(["parameters", "side", "own_side"], "Int64"))


def _ensembles(features, judge):
    """Two and three networks to average, how often they are right, and why there are none."""
    if len(features) < 2:
        return {}, {}, []
    best = next(iter(features))
    for size in range(min(3, len(features)), 1, -1):
        try:
            found = select_ensemble(features, judge.y, size)
            p = {name: _left_out(features[name], judge.y) for name in {best, *found.members}}
        except TooFewNetworks:  # some have the same features
            continue
        except (ValueError, MemoryError) as error:
            return {}, {}, [f"no ensembles: {reason(error, len(judge.y))}"]
        ensembles = {k: found.members[:k] for k in range(2, size + 1)}
        averages = {k: sum(p[name] for name in names) for k, names in ({1: [best]} | ensembles).items()}
        return ensembles, {k: float((each.argmax(1) == judge.y).mean()) for k, each in averages.items()}, []
    return {}, {}, ["no ensembles: all networks have the same features"]


def _left_out(features, y):
    """Calibrated left-out probabilities, as those that ensembles are chosen by."""
    return np.exp(calibrated(to_numpy(log_posterior(features, y, challenge=False)), y))


def _warnings(judge, table):
    """What the table alone does not say of its scores and intervals."""
    found, full = [], int(table["saturated"].sum())
    if full:
        found.append(
            f"saturated, here {full} of {len(table)}: a score that is 1, or one of N <= D images, which can be "
            f"separated whatever their labels; take {METRIC}, or more images"
        )
    sides = sorted(set(table["side"].dropna()))
    if len(sides) > 1:
        said = [
            f"the networks looked at images of different sizes, {sides[0]} to {sides[-1]} pixels: fine-tuned on images "
            "of one size they may come in another order; side=N (--side N) scores them all at N pixels"
        ]
        found.append(". ".join([*said, *filter(None, [size_matters(judge.metric)])]))
    if few := int((judge.counts < 3).sum()):
        found.append(f"the intervals may be too narrow: classes of one or two images always stay whole, here {few}")
    return found
