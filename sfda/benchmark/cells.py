"""The pocket benchmark: networks x tasks x seeds, measured cell by cell.

A *cell* is one network fine-tuned on one task with one seed. Each is written to a file of its own as it ends, whole
or not at all, so that a run that is killed loses only the cells in flight and the next run goes on where it ended.
:func:`sfda.benchmark.tables.collect` gathers the cells into tables.
"""

import itertools
import json
import multiprocessing
import os
import platform
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from sfda.benchmark.finetune import PROTOCOL, choose, measure
from sfda.benchmark.grids import POCKET, Grid, digest_of
from sfda.files import read_table, replacing
from sfda.networks.device import device_name, resolve_device, versions
from sfda.streaming import cluster

ACCURACY = ["group", "model", "task", "seed", "accuracy", "validation_accuracy", "learning_rate", "weight_decay",
            "seconds", "device"]  # fmt: skip
PROBE = ["group", "model", "task", "accuracy", "penalty", "choice_seconds", "device", "digest"]
# What is chosen once for all seeds, and measured beside it.
CHOICE = ["learning_rate", "weight_decay", "validation_accuracy", "probe_accuracy", "penalty", "choice_seconds"]
RECORD = {"group", "model", "task", "seed", "accuracy", "seconds", "device", "digest", "curve", *CHOICE}
SEARCH = ("rates", "decays", "every_pair")  # options of choosing only
CURVE = ["model", "task", "seed", "first_quarter", "second_quarter", "third_quarter", "last_quarter"]


@dataclass(frozen=True)
class Job:
    """All missing seeds of one network on one task, and where things are.

    `untrained` asks for the network's twin, before pre-training; `also` names other networks that have the very same
    one. `chosen` is the record of another seed, whose hyper-parameters are taken.
    """

    model: str
    task: str
    seeds: tuple
    cells: Path
    images: Path | None = None
    weights: Path | None = None
    untrained: bool = False
    device: str = "cpu"
    digest: str = ""
    also: tuple = ()
    chosen: dict | None = None
    grid: Grid = POCKET


def cell_path(cells, model, task, seed, untrained=False):
    """Where a cell is written: ``CELLS/pretrained/TASK/MODEL.SEED.npz``, of a twin below ``untrained``."""
    return Path(cells) / ("untrained" if untrained else "pretrained") / task / f"{model}.{seed}.npz"


def run_job(job):
    """Choose hyper-parameters once, then measure every seed of the job.

    Returns
    -------
    list of dict
        The records that the files hold, one a network and seed.
    """
    device = resolve_device(job.device)  # here, for it may be a cluster's worker that asks
    task = job.grid.task(job.task, job.images)
    encoder = job.grid.encoder(job.model, folder=job.weights, untrained=job.untrained)
    options = job.grid.options_of(job.model)
    search = {key: options.pop(key) for key in SEARCH if key in options}
    before = [record for seed in job.seeds for record in _there(job, seed)]
    chosen = job.chosen or next(iter(before), None)
    if chosen is None:
        choice = choose(encoder, task, device=device, **search, **options)
        chosen = choice._asdict() | {"penalty": choice.probe.penalty, "choice_seconds": round(choice.seconds, 2)}
    records = []
    for seed in job.seeds:
        if there := _there(job, seed):  # by a worker that died before it could say so
            records += there
            continue
        cell = measure(encoder, task, SimpleNamespace(**chosen), seed=seed, device=device, **options)
        for name in (job.model, *job.also):
            record = {
                "group": job.grid.groups[name], "model": name, "task": job.task, "seed": seed,
                "accuracy": cell.accuracy, "seconds": round(cell.seconds, 2), "device": device_name(device),
                "curve": cell.curve, "digest": job.digest, **{key: chosen[key] for key in CHOICE},
            }  # fmt: skip
            _write_cell(cell_path(job.cells, name, job.task, seed, job.untrained), record, cell.probabilities)
            records.append(record)
    return records


def _there(job, seed):
    """Records of a seed's cells where all of them have been written, else an empty list."""
    paths = [cell_path(job.cells, n, job.task, seed, job.untrained) for n in (job.model, *job.also)]
    found = [read_cell(path) for path in paths if path.exists()]
    whole = len(found) == len(paths) and all(f and f[0]["digest"] == job.digest for f in found)
    return [record for record, _ in found] if whole else []


def read_cell(path):
    """Record and probabilities (M, C) of a cell, or None where the file is damaged or another cell's."""
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            record, probabilities = json.loads(str(file["record"])), file["probabilities"]
        own = cell_path("", record["model"], record["task"], record["seed"]).parts[1:]
    except Exception:  # damaged bytes make their readers stumble in any way
        return None
    # Of a member that does not begin like an array, NumPy gives the bytes.
    whole = isinstance(probabilities, np.ndarray) and probabilities.ndim == 2 and RECORD <= record.keys()
    return (record, probabilities) if whole and Path(path).parts[-len(own) :] == own else None


def run(
    names, task_names, seeds, *, cells, tables=None, images=None, weights=None, untrained=False, device="auto", jobs=1,
    scheduler=None, progress=print, grid=POCKET,
):  # fmt: skip
    """Measure every cell that is neither in `cells` nor in `tables`, with its :func:`sfda.benchmark.grids.digest_of`.

    Parameters
    ----------
    names, task_names : sequences of str
        Of the grid's; by default keys of :data:`sfda.networks.pocket.POCKET` and :data:`sfda.images.tasks.TASKS`.
    seeds : sequence of int
    cells : path
        Folder of the cells' files.
    tables : path, optional
        Folder of tables that :func:`sfda.benchmark.tables.collect` wrote: what they hold is done.
    images, weights : path, optional
        As in :func:`sfda.images.tasks.load_task` and :func:`sfda.networks.pocket.pretrained`.
    untrained : bool, default False
        Measure the networks' twins.
    device : str, default "auto"
    jobs : int, default 1
        Processes side by side; each has an equal share of the cores.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers measure the cells in the place of processes here. They must see
        `cells`, `images` and `weights` under the same paths, and this package. What a worker that dies had not
        finished is done by another.
    progress : callable, default print
        Called with one line as each network and task ends.
    grid : sfda.benchmark.grids.Grid, default sfda.benchmark.grids.POCKET

    Returns
    -------
    int
        Number of cells measured now.

    Raises
    ------
    ValueError
        Unknown names, or no jobs, or jobs beside a scheduler.
    FileNotFoundError
        Weights or images are missing: found out before the first cell.
    RuntimeError
        Some cells failed: said after all others have been measured.
    ModuleNotFoundError
        A scheduler without Dask.
    OSError
        No scheduler answers at the address.
    """
    if scheduler is None:
        device = resolve_device(device)
    if jobs < 1:
        raise ValueError(f"jobs: expected 1 or more, got {jobs}")
    if scheduler is not None and jobs > 1:
        raise ValueError(f"jobs: a scheduler's workers are the processes, got {jobs} beside them")
    for name in names:
        grid.check(name, *task_names)
    loaded = {task: grid.task(task, images) for task in task_names}
    encoders = {name: grid.encoder(name, folder=weights, untrained=untrained) for name in names}
    cells = Path(cells).absolute()
    images, weights = (None if path is None else Path(path).absolute() for path in (images, weights))
    done = _done(cells, tables, untrained)
    todo = []
    for task in task_names:
        alike = {}
        for name in names:
            digest = digest_of(encoders[name], loaded[task].parts, grid.how)
            missing = tuple(int(s) for s in seeds if (name, task, s, digest) not in done)
            if missing:
                # Twins of one architecture are one network, which is measured once.
                alike.setdefault((digest, missing, str(encoders[name])), []).append(name)
        for (digest, missing, _), (name, *also) in alike.items():
            others = [r for (n, t, _, d), r in done.items() if (n, t, d) == (name, task, digest)]
            todo.append(Job(name, task, missing, cells, images, weights, untrained, device, digest, tuple(also),
                            others[0] if others else None, grid))  # fmt: skip
    for j in todo:
        for name, seed in itertools.product((j.model, *j.also), j.seeds):
            if (path := cell_path(cells, name, j.task, seed, untrained)).is_dir():
                raise ValueError(f"cells: {path} is a folder, where a file is to be; remove it")
    total = sum(len(j.seeds) * (1 + len(j.also)) for j in todo)
    measured, failed, start = 0, [], time.perf_counter()
    for records in _finished(todo, jobs, scheduler):
        if isinstance(records, str):
            failed.append(records)
            progress(records)
            continue
        measured += len(records)
        left = (time.perf_counter() - start) / measured * (total - measured)
        first, accuracies = records[0], ", ".join(f"{record['accuracy']:.3f}" for record in records)
        progress(
            f"{measured}/{total} {first['model']} on {first['task']}: {accuracies} (probe "
            f"{first['probe_accuracy']:.3f}, rate {first['learning_rate']:g}), {left / 60:.0f} min left"
        )
    if failed:
        raise RuntimeError("; ".join(failed))
    return measured


def _attempt(job):
    """The job's records, or why there are none: one bad cell must not cost the others."""
    try:
        return run_job(job)
    except (ArithmeticError, ValueError, RuntimeError) as error:
        return f"{job.model} on {job.task}: {error}"


def _finished(todo, jobs, scheduler):
    """Results of the jobs as they end."""
    if scheduler is not None:
        for job, outcome in cluster.outcomes(_attempt, todo, scheduler):
            failed = isinstance(outcome, Exception)
            yield f"{job.model} on {job.task}: {outcome}" if failed else outcome
        return
    if jobs == 1:
        yield from map(_attempt, todo)
        return
    # Forked processes may hang on the locks of the parent's thread pools.
    share = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _limit_threads, (share,)) as pool:
        try:
            for future in as_completed([pool.submit(_attempt, job) for job in todo]):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _limit_threads(n):
    torch.set_num_threads(n)
    threadpool_limits(n)  # those of scikit-learn's probes


def manifest(devices):
    """Versions of the code and of the libraries that measure, and the machines' names.

    Returns
    -------
    dict
        ``sfda`` and ``protocol``; ``commit``, None outside a git repository; ``python``, ``system`` and
        ``libraries``; ``devices``.
    """
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    libraries = ("torch", "torchvision", "timm", "lightly", "numpy", "scipy", "scikit-learn")
    return {
        **versions("sfda"), "protocol": PROTOCOL, "commit": commit, "python": platform.python_version(),
        "system": platform.platform(terse=True), "libraries": versions(*libraries), "devices": sorted(set(devices)),
    }  # fmt: skip


def _done(cells, tables, untrained):
    """Records of the cells that have been measured, by network, task, seed and fingerprint."""
    found = []
    if tables:
        name, prefix = ("untrained", "untrained_") if untrained else ("accuracy", "")
        paths = Path(tables) / f"{name}.csv", Path(tables) / f"{prefix}probe.csv"
        if all(path.exists() for path in paths):
            rows, probes = map(read_table, paths, (ACCURACY, PROBE))
            probes = probes.rename(columns={"accuracy": "probe_accuracy"}).drop(columns=["group", "device"])
            found = rows.merge(probes, on=["model", "task"]).to_dict("records")
    paths = (cells / ("untrained" if untrained else "pretrained")).glob("*/*.npz")
    found += [cell[0] for path in paths if (cell := read_cell(path))]
    return {(row["model"], row["task"], row["seed"], row["digest"]): row for row in found}


def _write_cell(path, record, probabilities):
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, record=np.array(json.dumps(record)), probabilities=probabilities)
