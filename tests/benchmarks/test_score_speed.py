"""What a score costs, beside one general matrix product of the same size.

The fastest of several rounds is what counts: it is the one the rest of the
machine disturbed least. The ratios go to data/timings/score.csv, and
tests/house/test_data.py holds that table to its limits.
"""

import tracemalloc
import warnings

import numpy as np
import pytest

import literal
from sfda import SaturationWarning, sfda_score

N, D, C = 10_000, 2_048, 100
ROUNDS = 5


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(N) % C)
    X = rng.standard_normal((N, D)) + 0.1 * rng.standard_normal((C, D))[y]
    return X, y


def timed(benchmark, data, rounds=ROUNDS, **options):
    X, y = data

    def run():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SaturationWarning)
            sfda_score(X, y, **options)

    benchmark.pedantic(run, rounds=rounds, warmup_rounds=1)
    tracemalloc.start()
    run()
    # The features themselves and the most that was held beside them.
    benchmark.extra_info["peak_copies"] = 1 + tracemalloc.get_traced_memory()[1] / X.nbytes
    tracemalloc.stop()


def test_product(benchmark, data):
    X = data[0]
    Y = X[::-1].copy()
    benchmark.pedantic(lambda: X.T @ Y, rounds=ROUNDS, warmup_rounds=1)


def test_plain(benchmark, data):
    timed(benchmark, data)


def test_plain_float32(benchmark, data):
    timed(benchmark, data, dtype="float32")


def test_plain_1000_samples(benchmark, data):
    X, y = data
    timed(benchmark, (X[:1000], y[:1000]))


def test_plain_as_many_samples_as_features(benchmark, data):
    X, y = data
    timed(benchmark, (X[:D], y[:D]))


def test_leave_one_out_given_shrinkage(benchmark, data):
    timed(benchmark, data, posterior="leave-one-out", shrinkage=0.3)


def test_leave_one_out_1000_samples(benchmark, data):
    X, y = data
    timed(benchmark, (X[:1000], y[:1000]), posterior="leave-one-out")


def test_leave_one_out_as_many_samples_as_features(benchmark, data):
    X, y = data
    timed(benchmark, (X[:D], y[:D]), posterior="leave-one-out", rounds=3)


def test_leave_one_out(benchmark, data):
    timed(benchmark, data, posterior="leave-one-out", rounds=3)


def test_literal(benchmark, data):
    benchmark.pedantic(lambda: literal.score(*data), rounds=1)
