"""Everything that needs a GPU, in ten minutes: what passes on one, and what things cost there.

    python tests/benchmarks/gpu.py                  on a CUDA device; tables to data/gpu
    python tests/benchmarks/gpu.py --device cpu     a trial of this script in small, which measures nothing

Five parts, each a process of its own with a share of the time; what one leaves, the next ones have. A table is whole
after each of its rows, so that a part that fails, or whose time is up, keeps what it has and costs no other part.
"""

import argparse
import datetime
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import pandas as pd
import torch

from sfda.benchmark import cells, grids, scores
from sfda.files import data_folder, replacing
from sfda.images import tasks
from sfda.metric.ranking import weighted_tau
from sfda.networks import checkpoints
from sfda.networks.device import device_name, memory_errors, usable_device
from sfda.networks.pretraining import recipe

SECONDS = 570  # of ten minutes; the rest is for starting and ending
# A corner of the pocket benchmark: networks of every group whose pre-training needs no further library, and the tasks
# whose images need no download.
NETWORKS = ("resnet_10", "densenet_26", "mobilenet_v2", "googlenet", "rotation", "vit_tiny")
TASKS = ("digits", "fractals", "textures", "counting")
METRICS = ("SFDA", "left-out probability")
TRIAL = 1_280  # images of two epochs that tell how long pre-training takes


class Table:
    """A CSV file that takes the place of an older one with its first row, and is whole after each."""

    def __init__(self, options, name):
        self.path, self.rows = options.out / f"{name}.csv", []
        self.about = {"device": device_name(options.device), "torch": torch.__version__,
                      "date": datetime.date.today().isoformat()}  # fmt: skip

    def add(self, **row):
        print(self.path.stem, *(f"{value:.4g}" if isinstance(value, float) else value for value in row.values()))
        self.write([*self.rows, row])

    def write(self, rows):
        self.rows = rows
        with replacing(self.path) as part:
            pd.DataFrame([row | self.about for row in rows]).to_csv(part, index=False, float_format="%.6g")


# --- the tests that need CUDA, and the speed of the scores ---


class Reports:
    """Of a run of pytest: a row a test, or the rows that tests have recorded."""

    def __init__(self, table, recorded=False):
        self.table, self.recorded = table, recorded

    def pytest_runtest_logreport(self, report):
        if self.recorded:
            for _, row in report.user_properties if report.when == "call" else ():
                self.table.add(**row)
        elif report.when == "call" or report.outcome != "passed":
            self.table.add(test=report.nodeid, outcome=report.outcome, seconds=round(report.duration, 2))


def pytest_of(reports, *arguments):
    """Run pytest without the settings of this project, which turn the warnings of other releases into errors."""
    import pytest

    plain = ["-q", "-c", os.devnull, "--rootdir", str(ROOT), "-p", "no:cacheprovider"]
    if failed := pytest.main([*plain, *arguments], [reports]):
        raise RuntimeError(f"pytest ended with {failed!r}")


def cuda_tests(options):
    """The tests marked so, in the files that have some; passed over where there is no such device."""
    files = [str(path) for path in sorted((ROOT / "tests").glob("*/test_*.py"))
             if "pytest.mark.cuda" in path.read_text(encoding="utf-8")]  # fmt: skip
    pytest_of(Reports(Table(options, "tests")), "-m", "cuda", *files)


def score_speed(options):
    """``test_gpu_speed.py``, from the smallest size to the largest."""
    file = str(Path(__file__).with_name("test_gpu_speed.py"))
    small = ["--small"] if options.small else []
    pytest_of(Reports(Table(options, "score"), recorded=True), "--benchmark-quiet", file, "--on", options.device, *small)


# --- a corner of the pocket benchmark, from nothing ---


class Short(grids.Pocket):
    """The pocket benchmark with nothing learnt: two steps, one setting."""

    def options_of(self, name):
        return {"steps": 2, "rates": (0.03,), "decays": (1e-4,)}

    def task(self, name, folder=None):
        tasks.TASKS[name] = replace(tasks.TASKS[name], sizes=(48, 24, 48))
        return super().task(name, folder)


@dataclass(frozen=True)
class Making:
    """One network to pre-train: all epochs of its recipe, or as many as `allowed` seconds let it have."""

    name: str
    folder: Path
    device: str
    allowed: float
    small: bool

    def __call__(self):
        if self.small:
            return recipe.make(self.name, self.folder, n_images=256, epochs=1, device=self.device)
        ends, epochs = [], recipe.recipe(self.name)["epochs"]
        with tempfile.TemporaryDirectory() as scratch:
            recipe.make(self.name, scratch, n_images=TRIAL, epochs=2, device=self.device,
                        progress=lambda line: ends.append(time.perf_counter()))  # fmt: skip
        whole = (ends[1] - ends[0]) * recipe.IMAGES / TRIAL * epochs
        epochs = max(1, int(epochs * min(1, self.allowed / whole)))
        return recipe.make(self.name, self.folder, epochs=epochs, device=self.device)


def cores():
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def corner(options):
    """Pre-train six networks, fine-tune them on four tasks and score them, beside what `data/pocket` has of them."""
    grid = grids.POCKET
    if options.small:
        grid = Short(grid.networks, grid.tasks, grid.groups)
    jobs, pocket = options.jobs, data_folder("pocket")
    with tempfile.TemporaryDirectory() as folder:
        made, weights = Table(options, "pretraining"), Path(folder, "weights")
        stored = pd.read_csv(pocket / "models.csv", index_col="model")
        # Two fifths of the time are for this, the rest for fine-tuning; small networks leave most of a GPU idle, so
        # several learn side by side.
        allowed = 0.4 * options.seconds * jobs / len(NETWORKS)
        each = [Making(name, weights, options.device, allowed, options.small) for name in NETWORKS]
        for record in side_by_side(each, jobs):
            name = record["model"]
            row = {key: record[key] for key in ("epochs", "source_accuracy", "seconds")}
            made.add(model=name, **row, **{f"stored_{key}": stored.loc[name, key] for key in row}, side_by_side=jobs)
        scored = Path(folder, "scores.csv")
        scores.score_zoo(NETWORKS, TASKS, metrics=METRICS, table=scored, weights=weights, device=options.device, grid=grid)
        known = [pd.read_csv(path).pivot(index=["model", "task"], columns="metric", values="score")[[*METRICS]]
                 for path in (scored, pocket / "scores.csv")]  # fmt: skip
        truth = pd.read_csv(pocket / "accuracy.csv").groupby(["model", "task"])["accuracy"].mean().rename("stored_accuracy")
        table, place = Table(options, "corner"), Path(folder, "cells")

        def gather(line):
            print(line)
            found = pd.DataFrame([cells.read_cell(path)[0] for path in sorted(place.glob("*/*/*.npz"))])
            of = found.groupby(["model", "task"], sort=False)
            both = of[["accuracy", "seconds"]].mean().join(known[0]).join(truth).join(known[1].add_prefix("stored_"))
            table.write(both.reset_index().round({"seconds": 2}).to_dict("records"))

        cells.run(NETWORKS, TASKS, grid.seeds, cells=place, weights=weights, device=options.device, jobs=jobs, grid=grid,
                  progress=gather)  # fmt: skip
        print(taus(pd.DataFrame(table.rows)).round(2).to_string())


def side_by_side(functions, jobs):
    """What the functions return, as they end."""
    if jobs == 1:
        yield from (function() for function in functions)
        return
    share = max(1, cores() // jobs)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), torch.set_num_threads, (share,)) as pool:
        for future in as_completed([pool.submit(function) for function in functions]):
            yield future.result()


def taus(rows):
    """Weighted tau of each metric in each task, here and by the stored table."""
    return pd.DataFrame({
        task: {f"{start}{metric}": weighted_tau(of[f"{start}{metric}"], of[f"{start}accuracy"])
               for start in ("", "stored_") for metric in METRICS}
        for task, of in rows.groupby("task", sort=False)})  # fmt: skip


# --- the paper's eleven convolutional networks, with random weights ---


def build(name, device):
    """One of torchvision's networks with random weights, made on the device."""
    from torchvision import models

    # Auxiliary classifiers need images of another size than the paper's.
    options = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device(device):
        return models.get_model(name, weights=None, **options)


def per_second(step, options):
    """How often a second `step` is done, after warming up, and the most memory it took, in GB; no memory on a CPU."""
    cuda = torch.device(options.device).type == "cuda"
    wait = torch.cuda.synchronize if cuda else lambda: None
    for _ in range(1 if options.small else 3):
        step()
    wait()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    n, start, spent = 0, time.perf_counter(), 0.0
    while spent < (0 if options.small else 1) or not n:
        step()
        wait()
        n, spent = n + 1, time.perf_counter() - start
    return n / spent, torch.cuda.max_memory_allocated() / 1e9 if cuda else float("nan")


def paper_networks(options, name, column, steps_of, factor):
    """A row a network and precision, `factor` times the steps a second of ``steps_of(network, images, cast)``.

    Within ``cast()`` torch computes in that precision.
    """
    table, (batch, side) = Table(options, name), (2, 96) if options.small else (64, 224)
    x = torch.randn(batch, 3, side, side, device=options.device)
    for name in (loader.split(":")[1] for loader in checkpoints.SUPERVISED):
        network = build(name, options.device)
        for dtype in (torch.float32, torch.get_autocast_dtype(x.device.type)):
            cast = partial(torch.autocast, x.device.type, dtype=dtype, enabled=dtype != torch.float32)
            try:
                with memory_errors():
                    speed, peak = per_second(steps_of(network, x, cast), options)
            except MemoryError:  # which says something, too
                speed = peak = float("nan")
            table.add(network=name, dtype=str(dtype).removeprefix("torch."), batch=batch, side=side,
                      **{column: speed * factor(batch)}, peak_gb=peak)  # fmt: skip
            if x.is_cuda:
                torch.cuda.empty_cache()


def forward(options):
    """Images a second through each network, as their features are read."""

    def steps_of(network, x, cast):
        network.eval()

        def step():
            with torch.inference_mode(), cast():
                network(x)

        return step

    paper_networks(options, "forward", "images_per_second", steps_of, lambda batch: batch)


def training(options):
    """Steps a second of fine-tuning each network as the paper does: 64 images, SGD with momentum."""

    def steps_of(network, x, cast):
        network.train()
        y = torch.arange(len(x), device=x.device)
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-4)

        def step():
            with cast():
                loss = torch.nn.functional.cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return step

    paper_networks(options, "training", "steps_per_second", steps_of, lambda batch: 1)


# What is worth most comes first; each has its share of the time.
PARTS = {"tests": (cuda_tests, 3), "score": (score_speed, 4), "corner": (corner, 8), "forward": (forward, 2),
         "training": (training, 3)}  # fmt: skip


def main(arguments=None):
    """Run the parts one after the other; 0 if all were whole, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda (default), cuda:1, ...; cpu implies --small")
    parser.add_argument("--small", action="store_true", help="sizes that try this script and measure nothing")
    parser.add_argument("--out", type=Path, help="folder of the tables; default: data/gpu, in small a new one")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--jobs", type=int, help="processes of the corner; default: the cores, at most 6, in small 1")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all of them; default: %(default)s")
    parser.add_argument("--alone", action="store_true", help="the one part, in this very process")
    options = parser.parse_args(arguments)
    try:
        options.device = usable_device(options.device)
    except ValueError as error:
        parser.error(str(error))
    kind = torch.device(options.device).type
    if kind not in ("cuda", "cpu"):
        parser.error(f"device: expected cuda or cpu, got {options.device}")
    options.small |= kind == "cpu"
    options.jobs = options.jobs or (1 if options.small else min(len(NETWORKS), cores()))
    options.out = options.out or (Path(tempfile.mkdtemp(prefix="gpu-")) if options.small else data_folder("gpu"))
    options.out = options.out.absolute()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.alone:
        if torch.device(options.device).index is not None:  # cuda:1, which is not the one that torch would take
            torch.cuda.set_device(options.device)
        PARTS[options.parts[0]][0](options)
        return 0
    print(f"{device_name(options.device)}, torch {torch.__version__}; tables go to {options.out}", flush=True)
    end, whole, said = time.monotonic() + options.seconds, True, []
    for i, part in enumerate(options.parts):
        start = time.monotonic()
        shares = [PARTS[name][1] for name in options.parts[i:]]
        limit = max(0, end - start) * shares[0] / sum(shares)
        print(f"\n{part}, at most {limit:.0f} s", flush=True)
        failed = attempt(options, part, limit)
        whole &= not failed
        said.append(f"{part}: {failed or 'whole'}, {time.monotonic() - start:.0f} s")
    if "tests" in options.parts and kind == "cpu":
        said.append("tests that need CUDA were passed over")
    print("", *said, sep="\n")
    return 0 if whole else 1


def attempt(options, part, limit):
    """Run a part in a process of its own; why it is not whole, if it is not."""
    own = ["--alone", "--parts", part, "--device", options.device, "--out", options.out, "--seconds", limit,
           "--jobs", options.jobs]  # fmt: skip
    command = [sys.executable, __file__, *map(str, own), *(["--small"] if options.small else [])]
    # A part may run pytest, which is to know nothing of another pytest around it, nor of anyone's own options.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    env = kept | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=env, start_new_session=True)
    try:
        code = process.wait(limit)
        return f"failed with exit status {code}" if code else ""
    except subprocess.TimeoutExpired:
        return "its time was up"
    finally:
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError):  # its workers, too
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a part does not outlive this
    sys.exit(main())
