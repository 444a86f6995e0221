"""The record: what past fine-tunings of the same networks say of a new task.

Notation: networks m, past tasks t, z_mt the logit of network m's accuracy on task t, standardised within the task
over the networks that it knows; s_jmt normal scores of the ranks that metric j gives the networks on task t, and s_jm
their mean over the tasks, the new one too.

    z_mt = c_t + u_m + sum_j [ a_j s_jm + b_j (s_jmt - s_jm) ] + e_mt,   u_m ~ N(0, r sigma^2),   e_t ~ N(0, sigma^2 K)

A task's level c_t takes up which networks it happens to know, u_m is what a network is worth everywhere, e_mt what it
is worth here alone. That a metric prefers a network on all tasks (a) may mean something else than that it does so here
(b). The new task has the same u, a and b, scores of its own, and a new e.
"""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import expit, logit, ndtri, softmax
from scipy.stats import rankdata, t

from sfda.evidence import published, verdict
from sfda.evidence.runs import COLUMNS, read_runs
from sfda.files import data_folder
from sfda.metric.ranking import FLOAT32, evened

# Chosen on development tables (chapter "What past results are worth"), where neighbours did as well.
CLIP = 1e-3  # accuracies stay so far from 0 and 1, whose logits are infinite
SHARE = 0.6  # prior share of u in the variance of z, r / (1 + r)
SPREAD = 0.5  # standard deviation of the prior of log r
PAST = 10  # how many numbers the prior of sigma^2, and how many tasks that of K, are worth
WEIGHTS, WEIGHT_SD = (0.5, 0.2), 0.15  # prior of sum_j a_j and sum_j b_j
PERSISTENCE = 0.5  # of a network's other scores is expected where a past one is missing
TAILS = 4  # degrees of freedom of Student's distribution, of the same variance
REPEATED = 0.1  # variance of z that fine-tuning a network again has
TRUST = 0.5  # power of the likelihood of what was observed, whose networks were chosen because they are alike
LEVEL = 1.0  # standard deviation of a new task's mean logit about that of a past one
DRAWS, NUMBERS = 4000, 200_000  # of a network; of all networks, where these are many
MEASURED = ("pocket", "real")  # by this project
_THIN = np.sqrt((TAILS - 2) / TAILS)  # Student's scale at variance 1
_RATIOS = np.geomspace(0.05, 50, 16)  # of u's variance to sigma^2


class Record:
    """What past fine-tunings say of networks.

    Parameters
    ----------
    accuracies : pandas.DataFrame of shape (networks, tasks)
        Test accuracies after fine-tuning, shares of 1, NaN where unknown; indexed by network, one column a task. A
        Series is one task.
    scores : mapping of str to pandas.DataFrame, optional
        Scores that metrics gave the same networks on the same tasks, larger is better: one table like `accuracies` a
        metric, NaN where unknown. How far a metric's scores can be trusted is learned from them.

    Attributes
    ----------
    accuracies : pandas.DataFrame
    scores : dict of str to pandas.DataFrame
        Of the rows and columns of `accuracies`.

    Raises
    ------
    ValueError
        `accuracies` is no table of numbers, has shares out of [0, 1], a network or a task twice or without a name, one
        network only, or no task that knows two; `scores` has an infinite number, or no known cell in common with
        `accuracies`.

    Notes
    -----
    The model is that of this module. Accuracies are kept .001 from 0 and 1. The levels c_t are free; the other unknowns
    have priors, which count for little where a record is long. :math:`\\sigma^2` has the scaled inverse
    :math:`\\chi^2` of .4 and 10 degrees of freedom, :math:`\\log r` the normal distribution about
    :math:`\\log(.6/.4)` with deviation .5, and the value of largest marginal likelihood times prior is taken, of 16
    between .05 and 50; of J metrics each :math:`a_j` and :math:`b_j` have those about .5/J and .2/J, with deviation
    :math:`.15/\\sqrt J` (where :math:`\\sigma^2` is .4). A past score that is missing is half of the network's usual
    one. Scores are ranked among the networks asked for, on past tasks too.

    The residuals of networks on one task have the covariance :math:`\\sigma^2 K`, estimated as in an inverse Wishart
    distribution, of ten tasks with independent residuals and those of the record: networks that failed together may do
    so again, which matters once something has been observed. About its forecast a network's z has the tails of
    Student's distribution with 4 degrees of freedom, as those of most published tables have; intervals and draws are
    so, and that the draws of two networks go together is then a fifth weaker than their covariance says.

    Logits are A + B z: the new task is taken to have the spread B of a past task and a level A about that task's, with
    deviation 1, each as likely as the root of the likelihood that it gives what was observed: whoever follows the
    forecast observes networks that are alike, and would take the spread for too small. Fine-tuning a network again
    varies z by .1, between the median and the mean of the pocket benchmark's groups on development tasks.

    A complete table without scores gives the order of the networks' mean z. Of a task that knows few networks the level
    is corrected, the spread is that of these few.

    A record cannot say more than its tasks: it is bound to their domain (natural images say little of structured ones)
    and to their protocol of fine-tuning.

    References
    ----------
    C. R. Henderson, *Best linear unbiased estimation and prediction under a selection model*, Biometrics 1975.

    Examples
    --------
    >>> import pandas as pd
    >>> from sfda import Record
    >>> past = pd.DataFrame(
    ...     {"birds": [0.9, 0.8, 0.7], "cars": [0.8, 0.7, 0.65]},
    ...     index=["large", "middle", "small"])
    >>> list(Record(past).forecast().index)
    ['large', 'middle', 'small']
    """

    def __init__(self, accuracies: pd.DataFrame, scores: Mapping[str, pd.DataFrame] | None = None) -> None:
        accuracies = accuracies.to_frame() if isinstance(accuracies, pd.Series) else accuracies
        self.accuracies = _table(accuracies, "accuracies")
        values = self.accuracies.to_numpy()
        outside = np.argwhere((values < 0) | (values > 1))
        if len(outside):
            m, k = outside[0]
            raise ValueError(
                f"accuracies: expected shares of 1, got {values[m, k]:g} for {self.accuracies.index[m]!r} on "
                f"{self.accuracies.columns[k]!r}" + ("; divide per cent by 100" if values[m, k] > 1 else "")
            )
        if len(values) < 2:
            raise ValueError(f"accuracies: expected two networks at least, got {len(values)}")
        if not (np.isfinite(values).sum(0) > 1).any():
            raise ValueError("accuracies: expected a task that knows two networks at least, found none")
        self.scores = {}
        for metric, given in _mapping(scores, "scores", "metric to DataFrame").items():
            found = _table(given, f"scores[{metric!r}]")
            found = found.reindex(index=self.accuracies.index, columns=self.accuracies.columns)
            if not (found.notna() & self.accuracies.notna()).any(axis=None):
                raise ValueError(f"scores[{metric!r}]: expected networks and tasks of accuracies, found none of them")
            self.scores[metric] = found

    @classmethod
    def published(cls, name: str = "supervised") -> "Record":
        """A record that others have published.

        Parameters
        ----------
        name : str, default "supervised"
            As :func:`sfda.evidence.published.record` takes it; or "pocket" or "real", what this project measured of
            its 33 small networks on 11 tasks and of real ones on 5 of them, with the scores of every metric.

        Returns
        -------
        Record

        Raises
        ------
        ValueError
            There is none of that name: the message lists them.
        FileNotFoundError
            Of "pocket" and "real", where this package runs from elsewhere than the repository.
        """
        if name not in (names := (*published.RECORDS, *MEASURED)):
            raise ValueError(f"name: expected one of {', '.join(map(repr, names))}, got {name!r}")
        if name not in MEASURED:
            return cls(*published.record(name))
        runs, scores = (verdict.table(each, folder=data_folder(name)) for each in ("accuracy", "scores"))
        accuracies = runs.pivot_table(index="model", columns="task", values="accuracy", sort=False)
        tables = {
            metric: rows.pivot(index="model", columns="task", values="score")
            for metric, rows in scores.groupby("metric", sort=False)
        }
        return cls(accuracies, tables)

    @classmethod
    def read(cls, path: str | PathLike[str]) -> "Record":
        """A record from a CSV file.

        Parameters
        ----------
        path : path
            As :func:`sfda.evidence.runs.read_runs` takes it.

        Returns
        -------
        Record

        Raises
        ------
        ValueError
            As :func:`sfda.evidence.runs.read_runs`, or as the class.
        FileNotFoundError
            It is missing.
        """
        runs = read_runs(path)
        try:
            return cls.of(runs)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def of(cls, runs: pd.DataFrame) -> "Record":
        """A record from single results.

        Parameters
        ----------
        runs : pandas.DataFrame
            One row a result: ``network``, ``task``, ``accuracy``; any further column holds the scores of the metric of
            that name. Rows of one network and task are averaged.

        Returns
        -------
        Record

        Raises
        ------
        ValueError
            A column is missing or, of accuracies and scores, has text; a name is missing; or as the class.
        """
        if not isinstance(runs, pd.DataFrame):
            raise ValueError(f"runs: expected a DataFrame, got {_kind(runs)}")
        if lacking := [column for column in ("network", "task", "accuracy") if column not in runs]:
            raise ValueError(f"runs: expected a column {lacking[0]!r}, found {', '.join(map(str, runs))[:200]}")
        if runs[["network", "task"]].isna().any(axis=None):
            raise ValueError("runs: expected a network and a task in every row")
        metrics = [column for column in runs if column not in COLUMNS]
        try:
            runs = runs.astype(dict.fromkeys(["accuracy", *metrics], float))
        except (TypeError, ValueError) as error:
            raise ValueError(f"runs: expected numbers ({error})") from error
        tables = {
            column: runs.pivot_table(index="network", columns="task", values=column, sort=False, dropna=False)
            for column in ("accuracy", *metrics)
        }
        accuracies = tables.pop("accuracy")
        return cls(accuracies, {metric: each for metric, each in tables.items() if each.notna().any(axis=None)})

    def forecast(
        self, networks: Iterable[str] | None = None, *, scores: Mapping[str, "pd.Series | Mapping[str, float]"] | None
        = None, observed: Mapping[str, float] | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """How well networks will do on a new task.

        Parameters
        ----------
        networks : iterable of str, optional
            By default all of the record, and those of `scores` and `observed`. One that the record does not know is
            taken for an average one, with a wide interval.
        scores : mapping of str to pandas.Series or mapping, optional
            By metric, the scores of networks on the new task, larger is better; NaN where there is none, which counts
            as an average one. Of a metric that the record knows from no past task they count with a weight that was
            chosen on other tables.
        observed : mapping of str to float, optional
            Accuracies, shares of 1, of networks that have been fine-tuned on the new task already.

        Returns
        -------
        pandas.DataFrame
            Indexed by network, the largest forecast first: ``forecast``, the standardised logit of its accuracy;
            ``low`` and ``high``, the ends of its 80 % interval; ``p_best``, the chance that it is the best of these;
            ``expected_loss``, by how many points of accuracy it is expected to fall short of the best of them;
            ``tasks``, how many past tasks know it. With nothing observed forecasts and intervals are relative to an
            average network of the record, as z is; with something, to the task's level as it is known then, so that
            they are those of accuracies: an observed network's is as narrow as fine-tuning it again would repeat it,
            and its chance and loss are those of fine-tuning it again. On published tables the loss of the first
            network was stated half as large again as it came.

        Raises
        ------
        ValueError
            A network is there twice; `scores` are of none of the networks, or infinite; `observed` has an accuracy out
            of [0, 1], or a network that is not among `networks`.
        """
        names, new, seen = self._new_task(networks, scores, observed)
        task = self._task(names, new, seen)
        reach = _THIN * t.ppf(0.9, TAILS) * np.sqrt(task.variance)
        best = np.bincount(task.accuracies.argmax(0), task.weights, len(names))
        loss = (task.accuracies.max(0) - task.accuracies) @ task.weights
        table = pd.DataFrame(
            {
                "forecast": task.mean, "low": task.mean - reach, "high": task.mean + reach,
                "p_best": best, "expected_loss": 100 * loss,
                "tasks": self.accuracies.notna().sum(axis=1).reindex(names).fillna(0).astype(int).to_numpy(),
            },
            index=pd.Index(names, name="network"),
        )  # fmt: skip
        return table.iloc[np.argsort(-evened(task.mean.round(12)), kind="stable")]

    def gains(
        self, networks: Iterable[str] | None = None, *, scores: Mapping[str, "pd.Series | Mapping[str, float]"] | None
        = None, observed: Mapping[str, float] | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """What fine-tuning each further network may gain.

        Parameters
        ----------
        networks, scores, observed
            As in :meth:`forecast`.

        Returns
        -------
        pandas.DataFrame
            Indexed by network, the largest gain first, of those not yet observed: ``chance`` that its accuracy exceeds
            the best observed one, and ``gain``, by how many points it is expected to, where falling short of it costs
            nothing. With nothing observed 1, and its expected accuracy in points. On published tables the chances were
            right, the gains about twice too large.

        Raises
        ------
        ValueError
            As :meth:`forecast`.

        References
        ----------
        J. Močkus, *On Bayesian methods for seeking the extremum*, 1975: the expected improvement.
        """
        names, new, seen = self._new_task(networks, scores, observed)
        task = self._task(names, new, seen)
        more = task.accuracies - max(seen.values(), default=0.0)
        columns = {"chance": (more > 0) @ task.weights, "gain": 100 * more.clip(0) @ task.weights}
        # Where no draw gains anything, the better forecast first.
        order = np.lexsort([-task.mean, -columns["gain"]])
        found = pd.DataFrame(columns, pd.Index(names, name="network")).iloc[order]
        return found[~found.index.isin(list(seen))]

    def next(
        self, networks: Iterable[str] | None = None, *, scores: Mapping[str, "pd.Series | Mapping[str, float]"] | None
        = None, observed: Mapping[str, float] | None = None,
    ) -> str:  # fmt: skip
        """The network to fine-tune next.

        Parameters
        ----------
        networks, scores, observed
            As in :meth:`forecast`.

        Returns
        -------
        str
            With nothing observed the first of the forecast, else that of the largest gain (:meth:`gains`).

        Raises
        ------
        ValueError
            As :meth:`forecast`; or all networks have been observed.
        """
        if not as_shares(observed):
            return self.forecast(networks, scores=scores).index[0]
        gains = self.gains(networks, scores=scores, observed=observed)
        if gains.empty:
            raise ValueError("observed: expected a network that has not been fine-tuned, found none")
        return gains.index[0]

    # --- the model ------------------------------------------------------------

    def _new_task(self, networks, scores, observed):
        """Names of the networks in an order of their own, the new task's scores by metric, and what was observed."""
        given = _mapping(scores, "scores", "metric to the scores of networks")
        given = {metric: _series(each, f"scores[{metric!r}]") for metric, each in given.items()}
        seen = as_shares(observed)
        if networks is None:
            names = {*self.accuracies.index, *(name for each in given.values() for name in each.index), *seen}
        else:
            try:
                listed = [networks] if isinstance(networks, str) else list(networks)
                names = set(listed)
            except TypeError:  # no names, or no iterable of them
                raise ValueError(f"networks: expected names, got {networks!r}"[:300]) from None
            if not names:
                raise ValueError("networks: expected at least one, got none")
            if len(names) < len(listed):
                raise ValueError(f"networks: {max(names, key=listed.count)!r} is there twice")
        if pd.Index(list(names), dtype=object).hasnans:
            raise ValueError("networks: expected names, one is missing")
        # The draws behind p_best do not depend on the order of the arguments.
        names = sorted(names, key=str)
        if others := [name for name in seen if name not in names]:
            raise ValueError(f"observed: expected some of the networks {some(names)}, got {others[0]!r}")
        new = {}
        for metric, each in given.items():
            if len(again := each.index[each.index.duplicated()]):
                raise ValueError(f"scores[{metric!r}]: {again[0]!r} is there twice")
            found = each.reindex(names).to_numpy()
            if np.isinf(found).any():
                raise ValueError(f"scores[{metric!r}]: expected finite numbers, got infinity")
            if np.isnan(found).all():
                raise ValueError(f"scores[{metric!r}]: expected scores of {some(names)}, found none")
            new[metric] = np.nan_to_num(normal_scores(found))  # without a score an average one
        return names, new, seen

    def _task(self, names, new, seen):
        """What is known of the new task, as :class:`_Task`."""
        # The networks asked for come first, whether the record knows them or not.
        index = [*names, *(name for name in self.accuracies.index if name not in set(names))]
        tasks = sorted(self.accuracies.columns[self.accuracies.notna().sum() > 1], key=str)
        y = logit(self.accuracies.reindex(index)[tasks].clip(CLIP, 1 - CLIP).to_numpy())
        means, spreads = np.nanmean(y, 0), np.nanstd(y, 0)
        differ = spreads > 1e-12
        spreads[~differ] = spreads[differ].mean() if differ.any() else 1.0  # z is 0 there
        z = (y - means) / spreads
        m = len(names)
        s = np.zeros((len(z), len(tasks) + 1, 2 * len(new)))  # of each metric the mean and the deviation; last the new
        for j, (metric, own) in enumerate(new.items()):
            found = np.full(s.shape[:2], np.nan)
            found[:m, -1] = own
            if metric in self.scores:
                # Among the same networks as the new ones, so that they mean the same.
                found[:m, :-1] = self.scores[metric].reindex(names)[tasks].apply(normal_scores, raw=True)
            known = ~np.isnan(found)
            usual = np.where(known, found, 0).sum(1) / known.sum(1).clip(1)
            found = np.where(known, found, PERSISTENCE * usual[:, None])
            s[:, :, 2 * j] = found.mean(1, keepdims=True)
            s[:, :, 2 * j + 1] = found - s[:, :, 2 * j]
        fit = _fit(z, s[:, :-1])
        take = np.hstack([np.eye(m, len(z)), s[:m, -1]])
        mean = take @ fit.effects
        covariance = take @ fit.covariance @ take.T + fit.residuals[:m, :m]
        places = [names.index(name) for name in seen]
        observed = logit(np.array([*seen.values()], float).clip(CLIP, 1 - CLIP))
        return _like_past(mean, covariance, means + spreads * fit.levels, spreads, places, observed)


class _Fit(NamedTuple):
    effects: np.ndarray  # u of all networks, then a and b of each metric
    covariance: np.ndarray  # of these
    residuals: np.ndarray  # covariance of a new task's e
    levels: np.ndarray  # c_t


def _fit(z, s):
    """The model of this module from z (networks, tasks), NaN where unknown, and s (networks, tasks, 2 a metric)."""
    known = ~np.isnan(z)
    n, k = z.shape
    metrics = s.shape[2] // 2
    at, task = known.nonzero()
    prior = np.tile(WEIGHTS, metrics) / max(1, metrics)
    y = z[known] - s[known] @ prior
    # Beside the networks' own effects, one a row, stand the levels, which have no prior, and the weights.
    x = np.hstack([np.eye(k)[task], s[known]])
    counts, sums = known.sum(1), np.bincount(at, y, n)
    cross = np.zeros((n, x.shape[1]))
    np.add.at(cross, at, x)
    guess = 1 - SHARE  # prior mean of sigma^2, for z has variance 1
    freedom = len(y) - 2 * k + PAST  # a task's mean and spread are taken out of z
    gram = x.T @ x + np.diag(np.r_[np.zeros(k), np.full(2 * metrics, guess * metrics / WEIGHT_SD**2)])

    def at_ratio(r):
        """Log-posterior of r, variances of the networks' effects if the others were known, the others' precision."""
        own = 1 / (counts + 1 / r)
        factor = cholesky(gram - cross.T @ (own[:, None] * cross), lower=True)
        explained = solve_triangular(factor, x.T @ y - cross.T @ (own * sums), lower=True)
        variance = (y @ y - own @ sums**2 - explained @ explained + PAST * guess) / freedom
        likelihood = np.log(own).sum() / 2 - np.log(np.diag(factor)).sum() - n * np.log(r) / 2
        likelihood -= freedom * np.log(variance) / 2
        return likelihood - (np.log(r * guess / SHARE) / SPREAD) ** 2 / 2, own, factor, variance

    _, own, factor, variance = max(map(at_ratio, _RATIOS), key=lambda found: found[0])
    inverse = cho_solve((factor, True), np.eye(len(factor)))
    others = inverse @ (x.T @ y - cross.T @ (own * sums))
    effects = np.r_[own * (sums - cross @ others), prior + others[k:]]
    follow = np.vstack([-own[:, None] * cross, np.eye(len(factor))[k:]])
    covariance = follow @ inverse @ follow.T + np.diag(np.r_[own, np.zeros(2 * metrics)])
    rest = z - effects[:n, None] - s @ effects[n:]
    levels = np.nanmean(rest, 0)
    e = np.nan_to_num(rest - levels)
    weight = np.sqrt(PAST + known.sum(1))
    residuals = (PAST * variance * np.eye(n) + e @ e.T) / np.outer(weight, weight)
    return _Fit(effects, variance * covariance, residuals, levels)


class _Task(NamedTuple):
    mean: np.ndarray  # of z
    variance: np.ndarray
    accuracies: np.ndarray  # (networks, draws)
    weights: np.ndarray  # of the draws, summing to 1


def _like_past(mean, covariance, levels, spreads, places, observed):
    """A new task of networks with z ~ N(mean, covariance), given the logits `observed` of those at `places`.

    Its logits are A + B z, as :class:`Record` says.
    """
    m, rng = len(mean), np.random.default_rng(0)
    each = -(-min(DRAWS, max(NUMBERS // m, 200)) // len(levels))
    factor = np.linalg.cholesky(covariance)
    likelihoods, centres, bases, variances, draws = [], [], [], [], []
    for level, spread in zip(levels, spreads):
        z = factor @ rng.standard_normal((m, each)) * _THIN / np.sqrt(rng.chisquare(TAILS, (m, each)) / TAILS)
        v = level + LEVEL * rng.standard_normal(each) + spread * (mean[:, None] + z)
        centre, both = level + spread * mean, spread**2 * covariance + LEVEL**2
        inner = np.linalg.inv(both[np.ix_(places, places)] + spread**2 * REPEATED * np.eye(len(places)))
        gain, surprise = both[:, places] @ inner, observed - centre[places]
        noise = spread * np.sqrt(REPEATED) * rng.standard_normal((len(places), each))
        # Draws are conditioned one by one (Matheron's rule), so that they keep their tails.
        draws.append(expit(v + gain @ (observed[:, None] - v[places] - noise)))
        likelihoods.append((np.linalg.slogdet(inner)[1] - surprise @ inner @ surprise) / 2)
        bases.append(level + LEVEL**2 * inner.sum(0) @ surprise)
        centres.append(centre + gain @ surprise)
        variances.append(np.diag(both - gain @ both[places]).clip(0))
    weights = softmax(TRUST * np.array(likelihoods))
    accuracies = np.hstack(draws)
    of_draws = np.repeat(weights / each, each)
    if not places:
        return _Task(mean, np.diag(covariance), accuracies, of_draws)
    unit = np.sqrt(weights @ spreads**2)
    centre = weights @ centres
    variance = weights @ (variances + (np.array(centres) - centre) ** 2)
    return _Task((centre - weights @ bases) / unit, variance / unit**2, accuracies, of_draws)


def standardised_logits(accuracies: pd.Series) -> pd.Series:
    """z of one task: standardised logits of accuracies, shares of 1, which are kept 0.001 from 0 and 1."""
    logits = logit(accuracies.clip(CLIP, 1 - CLIP))
    spread = logits.std(ddof=0)
    return (logits - logits.mean()) / (spread if spread > 1e-12 else 1)


def normal_scores(values):
    """Normal quantiles of the ranks of an array, standardised; NaN where unknown, all 0 where all are equal."""
    values = np.asarray(values, dtype=float)
    found = np.full(len(values), np.nan)
    known = ~np.isnan(values)
    if known.any():
        even = evened(values[known], FLOAT32)
        quantiles = ndtri((rankdata(even) - 0.5) / len(even))
        spread = quantiles.std()
        found[known] = (quantiles - quantiles.mean()) / (spread if spread > 1e-12 else 1)
    return found


# --- tables ---------------------------------------------------------------------


def as_shares(observed):
    """Observed accuracies as a dict of float by network; ValueError of what is no mapping, or has no shares of 1."""
    shares = {}
    for name, accuracy in _mapping(observed, "observed", "network to accuracy").items():
        try:
            shares[name] = float(accuracy)
        except (TypeError, ValueError):
            shares[name] = np.nan
        if not 0 <= shares[name] <= 1:  # nor NaN
            per_cent = "; divide per cent by 100" if 1 < shares[name] <= 100 else ""
            raise ValueError(f"observed[{name!r}]: expected a share of 1, got {accuracy!r}{per_cent}")
    return shares


def _mapping(given, name, what):
    """A mapping, or the named entries of pandas, as a dict; {} of None."""
    if given is None:
        return {}
    if not isinstance(given, (Mapping, pd.Series, pd.DataFrame)):
        raise ValueError(f"{name}: expected a mapping of {what}, got {_kind(given)}")
    found = dict(given)
    if len(found) < len(given.keys()):
        raise ValueError(f"{name}: expected every name once, one is there twice")
    return found


def _series(given, name):
    """A Series of numbers by network."""
    if not isinstance(given, (Mapping, pd.Series)):
        raise ValueError(f"{name}: expected a Series or mapping of network to score, got {_kind(given)}")
    try:
        return pd.Series(given, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected numbers ({error})") from error


def _table(given, name):
    """A checked copy of a table of networks by tasks, as numbers."""
    if not isinstance(given, pd.DataFrame):
        raise ValueError(f"{name}: expected a DataFrame, networks x tasks, got {_kind(given)}")
    for what, axis in (("network", given.index), ("task", given.columns)):
        if axis.nlevels > 1:
            raise ValueError(f"{name}: expected one name a {what}, got an index of {axis.nlevels} levels")
        if axis.hasnans:
            raise ValueError(f"{name}: the name of a {what} is missing")
        if len(again := axis[axis.duplicated()]):
            raise ValueError(f"{name}: {what} {again[0]!r} is there twice")
    try:
        if any(np.iscomplexobj(given[column]) for column in given):
            raise ValueError("complex ones would lose a part")
        table = given.astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected numbers ({error})") from error
    if np.isinf(table).any(axis=None):
        raise ValueError(f"{name}: expected finite numbers or NaN, got infinity")
    return table


def _kind(given):
    """The type, with its library."""
    kind = type(given)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def some(names):
    """The first three of some names, for a message."""
    names = list(names)
    return ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
