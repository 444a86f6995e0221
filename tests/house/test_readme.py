"""The README keeps its promises: its code runs, its links lead somewhere."""

import re
import subprocess
import sys

import nbformat
import numpy as np
import pytest

import sfda
from notebooks import PICTURES, figure
from sfda.evidence import verdict
from tree import ADDRESS, COLAB, ROOT, tracked_files

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_code_runs():
    blocks = re.findall(r"^```python\n(.*?)^```", README, flags=re.M | re.S)
    assert blocks, "README.md shows no ```python block: show how to use sfda"
    # One script: a later block may use what an earlier one made.
    result = subprocess.run([sys.executable, "-c", "\n".join(blocks)], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, f"README.md: its code fails; mend it:\n{result.stderr}"
    # What the README says of its output: six networks, ranked, and the columns disagree.
    columns = [[float(value) for value in re.findall(r"\b[01]\.\d{3}\b", line)] for line in result.stdout.splitlines()]
    held_out, challenged = map(list, zip(*columns, strict=True))
    assert len(held_out) == 6 and held_out == sorted(held_out, reverse=True) != challenged != sorted(challenged, reverse=True)


def test_the_published_score_is_one_for_all_six():
    assert "is 1.000 for all six: five have more features" in README
    flowers = np.load(ROOT / "data" / "features" / "flowers.npz")
    fit = flowers["split"] == 0
    wide = 0
    for name in (k for k in flowers if flowers[k].dtype == np.float16):
        X = flowers[name][fit]
        wide += X.shape[1] > len(X)
        with pytest.warns(sfda.SaturationWarning):
            assert f"{sfda.sfda_score(X, flowers['labels'][fit]):.3f}" == "1.000"
    assert wide == 5


def test_the_left_out_probability_is_ahead_in_the_pocket_benchmark():
    assert "the first is ahead of both versions of the score" in README
    pairs = [verdict.contest(group)[:2] for group in ("supervised", "self-supervised", "transformer")]
    ahead = verdict.pooled_interval(pairs, versus="SFDA")
    first = ahead.loc["left-out probability"]
    assert first["mean"] > max(0, ahead.loc["left-out SFDA", "mean"]) and first["low"] > 0
    kept = verdict.table("tasks").query("half == 'reporting'")["name"]
    ahead = verdict.pooled_interval([[part[part["task"].isin(kept)] for part in pair] for pair in pairs], versus="SFDA")
    assert ahead.loc["left-out probability", "low"] < 0 < ahead.loc["left-out probability", "mean"]  # not shown


def test_commands_are_named_and_addresses_are_the_public_one():
    assert "make book" in README and "make test" in README
    for link in re.findall(r"https://colab\.research\.google\.com/github/[^\s)\"'>]+", README):
        assert link.startswith(f"{COLAB}/blob/main/"), f"README.md: {link} must begin with {COLAB}/blob/main/"
        path = link.removeprefix(f"{COLAB}/blob/main/")
        assert (ROOT / path).is_file(), f"README.md: Colab link to {path}, which does not exist"
    uses = r"https://github\.com/[^\s)]+/actions/[^\s)]+|(?<=git clone )\S+|(?<=git\+)https://[^\s\"')]+"
    for link in re.findall(uses, README):
        assert link.startswith(ADDRESS), f"README.md: {link} must begin with {ADDRESS}, as pyproject.toml has it"


def test_linked_files_exist():
    files = set(tracked_files())
    links = re.findall(r"\]\(([^)\s]+)\)", README) + re.findall(r"(?:src|href)=\"([^\"]+)\"", README)
    for link in links:
        if not re.match(r"[a-z]+:|#", link):
            path = (ROOT / link.split("#")[0]).resolve()
            assert path in files or path.is_dir(), f"README.md: link to {link}, which is not in the repository"


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_the_chapters_figures(name):
    notebooks = [nbformat.read(path, as_version=4) for path in (ROOT / "book").glob("*.ipynb")]
    pictures = [figure(notebook, name) for notebook in notebooks]
    assert PICTURES[name].read_bytes() in pictures, f"{PICTURES[name].name} is not {name}: run `make chapters`"
