"""How well scores rank networks, and how sure that is.

A transferability metric gives every network a score; fine-tuning gives every network an accuracy. `weighted_tau`
and `kendall_tau` compare the whole order, `regret` only what is lost by trusting the top of it. A zoo holds ten or
so networks, so each of these numbers is uncertain: `mean_interval` says how much, and `chance_level` what random
scores reach.

Everywhere larger is better, entry i of both arguments belongs to network i, what differs only by rounding is tied
(:func:`evened`), and bad input raises a `ValueError` that names the argument, what was expected and what was found.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sfda.metric.inputs import check_integer, check_level, check_pair, check_vector

TIE, FLOAT32 = 5e-12, 5e-7  # see `evened`


class Interval(NamedTuple):
    """An interval, both ends included."""

    low: float
    high: float


class Chance(NamedTuple):
    """What a statistic does when the scores are in random order."""

    mean: float
    sd: float
    quantile: float


def weighted_tau(scores: ArrayLike, accuracies: ArrayLike) -> float:
    """Weighted Kendall rank correlation, in which the best networks count most.

    A pair of networks counts +1 when scores and accuracies order it alike and -1 when they do not, with weight 1/r
    + 1/s for networks at ranks r and s (the best has rank 1). The result is the mean of two values, one with the
    ranks taken from the scores and one from the accuracies. It is `scipy.stats.weightedtau` with its defaults,
    which the public code of SFDA uses to evaluate metrics.

    Parameters
    ----------
    scores, accuracies : array-likes of shape (n_networks,)
        Predicted transferability, and accuracy after fine-tuning, in any unit: only the order matters.

    Returns
    -------
    float
        From -1 to 1, and 1 when the two orders are the same. It is nan when all scores, or all accuracies, are tied:
        nothing is ranked then.

    Raises
    ------
    ValueError
        If an argument is not one-dimensional, holds fewer than two numbers, NaN or infinity, if the lengths differ,
        or if both are pandas Series that hold the same labels in different order.

    References
    ----------
    S. Vigna, "A weighted correlation index for rankings with ties", WWW 2015.

    Examples
    --------
    Exchanging the two best of three networks costs more than exchanging the two worst:

    >>> round(weighted_tau([3, 2, 1], [80, 90, 70]), 3)
    0.182
    >>> round(weighted_tau([3, 2, 1], [90, 70, 80]), 3)
    0.545
    """
    return float(weighted_taus(*check_pair(scores, accuracies)))


def weighted_taus(scores, accuracies):
    """:func:`weighted_tau` along the last axis, of all rankings in one go.

    Parameters
    ----------
    scores, accuracies : ndarrays of shape (..., n)
        Larger is better. The other axes are broadcast against each other.

    Returns
    -------
    ndarray of shape (...)
        NaN where tau is not defined, for n scores or n accuracies that are all equal.
    """
    x, y = np.broadcast_arrays(evened(scores), evened(accuracies))
    with np.errstate(over="ignore"):
        signs = [np.sign(a[..., :, None] - a[..., None, :]) for a in (x, y)]
    # A pair's weight is the sum of its two networks' importances, so each network needs one sum over its pairs.
    agreement, *untied = (np.einsum("...ij,...ij->...i", a, b) for a, b in (signs, signs[:1] * 2, signs[1:] * 2))
    total = 0
    for first, second in ((x, y), (y, x)):
        # Ranks from the best, equal values in the order of the other argument.
        order = np.lexsort((second, first), axis=-1)[..., ::-1]
        importance = 1 / (np.argsort(order, axis=-1) + 1)
        norm = [(importance * each).sum(-1) for each in untied]
        with np.errstate(invalid="ignore"):
            total = total + (importance * agreement).sum(-1) / np.sqrt(norm[0] * norm[1])
    return total / 2


def evened(values, tie=TIE):
    """`values` (..., n), of which those that differ only by rounding are equal, each the lowest of its group.

    The rule of ties, for all that is put in an order: neighbours in sorted order along the last axis are tied where
    they are no more than `tie` of the larger one apart. Ties chain, so that the order of the arguments says nothing.
    TIE is five times the most that scores in float64 were found to change by (LogME, by 1e-12) with the order of the
    samples, in chunks or on another processor; published ones that differ are 8e-11 apart at least. FLOAT32, four of
    its roundings, is for scores of features that networks compute in float32.
    """
    values = np.asarray(values, dtype=float)
    order = values.argsort(-1)
    ranked = np.take_along_axis(values, order, -1)
    sizes = np.abs(ranked)
    with np.errstate(over="ignore"):
        tied = np.diff(ranked, axis=-1) <= tie * np.maximum(sizes[..., 1:], sizes[..., :-1])
    ranked[..., 1:][tied] = -np.inf
    result = np.empty_like(values)
    np.put_along_axis(result, order, np.maximum.accumulate(ranked, -1), -1)
    return result


def kendall_tau(scores, accuracies):
    """Kendall rank correlation (tau-b), in which every pair counts the same.

    Parameters
    ----------
    scores, accuracies : array-like of shape (n_networks,)
        As in `weighted_tau`; only the order matters.

    Returns
    -------
    float
        From -1 to 1; nan when all scores, or all accuracies, are equal.

    Raises
    ------
    ValueError
        As in `weighted_tau`.

    References
    ----------
    M. G. Kendall, "The treatment of ties in ranking problems", Biometrika 33, 1945. Computed by
    `scipy.stats.kendalltau`.

    Examples
    --------
    >>> round(kendall_tau([3, 2, 1], [80, 90, 70]), 3)
    0.333
    """
    scores, accuracies = check_pair(scores, accuracies)
    return float(stats.kendalltau(evened(scores), evened(accuracies)).statistic)


def regret(scores, accuracies, k=1):
    """Accuracy lost by fine-tuning only the k networks with the highest scores.

    The best accuracy of all networks minus the best among the top k. When a tie at the k-th score leaves open which
    networks these are, the tied ones are taken to be drawn at random, and the result is the exact expected loss.
    Equal scores for all networks thus cost what a blind choice costs.

    Parameters
    ----------
    scores, accuracies : array-likes of shape (n_networks,)
        As in `weighted_tau`; only the order of the scores matters.
    k : int, default=1
        How many networks are fine-tuned, from 1 to n_networks.

    Returns
    -------
    float
        In the unit of `accuracies`; 0 when the best network is in the top k.

    Raises
    ------
    ValueError
        As in `weighted_tau`, or if `k` is not an integer from 1 to n_networks.

    Examples
    --------
    >>> regret([3, 2, 1], [80, 90, 70])
    10.0
    >>> regret([2, 2, 1], [80, 90, 70])
    5.0
    """
    scores, accuracies = check_pair(scores, accuracies)
    k, scores = check_integer(k, "k", 1, scores.size), evened(scores)
    kth_score = np.sort(scores)[-k]
    certain = accuracies[scores > kth_score]
    tied = np.sort(accuracies[scores == kth_score])
    drawn = k - certain.size
    # Entry j of the sorted tied networks is the best one drawn when the other
    # drawn - 1 come from the j entries below it.
    chances = [math.comb(j, drawn - 1) / math.comb(tied.size, drawn) for j in range(tied.size)]
    reached = np.maximum(tied, certain.max(initial=-math.inf))
    return float(np.dot(chances, accuracies.max() - reached))


def ties(scores, tolerance=0.0):
    """Find the groups of networks that the scores do not tell apart.

    Parameters
    ----------
    scores : array-like of shape (n_networks,)
    tolerance : float, default=0.0
        Largest difference between neighbouring scores of one group, in the unit of the scores, besides rounding. With a
        tolerance of 1 the scores 0, 1 and 2 are one group.

    Returns
    -------
    list of list of int
        One list per group of two or more tied networks, from the highest scores down; each holds the positions of
        its networks in ascending order.

    Raises
    ------
    ValueError
        If `scores` is not a one-dimensional sequence of at least two finite numbers, or `tolerance` is negative or
        not finite.

    Examples
    --------
    >>> ties([0.7, 1.0, 0.9, 1.0])
    [[1, 3]]
    """
    scores = evened(check_vector(scores, "scores"))
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance must be a finite number, 0 or more, got {tolerance!r}")
    order = np.argsort(-scores)
    gaps = -np.diff(scores[order])
    groups = np.split(order, np.flatnonzero(gaps > tolerance) + 1)
    return [sorted(group.tolist()) for group in groups if group.size > 1]


def mean_interval(values, *, level=0.95):
    """Student's t interval of a mean, over data sets.

    For one value per data set, for example the weighted tau of a metric on each. The networks stay the same; it
    answers: where may the mean over many more data sets like these be? To compare two metrics, pass the differences
    of their values, data set by data set.

    Parameters
    ----------
    values : array-like of shape (n_datasets,)
        One number per data set, in any unit. Leave out undefined (nan) ones.
    level : float, default=0.95
        How often such an interval holds the true mean, between 0 and 1.

    Returns
    -------
    Interval
        ``(low, high)``, floats in the unit of `values`.

    Raises
    ------
    ValueError
        If `values` is not a one-dimensional sequence of at least two finite numbers, or `level` is not between 0
        and 1.

    Notes
    -----
    Exact where the values are independent and normal. Data sets that resemble each other, such as CIFAR-10 and
    CIFAR-100, are not independent, and the interval is then too narrow. A percentile bootstrap would be narrower
    still: of five normal values its 95 % interval holds the mean in about 84 % of cases.

    References
    ----------
    Student, "The probable error of a mean", Biometrika 6, 1908.

    Examples
    --------
    >>> low, high = mean_interval([0.6, 0.7, 0.5, 0.9])
    >>> f"{low:.2f} to {high:.2f}"
    '0.40 to 0.95'
    """
    values = check_vector(values, "values")
    half = stats.t.ppf((1 + check_level(level)) / 2, values.size - 1) * values.std(ddof=1) / math.sqrt(values.size)
    return Interval(float(values.mean() - half), float(values.mean() + half))


def chance_level(n, statistic=weighted_tau, *, level=0.95, permutations=10_000, seed=0):
    """Distribution of a statistic when scores are unrelated to accuracies.

    Parameters
    ----------
    n : int
        Number of networks, at least 2.
    statistic : callable, default=weighted_tau
        ``statistic(scores, accuracies) -> float``. It is given a random order of 0, ..., n-1 as scores and 0, 1,
        ..., n-1 as accuracies, so the result holds for any accuracies only if the statistic depends on their order
        alone.
    level : float, default=0.95
        Which quantile to return, between 0 and 1.
    permutations : int, default=10_000
        Number of random orders. When there are no more than this many orders in all, each is used once: the result
        is exact and `seed` has no effect.
    seed : int or numpy.random.Generator, default=0
        Source of the random orders; the same integer gives the same result.

    Returns
    -------
    Chance
        ``(mean, sd, quantile)``, floats in the unit of the statistic. `quantile` is the smallest value that random
        scores exceed with probability 1 - `level` or less.

    Raises
    ------
    ValueError
        If `n` is not an integer of 2 or more, `level` is not between 0 and 1, or `permutations` is less than 1.

    Examples
    --------
    With 11 networks, one weighted tau below about 0.5 is no evidence:

    >>> chance = chance_level(11)
    >>> round(chance.sd, 2), round(chance.quantile, 1)
    (0.28, 0.5)
    """
    n = check_integer(n, "n", 2)
    level = check_level(level)
    permutations = check_integer(permutations, "permutations", 1)
    identity = np.arange(n)
    if math.factorial(n) <= permutations:
        orders = np.array(list(itertools.permutations(identity)))
    else:
        rng = np.random.default_rng(seed)
        orders = rng.permuted(np.tile(identity, (permutations, 1)), axis=1)
    if statistic is weighted_tau:  # many at once, in parts that fit into memory
        parts = np.array_split(orders, math.ceil(len(orders) / 5000))
        values = np.concatenate([weighted_taus(part, identity) for part in parts])
    else:
        values = np.array([statistic(order, identity) for order in orders])
    quantile = np.quantile(values, level, method="inverted_cdf")
    return Chance(float(values.mean()), float(values.std()), float(quantile))
