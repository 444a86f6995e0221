"""Rank networks for labelled images: their scores, how sure these are, and which networks to take.

:func:`sfda.rank.rank` takes networks and images, :func:`sfda.rank.rank_features` features
that exist already. The features of :func:`sfda.rank.rank` go through the cache of
:mod:`sfda.features`, so that a run that was stopped goes on where it ended.
"""

import difflib
import hashlib
import importlib.metadata
import math
import platform
import textwrap
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from sfda import verdict
from sfda.arrays import as_features, as_labels, like
from sfda.baselines import METRICS, RIVALS
from sfda.discriminant import check_leave_one_out
from sfda.ensemble import select_ensemble
from sfda.ranking import regret
from sfda.scatter import LabelledFeatures
from sfda.score import SaturationWarning

#: Of the metrics that need features only, the first in the pocket benchmark (chapter 10).
METRIC = "left-out probability"
CACHE = "~/.cache/sfda/features"
GROUPS, FEW_GROUPS = 20, 10
SLOW = ("NLEEP", "PARC 32 components as published", "linear probe")
# Metrics that choose lambda by left-out likelihood, which is most of their cost.
LEFT_OUT = (
    "SFDA leave-one-out", "left-out accuracy", "left-out probability", "left-out log-likelihood",
)  # fmt: skip
# They judge the samples that they were fitted to, and N <= D of these can be separated.
FITTED = ("SFDA", "discriminant accuracy", "discriminant probability", "ETran discriminant")
ROUNDING = 1e-6  # smaller differences, relative to the best score, are none
PARTS = ("train", "all")
WIDTH = 88  # columns of the report's sentences
LIBRARIES = ("numpy", "scipy", "sfda", "timm", "torch", "torchvision")


@dataclass(frozen=True, eq=False)
class Ranking:
    """Networks in the order of their scores, and what follows from it. Its text is a report.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a network, the best first: ``rank``, ``network``, ``score``; ``low`` and
        ``high``, the ends of its 95 % interval; ``behind``, how much less it has than the
        first, with its 95 % interval ``behind_low`` to ``behind_high``;
        ``tied``, whether that contains 0, True of the first itself; ``saturated``,
        whether the score is at its maximum of 1, or can be for any labels; ``features``,
        D; ``parameters``, missing where they are not known; ``forward_seconds``, missing for
        features that were given; ``cached``, whether they came from the cache;
        ``scoring_seconds``, with the interval.
    metric : str
        Key of ``sfda.METRICS``.
    best : str
        The network with the largest score.
    cheapest : str
        Of those tied with the best, the one with the fewest parameters.
    ensembles : dict of int to list of str
        Two and three networks whose averaged predictions should be best; without entries
        where there are not as many different ones.
    likelihoods : dict of int to float
        Mean left-out log-likelihood of those averaged predictions, in nats an image; 1 is
        the best network alone.
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
    """

    table: pd.DataFrame
    metric: str
    best: str
    cheapest: str
    ensembles: dict
    likelihoods: dict
    n: int
    classes: dict
    notes: list
    failures: dict
    about: dict

    @property
    def tied(self):
        """Names of the networks whose difference to the best is within noise, the best left out."""
        return list(self.table["network"][self.table["tied"]][1:])

    @property
    def finding(self):
        """The result in one sentence."""
        others, tied = len(self.table) - 1, len(self.tied)
        if not others:
            return f"{self.best} alone was scored: nothing is ranked"
        if self.table["saturated"].iloc[0]:
            full = int(self.table["saturated"].sum())
            return f"{full} of {others + 1} scores have saturated, and their order says nothing"
        if not tied:
            return f"{self.best} is first, and no other is within noise of it"
        if tied < others:
            return f"{self.best} is first, and {tied} of the {others} others {_is(tied)} within noise of it"
        all_others = "the other" if others == 1 else f"all {others} others"
        return f"{self.best} is first, but {all_others} {_is(others)} within noise of it"

    def __str__(self):
        return _report(self)

    def to_dict(self):
        """Everything, as JSON can hold it: numbers that are missing are None."""
        rows = self.table.astype(object).where(self.table.notna(), None).to_dict("records")
        return {
            "metric": self.metric, "n": self.n, "classes": self.classes, "best": self.best,
            "cheapest": self.cheapest, "finding": self.finding,
            "table": [{key: _plain(value) for key, value in row.items()} for row in rows],
            "ensembles": {str(size): members for size, members in self.ensembles.items()},
            "likelihoods": {str(size): value for size, value in self.likelihoods.items()},
            "notes": self.notes, "failures": self.failures, "about": self.about,
        }  # fmt: skip


# --- networks and images ----------------------------------------------------------


def rank(
    networks,
    images,
    *,
    metric=METRIC,
    part="train",
    per_class=None,
    shuffle=False,
    seed=0,
    weights=None,
    cache=CACHE,
    dtype="float32",
    device="auto",
    batch=64,
    workers="auto",
    skip_unreadable=False,
    progress=None,
):
    """Rank networks for labelled images.

    Parameters
    ----------
    networks : str, sfda.backbones.Backbone, or a sequence of them
        Names as :func:`sfda.backbones.load` takes them; a manifest stands for all its
        networks. ``sfda.backbones.ZOOS`` has whole zoos.
    images : str, path, sfda.datasets.ImageSet or torch.utils.data.Dataset
        As :func:`sfda.datasets.load_images` or :func:`sfda.datasets.from_dataset` take them.
    metric : str, default "left-out probability"
        Key of ``sfda.METRICS``, in any case of letters.
    part : {"train", "all"}, default "train"
        "train" leaves the test part out, whose labels a benchmark may not use; "all"
        takes it too, as the paper's public code does.
    per_class : int, optional
        Score at most so many images of each class, the same for all networks.
    shuffle : bool, default False
        Deal the labels to the images at random. No network can know such classes: a
        score that is high all the same cannot be trusted.
    seed : int, default 0
        Of the choice of these images, of the shuffle, and of the groups behind the intervals.
    weights : path, optional
        Folder of weights, as in :func:`sfda.backbones.load`.
    cache : path or None, default "~/.cache/sfda/features"
        Folder of features; None keeps nothing.
    dtype, device, batch, skip_unreadable
        As in :func:`sfda.features.extract`. Images that cannot be read are left out of the
        scores of all networks.
    workers : int or "auto", default "auto"
        Processes that read images. "auto": none on the CPU, whose cores the forward pass
        needs, and up to eight beside an accelerator.
    progress : callable, optional
        Called with one line of text, and True if no later line is to take its place.

    Returns
    -------
    Ranking

    Raises
    ------
    ValueError
        Before anything is computed: an unknown metric, network, part or data set, one
        class only, a class with one image where the metric leaves images out. Later:
        images that cannot be read; no network at all could be ranked.
    FileNotFoundError
        Images or weights are missing. All weights are looked for, and downloaded, before the
        first forward pass.
    OSError
        The cache cannot be written.

    Notes
    -----
    What goes wrong with one network only, in its forward pass or its score, does not stop
    the others: it is reported in ``failures``.

    Examples
    --------
    >>> from sfda.rank import rank
    >>> found = rank(["torchvision:resnet18", "timm:resnet50.a1_in1k"], "photographs")  # doctest: +SKIP
    >>> print(found)  # doctest: +SKIP
    """
    from sfda import datasets, features

    metric = find_metric(metric)
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype: expected 'float32' or 'float16', got {dtype!r}")
    if batch < 1:
        raise ValueError(f"batch: expected 1 or more, got {batch}")
    named = _named(networks)
    if not isinstance(images, datasets.ImageSet):
        known = isinstance(images, (str, Path))
        images = datasets.load_images(images) if known else datasets.from_dataset(images)
    chosen = _chosen(images, part, per_class, seed)
    def judge_of(labels):
        if shuffle:
            labels = np.random.default_rng(seed).permutation(labels)
        return _Judge(metric, labels, images.classes, seed)

    judge = judge_of(chosen.labels)
    if cache is not None:
        cache = _writable(cache)
    device, workers = _device(device, workers)
    parameters = _loadable(named, weights, progress)

    found, scored, failures, seconds, skipped = {}, {}, {}, {}, []
    for i, (name, network) in enumerate(named.items(), 1):
        say = _Speaker(progress, f"[{i}/{len(named)}] {name}")
        try:
            say("loading", last=False)
            backbone = _backbone(network, weights)
            start = time.perf_counter()
            taken = features.extract(
                backbone, chosen.dataset, chosen.fingerprint, cache=cache, dtype=dtype, device=device,
                batch=batch, workers=workers, skip_unreadable=skip_unreadable, progress=say.images,
            )  # fmt: skip
            elapsed = time.perf_counter() - start
            if not scored and taken.skipped:
                judge, skipped = judge_of(taken.labels), taken.skipped
            if taken.skipped != skipped:
                raise ValueError("other images could not be read than for the networks before it")
            say("scoring", last=False)
            scored[name] = judge(taken.features)
        except OSError:
            raise  # the disk is full, which would be so for every network
        except Exception as error:  # whatever one network does, the others are wanted
            if str(error).startswith("images: "):  # which would be so for every network
                skip = "; skip_unreadable=True (--skip-unreadable) leaves them out"
                raise ValueError(f"{error}{skip}") from error
            failures[name] = _reason(error, len(chosen.labels))
            say(f"failed: {failures[name]}", last=True)
            continue
        found[name], seconds[name] = taken.features, (0.0 if taken.cached else elapsed, taken.cached)
        say.done(taken, elapsed, scored[name].score)
    if not found:
        raise ValueError(
            f"networks: none of {len(named)} could be ranked; "
            + "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        )
    _Speaker(progress, "all networks")("choosing ensembles", last=False)
    about = {
        "images": images.name, "part": chosen.words, "fingerprint": chosen.fingerprint,
        "seed": seed, "per_class": per_class, "shuffled": bool(shuffle), "skipped": len(skipped), "dtype": dtype, "device": device,
        "cache": None if cache is None else str(cache),
    }  # fmt: skip
    notes = []
    if shuffle:
        notes.append("the labels are shuffled: what scores here are worth nothing, and their order means nothing")
    if skipped:
        notes.append(f"images that could not be read and were left out: {len(skipped)}")
    if images.targets is not None:
        notes.append("images that show several classes count as the first of them")
    return _ranking(judge, scored, found, parameters, seconds, notes, failures, about)


class _Chosen(NamedTuple):
    dataset: object
    labels: np.ndarray
    fingerprint: str
    words: str


def _chosen(images, part, per_class, seed):
    """The images to score, and in words which they are."""
    from torch.utils.data import ConcatDataset, Subset

    if part not in PARTS:
        raise ValueError(f"part: expected {' or '.join(map(repr, PARTS))}, got {part!r}")
    if per_class is not None and per_class < 1:
        raise ValueError(f"per_class: expected 1 or more, got {per_class}")
    kept = [p for p in images.parts if part == "all" or p is not images.test]
    dataset, labels = ConcatDataset(kept), np.concatenate([p.labels for p in kept])
    fingerprint = images.fingerprint
    if len(labels) < len(images.labels):
        fingerprint += " without test"
    words = _words(images, part)
    if per_class is not None:
        rng = np.random.default_rng(seed)
        positions = [rng.permutation(np.flatnonzero(labels == c))[:per_class] for c in np.unique(labels)]
        positions = np.sort(np.concatenate(positions))
        if len(positions) < len(labels):
            fingerprint += " " + hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest()
            words += f"; of each class at most {per_class}, drawn with seed {seed}"
            dataset, labels = Subset(dataset, positions.tolist()), labels[positions]
    return _Chosen(dataset, labels, fingerprint, words)


def _words(images, part):
    if len(images.parts) == 1:
        return "all of it, for it has no parts"
    if images.test is None:
        return "the training and validation parts"
    if part == "all":
        return "all parts, the test part too"
    training = "training part" if images.validation is None else "training and validation parts"
    return f"the {training}; the test part, {len(images.test)} images, is left out"


def _named(networks):
    """Networks by what the table calls them; every name is checked, no weights are read."""
    from sfda import backbones

    wanted = []
    for each in [networks] if isinstance(networks, (str, backbones.Backbone)) else networks:
        if isinstance(each, str) and each.endswith(".json"):
            wanted += backbones.names_in(each)
        else:
            wanted.append(each)
    if not wanted:
        raise ValueError("networks: expected at least one, got none")
    by_full = {}
    for each in wanted:
        full = each if isinstance(each, str) else each.name
        if by_full.get(full, each) is not each and by_full[full] != each:
            raise ValueError(f"networks: two different ones are called {full!r}")
        if isinstance(each, str):
            backbones.check(each)
        by_full[full] = each
    short = [full.rpartition(".json:")[2] for full in by_full]
    return {
        (full if short.count(name) > 1 else name): each
        for name, (full, each) in zip(short, by_full.items())
    }


def _backbone(network, weights):
    from sfda import backbones

    return backbones.load(network, folder=weights) if isinstance(network, str) else network


def _loadable(named, weights, progress):
    """Parameters of the networks; each is loaded once, so that what is missing is found out now."""
    parameters, wrong = {}, {}
    for i, (name, network) in enumerate(named.items(), 1):
        _Speaker(progress, f"[{i}/{len(named)}] {name}")("looking for its weights", last=False)
        try:
            parameters[name] = _backbone(network, weights).parameters
        except Exception as error:  # damaged or missing files, in any way
            wrong[name] = error
    if wrong:
        first, *others = wrong
        error = wrong[first]
        also = f"; nor can {', '.join(others)}" if others else ""
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(f"{first} cannot be loaded ({_one_line(error)}){also}; nothing was computed") from error
    return parameters


def _writable(cache):
    """The folder of the cache, made now: better to fail before a forward pass than after it."""
    cache = Path(cache).expanduser()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        probe = cache / f".{time.time_ns()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = _one_line(error)
        raise OSError(f"cache: {cache} cannot be written ({reason}); name another folder") from error
    return cache


def _device(device, workers):
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device: cannot compute on {device} ({_one_line(error)})") from None
    if workers == "auto":
        workers = 0 if device == "cpu" else min(8, torch.multiprocessing.cpu_count())
    return device, workers


class _Speaker:
    """Lines about one network, for `progress`."""

    def __init__(self, progress, name):
        self.progress, self.name, self.start = progress, name, time.perf_counter()

    def __call__(self, text, *, last):
        if self.progress is not None:
            self.progress(f"{self.name}: {text}", last)

    def images(self, done, total):
        rate = done / max(1e-9, time.perf_counter() - self.start)
        left = (total - done) / max(1e-9, rate)
        self(f"{done} of {total} images, {rate:.0f} a second, {_time(left)} left", last=False)

    def done(self, taken, elapsed, score):
        n = len(taken.labels) + len(taken.skipped)
        how = "from the cache"
        if not taken.cached:
            how = f"in {_time(elapsed)}, {n / max(1e-9, elapsed):.0f} a second"
        self(f"{n} images {how}; score {score:.4g}", last=True)


# --- features ---------------------------------------------------------------------


def rank_features(features_by_model, labels, *, metric=METRIC, parameters=None, seed=0):
    """Rank networks by features that exist already.

    Parameters
    ----------
    features_by_model : mapping of name to array-like of shape (N, D)
        Features of the same N samples, of any number of networks, each with its own D:
        NumPy or torch, any floating dtype; not modified.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    metric : str, default "left-out probability"
        Key of ``sfda.METRICS``, in any case of letters.
    parameters : mapping of name to int, optional
        Sizes of the networks, to say which is the cheapest of those that are tied.
    seed : int, default 0
        Of the groups behind the intervals.

    Returns
    -------
    Ranking

    Raises
    ------
    ValueError
        Bad input, or an unknown metric: the message names the argument, and the network
        where it is one.

    Notes
    -----
    *Intervals* are those of the delete-a-group jackknife. The samples of every class are
    dealt to 20 groups (10 for the slowest metrics), and the score is computed again without
    each group in turn; of the left-out metrics with the lambda of all samples. The variance
    is (G - 1)/G times the sum of squared deviations, the interval the score plus and minus
    2.09 (2.26) standard deviations, Student's quantile for G - 1.

    It tends to be too wide rather than too narrow, as B. Efron and C. Stein (*The jackknife
    estimate of variance*, Annals of Statistics 1981) prove of the kind. In simulations of
    50 to 300 samples with 12 to 200 features the standard deviation of the left-out
    probability came out 1.0 to 1.6 times as large as it was, that of accuracies up to twice,
    and 95 % intervals held the mean left-out probability in 92 to 100 % of cases. What looks
    simpler is too narrow: resampling each sample's value with the fit held fixed held it in
    78 to 90 %, and halves of the samples may miss it altogether where they are fewer than D.

    Groups are the same for all networks, and a difference is judged by its own deviations:
    networks see the same samples, and their errors go together. Each network is compared
    with the first by itself. The first has been picked as the largest, which favours it a little.

    Adding networks, or another order of them, changes no score and no interval.

    References
    ----------
    J. Shao and C. F. J. Wu, *A general theory for jackknife variance estimation*, Annals of
    Statistics 17, 1989.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.rank import rank_features
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(300) % 3
    >>> strong, weak = (rng.standard_normal((300, 8)) + s * np.eye(3, 8)[y] for s in (3, 1))
    >>> found = rank_features({"weak": weak, "strong": strong}, y)
    >>> found.best, found.tied
    ('strong', [])
    """
    metric = find_metric(metric)
    if not isinstance(features_by_model, Mapping):
        kind = type(features_by_model).__name__
        raise ValueError(f"features_by_model: expected a mapping from names to features, got {kind}")
    if not features_by_model:
        raise ValueError("features_by_model: expected at least one network, got none")
    unknown = sorted(map(str, set(parameters or ()) - set(features_by_model)))
    if unknown:
        raise ValueError(f"parameters: expected names of features_by_model, got {unknown[0]!r}")
    first = next(iter(features_by_model))
    n = len(as_features(features_by_model[first], name=f"features_by_model[{first!r}]"))
    y, names = as_labels(labels, n)
    judge, scored = _Judge(metric, y, names, seed), {}
    for name, features in features_by_model.items():
        try:
            scored[name] = judge(features)
        except ValueError as error:
            raise ValueError(f"features_by_model[{name!r}]: {error}") from error
    sizes = {name: (parameters or {}).get(name) for name in features_by_model}
    about = {"images": None, "part": None, "fingerprint": None, "seed": seed}
    return _ranking(judge, scored, features_by_model, sizes, {}, [], {}, about)


def find_metric(name):
    """The key of ``sfda.METRICS`` that is meant.

    Parameters
    ----------
    name : str
        In any case of letters.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        No such metric, with those of a similar name; or one that needs more than features
        and labels, with the reason.
    """
    known = {metric.lower(): metric for metric in RIVALS}
    metric = known.get(str(name).strip().lower())
    if metric is None:
        near = difflib.get_close_matches(str(name).lower(), known, n=3)
        meant = " or ".join(repr(known[each]) for each in near if known[each] in METRICS)
        hint = f"; did you mean {meant}?" if meant else ""
        raise ValueError(f"metric: expected one of {', '.join(METRICS)}, got {name!r}{hint}")
    if metric not in METRICS:
        why = {
            "zoo": "scores networks against each other, so that none has a score of its own",
            "source probabilities": "needs the probabilities of the network's own classifier",
        }[RIVALS[metric].needs]
        raise ValueError(f"metric: {metric} {why}; expected one of {', '.join(METRICS)}")
    return metric


# --- scores and their uncertainty -------------------------------------------------


def jackknife(features, labels, *, metric=METRIC, seed=0):
    """Score of one network, and without each group of samples in turn.

    Parameters
    ----------
    features : array-like of shape (N, D)
    labels : array-like of shape (N,)
    metric, seed
        As in :func:`sfda.rank.rank_features`.

    Returns
    -------
    score : float
    replicates : ndarray of shape (G,)
        With the same labels and seed the same samples are left out, so that
        :func:`sfda.rank.half_width` of the difference of two networks' is that of the
        difference of their scores.

    Raises
    ------
    ValueError
        Bad input, or an unknown metric.
    """
    y, names = as_labels(labels, len(as_features(features)))
    own = _Judge(find_metric(metric), y, names, seed)(features)
    return own.score, own.replicates


class _Scored(NamedTuple):
    score: float
    replicates: np.ndarray
    features: int
    seconds: float


class _Judge:
    """Scores features of the same samples by one metric; what is left out in turn is the same for all."""

    def __init__(self, metric, labels, names, seed):
        """`labels` are places in `names`, of which some may not occur."""
        self.metric = metric
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
        group = groups(self.y, FEW_GROUPS if metric in SLOW else GROUPS, seed=seed)
        self.kept = [np.flatnonzero(group != g) for g in range(group.max() + 1)]

    def __call__(self, features):
        start = time.perf_counter()
        x, function = as_features(features), METRICS[self.metric]
        if len(x) != len(self.y):
            raise ValueError(f"features: expected {len(self.y)} rows, one a label, got {len(x)}")
        if self.metric in LEFT_OUT:
            split = LabelledFeatures.from_features(x, like(self.y, x), len(self.counts))
            function = partial(function, shrinkage=split.choose_shrinkage())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SaturationWarning)  # the table says it
            score = float(function(x, self.y))
            replicates = np.array([function(x[like(kept, x)], self.y[kept]) for kept in self.kept])
        if not (math.isfinite(score) and np.isfinite(replicates).all()):
            raise ValueError(f"features: their {self.metric} is not finite")
        return _Scored(score, replicates, x.shape[1], time.perf_counter() - start)

    def saturated(self, own):
        """Whether the score is at its maximum, or can be for any labels."""
        full = RIVALS[self.metric].bounds[1] == 1 and own.score >= 1 - ROUNDING
        return full or (self.metric in FITTED and len(self.y) <= own.features)

    def interval(self, own):
        """95 % interval of a score; what no score can be is cut off."""
        width = half_width(own.replicates)
        low, high = (b if isinstance(b, (int, float)) else None for b in RIVALS[self.metric].bounds)
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
        The group of every sample, from 0; -1 in classes of one or two samples, which
        would not be whole without one, so that they are never left out.

    Raises
    ------
    ValueError
        Fewer than two samples can be left out.

    Examples
    --------
    >>> import numpy as np
    >>> from sfda.rank import groups
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


# --- the ranking ------------------------------------------------------------------


def _ranking(judge, scored, features, parameters, seconds, notes, failures, about):
    order = sorted(scored, key=lambda name: (-scored[name].score, str(name)))
    best, rows = scored[order[0]], []
    for place, name in enumerate(order, 1):
        own = scored[name]
        low, high = judge.interval(own)
        behind, width = best.score - own.score, half_width(best.replicates - own.replicates)
        forward, cached = seconds.get(name, (np.nan, False))
        rows.append({
            "rank": place, "network": name, "score": own.score, "low": low, "high": high,
            "behind": behind, "behind_low": behind - width, "behind_high": behind + width,
            "tied": behind - width <= ROUNDING * abs(best.score), "saturated": judge.saturated(own),
            "features": own.features, "parameters": parameters[name], "forward_seconds": forward,
            "cached": cached, "scoring_seconds": own.seconds,
        })  # fmt: skip
    table = pd.DataFrame(rows).astype({"parameters": "Int64"})
    sized = table[table["tied"] & table["parameters"].notna()]
    cheapest = sized.loc[sized["parameters"].idxmin(), "network"] if len(sized) else order[0]
    # In the order of the table, so that equal criteria do not depend on that of the arguments.
    ensembles, likelihoods, why_not = _ensembles({name: features[name] for name in order}, judge)
    notes = [judge.words, *notes, *_warnings(judge, table), *why_not]
    about = about | {"groups": len(judge.kept), "versions": _versions()}
    return Ranking(
        table, judge.metric, order[0], cheapest, ensembles, likelihoods, len(judge.y), judge.classes,
        [*notes, forecast(judge.metric)], failures, about,
    )  # fmt: skip


def _ensembles(features, judge):
    """Two and three networks to average, what they are worth, and why there are none."""
    if len(features) < 2:
        return {}, {}, []
    best = next(iter(features))
    for size in range(min(3, len(features)), 1, -1):
        try:
            found = select_ensemble(features, judge.y, size)
            alone = select_ensemble({best: features[best]}, judge.y, 1).scores[0].criterion
        except (ValueError, MemoryError) as error:
            if str(error).startswith("size: "):  # fewer different ones than that
                continue
            return {}, {}, [f"no ensembles: {_reason(error, len(judge.y))}"]
        sizes = range(2, size + 1)
        likelihoods = {1: alone} | {k: found.scores[k - 1].criterion for k in sizes}
        return {k: found.members[:k] for k in sizes}, likelihoods, []
    return {}, {}, ["no ensembles: all networks have the same features"]


def _warnings(judge, table):
    found, full = [], int(table["saturated"].sum())
    if full:
        found.append(
            f"saturated, here {full} of {len(table)}: a score that is 1, or one of N <= D images, which can be "
            f"separated whatever their labels; take {METRIC}, or more images"
        )
    if few := int((judge.counts < 3).sum()):
        found.append(
            f"the intervals may be too narrow: classes of one or two images always stay whole, here {few}"
        )
    return found


def forecast(metric, *, folder=None):
    """What the intervals leave out, in one sentence: how well the score forecasts fine-tuning.

    Parameters
    ----------
    metric : str
        Key of ``sfda.METRICS``.
    folder : path, optional
        Of the pocket benchmark's tables, as in :func:`sfda.verdict.table`. Where they are
        missing, as in an installed package, or lack the metric, there are no figures.

    Returns
    -------
    str
    """
    return _forecast(metric, folder)


@lru_cache(maxsize=None)
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
            (scores[scores["model"].isin(rows["model"])], rows)
            for _, rows in accuracies.groupby("group", sort=False)
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


# --- words ------------------------------------------------------------------------


def _report(found):
    about = found.about
    of = f"{about['images']}, " if about["images"] else ""
    which = f" ({about['part']})" if about["part"] else ""
    head = [f"{of}{found.n} images of {len(found.classes)} classes{which}",
            f"by {found.metric}; larger is better", "", *_rows(found), ""]  # fmt: skip
    lines = [f"{found.finding}."]
    if found.tied and not found.table["saturated"].iloc[0]:
        smallest = ""
        if found.table["parameters"].notna().any():
            same = found.cheapest == found.best
            smallest = (
                "It is also the smallest of them. " if same
                else f"The smallest of them is {found.cheapest}. "
            )  # fmt: skip
        lines.append(f"{smallest}More images may tell them apart.")
    for size, members in found.ensembles.items():
        with_, alone = (math.exp(found.likelihoods[k]) for k in (size, 1))
        better = "" if with_ > alone else ", so that averaging is not worth it"
        lines.append(
            f"To average {_NUMBERS[size]}: {' + '.join(members)}. They give the true class of a left-out image "
            f"a probability of {with_:.3f} (geometric mean), {found.best} alone {alone:.3f}{better}."
        )
    lines += ["", *(f"{note[0].upper()}{note[1:].rstrip('.')}." for note in found.notes)]
    lines += [f"Not ranked: {name} ({reason})." for name, reason in found.failures.items()]
    return "\n".join([*head, *(_wrapped(line) for line in lines)])


def _wrapped(line):
    # Names and paths are whole, whatever their length.
    return textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False)


def _rows(found):
    table = found.table
    size = max(table["score"].abs().max(), 1e-300)
    digits = max(0, 3 - math.floor(math.log10(size)))
    cells = {
        "rank": [str(r) for r in table["rank"]],
        "network": list(map(str, table["network"])),
        "score": [f"{s:.{digits}f}" for s in table["score"]],
        "95 % interval": [f"{a:.{digits}f} to {b:.{digits}f}" for a, b in zip(table["low"], table["high"])],
        "tied with first": ["", *("yes" if tied else "no" for tied in table["tied"][1:])],
        "saturated": [""] * len(table) if not table["saturated"].any() else [
            "yes" if saturated else "no" for saturated in table["saturated"]
        ],
        "features": [str(d) for d in table["features"]],
        "parameters": ["" if pd.isna(p) else f"{p / 1e6:.2f} M" for p in table["parameters"]],
        "forward": [
            "cached" if c else "" if np.isnan(s) else f"{s:.1f} s"
            for s, c in zip(table["forward_seconds"], table["cached"])
        ],
        "scoring": [f"{s:.1f} s" for s in table["scoring_seconds"]],
    }  # fmt: skip
    lines = []
    for i in range(-1, len(table)):
        line = []
        for title, column in cells.items():
            if not any(column):  # nothing is known
                continue
            width, cell = max(len(title), *map(len, column)), title if i < 0 else column[i]
            line.append(cell.ljust(width) if title == "network" else cell.rjust(width))
        lines.append("  ".join(line).rstrip())
    return lines


_NUMBERS = {2: "two", 3: "three"}


def _is(n):
    return "is" if n == 1 else "are"


def _time(seconds):
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _reason(error, n):
    words = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in words or "can't allocate" in words:
        return f"not enough memory for {n} images: score fewer with per_class (--per-class), or halve the batch"
    return _one_line(error)


def _one_line(error):
    text = " ".join(str(error).split())[:300]
    plain = isinstance(error, (ValueError, OSError)) and text
    return text if plain else f"{type(error).__name__}: {text}"


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value


def _versions():
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = None
    return found
