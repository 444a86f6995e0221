"""What holds of the code as a whole: its style, its types, its length, and who imports whom."""

import ast
import graphlib
import inspect
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

import sfda
from order import FIRST
from sfda.cluster import dask_score
from sfda.rank import rank
from sfda.ranked import rank_features
from tree import ROOT, tracked_files

MODULES = {path.stem: path for path in sorted((ROOT / "sfda").glob("*.py"))}
PYTHON = [path for path in tracked_files() if path.suffix == ".py"]
LONGEST = 500  # lines of a file: what is longer holds two ideas
# The chapters call these by their modules' names, which say of what they are.
NAMESAKES = {"contest": ["ensemble_truth", "verdict"], "mean_interval": ["ranking", "verdict"]}


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def run(tool, *arguments):
    """Output of a checker, empty where it has nothing to say."""
    done = subprocess.run([sys.executable, "-m", tool, *arguments], cwd=ROOT, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


# --- style and types --------------------------------------------------------------


def test_ruff_has_nothing_to_say():
    found = run("ruff", "check", "--no-cache", "--output-format=concise", ".")
    assert not found, f"mend what can be mended with `.venv/bin/ruff check --fix`\n{found}"


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_file_has_one_idea(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{path.name}: {lines} lines, at most {LONGEST}; give its second idea a file of its own"


@pytest.fixture(scope="module")
def complaints():
    """What mypy says of the module and of the two example files: (file, line, words)."""
    examples = ["tests/typed_example.py", "tests/typed_mistakes.py"]
    found = run("mypy", "--no-incremental", "--no-error-summary", "--hide-error-context", "sfda", *examples)
    lines = [re.fullmatch(r"(.+?):(\d+): error: (.*)", line) for line in found.splitlines() if ": note:" not in line]
    assert all(lines), f"mypy did not run:\n{found}"
    return [(Path(line[1]).name, int(line[2]), line[3]) for line in lines]


def test_types_agree(complaints):
    found = [complaint for complaint in complaints if complaint[0] != "typed_mistakes.py"]
    assert not found, f"run `.venv/bin/mypy`: {found}"


def test_mistakes_are_found_by_their_types(complaints):
    source = (ROOT / "tests" / "typed_mistakes.py").read_text(encoding="utf-8").splitlines()
    expected = {number: line.rpartition("# ")[2] for number, line in enumerate(source, 1) if ")  # " in line}
    found = {number: words for file, number, words in complaints if file == "typed_mistakes.py"}
    assert list(found) == list(expected), f"expected an error in each line with a comment, found {found}"
    for number, words in expected.items():
        assert words in found[number], f"line {number}: {found[number]}"


TYPED = [getattr(sfda, name) for name in sfda.__all__] + [dask_score, rank, rank_features]


@pytest.mark.parametrize("function", [each for each in TYPED if callable(each)], ids=lambda each: each.__name__)
def test_what_users_call_has_types(function):
    methods = [function]
    if isinstance(function, type):
        methods = [each for name, each in vars(function).items() if callable(each) and not name.startswith("_")]
        methods += [function.__init__] if "__init__" in vars(function) else []
    for method in methods:
        signature = inspect.signature(method)
        bare = [name for name, each in signature.parameters.items() if each.annotation is each.empty and name != "self"]
        assert not bare and signature.return_annotation is not signature.empty, f"{method.__qualname__}: {bare}"


def test_types_are_installed():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    assert "py.typed" in data["sfda"] and (ROOT / "sfda" / "py.typed").is_file()


def test_files_that_begin_in_parallel_exist():
    missing = [file for file in FIRST if not (ROOT / file).is_file()]
    assert not missing, f"tests/order.py: {missing}"


# --- who imports whom -------------------------------------------------------------


def imported(tree, modules):
    """Modules of the package that a module imports, at its top or inside of its functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "sfda":
            found |= {alias.name if alias.name in modules else "__init__" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sfda."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {(name[1:] or ["__init__"])[0] for name in names if name[0] == "sfda"}
    return found


def cycle_of(graph):
    """Names along a circle of imports; None where there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return " -> ".join(reversed(error.args[1]))
    return None


def test_imports_run_downwards():
    # Those inside functions, too: they put off a cost, and must not hide a circle.
    graph = {name: imported(tree_of(path), MODULES) for name, path in MODULES.items()}
    assert graph["__init__"] and graph["score"], "no imports were found at all"
    cycle = cycle_of(graph)
    assert cycle is None, f"sfda: {cycle}; move what both need below them"


def test_circles_are_found():
    sources = {
        "top": "from sfda import middle", "middle": "def f():\n    from sfda.bottom import g",
        "bottom": "import sfda.top", "aside": "from sfda import sfda_score",
    }  # fmt: skip
    graph = {name: imported(ast.parse(source), sources) for name, source in sources.items()}
    assert graph == {"top": {"middle"}, "middle": {"bottom"}, "bottom": {"top"}, "aside": {"__init__"}}
    assert sorted(cycle_of(graph).split(" -> ")[1:]) == ["bottom", "middle", "top"]


# --- names ------------------------------------------------------------------------


def defined(tree):
    """Names of a module's public functions and classes."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def test_public_name_is_defined_once():
    where = defaultdict(list)
    for module, path in MODULES.items():
        for name in defined(tree_of(path)):
            where[name].append(module)
    twice = {name: modules for name, modules in where.items() if len(modules) > 1}
    assert twice == NAMESAKES, "one name for two things: rename one"


def named_in(path):
    """Names that a file makes use of: in Python those of its code, in prose those of code blocks and `spans`."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return set(re.findall(r"\w+", " ".join(re.findall(r"^```.*?^```|`[^`\n]+`", text, flags=re.M | re.S))))
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.alias):
            found |= set(node.name.split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            found.add(node.value)  # getattr, monkeypatch
    return found


def test_public_function_is_used():
    # A docstring that refers to a function is no use of it.
    used = set().union(*(named_in(path) for path in tracked_files() if path.suffix in (".py", ".md")))
    for module, path in MODULES.items():
        unused = [name for name in defined(tree_of(path)) if name not in used]
        assert not unused, f"sfda.{module}: nothing uses {', '.join(unused)}; delete what nobody needs"
