"""The pocket benchmark: networks x tasks x seeds, measured cell by cell.

A *cell* is one network fine-tuned on one task with one seed. Each is written
to a file of its own as it ends, whole or not at all, so that a run that is
killed loses only the cells in flight and the next run goes on where it ended.
:func:`collect` gathers the cells into tables.
"""

import json
import multiprocessing
import os
import platform
import time
import zipfile
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from sfda import models, tasks
from sfda.baselines import RIVALS
from sfda.finetune import choose, measure

ACCURACY = [
    "group", "model", "task", "seed", "accuracy", "validation_accuracy", "learning_rate",
    "weight_decay", "seconds", "device",
]  # fmt: skip
PROBE = ["group", "model", "task", "accuracy", "penalty", "choice_seconds", "device"]
CURVE = ["model", "task", "seed", "first_quarter", "second_quarter", "third_quarter", "last_quarter"]


@dataclass(frozen=True)
class Job:
    """All missing seeds of one network on one task, and where things are.

    `untrained` asks for the network's twin, before pre-training.
    """

    model: str
    task: str
    seeds: tuple
    cells: Path
    images: Path | None = None
    weights: Path | None = None
    untrained: bool = False
    device: str = "cpu"


def resolve_device(device="auto"):
    """The torch device by name; "auto" is CUDA where there is a card, else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return str(torch.device(device))


def device_name(device):
    """The card's or the processor's own name."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return _processor()


def encoder_of(name, *, folder=None, untrained=False):
    """A network of the pocket zoo without its head.

    Parameters
    ----------
    name : str
        Key in :data:`sfda.models.POCKET`.
    folder : path, optional
        Of the weights, as in :func:`sfda.models.pretrained`.
    untrained : bool, default False
        The twin: the same initial weights, no pre-training.
    """
    network = models.untrained(name) if untrained else models.pretrained(name, folder=folder)
    models.replace_head(name, network, nn.Identity())
    return network


def cell_path(cells, model, task, seed, untrained=False):
    """Where a cell is written."""
    return Path(cells) / ("untrained" if untrained else "pretrained") / task / f"{model}.{seed}.npz"


def run_job(job, progress=lambda line: None):
    """Choose hyper-parameters once, then measure every seed of the job.

    Returns
    -------
    list of dict
        The records that the files hold, one a seed.
    """
    task = tasks.load_task(job.task, job.images)
    encoder = encoder_of(job.model, folder=job.weights, untrained=job.untrained)
    choice = choose(encoder, task, device=job.device)
    records = []
    for seed in job.seeds:
        cell = measure(encoder, task, choice, seed=seed, device=job.device)
        record = {
            "group": models.POCKET[job.model].group, "model": job.model, "task": job.task,
            "seed": seed, "accuracy": cell.accuracy,
            "validation_accuracy": cell.validation_accuracy,
            "learning_rate": cell.learning_rate, "weight_decay": cell.weight_decay,
            "seconds": round(cell.seconds, 2), "device": device_name(job.device),
            "probe_accuracy": choice.probe_accuracy, "penalty": choice.probe.penalty,
            "choice_seconds": round(choice.seconds, 2), "curve": cell.curve,
        }  # fmt: skip
        _write_cell(
            cell_path(job.cells, job.model, job.task, seed, job.untrained),
            record, cell.probabilities,
        )  # fmt: skip
        records.append(record)
        progress(
            f"{job.model} on {job.task}, seed {seed}: {cell.accuracy:.3f} "
            f"(probe {choice.probe_accuracy:.3f}, rate {cell.learning_rate:g})"
        )
    return records


def read_cell(path):
    """Record and probabilities (M, C) of a cell, or None where the file is damaged."""
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return json.loads(str(file["record"])), file["probabilities"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def run(
    names, task_names, seeds, *, cells, tables=None, images=None, weights=None, untrained=False,
    device="auto", jobs=1, progress=print,
):
    """Measure every cell that is neither in `cells` nor in `tables`.

    Parameters
    ----------
    names, task_names : sequences of str
        Keys of :data:`sfda.models.POCKET` and :data:`sfda.tasks.TASKS`.
    seeds : sequence of int
    cells : path
        Folder of the cells' files.
    tables : path, optional
        Folder of tables that :func:`collect` wrote: what they hold is done.
    images, weights : path, optional
        As in :func:`sfda.tasks.load_task` and :func:`sfda.models.pretrained`.
    untrained : bool, default False
        Measure the networks' twins.
    device : str, default "auto"
    jobs : int, default 1
        Processes side by side; each has an equal share of the cores.
    progress : callable, default print
        Called with one line as each network and task ends.

    Returns
    -------
    int
        Number of cells measured now.

    Raises
    ------
    ValueError
        Unknown names, or no jobs.
    FileNotFoundError
        Weights or images are missing: found out before the first cell.
    RuntimeError
        Some cells failed: said after all others have been measured.
    """
    device = resolve_device(device)
    if jobs < 1:
        raise ValueError(f"jobs: expected 1 or more, got {jobs}")
    for name in names:
        models.find(name)
    for task in task_names:
        tasks.load_task(task, images)
    cells = Path(cells)
    done = _done(cells, tables, untrained)
    todo = []
    for task in task_names:
        for name in names:
            missing = tuple(int(s) for s in seeds if (name, task, s) not in done)
            if missing:
                todo.append(Job(name, task, missing, cells, images, weights, untrained, device))
                if not untrained:
                    models.pretrained(name, folder=weights)
    total, measured, start = sum(len(j.seeds) for j in todo), 0, time.perf_counter()
    failed = []
    for records in _finished(todo, jobs):
        if isinstance(records, str):
            failed.append(records)
            progress(records)
            continue
        measured += len(records)
        left = (time.perf_counter() - start) / measured * (total - measured)
        r = records[0]
        progress(
            f"{measured}/{total} {r['model']} on {r['task']}: "
            f"{', '.join(format(r['accuracy'], '.3f') for r in records)} "
            f"(probe {r['probe_accuracy']:.3f}, rate {r['learning_rate']:g}), "
            f"{left / 60:.0f} min left"
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


def _finished(todo, jobs):
    """Results of the jobs as they end."""
    if jobs == 1:
        yield from map(_attempt, todo)
        return
    # Forked processes may hang on the locks of the parent's thread pools.
    context = multiprocessing.get_context("spawn")
    share = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (share,)) as pool:
        try:
            for future in as_completed([pool.submit(_attempt, job) for job in todo]):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def collect(cells, tables):
    """Add the cells to the tables, which may hold others already.

    Writes ``accuracy.csv``, ``probe.csv``, ``curves.csv`` and, for each task,
    ``predictions/TASK.npz`` with an array ``MODEL.SEED`` (M, C) float16 for
    every cell; of the twins ``untrained.csv`` and ``untrained_probe.csv``. Rows
    are in the order of the zoo, whatever the order they were measured in.

    Returns
    -------
    dict of str to int
        How many rows each table has.
    """
    cells, tables = Path(cells), Path(tables)
    counts = {}
    for variant, prefix in (("pretrained", ""), ("untrained", "untrained_")):
        found = [c for p in sorted((cells / variant).glob("*/*.npz")) if (c := read_cell(p))]
        records = pd.DataFrame([record for record, _ in found])
        if records.empty:
            continue
        probes = records.drop_duplicates(["model", "task"])
        probes = probes.drop(columns="accuracy").rename(columns={"probe_accuracy": "accuracy"})
        written = {"untrained" if prefix else "accuracy": records[ACCURACY],
                   f"{prefix}probe": probes[PROBE]}  # fmt: skip
        if not prefix:
            curves = pd.DataFrame(records["curve"].tolist(), columns=CURVE[3:])
            written["curves"] = pd.concat([records[CURVE[:3]], curves], axis=1)
            _add_predictions(found, tables / "predictions")
        for name, table in written.items():
            counts[name] = add_rows(table, tables / f"{name}.csv")
    return counts


def _done(cells, tables, untrained):
    done = set()
    for path in (cells / ("untrained" if untrained else "pretrained")).glob("*/*.npz"):
        if read_cell(path):
            model, seed = path.stem.rsplit(".", 1)
            done.add((model, path.parent.name, int(seed)))
    table = tables and Path(tables) / ("untrained.csv" if untrained else "accuracy.csv")
    if table and table.exists():
        done |= set(pd.read_csv(table)[["model", "task", "seed"]].itertuples(index=False, name=None))
    return done


def _write_cell(path, record, probabilities):
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with open(part, "wb") as file:
        np.savez_compressed(file, record=np.array(json.dumps(record)), probabilities=probabilities)
    part.replace(path)


def add_rows(table, path):
    """Add rows to a CSV file, new ones in the place of old ones; returns how many it has now.

    Rows are told apart by metric, model, task and seed, as far as the table has
    these, and sorted by them in the order of their registries.
    """
    keys = [c for c in ("metric", "model", "task", "seed") if c in table]
    if path.exists():
        table = pd.concat([pd.read_csv(path), table]).drop_duplicates(keys, keep="last")
    places = {name: i for i, name in enumerate([*RIVALS, *models.POCKET, *tasks.TASKS])}
    table = table.sort_values(keys, key=lambda c: c.map(places) if c.dtype != int else c)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    table.to_csv(part, index=False)
    part.replace(path)
    return len(table)


def _add_predictions(found, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for task in sorted({record["task"] for record, _ in found}):
        path, arrays = folder / f"{task}.npz", {}
        if path.exists():
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        for record, probabilities in found:
            if record["task"] == task:
                arrays[f"{record['model']}.{record['seed']}"] = probabilities
        part = path.with_suffix(".part")
        with open(part, "wb") as file:
            np.savez_compressed(file, **dict(sorted(arrays.items())))
        part.replace(path)


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
