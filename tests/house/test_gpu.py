"""The script of `make gpu`, in small on the CPU."""

import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import IPython.display
import jupytext
import matplotlib
import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")  # which brings torchvision and safetensors

from tree import ROOT, module_at

SCRIPT = ROOT / "tests" / "benchmarks" / "gpu.py"
ABOUT = ["device", "torch", "date"]
COLUMNS = {
    "tests": ["test", "outcome", "seconds"],
    "score": ["metric", "N", "D", "C", "seconds", "ratio_to_product", "peak", "error"],
    "pretraining": ["model", "epochs", "source_accuracy", "seconds", "stored_epochs", "stored_source_accuracy", "stored_seconds", "side_by_side"],
    "corner": ["model", "task", "accuracy", "seconds", "SFDA", "left-out probability", "stored_accuracy", "stored_SFDA", "stored_left-out probability"],
    "forward": ["network", "dtype", "batch", "side", "images_per_second", "peak_gb"],
    "training": ["network", "dtype", "batch", "side", "steps_per_second", "peak_gb"],
}


@pytest.fixture(scope="module")
def gpu():
    module, threads = module_at(SCRIPT), torch.get_num_threads()
    torch.set_num_threads(1)
    yield module
    torch.set_num_threads(threads)


def table(folder, name):
    """One of the tables, which has its columns and says where and when it was measured."""
    found = pd.read_csv(folder / f"{name}.csv")
    assert [*found] == COLUMNS[name] + ABOUT and found[ABOUT].notna().all(axis=None)
    return found


def test_a_part_that_fails_costs_no_other(gpu, tmp_path, capfd):
    (tmp_path / "forward.csv").mkdir()  # where a table should be
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path), "--parts", "forward", "score"]) == 1
    told = capfd.readouterr().out
    ends = re.findall(r"^(\w+): (.+?), \d+ s$", told, flags=re.M)
    assert ends == [("forward", "failed with exit status 1"), ("score", "whole")]
    scores = table(tmp_path, "score")
    of_product = scores["seconds"] / scores[scores["metric"] == "product"].set_index(["N", "D", "C"])["seconds"].reindex(
        pd.MultiIndex.from_frame(scores[["N", "D", "C"]])).to_numpy()  # fmt: skip
    assert scores["ratio_to_product"].to_numpy() == pytest.approx(of_product, rel=1e-4)  # six digits are kept
    assert scores["metric"].nunique() == 7 and (scores["seconds"] > 0).all()


def test_the_tests_that_need_cuda(gpu, tmp_path, monkeypatch, capsys):
    def pretended(reports, *arguments):
        chosen, *files = arguments[1:]
        assert chosen == "cuda" and {"test_catalogue.py", "test_ensemble.py", "test_score.py"} <= {Path(file).name for file in files}
        for when, outcome in (("setup", "skipped"), ("setup", "passed"), ("call", "passed"), ("teardown", "passed"), ("call", "failed")):
            reports.pytest_runtest_logreport(SimpleNamespace(nodeid="a", when=when, outcome=outcome, duration=0.126))

    monkeypatch.setattr(gpu, "pytest_of", pretended)
    monkeypatch.setattr(gpu, "attempt", lambda options, part, limit: gpu.PARTS[part][0](options))
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path), "--parts", "tests"]) == 0
    found = table(tmp_path, "tests")
    assert found["outcome"].tolist() == ["skipped", "passed", "failed"] and (found["seconds"] == 0.13).all()
    assert "tests that need CUDA were passed over" in capsys.readouterr().out


def test_a_part_stops_when_its_time_is_up(gpu, tmp_path, capfd):
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path), "--parts", "training", "--seconds", "0.01"]) == 1
    assert "training: its time was up" in capfd.readouterr().out and not [*tmp_path.iterdir()]


def test_corner(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "NETWORKS", ("googlenet", "rotation"))
    monkeypatch.setattr(gpu, "TASKS", ("digits", "counting"))
    monkeypatch.setattr(gpu.tasks, "TASKS", dict(gpu.tasks.TASKS))
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path), "--parts", "corner", "--alone"]) == 0
    made, found = table(tmp_path, "pretraining").set_index("model"), table(tmp_path, "corner")
    assert [*made.index] == ["googlenet", "rotation"] and (made["epochs"] == 1).all()
    assert made["source_accuracy"].isna().tolist() == [False, True], "without labels there is none"
    assert set(zip(found["model"], found["task"])) == {(model, task) for model in made.index for task in gpu.TASKS} and len(found) == 4
    stored = pd.read_csv(ROOT / "data" / "pocket" / "accuracy.csv").query("model == 'rotation' and task == 'counting'")
    row = found.query("model == 'rotation' and task == 'counting'").iloc[0]
    assert row["stored_accuracy"] == pytest.approx(stored["accuracy"].mean(), rel=1e-5)  # six digits are kept
    assert found[["accuracy", *gpu.METRICS]].ge(0).all(axis=None) and found[["accuracy", *gpu.METRICS]].le(1).all(axis=None)
    # Two networks are in the accuracies' order or in the other; where both score 1 there is no tau.
    taus = gpu.taus(found)
    assert taus.loc["stored_left-out probability"].abs().eq(1).all() and [*taus] == [*found["task"].unique()]


@pytest.mark.parametrize(("allowed", "epochs"), [(1e6, 15), (100, 3), (1e-3, 1)])
def test_pretraining_is_cut_to_the_time_it_has(gpu, tmp_path, monkeypatch, allowed, epochs):
    # Two seconds a pass over the trial's images are 469 for the whole recipe: 20,000 images, 15 passes.
    clock, made = iter([10.0, 12.0]), []

    def make(name, folder, *, progress=None, **options):
        made.append(options)
        for line in ("first", "second") if progress else ():
            progress(line)

    monkeypatch.setattr(gpu.recipe, "make", make)
    monkeypatch.setattr(gpu, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    gpu.Making("googlenet", tmp_path, "cpu", allowed, small=False)()
    assert [options["epochs"] for options in made] == [2, epochs] and "n_images" not in made[1]


@pytest.mark.parametrize(("part", "column"), [("forward", "images_per_second"), ("training", "steps_per_second")])
def test_paper_networks(gpu, tmp_path, monkeypatch, part, column):
    names = ["mnasnet1_0", "inception_v3"]  # a small one, and one with a further classifier
    everyone = [name.split(":")[1] for name in gpu.checkpoints.SUPERVISED]
    assert set(names) < set(everyone) and len(everyone) == 11
    monkeypatch.setattr(gpu, "checkpoints", SimpleNamespace(SUPERVISED=[f"torchvision:{name}" for name in names]))
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path), "--parts", part, "--alone"]) == 0
    found = table(tmp_path, part)
    assert [*zip(found["network"], found["dtype"])] == [(name, dtype) for name in names for dtype in ("float32", "bfloat16")]
    assert (found[column] > 0).all() and found["peak_gb"].isna().all(), "a processor's memory is not measured"


def test_what_does_not_fit_is_a_row_without_numbers(gpu, tmp_path, monkeypatch):
    def full(step, options):
        raise torch.cuda.OutOfMemoryError("CUDA memory")

    monkeypatch.setattr(gpu, "per_second", full)
    monkeypatch.setattr(gpu, "checkpoints", SimpleNamespace(SUPERVISED=["torchvision:mnasnet1_0"]))
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path), "--parts", "forward", "--alone"]) == 0
    assert table(tmp_path, "forward")["images_per_second"].isna().tolist() == [True, True]


@pytest.mark.parametrize(("arguments", "told"), [
    (["--device", "cuda:77"], "device: cannot compute on cuda:77"), (["--device", "meta"], "device: expected cuda or cpu, got meta"),
    (["--device", "cpu", "--parts", "pocket"], "invalid choice: 'pocket'"),
])  # fmt: skip
def test_bad_arguments(gpu, arguments, told, capsys):
    with pytest.raises(SystemExit) as ended:
        gpu.main(arguments)
    assert ended.value.code == 2 and told in capsys.readouterr().err


def test_a_trial_stays_out_of_the_data(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "PARTS", {"training": (lambda options: (options.out / "training.csv").touch(), 1)})
    monkeypatch.setattr(gpu.tempfile, "tempdir", str(tmp_path))
    assert gpu.main(["--device", "cpu", "--parts", "training", "--alone"]) == 0
    assert [path.name for path in tmp_path.glob("gpu-*/*")] == ["training.csv"]


# --- what chapters show of it ---


def made_up():
    """Tables as a GPU would leave them: round numbers whose sums can be done by hand."""
    networks, sizes = ["a", "b"], [(100, 10, 2), (200, 10, 2)]
    corner = [(m, "digits", 0.8 + i / 10, 1, i, 1 - i, 0.85 + i / 10, 1 - i, i) for i, m in enumerate(networks)] + [("a", "counting", *[0] * 7)]
    return {
        "pretraining": [(m, 3, 0.5, 1, 4, 0.5, 100, 1) for m in networks], "corner": corner,
        "score": [(m, *size, 0.004 * k, k, 3, 2e-7 if m == "plain float32" else None)
                  for size in sizes for k, m in enumerate(("product", "plain", "plain float32"), 1)],
        "forward": [(m, dtype, 64, 224, 100 * k, 1) for m in networks for k, dtype in enumerate(("float32", "float16"), 1)],
        "training": [(m, dtype, 64, 224, 11 * 21 * 5000 / 3600 if m == "b" or dtype == "float16" else None, 1)
                     for m in networks for dtype in ("float32", "float16")],
    }  # fmt: skip


# Of each chapter what its text says of these, and its table.
SHOWN = {
    "06_pocket_zoo": (r"as a card made it on 2026-11-30: 2 networks, .* for 75 % ", ["digits"], [5.0, 1.0, -1.0, -1.0, 1.0]),
    "12_at_full_scale": (r"on a card \(2026-11-30\), .*batches of 64\. .* 1 of them .* 21 runs of 5,000 .* 11 data sets, would take 1 hours",
                         ["a", "b"], [200.0, 100.0, 320.8, None]),
    "13_what_it_costs": (r"^a card, 2026-11-30: .* at most 2e-07 off", [(100, 10, 2), (200, 10, 2)], [4.0, 2.0, 3.0]),
}  # fmt: skip


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("chapter", SHOWN)
def test_chapters_show_what_was_measured_and_nothing_else(chapter, measured, tmp_path, monkeypatch):
    shown, names = [], {}
    monkeypatch.setattr(IPython.display, "display", lambda *things: shown.extend(things))
    (tmp_path / "book").mkdir()
    monkeypatch.chdir(tmp_path / "book")
    for name, rows in made_up().items() if measured else ():
        (tmp_path / "data" / "gpu").mkdir(parents=True, exist_ok=True)
        about = pd.DataFrame([("a card", "2.0", "2026-11-30")] * len(rows), columns=ABOUT)
        pd.DataFrame(rows, columns=COLUMNS[name]).join(about).to_csv(tmp_path / "data" / "gpu" / f"{name}.csv", index=False)
    code = [cell for cell in jupytext.read(ROOT / "book" / f"{chapter}.md").cells if cell.cell_type == "code"]
    (cell,) = [cell for cell in code if "data/gpu/" in cell.source]
    assert cell.metadata["tags"] == ["remove-input"], "without tables the page has not even a cell"
    with warnings.catch_warnings(), matplotlib.rc_context():
        for source in (code[1].source, cell.source):  # imports first
            exec(source, names)
    assert len(shown) == 2 * measured
    if measured:
        words, index, first = SHOWN[chapter]
        text, table = shown
        assert re.search(words, text.data), text.data
        assert [*table.index] == index and table.iloc[0].tolist() == pytest.approx([np.nan if v is None else v for v in first], nan_ok=True, abs=0.06)


def test_every_test_that_needs_cuda_is_marked():
    for path in sorted((ROOT / "tests").glob("*/test_*.py")):
        text = path.read_text(encoding="utf-8")
        if path.name != "test_gpu.py" and re.search(r'\.cuda\(\)|device="cuda"|no CUDA device', text):
            assert "pytest.mark.cuda" in text, f"{path.name}: mark it, so that `make gpu` finds it"
