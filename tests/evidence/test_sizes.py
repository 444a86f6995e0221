"""Orders at two sizes of images: against counting by hand."""

import numpy as np
import pandas as pd
import pytest

from sfda.evidence import sizes, verdict
from sfda.files import data_folder


def write(folder, **values):
    """Scores of a, b, c and perhaps d by metric and task, as a table."""
    rows = [(metric, model, task, score) for metric, tasks in values.items() for task, scores in tasks.items() for model, score in zip("abcd", scores)]
    folder.mkdir(exist_ok=True)
    pd.DataFrame(rows, columns=["metric", "model", "task", "score"]).to_csv(folder / "scores.csv", index=False)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, good={"t": (1, 2, 3, 9), "u": (1, 2, 3, 9), "v": (1, 2, 3, 9)}, flat={"t": (1, 1, 1, 1)}, one={"t": (1, 2, 3, 4)})
    close = 1 + 1e-7  # what float32 cannot tell from 1
    write(tmp_path / "own_size", good={"t": (1, 3, 2), "u": (3, 4, 5), "v": (close, 1, 1)}, flat={"t": (1, 2, 3)})
    return tmp_path


def test_agreement_by_hand(folder):
    table = sizes.at_two_sizes(folder=folder)
    assert len(table) == 12 and set(table["model"]) == set("abc") and set(table["metric"]) == {"good", "flat"}
    found = sizes.agreement(folder=folder).set_index(["metric", "task"])
    assert (found["networks"] == 3).all()
    # Of three pairs one is ordered otherwise; none; then all share the first place, at one size or at both.
    assert found.loc["good", "tau"].round(12).tolist()[:2] == [round(1 / 3, 12), 1]
    assert np.isnan(found.loc[("good", "v"), "tau"]) and np.isnan(found.loc[("flat", "t"), "tau"])
    assert found["same first"].dropna().to_dict() == {("good", "t"): 0, ("good", "u"): 1}
    said = sizes.size_matters("good", folder=folder)
    assert said.endswith("a Kendall's tau of 0.67 (mean of 2 tasks), and another first network on 1 of 2") and "3 real networks" in said
    assert sizes.size_matters("flat", folder=folder) == sizes.size_matters("one", folder=folder) == ""
    with pytest.raises(FileNotFoundError, match="scores.csv is missing"):
        sizes.agreement(folder=folder / "own_size")
    assert sizes.size_matters("good", folder=folder / "own_size") == ""  # as in an installed package


def test_what_was_measured_is_whole():
    """Every network of data/real was scored at its own size on three tasks; two were trained on the common size."""
    table, models = sizes.at_two_sizes(), verdict.table("models", folder=data_folder("real"))
    assert set(table["model"]) == set(models["model"]) and set(table["task"]) == {"digits", "flowers", "omniglot"}
    assert len(table) == table["metric"].nunique() * table["task"].nunique() * len(models)
    same = models.loc[models["input_size"] == 96, "model"]
    same = table[table["model"].isin(same)]
    assert same["model"].nunique() == 2 and np.allclose(same["one"], same["own"], rtol=1e-4, atol=1e-5)  # float32 features of another machine
