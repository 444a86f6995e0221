"""Runs that are killed and asked to leave: what they had reached, and what comes out in the end."""

import os
import signal
import sys
import time
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from forks import forked, forkserver
from sfda.benchmark import finetune, resuming, workers
from sfda.benchmark.cell_files import cell_path, read_cell
from sfda.benchmark.resuming import Halfway, Stopped
from small_benchmark import CELLS, NAMES, SCRIPT, SEEDS, STEPS, TASK_NAMES, measured, rerun, results, small, weights

__all__ = ["measured", "small", "weights"]  # fixtures

# Every step is written down, and noted with the process that did it.
NOTED = f"""{SCRIPT}
import os, signal
from pathlib import Path
from sfda.benchmark import resuming

resuming.MINUTES, whole = 0.0, resuming.Halfway.after

def after(self, state):
    step, notes = state.args[0], Path(os.environ["SFDA_TEST_NOTES"])
    with open(notes, "a") as file:
        file.write(f"{{self.path.parent.name}}/{{self.path.stem}} {{step}}\\n")
    HOOK
    whole(self, state)

resuming.Halfway.after = after
"""


def noted(hook):
    return NOTED.replace("HOOK", hook)


def noted_in(path):
    """(job, step) of every step that was made, in order."""
    return [(job, int(step)) for job, step in (line.split() for line in path.read_text().splitlines())]


@pytest.fixture
def notes(tmp_path, monkeypatch):
    monkeypatch.setenv("SFDA_TEST_NOTES", str(tmp_path / "notes.txt"))
    return tmp_path / "notes.txt"


def small_run(cells, weights, hook, call="cells.run(NAMES, TASK_NAMES, SEEDS, cells=CELLS, weights=WEIGHTS, device='cpu', progress=str)"):
    """The exit code of a process that runs the small benchmark, or a part of it."""
    code = f"import os; os.environ['SFDA_TEST_NOTES'] = NOTES\n{noted(hook)}\nfrom sfda.benchmark import cells\n{call}"
    names = {"NAMES": NAMES, "TASK_NAMES": TASK_NAMES, "SEEDS": SEEDS, "CELLS": cells, "WEIGHTS": weights, "NOTES": os.environ["SFDA_TEST_NOTES"]}
    process, told = forked(code, **names)
    with told:
        text = told.read()
    process.join()
    return process.exitcode, text


def test_killed_twice_inside_two_settings_and_the_cell_is_the_same(weights, measured, tmp_path, notes):
    """kill -9, before the third step of a setting and then before the second of a final run could be written down."""
    cells, names = tmp_path / "cells", f"cells.run({NAMES[:1]}, {TASK_NAMES[:1]}, SEEDS, cells=CELLS, weights=WEIGHTS, device='cpu', progress=str)"
    kill = "if self.path.stem == {!r} and step == {}: os.kill(os.getpid(), signal.SIGKILL)"
    second, final = "rate_0.03_decay_0.0001", f"seed_{SEEDS[1]}"
    for job, step in ((second, 3), (final, 2)):
        code, text = small_run(cells, weights, kill.format(job, step), names)
        assert code == -signal.SIGKILL and not text
        (place,) = (cells / "unfinished").iterdir()
        assert (place / f"{job}.pt").exists() and not (place / f"{job}.json").exists()
    assert small_run(cells, weights, "", names) == (0, "")
    # The whole: of every job each step once, but for the two that were made and lost.
    steps = noted_in(notes)
    jobs = list(dict.fromkeys(job.partition("/")[2] for job, _ in steps))
    assert len(jobs) == 3 + 1 + 2 and jobs[1] == second and jobs[-1] == final
    twice = {each: n for each, n in Counter((job.partition("/")[2], step) for job, step in steps).items() if n > 1}
    assert twice == {(second, 3): 2, (final, 2): 2}
    assert {step for _, step in steps} == set(range(1, STEPS + 1)) and len(steps) == len(jobs) * STEPS + 2
    whole = results(measured[0])
    assert results(cells) == {key: whole[key] for key in results(cells)} and len(results(cells)) == 2
    assert not (cells / "unfinished").exists()


def test_asked_to_leave_it_writes_down_how_far_it_is(weights, measured, tmp_path, notes):
    """SIGTERM, as a batch system sends it, with minutes to go until the state would be written down."""
    cells, tables = tmp_path / "cells", tmp_path / "tables"
    hook = "resuming.MINUTES = 60.0\n    if self.path.stem == 'rate_0.1_decay_0.0001' and step == 2: os.kill(os.getpid(), signal.SIGTERM)"
    arguments = ["benchmark", "--models", *NAMES[:1], "--tasks", *TASK_NAMES[:1], "--device", "cpu", "--cells", str(cells), "--tables", str(tables), "--weights", str(weights)]
    call = f"import sys\nfrom sfda.__main__ import main\nsys.exit(main({arguments}))"
    code, text = small_run(cells, weights, hook, call)
    assert (code, text) == (128 + signal.SIGTERM, "stopped; the same command goes on from what is written down\n")
    (place,) = (cells / "unfinished").iterdir()
    assert sorted(path.name for path in place.iterdir()) == ["probe.json", "rate_0.01_decay_0.0001.json", "rate_0.03_decay_0.0001.json", "rate_0.1_decay_0.0001.pt"]
    code, text = small_run(cells, weights, "", call)
    assert code == 0 and "accuracy.csv: 2 rows" in text
    assert set(Counter(noted_in(notes)).values()) == {1}  # no step was lost
    whole = results(measured[0])
    assert results(cells) == {key: whole[key] for key in results(cells)} and len(results(cells)) == 2


@pytest.fixture
def side_by_side(monkeypatch, tmp_path, notes):
    """Two processes that do what a script says before each step is written down."""
    forks = forkserver()
    # New processes import the main module of this one: let that be the script.
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "small.py"), raising=False)
    # Processes that are spawned would load torch each, which is most of what they do here.
    monkeypatch.setattr(workers.multiprocessing, "get_context", lambda how: forks)

    def run(cells, hook, **options):
        code = f"import os; os.environ['SFDA_TEST_NOTES'] = {str(notes)!r}\n{noted(hook)}"
        (tmp_path / "small.py").write_text(code, encoding="utf-8")
        return rerun(cells, jobs=2, **options)

    return run


def test_processes_side_by_side_are_asked_to_leave_through_the_first(weights, measured, tmp_path, notes, side_by_side):
    cells, lines = tmp_path / "cells", []

    def ask(line):
        lines.append(line)
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        side_by_side(cells, "", weights=weights, progress=ask)
    assert len(lines) == 1 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and not resuming.leaving()
    before, n = results(cells), len(noted_in(notes))
    assert 0 < len(before) < len(CELLS) and len(list((cells / "unfinished").glob("*/*.pt"))) <= 2
    assert side_by_side(cells, "", weights=weights) == len(CELLS) - len(before)
    assert results(cells) == results(measured[0]) and before.items() <= results(cells).items()
    steps = noted_in(notes)
    assert set(Counter(steps).values()) == {1} and n < len(steps) == 4 * (3 + 1 + 2) * STEPS


def test_a_process_that_dies_is_replaced(weights, measured, tmp_path, notes, side_by_side):
    cells = tmp_path / "cells"
    hook = "if step == 2 and not notes.with_name('died').exists():\n        notes.with_name('died').touch()\n        os.kill(os.getpid(), signal.SIGKILL)"
    assert side_by_side(cells, hook, weights=weights) == len(CELLS)
    assert (tmp_path / "died").exists() and results(cells) == results(measured[0])


def test_processes_that_are_all_asked_to_leave_lose_no_step(weights, measured, tmp_path, notes, side_by_side):
    """As a batch system asks a group of processes, and a pool those beside one that has left: often twice."""
    cells = tmp_path / "cells"
    hook = "told = notes.with_name(f'told {os.getpid()}')\n    if step == 2 and not told.exists():\n        told.touch()\n        [os.kill(os.getpid(), signal.SIGTERM) for _ in range(2)]"
    try:
        assert side_by_side(cells, hook, weights=weights, task_names=["digits"]) == len(CELLS) // len(TASK_NAMES)
    except RuntimeError:  # a job may have met DEATHS such processes: what it had reached is there
        assert side_by_side(cells, "", weights=weights, task_names=["digits"]) > 0
    assert len(list(tmp_path.glob("told *"))) >= 2 and set(Counter(noted_in(notes)).values()) == {1}
    whole = results(measured[0])
    assert results(cells) == {key: value for key, value in whole.items() if key.startswith("pretrained/digits")}


def test_ctrl_c_reaches_the_first_process_once_and_ends_the_others_twice():
    code = """import os, signal
from types import SimpleNamespace
from sfda.benchmark import workers
workers._outlive_nobody = lambda: None
workers._begin(1, SimpleNamespace(value=0))
os.kill(os.getpid(), signal.SIGINT)
print("goes on", flush=True)
os.kill(os.getpid(), signal.SIGINT)
print("still there", flush=True)"""
    process, told = forked("exec(CODE, {})", CODE=code)
    with told:
        assert told.read() == "goes on\n"
    process.join()
    assert process.exitcode == -signal.SIGINT


def test_a_process_does_not_outlive_the_first():
    code = """import multiprocessing, os, signal, time
from types import SimpleNamespace
from sfda.benchmark import workers

def idle():
    workers._begin(1, SimpleNamespace(value=0))
    print("begun", flush=True)
    begun.set()
    time.sleep(30)
    print("outlived", flush=True)

begun = multiprocessing.get_context("fork").Event()
multiprocessing.get_context("fork").Process(target=idle).start()
begun.wait()
os.kill(os.getpid(), signal.SIGKILL)"""
    process, told = forked("exec(CODE, {})", CODE=code)
    with told:
        assert told.read() == "begun\n"  # to its end, which comes with that of the last process
    process.join()


def test_an_error_in_what_is_told_ends_the_run(weights, measured, tmp_path, notes, side_by_side):
    cells = tmp_path / "cells"

    def fail(line):
        raise ZeroDivisionError(line)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError):
        side_by_side(cells, "", weights=weights, progress=fail)
    n = len(noted_in(notes))
    assert signal.getsignal(signal.SIGTERM) is before and not resuming.leaving()
    assert side_by_side(cells, "", weights=weights) > 0 and results(cells) == results(measured[0])
    assert set(Counter(noted_in(notes)).values()) == {1} and n < len(noted_in(notes))


def test_a_job_that_kills_its_process_again_and_again_is_given_up_alone(weights, measured, tmp_path, notes, side_by_side):
    cells, lines = tmp_path / "cells", []
    message = f"vit_tiny on digits: its process was killed {workers.DEATHS} times"
    with pytest.raises(RuntimeError, match=f"^{message}$"):
        side_by_side(cells, "if 'vit_tiny' in str(self.path): os.kill(os.getpid(), signal.SIGKILL)", weights=weights, task_names=["digits"], progress=lines.append)
    assert message in lines and len(lines) == 2
    whole = results(measured[0])
    assert results(cells) == {key: value for key, value in whole.items() if key.startswith("pretrained/digits/googlenet")}


# --- one training -------------------------------------------------------------------


class Stops(Halfway):
    """Leaves after some steps."""

    def __init__(self, path, *, after=None, digest="a"):
        super().__init__(path, digest)
        self.steps, self.first, self.last = 0, None, after

    def after(self, state):
        self.steps += 1
        self.first = self.first or state.args[0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resuming, "leaving", lambda: self.steps == self.last)
            super().after(state)


@pytest.fixture(scope="module")
def data():
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 255, (30, 3, 8, 8), dtype=torch.uint8, generator=rng), torch.arange(30) % 3


def train(data, kept=None, **options):
    """A network with all that has a state: batch normalisation, and units that are dropped."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images, labels = data
    options = {"learning_rate": 0.05, "weight_decay": 0.01, "mirror": True, "steps": 7, "batch": 8, "seed": 5} | options
    run = finetune.finetune(network, 3, images, labels, images, kept=kept, **options)
    return run.logits.tolist(), run.curve


@pytest.mark.parametrize("plain", [False, True])
def test_a_training_that_left_after_any_step_ends_with_the_same_numbers(data, tmp_path, plain):
    whole = train(data, plain=plain)
    for stops in ([1], [3], [7], [2, 4], [1, 1, 1]):  # 30 images in batches of 8: the order goes on within a pass
        path, done = tmp_path / f"{stops}.pt", 0
        for n in stops:
            with pytest.raises(Stopped):
                train(data, Stops(path, after=n), plain=plain)
            done += n
        last = Stops(path)
        assert train(data, last, plain=plain) == whole
        assert last.steps == 7 - done and last.first == (done + 1 if done < 7 else None) and last.earlier > 0
        last.remove()
        assert not path.exists()


def test_what_is_damaged_or_of_another_training_is_started_over(data, tmp_path, monkeypatch):
    path, whole = tmp_path / "a.pt", train(data)
    with pytest.raises(Stopped):
        train(data, Stops(path, after=4))
    left = path.read_bytes()
    middle = len(left) // 2
    for content in (left[:middle], b"", left[:middle] + bytes(200) + left[middle + 200 :]):
        path.write_bytes(content)
        kept = Stops(path)
        assert train(data, kept) == whole and kept.steps == 7 and kept.earlier == 0
    path.write_bytes(left)
    for options, digest in (({"seed": 6}, "a"), ({"learning_rate": 0.06}, "a"), ({"weight_decay": 0.0}, "a"), ({"batch": 9}, "a"), ({"steps": 8}, "a"),
                            ({"plain": True}, "a"), ({"mirror": False}, "a"), ({}, "b")):  # fmt: skip
        kept = Stops(path, digest=digest)
        assert train(data, kept, **options) == train(data, **options) and kept.steps == options.get("steps", 7)
    # Not what could run code either.
    torch.save({"key": "a", "seconds": 1.0, "step": print}, path)
    assert train(data, Stops(path)) == whole


def test_it_is_written_every_few_minutes(tmp_path, monkeypatch):
    now, written = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    kept = Halfway(tmp_path / "a" / "b.pt", "a")
    for step in range(1, 11):
        now[0] += 61.0
        kept.after(lambda: written.append(step) or {"step": step})  # noqa: B023
    assert resuming.MINUTES == 3 and written == [3, 6, 9]
    again = Halfway(tmp_path / "a" / "b.pt", "a")
    assert again.read("") is None and kept.read("x") is None  # the key is what the training says of itself
    monkeypatch.undo()
    kept.read("x")
    kept.written = -1e9
    kept.after(lambda: {"step": 4})
    again = Halfway(tmp_path / "a" / "b.pt", "a")
    assert again.read("x")["step"] == 4 and again.earlier >= 610 and [p.name for p in (tmp_path / "a").iterdir()] == ["b.pt"]


def test_a_training_goes_on_where_nothing_can_be_written(data, tmp_path, monkeypatch):
    (tmp_path / "a").write_text("in the way")
    monkeypatch.setattr(resuming, "MINUTES", 0.0)
    with pytest.warns(RuntimeWarning, match=r"b\.pt: how far it is cannot be written: "):
        assert train(data, Halfway(tmp_path / "a" / "b.pt", "a")) == train(data)
    with pytest.warns(RuntimeWarning, match="cannot be written"), pytest.raises(Stopped):
        train(data, Stops(tmp_path / "a" / "b.pt", after=2))


def test_the_seconds_of_a_cell_are_those_of_all_runs(weights, tmp_path, notes):
    cells, names = tmp_path / "cells", f"cells.run({NAMES[:1]}, {TASK_NAMES[:1]}, [0], cells=CELLS, weights=WEIGHTS, device='cpu', progress=str)"
    hook = "self.earlier += 1000.0 if (step, self.path.stem) in ((2, 'seed_0'), (1, 'rate_0.1_decay_0.0001')) else 0.0\n    if step == 3 and self.path.stem == 'seed_0': os.kill(os.getpid(), signal.SIGKILL)"
    assert small_run(cells, weights, hook, names)[0] == -signal.SIGKILL
    assert small_run(cells, weights, "", names) == (0, "")
    record, probabilities = read_cell(cell_path(cells, NAMES[0], TASK_NAMES[0], 0))
    assert 1000 < record["seconds"] < 2000 and 1000 < record["choice_seconds"] < 2000 and np.isfinite(probabilities).all()
