"""The command line: what it passes on, and how it speaks of errors."""

import subprocess
import sys

import pandas as pd
import pytest

from sfda import benchmark, ensemble_truth, models, pocket, scoring, selecting, tasks
from sfda.__main__ import main


@pytest.fixture
def calls(monkeypatch):
    """Calls of the functions that do the work, which do nothing."""
    made = []
    for module, name in ((benchmark, "run"), (benchmark, "collect"), (scoring, "score_zoo"),
                         (scoring, "ablate_zoo"), (benchmark, "compare"),
                         (selecting, "select_zoo"), (ensemble_truth, "write_limits"),
                         (pocket, "make"), (pocket, "facts")):  # fmt: skip
        def record(*arguments, name=name, **options):
            made.append((name, arguments, options))
            return {"make": {"seconds": 1.0}, "compare": pd.DataFrame()}.get(name, {})

        monkeypatch.setattr(module, name, record)
    return made


def test_it_is_a_command():
    run = subprocess.run([sys.executable, "-m", "sfda", "--help"], capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout.startswith("usage: python -m sfda") and not run.stderr


@pytest.mark.parametrize("command", ["ablate", "benchmark", "pretrain", "score", "select"])
def test_help(command, capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main([command, "--help"])
    assert f"python -m sfda {command} [-h]" in capsys.readouterr().out


def test_benchmark_measures_everything_by_default(calls):
    assert main(["benchmark"]) == 0
    (run, arguments, options), (collect, *_) = calls
    assert (run, collect) == ("run", "collect")
    assert arguments == (list(models.POCKET), list(tasks.TASKS), [0, 1])
    assert options["tables"] is not None and not options["untrained"]


def test_again_leaves_the_tables_alone(calls, tmp_path):
    arguments = ["benchmark", "--again", "--models", "byol", "--tasks", "digits"]
    assert main([*arguments, "--cells", str(tmp_path)]) == 0
    assert [name for name, *_ in calls] == ["run", "compare"]
    assert calls[0][2]["tables"] is None and calls[0][2]["cells"] == calls[1][1][0] == tmp_path


def test_again_needs_cells_of_its_own(calls, capsys):
    assert main(["benchmark", "--again"]) == 2 and not calls
    assert "--again needs --cells" in capsys.readouterr().err


def test_collect_measures_nothing(calls):
    assert main(["benchmark", "--collect"]) == 0
    assert [name for name, *_ in calls] == ["collect"]


def test_ablate(calls):
    assert main(["ablate", "--tasks", "digits"]) == 0
    (name, arguments, options), = calls
    assert name == "ablate_zoo" and arguments == (list(models.POCKET), ["digits"])
    assert options["table"].name == "ablations.csv"


def test_select_chooses_first_and_then_tries_all(calls, tmp_path):
    assert main(["select", "--tasks", "usps", "--tables", str(tmp_path)]) == 0
    (first, arguments, options), (second, (names, found), limits) = calls
    assert (first, second) == ("select_zoo", "write_limits")
    assert arguments == (["usps"],) and names == ["usps"] and list(found)[0] == "all"
    assert options["table"] == tmp_path / "ensembles.csv"
    assert limits["table"] == tmp_path / "ensemble_limits.csv" and limits["folder"] == tmp_path


def test_pretrain_passes_over_what_is_there(calls, tmp_path):
    (tmp_path / "byol.json").write_text("{}")
    assert main(["pretrain", "--models", "byol", "swav", "--weights", str(tmp_path)]) == 0
    assert [(name, arguments[0]) for name, arguments, _ in calls] == [
        ("make", "swav"), ("facts", tmp_path),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["benchmark", "--models", "resnet_1000"], "model: expected one of resnet_10, "),
        (["benchmark", "--jobs", "0"], "jobs: expected 1 or more, got 0"),
        (["benchmark", "--tasks", "imagenet"], "imagenet"),
        (["pretrain", "--models", "resnet_1000"], "model: expected one of resnet_10, "),
        (["score", "--metrics", "SFDB"], "metrics: expected some of SFDA, "),
    ],
)
def test_an_error_is_one_line(command, message, capsys, tmp_path):
    if command[0] == "benchmark":  # which brings the cells it finds into the tables
        command = [*command, "--cells", str(tmp_path), "--tables", str(tmp_path)]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("python -m sfda: ") and error.count("\n") == 1


def test_stopped_by_hand(monkeypatch, capsys, tmp_path):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "run", stop)
    folders = ["--cells", str(tmp_path), "--tables", str(tmp_path)]
    assert main(["benchmark", *folders]) == 130
    assert "what was finished is kept" in capsys.readouterr().err
