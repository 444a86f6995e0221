"""The command ``python -m sfda record``."""

import re

import pytest

from sfda import Record
from sfda.__main__ import main
from sfda.evidence import published
from sfda.evidence.record import MEASURED
from sfda.evidence.runs import read_runs

ROWS = "network,task,seed,accuracy\na,t,0,0.5\nb,t,0,0.25\n"


def test_add(tmp_path, capsys):
    path = str(tmp_path / "mine.csv")
    assert main(["record", "add", path, "birds", "timm:x=/my weights/a,b.pth=0.5", "b=1"]) == 0
    assert capsys.readouterr().out == f"{path}: 2 results added, 2 in all\n"
    assert main(["record", "add", path, "my birds, 2", "b=0.25", "--seed", "1"]) == 0
    other = tmp_path / "other.csv"
    other.write_text("model,task,seed,accuracy,device\nc,t,0,0.5,cpu\n")
    assert main(["record", "add", path, "birds", "b=0.75", "--table", str(other)]) == 0
    assert capsys.readouterr().out.endswith(f"{path}: 2 results added, 1 of them in the place of older ones, 4 in all\n")
    found = sorted(read_runs(path).itertuples(index=False, name=None))
    assert found == [("b", "birds", 0, 0.75), ("b", "my birds, 2", 1, 0.25), ("c", "t", 0, 0.5), ("timm:x=/my weights/a,b.pth", "birds", 0, 0.5)]
    assert other.read_text().endswith("0.5,cpu\n")


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "nothing to add: give a task and NAME=ACCURACY, or --table FILE"), (["birds"], "nothing to add"), (["birds", "--table", "PLACE/mine.csv"], "nothing to add"),
    (["birds", "a=90"], "accuracy: expected a share of 1, got 90 of 'a'; divide per cent by 100"), (["birds", "a=nan"], "accuracy: expected a share of 1, got nan of 'a'"),
    (["birds", "a=0.5", "a=0.6"], "a on birds is there twice (seed 0)"), ([" ", "a=0.5"], "task: expected a name in every row, row 1 has none"),
    (["--table", "PLACE/none.csv"], "none.csv: there is no such file"), (["--table", "PLACE"], "expected a CSV file, found a folder"),
])  # fmt: skip
def test_what_cannot_be_added(arguments, message, tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text(ROWS)
    assert main(["record", "add", str(path), *(each.replace("PLACE", str(tmp_path)) for each in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and path.read_text() == ROWS


@pytest.mark.parametrize("text", ["a", "=0.5", "a=", "a=90%", "a=0,5"])
def test_results_that_are_none(text, tmp_path, capsys):
    with pytest.raises(SystemExit, match="^2$"):
        main(["record", "add", str(tmp_path / "mine.csv"), "birds", text])
    assert f"expected NAME=ACCURACY, a number from 0 to 1, got {text}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_show(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text("network,t1,t2\na,0.9,0.8\nb,0.5,\nc,0.4,0.3\n")
    assert main(["record", "show", str(path)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("3 networks on 2 tasks: 5 of 6 accuracies are known\ntasks: t1 (3), t2 (2)\n\n") and text.endswith("next to fine-tune: a\n")
    expected = Record.read(path).forecast()
    assert re.findall(r"^ +([abc]) +([+-][\d.]+)", text, flags=re.M) == [(name, f"{value:+.2f}") for name, value in expected["forecast"].items()]
    assert "the logits of their accuracies" in " ".join(text.split()) and "80 % interval" in text
    assert main(["record", "show", str(path), "--networks", "a", "new", "--observed", "a=0.7"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^ +new .* 0$", text, flags=re.M) and text.endswith("next to fine-tune: new\n") and "\n  b " not in text
    assert main(["record", "show", str(path), "--networks", "a", "--observed", "a=0.7"]) == 0
    assert "next to fine-tune" not in capsys.readouterr().out
    assert main(["record", "show", "tmlr"]) == 0
    assert "10 networks on 11 tasks: 110 of 110 accuracies are known" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["PLACE/none.csv"], f"nor such a record; published are {', '.join((*published.RECORDS, *MEASURED))}"), (["PLACE"], "there is no file "), ([""], "there is no file "),
    (["tmlr", "--observed", "resnet50=80"], "observed['resnet50']: expected a share of 1, got 80.0; divide per cent by 100"),
    (["tmlr", "--observed", "a=0.5", "a=0.6"], "--observed: a is there twice"), (["tmlr", "--networks", "a", "a"], "networks: 'a' is there twice"), (["tmlr", "--networks", "a", "--observed", "b=0.5"], "observed: expected some of the networks 'a', got 'b'"),
])  # fmt: skip
def test_what_cannot_be_shown(arguments, message, tmp_path, capsys):
    assert main(["record", "show", *(each.replace("PLACE", str(tmp_path)) for each in arguments)]) == 2
    text = capsys.readouterr()
    assert message in text.err and text.err.count("\n") == 1 and not text.out
