"""What of the paper's experiment is there: nothing, all of it, a half of it, and what is wrong with it."""

import http.client
import json
import shlex

import pandas as pd
import pytest
import torch

from image_layouts import write_official
from sfda.__main__ import main
from sfda.benchmark import paper, paper_check
from sfda.benchmark.cell_files import CHOICE, RECORD, cell_path, write_cell
from sfda.benchmark.paper_check import fetch_missing, inventory
from sfda.evidence import published
from sfda.images import official
from sfda.images.official import OFFICIAL, load_official
from sfda.networks import backbones
from sfda.networks.checkpoints import SELF_SUPERVISED, SUPERVISED, TRANSFORMERS

NAMES, TASKS = list(paper.GRID.networks), list(paper.GRID.tasks)
CONVERTED, BY_HAND = ["byol", "simclr-v1", "simclr-v2"], ["cars", "sun397"]


@pytest.fixture(autouse=True)
def no_gigabytes(monkeypatch):
    """Neither a download nor a look into weights or images."""

    def refuse(*arguments, **options):
        raise AssertionError("it was read")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr("PIL.Image.open", refuse)


@pytest.fixture
def small_sizes(monkeypatch, tmp_path_factory):
    """As many images are expected as the small layouts have; CIFAR's are not told by their checksums."""
    for module in ("cifar", "flowers102"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", lambda path, md5: path and True)
    folder, sizes = tmp_path_factory.mktemp("all"), published.table("dataset_sizes").set_index("dataset")
    for name in TASKS:
        write_official(name, folder)
        sizes.loc[name, ["train_val", "test"]] = len(load_official(name, folder).labels), 0
    table = published.table
    monkeypatch.setattr(published, "table", lambda name, *rest: sizes.reset_index() if name == "dataset_sizes" else table(name, *rest))
    return folder


def write_weights(folder, names=NAMES):
    """Files as long as weights of their networks, without a byte on the disk."""
    folder.mkdir(exist_ok=True)
    for name in names:
        _, path = backbones.weights_of(paper.GRID.networks[name], folder)
        with open(path, "wb") as file:
            file.write(b"\x80\x02")
            file.truncate(paper_check._least(paper.GRID.networks[name]))
    return folder


def called(*options, **places):
    return ["paper", "check", *options, *(word for key, value in places.items() for word in (f"--{key}", str(value)))]


def test_nothing_is_there(tmp_path, capsys):
    images, weights = tmp_path / "images", tmp_path / "my weights"
    assert main(called(images=images, weights=weights, tables=tmp_path)) == 1
    text = capsys.readouterr().out
    # For each data set how large it is, where it goes and where it is; for each file of weights its address or commands.
    for name, about in OFFICIAL.items():
        (line,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
        assert about.files[0].partition("/")[0] in line and " GB " in line
        assert " ".join(about.by_hand.split()) in " ".join(text.split()) if name in BY_HAND else line.endswith(about.source)
    entries = {name.split(":")[1]: entry for name, entry in SUPERVISED.items()} | SELF_SUPERVISED | TRANSFORMERS
    assert list(entries) == NAMES and [name for name in NAMES if entries[name].convert] == CONVERTED
    for name, entry in entries.items():
        (line,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
        assert " MB " in line and entry.url in text
        for command in entry.commands(weights / f"{name}.pth"):
            assert f"        {command}\n" in text
        if name in CONVERTED:  # the loader says the same
            with pytest.raises(FileNotFoundError) as refused:
                backbones.load(paper.GRID.networks[name], folder=weights)
            assert entry.how_to_place(weights / f"{name}.pth") in str(refused.value)
            assert entry.commands(weights / f"{name}.pth")[-1].endswith(shlex.quote(str(weights / f"{name}.pth")))
        else:
            assert line.endswith(entry.url)
    assert text.splitlines()[-1] == f"next: {shlex.join(['python', '-m', 'sfda', 'paper', 'fetch', '--images', str(images), '--weights', str(weights)])}"
    assert "0 of 363 pairs" in text and not images.exists() and not weights.exists()
    # A corner of it.
    assert main(called("--group", "transformers", "--tasks", "dtd", images=images, weights=weights)) == 1
    text = capsys.readouterr().out
    assert "0 of 10 there" in text and "0 of 1 there" in text and "byol" not in text and "pets" not in text
    assert f"paper fetch --group transformers --tasks dtd --images {images}" in text.splitlines()[-1]
    for wrong, message in ((["--tasks", "imagenet"], "task: expected one of aircraft"), (["--models", "resnet18"], "model: expected one of resnet34"),
                           (["--models", "byol", "--group", "transformers"], "--models and --group")):  # fmt: skip
        assert main(called(*wrong)) == 2 and message in capsys.readouterr().err


def test_all_is_there_and_the_steps_are_taken_one_after_the_other(small_sizes, tmp_path, capsys):
    weights, tables, cells = write_weights(tmp_path / "weights"), tmp_path / "tables", tmp_path / "cells"
    command = called(images=small_sizes, weights=weights, tables=tables, cells=cells)
    assert main(command) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == f"next: python -m sfda score paper --images {small_sizes} --weights {weights} --tables {tables}"
    counts = {name: len(load_official(name, small_sizes).labels) for name in TASKS}
    assert any(f"11 of 11 there: aircraft ({counts['aircraft']}), " in line for line in lines) and any("33 of 33 there: resnet34, " in line for line in lines)
    # Scores: of a few images they do not count, nor where a metric is missing.
    rows = [(metric, paper.GROUPS[name], name, task, 0.5, 1.0, counts[task], 9) for metric in paper.METRICS for name in NAMES for task in TASKS
            if paper.GROUPS[name] == "supervised" or metric not in ("LEEP", "NCE")]  # fmt: skip
    table = pd.DataFrame(rows, columns=paper.COLUMNS)
    table.loc[(table["model"] == "byol") & (table["task"] == "dtd"), "n"] = 3
    table = table[(table["model"] != "resnet50") | (table["task"] != "food") | (table["metric"] != "NCE")]
    tables.mkdir()
    table.to_csv(tables / "scores.csv", index=False)
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "Scores: 361 of 363 pairs" in text and "next: python -m sfda score paper" in text
    pd.DataFrame(rows, columns=paper.COLUMNS).to_csv(tables / "scores.csv", index=False)
    # Fine-tuning: a pair in the table, a cell, and one under way.
    pd.DataFrame([("resnet34", "dtd")], columns=["model", "task"]).to_csv(tables / "accuracy.csv", index=False)
    record = dict.fromkeys(RECORD | set(CHOICE), 0.0) | {"model": "byol", "task": "pets", "seed": 0, "digest": "a"}
    write_cell(cell_path(cells, "byol", "pets", 0), record, torch.zeros(2, 2).numpy())
    place = cells / "unfinished" / "food.swin_t.0123456789ab"
    place.mkdir(parents=True)
    for n in range(3):
        (place / f"rate_0.{n + 1}_decay_0.0.json").write_text(json.dumps({}))
    assert main(command) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert "Scores: 363 of 363 pairs of network and data set" in lines and "    under way: swin_t on food, 3 of 20 settings done" in lines
    assert "Fine-tuning: 2 of 363 pairs, of 20 settings and a final run each" in lines
    assert last == f"next: python -m sfda benchmark paper --images {small_sizes} --weights {weights} --tables {tables} --cells {cells}"
    found = inventory(["byol"], ["pets"], images=small_sizes, weights=weights, tables=tables, cells=cells)
    assert found.complete and found.next == "nothing: every score and every fine-tuning is there"


def test_a_half_of_it_and_what_is_not_whole(small_sizes, tmp_path, capsys):
    images, weights = tmp_path / "images", write_weights(tmp_path / "weights", [name for name in NAMES if name not in CONVERTED])
    for name in TASKS:
        if name not in BY_HAND:
            write_official(name, images)
    options = {"images": images, "weights": weights, "tables": tmp_path}
    found = inventory(NAMES, TASKS, **options)
    assert [item.name for item in found.data_sets if item.state != "there"] == BY_HAND and not found.complete
    rest = "--tasks aircraft caltech101 cifar10 cifar100 dtd flowers food pets voc2007"
    assert found.next.startswith("by hand: cars, sun397, byol, simclr-v1, simclr-v2 as it says above, then this check again; or go on without: python -m sfda score paper --models ")
    assert rest in found.next and "byol" not in found.next.partition("--models")[2]
    # What is not whole comes first.
    (images / "dtd" / "dtd" / "images" / "banded" / "banded_0001.jpg").unlink()
    (images / "oxford-iiit-pet" / "annotations" / "test.txt").unlink()
    (images / "food-101" / "meta" / "test.json").write_text("{")
    _, path = backbones.weights_of(paper.GRID.networks["resnet50"], weights)
    for content, words in ((b"<!DOCTYPE html>", "is a web page"), (b"version https://git-lfs", "is a pointer of Git LFS"), (b"\x80", "is cut off: it has 0 MB, its weights 102"),
                           (b"PK\x03\x04" + bytes(2 * 10**8), "is cut off: its end is missing")):  # fmt: skip
        path.write_bytes(content)
        assert main(called("--models", "resnet50", "--tasks", "dtd", "pets", "food", **options)) == 1
        text = " ".join(capsys.readouterr().out.split())
        assert f"{path.name} {words} remove it; put https://download" in text
    assert "dtd 20 of 21 images are there remove dtd there and try again, or put it there by hand" in text
    assert "pets 1 of its files are not there: oxford-iiit-pet/annotations/test.txt" in text and "food ValueError: food: the files in" in text.replace("JSONDecodeError", "ValueError")
    assert text.endswith("next: mend dtd, pets, food, resnet50 as it says above, then this check again")


@pytest.mark.parametrize("error", [FileNotFoundError, http.client.IncompleteRead, RuntimeError, EOFError])
def test_what_can_be_fetched_is_fetched_whatever_fails(error, small_sizes, tmp_path, monkeypatch, capsys):
    asked = []

    def load(name, folder=None, *, download=False):
        asked.append((name, folder, download))
        if name == "pets":
            raise error("pets: the download\nfailed") if error is not http.client.IncompleteRead else error(b"")

    real = official.load_official
    monkeypatch.setattr(official, "load_official", lambda name, folder=None, download=False: load(name, folder, download=download) if download else real(name, folder))
    monkeypatch.setattr(backbones, "load", load)
    write_official("dtd", tmp_path)
    weights = write_weights(tmp_path / "weights", ["resnet34"])
    assert main(["paper", "fetch", "--models", "resnet34", "resnet50", "byol", "--tasks", "dtd", "pets", "cars", "food", "--images", str(tmp_path), "--weights", str(weights)]) == 1
    assert asked == [("pets", tmp_path, True), ("food", tmp_path, True), (paper.GRID.networks["resnet50"], weights, False)]
    begin, there, told, why, *others = capsys.readouterr().out.splitlines()  # why the one before could not be had
    assert begin == "looking at what is there" and there == "there: dtd, resnet34"
    assert why.strip() and [line.partition(":")[0] for line in (told, *others)] == ["pets", "cars", "food", "resnet50", "byol"]
    assert [line for line in others if "by hand only, as `paper check` says" in line] == [others[0], others[-1]]
    assert fetch_missing(["resnet34"], ["dtd"], images=tmp_path, weights=weights) == 0
