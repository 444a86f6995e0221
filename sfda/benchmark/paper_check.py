"""What of the paper's experiment is there, what is missing, and what comes next.

Nothing is computed: names, numbers and sizes of files, and the first bytes of weights, tell what is missing, and what
is cut off or half unpacked where that can be seen so. Images are read only where a data set's labels are in one file
with them, as CIFAR's are.
"""

import contextlib
import shlex
import textwrap
import zipfile
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from sfda.benchmark import paper
from sfda.benchmark.cell_files import cell_path, read_cell
from sfda.benchmark.jobs import settings_in
from sfda.benchmark.search import Search
from sfda.evidence import published
from sfda.files import in_one_line, read_table
from sfda.images import official
from sfda.images.image_sets import ImageFiles
from sfda.networks import backbones, checkpoints, pocket
from sfda.rivals.catalogue import RIVALS

THERE, MISSING, DAMAGED = "there", "missing", "not whole"
WIDTH = 100
ALMOST = 0.98  # of what is expected: sizes and numbers are as others state them


@dataclass(frozen=True)
class Item:
    """A data set or a file of weights.

    Attributes
    ----------
    name : str
        In the tables.
    state : {"there", "missing", "not whole"}
    about : str
        How much of it there is or is to come.
    remedy : str, default ""
        What to do if it is not there.
    commands : tuple of str, default ()
        That do it.
    by_hand : bool, default False
        Whether no command fetches it.
    n : int, default 0
        Images that are there.
    """

    name: str
    state: str
    about: str
    remedy: str = ""
    commands: tuple = ()
    by_hand: bool = False
    n: int = 0


@dataclass(frozen=True)
class Inventory:
    """What :func:`inventory` has found; ``str`` of it is one screen.

    Attributes
    ----------
    data_sets, weights : list of Item
    scored, tuned : set of (str, str)
        Networks and data sets whose scores are all in the table, and whose fine-tuning is done.
    under_way : dict
        From network and data set to how many of their settings are done.
    options : dict of str to str
        ``images`` and ``weights``, ``tables``, ``cells``, as they are said on the command line.
    """

    data_sets: list
    weights: list
    scored: set = field(default_factory=set)
    tuned: set = field(default_factory=set)
    under_way: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)

    @property
    def complete(self):
        """Whether all images and weights are there, and whole."""
        return all(item.state == THERE for item in (*self.data_sets, *self.weights))

    @property
    def next(self):
        """What to do next, in words or as a command."""
        lacking = [item for item in (*self.data_sets, *self.weights) if item.state != THERE]
        broken = [item for item in lacking if item.state == DAMAGED]
        if broken:
            return f"mend {', '.join(item.name for item in broken)} as it says above, then this check again"
        if any(not item.by_hand for item in lacking):
            return self._command("paper fetch", "images", "weights")
        if lacking:
            rest = [item.name for item in self.data_sets if item.state == THERE]
            able = [item.name for item in self.weights if item.state == THERE]
            words = f"by hand: {', '.join(item.name for item in lacking)} as it says above, then this check again"
            if rest and able:
                words += f"; or go on without: {self._step(able, rest)}"
            return words
        return self._step([item.name for item in self.weights], [item.name for item in self.data_sets])

    def _step(self, names, task_names):
        pairs = {(name, task) for name in names for task in task_names}
        if pairs - self.scored:
            return self._command("score paper", "images", "weights", "tables", names=names, task_names=task_names)
        if pairs - self.tuned:
            return self._command("benchmark paper", "images", "weights", "tables", "cells",
                                 names=names, task_names=task_names)  # fmt: skip
        return "nothing: every score and every fine-tuning is there"

    def _command(self, command, *options, names=None, task_names=None):
        names = names or [item.name for item in self.weights]
        tasks = task_names or [item.name for item in self.data_sets]
        words = ["python", "-m", "sfda", *command.split()]
        group = next((group for group, those in paper.NETWORKS.items() if list(those) == names), None)
        if group and command != "benchmark paper":
            words += ["--group", group]
        elif names != list(paper.GRID.networks):
            words += ["--models", *names]
        words += [] if tasks == list(paper.GRID.tasks) else ["--tasks", *tasks]
        for option in options:
            if option in self.options:
                words += [f"--{option}", self.options[option]]
        return shlex.join(words)

    def __str__(self):
        settings = Search(*(paper.GRID.options[key] for key in ("rates", "decays", "every_pair"))).size
        pairs = len(self.data_sets) * len(self.weights)
        lines = [f"Images in {self.options.get('images', 'the usual folder')}", *_told(self.data_sets), ""]
        lines += [f"Weights in {self.options.get('weights', 'the usual folder')}, at least so large"]
        lines += [*_told(self.weights), ""]
        lines.append(f"Scores: {len(self.scored)} of {pairs} pairs of network and data set")
        lines.append(f"Fine-tuning: {len(self.tuned)} of {pairs} pairs, of {settings} settings and a final run each")
        lines += [f"    under way: {name} on {task}, {n} of {settings} settings done"
                  for (name, task), n in self.under_way.items()]  # fmt: skip
        return "\n".join([*lines, "", f"next: {self.next}"])


def _told(items):
    """Lines on what is there, all in one, and on each that is not."""
    there = [item for item in items if item.state == THERE]
    words = ", ".join(f"{item.name} ({item.about})" if item.n else item.name for item in there)
    lines = [f"  {len(there)} of {len(items)} there{': ' if there else ''}{words}"]
    lines = textwrap.wrap(lines[0], WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    for heading, chosen in (
        ("not whole", [item for item in items if item.state == DAMAGED]),
        ("missing, for `paper fetch` or by hand", [i for i in items if i.state == MISSING and not i.by_hand]),
        ("missing, by hand only", [i for i in items if i.state == MISSING and i.by_hand]),
    ):
        lines += [f"  {heading}:"] * bool(chosen)
        for item in chosen:
            lines.append(f"    {item.name:14s} {item.about}")
            lines += textwrap.wrap(item.remedy, WIDTH, initial_indent="      ", subsequent_indent="      ",
                                   break_long_words=False, break_on_hyphens=False)  # fmt: skip
            lines += [f"        {command}" for command in item.commands]
    return lines


def inventory(names, task_names, *, images=None, weights=None, tables="paper", cells=None):
    """What is there of a corner of the paper's experiment, and what is missing.

    Parameters
    ----------
    names : sequence of str
        Of networks, keys of ``sfda.benchmark.paper.GRID.networks``.
    task_names : sequence of str
        Keys of :data:`sfda.images.official.OFFICIAL`.
    images, weights : path, optional
        As in :func:`sfda.images.official.load_official` and :func:`sfda.networks.backbones.load`.
    tables : path, default "paper"
        With ``scores.csv`` and ``accuracy.csv``, as far as they are there.
    cells : path, optional
        Where ``python -m sfda benchmark paper`` keeps its cells.

    Returns
    -------
    Inventory

    Raises
    ------
    ValueError
        Unknown names, or a table that is cut off.
    """
    for name in names:
        paper.GRID.check(name, *task_names)
    tables, said = Path(tables), {"images": images, "weights": weights, "tables": tables, "cells": cells}
    data_sets = [_data_set(name, images) for name in task_names]
    found = Inventory(
        data_sets, [_weights(name, weights) for name in names],
        options={key: str(value) for key, value in said.items() if value is not None and str(value) != "paper"},
    )  # fmt: skip
    pairs = [(name, task) for task in task_names for name in names]
    counts = {item.name: item.n for item in data_sets}
    found.scored.update(_scored(tables / "scores.csv", counts).intersection(pairs))
    done = set()
    if (tables / "accuracy.csv").exists():
        rows = read_table(tables / "accuracy.csv", ["model", "task"])
        done = set(zip(rows["model"], rows["task"]))
    for name, task in pairs:
        here = cells and all(read_cell(cell_path(cells, name, task, seed)) for seed in paper.GRID.seeds)
        if here or (name, task) in done:
            found.tuned.add((name, task))
        elif cells and (n := settings_in(cells, name, task)):
            found.under_way[name, task] = n
    return found


def fetch_missing(names, task_names, *, images=None, weights=None, progress=print):
    """Download the data sets and the weights that can be, each if it is missing; what fails is told, and passed over.

    Parameters
    ----------
    names, task_names, images, weights
        As in :func:`inventory`.
    progress : callable, default print
        Called with one line on what is there and on each that is passed over, before each download, and if it fails.

    Returns
    -------
    int
        How many failed, or are there and not whole.
    """
    for name in names:
        paper.GRID.check(name, *task_names)
    progress("looking at what is there")
    todo = [(item, lambda name=item.name: official.load_official(name, images, download=True))
            for item in (_data_set(name, images) for name in task_names)]  # fmt: skip
    todo += [(item, lambda name=item.name: backbones.load(paper.GRID.networks[name], folder=weights))
             for item in (_weights(name, weights) for name in names)]  # fmt: skip
    failed, there = 0, [item.name for item, _ in todo if item.state == THERE]
    if there:
        progress(f"there: {', '.join(there)}")
    for item, load in todo:
        if item.state == DAMAGED:
            progress(f"{item.name}: {item.about}; `paper check` says what to do")
            failed += 1
        elif item.state == MISSING and item.by_hand:
            progress(f"{item.name}: by hand only, as `paper check` says")
        if item.state != MISSING or item.by_hand:
            continue
        progress(f"{item.name}: {item.about}")
        try:
            load()
        except Exception as error:  # a download breaks off in any way, and must not cost the others
            progress(" ".join(str(error).split()) or type(error).__name__)
            failed += 1
    return failed


def _data_set(name, folder):
    """A data set, as far as its lists of files tell."""
    about, sizes = official.OFFICIAL[name], published.table("dataset_sizes").set_index("dataset").loc[name]
    top, gigabytes = about.files[0].partition("/")[0], f"{sizes['megabytes'] / 1000:4.1f} GB"
    broken = Item(name, DAMAGED, "", official.how_to_get(name, folder, tried=True), by_hand=bool(about.by_hand))
    if missing := official.missing_files(name, folder):
        if len(missing) < len(about.files):
            return replace(broken, about=f"{len(missing)} of its files are not there: {', '.join(missing[:2])}, ...")
        if about.by_hand:
            return Item(name, MISSING, f"{gigabytes}  {top}", about.by_hand, by_hand=True)
        return Item(name, MISSING, f"{gigabytes}  {top:19s}  {about.source}")
    try:
        found = official.load_official(name, folder)
    except (OSError, ValueError) as error:
        return replace(broken, about=in_one_line(error))
    n, expected = len(found.labels), sizes["train_val"] + sizes["test"]
    there = n - sum(_lost(part) for part in found.parts)
    if there < ALMOST * expected:
        return replace(broken, about=f"{there:,} of {expected:,} images are there")
    return Item(name, THERE, f"{n:,}", n=n)


def _lost(part):
    """How many images of a part have no file."""
    source = part.source
    if not isinstance(source, ImageFiles):
        return 0
    return sum(not Path(source.root, source.names[row]).exists() for row in part.rows)


def _weights(name, folder):
    """A file of weights, by its size and its first bytes."""
    loader = paper.GRID.networks[name]
    entry, path = backbones.weights_of(loader, folder)
    least, by_hand = _least(loader), bool(entry.convert)
    megabytes, commands = f"{least / 1e6:4.0f} MB", entry.commands(path)
    how = f"convert {entry.url} with programs of others:" if by_hand else f"put {entry.url} there"
    if not path.exists():
        about = f"{megabytes}  {path.name}" if by_hand else f"{megabytes}  {entry.url}"
        return Item(name, MISSING, about, how if by_hand else "", commands, by_hand)
    if wrong := _wrong(path, least):
        return Item(name, DAMAGED, f"{path.name} {wrong}", f"remove it; {how}", commands, by_hand)
    return Item(name, THERE, megabytes)


def _wrong(path, least):
    """What can be seen to be wrong with a file of weights, without reading it."""
    with open(path, "rb") as file:
        start = file.read(16).lstrip()
    size = path.stat().st_size
    if start.startswith(b"<"):
        return "is a web page"
    if start.startswith(b"version http"):
        return "is a pointer of Git LFS"
    if size < ALMOST * least:
        return f"is cut off: it has {size / 1e6:.0f} MB, its weights {least / 1e6:.0f}"
    if start.startswith(b"PK") and not zipfile.is_zipfile(path):
        return "is cut off: its end is missing"
    return ""


@cache
def _least(loader):
    """Bytes that a network's weights take, without what else is in its file."""
    kind, _, rest = loader.partition(":")
    with contextlib.suppress(KeyError):
        if kind == "torchvision":
            from torchvision.models import get_model_weights

            architecture, _, weights = rest.partition(":")
            return 4 * get_model_weights(architecture)[weights].meta["num_params"]
        zoo = checkpoints.SELF_SUPERVISED if kind == "self-supervised" else checkpoints.TRANSFORMERS
        return 4 * pocket.parameters(checkpoints.shapes_of(zoo[rest].build))
    return 0


def _scored(path, counts):
    """Networks and data sets for which every usual score of all images is in the table."""
    if not path.exists():
        return set()
    rows = read_table(path, paper.COLUMNS)
    rows = rows[[counts.get(row.task, 0) in (0, row.n) for row in rows.itertuples()]]
    has = rows.groupby(["model", "task"])["metric"].agg(set)
    free = {metric for metric in paper.METRICS if RIVALS[metric].needs != "source probabilities"}
    return {(model, task) for (model, task), metrics in has.items()
            if (set(paper.METRICS) if paper.GROUPS.get(model) == "supervised" else free) <= metrics}  # fmt: skip
