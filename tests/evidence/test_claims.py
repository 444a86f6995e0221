"""The table of claims: its verdicts, and that its numbers are those of the chapters."""

import re

import nbformat
import pytest

from glue import glued
from sfda.evidence.claims import VERDICTS, claims, verdict_of
from tree import CHAPTERS, ROOT

CLAIMS = [row for _, row in claims().iterrows()]
NAMES = ("ours", "low", "high")


@pytest.mark.parametrize("rule, ours, low, high, verdict", [
    ("within", 1.5, "", "", "reproduced"), ("within", 1.6, "", "", "not reproduced"),
    ("within", 0.4, "", "", "not reproduced"), ("none", "", "", "", "cannot be tested here"),
    ("above", 1, 0.1, 2, "holds"), ("above", 1, 0, 2, "not shown"), ("above", -1, -2, -0.1, "contradicted"),
    ("below", -1, -2, -0.1, "holds"), ("below", 1, 0.1, 2, "contradicted"), ("below", 1, -1, 2, "not shown"),
])  # fmt: skip
def test_verdicts(rule, ours, low, high, verdict):
    claim = {"rule": rule, "ours": "x", "low": "lo", "high": "hi", "published": "1", "tolerance": "0.5", "basis": "run"}
    assert verdict_of(claim, {"x": ours, "lo": low, "hi": high}) == verdict and verdict in VERDICTS
    of_table = {"reproduced": "recomputed from their table", "holds": "recomputed from their table"}.get(verdict, verdict)
    assert verdict_of(claim | {"basis": "table"}, {"x": ours, "lo": low, "hi": high}) == of_table and of_table in VERDICTS
    with pytest.raises(ValueError, match="rule: expected within, above, below or none, got 'beside'"):
        verdict_of(claim | {"rule": "beside"}, {"x": 1})


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda row: row["statement"][:40])
def test_rows_are_complete_and_their_numbers_stand_on_the_page_that_is_named(claim):
    assert all(claim[column] for column in ("statement", "who", "source", "page", "rule", "note"))
    assert claim["knowledge"] in ("read", "second-hand")
    assert f"book/{claim['page']}.ipynb" in CHAPTERS
    if claim["rule"] == "none":
        assert not any(claim[name] for name in ("basis", *NAMES))
    elif claim["rule"] == "within":
        assert float(claim["tolerance"]) > 0 and claim["published"]
    else:
        assert claim["low"] and claim["high"]
    # The chapter of the published numbers runs no network.
    assert claim["rule"] == "none" or claim["basis"] == ("table" if claim["page"] == "05_published_numbers" else "run")
    text = (ROOT / "book" / f"{claim['page']}.md").read_text(encoding="utf-8")
    numbers = glued(claim["page"])
    for name in filter(None, (claim[column] for column in NAMES)):
        assert name in numbers, f"data/claims.csv: {claim['page']} glues no {name}"
        assert re.search(rf"\{{glue:\w+\}}`{name}\b", text), f"{claim['page']} does not show {name}"


def test_the_page_shows_these_numbers_and_verdicts():
    notebook = nbformat.read(ROOT / "book" / "claims.ipynb", as_version=4)
    shown = "".join(
        output["data"].get("text/html", "") for cell in notebook.cells if cell.cell_type == "code"
        for output in cell.outputs if "data" in output
    )  # fmt: skip
    rows = [re.sub(r"<[^>]+>", "|", row) for row in re.findall(r"<tr.*?</tr>", shown, flags=re.S)]
    for claim in CLAIMS:
        numbers = glued(claim["page"])
        # The last table has the statements again, beside notes.
        with_verdicts = [row for row in rows if any(f"|{verdict}|" in row for verdict in VERDICTS)]
        (row,) = [row for row in with_verdicts if f"|{claim['statement']}|" in row]
        assert f"|{verdict_of(claim, numbers)}|" in row
        if claim["ours"]:
            assert f"|{numbers[claim['ours']]:{'.3g' if claim['rule'] == 'within' else '.2f'}}" in row
