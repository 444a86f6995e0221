"""The chapters as Colab runs them: each alone, from an empty directory, with no more than Colab ships.

    python tests/colab/run.py newest          the newest releases that the index has
    python tests/colab/run.py oldest 03 11    the oldest that pyproject.toml allows; two chapters
    python tests/colab/run.py newest --again  in the environment of the last run

Neither sfda nor the book's tools are installed there, only what runs a notebook. A chapter
that fails fails the run. What it prints otherwise than its notebook has it is shown but does
not fail: last digits may differ between releases. Needs only the standard library, git and a package index.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

from origin import make_origin, without_git_variables

TOOLS = ["nbclient", "ipykernel"]


def make_environment(name, folder):
    """A new virtual environment in `folder` with what NAME.txt lists and what runs a notebook."""
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    # Neither the book's pins nor a machine's may have a say.
    environment = os.environ | {"PIP_CONSTRAINT": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", HERE / f"{name}.txt", *TOOLS]
    subprocess.run(install, env=environment, check=True)


def installed(python):
    """What pip lists, sorted."""
    listed = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True)
    return sorted(listed.stdout.splitlines())


def execute(python, notebook, environment):
    """Run one notebook in an empty directory; what notebook.py found."""
    with tempfile.TemporaryDirectory(prefix="content-") as content:
        copy = shutil.copy(notebook, content)
        command = [python, HERE / "notebook.py", copy, HERE.parent / "nbval_sanitize.cfg"]
        result = subprocess.run(command, cwd=content, env=environment | {"HOME": content}, capture_output=True, text=True)
    if result.returncode:
        return {"seconds": float("nan"), "error": result.stderr, "differences": []}
    return json.loads(result.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description="Run the chapters as Colab does.")
    parser.add_argument("environment", choices=["newest", "oldest"])
    parser.add_argument("chapters", nargs="*", help="beginnings of chapter names; none: all")
    parser.add_argument("--again", action="store_true", help="keep the environment of the last run")
    options = parser.parse_intermixed_args()
    if options.environment == "oldest" and sys.version_info[:2] != (3, 11):
        parser.error("the oldest releases have wheels for Python 3.11, which is the oldest that pyproject.toml allows")
    chosen = [path for path in sorted((ROOT / "book").glob("*.ipynb"))
              if path.name.startswith(tuple(options.chapters) or "")]  # fmt: skip
    if not chosen:
        parser.error("no chapter has such a name")

    folder = ROOT / ".colab" / options.environment
    python = folder / "bin" / "python"
    if not (options.again and python.exists()):
        make_environment(options.environment, folder)
    before = installed(python)
    print("  ".join(before), flush=True)

    address = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    # The fonts' cache is made here: inside a chapter it would be announced on stderr.
    environment = without_git_variables() | {"MPLCONFIGDIR": str(folder / "matplotlib")}
    for variable in ("PYTHONPATH", "PYTHONHOME", "JUPYTER_PATH", "MPLBACKEND"):
        environment.pop(variable, None)
    subprocess.run([python, "-c", "import matplotlib.font_manager"], env=environment, check=True)
    failed = []
    with tempfile.TemporaryDirectory(prefix="origin-") as origin:
        environment = make_origin(ROOT, Path(origin), address, environment)
        for notebook in chosen:
            found = execute(python, notebook, environment)
            error = found["error"]
            state = "failed" if error else "ok" if not found["differences"] else f"ok, {len(found['differences'])} differences"
            print(f"{notebook.stem:28s} {found['seconds']:7.1f} s  {state}", flush=True)
            for text in [error] if error else found["differences"]:
                print(textwrap.indent(text, "    "), flush=True)
            failed += [notebook.stem] * bool(error)
    if installed(python) != before:
        failed.append("a chapter changed what is installed")
    if failed:
        sys.exit(f"failed in the environment {options.environment}: {', '.join(failed)}")


if __name__ == "__main__":
    main()
