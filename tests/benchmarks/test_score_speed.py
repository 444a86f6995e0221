"""What a score costs, beside one general matrix product of the same size.

The fastest of several rounds is what counts: it is the one the rest of the machine disturbed least. The ratios go to
data/timings/score.csv, and tests/house/test_data.py holds that table to its limits.

Where the variable SFDA_PUBLIC names a folder with the authors' public code, it is timed in the same run.
"""

import functools
import importlib
import os
import tracemalloc

import numpy as np
import pytest

import literal
from sfda import METRICS, sfda_score

SIZES = {"": (10_000, 2_048, 100), "_397_classes": (20_000, 1_024, 397)}
LEFT_OUT = functools.partial(sfda_score, posterior="leave-one-out")
# Which size and how many of its samples (None: all), function, rounds.
CASES = {
    "plain": ("", None, sfda_score, 5),
    "plain_float32": ("", None, functools.partial(sfda_score, dtype="float32"), 5),
    "plain_1000_samples": ("", 1_000, sfda_score, 5),
    "plain_as_many_samples_as_features": ("", 2_048, sfda_score, 5),
    "plain_397_classes": ("_397_classes", None, sfda_score, 5),
    "leave_one_out_given_shrinkage": ("", None, functools.partial(LEFT_OUT, shrinkage=0.3), 5),
    "leave_one_out_1000_samples": ("", 1_000, LEFT_OUT, 5),
    "leave_one_out_as_many_samples_as_features": ("", 2_048, LEFT_OUT, 3),
    "leave_one_out": ("", None, LEFT_OUT, 3),
    "leave_one_out_397_classes": ("_397_classes", None, LEFT_OUT, 3),
    "left_out_probability": ("", None, METRICS["left-out probability"], 3),
    "left_out_probability_397_classes": ("_397_classes", None, METRICS["left-out probability"], 3),
}


@functools.lru_cache(maxsize=1)  # one size at a time in memory
def data_of(size):
    (n, d, c), rng = SIZES[size], np.random.default_rng(0)
    y = rng.permutation(np.arange(n) % c)
    return rng.standard_normal((n, d)) + 0.1 * rng.standard_normal((c, d))[y], y


@pytest.mark.parametrize("size", SIZES)
def test_product(benchmark, size):
    X = data_of(size)[0]
    Y = X[::-1].copy()
    benchmark.pedantic(lambda: X.T @ Y, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("name", CASES)
def test_score(benchmark, quietly, name):
    size, n, function, rounds = CASES[name]
    X, y = (each[:n] for each in data_of(size))
    benchmark.pedantic(quietly(function), (X, y), rounds=rounds, warmup_rounds=1)
    tracemalloc.start()
    quietly(function)(X, y)
    # The features themselves and the most that was held beside them.
    benchmark.extra_info["peak_copies"] = 1 + tracemalloc.get_traced_memory()[1] / X.nbytes
    tracemalloc.stop()


@pytest.mark.parametrize("size", SIZES)
def test_literal(benchmark, size):
    benchmark.pedantic(literal.score, data_of(size), rounds=1)


@pytest.mark.parametrize("size", SIZES)
def test_public(benchmark, size, monkeypatch):
    folder = os.environ.get("SFDA_PUBLIC")
    if not folder:
        pytest.skip("SFDA_PUBLIC names no folder with the public code")
    monkeypatch.syspath_prepend(folder)
    public, (X, y) = importlib.import_module("metrics"), data_of(size)
    # It writes into the features that it is given.
    found = benchmark.pedantic(lambda x: public.SFDA_Score(x, y), setup=lambda: ((X.copy(),), {}), rounds=2)
    assert float(found) == pytest.approx(sfda_score(X, y), abs=1e-6)
