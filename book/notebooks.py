"""Make the notebooks from the chapters' text: book/NAME.md -> book/NAME.ipynb.

    python book/notebooks.py             every chapter
    python book/notebooks.py 02 14       those whose names begin so
    python book/notebooks.py --check     write nothing; fail if a pair disagrees

The text is what people edit; a notebook is never edited. Running a
deterministic chapter again gives the same file, byte for byte.
"""

import argparse
import base64
import re
import sys
import time
import tomllib
from pathlib import Path

import jupytext
import nbformat
from jupytext.compare import NotebookDifference, compare_notebooks
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

BOOK = Path(__file__).resolve().parent
PYPROJECT = BOOK.parent / "pyproject.toml"

# The first code cell of every chapter. In Colab the working directory is on
# sys.path, so the clone must not be called sfda: a folder of that name would
# pass for the package.
SETUP = """\
# In Colab: fetch the repository once and work in its book/ folder.
# Elsewhere: only make sfda importable where it is not installed.
import importlib.util, os, subprocess, sys

colab = "google.colab" in sys.modules
if colab and not os.path.isdir("../sfda"):
    if not os.path.isdir("sfda-companion"):
        url = "{repository}"
        subprocess.run(["git", "clone", "--quiet", "--depth=1",
                        "--branch=main", url, "sfda-companion"], check=True)
    os.chdir("sfda-companion/book")
if colab or importlib.util.find_spec("sfda") is None:
    sys.path[:0] = [os.path.abspath(".."), os.getcwd()]
"""


# Pictures of the README and of the landing page are chapters' figures: name and file.
PICTURES = {"fig-which-bet": BOOK / "_static" / "question.png",
            "fig-claims-answer": BOOK / "_static" / "answer.png"}


def repository() -> str:
    """The public address, which pyproject.toml states."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"]


def setup_cell() -> str:
    """The source of the first code cell of every chapter."""
    return SETUP.format(repository=repository()).rstrip("\n")


def texts() -> list[Path]:
    """The chapters' texts: the pages whose front matter asks for a notebook."""
    return [path for path in sorted(BOOK.glob("*.md"))
            if re.match(r"---\n(?:(?!---).*\n)*?jupytext:", path.read_text(encoding="utf-8"))]


def with_setup(text: str) -> str:
    """The text with the present setup cell as its first code cell."""
    cell = f"```{{code-cell}} ipython3\n:tags: [hide-cell]\n\n{setup_cell()}\n```\n"
    first = re.search(r"^```\{code-cell\}.*?^```\n", text, flags=re.M | re.S)
    if first is None:
        return f"{text.rstrip()}\n\n{cell}"
    rest = text[first.end():] if "google.colab" in first[0] else "\n" + text[first.start():]
    return text[:first.start()] + cell + rest


def convert(text: Path) -> nbformat.NotebookNode:
    """The notebook of a chapter, not yet run."""
    notebook = jupytext.read(text, fmt="md:myst")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        raise SystemExit(f"book/{text.name}: the front matter must name the kernel python3")
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number:02d}"
    return notebook


def run(notebook: nbformat.NotebookNode) -> None:
    """Run a notebook in book/ and keep of its metadata only what readers need."""
    NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=600,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,  # else a long output is cut by chance
        resources={"metadata": {"path": str(BOOK)}},
    ).execute()
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = {"name": "python"}


def complaints(notebook: nbformat.NotebookNode) -> str:
    """What the cells wrote to stderr: warnings, progress bars."""
    return "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stderr"
    )


def figure(notebook: nbformat.NotebookNode, name: str) -> bytes | None:
    """The picture of the figure `name`, if the notebook has it."""
    for cell in notebook.cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == name:
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    return base64.b64decode(output.data["image/png"])
    return None


def difference(text: Path) -> str | None:
    """How a chapter's text and its notebook disagree, if they do."""
    notebook = text.with_suffix(".ipynb")
    if not notebook.exists():
        return "there is no notebook"
    if (source := text.read_text(encoding="utf-8")) != with_setup(source):
        return "the first code cell is not the setup cell"
    try:
        compare_notebooks(jupytext.read(notebook), jupytext.read(text, fmt="md:myst"), fmt="md:myst")
    except NotebookDifference as found:
        return str(found)
    return None


def rerun(text: Path) -> bool:
    """Bring one chapter's setup cell and its notebook up to date."""
    source = text.read_text(encoding="utf-8")
    if source != with_setup(source):
        text.write_text(with_setup(source), encoding="utf-8")
    notebook = convert(text)
    start = time.perf_counter()
    try:
        run(notebook)
    except (CellExecutionError, CellTimeoutError) as error:
        print(f"book/{text.name}: {error}", file=sys.stderr)
        return False
    if written := complaints(notebook):
        print(f"book/{text.name}: a cell wrote to stderr:\n{written}", file=sys.stderr)
        return False
    nbformat.write(notebook, text.with_suffix(".ipynb"))
    for name, file in PICTURES.items():
        if picture := figure(notebook, name):
            file.write_bytes(picture)
    print(f"{text.stem:30s} {time.perf_counter() - start:6.1f} s", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the notebooks from the chapters' text.")
    parser.add_argument("names", nargs="*", help="beginnings of chapter names; none: all")
    parser.add_argument("--check", action="store_true", help="only say which pairs disagree")
    arguments = parser.parse_args()

    chosen = [text for text in texts() if text.name.startswith(tuple(arguments.names) or "")]
    if not chosen:
        parser.error("no chapter has such a name")
    if not arguments.check:
        return 0 if sum(map(rerun, chosen)) == len(chosen) else 1  # all of them, failed ones or not
    found = {text: difference(text) for text in chosen}
    for text, how in found.items():
        if how:
            print(f"book/{text.name}: {how}; run `make chapter NAME={text.stem}`")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
