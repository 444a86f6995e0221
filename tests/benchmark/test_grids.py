"""Grids of networks and tasks: from a file, and through the same code as the pocket benchmark."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sfda import METRICS
from sfda.benchmark import cells as benchmark
from sfda.benchmark import grids, scores, tables
from sfda.benchmark.finetune import features
from sfda.images import tasks
from sfda.networks import pocket
from small_benchmark import small, write_manifest  # noqa: F401
from tree import ROOT

NAMES = ["small", "large"]
CONTENT = """
networks = ["manifest.json"]
tasks = ["digits"]
seeds = [3]
side = 40
[protocol]
rates = [0.01, 0.001]
decays = [1e-4]
steps = 2
batch = 8
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A grid's file, and a manifest of two networks with random weights."""
    folder = write_manifest(tmp_path_factory.mktemp("grid"), NAMES).parent
    (folder / "grid.toml").write_text(CONTENT)
    return folder


@pytest.fixture(scope="module")
def grid(folder):
    return grids.read(folder / "grid.toml")


def run(grid, cells, **options):
    options = {"cells": cells, "device": "cpu", "progress": lambda line: None} | options
    return benchmark.run(list(grid.networks), grid.tasks, grid.seeds, grid=grid, **options)


def test_a_grid_from_a_file(grid, folder, tmp_path):
    assert list(grid.networks) == NAMES and grid.tasks == ("digits",) and grid.seeds == (3,)
    assert grid.side == 40 and grid.groups == dict.fromkeys(NAMES, "supervised")
    assert grid.networks["large"] == f"{folder / 'manifest.json'}:large"
    assert grid.options == {"rates": (0.01, 0.001), "decays": (1e-4,), "steps": 2, "batch": 8}
    found = grids.read(ROOT / "data" / "real" / "grid.toml", weights=folder)  # the one in the repository
    assert found.side == 96 and found.seeds == (0, 1)
    # A manifest that lies elsewhere is found in the folder of weights.
    path = tmp_path / "grid.toml"
    path.write_text(CONTENT + "plain = true\n")
    with pytest.raises(FileNotFoundError, match="manifest.json is missing"):
        grids.read(path)
    found = grids.read(path, weights=folder)
    assert list(found.networks) == NAMES and found.options["plain"] is True
    with pytest.raises(FileNotFoundError, match="nothing.toml is missing: name pocket, paper or a TOML file"):
        grids.read(tmp_path / "nothing.toml")


def test_the_pocket_grid_is_the_pocket_zoo_which_alone_has_twins(grid):
    assert list(grids.POCKET.networks) == list(pocket.POCKET) and grids.POCKET.tasks == tuple(tasks.TASKS)
    assert grids.POCKET.options_of("vit_tiny") == {"budget": 2} and grids.POCKET.how == ""
    with pytest.raises(ValueError, match="untrained: only networks of the pocket zoo have twins, got 'small'"):
        grid.encoder("small", untrained=True)


def test_cells_are_measured_once_and_by_the_grids_protocol(grid, tmp_path):
    assert [run(grid, tmp_path / "cells") for _ in range(2)] == [2, 0]
    record, probabilities = benchmark.read_cell(benchmark.cell_path(tmp_path / "cells", "small", "digits", 3))
    assert record["group"] == "supervised" and record["weight_decay"] == 1e-4
    assert record["learning_rate"] in (0.01, 0.001) and probabilities.shape == (50, 10)
    assert np.isfinite(record["curve"]).sum() == 2  # two steps: the other two quarters have no loss
    place = tmp_path / "tables"
    counts = tables.collect(tmp_path / "cells", place, predictions=False)
    assert counts["accuracy"] == 2 and not (place / "predictions").exists()
    table = pd.read_csv(place / "accuracy.csv")
    assert list(table) == benchmark.ACCURACY and set(table["model"]) == set(NAMES)
    # What the tables hold is done, without the cells; another protocol is another cell.
    longer = replace(grid, options={**grid.options, "steps": 3})
    assert [run(each, tmp_path / "none", tables=place) for each in (grid, longer)] == [0, 2]


def test_scores_are_those_of_the_encoders_features(grid, tmp_path):
    options = {"metrics": ["H-score", "LEEP", "NCTI"], "table": tmp_path / "scores.csv", "device": "cpu", "progress": lambda line: None}
    assert [scores.score_zoo(list(grid.networks), grid.tasks, grid=grid, **options) for _ in range(2)] == [6, 0]
    part = grid.task("digits").train
    assert part.images.shape[2:] == (40, 40)
    z = features(grid.encoder("large"), part.images).numpy()
    found = pd.read_csv(options["table"]).set_index(["metric", "model"])["score"]
    assert found["H-score", "large"] == pytest.approx(METRICS["H-score"](z, part.labels.numpy()))
    assert (found["LEEP"] < 0).all()


@pytest.fixture(scope="module")
def own(folder):
    """A grid of one's own images: a folder without parts, and one of parts."""
    rng = np.random.default_rng(0)
    for part in ("pets", "birds/train", "birds/test"):
        for c, name in enumerate("ab"):
            (folder / part / name).mkdir(parents=True)
            for i in range(10):
                pixels = rng.integers(100 * c, 100 * c + 150, size=(20, 25, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{i}.png")
    content = CONTENT.replace('["digits"]', '["pets", "birds", "digits"]').replace("[3]", "[3, 4]")
    (folder / "own.toml").write_text(content)
    return grids.read(folder / "own.toml")


def test_images_of_ones_own_are_tasks(own, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)  # a name of the paper's data sets is none here
    assert grids.read("own.toml").task("pets").task.n_classes == 2
    assert own.tasks == ("pets", "birds", "digits") and own.places["pets"] == str(folder / "pets")
    sizes = {"pets": (12, 4, 4), "birds": (16, 4, 20)}
    for name in sizes:
        task = own.task(name)
        assert task.task.sizes == sizes[name] == tuple(len(part.labels) for part in task.parts)
        assert task.train.images[:2].shape == (2, 3, 40, 40) and task.task.n_classes == 2
        assert [np.bincount(part.labels).tolist() for part in task.parts] == [[n // 2] * 2 for n in sizes[name]]
    one = replace(own, tasks=("pets",))
    assert [run(one, tmp_path / "cells") for _ in range(2)] == [4, 0]
    options = {"metrics": ["H-score"], "table": tmp_path / "scores.csv", "device": "cpu", "progress": lambda line: None}
    assert scores.score_zoo(list(own.networks), own.tasks[:2], grid=own, **options) == 4
    # Another image is another cell.
    Image.new("RGB", (20, 20), "red").save(folder / "pets" / "a" / "0.png")
    assert run(one, tmp_path / "cells") == 4


@pytest.mark.parametrize(("names", "message"), [
    ('["pets", "digits", "dogs"]', "expected tasks among digits, .*, or images, got 'dogs', which is not there"),
    ('["pets", "./pets"]', "two tasks are called 'pets'"), ('["./digits"]', "two tasks are called 'digits'"),
])  # fmt: skip
def test_tasks_that_are_none_are_refused_at_once(own, folder, names, message):
    (folder / "digits").mkdir(exist_ok=True)
    (folder / "bad.toml").write_text(CONTENT.replace('["digits"]', names))
    with pytest.raises(ValueError, match=message):
        grids.read(folder / "bad.toml")
