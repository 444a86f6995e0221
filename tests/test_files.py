"""Damaged files and full disks: what is finished stays, what is not is done again."""

import errno
import json
import os
import random
import shutil
import signal
import tempfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forks import forkserver
from hostile import quick
from tree import ROOT

torch = pytest.importorskip("torch")
pytest.importorskip("timm")  # which brings safetensors

from sfda import files
from sfda.benchmark import ablation, scores, selections, tables, workers
from sfda.benchmark import cells as benchmark
from sfda.benchmark.cell_files import cell_path, read_cell, write_cell
from sfda.benchmark.grids import Grid
from sfda.evidence import ensembles
from sfda.networks import extract
from sfda.networks.extract import Features, _read, _write


@st.composite
def damages(draw):
    """A function of bytes to other bytes."""
    share, length = draw(st.floats(0, 1)), draw(st.integers(1, 64))
    filling = draw(st.binary(min_size=length, max_size=length))

    def at(content):
        return int(share * len(content))

    return draw(st.sampled_from([
        lambda b: b[: min(at(b), len(b) - 1)], lambda b: b[: at(b)] + bytes(length) + b[at(b) + length :],
        lambda b: b[: at(b)] + filling + b[at(b) + length :], lambda b: b[: at(b)] + b[at(b) + length :],
        lambda b: b[: at(b)] + filling + b[at(b) :], lambda b: filling, lambda b: b"", lambda b: bytes(len(b)), lambda b: b[::-1],
        lambda b: b"[" * 100_000, lambda b: b"\x93NUMPY\x01\x00" + filling, lambda b: b"PK\x03\x04" + filling,
    ]))  # fmt: skip


def _result(seed=0):
    return Features(np.random.default_rng(seed).standard_normal((5, 3)).astype("f4"), np.arange(5) % 2, [7], "fc", False)


def same(one, other):
    arrays = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("features", "labels"))
    return arrays and (one.skipped, one.layer) == (other.skipped, other.layer)


@given(st.sampled_from(["features.npy", "labels.npy", "facts.json"]), damages())
@quick(150)
def test_a_damaged_cache_entry_is_none_or_what_it_was(name, damage):
    with tempfile.TemporaryDirectory() as folder:
        entry = Path(folder) / "net-0123"
        _write(entry, _result())
        before = (entry / name).read_bytes()
        (entry / name).write_bytes(damage(before))
        found = _read(entry)
        if found is None:
            _write(entry, _result())
            assert same(_read(entry), _result())
        elif (entry / name).read_bytes() != before:
            # Facts may be written otherwise and say the same; arrays are what they were.
            assert name == "facts.json" and np.array_equal(found.features, _result().features)
        assert os.listdir(folder) == ["net-0123"]


def _folder_in_a_files_place(entry, other):
    _write(entry, _result())
    (entry / "labels.npy").unlink()
    (entry / "labels.npy").mkdir()


@pytest.mark.parametrize("put", [
    lambda entry, other: entry.write_bytes(b"x"), lambda entry, other: entry.symlink_to("nowhere"), _folder_in_a_files_place,
    lambda entry, other: entry.symlink_to("kept"), lambda entry, other: shutil.copytree(other, entry),
])  # fmt: skip
def test_something_else_in_the_place_of_an_entry(tmp_path, put):
    entry, other = tmp_path / "a", tmp_path / "b"
    (tmp_path / "kept" / "mine").mkdir(parents=True)
    _write(other, _result(1))
    put(entry, other)
    assert _read(entry) is None
    _write(entry, _result())
    assert same(_read(entry), _result()) and same(_read(other), _result(1))
    assert (tmp_path / "kept" / "mine").exists()  # whatever a link led to is none of ours
    before = {p: p.stat().st_mtime_ns for p in entry.iterdir()}
    _write(entry, _result())  # another process finished it first: it is left alone
    assert {p: p.stat().st_mtime_ns for p in entry.iterdir()} == before


RECORD = {
    "group": "supervised", "model": "a", "task": "digits", "seed": 0, "accuracy": 0.5, "seconds": 1.0, "device": "d",
    "curve": [1.0] * 4, "digest": "d1", "learning_rate": 0.1, "weight_decay": 0.0, "validation_accuracy": 0.5,
    "probe_accuracy": 0.25, "penalty": 1.0, "choice_seconds": 2.0,
}  # fmt: skip


def write(cells, **changes):
    record = RECORD | changes
    path = cell_path(cells, record["model"], record["task"], record["seed"])
    p = np.random.default_rng(record["seed"]).dirichlet(np.ones(3), 6).astype("f2")
    write_cell(path, record, p)
    return path, (record, p.tolist())


def said(path):
    found = read_cell(path)
    return None if found is None else (found[0], found[1].tolist())


@given(damages())
@quick(300)
def test_a_damaged_cell_is_none_or_what_it_was(damage):
    with tempfile.TemporaryDirectory() as folder:
        path, whole = write(folder)
        path.write_bytes(damage(path.read_bytes()))
        assert said(path) in (None, whole)
        write(folder)
        assert said(path) == whole


@pytest.mark.parametrize(("record", "probabilities"), [
    *[(record, np.ones((2, 2))) for record in (
        {k: v for k, v in RECORD.items() if k != "digest"}, {k: v for k, v in RECORD.items() if k != "curve"},
        [], "text", 5, None, RECORD | {"model": "b"}, RECORD | {"seed": 1}, RECORD | {"task": "u"},
    )],
    (RECORD, np.ones(3)), (RECORD, np.array(0.5)), (RECORD, None),
])  # fmt: skip
def test_a_cell_of_an_older_version_or_of_another_place_is_none(tmp_path, record, probabilities):
    path, _ = write(tmp_path)
    record = {"record": np.array(json.dumps(record))}
    np.savez(path, **record if probabilities is None else record | {"probabilities": probabilities})
    if probabilities is None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("probabilities.npy", b"no array")
    assert read_cell(path) is None
    assert benchmark._done(tmp_path, None, False) == {} and tables.collect(tmp_path, tmp_path / "tables") == {}
    with open(path, "wb") as file:
        np.save(file, np.ones(3))  # an array where a cell should be
    assert read_cell(path) is None


def test_what_is_in_the_way_is_refused_by_name(tmp_path, monkeypatch):
    write(tmp_path)
    tables.collect(tmp_path, tmp_path)
    (tmp_path / "predictions" / "digits.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=r"digits\.npz is damaged; take it away"):
        tables.collect(tmp_path, tmp_path)
    # A folder in the place of a cell is found before anything is measured.
    grid = Grid({"b": "timm:x"}, ("digits",), {"b": "supervised"})
    monkeypatch.setattr(Grid, "encoder", lambda *a, **o: torch.nn.Linear(1, 1))
    monkeypatch.setattr(workers, "run_job", None)
    cell_path(tmp_path, "b", "digits", 0).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"^cells: .*b\.0\.npz is a folder, where a file is to be; remove it$"):
        benchmark.run(["b"], ["digits"], [0], cells=tmp_path, device="cpu", grid=grid)


@pytest.fixture(scope="module")
def two_cells(tmp_path_factory):
    """A folder with two cells, and in ``tables`` what was collected of them."""
    folder = tmp_path_factory.mktemp("cells")
    for seed in (0, 1):
        write(folder, seed=seed)
    tables.collect(folder, folder / "tables", predictions=False)
    return folder, (folder / "tables" / "accuracy.csv").read_bytes()


@given(damages())
@quick(60)
def test_a_damaged_table_is_refused_by_name_and_left_alone(two_cells, damage):
    folder, whole = two_cells
    path, before = folder / "tables" / "accuracy.csv", damage(whole)
    path.write_bytes(before)
    try:
        tables.collect(folder, path.parent, predictions=False)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        assert path.read_bytes() == before
    assert not list(path.parent.glob(".*"))


@pytest.mark.parametrize(("name", "go_on"), [
    ("accuracy", files.read_table), ("accuracy", lambda path: benchmark._done(path.parent / "none", path.parent, False)),
    ("scores", lambda table: scores.score_zoo([], [], table=table)),
    ("ablations", lambda table: ablation.ablate_zoo([], [], table=table)),
    ("ensembles", lambda table: selections.select_zoo([], table=table)),
    ("ensemble_limits", lambda table: ensembles.write_limits(["digits"], {}, table=table)),
])  # fmt: skip
def test_whoever_goes_on_with_a_table_refuses_one_that_is_cut_off(tmp_path, name, go_on):
    """The row that is not whole would count as done, or be lost when the table is written again."""
    table, pocket = tmp_path / f"{name}.csv", ROOT / "data" / "pocket"
    whole = (pocket / f"{name}.csv").read_bytes()[:2000].rpartition(b"\n")[0]
    shutil.copy(pocket / "probe.csv", tmp_path)  # without which none of the accuracies counts
    for cut in (0, 1, 8):
        table.write_bytes(whole[: len(whole) - cut])
        with pytest.raises(ValueError, match=rf"{name}\.csv: its last line is cut off"):
            go_on(table)


def _full(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


def _half(file, *arguments, **options):
    file.write_text("ha") if isinstance(file, Path) else file.write(b"PK\x03\x04ha")
    _full()


FULL = [(np, "savez_compressed", _half), (np, "save", _half), (np.lib.format, "write_array", _half), (os, "fsync", _full), (os, "replace", _full),
        *[(Path, name, _full) for name in ("replace", "write_text", "mkdir")], (tempfile, "mkdtemp", _full)]  # fmt: skip


@pytest.mark.parametrize(("owner", "name", "fail"), FULL, ids=lambda each: getattr(each, "__name__", str(each)))
def test_a_full_disk_loses_nothing_that_was_finished(tmp_path, monkeypatch, owner, name, fail):
    (path, whole), entry = write(tmp_path), tmp_path / "cache" / "a"
    _write(entry, _result())
    tables.collect(tmp_path, tmp_path / "tables")
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    failed = 0
    for attempt in (
        lambda: write(tmp_path, accuracy=0.75), lambda: write(tmp_path, seed=1), lambda: _write(entry.with_name("b"), _result(1)),
        lambda: tables.collect(tmp_path, tmp_path / "tables"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            try:
                attempt()
            except OSError as error:
                assert error.errno == errno.ENOSPC
                failed += 1
    assert failed
    assert same(_read(entry), _result()) and said(path)[1] == whole[1]
    # Nothing but whole files, under their own names.
    after = {p for p in tmp_path.rglob("*") if p.is_file()}
    assert before <= after and not [p for p in after if p.suffix == ".part" or p.name.startswith(".")]
    assert all(read_cell(p) for p in tmp_path.glob("pretrained/*/*.npz"))
    assert all(pd.read_csv(p).notna().all(axis=None) for p in tmp_path.glob("tables/*.csv"))


def test_what_is_read_as_features_is_what_was_written(tmp_path, monkeypatch):
    """Whatever happens to the entry after it was written, the result is there."""
    monkeypatch.setattr(extract, "_read", lambda entry: None)
    monkeypatch.setattr(extract, "_compute", lambda *a: _result())
    monkeypatch.setattr(extract, "_key", lambda *a: "a")
    found = extract.extract(None, [1], "x", cache=tmp_path, device="cpu")
    assert same(found, _result()) and not found.cached


def write_on(folder, said):
    for seed in range(10**6):
        write(folder, seed=seed)
        _write(folder / "cache" / str(seed), _result(seed))
        tables.collect(folder, folder / "tables", predictions=False)
        said.send(seed)


def test_a_writer_that_is_killed_loses_one_cell_at_most(tmp_path):
    reader, writer = forkserver().Pipe(duplex=False)
    process = forkserver().Process(target=write_on, args=(tmp_path, writer))
    process.start()
    writer.close()
    finished = [reader.recv() for _ in range(3)][-1]
    time.sleep(random.uniform(0, 0.05))  # another place in each run, and none may matter
    process.kill()
    process.join()
    with suppress(EOFError):
        while True:
            finished = reader.recv()
    assert process.exitcode == -signal.SIGKILL
    cells = sorted(tmp_path.glob("pretrained/*/*.npz"))
    entries = [p for p in (tmp_path / "cache").iterdir() if not p.name.startswith(".")]
    assert all(len(found) - finished - 1 in (0, 1) for found in (cells, entries))
    assert all(read_cell(path) for path in cells)
    assert all(same(_read(p), _result(int(p.name))) for p in entries)
    rows = files.read_table(tmp_path / "tables" / "accuracy.csv", benchmark.ACCURACY)
    assert rows["seed"].tolist()[: finished + 1] == list(range(finished + 1))
    assert tables.collect(tmp_path, tmp_path / "tables", predictions=False)["accuracy"] == len(cells)
