"""What a score costs, beside one general matrix product of the same size.

The fastest of several rounds is what counts: it is the one the rest of the machine disturbed least. The ratios go to
data/timings/score.csv, and tests/house/test_data.py holds that table to its limits.
"""

import tracemalloc

import numpy as np
import pytest

import literal
from sfda import sfda_score

N, D, C = 10_000, 2_048, 100
LEFT_OUT = {"posterior": "leave-one-out"}
# Samples, options, rounds.
CASES = {
    "plain": (N, {}, 5),
    "plain_float32": (N, {"dtype": "float32"}, 5),
    "plain_1000_samples": (1000, {}, 5),
    "plain_as_many_samples_as_features": (D, {}, 5),
    "leave_one_out_given_shrinkage": (N, LEFT_OUT | {"shrinkage": 0.3}, 5),
    "leave_one_out_1000_samples": (1000, LEFT_OUT, 5),
    "leave_one_out_as_many_samples_as_features": (D, LEFT_OUT, 3),
    "leave_one_out": (N, LEFT_OUT, 3),
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(N) % C)
    return rng.standard_normal((N, D)) + 0.1 * rng.standard_normal((C, D))[y], y


def test_product(benchmark, data):
    X, Y = data[0], data[0][::-1].copy()
    benchmark.pedantic(lambda: X.T @ Y, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("name", CASES)
def test_score(benchmark, data, quietly, name):
    n, options, rounds = CASES[name]
    X, y = data[0][:n], data[1][:n]
    benchmark.pedantic(quietly(sfda_score), (X, y), options, rounds=rounds, warmup_rounds=1)
    tracemalloc.start()
    quietly(sfda_score)(X, y, **options)
    # The features themselves and the most that was held beside them.
    benchmark.extra_info["peak_copies"] = 1 + tracemalloc.get_traced_memory()[1] / X.nbytes
    tracemalloc.stop()


def test_literal(benchmark, data):
    benchmark.pedantic(literal.score, data, rounds=1)
