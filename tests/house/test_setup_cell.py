"""The chapters' setup cell, run as Colab would and as everywhere else.

The clone comes from a local copy of the working tree: git is told to find the
public address there, so no network is used and the cell is run as it stands.
"""

import subprocess
import sys

import pytest

import notebooks
from origin import make_origin, without_git_variables
from tree import ADDRESS, ROOT

COLAB = "import sys, types; sys.modules['google.colab'] = types.ModuleType('colab')\n"
REPORT = "\nimport glue, os, sfda; print(os.getcwd(), sfda.__file__, sep='\\n')"


@pytest.fixture(scope="module")
def environment():
    return without_git_variables()


@pytest.fixture(scope="module")
def origin(tmp_path_factory, environment):
    """An environment whose git knows the public address."""
    return make_origin(ROOT, tmp_path_factory.mktemp("public") / "origin", ADDRESS, environment)


@pytest.fixture
def colab(tmp_path, origin):
    """A directory like Colab's, and that environment."""
    content = tmp_path / "content"
    content.mkdir()
    return content, origin


def run(source, *options, cwd, env):
    result = subprocess.run([sys.executable, *options, "-c", source], cwd=cwd, env=env, capture_output=True, text=True)
    assert result.returncode == 0, f"the setup cell in book/notebooks.py failed:\n{result.stderr}"
    assert not result.stderr, f"the setup cell in book/notebooks.py wrote to stderr:\n{result.stderr}"
    return result.stdout.splitlines()


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_colab_gets_a_clone_and_works_in_it(colab, times):
    content, environment = colab
    # Colab lists its working directory by name on sys.path, not as "".
    start = COLAB + f"sys.path[:] = [{str(content)!r}, *filter(None, sys.path)]\n"
    cwd, module = run(start + (notebooks.setup_cell() + "\n") * times + REPORT, cwd=content, env=environment)
    clone = content / "sfda-companion"
    assert cwd == str(clone / "book"), "run again, the setup cell in book/notebooks.py must stay where it is"
    assert module.startswith(str(clone / "sfda")), f"sfda comes from {module}, not from the clone"


def test_colab_keeps_the_clone_when_the_kernel_restarts(colab):
    content, environment = colab
    run(COLAB + notebooks.setup_cell(), cwd=content, env=environment)
    mark = content / "sfda-companion" / "mine.txt"
    mark.touch()
    cwd, *_ = run(COLAB + notebooks.setup_cell() + REPORT, cwd=content, env=environment)
    assert cwd == str(content / "sfda-companion" / "book")
    assert mark.exists(), "the setup cell in book/notebooks.py cloned a second time"


def test_elsewhere_it_finds_sfda_beside_the_book(environment):
    # -S hides what is installed, sfda among it; so look for it without loading it.
    find = "\nprint(os.getcwd(), importlib.util.find_spec('sfda').origin, sep='\\n')"
    cwd, origin = run(notebooks.setup_cell() + find, "-S", cwd=ROOT / "book", env=environment)
    assert cwd == str(ROOT / "book")
    assert origin == str(ROOT / "sfda" / "__init__.py")


def test_elsewhere_it_leaves_an_installed_sfda_alone(environment, tmp_path):
    before = "import sys, os; before = [*sys.path], os.getcwd()\n"
    after = "\nprint(before == ([*sys.path], os.getcwd()))"
    assert run(before + notebooks.setup_cell() + after, cwd=tmp_path, env=environment) == ["True"], (
        "the setup cell in book/notebooks.py must change nothing where sfda is installed (`make test` installs it)"
    )
