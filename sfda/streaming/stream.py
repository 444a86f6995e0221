"""Scores of more samples than fit into memory, chunk by chunk.

What a score needs of its samples adds up (:mod:`sfda.streaming.moments`). So each pass is a function of a chunk and a
way to merge two results, in any order, on one machine (:mod:`sfda.streaming.chunks`) or on many
(:mod:`sfda.streaming.cluster`).
"""

import warnings
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sfda.metric.challenge import expected_weights, other_means
from sfda.metric.inputs import (
    as_features,
    as_labels,
    check_leave_one_out,
    check_posterior,
    check_shrinkage,
    working_dtype,
)
from sfda.metric.linalg import (
    class_residuals,
    full_precision,
    gram,
    like,
    log_softmax_at,
    matmul,
    namespace,
    softmax,
    softmax_at,
    symmetric_times,
    to_dtype,
    to_float64,
    to_numpy,
)
from sfda.metric.scatter import LeftOut, OutOfPrecision
from sfda.metric.score import SaturationWarning, adaptive_shrinkage, fisher_posterior, warn_of_saturation
from sfda.metric.shrinkage import MANY, best_shrinkage, telling
from sfda.rivals.catalogue import METRICS
from sfda.rivals.h_score import h_score_of_scatter
from sfda.streaming.chunks import LocalPasses
from sfda.streaming.moments import ClassMoments


@dataclass(frozen=True)
class Streamed:
    """What a metric is, in terms of the passes over the samples.

    Attributes
    ----------
    value : {"probability", "accuracy", "log-likelihood"}
        What is averaged over the samples.
    challenge : bool
        Whether there is a second discriminant, of the challenged samples.
    posterior : {"resubstitution", "leave-one-out"}
        Default of the option of this name.
    """

    value: str
    challenge: bool = False
    posterior: str = "resubstitution"


#: The metrics of discriminants that :func:`stream_score` computes; and "H-score".
STREAMED = {
    "SFDA": Streamed("probability", True),
    "left-out SFDA": Streamed("probability", True, "leave-one-out"),
    "discriminant accuracy": Streamed("accuracy"),
    "discriminant probability": Streamed("probability"),
    "left-out accuracy": Streamed("accuracy", False, "leave-one-out"),
    "left-out probability": Streamed("probability", False, "leave-one-out"),
    "left-out log-likelihood": Streamed("log-likelihood", False, "leave-one-out"),
}


def stream_score(
    make_chunks: Callable[[], Iterable[tuple[ArrayLike, ArrayLike]]], *, metric: str = "SFDA", **options: Any
) -> float:
    """Score samples that come in chunks, in memory that does not grow with their number.

    Parameters
    ----------
    make_chunks : callable
        Called without arguments once a pass; returns an iterable of chunks (features (n, D), labels (n,)), the same
        samples each time, in any order and division. Features as in :func:`sfda.sfda_score`, memory-mapped arrays
        included, which are read a few thousand rows at a time; labels as there, though a chunk may hold one class
        only. A torch ``DataLoader`` of such pairs serves: ``lambda: loader``.
    metric : str, default "SFDA"
        In any case of letters: "SFDA", "left-out SFDA", "H-score", "discriminant accuracy", "discriminant
        probability", "left-out accuracy", "left-out probability" or "left-out log-likelihood".
    **options
        Those of the metric's function: for SFDA `posterior`, `shrinkage`, `strength`, `dtype`, `device`
        (:func:`sfda.sfda_score`); for the others but H-score `posterior`, `shrinkage` and `strength`
        (:func:`sfda.metric.score.discriminant_accuracy`).

    Returns
    -------
    float
        As ``METRICS[metric](features, labels, **options)`` of all samples in one array: the two differ by rounding
        errors, some 1e-12, given the same lambda. Where it is searched among more than 4,096 samples, both start from
        other few of these, and may end at different peaks of a likelihood that has several.

    Raises
    ------
    ValueError
        Bad input, as the metric's function raises it, with the number of the chunk; no such metric or option;
        chunks with different numbers of features; or a pass that finds other numbers of samples than the first.
        (Other samples in the same numbers are not noticed: no shuffle that drops a last batch.)
    TypeError
        ``make_chunks`` is not callable.

    Warns
    -----
    SaturationWarning
        As :func:`sfda.sfda_score`.

    Notes
    -----
    Memory is O(D min(N, D) + C D + C^2) beside a chunk, and a few blocks of 8,192 rows with D features and C
    probabilities; chunks of fewer rows are joined first. Passes over the samples: one for the H-score, two for the
    discriminant's metrics, three for SFDA; the leave-one-out ones take two more where they choose lambda, seldom
    three. Where N <= D the samples take no more memory than their scatter, and are gathered and scored at once, after
    one pass.

    Examples
    --------
    >>> import numpy as np
    >>> import sfda
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(900) % 3
    >>> X = rng.standard_normal((900, 8)) + np.eye(8)[y]
    >>> def chunks():
    ...     for i in range(0, 900, 100):
    ...         yield X[i : i + 100], y[i : i + 100]
    >>> found = sfda.stream_score(chunks)
    >>> bool(np.isclose(found, sfda.sfda_score(X, y), rtol=0, atol=1e-12))
    True

    From shards on disk:

    >>> from pathlib import Path
    >>> def shards():  # doctest: +SKIP
    ...     for path in sorted(Path("features").glob("*.npy")):
    ...         labels = np.load(Path("labels") / path.name)
    ...         yield np.load(path, mmap_mode="r"), labels
    """
    if not callable(make_chunks):
        raise TypeError(
            "make_chunks: expected a function that returns an iterable of (features, labels), "
            f"got {type(make_chunks).__name__}; write lambda: chunks if they can be walked twice"
        )
    return score_passes(LocalPasses(make_chunks), metric, options)


def score_passes(passes, metric, options):
    """The score by any way of running passes; see :func:`stream_score`."""
    name = _find(metric)
    plan = _Plan.of(name, options)
    with full_precision():
        try:
            return _score(passes, name, plan, options)
        except OutOfPrecision:
            if plan.dtype is None:
                raise
            return _score(passes, name, replace(plan, dtype=None), options | {"dtype": None})


def _score(passes, name, plan, options):
    moments = passes(partial(_moments, plan), _merged)
    classes, n, d = moments.classes, moments.n, moments.d
    if len(classes) < 2:
        raise ValueError(f"labels: expected at least 2 classes, got 1 ({classes[0]!s}) in {n} rows")
    if n <= d:
        features, places, names = zip(*moments.parts)
        together = namespace(features[0]).concatenate(features)
        labels = np.concatenate([kinds[y] for y, kinds in zip(places, names)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SaturationWarning)  # it is said below
            value = METRICS[name](together, labels, **options)
        return _said(value, plan, n, d)
    if name == "H-score":
        return h_score_of_scatter(*_about_their_mean(moments), n)
    if plan.left_out or plan.searches:
        check_leave_one_out(to_numpy(moments.counts), moments.classes)
    if plan.dtype is not None and n < 2 * d:
        raise OutOfPrecision
    first = _First(moments, plan)
    shrinkage = _shrinkage(passes, first)
    first.fit(shrinkage)
    last = first
    if plan.challenge:
        challenged = passes(first.challenge, ClassMoments.merge)
        _check_same(challenged.n, n)
        if bool((challenged.counts != moments.counts).any()):
            raise ValueError(_NOT_THE_SAME.format("other numbers of samples in the classes"))
        last = _Second(first, challenged, shrinkage)
    total, found = passes(last, _add)
    _check_same(found, n)
    return _said(float(total) / n, plan, n, d)


def _said(value, plan, n, d):
    """`value`, with a warning where the score was asked for if it has saturated."""
    if plan.challenge and not plan.left_out:
        warn_of_saturation(value, n, d, stacklevel=6)
    return value


@dataclass(frozen=True)
class _Plan:
    """What is computed, and how."""

    value: str
    challenge: bool
    posterior: str
    shrinkage: object = None
    strength: float = 5.0
    dtype: object = None
    device: object = None

    @classmethod
    def of(cls, name, options):
        metric = STREAMED.get(name)
        known = set() if metric is None else {"posterior", "shrinkage", "strength"}
        if metric is not None and metric.challenge:
            known |= {"dtype", "device"}
        unknown = sorted(set(options) - known)
        if unknown:
            expected = ", ".join(sorted(known)) or "none"
            raise ValueError(f"options of {name}: expected {expected}, got {', '.join(unknown)}")
        if metric is None:
            return cls("", False, "")
        plan = cls(metric.value, metric.challenge, **{"posterior": metric.posterior} | options)
        check_posterior(plan.posterior)
        check_shrinkage(plan.shrinkage, plan.strength, names=() if plan.challenge else ("leave-one-out",))
        return replace(plan, dtype=None if working_dtype(plan.dtype) == "float64" else "float32")

    @property
    def left_out(self):
        return self.posterior == "leave-one-out"

    @property
    def searches(self):
        """Whether lambda is chosen by leave-one-out likelihood."""
        return self.shrinkage == "leave-one-out" or (self.shrinkage is None and self.left_out)

    def read(self, features):
        """Checked features in the working precision; OutOfPrecision where it cannot hold them."""
        x = as_features(features, dtype=self.dtype, device=self.device)
        if x.dtype != self.precision(x):
            raise OutOfPrecision
        return x

    def precision(self, x):
        """The working precision, in the library of `x`."""
        return getattr(namespace(x), self.dtype or "float64")


def _moments(plan, features, labels):
    x = plan.read(features)
    y, classes = as_labels(labels, len(x), least=1, beside=features)
    if len(x) > x.shape[1]:
        return ClassMoments.of(x, like(y, x), classes)
    return _Few([(as_features(features, device=plan.device) + 0, y, classes)], plan)  # whoever gave it may reuse it


class _Few:
    """No more samples than features, which take less memory than their scatter: parts (features, places, classes).

    Features are as they came, in their own precision.
    """

    def __init__(self, parts, plan):
        self.parts, self.plan = parts, plan
        self.n, self.d = sum(len(y) for _, y, _ in parts), parts[0][0].shape[1]

    @property
    def classes(self):
        return np.unique(np.concatenate([classes for *_, classes in self.parts]))

    def moments(self):
        read = ((self.plan.read(x), y, classes) for x, y, classes in self.parts)
        return reduce(ClassMoments.merge, (ClassMoments.of(x, like(y, x), classes) for x, y, classes in read))


def _merged(a, b):
    """Of both sets of samples, each as :class:`_Few` or as moments."""
    if isinstance(a, _Few) and isinstance(b, _Few) and a.n + b.n <= a.d == b.d:
        one, other = (each.parts[0][2].dtype.kind in "iufb" for each in (a, b))
        if one == other:
            return _Few(a.parts + b.parts, a.plan)
    a, b = (each.moments() if isinstance(each, _Few) else each for each in (a, b))
    return a.merge(b)


class _First:
    """Judges blocks of samples by the discriminant of all samples."""

    def __init__(self, moments, plan):
        self.plan, self.moments, self.classes, self.n = plan, moments, moments.classes, moments.n
        self.means, self.origin = moments.means, moments.counts / moments.n @ moments.means

    def __getstate__(self):
        # What workers do not need stays here.
        return {k: v for k, v in self.__dict__.items() if k != "moments"}

    def scatter(self):
        """A new PooledScatter, for each is used up; its means are from the mean of all samples."""
        return self.moments.pooled(self.plan.precision(self.means), self.origin)

    def fit(self, shrinkage):
        scatter = self.scatter()
        self.centred = scatter.means
        self.others = other_means(to_float64(scatter.means))
        self.judge = (LeftOut if self.plan.left_out else fisher_posterior)(scatter, shrinkage)

    def residuals(self, features, labels):
        """Residuals from the class means (n, D), and classes (n,)."""
        x = self.plan.read(features)
        y, found = as_labels(labels, len(x), least=1, beside=features)
        at = np.searchsorted(self.classes, found).clip(max=len(self.classes) - 1)
        if (self.classes[at] != found).any():
            raise ValueError(_NOT_THE_SAME.format("classes that the first pass did not find"))
        y = like(at[y], x)
        return class_residuals(x, self.means, y), y

    def __call__(self, features, labels):
        """What this block adds to the sum over all samples, and its number of samples."""
        r, y = self.residuals(features, labels)
        return _tally(self.judge(r, y), y, self.plan.value)

    def challenged(self, features, labels):
        """Samples after ConfMix and before, from the mean of all; their classes and probabilities."""
        r, y = self.residuals(features, labels)
        p = softmax(self.judge(r, y))
        r += self.centred[y]
        c = softmax_at(p + 0, y)[:, None]
        mixed = to_dtype(c, r.dtype) * r + to_dtype((1 - c) * self.others[y], r.dtype)
        return mixed, r, y, p

    def challenge(self, features, labels):
        """Moments of the challenged samples."""
        mixed, _, y, _ = self.challenged(features, labels)
        return ClassMoments.of(mixed, y, self.classes)


class _Second:
    """Judges challenged samples by the discriminant of all challenged samples."""

    def __init__(self, first, moments, shrinkage):
        self.first, self.means = first, moments.means
        scatter = moments.pooled(first.plan.precision(self.means))
        left_out = first.plan.left_out
        self.judge = (LeftOut if left_out else fisher_posterior)(scatter, shrinkage)

    def __call__(self, features, labels):
        """As :meth:`_First.__call__`."""
        mixed, x, y, p = self.first.challenged(features, labels)
        r = class_residuals(mixed, self.means, y, overwrite=True)
        if not self.first.plan.left_out:
            return _tally(self.judge(r, y), y, self.first.plan.value)
        # The held-out sample is challenged without its label.
        kept, mixed_in = expected_weights(p)
        z = to_dtype(kept, x.dtype)[:, None] * x
        z += to_dtype(matmul(mixed_in, self.first.others), x.dtype)
        return _tally(self.judge(r, y, z), y, self.first.plan.value)


def _shrinkage(passes, first):
    """lambda, by one rule or another."""
    plan = first.plan
    if not plan.searches:
        if plan.shrinkage is not None:
            return float(plan.shrinkage)
        scatter = first.scatter()
        ones = scatter.scatter[0] * 0 + 1
        sigma = scatter.power_iteration(symmetric_times(scatter.scatter, ones))
        return adaptive_shrinkage(sigma, plan.strength)
    scatter = first.scatter()
    q = scatter.rotate()

    def likelihoods(grid):
        *sums, found = passes(partial(_log_likelihoods, first, scatter, q, grid), _add)
        _check_same(found, first.n)
        return [each / found for each in sums]

    def some(grid):
        r, y, own, drawn, sums, found = passes(partial(_some, first, scatter, q, grid), partial(_joined, first.n))
        _check_same(found, first.n)
        rows, weights = telling(own, drawn, first.n, sums / found)
        r, y, weights = r[like(rows, r)], y[like(rows, r)], like(weights, q)
        estimates = lambda grid: [float(each) for each in weights @ _own_left_out(scatter, grid, r, y)]  # noqa: E731
        return list(sums / found), estimates

    # Another pass costs more than a few lambdas.
    return best_shrinkage(likelihoods, some if first.n > MANY else None, reach=3)


def _own_left_out(scatter, grid, r, y):
    """log p_-n(y_n | x_n) of rotated residuals, (n, n_lambdas); one discriminant at a time is in memory."""
    xp = namespace(r)
    return xp.stack([log_softmax_at(LeftOut(scatter, value)(r, y), y) for value in grid], 1)


def _some(first, scatter, q, grid, features, labels):
    """Of a block the samples that may tell lambdas apart, and the sums over all: see :func:`_joined`."""
    r, y = first.residuals(features, labels)
    # Another of each block, but the same in every run: of the first sample as it came.
    seed = zlib.crc32(to_numpy(first.plan.read(features)[0]).tobytes())
    r = matmul(r, q)
    own = to_numpy(_own_left_out(scatter, grid, r, y))
    return _telling(first.n, r, y, own, np.random.default_rng(seed).random(len(y)), own.sum(0), len(y))


def _joined(n, a, b):
    """Rotated residuals, classes, likelihoods and random numbers of samples of both; sums over all and their number."""
    both = [namespace(x).concatenate((x, y)) for x, y in zip(a[:4], b[:4])]
    return _telling(n, *both, a[4] + b[4], a[5] + b[5])


def _telling(n, r, y, own, drawn, sums, found):
    rows = telling(own, drawn, n)[0]
    return r[like(rows, r)], y[like(rows, r)], own[rows], drawn[rows], sums, found


def _log_likelihoods(first, scatter, q, grid, features, labels):
    r, y = first.residuals(features, labels)
    return *(float(each) for each in _own_left_out(scatter, grid, matmul(r, q), y).sum(0)), len(y)


def _tally(delta, y, value):
    if value == "accuracy":
        return int((delta.argmax(1) == y).sum()), len(y)
    own = softmax_at if value == "probability" else log_softmax_at
    return float(own(delta, y).sum()), len(y)


def _about_their_mean(moments):
    """Total scatter of the samples, and the means' offsets by the root of the class sizes."""
    offsets = moments.means - moments.counts / moments.n @ moments.means
    offsets *= moments.counts[:, None] ** 0.5
    return moments.scatter + gram(offsets), offsets


_NOT_THE_SAME = "make_chunks: found {}; it must return the same samples, in a fresh iterator, at each call"


def _check_same(found, n):
    if found != n:
        raise ValueError(_NOT_THE_SAME.format(f"{found} samples after {n} in the first pass"))


def _add(a, b):
    """Sum of two tuples of numbers or arrays."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _find(metric):
    names = {name.lower(): name for name in (*STREAMED, "H-score")}
    if not isinstance(metric, str) or metric.lower() not in names:
        raise ValueError(f"metric: expected one of {', '.join(names.values())}, got {metric!r}")
    return names[metric.lower()]
