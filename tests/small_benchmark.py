"""A benchmark so small that tests can run it, and networks of random weights."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")  # which brings torchvision and safetensors

from safetensors.torch import save_file

from sfda.benchmark import finetune
from sfda.benchmark.cells import read_cell, run
from sfda.images import tasks
from sfda.networks import pocket

# In the order neither of the zoo nor of the tasks.
NAMES, TASK_NAMES, SEEDS = ["vit_tiny", "googlenet"], ["textures", "digits"], [0, 1]
CELLS = [(name, task, seed) for name in NAMES for task in TASK_NAMES for seed in SEEDS]
STEPS, SIZES = 4, {"digits": (40, 20, 50), "textures": (48, 24, 48)}

# What a process has to do for runs as small as those in this one.
SCRIPT = f"""
from dataclasses import replace
import torch
from sfda.benchmark import finetune
from sfda.images import tasks

torch.set_num_threads(1)
finetune.finetune.__kwdefaults__["steps"] = {STEPS}
for name, sizes in {SIZES}.items():
    tasks.TASKS[name] = replace(tasks.TASKS[name], sizes=sizes)
"""


@pytest.fixture(scope="module", autouse=True)
def small():
    """Few steps, small tasks, one thread."""
    threads, whole = torch.get_num_threads(), dict(tasks.TASKS)
    exec(SCRIPT, {})
    yield
    finetune.finetune.__kwdefaults__["steps"] = None
    tasks.TASKS.update(whole)
    torch.set_num_threads(threads)


def save_untrained(folder, names, apart=0):
    """Networks of another seed than the twins', as if they had been trained; those without labels have no head."""
    for i, name in enumerate(names):
        without = "" if pocket.POCKET[name].objective == "supervised" else pocket.POCKET[name].head
        pocket.save(pocket.untrained(name, seed=7 + apart * i), folder / f"{name}.safetensors", without=without)
    return folder


def write_manifest(folder, names, sizes=(32, 48, 32)):
    """The manifest of networks of timm, each with a size of images and a normalisation of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for i, (name, size) in enumerate(zip(names, sizes)):
        torch.manual_seed(i)
        save_file(timm.create_model("test_efficientnet", num_classes=7).state_dict(), folder / f"{name}.safetensors")
        entries.append({
            "file": f"{name}.safetensors", "input_size": [3, size, size], "normalisation": {"mean": [0.5] * 3, "std": [0.25 + i / 4] * 3},
            "builder": {"callable": "timm.create_model", "args": ["test_efficientnet"], "kwargs": {"num_classes": 7}},
        })  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"models": entries}), encoding="utf-8")
    return folder / "manifest.json"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_untrained(tmp_path_factory.mktemp("weights"), [*NAMES, "simclr"])


@pytest.fixture(scope="module")
def measured(tmp_path_factory, weights):
    """Folder of all cells, measured in one go; what was printed."""
    cells, lines = tmp_path_factory.mktemp("measured") / "cells", []
    assert rerun(cells, weights=weights, progress=lines.append) == len(CELLS)
    return cells, lines


@pytest.fixture
def cells(measured, tmp_path):
    """A copy to change."""
    return shutil.copytree(measured[0], tmp_path / "cells")


def rerun(cells, names=NAMES, task_names=TASK_NAMES, seeds=SEEDS, **options):
    return run(names, task_names, seeds, cells=cells, device="cpu", **{"progress": lambda line: None} | options)


def results(cells):
    """Everything but the times."""
    found = {}
    for path in sorted(cells.glob("*/*/*.npz")):
        record, probabilities = read_cell(path)
        kept = {k: v for k, v in record.items() if not k.endswith("seconds")}
        found[path.relative_to(cells).as_posix()] = kept, probabilities.tolist()
    return found


def contents(folder):
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}
