"""The chapters' setup cell, run as Colab would and as everywhere else.

The clone comes from a local copy of the working tree: git is told to find the public address there, so no network is
used and the cell is run as it stands.
"""

import subprocess
import sys

import notebooks
from origin import make_origin, without_git_variables
from tree import ADDRESS, ROOT

CELL = notebooks.setup_cell() + "\n"
REPORT = "import glue, os, sfda; print(os.getcwd(), sfda.__file__, sep='\\n')"
# Of a package that may not be loaded: where it would come from.
FIND = "print(os.getcwd(), importlib.util.find_spec('sfda').origin, sep='\\n')"


def run(source, *options, cwd, env):
    result = subprocess.run([sys.executable, *options, "-c", source], cwd=cwd, env=env, capture_output=True, text=True)
    failed = result.returncode or result.stderr
    assert not failed, f"the setup cell in book/notebooks.py failed or wrote to stderr:\n{result.stderr}"
    return result.stdout.splitlines()


def test_colab_gets_a_clone_and_works_in_it_whenever_its_kernel_starts(tmp_path):
    origin = make_origin(ROOT, tmp_path / "origin", ADDRESS, without_git_variables())
    content = tmp_path / "content"
    content.mkdir()
    clone, mark = content / "sfda-companion", content / "sfda-companion" / "mine.txt"
    # Colab lists its working directory by name on sys.path, not as "".
    colab = ("import sys, types; sys.modules['google.colab'] = types.ModuleType('colab')\n"
             f"sys.path[:] = [{str(content)!r}, *filter(None, sys.path)]\n")  # fmt: skip
    for cells, report in ((CELL, REPORT), (CELL + CELL, FIND)):
        cwd, module = run(colab + cells + report, cwd=content, env=origin)
        assert cwd == str(clone / "book"), "run again, the setup cell in book/notebooks.py must stay where it is"
        assert module.startswith(str(clone / "sfda")), f"sfda comes from {module}, not from the clone"
        assert mark.exists() or cells == CELL, "the setup cell in book/notebooks.py cloned a second time"
        mark.touch()


def test_elsewhere_it_finds_sfda_beside_the_book_and_leaves_an_installed_one_alone(tmp_path):
    environment = without_git_variables()
    # -S hides what is installed, sfda among it.
    found = run(CELL + FIND, "-S", cwd=ROOT / "book", env=environment)
    assert found == [str(ROOT / "book"), str(ROOT / "sfda" / "__init__.py")]
    before, after = "import sys, os; before = [*sys.path], os.getcwd()\n", "print(before == ([*sys.path], os.getcwd()))"
    assert run(before + CELL + after, cwd=tmp_path, env=environment) == ["True"], (
        "the setup cell in book/notebooks.py must change nothing where sfda is installed (`make test` installs it)")  # fmt: skip
