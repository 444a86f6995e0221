"""The score on a GPU beside the product that is its floor, the literal algorithm, and the CPU.

``make gpu`` runs it, and writes what the tests record to data/gpu/score.csv.
"""

import functools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import literal_torch
from sfda import sfda_score

BASE = (50_000, 2_048, 100)
# From the smallest to the largest, for time may run out.
SIZES = sorted([BASE, *((n, 2_048, 100) for n in (5_000, 200_000)), *((50_000, d, 100) for d in (512, 1_024, 4_096)),
                *((50_000, 2_048, c) for c in (10, 1_000))], key=lambda size: size[0] * size[1] ** 2)  # fmt: skip
SMALL = [(400, 32, 10), (600, 64, 10)]
WHAT = {
    "product": lambda X, y: (X.T @ X).sum(),
    "product float32": lambda X, y: (X.float().T @ X.float()).sum(),
    "cholesky": lambda X, y: torch.linalg.cholesky(torch.eye(X.shape[1], dtype=X.dtype, device=X.device)).sum(),
    "plain": sfda_score,
    "plain float32": functools.partial(sfda_score, dtype="float32"),
    "leave-one-out": functools.partial(sfda_score, posterior="leave-one-out"),
    "literal": literal_torch.score,
}
products = {}  # seconds by size


def pytest_generate_tests(metafunc):
    sizes = SMALL if metafunc.config.getoption("--small") else SIZES
    if "name" in metafunc.fixturenames:
        metafunc.parametrize(("name", "n", "d", "c"), [(name, *size) for size in sizes for name in WHAT])
    else:
        metafunc.parametrize(("n", "d", "c"), sizes[:1])


@pytest.fixture
def on(request):
    """The device to measure."""
    name = request.config.getoption("--on")
    return torch.device(name) if name else pytest.skip("`make gpu` runs it")


@functools.lru_cache(maxsize=1)  # one size at a time in memory
def data_of(on, n, d, c):
    generator = torch.Generator(on).manual_seed(0)
    y = torch.arange(n, device=on) % c
    means = torch.randn((c, d), generator=generator, device=on, dtype=torch.float64)
    X = torch.randn((n, d), generator=generator, device=on, dtype=torch.float64)
    return X + 0.1 * means[y], y


def test_agrees_with_the_cpu(quietly, on, n, d, c):
    X, y = data_of(on, n, d, c)
    plain = quietly(sfda_score)
    found = plain(X, y)
    # Sums of as many products in another order, and in the literal algorithm eigenvectors for a Cholesky factor.
    assert found == pytest.approx(plain(np.asarray(X.cpu()), np.asarray(y.cpu())), abs=1e-10)
    assert found == pytest.approx(literal_torch.score(X, y), abs=1e-8)


def test_gpu(benchmark, quietly, record_property, on, name, n, d, c):
    X, y = data_of(on, n, d, c)
    cuda = on.type == "cuda"

    def run():
        quietly(WHAT[name])(X, y)
        if cuda:
            torch.cuda.synchronize()

    if cuda:
        torch.cuda.reset_peak_memory_stats()
    benchmark.pedantic(run, rounds=1 if name == "literal" else 5, warmup_rounds=1)
    seconds = benchmark.stats.stats.min
    if name == "product":
        products[n, d, c] = seconds
    # Memory in copies of the features; what single precision costs in the score.
    peak = torch.cuda.max_memory_allocated() / X.nbytes if cuda else float("nan")
    error = abs(quietly(WHAT[name])(X, y) - quietly(sfda_score)(X, y)) if name == "plain float32" else float("nan")
    record_property("row", {"metric": name, "N": n, "D": d, "C": c, "seconds": seconds,
                            "ratio_to_product": seconds / products[n, d, c], "peak": peak, "error": error})  # fmt: skip
