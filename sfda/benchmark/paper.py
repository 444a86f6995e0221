"""The paper's experiment at full size: its 33 networks on its 11 data sets.

One forward pass of a network over a data set is kept (:mod:`sfda.networks.extract`) and scored by any metrics; the
truth to compare the scores with is published. Fine-tuning the networks once more is possible, too
(:data:`sfda.benchmark.paper.GRID`), at the price that the scores are to save.
"""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.transforms.functional import normalize

from sfda.benchmark import measures
from sfda.benchmark.finetune import PAPER
from sfda.benchmark.grids import Grid, as_task
from sfda.benchmark.tables import add_rows
from sfda.evidence import published
from sfda.files import read_table
from sfda.images import official
from sfda.images.views import centre
from sfda.metric import ranking
from sfda.networks import backbones, checkpoints, encoders
from sfda.networks.device import device_name, resolve_device
from sfda.networks.extract import extract
from sfda.rivals.catalogue import RIVALS, timed

SIDE = 224
MEMORY = 4 * 2**30  # bytes of decoded images that are kept for the next network
COLUMNS = ["metric", "group", "model", "task", "score", "seconds", "n", "dimension"]
PASSES = ["group", "model", "task", "n", "dimension", "seconds", "device"]

#: From the names in the published tables to what :func:`sfda.networks.backbones.load` takes, by group.
NETWORKS = {
    "supervised": {name.split(":")[1]: name for name in checkpoints.SUPERVISED},
    "self-supervised": {name: f"self-supervised:{name}" for name in checkpoints.SELF_SUPERVISED},
    "transformers": {name: f"transformer:{name}" for name in checkpoints.TRANSFORMERS},
}
GROUPS = {name: group for group, names in NETWORKS.items() for name in names}
#: What is computed by default: the published table's metrics that suit any number of images, and this package's.
METRICS = ("SFDA", "left-out SFDA", "left-out probability", "LogME as published", "LogME", "LEEP", "NCE",
           "H-score")  # fmt: skip
#: What the published tables call them.
STATED = {"SFDA": "SFDA", "LogME as published": "LogME", "LEEP": "LEEP", "NLEEP": "NLEEP", "PARC": "PARC"}


class FullSize(Grid):
    """The paper's grid: tasks are whole data sets, judged as the paper judges them."""

    def task(self, name, folder=None):
        """A data set in three parts of photographs; of VOC 2007 the labels are all that an image shows."""
        found = official.load_official(name, folder)
        about = official.OFFICIAL[name]
        return as_task(name, found, about.n_classes, self.side, about.title, partial(_measured, about.measure))


def _measured(name, logits, labels):
    return measures.measured_by(name, logits.numpy(), labels.numpy().astype(np.int64))


#: The paper's fine-tuning, with twenty settings and one more run of 5,000 steps, for each of 363 pairs.
GRID = FullSize({name: loader for names in NETWORKS.values() for name, loader in names.items()},
                tuple(official.OFFICIAL), GROUPS, (0,), SIDE, PAPER)  # fmt: skip


def score(
    names, task_names, *, metrics=METRICS, folder, images=None, weights=None, cache=None, download=False, limit=None,
    device="auto", batch=64, workers=0, progress=print,
):  # fmt: skip
    """Score networks on whole data sets, as the paper does, and add the scores to a table.

    Training, validation and test images with their labels are scored together, which is what the paper's public code
    does. Every network sees the same 224 pixels.

    Parameters
    ----------
    names : sequence of str
        Of networks, as in ``NETWORKS``.
    task_names : sequence of str
        Keys of :data:`sfda.images.official.OFFICIAL`.
    metrics : sequence of str
        Keys of :data:`sfda.rivals.catalogue.RIVALS`, without those that compare networks. LEEP and NCE need the
        source classifier, which only the supervised networks have.
    folder : path
        ``scores.csv`` is kept there, and ``passes.csv``, what the forward passes took. What they hold is not computed
        again.
    images, weights : path, optional
        As in :func:`sfda.images.official.load_official` and :func:`sfda.networks.backbones.load`.
    cache : path, optional
        As in :func:`sfda.networks.extract.extract`.
    download : bool, default False
        Fetch data sets that are missing.
    limit : int, optional
        At most so many images of each class, the first ones: for a quick look, whose scores are not comparable with
        the published ones.
    device : str, default "auto"
        Of the forward pass and of the scores.
    batch, workers
        As in :func:`sfda.networks.extract.extract`.
    progress : callable, default print
        Called with one line a network and task.

    Returns
    -------
    pandas.DataFrame
        The scores asked for: metric, group, model, task, score, seconds, n, dimension.

    Raises
    ------
    ValueError
        Unknown names, or a metric that compares networks.
    FileNotFoundError
        Images or weights are missing; before anything is computed where that can be known.
    """
    folder, device = Path(folder), resolve_device(device)
    for name, known, what in (
        *((n, GROUPS, "names") for n in names), *((n, official.OFFICIAL, "task_names") for n in task_names),
        *((n, RIVALS, "metrics") for n in metrics),
    ):  # fmt: skip
        if name not in known:
            raise ValueError(f"{what}: expected some of {', '.join(known)}, got {name!r}")
    if compared := [name for name in metrics if RIVALS[name].needs == "zoo"]:
        raise ValueError(f"metrics: {compared[0]} compares networks, it scores none alone")
    for task in task_names:
        found = official.load_official(task, images, download=download)
        kept, squares = _few(found.labels, limit), None
        for name in names:
            missing = _missing(folder / "scores.csv", name, task, metrics, len(kept))
            if not missing:
                continue
            backbone = backbones.load(GRID.networks[name], folder=weights)
            of_classifier = [metric for metric in missing if RIVALS[metric].needs == "source probabilities"]
            if not backbone.source_classes:
                missing = [metric for metric in missing if metric not in of_classifier]
            if not missing:
                continue
            squares = squares or _Squares(found.everything, kept, workers)
            start = time.perf_counter()
            seen = extract(
                replace(backbone, name=name, transform=_Normalised(backbone)), squares, f"{found.fingerprint} {limit}",
                cache=cache, device=device, batch=batch, workers=0 if squares.kept else workers,
                logits=bool(of_classifier and backbone.source_classes),
            )  # fmt: skip
            seconds, (n, dimension) = time.perf_counter() - start, seen.features.shape
            if not seen.cached:
                row = GROUPS[name], name, task, n, dimension, round(seconds, 2), device_name(device)
                add_rows(pd.DataFrame([row], columns=PASSES), folder / "passes.csv")
            rows = []
            x = torch.from_numpy(np.array(seen.features)).to(device)
            for metric in missing:
                argument = x if metric not in of_classifier else torch.from_numpy(seen.logits).double().softmax(1)
                value, took = timed(RIVALS[metric], argument, seen.labels, name, task)
                rows.append((metric, GROUPS[name], name, task, value, round(took, 3), n, dimension))
            if rows:
                add_rows(pd.DataFrame(rows, columns=COLUMNS), folder / "scores.csv")
            progress(f"{task}: {name}, {n} images, forward {seconds:.0f} s, {len(rows)} scores")
    table = _table(folder / "scores.csv")
    asked = table["model"].isin(names) & table["task"].isin(task_names) & table["metric"].isin(metrics)
    return table[asked].reset_index(drop=True)


class _Squares(Dataset):
    """Images as the paper's code views them, uint8 (3, 224, 224); decoded once where memory allows."""

    def __init__(self, dataset, positions, workers):
        self.source, self.kept = Subset(dataset, positions), None
        if len(positions) * 3 * SIDE**2 <= MEMORY:
            images, labels = zip(*DataLoader(self, None, num_workers=workers))
            self.kept = torch.stack(images), labels

    def __len__(self):
        return len(self.source)

    def __getitem__(self, i):
        if self.kept:
            return self.kept[0][i], self.kept[1][i]
        image, label = self.source[i]
        return centre(image, SIDE), label


class _Normalised:
    """The network's own normalisation, of bytes."""

    def __init__(self, backbone):
        self.mean, self.std = (v.tolist() for v in encoders.normalisation(backbone))

    def __call__(self, image):
        return normalize(image.float() / 255, self.mean, self.std)

    def __str__(self):
        return f"bytes / 255, less {self.mean}, over {self.std}"


def _few(labels, limit):
    """Positions of at most `limit` images of each class, the first ones."""
    if limit is None:
        return range(len(labels))
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:limit] for c in np.unique(labels)])).tolist()


def _table(path):
    return read_table(path, COLUMNS) if path.exists() else pd.DataFrame(columns=COLUMNS)


def _missing(path, name, task, metrics, n):
    """Metrics that the table does not hold for so many images of this task."""
    table = _table(path)
    there = table[(table["model"] == name) & (table["task"] == task) & (table["n"] == n)]
    return [metric for metric in metrics if metric not in set(there["metric"])]


def compare(scores, accuracies=None):
    """Weighted tau of scores with the published accuracies, beside the published tau.

    Parameters
    ----------
    scores : pandas.DataFrame
        As :func:`score` returns it.
    accuracies : pandas.DataFrame, optional
        Of one's own fine-tuning: columns model, task and accuracy, as of ``accuracy.csv``.

    Returns
    -------
    pandas.DataFrame
        Columns metric, group, task, networks (how many), tau, published (NaN where none is) and difference. Of groups
        that are not complete on a task there is no published tau. With `accuracies` also ``own``, the weighted tau
        with these, where all of the networks have one.
    """
    columns = ["metric", "group", "task", "networks", "tau", "published", "difference"]
    scores = scores.assign(group=scores["model"].map(GROUPS))  # older tables call some groups by other names
    truth, stated = published.table("finetune_accuracy"), published.table("published_tau_w")
    stated = stated.set_index(["metric", "group", "dataset"])["tau_w"].to_dict()
    mine = {} if accuracies is None else accuracies.groupby(["model", "task"])["accuracy"].mean().to_dict()
    rows = []
    for (metric, group, task), part in scores.groupby(["metric", "group", "task"], sort=False):
        in_files = published.ZOO_GROUPS[group]
        of = truth[(truth["group"] == in_files) & (truth["dataset"] == task)].set_index("model")["accuracy"]
        part = part[part["model"].isin(of.index)]
        if len(part) < 2:
            continue
        tau = ranking.weighted_tau(part["score"].to_numpy(), of[part["model"]].to_numpy())
        whole = len(part) == len(NETWORKS[group])
        theirs = stated.get((STATED.get(metric), in_files, task), np.nan) if whole else np.nan
        row = metric, group, task, len(part), tau, theirs, tau - theirs
        if mine:
            found = np.array([mine.get((model, task), np.nan) for model in part["model"]])
            row += (np.nan if np.isnan(found).any() else ranking.weighted_tau(part["score"].to_numpy(), found),)
        rows.append(row)
    return pd.DataFrame(rows, columns=[*columns, *(["own"] if mine else [])])
