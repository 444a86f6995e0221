"""The pocket benchmark: runs that go on where they ended, and tables that only grow."""

import json
import shutil
import signal
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import small_benchmark
from forks import forkserver
from sfda.__main__ import main
from sfda.benchmark import cells as benchmark
from sfda.benchmark import finetune, jobs, workers
from sfda.benchmark.cell_files import ACCURACY, CURVE, PROBE, cell_path, read_cell, write_cell
from sfda.benchmark.finetune import PROTOCOL
from sfda.benchmark.grids import POCKET, digest_of
from sfda.benchmark.tables import collect, compare_cells
from sfda.evidence.runs import read_runs
from sfda.images import tasks
from sfda.networks import pocket
from sfda.networks.device import device_name, resolve_device
from sfda.rank.outlook import find_record
from small_benchmark import CELLS, NAMES, SEEDS, TASK_NAMES, cells, contents, measured, rerun, results, small, weights

__all__ = ["cells", "measured", "small", "weights"]  # fixtures


def test_run_writes_every_cell(measured):
    cells, lines = measured
    assert {path for path in cells.rglob("*") if path.is_file()} == {cell_path(cells, *cell) for cell in CELLS}
    of_pair = {}
    for name, task, seed in CELLS:
        record, p = read_cell(cell_path(cells, name, task, seed))
        assert (record["model"], record["task"], record["seed"]) == (name, task, seed)
        assert (record["group"], record["device"]) == (pocket.POCKET[name].group, device_name("cpu"))
        assert record["learning_rate"] in finetune.LEARNING_RATES and record["weight_decay"] in finetune.WEIGHT_DECAYS
        assert record["penalty"] in finetune.PENALTIES
        assert 0 <= record["probe_accuracy"] <= 1 and len(record["curve"]) == 4
        assert p.shape == (tasks.TASKS[task].sizes[2], tasks.TASKS[task].n_classes) and p.dtype == np.float16
        # The predictions match the accuracy.
        best = p == p.max(1, keepdims=True)  # float16: more than one, rarely
        own = best[np.arange(len(p)), tasks.load_task(task).test.labels.numpy()]
        assert (own & (best.sum(1) == 1)).mean() <= record["accuracy"] <= own.mean()
        # Seeds share what is chosen, and differ in what is trained.
        other, q = of_pair.setdefault((name, task), (record, p))
        assert all(record[key] == other[key] for key in ("learning_rate", "weight_decay", "penalty", "probe_accuracy"))
        assert np.array_equal(p, q) == (seed == SEEDS[0])
    assert len(lines) == 4 and lines[0].startswith("2/8 vit_tiny on textures: ")
    assert lines[-1].endswith(", 0 min left")


def test_a_second_run_measures_what_is_missing_or_damaged_alone(cells, weights, measured):
    before = contents(cells)
    assert rerun(cells, weights=weights) == 0 and contents(cells) == before
    paths = [cell_path(cells, *cell) for cell in CELLS]
    content = paths[0].read_bytes()
    paths[0].write_bytes(content[: len(content) // 2])
    content = paths[-1].read_bytes()
    paths[-1].write_bytes(content[:200] + bytes(200) + content[400:])
    assert read_cell(paths[-1]) is None and read_cell(cells / "missing.npz") is None
    before = contents(cells)
    assert collect(cells, cells.parent / "tables")["accuracy"] == len(CELLS) - 2
    assert rerun(cells, weights=weights) == 2
    after = contents(cells)
    assert {path for path in after if after[path] != before[path]} == {paths[0], paths[-1]}
    assert results(cells) == results(measured[0])
    assert rerun(cells, NAMES[1:], ["digits"], np.arange(3), weights=weights) == 1
    assert after.items() <= contents(cells).items()
    assert contents(cells).keys() - after.keys() == {cell_path(cells, NAMES[1], "digits", 2)}


def test_a_killed_run_goes_on_with_jobs_side_by_side(tmp_path, weights, measured, monkeypatch):
    cells, script, lines, methods, forks = tmp_path / "cells", tmp_path / "small.py", [], [], forkserver()
    # New processes import the main module of this one: let that be the script.
    script.write_text(small_benchmark.SCRIPT, encoding="utf-8")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    options = {"cells": cells, "weights": weights, "device": "cpu", "progress": str}
    process = forks.Process(target=benchmark.run, args=(NAMES, TASK_NAMES, SEEDS), kwargs=options)
    process.start()
    deadline = time.monotonic() + 300
    while not list(cells.rglob("*.npz")):
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    before = {path: content for path, content in contents(cells).items() if path.suffix == ".npz"}
    finished = list(before)
    assert 1 <= len(finished) < len(CELLS) and all(read_cell(path) for path in finished)
    # Processes that are spawned would load torch each, which is most of what they do here.
    monkeypatch.setattr(workers.multiprocessing, "get_context", lambda how: methods.append(how) or forks)
    n = rerun(cells, weights=weights, jobs=2, progress=lines.append)
    assert methods == ["spawn"] and n == len(CELLS) - len(finished) and len(lines) == (n + 1) // 2  # a job has two seeds
    assert before.items() <= contents(cells).items()
    assert results(cells) == results(measured[0])


def test_a_job_that_another_process_has_done_is_not_done_again(cells, measured, weights, monkeypatch):
    """Of a worker that died before it could say so."""
    asked = []

    def nothing(todo, *_, **options):
        asked.extend(todo)
        yield from ()

    monkeypatch.setattr(benchmark, "outcomes_of", nothing)
    rerun(cells.parent / "none", NAMES[:1], TASK_NAMES[:1], weights=weights)
    assert [job.name for job in asked] == ["probe", *(f"rate_{rate}_decay_0.0001" for rate in finetune.LEARNING_RATES)]
    before = contents(cells)
    monkeypatch.setattr(jobs, "measure", None)
    (record,) = jobs.run_job(replace(asked[0], cells=cells, seed=SEEDS[0]))
    assert record == read_cell(cell_path(cells, NAMES[0], TASK_NAMES[0], SEEDS[0]))[0]
    probe = jobs.run_job(replace(asked[0], cells=cells))
    assert probe["probe_accuracy"] == record["probe_accuracy"] and probe["penalty"] == record["penalty"]
    monkeypatch.setattr(jobs, "probe_of", None)
    assert jobs.run_job(replace(asked[0], cells=cells)) == probe
    assert before.items() <= contents(cells).items()
    assert results(cells) == results(measured[0])


def test_tables(measured, tmp_path):
    tables = tmp_path / "tables"
    assert collect(measured[0], tables) == {"accuracy": 8, "probe": 4, "curves": 8}
    assert sorted(p.relative_to(tables).as_posix() for p in tables.rglob("*.*")) == [
        "accuracy.csv", "curves.csv", "manifest.json", "predictions/digits.npz", "predictions/textures.npz", "probe.csv",
    ]  # fmt: skip
    read = {name: pd.read_csv(tables / f"{name}.csv") for name in ("accuracy", "probe", "curves")}
    assert {name: list(table) for name, table in read.items()} == {"accuracy": ACCURACY, "probe": PROBE, "curves": CURVE}
    # googlenet comes before vit_tiny in the zoo, digits before textures.
    order = [(n, t, s) for n in NAMES[::-1] for t in TASK_NAMES[::-1] for s in SEEDS]
    for name in ("accuracy", "curves"):
        assert list(read[name][["model", "task", "seed"]].itertuples(index=False, name=None)) == order
    assert list(zip(read["probe"]["model"], read["probe"]["task"])) == [c[:2] for c in order[::2]]
    for i, cell in enumerate(order):
        record, probabilities = read_cell(cell_path(measured[0], *cell))
        assert read["accuracy"].loc[i].to_dict() == {key: record[key] for key in ACCURACY}
        assert read["curves"].loc[i].tolist()[3:] == record["curve"]
        probe = read["probe"].loc[i // 2]
        assert (probe["accuracy"], probe["penalty"]) == (record["probe_accuracy"], record["penalty"])
        with np.load(tables / "predictions" / f"{cell[1]}.npz") as file:
            assert sorted(file) == sorted(["labels", *(f"{n}.{s}" for n in NAMES for s in SEEDS)])
            y = tasks.load_task(cell[1]).test.labels.numpy()
            assert np.array_equal(file["labels"], y) and file["labels"].dtype == np.uint8
            found = file[f"{cell[0]}.{cell[2]}"]
            assert found.dtype == np.float16 and (found.astype(float) * 1024 % 1 == 0).all()
            np.testing.assert_allclose(found, probabilities, rtol=0, atol=1 / 2048 + 1e-9)
    found = json.loads((tables / "manifest.json").read_text(encoding="utf-8"))
    assert found["devices"] == [device_name("cpu")] and found["protocol"] == PROTOCOL
    assert found["libraries"]["torch"] == torch.__version__.split("+")[0]
    assert set(found["libraries"]) >= {"torchvision", "timm", "scikit-learn"}
    # Another run of one cell, beside the tables.
    record, probabilities = read_cell(cell_path(measured[0], *CELLS[2]))
    changed = record | {"accuracy": 0.5, "device": "other"}
    write_cell(cell_path(tmp_path / "again", *CELLS[2]), changed, probabilities)
    kept = {key: record[key] for key in ("model", "task", "seed", "accuracy")}
    assert compare_cells(tmp_path / "again", tables).to_dict("records") == [kept | {"again": 0.5, "device": "other"}]


def test_a_record_is_kept_of_what_was_measured(cells, weights, tmp_path, capsys):
    tables, record = tmp_path / "tables", tmp_path / "mine.csv"
    record.write_text("network,task,seed,accuracy,LEEP\nmine,digits,0,0.5,\npocket:googlenet,digits,0,0.25,-1.5\n")
    command = ["benchmark", "--models", *NAMES, "--cells", str(cells), "--tables", str(tables), "--weights", str(weights), "--device", "cpu", "--record", str(record)]
    assert main([*command, "--tasks", "digits"]) == 0  # of cells that were measured before
    assert f"{record}: 4 results added, 5 in all" in capsys.readouterr().out
    truth = pd.read_csv(tables / "accuracy.csv").set_index(["model", "task", "seed"])["accuracy"]
    found = read_runs(record).set_index(["network", "task", "seed"])
    for name in NAMES:
        for seed in SEEDS:
            assert found["accuracy"][f"pocket:{name}", "digits", seed] == truth[name, "digits", seed]
    assert found["LEEP"]["pocket:googlenet", "digits", 0] == -1.5 and found["accuracy"]["mine", "digits", 0] == 0.5
    # With the scores that are in the tables, and no other seeds than those asked for.
    scores = [(metric, name, task, i + 0.5) for metric in ("SFDA", "LEEP") for i, name in enumerate(NAMES) for task in TASK_NAMES]
    pd.DataFrame(scores, columns=["metric", "model", "task", "score"]).to_csv(tables / "scores.csv", index=False)
    assert main([*command, "--tasks", "textures", "--seeds", "1", "--collect"]) == 0
    assert f"{record}: 2 results added, 7 in all" in capsys.readouterr().out
    found = read_runs(record).set_index(["network", "task", "seed"])
    assert found["SFDA"][f"pocket:{NAMES[1]}", "textures", 1] == found["LEEP"][f"pocket:{NAMES[1]}", "textures", 1] == 1.5
    # It is what `rank` looks for.
    assert find_record(record, {"pocket:vit_tiny": "pocket:vit_tiny"})[2] == "results in mine.csv of the network"
    before = record.read_bytes()
    for wrong, message in ((["--untrained"], "--record takes what is new and pre-trained: neither"), (["--again"], "--record takes"), (["--tasks", "nothing"], "task: expected one of"),
                           (["--record", str(tmp_path)], "expected a CSV file, found a folder")):  # fmt: skip
        assert main([*command, *wrong]) == 2 and message in capsys.readouterr().err
    assert record.read_bytes() == before


def test_tables_only_grow(cells, tmp_path):
    """Row by row gives the same bytes as all at once; an equal key is replaced."""
    whole, grown = tmp_path / "whole", tmp_path / "grown"
    collect(cells, whole)
    for n, cell in enumerate(CELLS, start=1):
        path = cell_path(tmp_path / f"only {n}", *cell)
        path.parent.mkdir(parents=True)
        shutil.copy(cell_path(cells, *cell), path)
        assert collect(tmp_path / f"only {n}", grown)["accuracy"] == n
    for name in ("accuracy", "curves"):
        assert (grown / f"{name}.csv").read_bytes() == (whole / f"{name}.csv").read_bytes()
    probes = [pd.read_csv(tables / "probe.csv") for tables in (whole, grown)]
    pd.testing.assert_frame_equal(*(p.drop(columns="choice_seconds") for p in probes))

    name, task, seed = CELLS[0]
    path = cell_path(tmp_path / "only 1", name, task, seed)
    record, probabilities = read_cell(path)
    write_cell(path, record | {"accuracy": 2.0}, probabilities[::-1])  # no run gives that
    assert collect(tmp_path / "only 1", grown) == {"accuracy": 8, "probe": 4, "curves": 8}
    old, new = (pd.read_csv(tables / "accuracy.csv") for tables in (whole, grown))
    mine = (old[["model", "task", "seed"]] == [name, task, seed]).all(axis=1)
    assert mine.sum() == 1 and new.loc[mine, "accuracy"].tolist() == [2.0]
    pd.testing.assert_frame_equal(old[~mine], new[~mine])
    with np.load(grown / "predictions" / f"{task}.npz") as file:
        assert len(list(file)) == 5
        found = file[f"{name}.{seed}"].astype(float)
        np.testing.assert_allclose(found, probabilities[::-1], rtol=0, atol=1 / 2048 + 1e-9)


def test_cells_in_the_tables_are_not_measured_again(cells, weights, tmp_path, monkeypatch):
    tables = tmp_path / "tables"
    collect(cells, tables)
    first = read_cell(cell_path(cells, "googlenet", "digits", 0))[0]
    # A further seed takes the choice of the first, from the cells, and where these are gone from the tables.
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "try_setting", None)
        patch.setattr(jobs, "probe_of", None)
        for folder, kept in ((cells, None), (tmp_path / "empty", tables)):
            assert rerun(folder, ["googlenet"], ["digits"], [5], weights=weights, tables=kept) == 1
            record = read_cell(cell_path(folder, "googlenet", "digits", 5))[0]
            assert set(record) == set(first) and record["seed"] == 5
            for key in ("learning_rate", "weight_decay", "validation_accuracy", "probe_accuracy", "penalty"):
                assert record[key] == first[key]
    shutil.rmtree(cells)
    assert rerun(cells, weights=weights, tables=tables) == 0 and not cells.exists()
    rows = pd.read_csv(tables / "accuracy.csv")
    rows[rows["seed"] == 0].to_csv(tables / "accuracy.csv", index=False)
    assert rerun(cells, ["vit_tiny"], ["digits"], weights=weights, tables=tables) == 1
    assert list(results(cells)) == ["pretrained/digits/vit_tiny.1.npz"]
    assert collect(cells, tables)["accuracy"] == 5
    assert collect(tmp_path / "nothing", tables) == {}


def test_twins_have_their_own_tables(cells, tmp_path):
    # They need no weights, and the pre-trained networks' cells are not theirs.
    tables = tmp_path / "tables"
    options = {"weights": tmp_path / "nowhere", "untrained": True, "tables": tables}
    collect(cells, tables)
    before = contents(tables)
    assert rerun(cells, ["deit_tiny", "vit_tiny"], ["digits"], [0], **options) == 2
    assert cell_path(cells, "deit_tiny", "digits", 0, True) == cells / "untrained" / "digits" / "deit_tiny.0.npz"
    assert collect(cells, tables) == {"accuracy": 8, "probe": 4, "curves": 8, "untrained": 2, "untrained_probe": 2}
    added = contents(tables).keys() - before.keys()
    assert {path.name for path in added} == {"untrained.csv", "untrained_probe.csv"}
    assert all(path.read_bytes() == content for path, (_, content) in before.items() if path.suffix == ".csv")
    twins = pd.read_csv(tables / "untrained.csv")
    assert list(twins) == ACCURACY and twins["model"].tolist() == ["vit_tiny", "deit_tiny"]
    assert list(pd.read_csv(tables / "untrained_probe.csv")) == PROBE
    shutil.rmtree(cells)
    assert rerun(cells, ["deit_tiny"], ["digits"], [0], **options) == 0


def test_twins_of_one_architecture_are_measured_once_and_transformers_with_twice_the_steps(monkeypatch, tmp_path):
    budgets, real = [], finetune.finetune
    monkeypatch.setattr(finetune, "finetune", lambda *a, **options: budgets.append(options["budget"]) or real(*a, **options))
    monkeypatch.setitem(real.__kwdefaults__, "steps", 1)
    assert rerun(tmp_path, ["dino_small", "googlenet", "moco_v3_small"], ["digits"], [0], untrained=True) == 3
    runs = len(finetune.LEARNING_RATES) + len(finetune.WEIGHT_DECAYS) - 1 + 1  # those of the choice, and that of the cell
    assert sorted(budgets) == [1] * runs + [2] * runs
    cells = {name: read_cell(cell_path(tmp_path, name, "digits", 0, True)) for name in ("dino_small", "googlenet", "moco_v3_small")}
    for name, (record, _) in cells.items():
        assert (record["model"], record["group"]) == (name, pocket.POCKET[name].group)
    dino, googlenet, moco = (probabilities for _, probabilities in cells.values())
    assert np.array_equal(dino, moco) and not np.array_equal(dino, googlenet)


def test_what_is_missing_is_found_out_first(tmp_path, weights):
    with pytest.raises(FileNotFoundError, match="/byol.safetensors is missing: `python -m sfda pretrain --models byol --weights .*` makes it$"):
        rerun(tmp_path / "cells", ["vit_tiny", "byol"], weights=weights)
    with pytest.raises(FileNotFoundError, match="^task mnist: no images in "):
        rerun(tmp_path / "cells", NAMES, ["digits", "mnist"], weights=weights, images=tmp_path)
    assert not (tmp_path / "cells").exists()


def test_a_cell_that_diverges_costs_no_other(weights, tmp_path, monkeypatch):
    real, lines = finetune.measure, []

    def fail_on_vit(encoder, task, choice, **options):
        if hasattr(encoder, "pos_embed"):
            raise FloatingPointError("fine-tuning diverged at learning rate 0.1")
        return real(encoder, task, choice, **options)

    monkeypatch.setattr(jobs, "measure", fail_on_vit)
    monkeypatch.setitem(finetune.finetune.__kwdefaults__, "steps", 1)
    message = "vit_tiny on digits: fine-tuning diverged at learning rate 0.1"
    with pytest.raises(RuntimeError, match=f"^{message}$"):
        rerun(tmp_path, task_names=["digits"], weights=weights, progress=lines.append)
    assert set(results(tmp_path)) == {f"pretrained/digits/googlenet.{s}.npz" for s in SEEDS}
    assert lines[0] == message and lines[1].startswith("2/4 googlenet on digits")


def test_other_weights_are_measured_again(cells, weights, tmp_path, monkeypatch):
    """Cells and rows of weights that have been replaced: none is kept, none is mixed in."""
    tables, other, empty = tmp_path / "tables", shutil.copytree(weights, tmp_path / "weights"), tmp_path / "empty"
    collect(cells, tables)
    before = pd.read_csv(tables / "accuracy.csv")
    monkeypatch.setitem(finetune.finetune.__kwdefaults__, "steps", 1)
    pocket.save(pocket.untrained("vit_tiny", seed=8), other / "vit_tiny.safetensors")
    assert rerun(empty, tables=tables, weights=weights) == 0
    # One seed of one task, of the new weights: the rows of the old ones go.
    assert rerun(empty, ["vit_tiny"], ["digits"], [0], tables=tables, weights=other) == 1
    collect(empty, tables)
    after = pd.read_csv(tables / "accuracy.csv")
    kept, old = (t[(t["model"] != "vit_tiny") | (t["task"] != "digits")].reset_index(drop=True) for t in (after, before))
    pd.testing.assert_frame_equal(kept, old)
    assert len(after) == len(before) - 1
    with np.load(tables / "predictions" / "digits.npz") as file:
        assert set(file) == {"googlenet.0", "googlenet.1", "vit_tiny.0", "labels"}
    # In one folder the new cells count, whatever else lies there.
    assert [rerun(cells, ["vit_tiny"], ["digits"], weights=other) for _ in range(2)] == [2, 0]


def test_encoder_digest_and_devices(weights, monkeypatch):
    images = torch.rand(2, 3, 32, 32)
    for untrained, seed in ((True, 0), (False, 7)):
        network = pocket.untrained("simclr", seed=seed)
        pocket.replace_head("simclr", network, nn.Identity())
        with torch.inference_mode():
            found = POCKET.encoder("simclr", folder=weights, untrained=untrained)(images)
            torch.testing.assert_close(found, network(images), rtol=0.01, atol=0.001)
    assert resolve_device("cpu") == "cpu" and resolve_device("cuda:1") == "cuda:1" and device_name("cpu")
    assert resolve_device() == ("cuda" if torch.cuda.is_available() else "cpu")
    # Other images or another protocol are another cell.
    encoder, task = POCKET.encoder("vit_tiny", untrained=True), tasks.load_task("digits")
    digest = digest_of(encoder, task.parts)
    assert digest == digest_of(encoder, task.parts) and len(digest) == 12
    images = task.test.images.clone()
    images[0, 0, 0, 0] += 1
    assert digest_of(encoder, replace(task, test=tasks.Part(images, task.test.labels)).parts) != digest
    monkeypatch.setattr(finetune, "PROTOCOL", 0)
    assert digest_of(encoder, task.parts) != digest
