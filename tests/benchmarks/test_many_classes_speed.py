"""Many classes, and few streamed samples of many features: seconds beside a product, and the peak of memory.

The product is that of the samples with the class means, which a posterior cannot do without; the peak is in copies of
the features. See data/timings/many.csv.
"""

import tracemalloc

import numpy as np
import pytest

from sfda import METRICS, stream_score
from sfda.metric.linalg import matmul

SIZES = {"left-out probability": (4_000, 256, 2_000), "NLEEP": (3_000, 128, 300), "SFDA streamed": (300, 10_000, 10)}
FUNCTIONS = {"product": lambda X, y: matmul(X, X[: y.max() + 1].T), "SFDA streamed": lambda X, y: stream_score(lambda: [(X, y)])}


@pytest.mark.parametrize("name, of", [(name, of) for of in SIZES for name in ("product", of)])
def test_many(benchmark, quietly, name, of):
    n, d, c = SIZES[of]
    rng, y = np.random.default_rng(0), np.arange(n) % c
    X = (rng.standard_normal((n, d)) + 0.7 * rng.standard_normal((c, d))[y]) * np.arange(1, d + 1) ** -0.65
    run = quietly(FUNCTIONS.get(name) or METRICS[name])
    benchmark.pedantic(run, (X, y), rounds=5 if name == "product" else 1)
    tracemalloc.start()
    run(X, y)
    peak = tracemalloc.get_traced_memory()[1] / X.nbytes
    tracemalloc.stop()
    benchmark.extra_info.update(metric=name, N=n, D=d, C=c, peak_copies=peak)
