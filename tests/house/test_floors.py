"""The house: eight rooms and what is beside them, each importing only from rooms below it."""

import ast
import graphlib
import re
from pathlib import PurePosixPath

import pytest

from tree import ROOT

# From the ground up, and what each is for. __init__ and __main__ are the roof.
ROOMS = {
    "metric": "SFDA itself, what an ensemble adds, the weighted tau",
    "files": "where data and the cache are, tables, whole files",
    "plots": "figures",
    "rivals": "what SFDA is compared with, and the catalogue",
    "evidence": "published tables, claims, verdicts",
    "images": "photographs, data sets, the pocket benchmark's tasks",
    "networks": "pre-trained networks, weights, features",
    "streaming": "more samples than memory, or than one machine",
    "benchmark": "the experiments: fine-tune, score, write tables",
    "rank": "networks in an order, for one's own images",
    "__init__": "what users import from sfda",
    "__main__": "the commands of python -m sfda",
}
FLOOR = list(ROOMS).index
FILES = {path.relative_to(ROOT / "sfda").with_suffix("").as_posix(): path for path in sorted((ROOT / "sfda").rglob("*.py"))}


def room_of(file):
    return PurePosixPath(file).parts[0]


def imported(source, files):
    """The package's files that a file imports, at its top or inside of its functions."""
    names, found = [], set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    for parts in (name.split(".")[1:] for name in names if re.match(r"sfda\b", name)):
        # A file, the face of a room, or what either of them defines.
        places = [parts, [*parts, "__init__"], parts[:-1], [*parts[:-1], "__init__"]]
        (file,) = [name for name in map("/".join, places) if name in files][:1] or [None]
        assert file, f"no file of the package: {'.'.join(['sfda', *parts[:-1]])}"
        found.add(file)
    return found


def climbing(graph):
    """Imports that do not run down: to a room above, or along a circle of files."""
    up = [f"{file} imports {other}" for file, others in graph.items() for other in sorted(others)
          if FLOOR(room_of(other)) > FLOOR(room_of(file))]  # fmt: skip
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        up.append("a circle: " + " -> ".join(reversed(error.args[1])))
    return up


def drawn(graph):
    """The floors, one line a room from the top down: what it is for, and which rooms it imports from."""
    lines = []
    for room, purpose in reversed(ROOMS.items()):
        below = {room_of(other) for file, others in graph.items() if room_of(file) == room for other in others} - {room}
        lines.append(f"{room:10s} {purpose:53s} <- {', '.join(sorted(below, key=FLOOR))}".rstrip(" <-"))
    return "\n".join(lines)


@pytest.fixture(scope="module")
def graph():
    return {file: imported(path.read_text(encoding="utf-8"), FILES) for file, path in FILES.items()}


def test_every_file_is_in_a_room_and_imports_run_down(graph):
    assert {room_of(file) for file in FILES} == set(ROOMS)
    assert sum(map(len, graph.values())) > 100, "no imports were found"
    assert not climbing(graph), f"move what both need below them:\n{drawn(graph)}"


def test_the_drawing_in_contributing(graph):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = re.search(r"```text\n(__main__.*?)\n```", text, flags=re.S)
    assert block, f"CONTRIBUTING.md: the floors are missing:\n{drawn(graph)}"
    assert block[1] == drawn(graph), f"CONTRIBUTING.md draws other floors than:\n{drawn(graph)}"


def test_evidence_and_the_metric_need_no_torch():
    for file, path in FILES.items():
        if room_of(file) in ("metric", "files", "plots", "rivals", "evidence"):
            assert not re.search(r"^(import|from) torch", path.read_text(encoding="utf-8"), flags=re.M), f"sfda/{file}.py"


def test_climbing_is_found():
    sources = {
        "__init__": "from sfda.rank import rank", "rank/__init__": "from sfda.rank.run import rank",
        "rank/run": "def f():\n    from sfda.metric import score", "metric/score": "import sfda.rank.run",
        "metric/a": "from sfda.metric.b import c", "metric/b": "from sfda.metric import a", "metric/c": "import sfda",
    }  # fmt: skip
    graph = {file: imported(source, sources) for file, source in sources.items()}
    assert graph["__init__"] == {"rank/__init__"} and graph["rank/run"] == {"metric/score"} and graph["metric/c"] == {"__init__"}
    found = climbing(graph)
    assert found[:2] == ["metric/score imports rank/run", "metric/c imports __init__"] and "circle" in found[2]
    with pytest.raises(AssertionError, match="no file of the package: sfda.metric.missing"):
        imported("from sfda.metric.missing import x", sources)
