"""The wheel, installed where nothing of the repository is, and used from elsewhere."""

import os
import subprocess
import sys
import zipfile
from pathlib import PurePath

import numpy as np
import pytest
from PIL import Image

from tree import ROOT, copy_tracked, tracked_files

torch = pytest.importorskip("torch")
models = pytest.importorskip("torchvision.models")

from safetensors.torch import save_file

PUBLISHED = PurePath("data/published")
# `python -m sfda` once a line, as the shell would run it, in one process: torch takes seconds to load.
SCRIPT = """
import pkgutil, runpy, sys
import sfda

print(sfda.__file__, *(module.name for module in pkgutil.walk_packages(sfda.__path__, "sfda.")))
for line in sys.stdin:
    sys.argv[1:] = line.split()
    try:
        runpy.run_module("sfda", run_name="__main__", alter_sys=True)
    except SystemExit as stopped:
        print("exit", stopped.code, flush=True)
"""


def run(*command, cwd, environment=None, **options):
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the package, as it is published."""
    folder = tmp_path_factory.mktemp("wheel")
    own = "sfda", "pyproject.toml", "README.md", "LICENSE"
    copy_tracked(folder / "source", lambda name: name.parts[0] in own or PUBLISHED in name.parents)
    # The backend itself: pip would fetch another one for the occasion.
    run("-c", f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})", cwd=folder / "source")
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel):
    """A folder with what pip makes of the wheel."""
    options = "--isolated", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target"
    run("-m", "pip", "install", *options, "site", wheel.name, cwd=wheel.parent)
    return wheel.parent / "site"


def test_every_file_of_the_package_is_in_it(wheel):
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    names = [path.relative_to(ROOT) for path in tracked_files()]
    own = {name.as_posix() for name in names if name.parts[0] == "sfda"}
    tables = {f"sfda/_published/{name.name}" for name in names if name.parent == PUBLISHED and name.suffix == ".csv"}
    assert tables and files == own | tables


def test_it_ranks_and_says_what_needs_the_repository(installed, tmp_path):
    rng = np.random.default_rng(0)
    for c in range(3):
        (tmp_path / "photographs" / str(c)).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 120, (40, 40, 3)) + 100 * (np.arange(3) == c)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photographs" / str(c) / f"{i}.png")
    save_file(models.shufflenet_v2_x0_5().state_dict(), tmp_path / "one.safetensors")
    torch.save(models.shufflenet_v2_x1_0().state_dict(), tmp_path / "two.pth")

    commands = ("rank photographs --no-cache --models torchvision:shufflenet_v2_x0_5=one.safetensors torchvision:shufflenet_v2_x1_0=two.pth",
                "rank photographs --no-cache --zoo pocket", "record show supervised")  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = run("-c", SCRIPT, cwd=tmp_path, environment=environment | {"PYTHONPATH": str(installed)}, input="\n".join(commands))
    (first, *lines), errors = done.stdout.splitlines(), done.stderr.splitlines()

    file, *modules = first.split()
    assert file == str(installed / "sfda" / "__init__.py") and "sfda.images.drawn.canvas" in modules
    assert [line for line in lines if line.startswith("exit")] == ["exit 0", "exit 2", "exit 0"]
    assert "11 networks on 11 tasks: 121 of 121 accuracies are known" in lines
    assert sum("torchvision:shufflenet_v2_x" in line and " M " in line for line in lines) == 2, done.stdout
    said = [line for line in errors if line.startswith("python -m sfda: ")]
    assert len(said) == 1 and "this needs the repository" in said[0] and str(installed) not in said[0], done.stderr
    assert not (tmp_path / "data").exists() and not (installed / "data").exists()
