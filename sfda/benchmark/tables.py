"""The cells of a benchmark gathered into tables."""

import dataclasses
import json
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from sfda.benchmark.cell_files import ACCURACY, CURVE, PROBE, read_cell
from sfda.benchmark.cells import manifest
from sfda.evidence.runs import add_runs
from sfda.files import read_table, replacing
from sfda.images import tasks
from sfda.networks import pocket
from sfda.rivals.catalogue import RIVALS

#: What tells rows of a table apart, as far as it has these columns.
KEYS = ("metric", "variant", "images", "method", "pool", "model", "task", "seed")


def collect(cells, tables, images=None, *, predictions=True):
    """Add the cells to the tables, which may hold others already.

    Where a network and task has cells of several fingerprints (:func:`sfda.benchmark.grids.digest_of`), those of the
    newest count, and the tables' rows give way to them. Writes ``accuracy.csv``, ``probe.csv``, ``curves.csv`` and,
    for each task, ``predictions/TASK.npz`` with an array ``MODEL.SEED`` (M, C) of probabilities, float16 and rounded
    to multiples of 1/1024, for every cell, and the test images' ``labels`` (M,), where the task is found in `images`
    (:func:`sfda.images.tasks.load_task`); of the twins ``untrained.csv`` and ``untrained_probe.csv``. Rows are in the
    order of the zoo, whatever the order they were measured in. ``manifest.json`` says with which versions this was
    done. Without `predictions` no arrays are written.

    Returns
    -------
    dict of str to int
        How many rows each table has.
    """
    cells, tables, counts = Path(cells), Path(tables), {}
    for variant, prefix in (("pretrained", ""), ("untrained", "untrained_")):
        found = _current(sorted((cells / variant).glob("*/*.npz")))
        records = pd.DataFrame([record for record, _ in found])
        if records.empty:
            continue
        probes = records.drop_duplicates(["model", "task"]).drop(columns="accuracy")
        probes = probes.rename(columns={"probe_accuracy": "accuracy"})
        stale = _stale(probes, tables / f"{prefix}probe.csv")
        written = {"untrained" if prefix else "accuracy": records[ACCURACY], f"{prefix}probe": probes[PROBE]}
        if not prefix:
            curves = pd.DataFrame(records["curve"].tolist(), columns=CURVE[3:])
            written["curves"] = pd.concat([records[CURVE[:3]], curves], axis=1)
            if predictions:
                _add_predictions(found, tables / "predictions", stale, images)
        for name, table in written.items():
            counts[name] = add_rows(table, tables / f"{name}.csv", stale)
    if counts:
        paths = [tables / f"{name}.csv" for name in ("accuracy", "untrained")]
        devices = [read_table(path, ["device"])["device"] for path in paths if path.exists()]
        text = json.dumps(manifest(pd.concat(devices).dropna().astype(str)), indent=1) + "\n"
        with replacing(tables / "manifest.json") as part:
            part.write_text(text, encoding="utf-8")
    return counts


def add_to_record(record, tables, called, task_names, seeds):
    """Add accuracies of the tables, with the scores that are there, to a record of past fine-tunings.

    Parameters
    ----------
    record : path
        As :func:`sfda.evidence.runs.add_runs` takes it.
    tables : path
        With ``accuracy.csv`` and perhaps ``scores.csv``.
    called : mapping of str to str
        Which networks, by their names in the tables, and how the record calls them.
    task_names : sequence of str
    seeds : sequence of int

    Returns
    -------
    added, rows : int
        How many results were taken, and how many the record has now.

    Raises
    ------
    ValueError
        As :func:`sfda.evidence.runs.add_runs`.
    """
    runs = read_table(Path(tables) / "accuracy.csv", ["model", "task", "seed", "accuracy"])
    runs = runs[["model", "task", "seed", "accuracy"]]
    runs = runs[runs["model"].isin(list(called)) & runs["task"].isin(task_names) & runs["seed"].isin(seeds)]
    path = Path(tables) / "scores.csv"
    if path.exists():
        scores = read_table(path, ["metric", "model", "task", "score"])
        runs = runs.join(scores.pivot(index=["model", "task"], columns="metric", values="score"), on=["model", "task"])
    return len(runs), add_runs(record, runs.assign(model=runs["model"].map(called)))


def compare_cells(cells, tables):
    """Cells that were measured again, beside what the tables say of them.

    Parameters
    ----------
    cells : path
        A folder that :func:`sfda.benchmark.cells.run` filled, with ``tables=None``.
    tables : path

    Returns
    -------
    pandas.DataFrame
        Columns ``model``, ``task``, ``seed``, ``accuracy`` (in the tables), ``again`` and ``device``, that of the
        second run.
    """
    found = [cell[0] for p in sorted(Path(cells).glob("pretrained/*/*.npz")) if (cell := read_cell(p))]
    keys = ["model", "task", "seed"]
    again = pd.DataFrame(found, columns=[*keys, "accuracy", "device"]).rename(columns={"accuracy": "again"})
    old = read_table(Path(tables) / "accuracy.csv", [*keys, "accuracy"])[[*keys, "accuracy"]]
    return old.merge(again, on=keys)


def _current(paths):
    """The cells whose fingerprint is the newest of their network and task."""
    found = [(p.stat().st_mtime_ns, cell) for p in paths if (cell := read_cell(p))]
    newest = {}
    for _, (record, _) in sorted(found, key=lambda each: each[0]):
        newest[record["model"], record["task"]] = record["digest"]
    return [cell for _, cell in found if newest[cell[0]["model"], cell[0]["task"]] == cell[0]["digest"]]


def _stale(probes, path):
    """Networks and tasks whose rows in the tables have another fingerprint than new ones."""
    old = digests_in(path, ["model", "task"])
    return {(r.model, r.task) for r in probes.itertuples() if old.get((r.model, r.task), r.digest) != r.digest}


def add_rows(table, path, stale=frozenset(), variants=()):
    """Add rows to a CSV file, new ones in the place of old ones; returns how many it has now.

    Rows are told apart by metric (or variant and images), model, task and seed, as far as the table has these, or by
    method, pool and task, and sorted by them in the order of their registries, and of `variants`. Old rows of the
    networks and tasks in `stale` are left out.
    """
    keys = [c for c in KEYS if c in table]
    if path.exists():
        old = read_table(path, keys)
        if stale:
            old = old[[pair not in stale for pair in zip(old["model"], old["task"])]]
        table = pd.concat([old, table]).drop_duplicates(keys, keep="last")
    orders = {"metric": RIVALS, "variant": variants, "model": pocket.POCKET, "task": tasks.TASKS}

    def places(column):
        names = orders.get(column.name, ())
        # Of other networks and tasks the registries know nothing: they come after.
        names = [*names, *sorted(set(column) - set(names), key=lambda value: (isinstance(value, str), value))]
        return column.map({name: i for i, name in enumerate(names)})

    table = table.sort_values(keys, key=places)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        table.to_csv(part, index=False)
    return len(table)


def digests_in(path, keys):
    """Fingerprints (``digest``) of the rows of a CSV file by their values of the columns `keys`; {} without a file."""
    if not path.exists():
        return {}
    rows = read_table(path, [*keys, "digest"])
    return dict(zip(rows[keys].itertuples(index=False, name=None), rows["digest"]))


def extend(path, columns, task_names, rows_of, *, progress, what="scores", variants=()):
    """Compute rows task by task, add those of each to a CSV file before the next begins, and return how many these are.

    `rows_of` gives the rows of a task by its name: tuples of the `columns`, none where nothing is missing. `progress`
    is called with one line a task, which calls the rows `what`. `variants` are those of :func:`add_rows`.
    """
    computed = 0
    for name in task_names:
        start = time.perf_counter()
        rows = rows_of(name)
        if rows:
            add_rows(pd.DataFrame(rows, columns=columns), path, variants=variants)
        computed += len(rows)
        progress(f"{name}: {len(rows)} {what} in {time.perf_counter() - start:.0f} s")
    return computed


def _add_predictions(found, folder, stale, images):
    folder.mkdir(parents=True, exist_ok=True)
    for task in sorted({record["task"] for record, _ in found}):
        path, arrays = folder / f"{task}.npz", {}
        if path.exists():
            try:
                with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
                    arrays = dict(file)
            except Exception as error:  # damaged bytes make their readers stumble in any way
                raise ValueError(f"{path} is damaged; take it away ({type(error).__name__}: {error})") from error
            arrays = {k: v for k, v in arrays.items() if (k.rsplit(".", 1)[0], task) not in stale}
        for record, probabilities in found:
            if record["task"] == task:
                # The last digits of small probabilities would be half of the file.
                rounded = (probabilities.astype(float) * 1024).round() / 1024
                arrays[f"{record['model']}.{record['seed']}"] = rounded.astype(np.float16)
        if tasks.available(task, images):
            arrays["labels"] = tasks.load_task(task, images).test.labels.numpy().astype(np.uint8)
        # As np.savez_compressed, but a fifth smaller; np.load reads it all the same.
        with replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_BZIP2) as archive:
            for key in sorted(arrays):
                with archive.open(f"{key}.npy", "w") as file:
                    np.lib.format.write_array(file, arrays[key], allow_pickle=False)


def facts(weights, folder):
    """Write what the networks and the tasks are: ``models.csv`` and ``tasks.csv``.

    Of the networks whose weights and record are in `weights`, in the order of the zoo. The losses of different
    objectives cannot be compared.
    """
    weights, folder, rows = Path(weights), Path(folder), []
    for entry in pocket.POCKET.values():
        path = weights / f"{entry.name}.json"
        if not path.exists():
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        network = pocket.untrained(entry.name)
        head = pocket.replace_head(entry.name, network, nn.Identity())
        rows.append({
            "group": entry.group, "model": entry.name, "family": entry.family, "objective": entry.objective,
            "parameters": pocket.parameters(network), "dimension": head.in_features,
            "source_accuracy": record["source_accuracy"], "first_loss": record["curve"][0],
            "last_loss": record["loss"], "images": record["n_images"], "epochs": record["epochs"],
            "seconds": round(record["seconds"], 1), "device": record["device"], "torch": record["torch"],
        })  # fmt: skip
    table = pd.DataFrame([dataclasses.asdict(task) for task in tasks.TASKS.values()])
    sizes = pd.DataFrame(table.pop("sizes").tolist(), columns=["train", "validation", "test"])
    for name, found in (("models", pd.DataFrame(rows).round(4)), ("tasks", pd.concat([table, sizes], axis=1))):
        with replacing(folder / f"{name}.csv") as part:
            found.to_csv(part, index=False)
