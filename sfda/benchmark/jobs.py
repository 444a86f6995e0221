"""What a network needs on a task, job by job: a linear probe, the settings, a final run for each seed.

Each job writes what it gives to a file as it ends, whole or not at all; within a fine-tuning it is written down every
few minutes how far it is (:mod:`sfda.benchmark.resuming`). These files are gone once the cells are there.
"""

import json
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

from sfda.benchmark.cell_files import CHOICE, cell_path, read_cell, write_cell
from sfda.benchmark.finetune import measure, probe_of, try_setting
from sfda.benchmark.grids import POCKET, Grid
from sfda.benchmark.resuming import Halfway
from sfda.benchmark.search import Search
from sfda.files import replacing
from sfda.networks.device import device_name, resolve_device

SEARCH = ("rates", "decays", "every_pair")  # options of choosing only
# What the files of a network and task that is not finished hold.
SETTING = {"setting", "found", "seconds"}
PROBED = {"penalty", "probe_accuracy", "seconds"}


@dataclass(frozen=True)
class Job:
    """What is done at a time for one network on one task, and where things are.

    With a `seed`, the final run with what was `chosen`; with a `setting` of learning rate and weight decay, this one;
    with neither, the linear probe. `untrained` asks for the network's twin, before pre-training; `also` names other
    networks that have the very same one. `digest` is that of network and images, `of_images` that of the images alone.
    """

    model: str
    task: str
    cells: Path
    images: Path | None = None
    weights: Path | None = None
    untrained: bool = False
    device: str = "cpu"
    digest: str = ""
    of_images: str = ""
    also: tuple = ()
    grid: Grid = POCKET
    setting: tuple | None = None
    seed: int | None = None
    chosen: dict | None = None

    @property
    def name(self):
        """Of the job's files, without their ends."""
        if self.seed is not None:
            return f"seed_{self.seed}"
        return "probe" if self.setting is None else "rate_{!r}_decay_{!r}".format(*self.setting)

    @property
    def folder(self):
        """Of the files of this network and task, as long as it is not finished."""
        return self.cells / "unfinished" / f"{self.task}.{self.model}.{self.digest}"


def run_job(job):
    """Do one job, unless another process has done it; what it gives is in its file when this returns.

    Returns
    -------
    dict or list of dict
        Of the probe and of a setting what the file holds; of a final run the records of its cells, one a network.
    """
    there = _there(job) if job.seed is not None else _outcome(job)
    if there:  # of a worker that died before it could say so
        return there
    device = resolve_device(job.device)  # here, for it may be a cluster's worker that asks
    grid, place = job.grid, (job.task, job.of_images, job.grid.side)
    task = _kept("task", place, lambda: grid.task(job.task, job.images))
    encoder = _kept("encoder", (job.model, job.digest, job.untrained),
                    lambda: grid.encoder(job.model, folder=job.weights, untrained=job.untrained))  # fmt: skip
    options = {key: value for key, value in grid.options_of(job.model).items() if key not in SEARCH}
    start, halfway = time.perf_counter(), Halfway(job.folder / f"{job.name}.pt", job.digest)
    if job.seed is not None:
        found = _final(job, encoder, task, device=device, kept=halfway, **options)
    elif job.setting is not None:
        found = try_setting(encoder, task, *job.setting, device=device, kept=halfway, **options)
        seconds = time.perf_counter() - start + halfway.earlier
        found = {"setting": job.setting, "found": found, "seconds": round(seconds, 2)}
        _write_outcome(job, found)
    else:
        probe, accuracy = probe_of(encoder, task, device=device)
        found = {"penalty": probe.penalty, "probe_accuracy": accuracy, "seconds": time.perf_counter() - start}
        _write_outcome(job, found)
    halfway.remove()
    return found


def _final(job, encoder, task, **options):
    """Measure a cell and write it, for each network that has this one's weights; returns the records."""
    chosen, records = job.chosen, []
    cell = measure(encoder, task, SimpleNamespace(**chosen), seed=job.seed, **options)
    for name in (job.model, *job.also):
        record = {
            "group": job.grid.groups[name], "model": name, "task": job.task, "seed": job.seed,
            "accuracy": cell.accuracy, "seconds": round(cell.seconds, 2), "device": device_name(options["device"]),
            "curve": cell.curve, "digest": job.digest, **{key: chosen[key] for key in CHOICE},
        }  # fmt: skip
        write_cell(cell_path(job.cells, name, job.task, job.seed, job.untrained), record, cell.probabilities)
        records.append(record)
    return records


_last: dict = {}  # of this process: the task and the network of the job before, which are mostly those of the next


def _kept(what, key, load):
    if what not in _last or _last[what][0] != key:
        _last.pop(what, None)  # two need not be in memory
        _last[what] = key, load()
    return _last[what][1]


def _there(job):
    """Records of a final run's cells where all of them have been written, else an empty list."""
    paths = [cell_path(job.cells, n, job.task, job.seed, job.untrained) for n in (job.model, *job.also)]
    found = [read_cell(path) for path in paths if path.exists()]
    whole = len(found) == len(paths) and all(f and f[0]["digest"] == job.digest for f in found)
    return [record for record, _ in found] if whole else []


def _outcome(job):
    """What a setting or a probe has given, as its file says; None where there is none that is whole."""
    try:
        found = json.loads((job.folder / f"{job.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    expected = PROBED if job.setting is None else SETTING
    return found if isinstance(found, dict) and expected <= found.keys() else None


def _write_outcome(job, found):
    job.folder.mkdir(parents=True, exist_ok=True)
    with replacing(job.folder / f"{job.name}.json") as part:
        part.write_text(json.dumps(found), encoding="utf-8")


class Pair:
    """A network on a task: which jobs can be done now, and what they have given.

    Parameters
    ----------
    job : Job
        Its probe; of what is in its folder nothing is done again.
    seeds : tuple of int
        That are missing.
    chosen : dict, optional
        The record of another seed, whose hyper-parameters are taken.
    """

    def __init__(self, job, seeds, chosen=None):
        options = job.grid.options_of(job.model)
        self.search = Search(**{key: options[key] for key in SEARCH if key in options})
        self.job, self.seeds, self.chosen = job, seeds, chosen
        self.tried, self.seconds, self.probe, self.failed, self.finals = {}, 0.0, None, "", {}
        self._given = set()
        if chosen is None:
            if found := _outcome(job):
                self.take(job, found)
            with suppress(FloatingPointError):
                while there := [(j, found) for j in self._settings() if (found := _outcome(j))]:
                    for each in there:
                        self.take(*each)

    @property
    def left(self):
        """How many jobs there are to be done."""
        before = 0 if self.chosen else (self.probe is None) + self.search.size - len(self.tried)
        return before + len(self.seeds) - len(self.finals)

    @property
    def records(self):
        """Of the cells that have been measured, seed by seed."""
        return [record for seed in self.seeds for record in self.finals.get(seed, ())]

    def _settings(self):
        return [replace(self.job, setting=setting) for setting in self.search.left(self.tried)]

    def jobs(self):
        """The jobs that can be done now and were not given out before."""
        try:
            if self.chosen is None:
                wanted = [*([self.job] if self.probe is None else []), *self._settings()]
                if not wanted:
                    self.chosen = self._choice()
            if self.chosen is not None:
                wanted = [replace(self.job, seed=seed, chosen=self.chosen) for seed in self.seeds]
        except FloatingPointError as error:
            self.failed = f"{self.job.model} on {self.job.task}: {error}"
        new = [] if self.failed else [job for job in wanted if job.name not in self._given]
        self._given |= {job.name for job in new}
        return new

    def _choice(self):
        rate, decay = best = self.search.best(self.tried)
        return {
            "learning_rate": rate, "weight_decay": decay, "validation_accuracy": self.tried[best][0],
            "probe_accuracy": self.probe["probe_accuracy"], "penalty": self.probe["penalty"],
            "choice_seconds": round(self.seconds, 2),
        }  # fmt: skip

    def take(self, job, outcome):
        """Note what a job has given, or in words why it has not."""
        if isinstance(outcome, str):
            self.failed = self.failed or outcome
        elif job.seed is not None:
            self.finals[job.seed] = outcome
            if self.left == 0:  # the cells hold what was chosen
                shutil.rmtree(self.job.folder, ignore_errors=True)
        else:
            self.seconds += outcome["seconds"]
            if job.setting is None:
                self.probe = outcome
            else:
                found = outcome["found"]
                self.tried[tuple(outcome["setting"])] = None if found is None else tuple(found)


def settings_in(cells, model, task):
    """How many settings of a network on a task are done in a folder of cells, of whichever images and weights."""
    places = (Path(cells) / "unfinished").glob(f"{task}.{model}.*")
    return max((len(list(place.glob("rate_*.json"))) for place in places), default=0)
