"""The score on a GPU beside the product that is its floor, the literal algorithm, and the CPU.

Skipped where there is no CUDA device. See data/timings/gpu.csv.
"""

import functools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import literal_torch
from sfda import sfda_score

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

BASE = (50_000, 2_048, 100)
SIZES = [BASE, *((n, 2_048, 100) for n in (5_000, 200_000)), *((50_000, d, 100) for d in (512, 1_024, 4_096)),
         *((50_000, 2_048, c) for c in (10, 1_000))]  # fmt: skip
WHAT = {
    "product": lambda X, y: (X.T @ X).sum(),
    "product float32": lambda X, y: (X.float().T @ X.float()).sum(),
    "cholesky": lambda X, y: torch.linalg.cholesky(torch.eye(X.shape[1], dtype=X.dtype, device=X.device)).sum(),
    "plain": sfda_score,
    "plain float32": functools.partial(sfda_score, dtype="float32"),
    "leave-one-out": functools.partial(sfda_score, posterior="leave-one-out"),
    "literal": literal_torch.score,
}


@functools.lru_cache(maxsize=1)  # one size at a time in memory
def data_of(n, d, c):
    generator = torch.Generator("cuda").manual_seed(0)
    y = torch.arange(n, device="cuda") % c
    means = torch.randn((c, d), generator=generator, device="cuda", dtype=torch.float64)
    X = torch.randn((n, d), generator=generator, device="cuda", dtype=torch.float64)
    return X + 0.1 * means[y], y


@pytest.mark.parametrize("n, d, c", SIZES)
@pytest.mark.parametrize("name", WHAT)
def test_gpu(benchmark, quietly, name, n, d, c):
    X, y = data_of(n, d, c)

    def run():
        quietly(WHAT[name])(X, y)
        torch.cuda.synchronize()

    torch.cuda.reset_peak_memory_stats()
    benchmark.pedantic(run, rounds=1 if name == "literal" else 5, warmup_rounds=1)
    benchmark.extra_info.update(
        metric=name, N=n, D=d, C=c, device=torch.cuda.get_device_name(),
        peak=torch.cuda.max_memory_allocated() / X.nbytes,
    )  # fmt: skip
    if name == "plain float32":
        benchmark.extra_info["error"] = abs(quietly(WHAT[name])(X, y) - quietly(sfda_score)(X, y))


def test_agrees_with_the_cpu(quietly):
    X, y = data_of(*SIZES[1])
    plain = quietly(sfda_score)
    found = plain(X, y)
    assert found == pytest.approx(plain(np.asarray(X.cpu()), np.asarray(y.cpu())), abs=1e-10)
    assert found == pytest.approx(literal_torch.score(X, y), abs=1e-8)
