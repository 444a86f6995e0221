"""Which lambda has the largest likelihood: asked of all samples, or first of a few that stand for many.

Reference: J.-C. Deville and C.-E. Saerndal, *Calibration Estimators in Survey Sampling*, Journal of the American
Statistical Association 87, 1992.
"""

import math

import numpy as np

MANY = 4096  # samples; of more, a few tell nearly which lambda is best
TELLING = 256  # of either kind of these
ROUGH = -8, -3, 2, 6  # logits of lambda at which all samples are asked first


def best_shrinkage(likelihoods, some=None, reach=1):
    """lambda of the largest likelihood: a search over logit(lambda), -10 to 6 by 1, then by 1/4 around the best.

    Of many samples it is the top of the peak that a few of them point to. Of lambdas within 1e-9 of the best, as where
    all know every class, it is the largest: so small losses are exact.

    Parameters
    ----------
    likelihoods : callable
        From a list of lambdas to the mean log-likelihoods of all samples, in nats.
    some : callable, optional
        Of many samples: from the lambdas of :data:`ROUGH` to their likelihoods, and a function as `likelihoods` that
        estimates them by :func:`telling` samples. These are searched in the place of all; from the best of them, or
        of the rough ones, a search among all climbs by 1/4.
    reach : int, default 1
        How many of these steps it looks ahead.

    Returns
    -------
    float
    """

    def ask(found, logits, likelihoods=likelihoods):
        new = [logit for logit in dict.fromkeys(logits) if logit not in found]
        found |= zip(new, likelihoods([_sigmoid(logit) for logit in new]), strict=True)
        return max(logit for logit, value in found.items() if value >= max(found.values()) - 1e-9)

    def around(best, steps):
        return [best + step / 4 for step in range(-steps, steps + 1) if -10.75 <= best + step / 4 <= 6.75]

    def search(*how):
        found = {}
        return ask(found, around(ask(found, range(-10, 7), *how), 3), *how)

    if not some:
        return _sigmoid(search())
    rough, estimates = some([_sigmoid(logit) for logit in ROUGH])
    found = dict(zip(ROUGH, rough))
    best = ask(found, around(search(estimates), reach))
    while not found.keys() >= set(around(best, 1)):
        best = ask(found, around(best, reach))
    return _sigmoid(best)


def telling(found, drawn, n, mean=None):
    """A few of n samples by which to compare lambdas: those whose likelihoods differ most, and others by chance.

    Parameters
    ----------
    found : NumPy array of shape (m, 4)
        Log-likelihoods at the lambdas of :data:`ROUGH`, of samples among which are the :data:`TELLING` that differ
        most, and the others that are drawn.
    drawn : NumPy array of shape (m,)
        A random number of each, uniform in [0, 1): some TELLING of the n have a low one.
    n : int
        How many samples there are in all.
    mean : NumPy array of shape (4,), optional
        Of the likelihoods of all samples.

    Returns
    -------
    rows : integer array of shape (k,)
    weights : array of shape (k,)
        Of these samples in an estimate of the mean over all. With `mean`, those of the others are changed as little as
        makes the estimates at these lambdas exact: between them, too, they are then nearly so.
    """
    order = np.argsort(found.min(1) - found.max(1), kind="stable")
    first, others = order[:TELLING], order[TELLING:]
    others = others[drawn[others] < TELLING / n]
    share = 1 - len(first) / n
    weights = np.full(len(others), share / max(1, len(others)))
    if mean is not None:
        centred = found - mean
        unit = (centred[others] ** 2).mean(0) ** 0.5  # of one lambda losses may be a million times those of another
        unit[unit == 0] = 1
        moments = np.vstack([np.ones(len(others)), (centred[others] / unit).T])
        expected = np.append(share, -centred[first].sum(0) / n / unit)
        # Likelihoods that are nearly the same are one: weights must not grow with rounding errors.
        weights += np.linalg.lstsq(moments, expected - moments @ weights, rcond=1e-6)[0]
    return np.concatenate([first, others]), np.concatenate([np.full(len(first), 1 / n), weights])


def _sigmoid(logit):
    return 1 / (1 + math.exp(-logit))
