"""The pocket benchmark: networks x tasks x seeds, measured cell by cell.

A *cell* is one network fine-tuned on one task with one seed. What is done for it at a time is one *setting*: one
fine-tuning with one learning rate and weight decay, judged on validation images; then, with the best of them, the one
that is judged on the test images. What each gives is written to a file of its own as it ends, whole or not at all, and
within it how far it is, every few minutes (:mod:`sfda.benchmark.resuming`): a run that is killed loses these minutes,
and the next run goes on where it ended. :func:`sfda.benchmark.tables.collect` gathers the cells into tables.
"""

import contextlib
import itertools
import platform
import subprocess
import time
from pathlib import Path

from torch import nn

from sfda.benchmark.cell_files import ACCURACY, PROBE, cell_path, read_cell
from sfda.benchmark.finetune import PROTOCOL
from sfda.benchmark.grids import POCKET, digest_of
from sfda.benchmark.jobs import Job, Pair
from sfda.benchmark.workers import outcomes_of
from sfda.files import read_table
from sfda.networks.device import resolve_device, versions

TELLING = 60  # seconds of a setting from which on there is a line of its own


def run(
    names, task_names, seeds, *, cells, tables=None, images=None, weights=None, untrained=False, device="auto", jobs=1,
    scheduler=None, progress=print, grid=POCKET,
):  # fmt: skip
    """Measure every cell that is neither in `cells` nor in `tables`, with its :func:`sfda.benchmark.grids.digest_of`.

    SIGTERM makes it write down how far it is, and leave.

    Parameters
    ----------
    names, task_names : sequences of str
        Of the grid's; by default keys of :data:`sfda.networks.pocket.POCKET` and :data:`sfda.images.tasks.TASKS`.
    seeds : sequence of int
    cells : path
        Folder of the cells' files, and of those of what is not finished. Two runs on one folder do the same work
        twice; `jobs` or a `scheduler` share it.
    tables : path, optional
        Folder of tables that :func:`sfda.benchmark.tables.collect` wrote: what they hold is done.
    images, weights : path, optional
        As in :func:`sfda.images.tasks.load_task` and :func:`sfda.networks.pocket.pretrained`.
    untrained : bool, default False
        Measure the networks' twins.
    device : str, default "auto"
    jobs : int, default 1
        Processes side by side, each at one setting; each has an equal share of the cores. What one that dies had not
        finished is done by another.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers do the settings in the place of processes here. They must see
        `cells`, `images` and `weights` under the same paths, and this package. What a worker that dies, or that
        leaves at the end of its time, had not finished is done by another.
    progress : callable, default print
        Called with one line as each network and task ends, and after each setting that took a minute or more.
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
    sfda.benchmark.resuming.Stopped
        SIGTERM came; how far each setting is, is written down.
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
    of_images = {task: digest_of(nn.Identity(), each.parts, grid.how) for task, each in loaded.items()}
    digests, architectures = {}, {}
    for name in names:
        encoder = grid.encoder(name, folder=weights, untrained=untrained)
        architectures[name] = str(encoder)
        digests |= {(name, task): digest_of(encoder, loaded[task].parts, grid.how) for task in task_names}
    cells = Path(cells).absolute()
    images, weights = (None if path is None else Path(path).absolute() for path in (images, weights))
    done, pairs = _done(cells, tables, untrained), []
    for task in task_names:
        alike = {}
        for name in names:
            digest = digests[name, task]
            missing = tuple(int(s) for s in seeds if (name, task, s, digest) not in done)
            if missing:
                # Twins of one architecture are one network, which is measured once.
                alike.setdefault((digest, missing, architectures[name]), []).append(name)
        for (digest, missing, _), (name, *also) in alike.items():
            others = [r for (n, t, _, d), r in done.items() if (n, t, d) == (name, task, digest)]
            job = Job(name, task, cells, images, weights, untrained, device, digest, of_images[task], tuple(also), grid)
            pairs.append(Pair(job, missing, others[0] if others else None))
    for pair in pairs:
        for name, seed in itertools.product((pair.job.model, *pair.job.also), pair.seeds):
            if (path := cell_path(cells, name, pair.job.task, seed, untrained)).is_dir():
                raise ValueError(f"cells: {path} is a folder, where a file is to be; remove it")
    failed = _measure(pairs, jobs, scheduler, progress)
    with contextlib.suppress(OSError):  # there is none, or other runs' files are in it
        (cells / "unfinished").rmdir()
    if failed:
        raise RuntimeError("; ".join(failed))
    return sum(len(pair.records) for pair in pairs)


def _measure(pairs, jobs, scheduler, progress):
    """Do all that the pairs need, and tell of it; returns what failed, in words."""
    by_name = {(pair.job.model, pair.job.task): pair for pair in pairs}
    total = sum(len(pair.seeds) * (1 + len(pair.job.also)) for pair in pairs)
    units, ended, measured, failed, start = sum(pair.left for pair in pairs), 0, 0, [], time.perf_counter()

    def of(job):
        return by_name[job.model, job.task]

    def after(job, outcome):
        of(job).take(job, outcome)
        return of(job).jobs()

    def dropped(job):
        return bool(of(job).failed)

    first = [job for pair in pairs for job in pair.jobs()]
    outcomes = outcomes_of(first, after, dropped, jobs=jobs, scheduler=scheduler)
    with contextlib.closing(outcomes):  # an error in `progress` ends them, too
        for job, outcome in outcomes:
            pair = of(job)
            if pair.failed:
                if pair.failed not in failed:
                    failed.append(pair.failed)
                    progress(pair.failed)
                continue
            ended += 1
            left = f"{(time.perf_counter() - start) / ended * (units - ended) / 60:.0f} min left"
            if job.seed is not None and pair.left == 0:
                measured, record = measured + len(pair.records), pair.records[0]
                accuracies = ", ".join(f"{record['accuracy']:.3f}" for record in pair.records)
                progress(
                    f"{measured}/{total} {record['model']} on {record['task']}: {accuracies} (probe "
                    f"{record['probe_accuracy']:.3f}, rate {record['learning_rate']:g}), {left}"
                )
            elif job.setting is not None and outcome["seconds"] >= TELLING:
                found = "diverged" if outcome["found"] is None else f"{outcome['found'][0]:.3f}"
                rate, decay = job.setting
                progress(
                    f"{job.model} on {job.task}: rate {rate:g}, decay {decay:g}: validation {found}, "
                    f"{len(pair.tried)} of {pair.search.size} settings, {left}"
                )
    for pair in pairs:  # that failed before anything could be done for them
        if pair.failed and pair.failed not in failed:
            failed.append(pair.failed)
            progress(pair.failed)
    return failed


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
