"""What must hold of the repository's files, whatever they contain."""

import re

import notebooks
import pytest
import yaml
from tree import ADDRESS, PROJECT, ROOT, TOC, text_of, tracked_files

FILES = tracked_files()


def name(path):
    return path.relative_to(ROOT).as_posix()


def test_address_is_stated_once():
    # README and CITATION are checked below and in test_readme.py.
    stated = {"pyproject.toml", "README.md", "CITATION.cff"}
    slug = ADDRESS.removeprefix("https://github.com/")
    for path in FILES:
        text = text_of(path)
        if name(path).startswith("book/"):
            # Chapters have it in their setup cell, which is generated; nowhere else.
            text = text.replace(f'url = "{ADDRESS}"', "").replace(f'url = \\"{ADDRESS}\\"', "")
        if name(path) not in stated and slug in text:
            pytest.fail(f"{name(path)} states the public address: leave it to pyproject.toml, or link to a page of the book")


def test_citation_agrees():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    title = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["title"]
    expected = {"repository-code": ADDRESS, "version": PROJECT["version"], "license": PROJECT["license"], "title": title}
    for key, value in expected.items():
        assert str(citation[key]) == value, f"CITATION.cff: {key} is {citation[key]}, elsewhere it is {value}"


def test_contents_name_every_notebook_and_every_page():
    entries = [TOC["root"]] + [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
    assert len(entries) == len(set(entries)), "_toc.yml lists a page twice"
    texts = {f"book/{text.name}" for text in notebooks.texts()}
    for path in FILES:
        if re.fullmatch(r"book/[^/]+\.(ipynb|md)", name(path)) and name(path) not in texts:
            listed = name(path) in entries or name(path).removesuffix(".md") in entries
            assert listed, f"{name(path)} is in no part of the book: list it in _toc.yml or remove it"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_file_belongs_here(path):
    size = path.stat().st_size / 1e6
    assert size <= 4, f"{name(path)}: {size:.1f} MB, at most 4; store less"
    assert path.suffix not in {".pkl", ".pickle", ".pt", ".pth"}, f"{name(path)}: runs code when loaded; use .npz or .csv"
    # Not after a letter or a slash: an address on the web may contain such words.
    found = re.search(r"(?<![\w.+/~-])/(?:work|root|home|Users)/[\w.-]*", text_of(path))
    assert not found, f"{name(path)}: path of one machine, {found and found[0]}; make it relative"
