"""What must hold of the repository's files, whatever they contain."""

import importlib
import re
import subprocess

import pytest
import yaml

import notebooks
from tree import ADDRESS, ENTRIES, PROJECT, ROOT, text_of, tracked_files

FILES = tracked_files()


def name(path):
    return path.relative_to(ROOT).as_posix()


def test_address_is_stated_once():
    # README and CITATION are checked below and in test_readme.py. Chapters have it in their setup cell, which is made.
    slug = ADDRESS.removeprefix("https://github.com/")
    for path in FILES:
        text = text_of(path)
        if name(path).startswith("book/"):
            text = text.replace(f'url = "{ADDRESS}"', "").replace(f'url = \\"{ADDRESS}\\"', "")
        if name(path) not in ("pyproject.toml", "README.md", "CITATION.cff"):
            assert slug not in text, f"{name(path)} states the public address: leave it to pyproject.toml, or link to a page of the book"


def test_citation_agrees():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    title = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["title"]
    expected = {"repository-code": ADDRESS, "version": PROJECT["version"], "license": PROJECT["license"], "title": title}
    for key, value in expected.items():
        assert str(citation[key]) == value, f"CITATION.cff: {key} is {citation[key]}, elsewhere it is {value}"


def test_changelog_agrees():
    # Keep a Changelog: versions from the newest, each with a date, which counts from its tag on.
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.*)$", text, flags=re.M)
    assert heads[0] == "[Unreleased]"
    versions = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d(, unreleased)?", head) for head in heads[1:]]
    assert all(versions), f"CHANGELOG.md: expected `## [1.2.3] - 2026-01-31`, found {heads[1:]}"
    assert versions[0][1] == PROJECT["version"], f"CHANGELOG.md ends at {versions[0][1]}, pyproject.toml has {PROJECT['version']}"
    numbers = [tuple(map(int, version[1].split("."))) for version in versions]
    assert numbers == sorted(set(numbers), reverse=True)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, flags=re.M)) <= kinds
    released = subprocess.run(["git", "tag", "--list", f"v{PROJECT['version']}"], cwd=ROOT, capture_output=True, text=True).stdout
    assert not (released and versions[0][2]), f"CHANGELOG.md: {PROJECT['version']} has its tag: it is released"
    for name in re.findall(r"`sfda\.([\w.]+)`", text):
        module, _, attribute = f"sfda.{name}".rpartition(".")
        found = getattr(importlib.import_module(module), attribute, None)
        assert found is not None or importlib.import_module(f"sfda.{name}"), f"CHANGELOG.md: no sfda.{name}"


def test_contents_name_every_notebook_and_every_page():
    assert len(ENTRIES) == len(set(ENTRIES)), "_toc.yml lists a page twice"
    texts = {f"book/{text.name}" for text in notebooks.texts()}
    for path in FILES:
        if re.fullmatch(r"book/[^/]+\.(ipynb|md)", name(path)) and name(path) not in texts:
            listed = name(path) in ENTRIES or name(path).removesuffix(".md") in ENTRIES
            assert listed, f"{name(path)} is in no part of the book: list it in _toc.yml or remove it"


def test_the_book_is_built_without_what_only_runs_it():
    book, rest = (set(re.findall(r"^([\w-]+)==", (ROOT / f"{name}.txt").read_text(), flags=re.M))
                  for name in ("requirements-book", "requirements"))  # fmt: skip
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    assert not book & rest and set(config["autodoc_mock_imports"]) <= rest, "a pin stands once; what is mocked is not installed"


@pytest.mark.parametrize("path", [ROOT / f".github/workflows/{stem}.yml" for stem in ("book", "test", "weekly")], ids=name)
def test_workflow(path):
    assert len([each for each in FILES if each.parent == path.parent]) == 3
    # What actionlint, which reads them where they run, leaves to us.
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    # YAML 1.1 reads the key `on` as true.
    assert set(workflow) == {"name", True, "permissions", "concurrency", "jobs"} and workflow["name"] == path.stem
    assert workflow["permissions"] == {"contents": "read"}, "more is for the job that needs it"
    for job, entry in workflow["jobs"].items():
        assert entry["runs-on"] == "ubuntu-latest" and 0 < entry["timeout-minutes"] <= 60, f"{path.name}: {job}"
        for use in (step["uses"] for step in entry["steps"] if "uses" in step):
            # GitHub's own by their major version, of others exactly one.
            pinned = r"actions/[\w-]+@v\d+" if use.startswith("actions/") else r".+[@:](v?\d+\.\d+\.\d+|[0-9a-f]{40})"
            assert re.fullmatch(pinned, use), f"{path.name}: {use} is not pinned"
        for command in re.findall(r"(?:^|\s)make (\w+)", " ".join(step.get("run", "") for step in entry["steps"])):
            assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M), command


# --- make ---


def make(*arguments):
    return subprocess.run(["make", "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_help_lists_every_goal():
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    goals = re.search(r"^\.PHONY: (.*)", rules, flags=re.M)[1].split()
    listed = [line.split(maxsplit=1) for line in make("help").stdout.splitlines()]
    assert [goal for goal, _ in listed] == goals and make().stdout == make("help").stdout


def test_goals_run_what_they_say():
    assert "tests/metric tests/rivals\n" in make("--dry-run", "check").stdout
    tests, older, book = (make("--dry-run", goal).stdout for goal in ("test", "older", "book"))
    assert tests == older and "jupyter-book build" not in tests, "the tests of the pages build the book"
    assert book.count("jupyter-book build") == 1
    assert "book/notebooks.py 02\n" in make("--dry-run", "chapter", "NAME=02").stdout
    for arguments in (["chapter"], ["chapter", "NAME="]):  # would be all
        nameless = make("--dry-run", *arguments)
        assert nameless.returncode != 0 and "NAME is missing" in nameless.stderr and not nameless.stdout
    assert make("--dry-run", "chapters").returncode == 0


@pytest.mark.parametrize("path", FILES, ids=name)
def test_file_belongs_here(path):
    size = path.stat().st_size / 1e6
    assert size <= 4, f"{name(path)}: {size:.1f} MB, at most 4; store less"
    assert path.suffix not in {".pkl", ".pickle", ".pt", ".pth"}, f"{name(path)}: runs code when loaded; use .npz or .csv"
    # Not after a letter or a slash: an address on the web may contain such words.
    found = re.search(r"(?<![\w.+/~-])/(?:work|root|home|Users)/[\w.-]*", text_of(path))
    assert not found, f"{name(path)}: path of one machine, {found and found[0]}; make it relative"
