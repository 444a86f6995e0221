"""Scores, and how sure they are: the delete-a-group jackknife."""

import math
import time
import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import stats

from sfda.metric.discriminant import check_leave_one_out
from sfda.metric.inputs import as_features, as_labels
from sfda.metric.linalg import like
from sfda.metric.scatter import LabelledFeatures
from sfda.metric.score import SaturationWarning
from sfda.rivals.catalogue import METRIC, RIVALS, find_metric
from sfda.rivals.ridge import KERNEL_SAMPLES, share_of_each

GROUPS, FEW_GROUPS = 20, 10
SLOW = ("NLEEP", "PARC 32 components as published", "linear probe", "left-out kernel ridge")
# Metrics that look at so many samples; chosen once, for a choice without each group would be another.
SAMPLED = {"left-out kernel ridge": KERNEL_SAMPLES}
# Metrics that choose lambda by left-out likelihood, which is most of their cost.
LEFT_OUT = ("left-out SFDA", "left-out accuracy", "left-out probability", "left-out log-likelihood")
# They judge the samples that they were fitted to, and N <= D of these can be separated.
FITTED = ("SFDA", "discriminant accuracy", "discriminant probability", "ETran discriminant")


def jackknife(features, labels, *, metric=METRIC, seed=0):
    """Score of one network, and without each group of samples in turn.

    Parameters
    ----------
    features : array-like of shape (N, D)
    labels : array-like of shape (N,)
    metric, seed
        As in :func:`sfda.rank.result.rank_features`.

    Returns
    -------
    score : float
    replicates : ndarray of shape (G,)
        With the same labels and seed the same samples are left out, so that
        :func:`sfda.rank.jackknife.half_width` of the difference of two networks' is that of the
        difference of their scores.

    Raises
    ------
    ValueError
        Bad input, or an unknown metric.
    """
    y, names = as_labels(labels, len(as_features(features)), beside=features)
    own = Judge(find_metric(metric), y, names, seed)(features)
    return own.score, own.replicates


class Scored(NamedTuple):
    """The score of one network, without each group of samples in turn (G,), its D, and the seconds that it took."""

    score: float
    replicates: np.ndarray
    features: int
    seconds: float


class Judge:
    """Scores networks on the same samples by one metric; what is left out in turn is the same for all.

    It is given what the metric needs, as :class:`sfda.rivals.catalogue.Metric` calls it. `labels` are places in
    `names`, the classes, of which some may not occur.
    """

    def __init__(self, metric, labels, names, seed):
        self.metric, self.needs = metric, RIVALS[metric].needs
        self.y, distinct = as_labels(labels, len(labels))
        self.counts = np.bincount(self.y)
        self.classes = {str(names[c]): n for c, n in zip(distinct, self.counts.tolist())}
        if metric in LEFT_OUT:
            try:
                check_leave_one_out(self.counts, np.array(list(self.classes)))
            except ValueError as error:
                raise ValueError(
                    f"{error}: {metric} judges each by the others of its class; add images, remove the "
                    "class, or take another metric, such as SFDA"
                ) from None
        self.rows = share_of_each(self.y, SAMPLED.get(metric, len(self.y)))
        group = groups(self.y[self.rows], FEW_GROUPS if metric in SLOW else GROUPS, seed=seed)
        self.kept = [np.flatnonzero(group != g) for g in range(group.max() + 1)]

    def __call__(self, features):
        """What features (N, D), or probabilities (N, Z), score, as :class:`Scored`.

        ValueError where they are bad or the score is not finite.
        """
        start = time.perf_counter()
        x, function = as_features(features), RIVALS[self.metric]
        if len(x) != len(self.y):
            raise ValueError(f"features: expected {len(self.y)} rows, one a label, got {len(x)}")
        y = self.y
        if len(self.rows) < len(y):
            x, y = x[like(self.rows, x)], y[self.rows]
        if self.metric in LEFT_OUT:
            split = LabelledFeatures.from_features(x, like(y, x), len(self.counts))
            function = partial(function, shrinkage=split.choose_shrinkage())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SaturationWarning)  # the table says it
            score = float(function(x, y))
            replicates = np.array([function(x[like(kept, x)], y[kept]) for kept in self.kept])
        return self._scored(score, replicates, x.shape[1], time.perf_counter() - start)

    def together(self, features):
        """What networks score that are compared with each other, and the errors of those that cannot be.

        From a mapping of features (N, D) a dict of :class:`Scored` and one of exceptions, by network.
        """
        start, function, wrong = time.perf_counter(), RIVALS[self.metric], {}
        xs = {name: as_features(x, name=f"features of {name}") for name, x in features.items()}
        try:
            scores = function(xs, self.y)
        except ValueError:
            for name, x in list(xs.items()):
                try:
                    function({name: x, (name, "again"): x}, self.y)
                except ValueError as error:
                    wrong[name] = error
                    del xs[name]
            if not wrong:
                raise
            scores = function(xs, self.y)
        # Of scores relative to the others, a jackknife says nothing: the least of them may always be the same number.
        none, seconds = np.full(len(self.kept), np.nan), (time.perf_counter() - start) / max(1, len(xs))
        if not all(math.isfinite(score) for score in scores.values()):
            raise ValueError(f"features: their {self.metric} is not finite")
        return {name: Scored(float(scores[name]), none, x.shape[1], seconds) for name, x in xs.items()}, wrong

    def _scored(self, score, replicates, width, seconds):
        if not (math.isfinite(score) and np.isfinite(replicates).all()):
            raise ValueError(f"features: their {self.metric} is not finite")
        return Scored(score, replicates, width, seconds)

    def saturated(self, own):
        """Whether the score is at its maximum, or can be for any labels."""
        bounded = RIVALS[self.metric].bounds[1] == 1 and self.needs != "zoo"
        full = bounded and own.score >= 1 - 1e-6  # as in SaturationWarning
        return full or (self.metric in FITTED and len(self.y) <= own.features)

    def interval(self, own):
        """95 % interval of a score; what no score can be is cut off."""
        width = half_width(own.replicates)
        low, high = RIVALS[self.metric].bounds  # words where there is none
        low = low if isinstance(low, (int, float)) else -np.inf
        high = high if isinstance(high, (int, float)) else np.inf
        return tuple(np.clip([own.score - width, own.score + width], low, high).tolist())

    @property
    def words(self):
        """How the intervals come about."""
        return (
            f"95 % intervals by jackknife: every network is scored {len(self.kept)} times more, each time "
            "without another group of images, the same for all networks"
        )


def groups(y, n=GROUPS, *, seed=0):
    """Deal the samples of every class to groups of one size, to be left out in turn.

    Parameters
    ----------
    y : integer array of shape (N,)
        Classes 0..C-1.
    n : int, default 20
        How many groups, fewer where there are not so many samples.
    seed : int, default 0

    Returns
    -------
    int array of shape (N,)
        The group of every sample, from 0; -1 in classes of one or two samples, which would not be whole without one,
        so that they are never left out.

    Raises
    ------
    ValueError
        Fewer than two samples can be left out.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.rank.jackknife import groups
    >>> np.bincount(groups(np.arange(12) % 3, 4)).tolist()
    [3, 3, 3, 3]
    """
    rng, dealt = np.random.default_rng(seed), []
    for c in range(y.max() + 1):
        members = rng.permutation(np.flatnonzero(y == c))
        dealt += members.tolist() if len(members) > 2 else []
    if len(dealt) < 2:
        raise ValueError("labels: expected a class with three samples, which an interval needs, found none")
    group = np.full(len(y), -1)
    group[dealt] = np.arange(len(dealt)) % min(n, len(dealt))
    return group


def half_width(replicates):
    """Half of the 95 % interval of a score, or of a difference of scores.

    Parameters
    ----------
    replicates : array of shape (G,)
        The score without each group of samples in turn.

    Returns
    -------
    float
        Student's quantile times the standard deviation by the delete-a-group jackknife.
    """
    n = len(replicates)
    deviation = (n - 1) / math.sqrt(n) * np.std(replicates, ddof=1)
    return float(stats.t.ppf(0.975, n - 1) * deviation)
