"""A quarter of a million samples from shards on disk: time and memory, beside one general product of the same size.

Each is a process of its own, so that its peak of resident memory is its own. See data/timings/streaming.csv.
"""

import json
import subprocess
import sys

import numpy as np
import pytest

N, D, C, SHARDS = 250_000, 1_024, 100, 16

SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
import sfda

folder, metric, dtype = sys.argv[1:]

def shards():
    for path in sorted(Path(folder).glob("x*.npy")):
        yield np.load(path, mmap_mode="r"), np.load(path.with_name(path.name.replace("x", "y")))

def peak():  # of this process alone, in GB; pages of mapped files count
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9

before = peak()
options = {} if dtype == "float64" else {"dtype": dtype}
score = sfda.stream_score(shards, metric=metric, **options)
print(json.dumps({"score": score, "before": before, "peak": peak()}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    means = 0.1 * rng.standard_normal((C, D), dtype=np.float32)
    for i in range(SHARDS):
        y = rng.integers(0, C, N // SHARDS)
        np.save(folder / f"x{i:02d}.npy", rng.standard_normal((len(y), D), dtype=np.float32) + means[y])
        np.save(folder / f"y{i:02d}.npy", y)
    yield folder
    for path in folder.glob("*.npy"):
        path.unlink()


def test_stream_product(benchmark, folder):
    """Read every shard once and add up one general product x'y in blocks, float64."""

    def run():
        total = 0
        for path in sorted(folder.glob("x*.npy")):
            x = np.load(path, mmap_mode="r")
            for start in range(0, len(x), 8192):
                block = x[start : start + 8192].astype(np.float64)
                total = total + block.T @ block[::-1].copy()

    benchmark.pedantic(run, rounds=1, warmup_rounds=1)


METRICS = ("SFDA", "left-out SFDA", "left-out probability", "discriminant accuracy", "H-score")
CASES = [("SFDA", "float32"), *((metric, "float64") for metric in METRICS)]


@pytest.mark.parametrize("metric, dtype", CASES)
def test_stream(benchmark, folder, metric, dtype):
    found = {}

    def run():
        command = [sys.executable, "-c", SCRIPT, str(folder), metric, dtype]
        found.update(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))

    benchmark.pedantic(run, rounds=1)
    benchmark.extra_info.update(metric=metric, dtype=dtype, N=N, D=D, C=C, **found)
    assert np.isfinite(found["score"])
