"""Which networks to fine-tune together: subsets whose averaged predictions should be good.

A network's stand-in, before any fine-tuning, is what a discriminant on its features says of each sample. Notation:
K networks, N samples, p_m(y_n) the probability that the stand-in of network m gives the class of sample n.
"""

import itertools
import math
import numbers
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import log_softmax, logsumexp, softmax

from sfda.metric.inputs import as_features, as_labels, check_networks
from sfda.metric.linalg import is_torch, namespace, to_numpy
from sfda.metric.nuclear import Step, best_of, fisher_features, nuclear_selection
from sfda.metric.ranking import evened
from sfda.metric.scatter import NoVariation, OutOfPrecision
from sfda.metric.score import SaturationWarning, log_posterior

if TYPE_CHECKING:
    import torch

METHODS = ("held-out", "top", "nuclear", "diverse")


class Ensemble(NamedTuple):
    """A choice of networks.

    ``members`` are their names, in the order in which they were chosen; ``scores`` what they were worth after each
    choice, a list of :class:`sfda.metric.nuclear.Step`.
    """

    members: list[str]
    scores: list[Step]


class TooFewNetworks(ValueError):
    """Fewer different networks than an ensemble is to have."""


def select_ensemble(
    features_by_model: Mapping[str, ArrayLike],
    labels: ArrayLike,
    size: int,
    *,
    method: Literal["held-out", "top", "nuclear", "diverse"] = "held-out",
    scores: Mapping[str, float] | None = None,
    challenge: bool = False,
    shrinkage: float | Literal["leave-one-out"] | None = None,
    strength: float = 5.0,
    device: "str | torch.device | None" = None,
) -> Ensemble:
    """Choose networks whose predictions, averaged after fine-tuning, should be best.

    Parameters
    ----------
    features_by_model : mapping of name to array-like of shape (N, D)
        Features of the same N samples, of any number of networks, each with its own D: NumPy or torch, any floating
        dtype, any device; not modified.
    labels : array-like of shape (N,)
        Integers (gaps are fine) or strings, at least two classes.
    size : int
        How many, from 1 to the number of different networks. Smaller ensembles are the first members of larger
        ones, but for one network alone by "held-out".
    method : {"held-out", "top", "nuclear", "diverse"}, default "held-out"
        "held-out" (of this package) takes the pair, and then adds the network, whose averaged left-out posterior has
        the largest soft accuracy (:func:`sfda.metric.ensemble.soft_accuracy`), each posterior being calibrated first
        (:func:`sfda.metric.ensemble.calibrated`). "top" takes the largest `scores`. "nuclear" is the paper's
        selection as far as it is known, see :func:`sfda.metric.nuclear.nuclear_selection`. "diverse", a yardstick,
        begins with the most accurate network and adds those whose errors are least correlated with the errors of
        the members.
    scores : mapping of name to float, optional
        What "top" and "nuclear" rank single networks by, larger is better. By default the mean left-out probability
        of the true class for "top" (with `challenge`, this is the left-out SFDA score), and the plain SFDA score
        for "nuclear". Not for the other methods.
    challenge : bool, default False
        Whether the left-out posteriors are those of self-challenged features, as in
        :func:`sfda.metric.score.log_posterior`. ("nuclear" has some with shrinkage="leave-one-out" only.) On the
        pocket benchmark's development tasks "held-out" lost more accuracy with the challenge.
    shrinkage
        As in :func:`sfda.sfda_score`. "nuclear" also takes "leave-one-out": lambda by left-out likelihood in the
        Fisher features, and left-out probabilities as scores by default. On the pocket benchmark's development tasks
        this lost 1.2 points to the best ensembles instead of 3.5, as much as "held-out"; on the reporting tasks no
        difference is shown. It may prefer twins to experts for half the classes.
    strength
        As in :func:`sfda.sfda_score`; of "nuclear" alone.
    device
        As in :func:`sfda.sfda_score`.

    Returns
    -------
    Ensemble
        ``.members``, in the order of choice, and ``.scores``, one a choice, whose ``criterion`` is the sum of
        ``mean``, over the members, and ``complementarity``. "held-out": the mean of the members' own soft accuracies,
        and by how much that of their average exceeds it, which may be below 0. "top": the mean score and 0.
        "nuclear": the two halves of the paper's Eq. 9. "diverse": 0, and the mean correlation between the members'
        errors with its sign changed.

    Raises
    ------
    ValueError
        Bad input: the message names the argument, and the network where it is one; more members asked for than
        there are different networks (``TooFewNetworks``); a class with one sample where left-out posteriors are used.

    Warns
    -----
    SaturationWarning
        "nuclear" without shrinkage="leave-one-out", where a network has at least N - C features: these separate the
        samples whatever their labels.

    Notes
    -----
    A network that is there twice is chosen once: features that are the same numbers, in whatever precision, are one
    network, under the name that comes first. Equal criteria are decided by the order of `features_by_model`. With
    the published rule for lambda (shrinkage=None) "nuclear" depends on the scale of the features; nothing else
    does.

    After one posterior a network, "held-out" costs O(K (K + size^2) N C), and holds K posteriors.

    References
    ----------
    W. Shao et al., *Not All Models Are Equal*, ECCV 2022, Eqs. 8 and 9.

    Examples
    --------
    Two networks see one half of the classes each, a third a bit of everything:

    >>> import numpy as np
    >>> from sfda import select_ensemble
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(400) % 4
    >>> def network(strength):
    ...     return rng.standard_normal((400, 4)) + np.diag(strength)[y]
    >>> zoo = {"low": network([3, 3, 0, 0]), "high": network([0, 0, 3, 3])}
    >>> zoo["all"] = network([1, 1, 1, 1])
    >>> sorted(select_ensemble(zoo, y, 2).members)
    ['high', 'low']
    """
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    if not isinstance(challenge, (bool, np.bool_)):
        raise ValueError(f"challenge: expected True or False, got {challenge!r}")
    mended = isinstance(shrinkage, str) and shrinkage == "leave-one-out"
    if mended and method != "nuclear":
        raise ValueError(f"shrinkage: 'leave-one-out' is for method 'nuclear'; with {method!r} None does the same")
    check_networks(features_by_model, labels)
    names, n = _different(features_by_model, device)
    y, classes = as_labels(labels, n)
    size = _check_size(size, names, features_by_model)
    if scores is not None:
        if method not in ("top", "nuclear"):
            raise ValueError(f"scores: expected None for method {method!r}, which uses none")
        scores = _check_scores(scores, names, features_by_model)
    options = {"shrinkage": None if mended else shrinkage, "strength": strength}

    def of_each(function, *arguments, **more):
        """`function` of every network's features; errors get its name."""
        for name in names:
            try:
                result = function(features_by_model[name], *arguments, **(options | more))
            except (OutOfPrecision, NoVariation) as error:
                raise ValueError(f"features_by_model[{name!r}]: {error}") from error
            yield to_numpy(result)

    def left_out(**more):
        return of_each(log_posterior, labels, device=device, **({"challenge": challenge} | more))

    def mean_probabilities(log_p):
        return [float(np.exp(each[np.arange(n), y]).mean()) for each in log_p]

    if method == "top":
        chosen, steps = top(scores or mean_probabilities(left_out()), size)
    elif method == "held-out":
        p = [np.exp(calibrated(each, y)) for each in left_out()]
        chosen, steps = greedy(p, size, lambda average: soft_accuracy(average, y))
    elif method == "diverse":
        wrong = np.stack([each.argmax(1) != y for each in left_out()])
        chosen, steps = least_correlated(wrong, size)
    else:
        free = n - len(classes)  # so many features separate the samples whatever their labels
        wide = [repr(m) for m in names if np.shape(features_by_model[m])[1] >= free]
        if wide and not mended:
            words = f"the nuclear norm cannot be trusted: {', '.join(wide)} can separate the N = {n} samples whatever"
            words += " their labels; use method='held-out', or shrinkage='leave-one-out'"
            warnings.warn(words, SaturationWarning, stacklevel=2)
        plain = {} if mended else {"posterior": "resubstitution", "challenge": True}
        scores = scores or mean_probabilities(left_out(**plain))
        # The estimator computes on the CPU.
        fisher = list(of_each(lambda x, **o: fisher_features(to_numpy(x), y, **o), shrinkage=shrinkage))
        chosen, steps = nuclear_selection(scores, fisher, y, size)
    return Ensemble([names[i] for i in chosen], steps)


# --- what an averaged posterior is worth -------------------------------------


def calibrated(log_p, y):
    """Posteriors made as sure as they are right: log p to the power beta, normalised.

    One number a network, 1 / beta its temperature, by the largest likelihood. An average listens most to the
    members that are surest, and a discriminant of many features is surer than it should be.

    Parameters
    ----------
    log_p : array of shape (N, C)
        Left-out log-probabilities.
    y : integer array of shape (N,)
        Classes 0..C-1.

    Returns
    -------
    array of shape (N, C)
        With the same order of the classes in every row. beta lies between 1/1000 and 20, where a posterior that is
        always right would have it grow without end.

    References
    ----------
    C. Guo et al., *On calibration of modern neural networks*, ICML 2017.
    """
    own = log_p[np.arange(len(y)), y]

    def slope(log_beta):
        """Of minus the likelihood, which is convex in beta: what is expected less what is."""
        p = softmax(math.exp(log_beta) * log_p, axis=1)
        return float((np.einsum("nc,nc->n", p, log_p) - own).mean())

    ends = math.log(1e-3), math.log(20)
    falls, rises = slope(ends[0]) < 0, slope(ends[1]) > 0
    best = brentq(slope, *ends, xtol=1e-6) if falls and rises else ends[int(falls)]
    return log_softmax(math.exp(best) * log_p, axis=1)


def soft_accuracy(p, y):
    """Mean probability of the true class after sharpening: about the share of samples that are right.

    .. math:: \\frac1N\\sum_n p(y_n)^4 \\Big/ \\sum_c p(c)^4

    Two experts for other halves of the classes, each honestly unsure of the rest, average to a posterior that is
    right but unsure. The likelihood counts that as weak; sharpened, it is nearly as good as a sure one. The accuracy
    itself would be stepped, and soon 1.

    Parameters
    ----------
    p : array of shape (N, C)
        Probabilities, on any scale.
    y : integer array of shape (N,)
        Classes 0..C-1.

    Returns
    -------
    float
        In [0, 1]; below 1/2 for one sample where another class has more. Of the criteria that find such experts,
        the power 4 lost least on the pocket benchmark's development tasks.
    """
    square = np.square(p)
    return float((square[np.arange(len(y)), y] ** 2 / np.einsum("nc,nc->n", square, square)).mean())


def split(log_p):
    """Log-likelihood of an averaged posterior, and what it consists of.

    .. math::

        \\frac1N\\sum_n \\log \\bar p(y_n)
        &= \\frac1M\\sum_m \\frac1N\\sum_n \\log p_m(y_n) \\\\
        &+ \\frac1N\\sum_n \\Bigl[\\log \\bar p(y_n) - \\frac1M\\sum_m \\log p_m(y_n)\\Bigr],

    the mean of the members' own log-likelihoods plus the Jensen gap, which is never negative, and 0 where all members
    give the true class the same. (It needs the labels, unlike the *ambiguity* by which A. Krogh and J. Vedelsby,
    NeurIPS 1994, split squared errors.)

    Parameters
    ----------
    log_p : array-like of shape (M, N)
        log p_m(y_n) of M members.

    Returns
    -------
    Step
        In nats a sample; ``complementarity`` is the Jensen gap.

    Raises
    ------
    ValueError
        Not a matrix of finite log-probabilities.
    """
    log_p = as_features(log_p, name="log_p")
    mean = log_p.mean(0)
    # Zero where all agree, and never below: log-mean-exp of deviations that sum to 0.
    gap = logsumexp(log_p - mean, axis=0) - math.log(len(log_p))
    parts = float(mean.mean()), float(gap.clip(min=0).mean())
    return Step(sum(parts), *parts)


def greedy(p, size, worth):
    """The best pair, then one by one the network whose average with the members is worth most.

    Beginning with a pair finds two networks that complement each other even where neither is the best one.

    Parameters
    ----------
    p : sequence of K arrays
        Probabilities, of a shape that `worth` takes.
    size : int
        At most K.
    worth : function of one array, an average of some
        Larger is better.

    Returns
    -------
    chosen : list of int
        Places, in the order of choice; of the pair, the better one first.
    steps : list of Step
        Of the members so far: what their average is worth, the mean of what each is, and the difference. The
        criterion may fall: every member has the same weight, and one that the others do not need is a burden.
    """
    average = np.empty_like(p[0])  # one for all: to get new memory takes longer than to add

    def value(rows):
        np.copyto(average, p[rows[0]])
        for m in rows[1:]:
            np.add(average, p[m], out=average)
        return worth(np.divide(average, len(rows), out=average))

    everyone, alone = range(len(p)), [worth(each) for each in p]
    begin = list(itertools.combinations(everyone, min(size, 2)))
    chosen = list(begin[best_of([value(rows) for rows in begin], [])])
    if best_of([alone[m] for m in chosen], []):
        chosen.reverse()
    while len(chosen) < size:
        chosen.append(best_of([value([*chosen, m]) for m in everyone], chosen))
    parts = [(value(chosen[:k]), float(np.mean([alone[m] for m in chosen[:k]]))) for k in range(1, size + 1)]
    return chosen, [Step(both, mean, both - mean) for both, mean in parts]


# --- the other methods ---------------------------------------------------------


def top(scores, size):
    """The `size` largest of `scores` (K,): places in order, and their mean after each choice."""
    chosen = (-evened(scores)).argsort(kind="stable")[:size].tolist()
    means = np.asarray(scores)[chosen].cumsum() / np.arange(1, size + 1)
    return chosen, [Step(float(mean), float(mean), 0.0) for mean in means]


def least_correlated(wrong, size):
    """The network with fewest errors, then those whose errors go least with the members'.

    Parameters
    ----------
    wrong : bool array of shape (K, N)
        Which samples each network gets wrong.
    size : int
        At most K.

    Returns
    -------
    chosen : list of int
        In the order of choice. Each has the smallest mean correlation with those before.
    steps : list of Step
        The mean correlation between members, with its sign changed; 0 for one alone.
    """
    with np.errstate(invalid="ignore"):  # one that is always right, or always wrong, errs together with nobody
        correlation = np.nan_to_num(np.atleast_2d(np.corrcoef(wrong)))
    chosen, steps = [best_of(-wrong.mean(1), [])], [Step(0.0, 0.0, 0.0)]
    while len(chosen) < size:
        chosen.append(best_of(-correlation[:, chosen].mean(1), chosen))
        pairs = itertools.combinations(chosen, 2)
        value = -float(np.mean([correlation[pair] for pair in pairs]))
        steps.append(Step(value, 0.0, value))
    return chosen, steps


# --- checked input ---------------------------------------------------------------


def _different(features_by_model, device):
    """Names of the networks, less those whose features an earlier one has, too, and N."""
    n, known = None, {}
    for name in features_by_model:
        x = _numpy(features_by_model, name, device)
        if n not in (None, len(x)):
            expected = f"features_by_model[{name!r}]: expected the {n} samples of the networks before"
            raise ValueError(f"{expected}, got {len(x)} rows")
        n, eps = len(x), _rounding(features_by_model[name])

        def same(other):
            shape, first, its_eps = known[other]

            def equal(a, b):  # float16 also rounds to multiples of 2^-24
                return bool((np.abs(a - b) <= max(eps, its_eps) * (np.abs(a) + 2.0**-14)).all())

            # Nearly always the first sample tells.
            return shape == x.shape and equal(x[0], first) and equal(x, _numpy(features_by_model, other, device))

        if not any(same(other) for other in known):
            known[name] = x.shape, x[0].copy(), eps
    return list(known), n


def _rounding(features):
    """Relative spacing of the numbers that `features` are stored as."""
    dtype = getattr(features, "dtype", np.dtype(float))
    if is_torch(features):
        return namespace(features).finfo(dtype).eps if dtype.is_floating_point else 0.0
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0


def _numpy(features_by_model, name, device):
    """One network's features as float64, made when needed: all at once may not fit."""
    argument = f"features_by_model[{name!r}]"
    return to_numpy(as_features(features_by_model[name], name=argument, device=device))


def _check_size(size, names, given):
    whole = isinstance(size, numbers.Integral) and not isinstance(size, bool)
    if whole and 1 <= size <= len(names):
        return int(size)
    again = [repr(name) for name in given if name not in names]
    why = f" ({', '.join(again)} repeated an earlier one)" if again else ""
    kind = TooFewNetworks if whole and size > len(names) else ValueError
    raise kind(f"size: expected an integer from 1 to {len(names)}, the number of different networks{why}, got {size!r}")


def _check_scores(scores, names, given):
    if not isinstance(scores, Mapping):
        raise ValueError(f"scores: expected a mapping from names to numbers, got {type(scores).__name__}")
    for name in scores:
        if name not in given:
            raise ValueError(f"scores: expected names of features_by_model, got {name!r}")
    for name in names:
        value = scores.get(name)
        if not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise ValueError(f"scores[{name!r}]: expected a finite number, got {value!r}")
    return [float(scores[name]) for name in names]
