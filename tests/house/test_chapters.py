"""Every chapter is a pair, text and notebook, that readers can trust and Colab can run."""

import ast
import re
import sys

import nbformat
import pytest

import notebooks
from tree import CHAPTERS, ENTRIES, NUMBERED, ROOT

# What Colab ships, and what the setup cell brings: sfda, and glue.py beside the chapters.
IMPORTABLE = {"torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib", "seaborn", "sklearn",
              "IPython", "sfda", "glue"} | sys.stdlib_module_names

every_chapter = pytest.mark.parametrize("chapter", CHAPTERS)


def read(chapter):
    path = ROOT / chapter
    assert path.exists(), f"{chapter} is missing: write its .md, then run `make chapters`"
    return nbformat.read(path, as_version=4)


def code_cells(chapter):
    return [cell for cell in read(chapter).cells if cell.cell_type == "code"]


def remedy(chapter):
    return f"run `make chapter NAME={(ROOT / chapter).stem}`"


def tags(cell):
    return cell.metadata.get("tags", [])


def has_image(cell):
    return any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))


def test_every_entry_of_the_contents_exists():
    for entry in ENTRIES:
        path = ROOT / (entry if entry.endswith(".ipynb") else f"{entry}.md")
        assert path.exists(), f"_toc.yml lists {entry}, which is missing: write it or drop the entry"


def test_every_text_is_in_the_contents():
    for text in notebooks.texts():
        assert f"book/{text.stem}.ipynb" in CHAPTERS, f"book/{text.name} is a chapter: add it to _toc.yml"


@every_chapter
def test_text_and_notebook_agree(chapter):
    text = (ROOT / chapter).with_suffix(".md")
    assert text in notebooks.texts(), f"book/{text.name} is missing, or its front matter has no jupytext entry"
    difference = notebooks.difference(text)
    assert difference is None, f"{chapter}: {difference}; {remedy(chapter)}"


@every_chapter
def test_notebook_was_run_in_order(chapter):
    # Not a nicety: nbval compares nothing in a cell that has no count.
    counts = [cell.execution_count for cell in code_cells(chapter)]
    assert counts == list(range(1, len(counts) + 1)), f"{chapter}: cells ran as {counts}; {remedy(chapter)}"
    assert any(cell.outputs for cell in code_cells(chapter)), f"{chapter} has no outputs; {remedy(chapter)}"


@every_chapter
def test_nothing_was_written_to_stderr_and_nothing_failed(chapter):
    for cell in code_cells(chapter):
        for output in cell.outputs:
            failed = output.output_type == "error" or output.get("name") == "stderr"
            assert not failed, f"{chapter}: error or warning in\n{cell.source}\nmend the cell, then {remedy(chapter)}"


@every_chapter
def test_kernel_is_the_one_colab_knows(chapter):
    kernel = read(chapter).metadata.kernelspec.name
    assert kernel == "python3", f"{chapter}: kernel {kernel}; write python3 in the .md, then {remedy(chapter)}"


@every_chapter
def test_first_cell_is_the_setup_cell(chapter):
    first = code_cells(chapter)[0]
    assert first.source == notebooks.setup_cell(), f"{chapter}: setup cell out of date; {remedy(chapter)}"
    assert tags(first) == ["hide-cell"], f"{chapter}: setup cell must be tagged hide-cell; {remedy(chapter)}"
    assert not first.outputs, f"{chapter}: setup cell must print nothing"


@every_chapter
def test_imports_are_what_colab_ships(chapter):
    for cell in code_cells(chapter):
        # Magics are not Python.
        source = re.sub(r"^(\s*)[%!].*", r"\1pass", cell.source, flags=re.M)
        for node in ast.walk(ast.parse(source)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            for name in names:
                assert name.split(".")[0] in IMPORTABLE, (
                    f"{chapter} imports {name}, which Colab may not have: use one of "
                    f"{sorted(IMPORTABLE - sys.stdlib_module_names)} or the standard library"
                )


@every_chapter
def test_code_fits_the_page(chapter):
    for cell in code_cells(chapter):
        for line in cell.source.splitlines():
            assert len(line) <= 79, f"{chapter}: {len(line)} characters, at most 79 are seen; break the line\n{line}"


@pytest.mark.parametrize("chapter", NUMBERED)
def test_chapter_has_a_readable_length(chapter):
    number = len(code_cells(chapter))
    assert 8 <= number <= 24, f"{chapter}: {number} code cells, should be 8 to 24; split or merge cells"


@every_chapter
def test_outputs_are_compared(chapter):
    cells = code_cells(chapter)
    for cell in cells:
        hidden = re.search(r"NBVAL_|PYTEST_VALIDATE", cell.source)
        assert not hidden, f"{chapter}: {hidden and hidden[0]} in a comment; use a tag, which is counted"
    skipped = sum("nbval-skip" in tags(cell) for cell in cells)
    ignored = sum("nbval-ignore-output" in tags(cell) for cell in cells)
    assert skipped == 0, f"{chapter}: {skipped} cells tagged nbval-skip; let them run"
    assert ignored <= 2, f"{chapter}: {ignored} cells tagged nbval-ignore-output, at most 2; round or gather outputs"


@every_chapter
def test_notebook_is_small(chapter):
    read(chapter)
    size = (ROOT / chapter).stat().st_size / 1e6
    assert size < 4, f"{chapter}: {size:.1f} MB, at most 4; draw fewer points or lower the resolution"


@every_chapter
def test_images_have_a_text_for_those_who_cannot_see_them(chapter):
    for cell in read(chapter).cells:
        if cell.cell_type == "code" and has_image(cell) and "remove-cell" not in tags(cell):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
            assert alt, f"{chapter}: figure without `mystnb: image: alt:` in\n{cell.source}"
        elif cell.cell_type == "markdown":
            assert not re.search(r"!\[\s*\]\(", cell.source), f"{chapter}: ![] without a text in\n{cell.source}"
            for directive in re.findall(r"^[`:]{3,}\{(?:figure|image)\}(?:.*\n:.*)*", cell.source, flags=re.M):
                assert ":alt:" in directive, f"{chapter}: image without :alt: in\n{directive}"


@pytest.mark.parametrize("chapter", NUMBERED)
def test_figures_have_captions(chapter):
    for cell in code_cells(chapter):
        if has_image(cell) and "remove-cell" not in tags(cell):
            caption = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption")
            assert caption, f"{chapter}: figure without `mystnb: figure: caption:` in\n{cell.source}"


@every_chapter
def test_every_glued_number_is_read(chapter):
    glued = {output.metadata["scrapbook"]["name"] for cell in code_cells(chapter) for output in cell.outputs
             if "scrapbook" in output.get("metadata", {})}
    text = "\n".join(cell.source for cell in read(chapter).cells if cell.cell_type == "markdown")
    named = set(re.findall(r"\{glue:\w*\}`([^`:]+)", text))
    assert glued == named, f"{chapter}: glue what is read, read what is glued; one without the other: {glued ^ named}"
