"""What every metric costs as samples, features and classes grow, beside one general product of the same size.

One thing is varied at a time. The fastest round counts; see data/timings/sweep.csv.
A metric that has taken more than LONGEST at one size is not asked for a larger one.
"""

import functools
import time

import numpy as np
import pytest

import literal
from sfda import METRICS
from sfda.metric.linalg import matmul

BASE = {"N": 8_000, "D": 256, "C": 20}
SWEEPS = {"N": (1_000, 2_000, 4_000, 8_000, 16_000, 32_000), "D": (64, 128, 256, 512, 1_024, 2_048), "C": (5, 20, 80, 320)}
LONGEST = 10  # seconds

SIZES = dict.fromkeys(tuple((BASE | {axis: value}).values()) for axis, values in SWEEPS.items() for value in values)
FUNCTIONS = {"product": lambda X, y: matmul(X.T, X), "literal SFDA": literal.score, **METRICS}
# Sizes from small to large, metric by metric, so that what takes too long can stop.
CASES = [(name, *size) for name in FUNCTIONS for size in SIZES]
spent = {}  # seconds that metrics took, by name and size


@functools.lru_cache(maxsize=1)  # one size at a time in memory
def data_of(n, d, c):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(n) % c)
    X = rng.standard_normal((n, d)) + 0.7 * rng.standard_normal((c, d))[y]
    return X * np.arange(1, d + 1) ** -0.65, y  # with the decaying spectrum of real features


@pytest.mark.parametrize("name, n, d, c", CASES)
def test_sweep(benchmark, quietly, name, n, d, c):
    smaller = [t for (m, *s), t in spent.items() if m == name and all(a <= b for a, b in zip(s, (n, d, c)))]
    if max(smaller, default=0) > LONGEST:
        pytest.skip(f"{name} takes more than {LONGEST} s at a smaller size")
    run, data = quietly(FUNCTIONS[name]), data_of(n, d, c)
    # Long ones are timed once. The shorter, the more does whatever else the machine does count.
    rounds = 1
    if max(smaller, default=0) < 1:
        start = time.perf_counter()
        run(*data)
        least, spent_on_it = (5, 3) if name == "product" else (2, 0.5)  # all is measured in products
        rounds = int(np.clip(spent_on_it / (time.perf_counter() - start), least, 80 * spent_on_it))
    benchmark.pedantic(run, data, rounds=rounds)
    spent[name, n, d, c] = benchmark.stats.stats.min
    benchmark.extra_info.update(metric=name, N=n, D=d, C=c)
