"""Results of fine-tuning as CSV files: both forms, whatever writes them, and several processes at once."""

import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import quick
from sfda import Record
from sfda.evidence.runs import COLUMNS, add_runs, check_runs, read_runs

ROWS = "network,task,seed,accuracy\na,t,0,0.5\nb,t,0,0.25\nb,t,1,0.75\n"
WIDE = "network,t1,t2\na,0.5,0.75\nb,0.25,\n"
READ = {
    "rows": (ROWS, [("a", "t", 0, 0.5), ("b", "t", 0, 0.25), ("b", "t", 1, 0.75)]),
    "a table": (WIDE, [("a", "t1", 0, 0.5), ("a", "t2", 0, 0.75), ("b", "t1", 0, 0.25)]),
    "no seeds": ("network,task,accuracy\na,t,.5\nb,t,0.25\n", [("a", "t", 0, 0.5), ("b", "t", 0, 0.25)]),
    "other names": ("model,dataset,seed,accuracy,device\na,t,1,.5,cpu\nb,t,,0.25,\n", [("a", "t", 1, 0.5), ("b", "t", 0, 0.25)]),
    "names that look like numbers": ("network,task,accuracy\n01,1.0,.5\n1,1.0,.25\n", [("01", "1.0", 0, 0.5), ("1", "1.0", 0, 0.25)]),
    "names that look like none": ("network,task,accuracy\nNA,null,.5\nnan,null,.25\n", [("NA", "null", 0, 0.5), ("nan", "null", 0, 0.25)]),
    "odd names": ('network,task,accuracy\n"timm:x=/a b,c.pth","my ""t""",.5\nb,"my ""t""",.25\n', [("timm:x=/a b,c.pth", 'my "t"', 0, 0.5), ("b", 'my "t"', 0, 0.25)]),
    "missing ones": ("network,t1,t2\na,0.5,NA\nb,-,0.25\n", [("a", "t1", 0, 0.5), ("b", "t2", 0, 0.25)]),
    "decimal commas": ("network;t1;t2\na;0,5;0,75\nb;0,25;\n", [("a", "t1", 0, 0.5), ("a", "t2", 0, 0.75), ("b", "t1", 0, 0.25)]),
    "tabs": (ROWS.replace(",", "\t"), [("a", "t", 0, 0.5), ("b", "t", 0, 0.25), ("b", "t", 1, 0.75)]),
    "spaces": (ROWS.replace(",", " , "), [("a", "t", 0, 0.5), ("b", "t", 0, 0.25), ("b", "t", 1, 0.75)]),
    "a mark of the order of bytes": ("\ufeff" + WIDE, [("a", "t1", 0, 0.5), ("a", "t2", 0, 0.75), ("b", "t1", 0, 0.25)]),
    "other ends of lines": (ROWS.replace("\n", "\r\n") + "\r\n", [("a", "t", 0, 0.5), ("b", "t", 0, 0.25), ("b", "t", 1, 0.75)]),
}  # fmt: skip


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def frame(*rows):
    return pd.DataFrame(rows, columns=["network", "task", "accuracy"])


@pytest.mark.parametrize("form", READ)
def test_reading(form, tmp_path):
    text, rows = READ[form]
    found = read_runs(write(tmp_path / "x.csv", text))
    assert list(found) == list(COLUMNS) and sorted(found.itertuples(index=False, name=None)) == sorted(rows)


def test_seeds_are_averaged(tmp_path):
    assert Record.read(str(write(tmp_path / "x.csv", ROWS))).accuracies["t"].to_dict() == {"a": 0.5, "b": 0.5}


def test_scores_under_the_names_of_their_metrics(tmp_path):
    path = write(tmp_path / "x.csv", "network,task,accuracy,SFDA,LogME,seconds\na,t,.5,1,-0.5,3\nb,t,.25,,0.5,3\n")
    found = read_runs(path)
    assert list(found) == [*COLUMNS, "SFDA", "LogME"] and found["SFDA"].tolist()[0] == 1 and np.isnan(found["SFDA"][1])
    record = Record.read(path)
    assert list(record.scores) == ["SFDA", "LogME"] and record.scores["LogME"]["t"].tolist() == [-0.5, 0.5]


@pytest.mark.parametrize(("text", "message"), [
    ("", "expected columns network, task and accuracy, found nothing"), ("\n\n", "found nothing"),
    (ROWS[:-4], "its last line is cut off; take it away, or end it with a new line if it is whole"),
    ("network\na\n", "expected columns network, task and accuracy, or a table of networks by tasks; 'network' is the only column"),
    ("network,accuracy\na,.5\n", "expected a column 'task', found network, accuracy"),
    ("network,task,accuracy\na,t,90%\n", "accuracy: expected numbers, got '90%'"),
    ("network,t\na,good\n", "or a table of networks by tasks; t: expected numbers, got 'good'"),
    ("network,task,accuracy\na,t,.5\na,t,.6\n", r"a on t is there twice \(seed 0\)"), ("network,t\na,.5\na,.6\n", r"a on t is there twice \(seed 0\)"),
    ("network,t,t\na,.5,.6\n", "column 't' is there twice"), ("network,task,accuracy\n,t,.5\n", "network: expected a name in every row, row 1 has none"),
    ("network,task,seed,accuracy\na,t,x,.5\n", "seed: expected numbers, got 'x'"), ("network,task,seed,accuracy\na,t,.5,.5\n", "seed: expected whole numbers, got 0.5"),
    ("network,task,accuracy\na,b,t,.5\n", "expected 3 cells a row, as in the first, got 4 after 'a'"), ("network,task,accuracy\na,t\n", "expected 3 cells a row, .* got 2 after 'a'"),
    ("network,task,accuracy\nä,t,.5\n".encode("latin-1"), "expected text in UTF-8"), (b"\x89PNG\r\n\x1a\n\0", "expected text in UTF-8"),
    ("network,task,accuracy,SFDA\na,t,.5,x\n", "SFDA: expected numbers, got 'x'"),
])  # fmt: skip
def test_files_that_are_no_results(text, message, tmp_path):
    path = write(tmp_path / "x.csv", text)
    before = path.read_bytes()
    for function in (read_runs, Record.read, lambda path: add_runs(path, frame(("a", "t", 0.5)))):
        if not before and function not in (read_runs, Record.read):
            continue  # to an empty file anything may be added
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{message}") as error:
            function(path)
        assert "\n" not in str(error.value) and path.read_bytes() == before


@pytest.mark.parametrize(("text", "message"), [
    ("network,t\na,90\nb,80\n", "accuracies: expected shares of 1, got 90 for 'a' on 't'; divide per cent by 100"),
    ("network,task,accuracy\na,t,.5\n", "accuracies: expected two networks at least, got 1"), ("network,task,accuracy\n", "expected two networks at least, got 0"),
    ("network,task,accuracy\na,t,.5\nb,s,.5\n", "accuracies: expected a task that knows two networks at least, found none"),
    ("network,task,accuracy,SFDA\na,t,.5,inf\nb,t,.5,1\n", r"scores\['SFDA'\]: expected finite numbers or NaN, got infinity"),
])  # fmt: skip
def test_files_that_are_no_record(text, message, tmp_path):
    path = write(tmp_path / "x.csv", text)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{message}"):
        Record.read(path)


def test_paths_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.csv: there is no such file$"):
        read_runs(tmp_path / "none.csv")
    for function in (read_runs, check_runs):
        with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path))}: expected a CSV file, found a folder$"):
            function(tmp_path)
    for path in (None, 3, frame()):
        with pytest.raises(ValueError, match="^path: expected the path of a CSV file, got "):
            read_runs(path)


# --- adding ---------------------------------------------------------------------------


def test_adding(tmp_path):
    path = tmp_path / "new" / "x.csv"
    assert add_runs(path, frame(("b", "t", 0.5))) == 1 and add_runs(str(path), frame(("a", "t", 0.25))) == 2
    assert path.read_text() == "network,task,seed,accuracy\na,t,0,0.25\nb,t,0,0.5\n"
    # One of the same network, task and seed takes the other's place, and leaves its score.
    assert add_runs(path, frame(("a", "t", 0.75)).assign(SFDA=-2.0)) == 2
    assert add_runs(path, frame(("a", "t", 0.5))) == 2 and add_runs(path, frame(("a", "t", 0.5)).assign(seed=1)) == 3
    assert path.read_text() == "network,task,seed,accuracy,SFDA\na,t,0,0.5,-2.0\na,t,1,0.5,\nb,t,0,0.5,\n"
    assert add_runs(path, read_runs(path)) == 3 == add_runs(path, frame())
    # A table of networks by tasks becomes rows.
    wide = write(tmp_path / "wide.csv", WIDE)
    assert add_runs(wide, pd.DataFrame({"network": ["b"], "t2": [0.5]})) == 4
    assert set(read_runs(wide)["accuracy"]) == {0.25, 0.5, 0.75} and "accuracy" in wide.read_text()
    empty = write(tmp_path / "empty.csv", "")
    check_runs(empty)
    assert empty.read_text() == "network,task,seed,accuracy\n" and add_runs(empty, frame(("a", "t", 1))) == 1


@pytest.mark.parametrize(("runs", "message"), [
    (frame(("a", "t", 50)), "accuracy: expected a share of 1, got 50 of 'a'; divide per cent by 100"), (frame(("a", "t", -0.5)), "got -0.5 of 'a'$"),
    (frame(("a", "t", np.nan)), "got nan of 'a'$"), (frame(("a", "t", 0.5), ("a", "t", 0.5)), "a on t is there twice"), (None, "runs: expected a DataFrame, got NoneType"),
    (frame((None, "t", 0.5)), "network: expected a name in every row, row 1 has none"), (frame(("a", " ", 0.5)), "task: expected a name in every row"),
    (frame(("a", "t", "high")), "accuracy: expected numbers, got 'high'"), (frame(("a", "t", 0.5)).drop(columns="task"), "expected a column 'task'"),
])  # fmt: skip
def test_nothing_is_added_of_bad_results(runs, message, tmp_path):
    path = write(tmp_path / "x.csv", ROWS)
    with pytest.raises(ValueError, match=f"^{message}" if message[0] != "g" else message):
        add_runs(path, runs)
    assert path.read_text() == ROWS and [each.name for each in tmp_path.iterdir()] == ["x.csv"]


def test_columns_of_other_files_are_not_lost(tmp_path):
    text = "network,task,accuracy,note\na,t,0.5,mine\n"
    path = write(tmp_path / "x.csv", text)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: its column 'note' would be lost; add to another file$"):
        add_runs(path, frame(("b", "t", 0.5)))
    assert path.read_text() == text


@quick(40)
@given(st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)] * 2, st.floats(0, 1)), min_size=1, max_size=5))
def test_any_name_comes_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("names") / "x.csv"
    expected = {(network.strip(), task.strip()): accuracy for network, task, accuracy in rows}
    add_runs(path, frame(*((*names, accuracy) for names, accuracy in expected.items())))
    add_runs(path, frame(("one more", "task", 0.5)))
    found = read_runs(path)
    assert dict(zip(zip(found["network"], found["task"]), found["accuracy"])) == expected | {("one more", "task"): 0.5}


ADDING = """
import sys
import pandas as pd
from sfda.evidence.runs import add_runs
print("ready", flush=True)
for i in range(20):
    add_runs(sys.argv[1], pd.DataFrame({"network": [f"{sys.argv[2]}{i}"], "task": ["t"], "accuracy": [0.5]}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on folders there")
def test_two_processes_at_once_lose_nothing(tmp_path):
    path = tmp_path / "x.csv"
    both = [subprocess.Popen([sys.executable, "-c", ADDING, path, name], stdout=subprocess.PIPE) for name in "ab"]
    assert [process.wait(60) for process in both] == [0, 0]
    for process in both:
        process.stdout.close()
    assert len(read_runs(path)) == 40 and [each.name for each in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal there")
def test_a_process_that_is_stopped_leaves_a_whole_file(tmp_path):
    path = tmp_path / "x.csv"
    process = subprocess.Popen([sys.executable, "-c", ADDING.replace("20", "10**6"), path, "a"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.readline()
    while not path.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    process.stdout.close()
    n = len(read_runs(path))
    assert [each.name for each in tmp_path.iterdir()] == ["x.csv"] and add_runs(path, frame(("b", "t", 1))) == n + 1
