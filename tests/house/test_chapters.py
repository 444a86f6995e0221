"""Every chapter is a pair, text and notebook, that readers can trust and Colab can run."""

import ast
import base64
import re
import sys

import nbformat
import pytest

import notebooks
from tree import CHAPTERS, ENTRIES, NUMBERED, ROOT

# What Colab ships, and what the setup cell brings: sfda, and what lies beside the chapters.
BESIDE = {"afternoon", "explorable", "full_scale", "glue", "portraits"}
IMPORTABLE = {"torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib", "seaborn", "sklearn",
              "IPython", "altair", "threadpoolctl", "sfda"} | BESIDE | sys.stdlib_module_names  # fmt: skip

LINES, WIDTH, CARD = 12, 520, 420
HIDDEN = {"hide-cell", "hide-input", "remove-cell", "remove-input"}

every_chapter = pytest.mark.parametrize("chapter", CHAPTERS)


def cells(chapter, kind="code"):
    path = ROOT / chapter
    assert path.exists(), f"{chapter} is missing: write its .md, then run `make chapters`"
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def remedy(chapter):
    return f"run `make chapter NAME={(ROOT / chapter).stem}`"


def tags(cell):
    return cell.metadata.get("tags", [])


def pictures(chapter):
    """The cells that show one, and what is said of it."""
    return [(cell, cell.metadata.get("mystnb", {})) for cell in cells(chapter) if "remove-cell" not in tags(cell)
            and any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))]  # fmt: skip


def width(output):
    """Of a picture, in pixels; 0 of anything else."""
    return int.from_bytes(base64.b64decode(output.get("data", {}).get("image/png", ""))[16:20])


def test_contents_and_chapters_agree():
    for entry in ENTRIES:
        path = ROOT / (entry if entry.endswith(".ipynb") else f"{entry}.md")
        assert path.exists(), f"_toc.yml lists {entry}, which is missing: write it or drop the entry"
    for text in notebooks.texts():
        assert f"book/{text.stem}.ipynb" in CHAPTERS, f"book/{text.name} is a chapter: add it to _toc.yml"


@every_chapter
def test_text_and_notebook_agree(chapter):
    text = (ROOT / chapter).with_suffix(".md")
    assert text in notebooks.texts(), f"book/{text.name} is missing, or its front matter has no jupytext entry"
    difference = notebooks.difference(text)
    assert difference is None, f"{chapter}: {difference}; {remedy(chapter)}"
    size = (ROOT / chapter).stat().st_size / 1e6
    assert size < 4, f"{chapter}: {size:.1f} MB, at most 4; draw fewer points or lower the resolution"


@every_chapter
def test_notebook_was_run_in_order_and_nothing_failed(chapter):
    # Not a nicety: nbval compares nothing in a cell that has no count.
    counts = [cell.execution_count for cell in cells(chapter)]
    assert counts == list(range(1, len(counts) + 1)), f"{chapter}: cells ran as {counts}; {remedy(chapter)}"
    assert any(cell.outputs for cell in cells(chapter)), f"{chapter} has no outputs; {remedy(chapter)}"
    for cell in cells(chapter):
        for output in cell.outputs:
            failed = output.output_type == "error" or output.get("name") == "stderr"
            assert not failed, f"{chapter}: error or warning in\n{cell.source}\nmend the cell, then {remedy(chapter)}"


@every_chapter
def test_colab_knows_its_kernel_its_first_cell_and_its_imports(chapter):
    kernel = nbformat.read(ROOT / chapter, as_version=4).metadata.kernelspec.name
    assert kernel == "python3", f"{chapter}: kernel {kernel}; write python3 in the .md, then {remedy(chapter)}"
    first = cells(chapter)[0]
    assert first.source == notebooks.setup_cell(), f"{chapter}: setup cell out of date; {remedy(chapter)}"
    assert tags(first) == ["hide-cell"], f"{chapter}: setup cell must be tagged hide-cell; {remedy(chapter)}"
    assert not first.outputs, f"{chapter}: setup cell must print nothing"
    for cell in cells(chapter):
        # Magics are not Python.
        for node in ast.walk(ast.parse(re.sub(r"^(\s*)[%!].*", r"\1pass", cell.source, flags=re.M))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in IMPORTABLE, (
                    f"{chapter} imports {name}, which Colab may not have: use one of "
                    f"{sorted(IMPORTABLE - sys.stdlib_module_names)} or the standard library")  # fmt: skip


@every_chapter
def test_chapter_has_a_readable_length_and_fits_the_page(chapter):
    number = len(cells(chapter))
    assert chapter not in NUMBERED or 8 <= number <= 24, f"{chapter}: {number} code cells, should be 8 to 24"
    for line in "\n".join(cell.source for cell in cells(chapter)).splitlines():
        assert len(line) <= 79, f"{chapter}: {len(line)} characters, at most 79 are seen; break the line\n{line}"


@every_chapter
def test_no_visible_cell_is_long(chapter):
    for cell in cells(chapter):
        lines = len(cell.source.splitlines())
        assert lines <= LINES or HIDDEN & set(tags(cell)), (
            f"{chapter}: {lines} visible lines, at most {LINES}: hide them (hide-input), or move plumbing to a module of "
            f"book/, in\n{cell.source}")  # fmt: skip


@every_chapter
def test_figures_can_be_read_on_a_telephone(chapter):
    for cell, said in pictures(chapter):
        if "as-is" in str(said.get("image", {}).get("classes", "")):
            continue  # a photograph
        pixels = max(width(output) for output in cell.outputs)
        assert pixels <= WIDTH, (
            f"{chapter}: a figure of {pixels} pixels, at most {WIDTH} are legible where a column has 330: make it "
            f"narrow and high, in\n{cell.source}")  # fmt: skip


@pytest.mark.parametrize("chapter", NUMBERED)
def test_a_card_opens_the_chapter(chapter):
    text = "\n".join(cell.source for cell in cells(chapter, "markdown"))
    card = re.search(r"^::::\{admonition\} (.*)\n:class: in-short\n((?s:.*?))^::::$", text, flags=re.M)
    assert card, f"{chapter}: no card: `::::{{admonition}} QUESTION`, then `:class: in-short`"
    assert card[1].endswith("?"), f"{chapter}: the card's title is no question: {card[1]}"
    picture = re.search(r"\{glue:figure\} (\S+)\n:alt: .{40}", card[2])
    assert picture, f"{chapter}: the card has no `{{glue:figure}}` with a text for those who cannot see it"
    drawn = [output for cell in cells(chapter) for output in cell.outputs
             if output.get("metadata", {}).get("scrapbook", {}).get("name") == picture[1]]  # fmt: skip
    assert drawn and 0 < width(drawn[0]) <= CARD, f"{chapter}: draw the card's picture, at most {CARD} pixels wide"
    for part in ("**How sure?**", "**What to do now:**"):
        assert part in card[2], f"{chapter}: the card does not say {part}"


@every_chapter
def test_outputs_are_compared(chapter):
    for cell in cells(chapter):
        hidden = re.search(r"NBVAL_|PYTEST_VALIDATE", cell.source)
        assert not hidden, f"{chapter}: {hidden and hidden[0]} in a comment; use a tag, which is counted"
    every = [tag for cell in cells(chapter) for tag in tags(cell)]
    assert "nbval-skip" not in every, f"{chapter}: a cell tagged nbval-skip; let it run"
    ignored = every.count("nbval-ignore-output")
    assert ignored <= 2, f"{chapter}: {ignored} cells tagged nbval-ignore-output, at most 2; round or gather outputs"


@every_chapter
def test_images_have_a_text_for_those_who_cannot_see_them_and_captions(chapter):
    for cell, said in pictures(chapter):
        assert said.get("image", {}).get("alt"), f"{chapter}: figure without `mystnb: image: alt:` in\n{cell.source}"
        captioned = chapter not in NUMBERED or said.get("figure", {}).get("caption")
        assert captioned, f"{chapter}: figure without `mystnb: figure: caption:` in\n{cell.source}"
    for cell in cells(chapter, "markdown"):
        assert not re.search(r"!\[\s*\]\(", cell.source), f"{chapter}: ![] without a text in\n{cell.source}"
        for directive in re.findall(r"^[`:]{3,}\{(?:figure|image)\}(?:.*\n:.*)*", cell.source, flags=re.M):
            assert ":alt:" in directive, f"{chapter}: image without :alt: in\n{directive}"


@every_chapter
def test_every_glued_number_is_read(chapter):
    glued = {output.metadata["scrapbook"]["name"] for cell in cells(chapter) for output in cell.outputs
             if "scrapbook" in output.get("metadata", {})}  # fmt: skip
    text = "\n".join(cell.source for cell in cells(chapter, "markdown"))
    # Those of another chapter are that one's, and the build looks for them.
    named = set(re.findall(r"\{glue:\w*\}(?:`| )(?!\w+\.ipynb::)([^`:\s]+)", text))
    assert glued == named, f"{chapter}: glue what is read, read what is glued; one without the other: {glued ^ named}"
