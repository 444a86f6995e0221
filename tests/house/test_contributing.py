"""CONTRIBUTING.md, followed to the letter in a copy of the repository."""

import os
import re
import subprocess
import sys

import pytest

from forks import forked
from tree import ROOT, copy_tracked

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^(`{3,})(?:python|yaml|md)\n(?:# |<!-- )(.+?)(?: -->)?\n(.*?)^\1$", flags=re.M | re.S)
# The tests that the page names, and in the same process what it says of the package, with photographs of three
# classes, told apart by their colours, and weights of a network as if it had been trained.
SCRIPT = """
import os, sys
from pathlib import Path
# Of the process that this one forks from, torch and the like remain; all of this project is the copy's.
[sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] == "sfda"]
[os.environ.pop(name) for name in [*os.environ] if name.startswith(("PYTEST", "COV"))]
os.chdir(at)
sys.path[:] = [at, *(path for path in sys.path if "site-packages" in path or not path.startswith(root))]
os.environ["PYTHONPATH"] = at
import pytest
failed = pytest.main(arguments)
import numpy as np
from PIL import Image
import sfda
from sfda.networks import pocket
from sfda.rank import rank
from sfda.images.tasks import load_task
print(sfda.METRICS["silhouette"]([[0.0], [1.0], [4.0], [6.0]], [0, 0, 1, 1]))
rng = np.random.default_rng(0)
for c in range(3):
    Path(f"photographs/{c}").mkdir(parents=True)
    for i in range(8):
        pixels = rng.integers(0, 120, (40, 40, 3)) + 100 * (np.arange(3) == c)
        Image.fromarray(pixels.astype(np.uint8)).save(f"photographs/{c}/{i}.png")
pocket.save(pocket.untrained("resnet_14"), "weights/resnet_14.safetensors")
networks = ["pocket:resnet_14", "pocket:resnet_10"]
print(*rank(networks, "photographs", metric="silhouette", weights="weights", cache=None).table["network"])

sticks = load_task("sticks")
print(*map(len, sticks.parts), len(sticks.train.images.unique()), sticks.train.labels.unique().tolist())
sys.exit(failed or not sfda.__file__.startswith(at))
"""


def put(block, root):
    """Write a block where its first line says; the path."""
    place, text = block
    name, _, anchor = place.partition(", below: ")
    path = root / name
    if not anchor:
        assert not path.exists(), f"CONTRIBUTING.md: {name} exists; say below which line the block goes"
        path.write_text(text, encoding="utf-8")
        return path
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    (at,) = [number for number, line in enumerate(lines, 1) if line.strip() == anchor]
    path.write_text("".join([*lines[:at], text, *lines[at:]]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository with all blocks of the page in their places."""
    root = tmp_path_factory.mktemp("copy")
    copy_tracked(root, lambda name: name.parts[0] != "data")
    (root / "data").symlink_to(ROOT / "data")
    blocks = [found.groups()[1:] for found in BLOCK.finditer(PAGE)]
    assert len(blocks) == len(re.findall(r"^`{3,}(?!text$)\w", PAGE, flags=re.M)), "a block names no file in its first line"
    for block in blocks:
        put(block, root)
    return root


def run(*command, at):
    """Output of a command of Python in the copy, which must succeed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    done = subprocess.run([sys.executable, *command], cwd=at, env=kept | {"PYTHONPATH": str(at)},
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def found(copy):
    """The chapter made, then all tests that the page names in one go: those that passed, by word, and what was printed."""
    assert re.match(r"silhouettes +\d", run("book/notebooks.py", "silhouettes", at=copy))
    calls = re.findall(r"`pytest (.+?) -k (\w+)` must pass", PAGE)
    files = dict.fromkeys(file for call, _ in calls for file in call.split())
    words = [word for _, word in calls]
    arguments = ["-rA", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning", *files, "-k", " or ".join(words)]
    process, lines = forked(SCRIPT, at=str(copy), root=str(ROOT), arguments=arguments)
    with lines:
        text = lines.read()
    process.join()
    assert process.exitcode == 0, text[-3000:]
    return {word: re.findall(rf"^PASSED .*{word}.*", text, flags=re.M) for word in words}, text.splitlines()[-3:]


def test_a_metric_a_network_a_task_and_a_chapter_are_added(copy, found):
    passed, (silhouette, networks, sticks) = found
    assert len([line for line in passed["silhouette"] if "test_catalogue" in line]) > 5
    assert any("test_silhouette.py::test_definition" in line for line in passed["silhouette"])
    assert float(silhouette) == pytest.approx((4 / 5 + 3 / 4 + 1.5 / 3.5 + 3.5 / 5.5) / 4)
    assert passed["resnet_14"] and sorted(networks.split()) == ["pocket:resnet_10", "pocket:resnet_14"]
    *sizes, different, classes = sticks.split(maxsplit=4)
    assert sizes == ["80", "40", "800"] and int(different) > 100 and classes == str([*range(8)]) and passed["sticks"]
    text, notebook = ((copy / "book" / f"silhouettes.{kind}").read_text(encoding="utf-8") for kind in ("md", "ipynb"))
    assert len(passed["silhouettes"]) > 6 and "colab = " in text and "silhouette_widest" in notebook


def test_examples_keep_to_the_style_of_the_house(copy):
    files = sorted({found[2].partition(",")[0] for found in BLOCK.finditer(PAGE) if ".py" in found[2]})
    run("-m", "ruff", "check", "--no-cache", *files, at=copy)
