"""The command line: what it passes on, and how it speaks of errors."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sfda import files
from sfda.__main__ import build_parser, main
from sfda.benchmark import ablation, cells, scores, selections, tables
from sfda.evidence import ensembles
from sfda.images import official, tasks
from sfda.networks import backbones, pocket
from sfda.networks.pretraining import recipe
from sfda.rank import run as rank
from sfda.rank.result import rank_features
from sfda.rivals.catalogue import METRIC
from tree import ROOT


@pytest.fixture
def calls(monkeypatch):
    """Calls of the functions that do the work, which do nothing."""
    made = []
    for module, name in ((cells, "run"), (tables, "collect"), (scores, "score_zoo"), (ablation, "ablate_zoo"), (tables, "facts"),
                         (tables, "compare_cells"), (selections, "select_zoo"), (ensembles, "write_limits"), (recipe, "make")):  # fmt: skip
        def record(*arguments, name=name, **options):
            made.append((name, arguments, options))
            return {"make": {"seconds": 1.0}, "compare_cells": pd.DataFrame()}.get(name, {})

        monkeypatch.setattr(module, name, record)
    return made


def test_the_command_and_how_it_is_called(capsys):
    run = subprocess.run([sys.executable, "-m", "sfda", "--help"], capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout.startswith("usage: python -m sfda") and not run.stderr
    for command in ("ablate", "benchmark", "paper", "pretrain", "rank", "record", "score", "select"):
        with pytest.raises(SystemExit, match="^0$"):
            main([command, "--help"])
        assert f"python -m sfda {command} [-h]" in capsys.readouterr().out
    for options, message in (
        (["--batch", "0"], "--batch: expected a whole number from 1, got 0"), (["--part", "test"], "--part: invalid choice"),
        (["--per-class", "few"], "--per-class: expected a whole number from 1, got few"),
    ):  # fmt: skip
        with pytest.raises(SystemExit, match="^2$"):
            main(["rank", "photographs", "--models", "a", *options])
        assert f"argument {message}" in capsys.readouterr().err


def named_commands(text):
    """The commands that a text names, as words after `sfda`: in a block, in a line, and in short, as `paper check`."""
    text = text.replace("\\\n", " ")
    lines = re.findall(r"^ *python -m sfda( .*)$", text, flags=re.M)
    lines += re.findall(r"(?:`|<code>)python -m sfda( [^`<]*)(?:`|</code>)", text)
    short = "|".join(COMMANDS)
    lines += re.findall(rf"`((?:{short}) [^`]*)`", text)
    return [words for line in lines if (words := [word for word in shlex.split(line, comments=True) if word != "..."])]


(COMMANDS,) = (action.choices for action in build_parser()._actions if action.dest == "command")
PAGES = {str(path.relative_to(ROOT)): words for path in [*ROOT.glob("*.md"), *ROOT.glob("book/*.md"), *ROOT.glob("data/**/*.md"), ROOT / "data" / "claims.csv"]
         if (words := named_commands(path.read_text(encoding="utf-8")))}  # fmt: skip


def misunderstood(words, capsys):
    """What is wrong with a command; nothing, if all that is wrong is that it is named in short, without its arguments."""
    words = [word.replace("=ACCURACY", "=0.5") for word in words]
    parser, rest = build_parser(), words[:]
    while rest and (steps := [action.choices for action in parser._actions if isinstance(action.choices, dict)]):
        if rest[0] not in steps[0]:
            break
        parser = steps[0][rest.pop(0)]
    options = {option for action in parser._actions for option in action.option_strings}
    if unknown := [word for word in rest if word.startswith("-") and word not in options]:
        return f"{parser.prog} has no {unknown[0]}"
    try:
        read = vars(build_parser().parse_args(words))
    except SystemExit as end:
        said = capsys.readouterr().err
        short = re.search("arguments are required|expected (?:one|at least one) argument", said)
        return "" if short or end.code == 0 else said
    grid = read.get("grid", "pocket")
    return "" if re.fullmatch(r"pocket|paper|[A-Z]+|\$\w+", grid) or (ROOT / grid).is_file() else f"no grid {grid}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_names_are_understood(page, capsys):
    wrong = [(shlex.join(words), found) for words in PAGES[page] if (found := misunderstood(words, capsys))]
    assert not wrong


def test_wrong_commands_are_found(capsys):
    text = """Say `python -m sfda score --grid paper`, <code>python -m sfda rank FOLDER --colour</code>, `paper look` or
        `benchmark data/none.toml`; but `python -m sfda rank ... --shuffle`, `rank --help` and `record add FILE TASK ...`:

    python -m sfda rnk PHOTOGRAPHS \\
        --models a  # a slip
    python -m sfda rank PHOTOGRAPHS --models a --top-k 3
    """
    found = {shlex.join(words): misunderstood(words, capsys) for words in named_commands(text)}
    assert len(found) == 9 and {words.split()[-1] for words, wrong in found.items() if not wrong} == {"--shuffle", "--help", "TASK"}
    # Where commands stand in blocks of their own, all of a block are read.
    assert len(PAGES["book/12_at_full_scale.md"]) >= 5 and len(PAGES["book/cluster.md"]) >= 3


def test_benchmark(calls, tmp_path, capsys):
    assert main(["benchmark"]) == 0
    (run, arguments, options), (collect, *_) = calls
    assert (run, collect) == ("run", "collect")
    assert arguments == (list(pocket.POCKET), list(tasks.TASKS), [0, 1])  # everything by default
    assert options["tables"] is not None and not options["untrained"]
    calls.clear()
    assert main(["benchmark", "--collect"]) == 0
    assert [name for name, *_ in calls] == ["collect"]
    # Again leaves the tables alone, and needs cells of its own.
    calls.clear()
    assert main(["benchmark", "--again"]) == 2 and not calls
    assert "--again needs --cells" in capsys.readouterr().err
    assert main(["benchmark", "--again", "--models", "byol", "--tasks", "digits", "--cells", str(tmp_path)]) == 0
    assert [name for name, *_ in calls] == ["run", "compare_cells"]
    assert calls[0][2]["tables"] is None and calls[0][2]["cells"] == calls[1][1][0] == tmp_path


def test_ablate_select_and_pretrain(calls, tmp_path):
    assert main(["ablate", "--tasks", "digits"]) == 0
    (name, arguments, options), = calls
    assert name == "ablate_zoo" and arguments == (list(pocket.POCKET), ["digits"])
    assert options["table"].name == "ablations.csv"
    # It chooses first, and then tries all.
    calls.clear()
    assert main(["select", "--tasks", "usps", "--tables", str(tmp_path)]) == 0
    (first, arguments, options), (second, (names, found), limits) = calls
    assert (first, second) == ("select_zoo", "write_limits")
    assert arguments == (["usps"],) and names == ["usps"] and next(iter(found)) == "all"
    assert options["table"] == tmp_path / "ensembles.csv"
    assert limits["table"] == tmp_path / "ensemble_limits.csv" and limits["folder"] == tmp_path
    # It passes over what is there.
    calls.clear()
    (tmp_path / "byol.json").write_text("{}")
    assert main(["pretrain", "--models", "byol", "swav", "--weights", str(tmp_path)]) == 0
    assert [(name, arguments[0]) for name, arguments, _ in calls] == [("make", "swav"), ("facts", tmp_path)]


@pytest.mark.parametrize(("command", "message"), [
    (["benchmark", "--models", "resnet_1000"], "model: expected one of resnet_10, "),
    (["benchmark", "--jobs", "0"], "jobs: expected 1 or more, got 0"),
    (["benchmark", "--tasks", "imagenet"], "imagenet"),
    (["pretrain", "--models", "resnet_1000"], "model: expected one of resnet_10, "),
    (["score", "--metrics", "SFDB"], "metrics: expected some of SFDA, "),
    (["rank", "x", "--models", "a", "--figure", "a.jpg"], "--figure: expected a name with .png, .svg, .pdf, got a.jpg"),
    (["rank", "x", "--models", "a", "--csv", "no/such/a.csv"], "--csv: there is no folder no/such; make it first"),
    (["rank", "x", "--models", "a", "--json", "."], "--json: . is a folder; name a file in it"),
    *[(["rank", "x", "--models", "a", "--metric", name], message) for name, message in (
        ("left out probability", "got 'left out probability'; did you mean 'left-out probability'"), ("logm", "did you mean 'LogME'"),
        ("SDFA", "metric: expected one of SFDA, "), ("SFDB", "got 'SFDB'; did you mean 'SFDA'"), ("&%", "got '&%'\n"),
    )],
    (["rank", "x", "--models", "timm:resnet18", "resnet50"], "name: expected torchvision:NAME, "),
    (["rank", "x", "--zoo", "pocket", "--models", "timm:resnet19"], "name: timm has no 'resnet19'"),
    (["rank", "x"], "name some networks with --models, or a zoo with --zoo"),
])  # fmt: skip
def test_an_error_is_one_line(command, message, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(official, "load_images", None)  # options are looked at first, and nothing is read
    if command[0] == "benchmark":  # which brings the cells it finds into the tables
        command = [*command, "--cells", str(tmp_path), "--tables", str(tmp_path)]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("python -m sfda: ") and error.count("\n") == 1


@pytest.fixture
def photographs(tmp_path):
    for i in range(6):
        (tmp_path / "photographs" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photographs" / "ab"[i % 2] / f"{i}.png").write_bytes(b"not looked at")
    return str(tmp_path / "photographs")


def test_outside_a_clone_one_line_says_what_needs_it(monkeypatch, photographs, tmp_path, capsys):
    monkeypatch.setattr(files, "DATA", tmp_path)
    monkeypatch.setattr(backbones, "load", None)  # no network is tried
    for command in ("rank PLACE --models timm:resnet18 pocket:byol", "rank PLACE --zoo pocket",
                    "benchmark", "score", "ablate", "select", "pretrain"):  # fmt: skip
        assert main([photographs if word == "PLACE" else word for word in command.split()]) == 2
        assert re.fullmatch(r"python -m sfda: data/pocket.*: this needs the repository, .*\n", capsys.readouterr().err)


def test_rank_passes_everything_on(monkeypatch, photographs, tmp_path, capsys):
    ranked = []

    def record(*arguments, **options):
        ranked.append((*arguments, options))
        raise ValueError("enough")

    monkeypatch.setattr(rank, "rank", record)
    options = ("--metric logme --metric LEEP --side 96 --part all --per-class 7 --seed 3 --weights w --shuffle --device cpu --batch 5 --workers 2 --half "
               "--skip-unreadable --record mine.csv --observed timm:x=y.pth=0.5 --observed pocket:byol=0.75 --cache").split()  # fmt: skip
    models = ["--models", "timm:resnet18", "pocket:byol", "--zoo", "pocket"]
    assert main(["rank", photographs, *models, *options, str(tmp_path)]) == 2
    assert capsys.readouterr().err == "python -m sfda: enough\n"
    (networks, images, passed), = ranked
    assert networks[:2] == ["timm:resnet18", "pocket:byol"] and len(networks) == 2 + len(pocket.POCKET)
    assert images.classes == ["a", "b"] and len(images.everything) == 6
    del passed["progress"]
    assert passed == {
        "metric": ["LogME", "LEEP"], "part": "all", "per_class": 7, "shuffle": True, "seed": 3, "side": 96, "weights": Path("w"),
        "cache": tmp_path, "dtype": "float16", "device": "cpu", "batch": 5, "workers": 2, "skip_unreadable": True,
        "record": "mine.csv", "observed": {"timm:x=y.pth": 0.5, "pocket:byol": 0.75},
    }  # fmt: skip
    for without in ([], ["--no-cache"]):  # by default
        assert main(["rank", photographs, "--models", "pocket:byol", *without]) == 2
        passed = ranked[-1][2]
        assert (passed["metric"], passed["part"], passed["shuffle"]) == ([METRIC], "train", False)
        assert (passed["dtype"], passed["workers"], passed["skip_unreadable"]) == ("float32", "auto", False)
        assert (passed["batch"], passed["side"], passed["record"], passed["observed"]) == ("auto", None, "published", {})
        assert passed["cache"] == (None if without else rank.FEATURES)


@pytest.mark.parametrize(("command", "message"), [
    (["rank", "PLACE", "--models", "pocket:byol"], "what was finished is kept, and the same command goes on"),
    (["rank", "PLACE", "--models", "pocket:byol", "--no-cache"], "stopped; with --no-cache nothing was kept"),
    (["benchmark", "--cells", "PLACE", "--tables", "PLACE"], "what was finished is kept"),
])  # fmt: skip
def test_stopped_by_hand(monkeypatch, photographs, capsys, command, message):
    def stop(*arguments, **options):
        if command[0] == "rank":
            options["progress"]("[1/2] a: 8 of 24 images", False)
        raise KeyboardInterrupt

    for module, name in ((rank, "rank"), (cells, "run")):
        monkeypatch.setattr(module, name, stop)
    assert main([photographs if word == "PLACE" else word for word in command]) == 130
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_rank_writes_all_or_nothing(monkeypatch, photographs, tmp_path, capsys):
    y = np.arange(12) % 2
    found = rank_features({"a": np.random.default_rng(0).standard_normal((12, 3))}, y)
    monkeypatch.setattr(rank, "rank", lambda *arguments, **options: found)
    file = tmp_path / "a.csv"
    file.write_text("before")

    def full(self, path, **options):
        path.write_text("ha")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    assert main(["rank", photographs, "--models", "pocket:byol", "--csv", str(file)]) == 2
    captured = capsys.readouterr()
    assert "a alone was scored" in captured.out and "No space left on device" in captured.err
    assert file.read_text() == "before" and [p.name for p in tmp_path.iterdir() if p.is_file()] == ["a.csv"]
