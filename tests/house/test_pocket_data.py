"""What lies in data/pocket: weights that are what they say, tables that agree with each other."""

import functools
import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from tree import ROOT

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("torchvision")

from sfda.benchmark import selections
from sfda.benchmark.ablation import FEW, IMAGES, VARIANTS
from sfda.benchmark.cell_files import ACCURACY, CURVE, PROBE
from sfda.benchmark.grids import POCKET, digest_of
from sfda.benchmark.scores import COLUMNS
from sfda.evidence.ensembles import limits
from sfda.evidence.verdict import predictions, spread
from sfda.images import tasks
from sfda.images.augment import normalise
from sfda.images.drawn import drawings
from sfda.networks import pocket
from sfda.networks.pretraining.recipe import recipe
from sfda.rivals.catalogue import RIVALS

FOLDER = ROOT / "data" / "pocket"
ENCODER = functools.cache(POCKET.encoder)
MADE = [name for name in pocket.POCKET if (FOLDER / "weights" / f"{name}.safetensors").exists()]


def read(name):
    path = FOLDER / f"{name}.csv"
    if not path.exists():
        pytest.skip(f"data/pocket/{name}.csv has not been measured: `python -m sfda benchmark`")
    return pd.read_csv(path, dtype={"digest": str})


def test_every_file_belongs_to_a_network_and_all_are_small():
    assert MADE == list(pocket.POCKET)
    files = {path.name for path in (FOLDER / "weights").iterdir()}
    assert files == {f"{name}.{kind}" for name in MADE for kind in ("safetensors", "json")}
    for pattern in ("weights/*.safetensors", "predictions/*.npz"):
        assert sum(path.stat().st_size for path in FOLDER.glob(pattern)) < 12e6


@pytest.mark.parametrize("name", MADE)
def test_the_record_is_that_of_the_recipe(name):
    record = json.loads((FOLDER / "weights" / f"{name}.json").read_text(encoding="utf-8"))
    entry, network = pocket.POCKET[name], pocket.pretrained(name)
    assert {key: record[key] for key in recipe(name)} == recipe(name)
    assert (record["model"], record["objective"], record["epochs"]) == (name, entry.objective, len(record["curve"]))
    assert np.isfinite(record["curve"]).all() and record["loss"] == record["curve"][-1]
    assert all(p.isfinite().all() for p in network.parameters())
    assert (record["source_accuracy"] is None) == (entry.objective != "supervised")
    if entry.objective == "supervised":
        images, labels = _unseen()
        with torch.inference_mode():
            accuracy = (network(normalise(images)).argmax(1) == labels).double().mean().item()
        # 640 images: a standard error of up to 0.02, and those of the record.
        assert accuracy == pytest.approx(record["source_accuracy"], abs=0.08)


@functools.cache
def _unseen():
    return [torch.from_numpy(each) for each in drawings.source(640, seed=1)[:2]]


def test_models_and_tasks():
    table = read("models")
    assert list(table["model"]) == MADE
    for row in table.itertuples():
        entry, network = pocket.POCKET[row.model], pocket.untrained(row.model)
        head = pocket.replace_head(row.model, network, torch.nn.Identity())
        assert (row.group, row.family, row.objective) == (entry.group, entry.family, entry.objective)
        assert (row.parameters, row.dimension) == (pocket.parameters(network), head.in_features)
    table = read("tasks").set_index("name")
    assert list(table.index) == list(tasks.TASKS)
    for name, task in tasks.TASKS.items():
        assert (table.loc[name, "half"], table.loc[name, "n_classes"]) == (task.half, task.n_classes)
    assert sorted(table["half"].value_counts()) == [5, 6] and table["real"].sum() >= 7


@pytest.mark.parametrize("prefix", ["", "untrained_"])
def test_measured_tables(prefix):
    accuracy, probe = read("untrained" if prefix else "accuracy"), read(f"{prefix}probe")
    assert list(accuracy) == ACCURACY and list(probe) == PROBE
    keys = ["model", "task", "seed"]
    assert not accuracy.duplicated(keys).any() and not accuracy.isna().any().any()
    assert accuracy["accuracy"].between(0, 1).all()
    cells = set(accuracy[keys[:2]].itertuples(index=False, name=None))
    assert cells == set(probe[keys[:2]].itertuples(index=False, name=None))
    for row in accuracy.itertuples():
        assert row.group == pocket.POCKET[row.model].group and row.task in tasks.TASKS


def test_nothing_is_missing():
    every = {(m, t) for m in pocket.POCKET for t in tasks.TASKS}
    cells = read("accuracy")[["model", "task", "seed"]]
    assert set(cells.itertuples(index=False, name=None)) == {(*pair, s) for pair in every for s in (0, 1)}
    for name in ("untrained", "untrained_probe", "probe"):
        table = read(name)
        assert len(table) == len(every) and set(zip(table["model"], table["task"])) == every, name
        assert name != "untrained" or (table["seed"] == 0).all()
    scores, ablations = read("scores"), read("ablations")
    assert list(scores) == COLUMNS and not scores.duplicated(["metric", "model", "task"]).any()
    assert np.isfinite(scores["score"]).all()
    for table, column in ((scores, "metric"), (ablations, "variant")):
        for name, rows in table.groupby(column):
            # LEEP and NCE want a source classifier; all others score everything.
            supervised = getattr(RIVALS.get(name), "needs", "") == "source probabilities"
            expected = {(m, t) for m, t in every if not supervised or pocket.POCKET[m].objective == "supervised"}
            assert set(rows[["model", "task"]].itertuples(index=False, name=None)) == expected, name
    assert set(scores["metric"]) == set(RIVALS) and set(ablations["variant"]) == set(VARIANTS)
    assert len(ablations) == len(every) * (len(VARIANTS) + (len(IMAGES) - 1) * len(FEW))


def test_predictions_give_the_accuracies():
    table, curves = read("accuracy"), read("curves")
    assert list(curves) == CURVE and len(curves) == len(table)
    for task, rows in table.groupby("task"):
        found, y = predictions(task)
        assert set(found) == set(rows[["model", "seed"]].itertuples(index=False, name=None))
        sizes = tasks.TASKS[task].sizes[2], tasks.TASKS[task].n_classes
        if tasks.available(task):
            assert np.array_equal(y, tasks.load_task(task).test.labels.numpy())
        for row in rows.itertuples():
            p = found[row.model, row.seed]
            assert p.shape == sizes and abs(p.sum(1) - 1).max() < 0.02
            own, top = p[np.arange(len(y)), y], p.max(1)
            tied = (p == top[:, None]).sum(1) > 1  # by rounding
            assert (own == top)[~tied].sum() <= round(row.accuracy * len(y)) <= (own == top).sum()


def test_the_measured_networks_are_those_that_are_here():
    """The tables' fingerprints are those of the weights beside them."""
    task = tasks.load_task("digits")
    for name, parts in (("probe", task.parts), ("scores", task.parts[:1]), ("ablations", task.parts)):
        table = read(name).query("task == 'digits'").drop_duplicates("model")
        for row in table.itertuples():
            assert row.digest == digest_of(ENCODER(row.model), parts), (name, row.model)


def test_five_cells_made_again_from_nothing():
    cells, keys = read("accuracy"), ["model", "task", "seed"]
    again = read("rebuilt")
    drawn = cells.sample(5, random_state=0)
    assert again[keys].values.tolist() == drawn[keys].values.tolist()
    assert again["accuracy"].tolist() == pytest.approx(drawn["accuracy"].tolist())
    noise = spread(cells).loc[again["task"], "seeds"].to_numpy()
    assert (abs(again["again"] - again["accuracy"]) < 4 * noise).all()


def test_what_is_said_of_lower_rates():
    again, keys = read("lower_rates"), ["model", "task", "seed"]
    both = again.merge(read("accuracy"), on=keys, suffixes=("", "_told"))
    assert len(both) == len(again) and both["accuracy"].tolist() == both["accuracy_told"].tolist()
    assert (both["learning_rate"] == 0.01).all()
    changed = (both["learning_rate_again"] != 0.01) | (both["weight_decay_again"] != both["weight_decay"])
    gain = both.assign(gain=both["again"] - both["accuracy"]).groupby(["model", "task"])["gain"].mean()
    assert (gain[~changed.groupby([both["model"], both["task"]]).any()] == 0).all()
    gain = gain[changed.groupby([both["model"], both["task"]]).any()]
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"Of the {len(both) // 2} that were done (`lower_rates.csv`) {len(both) // 2 - len(gain)} kept" in text
    assert f"rose in {(gain > 0).sum()}, by 4 to 8" in text and f"fell in {(gain < 0).sum()}, by up to 6" in text


def test_ensembles_are_chosen_from_the_networks_that_are_here():
    table = read("ensembles")
    assert list(table) == selections.COLUMNS and set(table["method"]) == set(selections.METHODS)
    assert not table.duplicated(["method", "pool", "task"]).any()
    assert len(table) == len(selections.METHODS) * 4 * len(tasks.TASKS)
    part = tasks.load_task("digits").train
    for pool, names in selections.pools().items():
        for members in table.query("pool == @pool")["members"].str.split():
            assert len(set(members)) == 5 and set(members) <= set(names)
        digests = [digest_of(ENCODER(name), [part]) for name in names]
        stored = table.query("pool == @pool and task == 'digits'")["digest"].unique()
        assert stored.tolist() == [hashlib.sha256(" ".join(digests).encode()).hexdigest()[:12]]


@pytest.mark.parametrize("task", ["digits", "fractals"])
def test_limits_are_those_of_the_predictions(task):
    found = read("ensemble_limits").query("task == @task").reset_index(drop=True)
    again = limits(task, selections.pools())
    assert found[["pool", "size", "members"]].equals(again[["pool", "size", "members"]])
    numbers = ["best", "best_other_seed", "random", "random_5", "random_95"]
    assert np.allclose(found[numbers], again[numbers], atol=1e-6)
    assert len(read("ensemble_limits")) == 11 * 4 * 4
