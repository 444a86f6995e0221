"""What lies where in this repository, for the tests that check it as a whole."""

import importlib.util
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import yaml

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / "_build" / "html"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ADDRESS = PROJECT["urls"]["Repository"]
COLAB = ADDRESS.replace("https://github.com/", "https://colab.research.google.com/github/")

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
ENTRIES = [TOC["root"]] + [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
CHAPTERS = [entry for entry in ENTRIES if entry.endswith(".ipynb")]
NUMBERED = [chapter["file"] for part in TOC["parts"] if part.get("numbered") for chapter in part["chapters"]]


def tracked_files() -> list[Path]:
    """The files that are, or are about to be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True,
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:  # an unpacked archive
        ignored = [pattern.rstrip("/") for pattern in (ROOT / ".gitignore").read_text().split()]
        paths = [path for path in ROOT.rglob("*")
                 if not any(fnmatch(part, pattern) for part in path.relative_to(ROOT).parts for pattern in ignored)]
    return [path for path in paths if path.is_file()]


def text_of(path: Path) -> str:
    """The text of a file; empty for one that holds none."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def copy_tracked(folder: Path, wanted: Callable[[Path], bool]) -> None:
    """Copy these files to where they are in another folder; `wanted` is asked of their paths in the repository."""
    for path in tracked_files():
        name = path.relative_to(ROOT)
        if wanted(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)


def module_at(path: Path) -> ModuleType:
    """A Python file that is no part of the package, as a module; by its place, since others have such names, too."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
