"""Over Dask: the same scores and the same cells, also where a worker dies."""

import os
import re
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from data_sets import gaussian_classes
from sfda import METRICS, SaturationWarning
from sfda.benchmark import cells as benchmark
from sfda.benchmark import tables
from sfda.streaming import cluster, stream

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
import dask.array as da
from distributed.utils import get_mp_context

from forks import forkserver
from sfda.__main__ import build_parser
from small_benchmark import CELLS, NAMES, SCRIPT, SEEDS, TASK_NAMES, contents, measured, results, small, weights
from tree import ROOT

__all__ = ["measured", "small", "weights"]  # fixtures

# Of Dask's own sockets and event loops, when a worker is killed.
UNTIDY = pytest.mark.filterwarnings("ignore")


def sample(n=400, d=10, c=4, seed=0):
    y = np.random.default_rng(seed).integers(0, c, n)
    return gaussian_classes(seed, y, d, separation=0.7), y


def scored(*args, **options):
    with warnings.catch_warnings(action="ignore", category=SaturationWarning):
        return cluster.dask_score(*args, **options)


@pytest.fixture(scope="module", autouse=True)
def forks():
    # Threads of this process where no cluster is asked for.
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}, scheduler="threads", num_workers=2):
        get_mp_context()  # which has a list of its own to load
        forkserver()
        yield


def local_cluster(**options):
    """Two worker processes."""
    quiet = {"dashboard_address": None, "silence_logs": 50}
    return distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **quiet, **options)


def kill_one(local):
    os.kill(next(iter(local.workers.values())).pid, signal.SIGKILL)


@pytest.fixture
def two_workers(tmp_path):
    """A cluster of two processes that know the small benchmark."""
    (tmp_path / "small.py").write_text(SCRIPT, encoding="utf-8")
    with local_cluster(local_directory=tmp_path, preload=[str(tmp_path / "small.py")]) as local:
        yield local


# --- scores -------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [*stream.STREAMED, "H-score"])
@pytest.mark.parametrize("chunks", [(400, 10), (37, 10), (100, 3)])
def test_an_array_in_any_chunks(metric, chunks):
    X, y = sample()
    found = scored(da.from_array(X, chunks=chunks), y, metric=metric)
    assert found == pytest.approx(METRICS[metric](X, y), rel=0, abs=1e-9)
    labels = da.from_array(y, chunks=120)
    assert scored(da.from_array(X, chunks=chunks), labels, metric=metric) == found


def test_delayed_and_empty_chunks_options_and_few_samples():
    X, y = sample()
    names = np.array(["ash", "birch", "cedar", "doum palm"])[y]
    chunks = [dask.delayed((X[i : i + 30], names[i : i + 30])) for i in range(0, 400, 30)]
    for metric in ("SFDA", "left-out probability"):
        assert scored(chunks, metric=metric) == pytest.approx(METRICS[metric](X, y), rel=0, abs=1e-9)
    lazy = da.concatenate([da.from_array(X[:0]), da.from_array(X, chunks=(90, 10))])
    options = {"posterior": "leave-one-out", "shrinkage": 0.2}
    assert scored(lazy, y, **options) == pytest.approx(METRICS["SFDA"](X, y, **options), abs=1e-10)
    X, y = sample(30, 40)
    found = scored(da.from_array(X, chunks=(7, 40)), y, metric="left-out probability")
    assert found == pytest.approx(METRICS["left-out probability"](X, y), abs=1e-10)
    with pytest.warns(SaturationWarning) as warned:  # where the score is asked for
        cluster.dask_score(da.from_array(X), y)
    assert warned[0].filename == __file__


@pytest.mark.parametrize("arguments, message", [
    ((np.zeros((4, 2)), [0, 1, 0, 1]), "features: expected a Dask array or a list of delayed chunks, got ndarray"),
    ((da.zeros((4, 2)),), "labels: expected one a row of the array, got none"),
    ((da.zeros((4, 2)), [0, 1]), "labels: expected one for each of the 4 rows of features, got 2"),
    ((da.zeros(4), [0, 1, 0, 1]), "features: expected 2 dimensions"),
    (([dask.delayed((1, 2))], [0, 1]), "labels: expected none beside delayed chunks"),
    (([],), "expected chunks with samples, found none"),
    ((da.full((4, 2), np.nan), [0, 1, 0, 1]), "chunk 0: features: expected finite numbers, found NaN"),
    ((da.ones((40, 3), chunks=10)[da.ones(40, chunks=10) > 0], np.arange(40) % 2), "features: expected known numbers of rows"),
])  # fmt: skip
def test_bad_input_and_no_dask(arguments, message, monkeypatch):
    with pytest.raises(ValueError, match=message):
        cluster.dask_score(*arguments)
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(ModuleNotFoundError, match="not installed: pip install dask distributed"):
        cluster.dask_score(None)


@UNTIDY
def test_a_worker_that_dies_does_not_change_the_score():
    X, y = sample(600, 12)

    def slowly(i):
        time.sleep(0.05)
        return X[i : i + 50], y[i : i + 50]

    chunks = [dask.delayed(slowly)(i) for i in range(0, 600, 50)]
    with local_cluster() as two, distributed.Client(two), ThreadPoolExecutor() as pool:
        killed = pool.submit(lambda: (time.sleep(0.5), kill_one(two)))
        found = scored(chunks, metric="left-out probability")
        assert killed.result()
    assert found == pytest.approx(METRICS["left-out probability"](X, y), rel=0, abs=1e-9)


def test_statistics_of_many_features_travel_quietly():
    """Warnings are errors: ten megabytes a pass are what a pass is."""
    X, y = sample(2_600, 1_200)
    with local_cluster() as local, distributed.Client(local):
        found = scored(da.from_array(X, chunks=(1_300, 1_200)), y, metric="discriminant accuracy")
    assert found == pytest.approx(METRICS["discriminant accuracy"](X, y), rel=0, abs=1e-9)


# --- cells --------------------------------------------------------------------------


@UNTIDY
def test_cells_of_a_worker_that_dies_are_measured_again(two_workers, tmp_path, weights, measured):
    cells, lines = tmp_path / "cells", []

    def kill(line):
        lines.append(line)
        if len(lines) == 1:  # the first is done: its worker, or the other, is at the next
            kill_one(two_workers)

    options = {"cells": cells, "weights": weights, "device": "cpu", "scheduler": two_workers.scheduler_address}
    n = benchmark.run(NAMES, TASK_NAMES, SEEDS, progress=kill, **options)
    assert n == len(CELLS) and len(lines) == 4
    assert results(cells) == results(measured[0])
    # Nothing is left to do for anyone.
    before = contents(cells)
    again = benchmark.run(NAMES, TASK_NAMES, SEEDS, progress=lines.append, **options)
    assert again == 0 and contents(cells) == before
    assert tables.collect(cells, tmp_path / "tables") == {"accuracy": 8, "probe": 4, "curves": 8}


LEAVING = f"""{SCRIPT}
from pathlib import Path
import time
from distributed import get_worker
from sfda.benchmark import resuming

whole, notes = getattr(resuming, "whole", resuming.Halfway.after), Path(NOTES)
resuming.whole = whole  # Dask loads this twice

def after(self, state):
    step = state.args[0]
    if step == 3 and not (notes / "left").exists():
        (notes / "left").write_text(self.path.name)
        # What Dask calls at the end of a worker's --lifetime.
        get_worker().loop.add_callback(get_worker().close_gracefully)
        while not resuming.leaving():
            time.sleep(0.01)
    with open(notes / "steps", "a") as file:
        file.write(f"{{self.path.name}} {{step}}\\n")
    whole(self, state)

resuming.Halfway.after = after
"""


@UNTIDY
def test_a_worker_that_leaves_at_the_end_of_its_time_hands_on_what_it_has_reached(tmp_path, weights, measured):
    cells = tmp_path / "cells"
    (tmp_path / "small.py").write_text(LEAVING.replace("NOTES", repr(str(tmp_path))), encoding="utf-8")
    with local_cluster(local_directory=tmp_path, preload=[str(tmp_path / "small.py")]) as two:
        options = {"cells": cells, "weights": weights, "device": "cpu", "scheduler": two.scheduler_address, "progress": str}
        assert benchmark.run(NAMES[:1], TASK_NAMES[:1], SEEDS, **options) == 2
        assert len(two.scheduler.workers) == 1
    job = (tmp_path / "left").read_text()
    steps = [line.split() for line in (tmp_path / "steps").read_text().splitlines()]
    assert sorted(int(step) for name, step in steps if name == job) == [1, 2, 3, 4]  # by the two of them
    whole = results(measured[0])
    assert results(cells) == {key: whole[key] for key in results(cells)} and len(results(cells)) == 2


@UNTIDY
def test_further_jobs_and_jobs_that_are_dropped(tmp_path):
    go = tmp_path / "go"

    def after(job, outcome):
        return [job + 100, job + 200] if job < 5 else []

    with local_cluster() as two:
        given = dict(cluster.outcomes(lambda job: -job, range(3), two.scheduler_address, after=after))
        assert given == {job: -job for job in (0, 1, 2, 100, 101, 102, 200, 201, 202)}
        # Those from 20 on wait for a file that is written once the first of them is dropped.
        def slow(job):
            while job >= 20 and not go.exists():
                time.sleep(0.01)

        def drop(job):
            go.touch()
            return job >= 20

        dropped = [job for job, _ in cluster.outcomes(slow, range(200), two.scheduler_address, dropped=drop)]
    assert sorted(dropped) == [*range(20)]


@UNTIDY
def test_jobs_that_are_done_are_not_done_again(tmp_path):
    def note(job):
        time.sleep(0.05)
        with open(tmp_path / "done.txt", "a") as file:
            file.write(f"{job}\n")
        return job

    found = []
    with local_cluster() as two:
        for job, outcome in cluster.outcomes(note, list(range(20)), two.scheduler_address):
            assert outcome == job
            found.append(job)
            if len(found) == 10:
                kill_one(two)
    done = (tmp_path / "done.txt").read_text().split()
    assert sorted(found) == list(range(20)) and set(done) == set(map(str, range(20)))
    # What had not arrived when the worker died may be done again, what had may not.
    assert all(done.count(str(job)) == 1 for job in found[:10])


@UNTIDY
def test_a_job_that_ends_its_workers_is_told_apart(tmp_path):
    others_are_done = tmp_path / "done"

    def fatal(job):
        if job == "ill":
            # Dask blames all that waits on a worker which ends, so the others come first.
            while not others_are_done.exists():
                time.sleep(0.02)
            os._exit(1)
        return job.upper() if job == "well" else 1 / 0

    found = {}
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), local_cluster() as two:
        for job, outcome in cluster.outcomes(fatal, ["well", "wrong", "ill"], two.scheduler_address):
            found[job] = outcome
            if len(found) == 2:
                others_are_done.touch()
    assert found["well"] == "WELL" and isinstance(found["wrong"], ZeroDivisionError)
    assert type(found["ill"]).__name__ == "KilledWorker"


@UNTIDY
def test_no_scheduler_at_the_address_and_jobs_beside_one(tmp_path, weights):
    options = {"cells": tmp_path, "weights": weights, "scheduler": "tcp://127.0.0.1:9", "progress": print}
    with dask.config.set({"distributed.comm.timeouts.connect": "200ms"}), pytest.raises(OSError):
        benchmark.run(NAMES[:1], TASK_NAMES[:1], [0], **options)
    with pytest.raises(ValueError, match="jobs: a scheduler's workers are the processes"):
        benchmark.run(NAMES, TASK_NAMES, [0], jobs=2, **options)


class Recorded:
    """In the place of a SLURMCluster, for the script of the page."""

    made: dict = {}  # noqa: RUF012
    scheduler_address = "tcp://10.0.0.1:8786"

    def __init__(self, **options):
        self.made["cluster"] = options

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.made["closed"] = True

    def adapt(self, **options):
        self.made["adapt"] = options


def minutes(text):
    hours, minutes, seconds = map(int, text.split(":"))
    return 60 * hours + minutes + seconds / 60


def test_the_script_for_slurm(monkeypatch):
    """What it passes on: options that are there, and a worker that leaves before its walltime ends."""
    page, commands, made = (ROOT / "book" / "cluster.md").read_text(encoding="utf-8"), [], Recorded.made
    (script,) = [block for block in re.findall(r"^```python\n(.*?)^```", page, flags=re.S | re.M) if "SLURMCluster" in block]
    monkeypatch.setitem(sys.modules, "dask_jobqueue", type(sys)("dask_jobqueue"))
    monkeypatch.setattr(sys.modules["dask_jobqueue"], "SLURMCluster", Recorded, raising=False)
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    exec(compile(script, "cluster.md", "exec"), {})
    (command,) = commands
    assert command[:3] == [sys.executable, "-m", "sfda"] and made["closed"]
    options = build_parser().parse_args(command[3:])
    assert (options.grid, options.scheduler, options.cells.as_posix()) == ("paper", Recorded.scheduler_address, "/shared/cells")
    from distributed.cli.dask_worker import main as worker

    told = worker.make_context("worker", [Recorded.scheduler_address, "--nthreads", "4", *made["cluster"]["worker_extra_args"]]).params
    assert told["nthreads"] == 1  # the page's comes after that of the cores
    life, stagger = (dask.utils.parse_timedelta(told[name]) / 60 for name in ("lifetime", "lifetime_stagger"))
    assert life + stagger < minutes(made["cluster"]["walltime"]) <= 240
    assert made["adapt"]["minimum_jobs"] == made["adapt"]["maximum_jobs"]  # few long settings count as little work
