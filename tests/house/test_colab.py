"""What `make colab` runs the chapters with: the ends of the range that pyproject.toml allows."""

import re
import sys

import nbformat
import pytest
from test_chapters import BESIDE, IMPORTABLE

from tree import CHAPTERS, PROJECT, ROOT, module_at

HERE = ROOT / "tests" / "colab"
DISTRIBUTIONS = {"sklearn": "scikit-learn", "IPython": "ipython"}  # where its name is not the module's

notebook = module_at(HERE / "notebook.py")


def requirements(name):
    lines = (HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_oldest_are_the_lower_bounds():
    pinned = dict(line.split("==") for line in requirements("oldest"))
    extras = PROJECT["optional-dependencies"]
    for requirement in PROJECT["dependencies"] + extras["torch"] + extras["pocket"]:
        name, bound = requirement.split(">=")
        assert f"{pinned[name]}.".startswith(f"{bound}."), (
            f"tests/colab/oldest.txt has {name} {pinned[name]}, pyproject.toml allows {bound}: pin the first of {bound}"
        )


def test_newest_are_not_pinned_and_are_what_chapters_may_import():
    names = set(requirements("newest"))
    assert not [name for name in names if re.search(r"[^\w-]", name)], "tests/colab/newest.txt must pin nothing"
    wanted = {DISTRIBUTIONS.get(name, name) for name in IMPORTABLE - sys.stdlib_module_names - BESIDE - {"sfda"}}
    assert wanted <= names, f"chapters may import {wanted - names}: list it in tests/colab/newest.txt"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_cell_installs_anything(chapter):
    # Least of all torch, which Colab has built for its own accelerators.
    for cell in nbformat.read(ROOT / chapter, as_version=4).cells:
        if cell.cell_type == "code":
            found = re.search(r"^\s*[!%].*\binstall\b|[\"']pip3?[\"']|\bensurepip\b|pip\.main|\bmicropip\b", cell.source, flags=re.M)
            assert not found, f"{chapter}: {found and found[0]}: Colab must run it with what it ships"


def written(folder, *cells):
    """A notebook of these cells, each a source and the text that is stored as its output."""
    made = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for source, text in cells:
        outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)] if text else []
        made.cells.append(nbformat.v4.new_code_cell(source, outputs=outputs))
    path = folder / "chapter.ipynb"
    nbformat.write(made, path)
    return path


def test_a_notebook_is_run_as_in_colab_and_compared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(
        tmp_path,
        ("import os, sys; print('google.colab' in sys.modules, sys.path[0] == os.getcwd())", "True True\n"),
        ("print(0.12, '0x7f00aa'); print(3)", "0.12 0x7f12345\n4\n"),
        ("import sys; print('warned', file=sys.stderr)", ""),
    )
    found = notebook.run(path, notebook.patterns(ROOT / "tests" / "nbval_sanitize.cfg"))
    assert found["error"] is None and found["seconds"] > 0
    assert found["differences"] == ["cell 2, stdout:\n-4\n+3", "cell 3, stderr:\n+warned"]
    failed = notebook.run(written(tmp_path, ("import no_such_module", "")), [])
    assert "No module named 'no_such_module'" in failed["error"]
