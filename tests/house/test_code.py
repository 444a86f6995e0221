"""What holds of the code as a whole: its style, its types, its names."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import sfda
from order import FIRST
from sfda.rank import rank
from sfda.rank.result import rank_features
from sfda.streaming.cluster import dask_score
from tree import ROOT, tracked_files

MODULES = {path.relative_to(ROOT / "sfda").with_suffix("").as_posix(): path for path in sorted((ROOT / "sfda").rglob("*.py"))}
# The chapters call these by their modules' names, which say of what they are.
NAMESAKES = {"contest": ["evidence/ensembles", "evidence/verdict"],
             "table": ["evidence/published", "evidence/verdict"]}  # fmt: skip


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def run(tool, *arguments):
    """Output of a checker, empty where it has nothing to say."""
    done = subprocess.run([sys.executable, "-m", tool, *arguments], cwd=ROOT, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_ruff_has_nothing_to_say():
    found = run("ruff", "check", "--no-cache", "--output-format=concise", ".")
    assert not found, f"mend what can be mended with `.venv/bin/ruff check --fix`\n{found}"


@pytest.fixture(scope="module")
def complaints():
    """What mypy says of the module and of the two example files: (file, line, words)."""
    examples = ["tests/house/typed_example.py", "tests/house/typed_mistakes.py"]
    found = run("mypy", "--no-error-summary", "--hide-error-context", "sfda", *examples)
    lines = [re.fullmatch(r"(.+?):(\d+): error: (.*)", line) for line in found.splitlines() if ": note:" not in line]
    assert all(lines), f"mypy did not run:\n{found}"
    return [(Path(line[1]).name, int(line[2]), line[3]) for line in lines]


def test_types_agree(complaints):
    found = [complaint for complaint in complaints if complaint[0] != "typed_mistakes.py"]
    assert not found, f"run `.venv/bin/mypy`: {found}"


def test_mistakes_are_found_by_their_types(complaints):
    source = (ROOT / "tests" / "house" / "typed_mistakes.py").read_text(encoding="utf-8").splitlines()
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


@pytest.mark.parametrize("module", [module.name for module in pkgutil.walk_packages(sfda.__path__, "sfda.")])
def test_examples_print_what_they_say(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_files_that_begin_in_parallel_exist():
    missing = [file for file in FIRST if not (ROOT / file).is_file()]
    assert not missing, f"tests/order.py: {missing}"


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
    # Neither a docstring that refers to a function is a use of it, nor a test, nor its entry in the reference.
    users = [path for path in tracked_files() if path.suffix in (".py", ".md") and "tests" not in path.relative_to(ROOT).parts
             and not path.name.startswith("api") and path.name != "CHANGELOG.md"]  # fmt: skip
    used = set().union(*map(named_in, users))
    unused = [f"{module}: {name}" for module, path in MODULES.items() for name in defined(tree_of(path)) if name not in used]
    assert not unused, "nothing uses these; delete what nobody needs"
