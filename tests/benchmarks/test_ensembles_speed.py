"""What selecting an ensemble costs, beside the posterior of one network, of which it needs one each.

The fastest round counts; see data/timings/ensembles.csv.
"""

import numpy as np
import pytest

from sfda.metric.ensemble import calibrated, greedy, least_correlated, soft_accuracy
from sfda.metric.nuclear import fisher_features, nuclear_selection
from sfda.metric.score import log_posterior

K, N, D, C, SIZE = 33, 2_000, 512, 100, 5
FIVE = {"rounds": 5, "warmup_rounds": 1}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = np.arange(N) % C
    return rng.standard_normal((N, D)) + 0.15 * rng.standard_normal((C, D))[y], y


@pytest.fixture(scope="module")
def posteriors(data):
    """One network's, and 32 that differ from it."""
    log_p, y = log_posterior(*data, challenge=False), data[1]
    rng = np.random.default_rng(1)
    zoo = [log_p + 0.5 * rng.standard_normal(log_p.shape) for _ in range(K)]
    return [z - np.logaddexp.reduce(z, axis=1)[:, None] for z in zoo], y


def test_one_posterior(benchmark, data):
    benchmark.pedantic(log_posterior, data, {"challenge": False}, **FIVE)


def test_calibration_of_33(benchmark, posteriors):
    zoo, y = posteriors
    benchmark.pedantic(lambda: [calibrated(z, y) for z in zoo], **FIVE)


def test_held_out_5_of_33(benchmark, posteriors):
    zoo, y = posteriors
    p = [np.exp(z) for z in zoo]
    benchmark.pedantic(greedy, (p, SIZE, lambda average: soft_accuracy(average, y)), **FIVE)


def test_diverse_5_of_33(benchmark, posteriors):
    zoo, y = posteriors
    benchmark.pedantic(least_correlated, (np.stack([z.argmax(1) != y for z in zoo]), SIZE), **FIVE)


@pytest.mark.parametrize("level", ["class", "sample"])
def test_nuclear_5_of_33(benchmark, data, level):
    X, y = data
    first = fisher_features(X, y)
    rng = np.random.default_rng(1)
    zoo = [first + 0.5 * rng.standard_normal(first.shape) for _ in range(K)]
    benchmark.pedantic(nuclear_selection, (np.zeros(K), zoo, y, SIZE), {"level": level}, rounds=1)
